"""Convolution and its gradients on the CPU, for every geometry, by products of tiles.

Channels come last: (N, H, W, C). The windows of an image are rows of a matrix that is never written
down: a window's row of pixels is a contiguous run of memory, and the next row of it begins a stride
further on. `tile.multiply` reads windows where they lie, in a copy of the image with its padding.

`winograd.py` computes 3×3 filters in fewer multiplications, `depthwise.py` filters of one channel.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import prange

from .. import conv as definitions
from ..arrays import Array, deliver
from ..conv import check_forward, check_input_gradient, check_weight_gradient
from ..memory import empty
from ..windows import Padding, Pair, channels_first
from .compiled import compiled
from .matmul import NO_BIAS, product
from .padding import padded, pixels
from .tile import ADD, FIRST, PANEL_BYTES, ROWS, START, ZERO, multiply, panels_of
from .vector import clear, lanes, multiples

PIXELS = 96
"""Output pixels in a task: their windows stay in the L2 cache for all filters."""

TERMS = 1024
"""Terms of the sum in a block: with a panel of filters, 256 KiB, which stay in the L2 cache."""

LINE_PIXELS = 256
"""Pixels in a block of the sum that is the filters' gradient: with a panel of g, 64 KiB."""


# Sums over windows: the forward pass, and the gradient of the input


