"""What all convolutions in CUDA share: images with their channels last, and windows as numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..arrays import Array, array_module
from ..windows import Padding, Pair, channels_last
from .arrays import address, ceil_divide, contiguous, empty
from .c_types import C_NAMES, c_name
from .launch import KernelFunction
from .source import kernel

MULTIPROCESSORS = 132
"""Those of an H100: how finely work is cut. The same everywhere, so that sums have one order."""

MOST_BLOCKS = 16 * MULTIPROCESSORS
"""Blocks of a kernel whose threads go through an array in a loop."""

MOST_PIXELS = 2**30
"""Pixels that kernels count in 32 bits, with room for the padding."""

_TILE = 32


class Axis(NamedTuple):
    """Windows along one axis: `Axis` in windows.cuh, whose fields are a kernel's parameters.

    Tap t of window i lies on pixel up * i + shift + pace * t, and its result at first + step * i.
    """

    size: int
    windows: int
    up: int
    shift: int
    pace: int
    taps: int
    out_size: int
    first: int
    step: int


class Taps(NamedTuple):
    """Windows along one axis, and the filters' taps that they have: first, first + step, ..."""

    axis: Axis
    first: int
    step: int


ALIGNMENT = 16
"""Bytes of the widest loads."""


def pixels(x: Array) -> Array:
    """Images (N, C, H, W) as an aligned array (N, H, W, C), copied only if need be.

    Raises:
        ValueError: for more pixels than kernels count.
    """
    _check_count(len(x), x.shape[2:])
    last = channels_last(x)
    if contiguous(last) is last:
        return last if address(last) % ALIGNMENT == 0 else array_module(x).array(last, copy=True)
    x = contiguous(x)
    y = empty(x, last.shape)
    if x.size:
        count = math.prod(x.shape[2:])
        tiles = len(x) * ceil_divide(x.shape[1], _TILE) * ceil_divide(count, _TILE)
        run = layout_kernel(x, "channels_to_last")
        run(min(tiles, MOST_BLOCKS), (32, 8), x, y, x.shape[1], count, tiles)
    return y


def new_images(like: Array, count: int, size: Pair, channels: int) -> Array:
    """A new array (N, H, W, C) for results, not filled. Raises as `pixels`."""
    _check_count(count, size)
    return empty(like, (count, *size, channels))


def _check_count(count: int, size: Pair) -> None:
    """Padding makes any number of pixels of few: predicates look at the images only."""
    if count * math.prod(size) > MOST_PIXELS:
        raise ValueError(
            f"conv2d: {count} images of {size[0]} x {size[1]} pixels; at most {MOST_PIXELS} pixels "
            "can be counted"
        )


def layout_kernel(x: Array, name: str) -> KernelFunction:
    """A kernel of conv_layout.cu for arrays of this type."""
    return kernel("conv_layout.cu", name, T=c_name(x), TOTAL=total_name(x))


def total_name(x: Array) -> str:
    """The type that sums of x have in a kernel."""
    return "double" if x.itemsize == 8 else "float"


def totals(x: Array, shape: tuple[int, ...]) -> Array:
    """A new array for sums, not filled."""
    return empty(x, shape, f"f{max(4, x.itemsize)}")


def loop(size: int) -> int:
    """Blocks of 256 threads that go through so many numbers."""
    return min(MOST_BLOCKS, ceil_divide(size, 256))


def convolvable(x: Array, other: Array, *more: Array | None) -> bool:
    """Whether arrays are of one type that kernels compute in, and not empty or too many pixels.

    They are the images, and the filters or the gradient; and perhaps a bias.
    """
    dtype = x.dtype
    return (
        dtype in C_NAMES
        and x.ndim == other.ndim == 4
        and all(a is None or a.dtype == dtype for a in (other, *more))
        and bool(x.size and other.size)
        and len(x) * math.prod(x.shape[2:]) <= MOST_PIXELS
    )


