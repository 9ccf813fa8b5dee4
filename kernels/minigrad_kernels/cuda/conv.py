"""Convolution and its gradients in CUDA: the launch code of conv.cu."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from ..arrays import Array, check_out, deliver
from ..conv import check_forward, check_input_gradient, check_weight_gradient
from ..windows import Padding, Pair, channels_first
from .arrays import ceil_divide, contiguous, empty
from .c_types import c_name
from .conv_layout import (
    MULTIPROCESSORS,
    Taps,
    add_filter_parts,
    add_parts,
    forward_taps,
    gradient_taps,
    pack_filters,
    pixels,
    total_name,
    totals,
    vectors,
)
from .source import kernel

Tile = tuple[int, int, int, int]
"""Rows and columns of a block's part of a product, then of a thread's."""

TILES: dict[int, tuple[Tile, ...]] = {
    2: ((128, 64, 8, 8), (64, 64, 8, 8), (128, 32, 8, 4), (32, 32, 4, 4)),
    4: ((128, 64, 8, 8), (64, 64, 8, 8), (128, 32, 8, 4), (32, 32, 4, 4)),
    8: ((64, 64, 4, 4), (32, 32, 4, 4)),
}
"""By the bytes of a number."""

TERMS = 8
"""Terms of the sums in a step."""

LOADS = 16
"""A number that is loaded into a tile costs about as much as so many multiply-adds: it takes some
ten instructions to find its place, and some to move it."""

LEAST_THREADS = 256 * MULTIPROCESSORS
"""Threads that keep a GPU busy, if each has 64 independent sums."""

LEAST_STEPS = 16
"""Steps from which another part of a sum is worth adding it."""

MOST_PARTS = 2**26
"""Numbers in the partial sums of the filters' gradient: 256 MB of float32."""


def _shared(tile: Tile, itemsize: int) -> int:
    """Bytes of shared memory: two stages of both tiles, and 16 bytes at the end of A's rows."""
    total = max(4, itemsize)
    return 2 * TERMS * ((tile[0] + tile[1]) * total + 16)


class _Grid(NamedTuple):
    """A tile for products, how many of them there are, and in how many parts the sums are cut."""

    tile: Tile
    blocks: int
    parts: int

    @property
    def threads(self) -> int:
        """Those of a block."""
        return self.tile[0] // self.tile[2] * (self.tile[1] // self.tile[3])

    @property
    def cost(self) -> float:
        """The work of all blocks; more where there are too few of them to keep a GPU busy."""
        work = self.blocks * (self.tile[0] * self.tile[1] + LOADS * (self.tile[0] + self.tile[1]))
        return work * max(1.0, LEAST_THREADS / (self.blocks * self.parts * self.threads))