@numba.njit
def _windows_block(image, first, count, x, starts, x_image, segments, depth, b, bias,
                   y, ends, y_image, groups, per_group, columns, panels, filters):  # fmt: skip
    """`_windows` of one image and `count` places, from place `first`."""
    terms = segments.size * depth
    step = max(1, TERMS // max(1, depth))
    for group in range(groups):
        for panel in range(panels):
            k = panel * columns
            for s in range(0, max(1, segments.size), step):
                begin = ADD if s else (START if bias.size else ZERO)
                for t in range(0, count, ROWS):
                    multiply(
                        x, image * x_image + group * per_group, starts, first + t, 1,
                        segments, s, min(s + step, segments.size), depth,
                        b, ((group * panels + panel) * terms + s * depth) * columns, columns,
                        y, ends, first + t, image * y_image + group * filters + k,
                        min(ROWS, count - t), min(columns, filters - k),
                        begin, bias, group * filters + k, False,
                    )  # fmt: skip


@compiled
def _windows(x, starts, x_image, segments, depth, b, bias, y, ends, y_image, groups, per_group,
             images, columns, panels, filters, block):  # fmt: skip
    """y[ends[p] + k] = sum over segments s, d < depth of x[starts[p] + segments[s] + d] b[s, d, k].

    For every image and p; b (groups, panels, segments * depth, columns) is packed, `filters` of its
    columns are those of a group. Inputs of a group lie `per_group` further on.
    """
    blocks = (starts.size + block - 1) // block
    for task in prange(images * blocks):
        image, part = divmod(np.intp(task), blocks)
        _windows_block(
            image, part * block, min(block, starts.size - part * block), x, starts, x_image,
            segments, depth, b, bias, y, ends, y_image, groups, per_group, columns, panels, filters,
        )  # fmt: skip


def _packed(matrices: Array) -> tuple[Array, int, int]:
    """Panels (groups, panels, terms, columns) of matrices (groups, terms, filters), then zeros."""
    groups, terms, filters = matrices.shape
    columns, panels = panels_of(filters, matrices.dtype)
    packed = np.zeros((groups, panels, terms, columns), matrices.dtype)
    for panel in range(panels):
        part = matrices[:, :, panel * columns : (panel + 1) * columns]
        packed[:, panel, :, : part.shape[2]] = part
    return packed.reshape(-1), columns, panels


def _grid(rows: Any, columns: Any, width: int, channels: int) -> Array:
    """The places of pixels (row, column) in memory, all rows with all columns."""
    places = np.asarray(rows)[:, None] * width + np.asarray(columns)
    return (places.reshape(-1) * channels).astype(np.intp)


def _pointwise(kernel_size: Pair, stride: Pair, padding: Padding, groups: int) -> bool:
    """Whether each pixel of the result comes from one pixel: a product of two matrices."""
    ones = (1, 1)
    return kernel_size == ones == stride and groups == 1 and not any(sum(padding, ()))


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
    filters, per_group, kh, kw = w.shape
    images, channels, height, width = x.shape
    rows, columns = check_forward(x, w, bias, stride, padding, dilation, groups)
    bias = None if bias is None else np.ascontiguousarray(bias)
    if _pointwise((kh, kw), stride, padding, groups):
        flat = pixels(x).reshape(-1, channels)
        y = product(flat, w.reshape(filters, channels).T, bias)
        return deliver(channels_first(y.reshape(images, rows, columns, filters)), out)
    (above, below), (before, after) = padding
    image = padded(x, above, before, height + above + below, width + before + after)
    _, tall, wide, _ = image.shape
    matrices = w.reshape(groups, filters // groups, per_group, kh, kw).transpose(0, 3, 4, 2, 1)
    b, panel, panels = _packed(matrices.reshape(groups, kh * kw * per_group, filters // groups))
    if groups == 1 and dilation[1] == 1:  # a row of the window is one run of memory
        segments, depth = _grid(np.arange(kh) * dilation[0], [0], wide, channels), kw * channels
    else:
        taps = np.arange(kh) * dilation[0], np.arange(kw) * dilation[1]
        segments, depth = _grid(*taps, wide, channels), per_group
    starts = _grid(np.arange(rows) * stride[0], np.arange(columns) * stride[1], wide, channels)
    y = empty((images, rows, columns, filters), x.dtype)
    _windows(
        image.reshape(-1), starts, tall * wide * channels, segments, depth,
        b, NO_BIAS[x.dtype] if bias is None else bias,
        y.reshape(-1), np.arange(rows * columns) * filters, rows * columns * filters,
        groups, per_group, images, panel, panels, filters // groups, PIXELS,
    )  # fmt: skip
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

    With stride s, pixels q of one remainder modulo s get their gradient from the same taps of the
    filters, and from windows that lie side by side: each remainder is a convolution of stride 1.
    """
    filters, per_group, kh, kw = w.shape
    check_input_gradient(g, w, input_size, stride, padding, dilation, groups)
    images, height, width = len(g), *input_size
    channels = per_group * groups
    if _pointwise((kh, kw), stride, padding, groups):
        flat = pixels(g).reshape(-1, filters)
        gx = product(flat, w.reshape(filters, channels))
        return deliver(channels_first(gx.reshape(images, height, width, channels)), out)
    if groups == 1 and channels < lanes(g.dtype):
        return deliver(_spread(g, w, input_size, stride, padding, dilation), out)
    if not np.isfinite(w).all():  # the zeros around g would make NaN of infinities
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        definition = definitions.conv2d_input_gradient.reference
        return definition(g, w, input_size=input_size, **options, out=out)
    along = [
        _remainders(*a)
        for a in zip(input_size, (kh, kw), stride, padding, dilation, g.shape[2:], strict=True)
    ]
    (row_parts, above, tall), (column_parts, before, wide) = along
    image = padded(g, above, before, tall, wide)
    gx = empty((images, height, width, channels), g.dtype)
    grouped = w.reshape(groups, filters // groups, per_group, kh, kw)
    each = filters // groups
    for first_row, row_taps, row_shifts in row_parts:
        for first_column, column_taps, column_shifts in column_parts:
            at = np.arange(first_row, height, stride[0]), np.arange(first_column, width, stride[1])
            if not (at[0].size and at[1].size):
                continue
            taps = grouped[:, :, :, row_taps][..., column_taps].transpose(0, 3, 4, 1, 2)
            count = len(row_taps) * len(column_taps)
            b, panel, panels = _packed(taps.reshape(groups, count * each, per_group))
            _windows(
                image.reshape(-1),
                _grid(np.arange(at[0].size), np.arange(at[1].size), wide, filters),
                tall * wide * filters, _grid(row_shifts, column_shifts, wide, filters), each,
                b, NO_BIAS[g.dtype],
                gx.reshape(-1), _grid(*at, width, channels), height * width * channels,
                groups, each, images, panel, panels, per_group, PIXELS,
            )  # fmt: skip
    return deliver(channels_first(gx), out)


def _remainders(
    size: int, kernel: int, stride: int, padding: Pair, dilation: int, windows: int
) -> tuple[list[tuple[int, list[int], list[int]]], int, int]:
    """For each remainder q of pixels modulo the stride: q, its taps k, and where their windows lie.

    Tap k of window (q + padding - dilation * k) / stride + t, if that is whole, lies on pixel
    q + stride * t. Returns also how many zeros windows need ahead, and the length with zeros.
    """
    parts = []
    least, most = 0, windows
    for q in range(min(stride, size)):
        pixels = -(-(size - q) // stride)
        taps = [k for k in range(kernel) if (q + padding[0] - dilation * k) % stride == 0]
        shifts = [(q + padding[0] - dilation * k) // stride for k in taps]
        parts.append((q, taps, shifts))
        least = min([least, *shifts])
        most = max([most, *(pixels + shift for shift in shifts)])
    return (
        [(q, taps, [s - least for s in shifts]) for q, taps, shifts in parts],
        -least,
        most - least,
    )


@numba.njit(forceinline=True)
def _add_run(target, to, source, at, begin, end):
    """target[to + i] += source[at + i] for begin <= i < end."""
    if end > begin:
        a, b = target[to + begin : to + end], source[at + begin : at + end]
        for i in range(a.size):
            a[i] += b[i]


@numba.njit
def _spread_image(image, g, b, gx, filters, terms, columns, rows, wide, height, width,
                  channels, kh, kw, stride, before, dilation, segments, none):  # fmt: skip
    """`_spread_images` of one image: some rows of windows at a time."""
    row = columns * ((terms + columns - 1) // columns)
    some = max(1, PIXELS // wide)
    windows = np.empty(some * wide * row, g.dtype)
    g_rows, rows_of = multiples(some * wide, filters), multiples(some * wide, row)
    clear(gx, image * height * width * channels, height * width * channels)
    for first in range(0, rows, some):
        count = min(some, rows - first) * wide
        for k in range(0, terms, columns):
            for t in range(0, count, ROWS):
                multiply(
                    g, (image * rows + first) * wide * filters, g_rows, t, 1, segments, 0, 1,
                    filters, b, k * filters, columns, windows, rows_of, t, k,
                    min(ROWS, count - t), columns, ZERO, none, 0, False,
                )  # fmt: skip
        for p in range(count):
            i, j = first + p // wide, p % wide
            for r in range(kh):
                y = i * stride[0] - before[0] + r * dilation[0]
                if y < 0 or y >= height:
                    continue
                x = j * stride[1] - before[1]
                at, to = p * row + r * kw * channels, ((image * height + y) * width + x) * channels
                if dilation[1] == 1:  # a row of the window is one run of memory
                    begin, end = max(0, -x), min(kw, width - x)
                    _add_run(gx, to, windows, at, begin * channels, end * channels)
                else:
                    for s in range(kw):
                        if 0 <= x + s * dilation[1] < width:
                            place = to + s * dilation[1] * channels
                            _add_run(gx, place, windows, at + s * channels, 0, channels)


@compiled
def _spread_images(g, b, gx, filters, terms, columns, images, rows, wide, height, width,
                   channels, kh, kw, stride, before, dilation, segments, none):  # fmt: skip
    """The windows' gradients, of g (images, rows, wide, filters), added where windows overlap."""
    for image in prange(images):
        _spread_image(
            np.intp(image), g, b, gx, filters, terms, columns, rows, wide, height, width,
            channels, kh, kw, stride, before, dilation, segments, none,
        )  # fmt: skip


def _spread(
    g: Array, w: Array, input_size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """The gradient of images of few channels: of their windows first, added where they overlap."""
    filters, channels, kh, kw = w.shape
    terms = kh * kw * channels
    b, columns, _ = _packed(w.transpose(0, 2, 3, 1).reshape(1, filters, terms))
    gx = empty((len(g), *input_size, channels), g.dtype)
    _spread_images(
        pixels(g).reshape(-1), b, gx.reshape(-1), filters, terms, columns, len(g),
        *g.shape[2:], *input_size, channels, kh, kw, tuple(stride),
        (padding[0][0], padding[1][0]), tuple(dilation), FIRST, NO_BIAS[g.dtype],
    )  # fmt: skip
    return channels_first(gx)


# Sums over pixels: the gradient of the filters


@numba.njit
def _over_lines(first, last, start, stop, group, to, x, lines, step, taps, g, u, u_rows, groups,
                per_group, width, filters, some_lines):  # fmt: skip
    """`_over_pixels` of lines[first:last] and terms start to stop, some lines at a time."""
    columns = PANEL_BYTES // u.itemsize
    if last <= first and start < stop:
        clear(u, to + start * filters, (stop - start) * filters)
    for line in range(first, last, some_lines):
        end = min(line + some_lines, last)
        for k in range(0, filters, columns):
            for d in range(start, stop, ROWS):
                multiply(
                    x, group * per_group, taps, d, step, lines, line, end, width,
                    g, line * width * filters * groups + group * filters + k, filters * groups,
                    u, u_rows, d, to + k, min(ROWS, stop - d), min(columns, filters - k),
                    ZERO if line == first else ADD, u, 0, False,
                )  # fmt: skip


@compiled
def _over_pixels(x, lines, step, taps, g, u, u_rows, groups, per_group, width, filters,
                 parts, some_lines, runs):  # fmt: skip
    """u[part, group, d, k] = sum over pixels p of x[p + taps[d]] * g[p, k].

    A line of `width` pixels begins at x[lines[n]], one every `step` elements. The lines are cut in
    `parts`, whose sums are added later, and the terms d in `runs`.
    """
    terms = taps.size
    per_part = (lines.size + parts - 1) // parts
    run = ((terms + runs - 1) // runs + ROWS - 1) // ROWS * ROWS
    for task in prange(parts * groups * runs):
        place, piece = divmod(np.intp(task), runs)
        part, group = divmod(place, groups)
        _over_lines(
            part * per_part, min((part + 1) * per_part, lines.size), piece * run,
            min((piece + 1) * run, terms), group, place * terms * filters,
            x, lines, step, taps, g, u, u_rows, groups, per_group, width, filters, some_lines,
        )  # fmt: skip


@numba.njit
def _add_part(group, c, spot, u, parts, gw, groups, filters, per_group, spots):
    """`_add_parts` of one channel and spot."""
    terms = spots * per_group
    term = spot * per_group + c
    total = np.empty(filters, u.dtype)
    for part in range(parts):
        source = u[((part * groups + group) * terms + term) * filters :]
        for k in range(total.size):
            total[k] = source[k] + (total[k] if part else u.dtype.type(0))
    for k in range(filters):
        gw[((group * filters + k) * per_group + c) * spots + spot] = total[k]


@compiled
def _add_parts(u, parts, gw, groups, filters, per_group, spots):
    """gw (groups, filters, per_group, spots), of u (parts, groups, spots, per_group, filters)."""
    for task in prange(groups * per_group):
        group, c = divmod(np.intp(task), per_group)
        for spot in range(spots):
            _add_part(group, c, spot, u, parts, gw, groups, filters, per_group, spots)


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
    (kh, kw), channels, filters = kernel_size, x.shape[1], g.shape[1]
    rows, columns = check_weight_gradient(x, g, kernel_size, stride, padding, dilation, groups)
    images, (height, width) = len(x), x.shape[2:]
    per_group, each = channels // groups, filters // groups
    if _pointwise((kh, kw), stride, padding, groups):
        gw = product(pixels(g).reshape(-1, filters).T, pixels(x).reshape(-1, channels))
        return deliver(gw.reshape(filters, channels, 1, 1), out)
    (above, below), (before, after) = padding
    image = padded(x, above, before, height + above + below, width + before + after)
    _, tall, wide, _ = image.shape
    gradient = pixels(g)
    lines = np.arange(images)[:, None] * tall + np.arange(rows) * stride[0]
    lines = (lines.reshape(-1) * wide * channels).astype(np.intp)
    taps = _grid(np.arange(kh) * dilation[0], np.arange(kw) * dilation[1], wide, channels)
    taps = (taps[:, None] + np.arange(per_group)).reshape(-1)
    terms = taps.size
    tiles = -(-terms // ROWS) * -(-each * 4 // PANEL_BYTES) * groups
    parts = min(len(lines), max(1, 64 // tiles), 16) or 1
    runs = min(8, -(-terms // ROWS))
    some_lines = max(1, LINE_PIXELS // max(1, columns))
    u = empty((parts, groups, terms, each), x.dtype)
    vector = lanes(x.dtype)
    if each % vector:  # tiles read whole vectors, past the last filter of the last pixel
        room = empty(gradient.size + vector, x.dtype)
        room[: gradient.size] = gradient.reshape(-1)
        gradient = room
    _over_pixels(
        image.reshape(-1), lines, stride[1] * channels, taps, gradient.reshape(-1), u.reshape(-1),
        np.arange(terms) * each, groups, per_group, columns, each, parts, some_lines, runs,
    )  # fmt: skip
    gw = empty((filters, per_group, kh, kw), x.dtype)
    _add_parts(u.reshape(-1), parts, gw.reshape(-1), groups, each, per_group, kh * kw)
    return deliver(gw, out)
