"""Depthwise convolution on the CPU: every channel has one filter of its own, and nothing is summed
over channels, so that vectors of neighbouring channels go through the image side by side.

Channels come last in memory. The forward pass and the gradient of the input gather the same way: a
pixel i of the result takes, for each tap k, the pixel (i * up + shift + k * pace) / down of the
source, if that is whole and inside. Forward, `up` is the stride and `pace` the dilation; backward,
`down` is the stride, and taps go the other way.

Channels must make whole vectors: 16, 32, ... of float32 with AVX-512.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import prange

from .. import conv as definitions
from ..arrays import Array, deliver
from ..conv import check_forward, check_input_gradient, check_weight_gradient
from ..memory import empty
from ..windows import Padding, Pair, channels_first
from .compiled import compiled
from .padding import pixels
from .vector import clear, lanes_of, load, store

PARTS = 16
"""Parts of the sum over pixels in the gradient of the filters: one, or a few, for each thread."""


@numba.njit
def _source(i, k, up, shift, pace, down, size):
    """Which pixel of the source tap k of pixel i takes; -1 if none."""
    place = i * up + shift + k * pace
    if down > 1 and place >= 0:  # divisions would take longer than the multiplications
        if place % down:
            return -1
        place //= down
    return place if 0 <= place < size else -1


@numba.njit
def _gather_row(x, w, bias, y, image, i, height, width, channels, out_height, out_width,
                kh, kw, up, shift, pace, down):  # fmt: skip
    """One row of `_gather`."""
    vector = lanes_of(x)
    places, taps = np.empty(kh * kw, np.intp), np.empty(kh * kw, np.intp)
    for j in range(out_width):
        count = 0
        for r in range(kh):
            row = _source(i, r, up[0], shift[0], pace[0], down[0], height)
            if row < 0:
                continue
            for s in range(kw):
                column = _source(j, s, up[1], shift[1], pace[1], down[1], width)
                if column >= 0:
                    places[count] = ((image * height + row) * width + column) * channels
                    taps[count] = (r * kw + s) * channels
                    count += 1
        to = ((image * out_height + i) * out_width + j) * channels
        for c in range(0, channels, vector):
            total = load(bias, c)
            for n in range(count):
                total = total + load(x, places[n] + c) * load(w, taps[n] + c)
            store(y, to + c, total)


@compiled
def _gather(x, w, bias, y, images, height, width, channels, out_height, out_width,
            kh, kw, up, shift, pace, down):  # fmt: skip
    """y[n, i, j, c] = bias[c] + sum over taps of x[n, their pixels, c] * w[taps, c]."""
    for task in prange(images * out_height):
        image, i = divmod(np.intp(task), out_height)
        _gather_row(
            x, w, bias, y, image, i, height, width, channels, out_height, out_width,
            kh, kw, up, shift, pace, down,
        )  # fmt: skip


@numba.njit
def _add_row(x, g, u, to, image, i, height, width, channels, rows, columns,
             kh, kw, up, shift, pace):  # fmt: skip
    """Add to u[to:], (kh, kw, channels), one row of g times the pixels under its taps."""
    vector = lanes_of(x)
    g_at = (image * rows + i) * columns * channels
    for r in range(kh):
        row = _source(i, r, up[0], shift[0], pace[0], 1, height)
        if row < 0:
            continue
        for s in range(kw):
            offset = shift[1] + s * pace[1]
            first = max(0, (-offset + up[1] - 1) // up[1])
            last = min(columns, (width - 1 - offset) // up[1] + 1)
            x_at = ((image * height + row) * width + offset) * channels
            place = to + (r * kw + s) * channels
            for c in range(0, channels, vector):
                total = load(u, place + c)
                for j in range(first, last):
                    a = load(x, x_at + j * up[1] * channels + c)
                    total = total + a * load(g, g_at + j * channels + c)
                store(u, place + c, total)


@compiled
def _over_pixels(x, g, u, images, height, width, channels, rows, columns, kh, kw,
                 up, shift, pace, parts):  # fmt: skip
    """u[part, r, s, c]: the sum over pixels, in parts, of g times the pixel under tap (r, s)."""
    per_part = (images * rows + parts - 1) // parts
    size = kh * kw * channels
    for task in prange(parts):
        part = np.intp(task)
        clear(u, part * size, size)
        for line in range(part * per_part, min((part + 1) * per_part, images * rows)):
            image, i = divmod(line, rows)
            _add_row(
                x, g, u, part * size, image, i, height, width, channels, rows, columns,
                kh, kw, up, shift, pace,
            )  # fmt: skip


def _per_tap(w: Array) -> Array:
    """Filters (C, 1, kh, kw) as (kh * kw * C,)."""
    return np.ascontiguousarray(w[:, 0].transpose(1, 2, 0)).reshape(-1)


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
    """Correlate each channel with its filter; channels lie last in the result."""
    size = check_forward(x, w, bias, stride, padding, dilation, groups)
    if not np.isfinite(w).all():  # the definition multiplies the padding, too: 0 by infinity
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return definitions.conv2d.reference(x, w, bias, **options, out=out)
    bias = np.zeros(len(w), x.dtype) if bias is None else np.ascontiguousarray(bias)
    images, channels, height, width = x.shape
    y = empty((images, *size, channels), x.dtype)
    _gather(
        pixels(x).reshape(-1), _per_tap(w), bias,
        y.reshape(-1), images, height, width, channels, *size, *w.shape[2:],
        tuple(stride), (-padding[0][0], -padding[1][0]), tuple(dilation), (1, 1),
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
    """The gradient of the images; channels lie last in the result."""
    size = check_input_gradient(g, w, input_size, stride, padding, dilation, groups)
    images, channels = g.shape[:2]
    gx = empty((images, *input_size, channels), g.dtype)
    _gather(
        pixels(g).reshape(-1), _per_tap(w), np.zeros(channels, g.dtype), gx.reshape(-1),
        images, *size, channels, *input_size, *w.shape[2:], (1, 1),
        (padding[0][0], padding[1][0]), (-dilation[0], -dilation[1]), tuple(stride),
    )  # fmt: skip
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
    images, channels, height, width = x.shape
    kh, kw = kernel_size
    parts = max(1, min(PARTS, images * size[0]))
    u = empty((parts, kh, kw, channels), x.dtype)
    _over_pixels(
        pixels(x).reshape(-1), pixels(g).reshape(-1), u.reshape(-1), images, height, width,
        channels, *size, kh, kw, tuple(stride), (-padding[0][0], -padding[1][0]),
        tuple(dilation), parts,
    )  # fmt: skip
    gw = empty((channels, 1, kh, kw), x.dtype)
    np.sum(u, axis=0, out=gw[:, 0].transpose(1, 2, 0))
    if not np.isfinite(gw).all():  # as above, where a gradient is infinite
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        definition = definitions.conv2d_weight_gradient.reference
        return definition(x, g, kernel_size=kernel_size, **options, out=out)
    return deliver(gw, out)
