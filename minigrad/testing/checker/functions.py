"""What the checker differentiates: functions of arrays that can be evaluated and pulled back.

`Primal` is a function of tensors, differentiated by the engine. `Pair` is a forward function and
its vector-Jacobian product, both of plain arrays. `Pullback` is the gradient of a `Primal` or of
another `Pullback`, with the cotangents as further inputs: checking its derivative checks the second
derivatives of that other one. All live on the CPU, in NumPy arrays, whatever device the tensors are
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...autograd import grad
from ...modes import enable_grad, no_grad
from ...ops import to
from ...tensor import Tensor, to_array, wrap

Arrays = list[np.ndarray]

WIDEST_GAPS = 16  # memory of a copied layout, as so many times that of its numbers


@dataclass(frozen=True)
class Recording:
    """One evaluation of a function, ready to be pulled back.

    Attributes:
        outputs: those of floating-point type.
        connected: of each output, whether a gradient can come from it at all.
        pull: one cotangent for each output (None: none comes from there) to one gradient for each
            input, as the rules computed them.
        misplaced: sentences about gradients that were on another device than their input.
    """

    outputs: Arrays
    connected: list[bool]
    pull: Callable[[Sequence[np.ndarray | None]], Arrays]
    misplaced: set[str] = field(default_factory=set)


# Functions of tensors


def differentiable_outputs(result: Any) -> list[Tensor]:
    """The tensors of real or complex numbers in what a function returned.

    Raises:
        TypeError: if it holds no tensor at all.
    """
    flat = list(_flatten(result))
    tensors = [y for y in flat if isinstance(y, Tensor)]
    if not tensors:
        arrays = any(isinstance(y, (np.ndarray, np.generic)) for y in flat)
        raise TypeError(
            f"gradcheck: the function must return a tensor or several, got {type(result).__name__}"
            + ("; functions of arrays are checked in pairs: (forward, vjp)" if arrays else "")
        )
    return [y for y in tensors if y.dtype.kind in "fc"]


def _flatten(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        for item in result:
            yield from _flatten(item)
    else:
        yield result


def placed(array: np.ndarray, device: str) -> Tensor:
    """A tensor around the array, or around its copy on a GPU."""
    return wrap(array) if device == "cpu" else to(wrap(array), device=device)


def host(x: Tensor) -> np.ndarray:
    """The numbers of a tensor, in its own memory where it is on the CPU."""
    return np.asarray(x.data if isinstance(x.data, np.ndarray) else x.detach().cpu().data)


def pull_back(
    leaves: Sequence[Tensor],
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    create_graph: bool = False,
) -> list[Tensor]:
    """The gradient by each leaf; zeros where no output depends on it. The graph is kept."""
    live = [
        (y, v)
        for y, v in zip(outputs, cotangents, strict=True)
        if v is not None and y.requires_grad
    ]
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if live:
        ys, vs = zip(*live, strict=True)
        found = grad(
            list(ys),
            list(leaves),
            list(vs),
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
    return [
        placed(np.zeros(x.shape, x.dtype), x.device) if g is None else g
        for x, g in zip(leaves, found, strict=True)
    ]


class _Traced:
    """What can be recorded by the engine."""

    point: Arrays
    labels: list[str]

    def trace(self, arrays: Arrays) -> tuple[list[Tensor], list[Tensor]]:
        """Leaves around these arrays, and the outputs as recorded by the engine."""
        raise NotImplementedError

    def record(self, arrays: Arrays) -> Recording:
        """Evaluate at these arrays, ready to be pulled back."""
        leaves, outputs = self.trace(arrays)

        def pull(cotangents: Sequence[np.ndarray | None]) -> Arrays:
            seeds = [
                None if v is None else placed(v, y.device)
                for v, y in zip(cotangents, outputs, strict=True)
            ]
            found = pull_back(leaves, outputs, seeds)
            for label, x, g in zip(self.labels, leaves, found, strict=True):
                if g.device != x.device:
                    misplaced.add(f"{label} is on {x.device}, its gradient on {g.device}")
            return [host(g) for g in found]

        misplaced: set[str] = set()
        connected = [y.requires_grad for y in outputs]
        return Recording([host(y) for y in outputs], connected, pull, misplaced)


class Primal(_Traced):
    """The user's function of those of its inputs that hold real numbers; the others are fixed.

    Args:
        function: takes and returns tensors.
        inputs: what to call it with.
        dtype: of the inputs that hold real numbers; None leaves each as it is.
    """

    def __init__(
        self, function: Callable[..., Any], inputs: Sequence[Any], dtype: Any = np.float64
    ) -> None:
        self.function = function
        self.point: Arrays = []
        self.labels: list[str] = []
        self.devices: list[str] = []
        labels = getattr(function, "argument_labels", ())
        self._inputs: list[Any] = []
        self._places: list[int] = []
        for i, given in enumerate(inputs):
            array = as_array(given)
            device = given.device if isinstance(given, Tensor) else "cpu"
            if array is not None and array.dtype.kind == "f":
                self._places.append(i)
                self.point.append(array if dtype is None else laid_out(array, dtype))
                self.labels.append(labels[i] if labels else f"input {i}")
                self.devices.append(device)
            self._inputs.append(given if array is None else placed(array, device))

    def call(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs that hold real numbers."""
        arguments = list(self._inputs)
        for place, x in zip(self._places, tensors, strict=True):
            arguments[place] = x
        with _noted("the function", self.point, tensors):
            result = self.function(*arguments)
        return differentiable_outputs(result)

    def fixed(self) -> Arrays:
        """The inputs that are not differentiated by, as they are now."""
        return [host(x) for x in self._inputs if isinstance(x, Tensor)]

    def _tensors(self, arrays: Arrays) -> list[Tensor]:
        return [placed(x, device) for x, device in zip(arrays, self.devices, strict=True)]

    def trace(self, arrays: Arrays) -> tuple[list[Tensor], list[Tensor]]:
        """Leaves around these arrays, and the outputs as recorded by the engine."""
        with enable_grad():
            leaves = [x.requires_grad_() for x in self._tensors(arrays)]
            return leaves, self.call(leaves)

    def values(self, arrays: Arrays) -> Arrays:
        """The outputs, nothing recorded. The arrays may be complex."""
        with no_grad():
            return [host(y) for y in self.call(self._tensors(arrays))]


