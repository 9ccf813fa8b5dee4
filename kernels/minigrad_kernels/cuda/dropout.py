"""Dropout in CUDA: the launch code of dropout.cu."""

from __future__ import annotations

from ..arrays import Array, deliver
from .arrays import aligned, ceil_divide, contiguous, result
from .elementwise import THREADS, blocks, elementwise_kernel


def dropout(x: Array, *, p: float, seed: int, offset: int, out: Array | None = None) -> Array:
    """x / (1 - p) where an element's random word is at least p * 2**32, else 0.

    Elements are numbered in row-major order, so that an array of another layout is copied first.
    """
    source = contiguous(x)
    y = result(out, (x,), x.shape, x.dtype)
    threshold = round(p * 2**32)
    if threshold == 2**32:  # no word is as large
        y.fill(0)
    elif x.size:
        width = min(4, 16 // x.itemsize)
        whole = x.size // 4 if aligned(width, width, source, y) else 0
        scale = float(x.dtype.type(1 / (1 - p)))  # rounded as the reference's is
        run = elementwise_kernel("dropout.cu", "dropout", x)
        counter = (seed % 2**64, offset % 2**64)
        grid = blocks(ceil_divide(x.size, 4))
        run(grid, THREADS, source, y, *counter, threshold, scale, x.size, whole)
    return y if y is out else deliver(y, out)
