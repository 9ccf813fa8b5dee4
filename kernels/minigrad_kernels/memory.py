"""Memory for results: large blocks are kept when their arrays are gone, and given out again.

The operating system hands out fresh memory page by page, filled with zeros, when it is first
written: writing 34 MB of new memory took 7 to 25 times as long as writing them again. A training
step needs arrays of the same sizes again and again. Blocks begin at a page, so that vector loads do
not straddle cache lines.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Array, array_module

SMALLEST = 1 << 18
"""Bytes from which blocks are kept: below, the C library keeps memory itself."""

SPARE = 1.25
"""Memory held, in use and kept, is at most so many times what was in use at some time: there is
room for blocks whose size is not asked for next."""

_GRANULE = 1 << 16
_ALIGNMENT = 64  # bytes: a cache line, the widest vector

# A forked child must not write into its parent's arrays, which the default, shared memory, is.
_OPTIONS = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}

_plain = np.ndarray
_Mapping = mmap.mmap
_free: list[mmap.mmap] = []  # in the order in which they came back
_lock = threading.RLock()  # entered again if the collector frees a block while it is held
_kept = _used = _most = 0  # bytes kept for later, in use, and in use at most so far


class _Block(np.ndarray[Any, np.dtype[Any]]):
    """The bytes of one mapping. When no array uses them any more, the mapping goes back."""

    def __del__(self) -> None:
        mapping = self.base
        # When Python ends, modules lose their names one after the other, this one and mmap, too.
        if _free is not None and isinstance(mapping, _Mapping):
            _give_back(mapping)


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """A new C-contiguous NumPy array, not filled, as `numpy.empty`.

    Raises:
        MemoryError: if there is not enough memory.
    """
    dtype = np.dtype(dtype)
    for offered in _offer.arrays:
        if (
            offered is not None
            and offered.shape == shape
            and offered.dtype == dtype
            and offered.__class__ is _plain
        ):
            _offer.arrays = tuple([a for a in _offer.arrays if a is not offered])
            return offered
    size = (shape if isinstance(shape, int) else math.prod(shape)) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=_block(size))


def _block(size: int) -> _Block:
    rounded = -(-size // _GRANULE) * _GRANULE
    return _Block(rounded, np.uint8, buffer=_mapping(rounded))


def cut(
    shapes: Sequence[tuple[int, ...]], dtype: Any, like: Array | None = None
) -> tuple[Array, list[Array], list[int]]:
    """One block of memory, not filled: as one flat array, and as an array of each shape.

    Every array begins at a multiple of 64 bytes, so that there may be gaps between them. None is a
    view of another: each knows the views that were made of it alone.

    Args:
        shapes: of the arrays.
        dtype: their type.
        like: an array on whose device the memory is; None is the CPU.

    Returns:
        the flat array; the arrays; the place of each one's first element in the flat array.
    """
    dtype = np.dtype(dtype)
    unit = max(1, _ALIGNMENT // dtype.itemsize)
    starts, end = [], 0
    for shape in shapes:
        starts.append(end)
        end += -(-math.prod(shape) // unit) * unit
    if like is not None and like.__class__ is not _plain:
        return *_cut_on_gpu(shapes, dtype, starts, end, like), starts
    block = _block(max(1, end * dtype.itemsize))
    parts = [
        np.ndarray(shape, dtype, buffer=block, offset=start * dtype.itemsize)
        for shape, start in zip(shapes, starts, strict=True)
    ]
    return np.ndarray(end, dtype, buffer=block), parts, starts


def _cut_on_gpu(
    shapes: Sequence[tuple[int, ...]], dtype: Any, starts: list[int], end: int, like: Array
) -> tuple[Array, list[Array]]:
    """CuPy's arrays in one allocation, which begins at a multiple of 256 bytes or more."""
    xp = array_module(like)
    with like.device:
        whole = xp.empty(end, dtype)
    parts = [
        xp.ndarray(shape, dtype, memptr=whole.data + start * dtype.itemsize)
        for shape, start in zip(shapes, starts, strict=True)
    ]
    return whole, parts


def owns(x: Array) -> bool:
    """Whether an array is no view of another: it has its memory for itself."""
    return x.base is None or x.base.__class__ is _Block


class _Offer(threading.local):
    """Arrays that the current thread's next calls of `empty` for such ones shall return."""

    arrays: tuple[Array | None, ...] = ()


_offer = _Offer()


def offer(*arrays: Array | None) -> None:
    """Let the next `empty` of just the shape and type of one of them, in this thread, return it.

    So a kernel's results come to lie where they are wanted, without a copy, and the kernel need not
    know. Should another array of the kernel's get a place, that is as good as any memory: whoever
    makes an offer looks afterwards where the results are. A call takes back what was offered
    before; None is no offer. For arrays on a GPU, launch code asks with `offered`.
    """
    _offer.arrays = arrays


def offered(kind: Any, shape: tuple[int, ...], dtype: Any) -> Array | None:
    """The array of that class, shape and type that was offered to this thread, if one was."""
    array: Any
    for array in _offer.arrays:
        if array.__class__ is kind and array.shape == shape and array.dtype == dtype:
            _offer.arrays = tuple([a for a in _offer.arrays if a is not array])
            return array
    return None


def _mapping(size: int) -> mmap.mmap:
    """The smallest kept mapping of that size to twice it, or a new one."""
    global _kept, _used, _most
    with _lock:
        fitting = [m for m in _free if size <= len(m) < 2 * size]
        if fitting:
            mapping = min(fitting, key=len)
            _free.remove(mapping)
            _kept -= len(mapping)
        else:
            _most = max(_most, _used + size)
            _trim(int(SPARE * _most) - _used - size)
            try:
                mapping = _new(size)
            except MemoryError:
                _trim(0)
                mapping = _new(size)
        _used += len(mapping)
        _most = max(_most, _used)
    return mapping


def _new(size: int) -> mmap.mmap:
    try:
        mapping = mmap.mmap(-1, size, **_OPTIONS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"cannot allocate {size} bytes: {error}") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


def _give_back(mapping: mmap.mmap) -> None:
    global _kept, _used
    with _lock:
        _free.append(mapping)
        _kept += len(mapping)
        _used -= len(mapping)


def _trim(limit: int) -> None:
    """Return mappings to the system, those kept longest first, until `limit` bytes are kept."""
    global _kept
    while _free and _kept > limit:
        _kept -= len(_free.pop(0))


def kept_bytes() -> int:
    """How many bytes are kept for later."""
    return _kept


def release() -> None:
    """Return all memory that is kept to the operating system."""
    with _lock:
        _trim(0)


def _after_fork() -> None:
    """In a child process: another thread of the parent may have held the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
