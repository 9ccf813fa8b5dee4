"""Convolution and its gradients as products of matrices: the launch code of every method for them.

A method is a .cu file with two kernels: `convolve`, whose sums are over windows, and `correlate`,
whose sums are over pixels. Here is what they have in common: which tile a block computes, in how
many parts long sums are cut, and which convolutions a gradient is made of.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import NamedTuple

from ..arrays import Array, check_out, deliver
from ..conv import check_forward, check_input_gradient, check_weight_gradient
from ..windows import Padding, Pair, channels_first
from .arrays import ceil_divide, contiguous, empty
from .conv_layout import (
    MULTIPROCESSORS,
    Axis,
    Taps,
    add_filter_parts,
    add_parts,
    forward_taps,
    gradient_taps,
    new_images,
    pack_filters,
    pixels,
    totals,
)
from .source import kernel

MOST_PARTS = 2**26
"""Numbers in the partial sums of the filters' gradient: 256 MB of float32."""

LEAST_STEPS = 16
"""Steps from which another part of a sum is worth adding it."""


class Tile(NamedTuple):
    """The part of a product that a block computes."""

    rows: int
    columns: int
    threads: int
    options: tuple[tuple[str, int], ...] = ()
    """More definitions of the kernel."""


class Method(ABC):
    """How products are computed.

    Attributes:
        file: the .cu file.
        loads: what loading a number to a tile costs, in multiply-adds.
        fill: threads that a multiprocessor needs to be busy.
        tensor_cores: whether filters are packed for them.
    """

    file: str
    loads: int
    fill: int
    tensor_cores: bool

    @abstractmethod
    def tiles(self, itemsize: int) -> tuple[Tile, ...]:
        """The tiles for numbers of so many bytes."""

    @abstractmethod
    def terms(self, itemsize: int) -> int:
        """Terms of the sums in a step: BLOCK_K."""

    @abstractmethod
    def options(self, x: Array, tile: Tile, *channels: int) -> dict[str, str | int]:
        """The definitions of the file; `channels` are the numbers side by side in a group."""

    @abstractmethod
    def shared(self, tile: Tile, itemsize: int, over_pixels: bool) -> int:
        """Bytes of dynamic shared memory, of `correlate` where sums are over pixels."""


class Grid(NamedTuple):
    """A tile, how many of them there are, and in how many parts the sums are cut."""

    tile: Tile
    blocks: int
    parts: int


