"""Parameters side by side in one block of memory, and their gradients, and what is kept of them.

What is done to all parameters alike, such as an optimizer's step, is then one pass over one array
instead of many small ones. Each tensor shows its part of the block, so that nobody sees a
difference, and nobody may: memory that anything else still refers to is never taken or reused. An
array of which this holds, that one reference in a known place is its only one, is *private*. Views
of an array refer to it, as do buffers made of it, so that they count as well.

On a GPU it is the same, one block for each type and device. There memory is reused in the order of
the current stream, as CuPy reuses what it has given out.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module, is_array
from minigrad_kernels.cuda.graphs import beside
from minigrad_kernels.layout import copied, flat
from minigrad_kernels.memory import cut, owns

from . import memory
from .device import capture
from .graph import Leaf
from .tensor import Tensor, ndarray, wrap

SMALL = 1 << 16
"""Bytes of a gradient up to which copying it beside the others is cheaper than working on it
apart."""

_PRIVATE = 2  # references to a private array: the known one, and that of getrefcount's argument


class Part:
    """The place of one parameter in a `Flat`.

    Attributes:
        tensor: the parameter.
        flat: a weak reference to the `Flat`.
        index: its number there.
        data: the array that the parameter shows, unless it was given another since.
        grad: the array that its gradient shows, if it came to lie here.
        kept: by name, the arrays of what is remembered of the parameter.
    """

    __slots__ = ("__weakref__", "data", "flat", "grad", "index", "kept", "tensor")

    def __init__(self, tensor: Tensor, flat: Flat, index: int, data: Any, grad: Any) -> None:
        self.tensor, self.flat, self.index = tensor, weakref.ref(flat), index
        self.data, self.grad = data, grad
        self.kept: dict[str, Any] = {}

    def holds(self) -> bool:
        """Whether the parameter is here, and was not given another array since."""
        return self.tensor.data is self.data

    def vacant(self) -> Any:
        """The array for the gradient, if nobody sees it: neither a tensor nor a view of it."""
        with _giving:  # the array that is returned is seen by the one who asked first
            return self.grad if sys.getrefcount(self.grad) == _PRIVATE else None

    def placed(self, g: Any) -> Any:
        """A new gradient, beside the others if that is cheap."""
        if g is self.grad or g.nbytes > SMALL:
            return g
        kind = self.grad.__class__
        if g.shape != self.grad.shape or g.dtype != self.grad.dtype or g.__class__ is not kind:
            return g
        place = self.vacant()
        if place is None:
            return g
        _copy(place, g)
        return place

    def serve(self) -> None:
        """Have the tensor's gradients come here, unless they go to another place already."""
        node: Any = self.tensor.node
        if node.__class__ is Leaf and (node.place is None or node.place() is None):
            node.place = weakref.ref(self)

    def is_free(self, name: str) -> bool:
        """Whether nobody sees the array kept under `name`."""
        return sys.getrefcount(self.kept[name]) == _PRIVATE


_giving = threading.Lock()


class Flat:
    """Tensors of one type and device, whose numbers lie one after the other from now on.

    Args:
        tensors: leaves for which `movable` holds.

    Attributes:
        parts: the place of each.
        on_gpu: whether they are on one; what is there is never read-only.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        dtype = tensors[0].dtype
        self.shapes = [x.shape for x in tensors]
        self.data, views, self.starts = cut(self.shapes, dtype, tensors[0].data)
        self.grads, gradients, _ = cut(self.shapes, dtype, self.data)
        self.on_gpu = self.data.__class__ is not ndarray
        self.ends = [s + x.data.size for s, x in zip(self.starts, tensors, strict=True)]
        self.parts = [
            Part(x, self, i, view, g)
            for i, (x, view, g) in enumerate(zip(tensors, views, gradients, strict=True))
        ]
        for start, end in zip(self.ends, [*self.starts[1:], self.data.size], strict=True):
            self.data[start:end] = 0  # gaps are computed with, too
            self.grads[start:end] = 1  # where Adam would divide 0 by 0
        for part in self.parts:
            _move(part.tensor, part.data)
            if part.tensor.node is not None:
                part.tensor.node.place = weakref.ref(part)  # type: ignore[attr-defined]
            if self.on_gpu:
                memory.lies_in(part.data, self.data)
                memory.lies_in(part.grad, self.grads)
        self.kept: dict[str, Any] = {}
        self._runs: dict[tuple[int, int, tuple[str, ...]], tuple[Any, ...]] = {}

    def keep(self, name: str, states: dict[Tensor, dict[str, Any]]) -> None:
        """Make room for what is remembered under `name`; take in what there is already. That is
        done once, and not in each replay of a graph that may be captured now."""
        if capture.active and self.on_gpu:
            with beside(array_module(self.data)):
                self._keep(name, states)
        else:
            self._keep(name, states)

    def _keep(self, name: str, states: dict[Tensor, dict[str, Any]]) -> None:
        self.kept[name], arrays, _ = cut(self.shapes, self.data.dtype, self.data)
        self.kept[name].fill(0)
        for part, array in zip(self.parts, arrays, strict=True):
            part.kept[name] = array
        del array, arrays  # they must be private
        for part in self.parts:
            kept: Any = states.get(part.tensor, {}).get(name)
            if (
                kept.__class__ is Tensor
                and kept.data.__class__ is part.data.__class__
                and part.holds()
                and kept.shape == part.data.shape
                and kept.dtype is part.data.dtype
                and movable(kept)
            ):
                _move(kept, part.kept[name])

    def forget(self) -> None:
        """Keep nothing any more."""
        self.kept.clear()
        self._runs.clear()
        for part in self.parts:
            part.kept.clear()

    def run(self, first: int, last: int, names: tuple[str, ...]) -> tuple[Any, ...]:
        """Flat views from one part to another: the numbers, the gradients, and what is kept."""
        key = first, last, names
        found = self._runs.get(key)
        if found is None:
            within = slice(self.starts[first], self.ends[last])
            found = tuple(
                whole[within]
                for whole in (self.data, self.grads, *(self.kept[name] for name in names))
            )
            if len(self._runs) > 2 * len(self.parts):
                self._runs.clear()
            self._runs[key] = found
        return found


def _move(x: Tensor, place: Any) -> None:
    """Let a tensor's numbers lie elsewhere."""
    _copy(place, x.data)
    memory.moved(x.data, place)
    x.data = place


