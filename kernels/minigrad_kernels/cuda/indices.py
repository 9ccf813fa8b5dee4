"""Indices and class numbers, looked at on the GPU: the launch code of indices.cu and
class_shares.cu."""

from __future__ import annotations

import numpy as np

from ..arrays import Array, check_out, deliver
from .arrays import contiguous, empty
from .c_types import c_name
from .source import kernel

THREADS = 1024
A_BLOCK = 1 << 14
"""Indices that are worth a block of their own."""

MOST_BLOCKS = 128

MOST_SHARES = 1 << 17
"""Class numbers up to which one block takes no longer than some launches."""


def index_bounds(index: Array, *, skip: int | None = None, out: Array | None = None) -> Array:
    """The smallest and the largest index."""
    check_out(out, (2,))
    if index.dtype.kind != "i" or index.itemsize not in (4, 8):
        index = index.astype(np.int64)
    bounds = contiguous(index).reshape(-1)
    blocks = max(1, min(MOST_BLOCKS, bounds.size // A_BLOCK))
    for count in (blocks, 1) if blocks > 1 else (1,):
        bounds = _bounds(bounds, count, skip)
    return deliver(bounds, out)


def _bounds(index: Array, blocks: int, skip: int | None) -> Array:
    """Those of what each block looks at, one after the other."""
    found = empty(index, (2 * blocks,), np.int64)
    name = "int" if index.itemsize == 4 else "long long"
    run = kernel("indices.cu", "index_bounds", INDEX=name)
    run(blocks, THREADS, index, found, index.size, skip or 0, skip is not None)
    return found


def class_shares(target: Array, x: Array, *, out: Array | None = None) -> Array:
    """What each sample counts in a mean."""
    check_out(out, target.shape)
    shares = empty(target, target.shape, x.dtype)
    if target.size:
        run = kernel("class_shares.cu", "class_shares", T=c_name(shares))
        run(1, THREADS, contiguous(target), shares, target.size)
    return deliver(shares, out)