@functools.lru_cache(maxsize=1024)
def grid(
    method: Method, m: int, n: int, groups: int, steps: int, itemsize: int, most_parts: int
) -> Grid:
    """For products of m rows and n columns, one a group, in so many steps.

    The tile is chosen that computes and loads least, counting what lies outside of the product;
    more where its blocks are too few to keep a GPU busy. Parts of the sums make them more.
    """
    threads = method.fill * MULTIPROCESSORS

    def cut(tile: Tile) -> Grid:
        blocks = ceil_divide(m, tile.rows) * ceil_divide(n, tile.columns) * groups
        wanted = ceil_divide(2 * threads, blocks * tile.threads)
        return Grid(tile, blocks, max(1, min(most_parts, steps // LEAST_STEPS, wanted)))

    def cost(g: Grid) -> float:
        rows, columns = g.tile[:2]
        work = g.blocks * (rows * columns + method.loads * (rows + columns))
        return work * max(1.0, threads / (g.blocks * g.parts * g.tile.threads))

    return min(map(cut, method.tiles(itemsize)), key=cost)


def convolve(
    method: Method,
    chosen: Grid,
    x: Array,
    packed: Array,
    bias: Array | None,
    y: Array,
    down: Axis,
    across: Axis,
    groups: int,
    only_inside: bool,
) -> None:
    """Write to y (N, H, W, filters) the convolution of x (N, H, W, channels) with packed filters.

    `only_inside`: taps outside of the images are left out, and are not zeros times weights.
    """
    tile, blocks, parts = chosen
    per_group, each = x.shape[3] // groups, y.shape[3] // groups
    sums = totals(x, (parts, *y.shape)) if parts > 1 else None
    kernel(method.file, "convolve", **method.options(x, tile, per_group))(
        blocks * parts, tile.threads, x, packed, bias, y if sums is None else None, sums, parts,
        len(x), groups, per_group, each, packed.size // (groups * padded_columns(tile, each)),
        int(only_inside), *down, *across,
        shared=method.shared(tile, x.itemsize, over_pixels=False),
    )  # fmt: skip
    if sums is not None:
        add_parts(sums, bias, y)


def padded_columns(tile: Tile, each: int) -> int:
    """Columns of packed filters: those of whole tiles."""
    return ceil_divide(each, tile.columns) * tile.columns


def _convolve_taps(
    method: Method,
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
    per_group, each = x.shape[3] // groups, y.shape[3] // groups
    windows = len(x) * down.axis.windows * across.axis.windows
    block_terms = method.terms(x.itemsize)
    steps = ceil_divide(down.axis.taps * across.axis.taps * per_group, block_terms)
    whole = down.axis.step == across.axis.step == 1  # then all of y is computed
    chosen = grid(method, windows, each, groups, steps, x.itemsize, 64 if whole else 1)
    packed = pack_filters(
        w, groups, steps * block_terms, padded_columns(chosen.tile, each), down, across,
        transposed=transposed, for_tensor_cores=method.tensor_cores,
    )  # fmt: skip
    convolve(
        method, chosen, x, packed, bias, y, down.axis, across.axis, groups, only_inside=transposed
    )


def correlate(method: Method, x: Array, g: Array, down: Axis, across: Axis, groups: int) -> Array:
    """Sums over the pixels of g (N, H, W, filters) times those under the taps of x, channels last.

    They have several parts: (parts, filters, taps along rows, along columns, channels of a group).
    """
    per_group, each = x.shape[3] // groups, g.shape[3] // groups
    terms = down.taps * across.taps * per_group
    steps = ceil_divide(g.size // g.shape[3], method.terms(x.itemsize))
    most_parts = max(1, MOST_PARTS // (g.shape[3] * terms))
    tile, blocks, parts = grid(method, each, terms, groups, steps, x.itemsize, most_parts)
    sums = totals(x, (parts, g.shape[3], down.taps, across.taps, per_group))
    kernel(method.file, "correlate", **method.options(x, tile, per_group, each))(
        blocks * parts, tile.threads, x, g, sums, parts, len(x), groups, per_group, each,
        *down[:6], *across[:6], shared=method.shared(tile, x.itemsize, over_pixels=True),
    )  # fmt: skip
    return sums


def convolution(
    method: Method,
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
    y = new_images(x, len(x), size, len(w))
    windows = forward_taps(x.shape[2:], size, w.shape[2:], stride, padding, dilation)
    _convolve_taps(method, pixels(x), contiguous(w), bias, y, *windows, groups)
    return deliver(channels_first(y), out)


def input_gradient(
    method: Method,
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
    gx = new_images(g, len(g), input_size, channels)
    gradient, w = pixels(g), contiguous(w)
    rows, columns = (
        gradient_taps(input_size[a], w.shape[2 + a], stride[a], padding[a][0], dilation[a], size[a])
        for a in range(2)
    )
    for down in rows:
        for across in columns:
            _convolve_taps(method, gradient, w, None, gx, down, across, groups, transposed=True)
    return deliver(channels_first(gx), out)


def weight_gradient(
    method: Method,
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
    gw_shape = (g.shape[1], x.shape[1] // groups, *kernel_size)
    check_out(out, gw_shape)
    gw = empty(x, gw_shape)
    down, across = forward_taps(x.shape[2:], size, kernel_size, stride, padding, dilation)
    sums = correlate(method, pixels(x), pixels(g), down.axis, across.axis, groups)
    add_filter_parts(sums, gw)
    return deliver(gw, out)
