"""What launch code does with arrays: NumPy's and CuPy's alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, array_module, check_out
from ..memory import offered
from .c_types import C_NAMES


def ceil_divide(a: int, b: int) -> int:
    """How many parts of size b hold a: the blocks of a grid.

    >>> ceil_divide(1000, 256)
    4
    """
    return -(-a // b)


def empty(like: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """A new C-contiguous array, not filled, on the device of `like`, and of its type if not given.

    On a GPU it may be one that was offered (see `memory.offer`). NumPy's arrays are each an
    allocation of its own, at whose ends the address sanitizer watches.
    """
    dtype = like.dtype if dtype is None else dtype
    kind = like.__class__
    if kind is np.ndarray:
        return np.empty(shape, dtype)
    place = offered(kind, shape, dtype)
    return array_module(like).empty(shape, dtype) if place is None else place


def contiguous(x: Array) -> Array:
    """x itself if it is C-contiguous and aligned, or a copy that is.

    NumPy's single numbers, which an index or a sum gives, become arrays.
    """
    flags = x.flags
    dense = flags.c_contiguous and getattr(flags, "aligned", True)  # CuPy's arrays always are
    if dense and not isinstance(x, np.generic):
        return x
    return array_module(x).array(x, order="C", copy=True)


def result(
    out: Array | None, inputs: tuple[Array, ...], shape: tuple[int, ...], dtype: Any
) -> Array:
    """Where a kernel writes a result: into `out` if it can be written straight, or a new array.

    It can if it is dense, of the right type, and shares no memory with an input, or is that input:
    so this is for kernels that read an element before they write the one at the same place, and
    none of those of other threads' later. `arrays.deliver` then brings it to `out`.

    Raises:
        ValueError: if `out` has another shape, or is read-only.
    """
    check_out(out, shape)
    if out is not None and _writes_straight(out, inputs, dtype):
        return out
    return empty(inputs[0], shape, dtype)


def _writes_straight(out: Array, inputs: tuple[Array, ...], dtype: Any) -> bool:
    if out.dtype != dtype or contiguous(out) is not out:
        return False
    xp = array_module(out)
    return all(
        not xp.may_share_memory(out, x) or (address(x) == address(out) and x.nbytes == out.nbytes)
        for x in inputs
    )


def address(x: Array) -> int:
    """Where an array's first element lies, in its device's memory."""
    return x.__array_interface__["data"][0] if isinstance(x, np.ndarray) else x.data.ptr


def aligned(count: int, length: int, *arrays: Array) -> bool:
    """Whether `count` elements at once can be loaded from rows of that length of all the arrays."""
    return length % count == 0 and all(address(x) % (count * x.itemsize) == 0 for x in arrays)


def computable(*arrays: Array) -> bool:
    """Whether all arrays are of one type that CUDA kernels compute in, and of one shape."""
    first = arrays[0]
    return first.dtype in C_NAMES and all(
        x.dtype == first.dtype and x.shape == first.shape for x in arrays
    )
