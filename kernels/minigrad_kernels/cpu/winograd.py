"""Convolution with 3×3 filters by Winograd's method, in a quarter of the multiplications.

An output tile of 4×4 pixels comes from 6×6 input pixels d and the filter w (Lavin and Gray, "Fast
algorithms for convolutional neural networks", 2016, F(4×4, 3×3); the polynomials are multiplied at
the points 0, 1, -1, 2, -2 and infinity):

    y = A' [(G w G') * (B' d B)] A

where * multiplies elements: 36 products for 16 outputs, where the definition needs 144. Summing
over channels makes each of the 36 a matrix product, of (tiles, channels) and (channels, filters).

The gradient of the input is the same convolution, of the output's gradient with the filters turned
by half a turn. The gradient of the filters is the transpose of the formula above in w:

    gw = G' [(B' d B) * (A g A')] G

summed over tiles: 36 matrix products of (channels, tiles) and (tiles, filters).

The transforms are in `winograd_transforms.py`. Numbers of up to 8 times the size of the result are
added and subtracted in them, so errors are some ten times those of the definition.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import prange

from ..arrays import Array, deliver
from ..conv import check_forward, check_input_gradient, check_weight_gradient
from ..memory import empty
from ..windows import Padding, Pair, channels_first
from . import conv as direct
from .compiled import compiled
from .padding import pixels
from .tile import ADD, FIRST, PANEL_BYTES, ROWS, ZERO, multiply, panels_of
from .vector import aligned, lanes, lanes_of, multiples, whole_vectors
from .winograd_transforms import (
    G,
    filter_gradient,
    transform_filters,
    transform_gradients,
    transform_inputs,
    transform_outputs,
)

TILES = 24
"""Tiles in a block: their transforms stay in the L2 cache; the transformed filters, which do not
fit there, are read once for every block."""

CHUNK_BYTES = 1 << 23
"""Transforms that the filters' gradient keeps before it multiplies: they stay in the L3 cache."""

SUM_BYTES = 5 << 17
"""Size of the filters' transformed gradient up to which every part of the tiles is summed by
itself: the sum, and the transforms of a block of tiles, then stay in the L2 cache (of 1 MiB)."""

PARTS = 8
"""Into how many parts the tiles are then cut. The threads share them; their number is not asked
for, so that sums have one order."""


@numba.njit
def _convolve_block(first, count, x, u, bias, y, height, width, channels, out_height, out_width,
                    filters, above, beside, step, columns, panels, block, segments):  # fmt: skip
    """`_convolve` of `count` tiles, from tile `first`; whether all their numbers are finite."""
    down, across = (out_height + 3) // 4, (out_width + 3) // 4
    vector = lanes_of(x)
    v_rows, m_rows = multiples(block, step), multiples(block, columns)
    # A vector between planes, so that they do not compete for the same lines of the cache.
    v_plane, m_plane = block * step + vector, block * columns + vector
    v, m = aligned(36 * v_plane, x), aligned(36 * m_plane, x)
    patch, square = aligned(36 * max(step, columns), x), aligned(36 * vector, x)
    check = aligned(vector, x)
    for i in range(vector):
        check[i] = 0
    transform_inputs(
        x, height, width, channels, down, across, above, beside, first, count, step,
        v, 0, step, v_plane, patch, square,
    )  # fmt: skip
    for panel in range(panels):
        for p in range(36):
            for t in range(0, count, ROWS):
                multiply(
                    v, p * v_plane, v_rows, t, 1, segments, 0, 1, channels,
                    u, (panel * 36 + p) * channels * columns, columns,
                    m, m_rows, t, p * m_plane, min(ROWS, count - t), columns,
                    ZERO, m, 0, False,
                )  # fmt: skip
        transform_outputs(
            m, m_plane, columns, bias, panel * columns,
            y, out_height, out_width, filters, down, across, first, count, patch, square, check,
        )  # fmt: skip
    finite = True
    for i in range(vector):
        finite &= check[i] == 0
    return finite


