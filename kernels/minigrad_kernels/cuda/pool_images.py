"""Images as pooling's kernels take them: in one of two layouts, and with room for the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..arrays import Array, array_module
from ..windows import Pair, channels_first, channels_last
from .arrays import aligned, ceil_divide, contiguous, empty
from .c_types import C_NAMES

BLOCK = 256
"""Threads of a block, the same as in pool_images.cuh."""

MOST_BLOCKS = 16 * 132
"""Blocks of a grid, whose threads then go on to further items: twice what an H100's 132
multiprocessors have room for."""

LONGEST = 2**31
"""Elements from which on 64 bits count them."""

LOAD = 16
"""Bytes that one instruction loads."""


def images(x: Array, *others: Array) -> bool:
    """Whether these are images, the first of a type that kernels compute in."""
    return x.dtype in C_NAMES and all(a.ndim == 4 for a in (x, *others))


def poolable(
    x: Array,
    *others: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    input_size: Pair = (0, 0),
    **_: Any,
) -> bool:
    """Whether kernels take these images and windows: 32 bits hold the place of any element."""
    if not images(x, *others):
        return False
    plane = 1
    for i in (0, 1):
        extent = abs(dilation[i]) * (abs(kernel_size[i]) + 1) + abs(stride[i])
        plane *= max(x.shape[2 + i], input_size[i]) + 2 * abs(padding[i]) + extent
    return plane < 2**31


def adaptive(x: Array, *, input_size: Pair = (0, 0), output_size: Pair = (0, 0), **_: Any) -> bool:
    """Whether kernels take these images: 32 bits hold pixels times windows of a row or column."""
    if not images(x):
        return False
    size = x.shape[2:]
    sides = [
        (n + 1) * (max(a, b) + 1) for n, a, b in zip(size, input_size, output_size, strict=True)
    ]
    return max(*sides, math.prod(size), math.prod(input_size)) < 2**31


def is_last(x: Array) -> bool:
    """Whether kernels go through x (N, C, H, W) with its channels side by side, not its pixels."""
    if x.flags.c_contiguous:
        return x.shape[2] * x.shape[3] == 1  # both at once: the channels are the longer row
    return x.shape[1] > 1 and abs(x.strides[1]) < abs(x.strides[3])


def native(x: Array, last: bool) -> Array:
    """x in that layout, (N, H, W, C) or (N, C, H, W), as a C-contiguous array: a view or a copy."""
    return contiguous(channels_last(x) if last else x)


def room(
    shape: tuple[int, ...], dtype: Any, last: bool, out: Array | None, *inputs: Array
) -> tuple[Array, Array]:
    """Where to write images of that shape (N, C, H, W): as they are, and in their native layout.

    It is `out`, if its memory is in that layout and not an input's; `deliver` copies it there if
    not. `out` was checked to have that shape.
    """
    if out is not None and out.dtype == dtype:
        memory = channels_last(out) if last else out
        apart = not any(array_module(out).may_share_memory(out, x) for x in inputs)
        if contiguous(memory) is memory and apart:
            return out, memory
    n, c, h, w = shape
    memory = empty(inputs[0], (n, h, w, c) if last else shape, dtype)
    return (channels_first(memory) if last else memory), memory


@dataclass(frozen=True)
class Layout:
    """How many images of how many channels side by side kernels see: planes are images of one."""

    images: int
    channels: int

    @classmethod
    def of(cls, shape: tuple[int, ...], last: bool) -> Layout:
        """That of images (N, C, H, W)."""
        return cls(shape[0], shape[1]) if last else cls(shape[0] * shape[1], 1)


def load_width(length: int, x: Array, *others: Array) -> int:
    """How many of x's elements 16 bytes hold, if rows of that length are such loads; or 1.

    Those of the others are loaded as many at a time, in several loads where they are wider.
    """
    width = LOAD // x.itemsize
    fits = aligned(width, length, x) and all(
        aligned(min(width, LOAD // a.itemsize), length, a) for a in others
    )
    return width if fits else 1


def index_type(*arrays: Array) -> str:
    """The type that counts the elements of these arrays."""
    return "unsigned" if max(a.size for a in arrays) < LONGEST else "long long"


def blocks(items: int, of_block: int = BLOCK) -> int:
    """The grid for so many items."""
    return min(ceil_divide(items, of_block), MOST_BLOCKS)
