"""How arrays lie in memory, for kernels that read them from front to back.

An array is dense if its elements fill a block of memory without gaps or repeats, its axes in any
order: a channels-last image is dense. Elementwise work on dense arrays of one layout needs neither
shape nor strides, only the block.
"""

from __future__ import annotations

import functools

import numpy as np

from .arrays import Array
from .memory import SMALLEST, empty

REALS = _FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
"""The types compiled kernels compute in; in the machine's byte order."""


def plain(*arrays: Array) -> bool:
    """Whether all are aligned NumPy arrays of one real type that compiled kernels compute in."""
    dtype = arrays[0].dtype
    # NumPy makes one of each, which is quickly seen, but pickles hold their own.
    if dtype is not _FLOAT32 and dtype is not _FLOAT64 and dtype not in REALS:
        return False
    for x in arrays:  # a generator takes as long as all the rest
        if (x.dtype is not dtype and x.dtype != dtype) or not x.flags.aligned:
            return False
    return True


def elementwise(*arrays: Array, **_: object) -> bool:
    """Whether all are aligned NumPy arrays of one real type, and of one shape."""
    if not plain(*arrays):
        return False
    shape = arrays[0].shape
    for x in arrays:  # noqa: SIM110
        if x.shape != shape:
            return False
    return True


def real(x: Array, *_: object, **__: object) -> bool:
    """Whether the first argument is of a type that compiled kernels compute in."""
    return x.dtype in REALS


SMALL = 2048
"""Elements up to which NumPy's own loop is done before a compiled kernel has looked at its
arguments (measured on functions that cost NumPy one pass)."""


def large(*arrays: Array, **_: object) -> bool:
    """Whether an elementwise kernel is worth calling."""
    return arrays[0].size > SMALL


@functools.lru_cache(maxsize=1024)
def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    axes = range(len(shape))
    return tuple(sorted(axes, key=lambda i: (-abs(strides[i]) if shape[i] > 1 else 0, i)))


def memory_order(x: Array) -> tuple[int, ...]:
    """The axes of x from the one with the longest stride to that with the shortest."""
    return _order(x.shape, x.strides)


def flat(x: Array) -> Array | None:
    """A one-dimensional view of a dense array, in memory's order; None if it is not dense."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    view = x.transpose(memory_order(x))
    return view.reshape(-1) if view.flags.c_contiguous else None


def empty_like(x: Array, dtype: object = None) -> Array:
    """A new dense array with x's shape and order of axes, not filled."""
    dtype = x.dtype if dtype is None else dtype
    if x.flags.c_contiguous:
        return empty(x.shape, dtype)
    order = memory_order(x)
    made = empty(tuple(x.shape[i] for i in order), dtype)
    inverse = [0] * x.ndim
    for place, axis in enumerate(order):
        inverse[axis] = place
    return made.transpose(inverse)


def copied(x: Array) -> Array:
    """A copy with the same order of axes in memory and no gaps: channels stay last."""
    if x.__class__ is not np.ndarray or x.nbytes < SMALLEST:
        return x.copy(order="K")
    copy = empty_like(x)
    np.copyto(copy, x)
    return copy


def like(x: Array, model: Array) -> Array:
    """x itself if it lies in memory as the dense array `model`, or a copy that does."""
    if x.strides == model.strides or (x.flags.c_contiguous and model.flags.c_contiguous):
        return x
    copy = empty_like(model, x.dtype)
    np.copyto(copy, x)
    return copy


def contiguous(x: Array) -> Array:
    """x itself if it is C-contiguous and aligned, or a copy that is."""
    if x.flags.c_contiguous and x.flags.aligned:
        return x
    copy = empty(x.shape, x.dtype)
    np.copyto(copy, x)
    return copy


def dense(x: Array) -> Array:
    """x itself if it is dense, or a copy that is, in the same order of axes."""
    if flat(x) is not None:
        return x
    copy = empty_like(x)
    np.copyto(copy, x)
    return copy