def forward_taps(
    size: Pair, windows: Pair, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> tuple[Taps, Taps]:
    """The windows of a convolution, along rows and along columns."""
    down, across = (
        Axis(n, count, up, -before, pace, taps, out_size=count, first=0, step=1)
        for n, count, up, (before, _), pace, taps in zip(
            size, windows, stride, padding, dilation, kernel_size, strict=True
        )
    )
    return Taps(down, 0, 1), Taps(across, 0, 1)


def gradient_taps(
    size: int, kernel: int, stride: int, before: int, dilation: int, windows: int
) -> list[Taps]:
    """The gradient of images along one axis: a convolution for each remainder modulo the stride.

    Tap k of window p lies on pixel q = stride * p + dilation * k - before. So pixel q has its
    gradient from the taps for which p = (q + before - dilation * k) / stride is whole: with r the
    common divisor of stride and dilation, from every (stride / r)-th one, whose windows lie
    dilation / r apart, backwards. In this convolution windows are what pixels are in the other.

    >>> found = gradient_taps(5, kernel=3, stride=2, before=1, dilation=1, windows=3)
    >>> for axis, first, step in found:
    ...     pixels = f"pixels {axis.first}, {axis.first + axis.step}, ..."
    ...     print(f"{pixels}: {axis.taps} taps, from {first} every {step}., "
    ...           f"of windows {axis.shift}, {axis.shift + axis.pace}, ...")
    pixels 0, 2, ...: 1 taps, from 1 every 2., of windows 0, -1, ...
    pixels 1, 3, ...: 2 taps, from 0 every 2., of windows 1, 0, ...
    """
    common = math.gcd(stride, dilation)
    found = []
    for q in range(min(stride, size)):
        taps = [k for k in range(kernel) if (q + before - dilation * k) % stride == 0]
        first = taps[0] if taps else 0
        axis = Axis(
            size=windows,
            windows=ceil_divide(size - q, stride),
            up=1,
            shift=(q + before - dilation * first) // stride,
            pace=-(dilation // common),
            taps=len(taps),
            out_size=size,
            first=q,
            step=stride,
        )
        found.append(Taps(axis, first, stride // common))
    return found


def pack_filters(
    w: Array,
    groups: int,
    terms: int,
    columns: int,
    down: Taps,
    across: Taps,
    *,
    transposed: bool,
    for_tensor_cores: bool = False,
) -> Array:
    """Filters (O, C / groups, kh, kw) as matrices (groups, terms, columns), filled with zeros.

    Terms are the taps of `down` and `across`, and in each the channels; columns are the filters.
    `transposed`: terms are taps and filters, columns are channels. `for_tensor_cores`: columns come
    before terms, and float32 is rounded to TF32.
    """
    filters, per_group, kh, kw = w.shape
    each = filters // groups
    sizes = (per_group, each) if transposed else (each, per_group)
    strides = (kh * kw, per_group * kh * kw) if transposed else (per_group * kh * kw, kh * kw)
    shape = (columns, terms) if for_tensor_cores else (terms, columns)
    packed = empty(w, (groups, *shape))
    if packed.size:
        layout_kernel(w, "pack_filters")(
            loop(packed.size), 256, w, packed, groups, terms, columns,
            down.axis.taps * across.axis.taps * sizes[1], *sizes, across.axis.taps,
            int(for_tensor_cores), down.first * kw + across.first, w.size // groups, *strides,
            down.step * kw, across.step,
        )  # fmt: skip
    return packed


def add_parts(parts: Array, bias: Array | None, y: Array) -> None:
    """Write to y (N, H, W, filters) the sum of the parts, along their first axis, and the bias."""
    add = layout_kernel(y, "add_parts")
    add(loop(y.size), 256, parts, bias, y, len(parts), y.size, y.shape[-1])


def add_filter_parts(parts: Array, gw: Array) -> None:
    """Write to gw (O, C / groups, kh, kw) the sum of parts (parts, O, kh, kw, C / groups)."""
    filters, per_group, kh, kw = gw.shape
    add = layout_kernel(gw, "add_filter_parts")
    add(loop(gw.size), 256, parts, gw, len(parts), filters, kh * kw, per_group)
