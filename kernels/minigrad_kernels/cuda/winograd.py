"""Convolution with 3×3 filters by Winograd's method in CUDA: winograd.cu around conv.cu.

The transforms of tiles are pixels of 36 groups of channels, (1, 1, tiles, 36 * C), and products of
them a convolution with filters of one pixel.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..arrays import Array, check_out, deliver
from ..conv import check_forward, check_input_gradient, check_weight_gradient
from ..windows import Padding, Pair, channels_first
from .arrays import ceil_divide, contiguous, empty
from .c_types import c_name
from .conv import IN_REGISTERS
from .conv_launch import convolve, correlate, grid, padded_columns
from .conv_layout import Axis, loop, new_images, pixels, totals
from .launch import KernelFunction
from .source import kernel

PRODUCTS = 36
"""Numbers of a tile's transform."""

MOST_TRANSFORMED = 2**28
"""Bytes of transforms at a time: images are cut in blocks that do not need more."""


def _kernel(name: str, x: Array) -> KernelFunction:
    return kernel("winograd.cu", name, T=c_name(x))


def _tiles(size: Pair) -> int:
    """Of 4×4 pixels, in an image."""
    return ceil_divide(size[0], 4) * ceil_divide(size[1], 4)


def _blocks(images: int, size: Pair, channels: int, itemsize: int) -> Iterator[slice]:
    """Runs of images; their transforms have so many channels in all."""
    each = _tiles(size) * PRODUCTS * channels * itemsize
    count = max(1, MOST_TRANSFORMED // each)
    for start in range(0, images, count):
        yield slice(start, min(images, start + count))


def _along(tiles: int) -> tuple[Axis, Axis]:
    """A convolution with filters of one pixel, over tiles."""
    one = Axis(1, 1, up=1, shift=0, pace=1, taps=1, out_size=1, first=0, step=1)
    return one, one._replace(size=tiles, windows=tiles, out_size=tiles)


def _transformed(x: Array, size: Pair, above: int, beside: int) -> Array:
    """Of the 6×6 pixels of x (N, H, W, C) under each tile of an output of that size."""
    tiles, channels = len(x) * _tiles(size), x.shape[3]
    v = empty(x, (1, 1, tiles, PRODUCTS * channels))
    tasks = tiles * channels
    _kernel("transform_images", x)(
        loop(tasks), 256, x, v, tasks, channels, *x.shape[1:3], *size, above, beside
    )
    return v


def _convolution(
    x: Array, w: Array, bias: Array | None, y: Array, above: int, beside: int, transposed: bool
) -> None:
    """Write to y (N, H, W, K) the convolution of x (N, H, W, C) with w, or w turned by half a turn.

    `transposed`: w's filters are channels of x, and its channels those of y.
    """
    channels, filters, size = x.shape[3], y.shape[3], y.shape[1:3]
    per_filter, per_channel = w.shape[1] * 9, 9
    strides = (
        (8, per_channel, per_filter, -3, -1) if transposed else (0, per_filter, per_channel, 3, 1)
    )
    steps = ceil_divide(channels, IN_REGISTERS.terms(x.itemsize))
    images = min(len(x), next(_blocks(len(x), size, channels + filters, x.itemsize)).stop)
    tiles = images * _tiles(size)
    chosen = grid(IN_REGISTERS, tiles, filters, PRODUCTS, steps, x.itemsize, 1)
    terms = steps * IN_REGISTERS.terms(x.itemsize)
    columns = padded_columns(chosen.tile, filters)
    u = empty(x, (PRODUCTS, terms, columns))
    _kernel("transform_filters", x)(
        loop(terms * columns), 256, w, u, terms, columns, channels, filters, *strides
    )
    for block in _blocks(len(x), size, channels + filters, x.itemsize):
        part, to = x[block], y[block]
        v = _transformed(part, size, above, beside)
        m = empty(x, (1, 1, v.shape[2], PRODUCTS * filters))
        rows = ceil_divide(v.shape[2], chosen.tile.rows)
        blocks = rows * ceil_divide(filters, chosen.tile.columns) * PRODUCTS
        convolve(
            IN_REGISTERS, chosen._replace(blocks=blocks), v, u, None, m, *_along(v.shape[2]),
            PRODUCTS, only_inside=False,
        )  # fmt: skip
        tasks = v.shape[2] * filters
        _kernel("transform_results", x)(
            loop(tasks), 256, m, bias, to, tasks, filters, *size, part, w, channels,
            *x.shape[1:3], above, beside, int(transposed), *strides,
        )  # fmt: skip


def conv2d(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    out: Array | None = None,
) -> Array:
    """Correlate images with 3×3 filters; channels lie last in the result."""
    size = check_forward(x, w, bias, stride, padding, dilation, groups)
    check_out(out, (len(x), len(w), *size))
    y = new_images(x, len(x), size, len(w))
    bias = None if bias is None else contiguous(bias)
    above, beside = padding[0][0], padding[1][0]
    _convolution(pixels(x), contiguous(w), bias, y, above, beside, transposed=False)
    return deliver(channels_first(y), out)


def conv2d_input_gradient(
    g: Array,
    w: Array,
    *,
    input_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    out: Array | None = None,
) -> Array:
    """The gradient of the images; channels lie last in the result.

    It is the convolution of g with the filters turned by half a turn, g padded by 2 zeros less the
    padding.
    """
    check_input_gradient(g, w, input_size, stride, padding, dilation, groups)
    check_out(out, (len(g), w.shape[1], *input_size))
    gx = new_images(g, len(g), input_size, w.shape[1])
    above, beside = 2 - padding[0][0], 2 - padding[1][0]
    _convolution(pixels(g), contiguous(w), None, gx, above, beside, transposed=True)
    return deliver(channels_first(gx), out)


def conv2d_weight_gradient(
    x: Array,
    g: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    out: Array | None = None,
) -> Array:
    """The gradient of the filters."""
    size = check_weight_gradient(x, g, kernel_size, stride, padding, dilation, groups)
    channels, filters = x.shape[1], g.shape[1]
    check_out(out, (filters, channels, *kernel_size))
    gw = empty(x, (filters, channels, *kernel_size))
    image, gradient = pixels(x), pixels(g)
    above, beside = padding[0][0], padding[1][0]
    sums = []
    for block in _blocks(len(x), size, channels + filters, x.itemsize):
        v = _transformed(image[block], size, above, beside)
        e = empty(g, (1, 1, v.shape[2], PRODUCTS * filters))
        tasks = v.shape[2] * filters
        _kernel("transform_gradients", g)(
            loop(tasks), 256, gradient[block], e, tasks, filters, *size
        )
        sums.append(correlate(IN_REGISTERS, v, e, *_along(v.shape[2]), PRODUCTS))
    parts = sums[0] if len(sums) == 1 else _joined(sums)
    _kernel("filter_gradient", x)(
        ceil_divide(filters * channels, 128), 128, parts, gw, len(parts), filters, channels, image,
        gradient, len(x), *x.shape[2:], *size, above, beside,
    )  # fmt: skip
    return deliver(gw, out)


def _joined(sums: list[Array]) -> Array:
    """The parts of all of them, one behind the other."""
    joined = totals(sums[0], (sum(map(len, sums)), *sums[0].shape[1:]))
    at = 0
    for parts in sums:
        joined[at : at + len(parts)] = parts
        at += len(parts)
    return joined