def _copy(place: Any, array: Any) -> None:
    if place.__class__ is ndarray:
        np.copyto(place, array)
    else:
        array_module(place).copyto(place, array)


def movable(x: Tensor) -> bool:
    """Whether a tensor's numbers can be moved without anybody noticing."""
    if x.data.__class__ is not ndarray:
        return _movable_on_gpu(x)
    if sys.getrefcount(x.data) != _PRIVATE or not x.data.size:
        return False
    flags = x.data.flags
    if not (flags.c_contiguous and flags.writeable and flags.aligned and x.data.dtype.isnative):
        return False
    if owns(x.data):
        return x.data.base is not None or flags.owndata
    return (
        x.data.base.__class__ is ndarray
        and owns(x.data.base)
        and sys.getrefcount(x.data.base) == _PRIVATE
    )


def _movable_on_gpu(x: Tensor) -> bool:
    """The same for CuPy's arrays. Others may be made of an address, without being views, so that
    the pointer and the allocation must be private, too; a view may have its base's."""
    if not is_array(x.data) or not x.data.size or not x.data.flags.c_contiguous:
        return False
    if sys.getrefcount(x.data) != _PRIVATE:
        return False
    shared = 0
    if x.data.base is not None:
        shared = x.data.base.data is x.data.data
        if sys.getrefcount(x.data.base) != _PRIVATE:
            return False
    return (
        sys.getrefcount(x.data.data) == _PRIVATE + shared
        and sys.getrefcount(x.data.data.mem) == _PRIVATE
    )


def unshared(view: Any, part: Part | None) -> Any:
    """An array with a view's numbers, and memory for itself: a copy, unless the view shows all
    there is of an array that nobody else holds, in another shape or (outside a `Flat`, which is
    row-major) with its axes permuted."""
    base = view.base
    if base.__class__ is view.__class__ and owns(base):
        # One more than known: the local variable.
        references = _PRIVATE + 1 + (part is not None and base is part.grad)
        if sys.getrefcount(base) == references:
            if (base.shape, base.strides, base.dtype) == (view.shape, view.strides, view.dtype):
                return base
            if part is None and base.nbytes == view.nbytes and flat(view) is not None:
                return view
    return copied(view) if part is None else view.copy()


def flatten(tensors: Iterable[Tensor]) -> list[Flat]:
    """Lay leaves side by side, those of each type and device, if nobody sees the difference.

    A leaf that lies in a `Flat` already stays there. While work is captured in a graph nothing is
    moved, since it would be in every replay.
    """
    kinds: dict[Any, list[Tensor]] = {}
    for x in () if capture.active else tensors:
        part = _part(x)
        if (part is None or not part.holds()) and movable(x):
            kinds.setdefault((x.dtype, x.device), []).append(x)
    return [Flat(group) for group in kinds.values()]


def _part(x: Tensor) -> Part | None:
    """Where the gradients of a tensor go."""
    node: Any = x.node
    return node.place() if node.__class__ is Leaf and node.place is not None else None


def zero_gradient(x: Tensor) -> None:
    """Let a leaf's gradient, if it has one, be zero; who holds the old one keeps its numbers."""
    if x.grad is None:
        return
    x.grad = None
    part = _part(x)
    zeros = None if part is None or not part.holds() else part.vacant()
    if zeros is None:
        zeros = array_module(x.data).zeros_like(x.data)
    else:
        zeros.fill(0)
    x.grad = wrap(zeros)


def gradient_runs(tensors: Iterable[Tensor]) -> list[tuple[Any, list[tuple[int, int]]]]:
    """All gradients as few arrays: those that are neighbours in memory as one flat array.

    Returns:
        pairs of an array and, for each gradient in it, where its elements begin and end. The array
        is flat if there are several gradients in it.
    """
    found: list[tuple[Any, list[tuple[int, int]]]] = []
    flat, first, last = None, 0, -1
    for x in tensors:
        if x.grad is None:
            continue
        part = _part(x)
        whole = part.flat() if part is not None and x.grad.data is part.grad else None
        if part is None or whole is None:
            found.append((x.grad.data, [(0, x.grad.data.size)]))
            flat = None
            continue
        if whole is flat and part.index == last + 1:
            found.pop()
        else:
            flat, first = whole, part.index
        last = part.index
        start = whole.starts[first]
        spans = zip(whole.starts[first : last + 1], whole.ends[first : last + 1], strict=True)
        found.append(
            (whole.grads[start : whole.ends[last]], [(a - start, b - start) for a, b in spans])
        )
    return found