class Pullback(_Traced):
    """The gradient of another function: (its inputs, one cotangent per output) -> gradients."""

    def __init__(self, of: Primal | Pullback, cotangents: Arrays) -> None:
        self.of = of
        self.point: Arrays = [*of.point, *cotangents]
        self.labels: list[str] = [*of.labels, *(f"cotangent {i}" for i in range(len(cotangents)))]

    def trace(self, arrays: Arrays) -> tuple[list[Tensor], list[Tensor]]:
        """Leaves for inputs and cotangents, and the gradients, themselves recorded."""
        n = len(self.of.point)
        with enable_grad():
            leaves, outputs = self.of.trace(arrays[:n])
            cotangents = [
                placed(v, y.device).requires_grad_()
                for v, y in zip(arrays[n:], outputs, strict=True)
            ]
            return [*leaves, *cotangents], pull_back(leaves, outputs, cotangents, create_graph=True)

    def values(self, arrays: Arrays) -> Arrays:
        """The gradients, by the ordinary pass that works on bare arrays."""
        n = len(self.of.point)
        return self.of.record(arrays[:n]).pull(arrays[n:])


# Functions of arrays


class Pair:
    """A forward function and its vector-Jacobian product, both of plain arrays.

    Args:
        forward: `forward(*arrays)` gives an array, or a tuple of them.
        vjp: `vjp(cotangent, *arrays)` gives one gradient for each input, or None for zero: a tuple,
            or for one input the bare array. For several outputs the cotangent is a tuple.
        inputs: what to call them with.
        dtype: of the inputs that hold real numbers; None leaves each as it is.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        vjp: Callable[..., Any],
        inputs: Sequence[Any],
        dtype: Any = np.float64,
    ) -> None:
        self.forward, self.vjp = forward, vjp
        self.point: Arrays = []
        self.labels: list[str] = []
        self._inputs: list[Any] = []
        self._places: list[int] = []
        for i, given in enumerate(inputs):
            array = as_array(given)
            if array is not None and array.dtype.kind == "f":
                self._places.append(i)
                self.point.append(array if dtype is None else laid_out(array, dtype))
                self.labels.append(f"input {i}")
            self._inputs.append(given if array is None else array)

    def fixed(self) -> Arrays:
        """The inputs that are not differentiated by, as they are now."""
        return [x for x in self._inputs if isinstance(x, np.ndarray)]

    def _arguments(self, arrays: Arrays) -> list[Any]:
        arguments = list(self._inputs)
        for place, x in zip(self._places, arrays, strict=True):
            arguments[place] = x
        return arguments

    def values(self, arrays: Arrays) -> Arrays:
        """The outputs of floating-point type. The arrays may be complex."""
        return self._outputs(arrays)[1]

    def _outputs(self, arrays: Arrays) -> tuple[list[np.ndarray], Arrays, bool]:
        """All outputs, those of floating-point type, and whether there are several."""
        with _noted("forward", self.point, arrays):
            result = self.forward(*self._arguments(arrays))
        several = isinstance(result, (tuple, list))
        every = [np.asarray(y) for y in (result if several else [result])]
        if any(y.dtype.kind not in "biufc" for y in every):
            raise TypeError(
                "gradcheck: forward must return an array, or a tuple of arrays, "
                f"got {type(result).__name__}"
            )
        return every, [y for y in every if y.dtype.kind in "fc"], several

    def record(self, arrays: Arrays) -> Recording:
        """Evaluate at these arrays, ready to be pulled back."""
        every, outputs, several = self._outputs(arrays)

        def pull(cotangents: Sequence[np.ndarray | None]) -> Arrays:
            given = iter(cotangents)
            seeds = []
            for y in every:
                v = next(given) if y.dtype.kind in "fc" else None
                zero = np.zeros(y.shape, y.real.dtype)
                seeds.append(zero if v is None else v.astype(zero.dtype, copy=False))
            with _noted("vjp", self.point, arrays):
                found = self.vjp(tuple(seeds) if several else seeds[0], *self._arguments(arrays))
            return self._gradients(found, arrays)

        return Recording(outputs, [True] * len(outputs), pull)

    def _gradients(self, found: Any, arrays: Arrays) -> Arrays:
        """Of what `vjp` returned, the gradients by the inputs that hold real numbers."""
        many = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(many) != len(self._inputs):
            raise ValueError(
                f"gradcheck: vjp must return one gradient for each of {len(self._inputs)} inputs "
                f"(None for zero), got {len(many)}"
            )
        gradients = []
        for place, x in zip(self._places, arrays, strict=True):
            g = np.zeros(x.shape, x.dtype) if many[place] is None else np.asarray(many[place])
            if g.dtype.kind not in "biuf":
                kind = "complex numbers" if g.dtype.kind == "c" else type(many[place]).__name__
                raise TypeError(f"gradcheck: vjp must return arrays of real numbers, got {kind}")
            gradients.append(g)
        return gradients


@contextmanager
def _noted(what: str, point: Arrays, given: Sequence[Any]) -> Iterator[None]:
    """Add to an error of the user's own where it was raised."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "add_note") and not getattr(error, "__notes__", ()):
            arrays = [host(x) if isinstance(x, Tensor) else x for x in given]
            shapes = ", ".join(f"{x.dtype} {x.shape}" for x in arrays)
            here = all(np.array_equal(x, y) for x, y in zip(arrays, point, strict=True))
            where = "at the point that was given" if here else "beside the point that was given"
            error.add_note(f"gradcheck: raised by {what}, called with {shapes} {where}")
        raise