@compiled
def _convolve(x, u, bias, y, images, height, width, channels, out_height, out_width, filters,
              above, beside, step, columns, panels, block, segments, finite):  # fmt: skip
    """y (images, out_height, out_width, filters) of x, channels last, with transformed filters u
    (panels, 36, channels, columns); and for every block of tiles whether its numbers are finite."""
    tiles = images * ((out_height + 3) // 4) * ((out_width + 3) // 4)
    for task in prange((tiles + block - 1) // block):
        first = np.intp(task) * block
        finite[np.intp(task)] = _convolve_block(
            first, min(block, tiles - first), x, u, bias, y, height, width, channels, out_height,
            out_width, filters, above, beside, step, columns, panels, block, segments,
        )  # fmt: skip


@numba.njit
def _transform_pairs(first, count, at, x, g, v, e, height, width, channels, out_height, out_width,
                     filters, above, beside, c_step, k_step, chunk):  # fmt: skip
    """Transforms of `count` tiles, from tile `first`, of x and g to place `at` of v and e."""
    down, across = (out_height + 3) // 4, (out_width + 3) // 4
    vector = lanes_of(x)
    c_row, k_row = c_step + vector, k_step + vector
    patch, square = aligned(36 * max(c_step, k_step), x), aligned(36 * vector, x)
    transform_inputs(
        x, height, width, channels, down, across, above, beside, first, count,
        c_step, v, at * c_row, c_row, chunk * c_row, patch, square,
    )  # fmt: skip
    transform_gradients(
        g, out_height, out_width, filters, down, across, first, count,
        k_step, e, at * k_row, k_row, chunk * k_row, patch, square,
    )  # fmt: skip


@numba.njit
def _add_products(p, panel, v, e, u, count, channels, c_row, k_row, chunk, begin,
                  segments, v_rows, u_rows):  # fmt: skip
    """Add to u[p] the products of `count` tiles of v[p] and e[p], for a panel of filters."""
    columns = PANEL_BYTES // u.itemsize
    k = panel * columns
    u_row = k_row - lanes_of(u)
    for c in range(0, channels, ROWS):
        multiply(
            v, p * chunk * c_row, v_rows, c, c_row, segments, 0, 1, count,
            e, p * chunk * k_row + k, k_row,
            u, u_rows, c, p * channels * u_row + k, min(ROWS, channels - c),
            min(columns, u_row - k), begin, u, 0, False,
        )  # fmt: skip


@compiled
def _correlate(x, g, v, e, u, images, height, width, channels, out_height, out_width, filters,
               above, beside, c_step, k_step, chunk, block, segments, v_rows, u_rows):  # fmt: skip
    """u (36, channels, k_step): the sums over tiles of (B' d B) * (A g A').

    `chunk` tiles are transformed, into v and e, then multiplied; then the next. The number of the
    product, not of the tile, says which thread adds: sums have one order.
    """
    tiles = images * ((out_height + 3) // 4) * ((out_width + 3) // 4)
    # A vector between rows, so that they do not compete for the same lines of the cache.
    c_row, k_row = c_step + lanes_of(x), k_step + lanes_of(x)
    panels = (filters * x.itemsize + PANEL_BYTES - 1) // PANEL_BYTES
    for first in range(0, tiles, chunk):
        count = min(chunk, tiles - first)
        for task in prange((count + block - 1) // block):
            at = np.intp(task) * block
            _transform_pairs(
                first + at, min(block, count - at), at, x, g, v, e, height, width, channels,
                out_height, out_width, filters, above, beside, c_step, k_step, chunk,
            )  # fmt: skip
        for task in prange(36 * panels):
            p, panel = divmod(np.intp(task), panels)
            _add_products(
                p, panel, v, e, u, count, channels, c_row, k_row, chunk,
                ADD if first else ZERO, segments, v_rows, u_rows,
            )  # fmt: skip


@numba.njit
def _correlate_part(first, last, x, g, u, height, width, channels, out_height, out_width, filters,
                    above, beside, c_step, k_step, block, segments, v_rows, u_rows):  # fmt: skip
    """u (36, channels, k_step): the sum of (B' d B) * (A g A') over some tiles."""
    c_row, k_row = c_step + lanes_of(x), k_step + lanes_of(x)
    panels = (filters * x.itemsize + PANEL_BYTES - 1) // PANEL_BYTES
    v, e = aligned(36 * block * c_row, x), aligned(36 * block * k_row, x)
    for at in range(first, last, block):
        count = min(block, last - at)
        _transform_pairs(
            at, count, 0, x, g, v, e, height, width, channels, out_height, out_width, filters,
            above, beside, c_step, k_step, block,
        )  # fmt: skip
        for p in range(36):
            for panel in range(panels):
                _add_products(
                    p, panel, v, e, u, count, channels, c_row, k_row, block,
                    ZERO if at == first else ADD, segments, v_rows, u_rows,
                )  # fmt: skip


@compiled
def _correlate_parts(x, g, u, images, height, width, channels, out_height, out_width, filters,
                     above, beside, c_step, k_step, parts, block, segments, v_rows,
                     u_rows):  # fmt: skip
    """u[part] (36, channels, k_step) for each part of the tiles; then u[0] is the sum of all."""
    tiles = images * ((out_height + 3) // 4) * ((out_width + 3) // 4)
    per_part = (tiles + parts - 1) // parts
    size = 36 * channels * k_step
    for task in prange(parts):
        part = np.intp(task)
        _correlate_part(
            part * per_part, min((part + 1) * per_part, tiles), x, g,
            u[part * size : (part + 1) * size], height, width, channels, out_height, out_width,
            filters, above, beside, c_step, k_step, block, segments, v_rows, u_rows,
        )  # fmt: skip
    for row in prange(36 * channels):
        total = u[np.intp(row) * k_step : (np.intp(row) + 1) * k_step]
        for part in range(1, parts):
            some = u[part * size + np.intp(row) * k_step :]
            for k in range(total.size):
                total[k] += some[k]


def _convolved(
    x: Array, w: Array, bias: Array | None, size: Pair, padding: Pair, turned: bool
) -> Array | None:
    """The convolution (N, K, *size) of x (N, C, H, W) with filters w; None if not all is finite.

    w is (K, C, 3, 3), or, if `turned`, (C, K, 3, 3), to be turned by half a turn: that makes it the
    gradient of the images whose output's gradient is x. `padding`: rows above and columns left
    of the image; what `size` asks for below and to the right is padding, too.

    Where numbers are not finite, neither are those of the whole tile.
    """
    images, channels, height, width = x.shape
    filters = w.shape[1] if turned else len(w)
    columns, panels = panels_of(filters, x.dtype)
    u = empty(panels * 36 * channels * columns, x.dtype)
    strides = (8, 9, 9 * filters, -3, -1) if turned else (0, 9 * channels, 9, 3, 1)
    memory = np.ascontiguousarray(w).reshape(-1)
    g = G.astype(x.dtype)
    transform_filters(memory, *strides, g, u, filters, channels, columns, panels)
    start = np.zeros(panels * columns, x.dtype)
    if bias is not None:
        start[:filters] = bias
    y = empty((images, *size, filters), x.dtype)
    tiles = images * -(-size[0] // 4) * -(-size[1] // 4)
    step = whole_vectors(channels, x.dtype)
    finite = np.empty(-(-tiles // TILES), np.bool_)
    _convolve(
        pixels(x).reshape(-1), u, start, y.reshape(-1), images, height, width, channels,
        *size, filters, *padding, step, columns, panels, TILES, FIRST, finite,
    )  # fmt: skip
    return channels_first(y) if finite.all() else None


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
    y = _convolved(x, w, bias, size, (padding[0][0], padding[1][0]), False)
    if y is None:
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        y = direct.conv2d(x, w, bias, **options)
    return deliver(y, out)


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
    """The gradient of the images; channels lie last in the result."""
    check_input_gradient(g, w, input_size, stride, padding, dilation, groups)
    gx = _convolved(g, w, None, input_size, (2 - padding[0][0], 2 - padding[1][0]), True)
    if gx is None:
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        gx = direct.conv2d_input_gradient(g, w, input_size=input_size, **options)
    return deliver(gx, out)


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
    images, channels, height, width = x.shape
    filters = g.shape[1]
    vector = lanes(x.dtype)
    c_step, k_step = whole_vectors(channels, x.dtype), whole_vectors(filters, x.dtype)
    tiles = images * -(-size[0] // 4) * -(-size[1] // 4)
    per_tile = 36 * (c_step + k_step + 2 * vector) * x.itemsize
    room = 36 * channels * k_step
    lists = FIRST, np.arange(channels), np.arange(channels) * k_step
    here = pixels(x).reshape(-1), pixels(g).reshape(-1)
    shapes = images, height, width, channels, *size, filters, padding[0][0], padding[1][0]
    if room * x.itemsize <= SUM_BYTES and tiles >= PARTS * TILES:
        u = empty(PARTS * room, x.dtype)
        block = max(ROWS, min(TILES, (3 * SUM_BYTES // 2 - room * x.itemsize) // per_tile))
        parts = -(-tiles // -(-tiles // PARTS))
        _correlate_parts(*here, u, *shapes, c_step, k_step, parts, block, *lists)
    else:
        fits = CHUNK_BYTES // per_tile
        chunk = max(1, min(-(-tiles // TILES), fits // TILES)) * TILES
        v = empty(36 * chunk * (c_step + vector), x.dtype)
        e = empty(36 * chunk * (k_step + vector), x.dtype)
        u = empty(room, x.dtype)
        if not tiles:
            u[:] = 0
        _correlate(*here, v, e, u, *shapes, c_step, k_step, chunk, TILES, *lists)
    gw = empty((filters, channels, 3, 3), x.dtype)
    filter_gradient(u, G.astype(x.dtype), gw.reshape(-1), channels, filters, k_step)
    if not np.isfinite(gw).all():
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        gw = direct.conv2d_weight_gradient(x, g, kernel_size=kernel_size, **options)
    return deliver(gw, out)
