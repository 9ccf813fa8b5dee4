"""Changing a tensor in place, while the graph keeps the right story of it."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

from minigrad_kernels.memory import owns

from . import dtypes
from .graph import Leaf, mode
from .memory import changed
from .tensor import Tensor, ndarray, wrap

_writers: dict[Callable[..., Tensor], Callable[..., None]] = {}
"""For some operations, how to overwrite a tensor with the result without computing all of it."""


def writes(operation: Callable[..., Tensor]) -> Callable[[Any], Any]:
    """Decorate a function that overwrites its first argument with `operation`'s result.

    It is called where nothing is recorded, and must refuse bad arguments before it writes.
    """

    def file(writer: Callable[..., None]) -> Callable[..., None]:
        _writers[operation] = writer
        return writer

    return file


def inplace(x: Tensor, operation: Callable[..., Tensor], *args: Any, **options: Any) -> Tensor:
    """Overwrite `x` with `operation(x, ...)`; where gradients are recorded, `x` moves in the graph.

    Raises:
        RuntimeError: for a leaf that requires a gradient, or for a view whose base, or a constant
            whose views, the graph cannot follow, while recording.
        ValueError: if the result has another shape; TypeError: if it needs another kind of number.
            Nothing is changed then.
    """
    before = wrap(x.data, x.node)
    name = operation.__name__ + "_"
    in_graph = any(getattr(a, "node", None) is not None for a in (x, *args, *options.values()))
    if operation in _writers and not (mode.recording and in_graph):
        _check_writable(x, name)
        _writers[operation](x, *args, **options)
        changed(x.data, name)
        return x
    if mode.recording:
        if isinstance(x.node, Leaf):
            raise RuntimeError(
                f"{name}: a leaf tensor that requires a gradient cannot be changed in place while "
                "operations are recorded; use no_grad()"
            )
        if in_graph:
            before = wrap(x.data.copy(), x.node)  # rules may keep the old numbers
    result = operation(before, *args, **options)
    if result.shape != x.shape:
        raise ValueError(f"{name}: the result has shape {result.shape}, the tensor {x.shape}")
    if dtypes.category(result.dtype) > dtypes.category(x.dtype):
        raise TypeError(f"{name}: the result is {result.dtype}, the tensor holds {x.dtype}")
    recorded = result.node is not None and x.dtype.kind in "fc"  # others have no gradients
    if recorded and _is_shared_view(x):
        raise RuntimeError(
            f"{name}: the tensor is a view, and the graph of the tensor whose memory it shows "
            "would not know of the change; write x[i] = x[i] * 2 for x[i] *= 2, or clone() it first"
        )
    if recorded and x.node is None and _has_constant_view(x):
        raise RuntimeError(
            f"{name}: the tensor would become part of the graph, and a view of it that was taken "
            "before would not know; take the view afterwards, or clone() the tensor first"
        )
    if result.dtype != x.dtype:
        result = result.to(x.dtype)
    write(x, result.data, name, recorded)
    if recorded:
        x.node = result.node
    return x


def is_writable(x: Tensor) -> bool:
    """Whether its memory can be overwritten. Not if elements share a place, as in a broadcast."""
    array = x.data
    if isinstance(array, ndarray):
        return array.flags.writeable
    return not array.size or all(
        stride or n == 1 for n, stride in zip(array.shape, array.strides, strict=True)
    )


def write(x: Tensor, numbers: Any, name: str, recorded: bool = False) -> None:
    """Overwrite the numbers of `x`, and note that they changed.

    Raises:
        ValueError: if the memory is read-only.
    """
    _check_writable(x, name)
    x.data[...] = numbers
    changed(x.data, name, recorded)


def _check_writable(x: Tensor, name: str) -> None:
    if not is_writable(x):
        raise ValueError(
            f"{name}: the tensor's memory is read-only (a view that repeats elements?)"
        )


def _is_shared_view(x: Tensor) -> bool:
    """Whether somebody else still holds the memory that `x` shows a part of."""
    if owns(x.data):
        return False
    base = x.data.base
    if getattr(x.node, "memory", None) is not None:
        return True
    # The view's own reference, the local variable and getrefcount's argument make three.
    return sys.getrefcount(base) > 3


_looking = threading.Lock()


def _has_constant_view(x: Tensor) -> bool:
    """Whether another tensor, a constant, shows a part of the memory of `x`, a constant so far."""
    array = x.data
    # The attribute, the local variable and getrefcount's argument make three. Who has more can only
    # be found by looking at all objects: slow, but not more than once a tensor.
    if not owns(array) or sys.getrefcount(array) <= 3:
        return False
    # One thread at a time: the list of all objects keeps views alive that another thread gave up.
    # What another thread is making at the moment may have no attributes yet.
    with _looking:
        tensors = (t for t in gc.get_objects() if issubclass(type(t), Tensor))
        return any(
            getattr(t, "node", t) is None and getattr(t.data, "base", None) is array
            for t in tensors
        )