Function = Primal | Pullback | Pair


def as_function(fn: Any, inputs: Sequence[Any], dtype: Any = np.float64) -> Primal | Pair:
    """What is to be checked: a function of tensors, or a pair of functions of arrays.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(fn, (tuple, list)):
        if len(fn) != 2 or not all(map(callable, fn)):
            raise TypeError("gradcheck: a pair must be two functions, (forward, vjp)")
        return Pair(fn[0], fn[1], inputs, dtype)
    if not callable(fn):
        raise TypeError(
            f"gradcheck: fn must be a function of tensors or a pair (forward, vjp) of functions of "
            f"arrays, got {type(fn).__name__}"
        )
    return Primal(fn, inputs, dtype)


def as_array(given: Any) -> np.ndarray | None:
    """The array of an input; None for an option such as an integer, a string or None."""
    if isinstance(given, Tensor):
        return laid_out(host(given))
    if isinstance(given, float):
        return np.array(given)
    if isinstance(given, (np.ndarray, np.generic)):
        return laid_out(to_array(given))
    if isinstance(given, (list, tuple)) and given and np.asarray(given).dtype.kind == "f":
        return np.asarray(given, dtype=np.float64)
    return None


def laid_out(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """A copy that lies in memory like the array, with its gaps, reversals and repetitions.

    A rule may be wrong for some layouts only. Where the gaps are wide the copy has none.
    """
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    strides = [step // x.itemsize for step in x.strides]
    reach = [step * (n - 1) for step, n in zip(strides, x.shape, strict=True)]
    room = 1 + sum(map(abs, reach)) if x.size else 0
    dense = x.flags.c_contiguous or x.flags.f_contiguous
    if dense or room > WIDEST_GAPS * x.size or any(step % x.itemsize for step in x.strides):
        return np.array(x, dtype, order="K")
    first = -sum(min(r, 0) for r in reach)
    copy = np.ndarray(
        x.shape,
        dtype,
        np.zeros(room, dtype),
        first * dtype.itemsize,
        [step * dtype.itemsize for step in strides],
    )
    copy[...] = x
    return copy
