"""Average pooling in CUDA: the launch code of mean_pool.cu, _rows.cu and _adaptive.cu."""

from __future__ import annotations

from typing import Any

from ..arrays import Array, check_out, deliver
from ..pool import window_counts
from ..windows import Pair
from .arrays import aligned
from .c_types import c_name
from .pool_images import BLOCK, LOAD, Layout, blocks, index_type, is_last, load_width, native, room
from .pool_windows import launch
from .source import kernel

SMALL = 64
"""Pixels of a window that a thread adds up alone."""

LONG = 4096
"""Pixels of a window in a plane from which a block adds them up, not a warp."""


def avg_pool2d(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    out: Array | None = None,
) -> Array:
    """The mean of each window; padding is 0, and counts or not."""
    geometry = kernel_size, stride, padding
    outputs = window_counts(x.shape[2:], *geometry, (1, 1), ceil_mode)
    shape = (*x.shape[:2], *outputs)
    check_out(out, shape)
    last = is_last(x)
    y, to = room(shape, x.dtype, last, out, x)
    if to.size:
        counting, divisor = _counting(count_include_pad, divisor_override)
        arrays = native(x, last), to
        sizes = x.shape, outputs, geometry, last, divisor
        launch("mean_pool", "means", arrays, *sizes, COUNTING=counting)
    return deliver(y, out)


def avg_pool2d_gradient(
    g: Array,
    *,
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    out: Array | None = None,
) -> Array:
    """The gradient of avg_pool2d's images, given that of its output, g."""
    geometry = kernel_size, stride, padding
    outputs = window_counts(input_size, *geometry, (1, 1), ceil_mode)
    if g.shape[2:] != outputs:
        raise ValueError(
            f"avg_pool2d_gradient: g {g.shape} does not fit images of {input_size}: their windows "
            f"are {outputs}"
        )
    shape = (*g.shape[:2], *input_size)
    check_out(out, shape)
    last = is_last(g)
    gx, to = room(shape, g.dtype, last, out, g)
    if to.size:
        counting, divisor = _counting(count_include_pad, divisor_override)
        arrays = native(g, last), to
        sizes = shape, outputs, geometry, last, divisor
        launch("mean_pool", "means_gradient", arrays, *sizes, COUNTING=counting)
    return deliver(gx, out)


def _counting(count_include_pad: bool, divisor_override: int | None) -> tuple[int, int]:
    """The definition COUNTING of mean_pool.cu, and the divisor if it is a given one."""
    if divisor_override is not None:
        return 2, divisor_override
    return (0 if count_include_pad else 1), 0


# Adaptive means


def adaptive_avg_pool2d(x: Array, *, output_size: Pair, out: Array | None = None) -> Array:
    """The means of output_size windows that cover x evenly."""
    shape = (*x.shape[:2], *output_size)
    check_out(out, shape)
    last = is_last(x)
    y, to = room(shape, x.dtype, last, out, x)
    if to.size:
        size: Pair = (x.shape[2], x.shape[3])
        source = native(x, last)
        width = _width(source, to, x.shape[1], size[1], output_size[1], last)
        members = _members(size, output_size, last)
        run = _adaptive("means", source, to, last, WIDTH=width, MEMBERS=members)
        layout = Layout.of(shape, last)
        items = to.size // (width if last else 1)
        sizes = layout.images, layout.channels, *size, *output_size
        run(blocks(items, BLOCK // members), BLOCK, source, to, *sizes)
    return deliver(y, out)


def adaptive_avg_pool2d_gradient(g: Array, *, input_size: Pair, out: Array | None = None) -> Array:
    """The gradient of adaptive_avg_pool2d's images, given its output's, g."""
    shape = (*g.shape[:2], *input_size)
    check_out(out, shape)
    last = is_last(g)
    gx, to = room(shape, g.dtype, last, out, g)
    if not g.size:
        to[...] = 0
    elif to.size:
        output_size: Pair = (g.shape[2], g.shape[3])
        source = native(g, last)
        width = _width(to, source, g.shape[1], input_size[1], output_size[1], last)
        run = _adaptive("means_gradient", source, to, last, WIDTH=width, MEMBERS=1)
        layout = Layout.of(shape, last)
        sizes = layout.images, layout.channels, *input_size, *output_size
        run(blocks(to.size // width), BLOCK, source, to, *sizes)
    return deliver(gx, out)


def _adaptive(name: str, source: Array, to: Array, last: bool, **definitions: int) -> Any:
    types = {"T": c_name(source), "INDEX": index_type(source, to)}
    return kernel("mean_pool_adaptive.cu", name, PLANES=int(not last), **types, **definitions)


def _width(
    images: Array, means: Array, channels: int, columns: int, windows: int, last: bool
) -> int:
    """How many channels, or pixels of a plane, a thread loads: those of a load, or one.

    Pixels are loaded together where the windows are as wide as the images.
    """
    if last:
        return load_width(channels, images, means)
    width = LOAD // images.itemsize
    return width if windows == 1 and aligned(width, columns, images) else 1


def _members(size: Pair, windows: Pair, last: bool) -> int:
    """How many threads share a window."""
    pixels = -(-size[0] // windows[0]) * -(-size[1] // windows[1])
    if pixels <= SMALL // (1 if last else 8):
        return 1
    return BLOCK if pixels >= LONG and not last else 32