@functools.lru_cache(maxsize=1024)
def _grid(m: int, n: int, groups: int, steps: int, itemsize: int, most_parts: int) -> _Grid:
    """For products of m rows and n columns, one a group, in so many steps."""

    def grid(tile: Tile) -> _Grid:
        blocks = ceil_divide(m, tile[0]) * ceil_divide(n, tile[1]) * groups
        threads = blocks * _Grid(tile, 1, 1).threads
        parts = min(most_parts, steps // LEAST_STEPS, ceil_divide(2 * LEAST_THREADS, threads))
        return _Grid(tile, blocks, max(1, parts))

    return min(map(grid, TILES[itemsize]), key=lambda g: g.cost)


def _options(x: Array, tile: Tile, width: int) -> dict[str, str | int]:
    """The definitions of conv.cu."""
    names = ("BLOCK_M", "BLOCK_N", "THREAD_M", "THREAD_N")
    sizes = dict(zip(names, tile, strict=True))
    types = {"T": c_name(x), "TOTAL": total_name(x)}
    return {**types, "WIDTH": width, "BLOCK_K": TERMS, **sizes}


def _convolve(
    x: Array,
    w: Array,
    bias: Array | None,
    y: Array,
    down: Taps,
    across: Taps,
    groups: int,
    transposed: bool = False,
) -> None:
    """Write to y (N, H, W, filters) the convolution of x (N, H, W, channels) with some taps of w.

    `transposed`: it is a gradient, from w's filters to its channels.
    """
    images, channels, filters = len(x), x.shape[3], y.shape[3]
    per_group, each = channels // groups, filters // groups
    windows = images * down.axis.windows * across.axis.windows
    steps = ceil_divide(down.axis.taps * across.axis.taps * per_group, TERMS)
    whole = down.axis.step == across.axis.step == 1  # then all of y is computed
    grid = _grid(windows, each, groups, steps, x.itemsize, 64 if whole else 1)
    tile, parts = grid.tile, grid.parts
    options = _options(x, tile, vectors(x, per_group))
    terms, columns = steps * TERMS, ceil_divide(each, tile[1]) * tile[1]
    packed = pack_filters(w, groups, terms, columns, down, across, transposed=transposed)
    sums = totals(x, (parts, *y.shape)) if parts > 1 else None
    run = kernel("conv.cu", "convolve", **options)
    run(
        grid.blocks * parts, grid.threads, x, packed, bias, y if sums is None else None, sums,
        parts, images, groups, per_group, each, terms, int(transposed), *down.axis, *across.axis,
        shared=_shared(tile, x.itemsize),
    )  # fmt: skip
    if sums is not None:
        add_parts(sums, bias, y)


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
    """Correlate images with filters; channels lie last in the result."""
    size = check_forward(x, w, bias, stride, padding, dilation, groups)
    check_out(out, (len(x), len(w), *size))
    bias = None if bias is None else contiguous(bias)
    y = empty(x, (len(x), *size, len(w)))
    windows = forward_taps(x.shape[2:], size, w.shape[2:], stride, padding, dilation)
    _convolve(pixels(x), contiguous(w), bias, y, *windows, groups)
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

    It is a convolution for each remainder of the pixels modulo the stride; see `gradient_taps`.
    """
    size = check_input_gradient(g, w, input_size, stride, padding, dilation, groups)
    channels = w.shape[1] * groups
    check_out(out, (len(g), channels, *input_size))
    gx = empty(g, (len(g), *input_size, channels))
    gradient, w = pixels(g), contiguous(w)
    rows, columns = (
        gradient_taps(input_size[a], w.shape[2 + a], stride[a], padding[a][0], dilation[a], size[a])
        for a in range(2)
    )
    for down in rows:
        for across in columns:
            _convolve(gradient, w, None, gx, down, across, groups, transposed=True)
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
    """The gradient of the filters: sums over parts of the pixels, then of these."""
    size = check_weight_gradient(x, g, kernel_size, stride, padding, dilation, groups)
    per_group, each = x.shape[1] // groups, g.shape[1] // groups
    shape = (g.shape[1], per_group, *kernel_size)
    check_out(out, shape)
    taps = math.prod(kernel_size)
    gw = empty(x, shape)
    image, gradient = pixels(x), pixels(g)
    steps = ceil_divide(len(x) * math.prod(size), TERMS)
    most = max(1, MOST_PARTS // gw.size)
    grid = _grid(each, taps * per_group, groups, steps, x.itemsize, most)
    width = min(vectors(image, per_group), vectors(gradient, each))
    options = _options(x, grid.tile, width)
    down, across = forward_taps(x.shape[2:], size, kernel_size, stride, padding, dilation)
    sums = totals(x, (grid.parts, len(gw), *kernel_size, per_group))
    run = kernel("conv.cu", "correlate", **options)
    run(
        grid.blocks * grid.parts, grid.threads, image, gradient, sums, grid.parts, len(x), groups,
        per_group, each, *down.axis[:6], *across.axis[:6], shared=_shared(grid.tile, x.itemsize),
    )  # fmt: skip
    add_filter_parts(sums, gw)
    return deliver(gw, out)
