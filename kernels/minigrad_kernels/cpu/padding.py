"""Images as convolutions read them: channels last in memory, zeros around."""

from __future__ import annotations

import numba
import numpy as np
from numba import prange

from ..arrays import Array
from ..memory import empty
from ..windows import channels_last
from .compiled import compiled
from .tile import transpose
from .vector import clear, copy


@compiled
def _channels_last(x, y, images, channels, pixels, block):
    """y (images, pixels, channels) = x (images, channels, pixels)."""
    blocks = (pixels + block - 1) // block
    for task in prange(images * blocks):
        image, part = divmod(np.intp(task), blocks)
        first = part * block
        at = image * channels * pixels
        transpose(
            x, at + first, pixels, channels, min(block, pixels - first),
            y, at + first * channels, channels,
        )  # fmt: skip


def pixels(x: Array) -> Array:
    """Images (N, C, H, W) as a C-contiguous array (N, H, W, C), copied only if need be."""
    last = channels_last(x)
    if last.flags.c_contiguous:
        return last
    x = np.ascontiguousarray(x)
    y = empty(last.shape, x.dtype)
    images, channels, height, width = x.shape
    run = _channels_last.suited(x.size)
    run(x.reshape(-1), y.reshape(-1), images, channels, height * width, 256)
    return y


@numba.njit
def _pad_line(line, to, first, count, beside, filled, x, at, channels, columns):
    """Write a line of y, at line[to]: zeros, and if it is `filled`, `count` pixels from x[at]."""
    if not filled:
        clear(line, to, columns * channels)
        return
    ahead = (first + beside) * channels
    clear(line, to, ahead)
    clear(line, to + ahead + count * channels, (columns - count) * channels - ahead)
    copy(line, to + ahead, x, at, count * channels)


@compiled
def _pad(x, y, images, height, width, channels, above, beside, rows, columns):
    """Copy x to y (images, rows, columns, channels), `above` rows down and `beside` columns across,
    zeros around."""
    first, last = max(0, -beside), min(width, columns - beside)
    for task in prange(images * rows):
        image, i = divmod(np.intp(task), rows)
        row = i - above
        at = ((image * height + row) * width + first) * channels
        _pad_line(
            y, np.intp(task) * columns * channels, first, last - first, beside,
            0 <= row < height and first < last, x, at, channels, columns,
        )  # fmt: skip


def padded(x: Array, above: int, beside: int, rows: int, columns: int) -> Array:
    """Images x (N, C, H, W) in frames of zeros (N, rows, columns, C), `above` and `beside` an edge.

    What lies outside its frame is left out.
    """
    images, channels, height, width = x.shape
    last = pixels(x)
    if (above, beside, rows, columns) == (0, 0, height, width):
        return last
    y = empty((images, rows, columns, channels), x.dtype)
    run = _pad.suited(y.size)
    run(
        last.reshape(-1), y.reshape(-1), images, height, width, channels,
        above, beside, rows, columns,
    )  # fmt: skip
    return y
