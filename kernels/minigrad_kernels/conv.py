"""Two-dimensional convolution and its two gradients, each a matrix product over unfolded windows.

Convolution is bilinear in the image `x` and the weights `w`. With the gradient `g` of its output,

    y[n, o, p]  = sum over c, k   x[n, c, s*p + d*k] * w[o, c, k]       conv2d
    gx[n, c, q] = sum over o, p, k with s*p + d*k = q of g[n, o, p] * w[o, c, k]
    gw[o, c, k] = sum over n, p   x[n, c, s*p + d*k] * g[n, o, p]

where p, q and k stand for two coordinates each, s is the stride, d the dilation, and x is 0 in the
padding. (As everywhere in machine learning, w is not flipped: a cross-correlation.) All three are
linear in each of their two arrays, and the derivatives of each are the other two.

The reference copies the windows of some images into the rows of a matrix ("im2col": Chellapilla,
Puri, Simard, High performance convolutional neural networks for document processing, 2006), for
BLAS to multiply. Channels come last inside, so that what is copied lies together in memory; results
are views (N, C, H, W) of such memory.

Faster implementations are filed in conv_implementations.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, summing_type
from .registry import Arguments, Cost, arguments, kernel
from .windows import (
    Padding,
    Pair,
    blocks,
    channels_first,
    channels_last,
    grid,
    output_length,
)

_ALL = slice(None)

# Samples: batch, channels, image, output channels, kernel, stride, padding, dilation, groups.
_GEOMETRIES: list[tuple[Any, ...]] = [
    (2, 3, (5, 6), 4, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (2, 4, (7, 5), 6, (3, 2), (2, 1), ((0, 0), (1, 0)), (1, 2), 2),
    (1, 3, (6, 7), 3, (2, 3), (3, 2), ((2, 1), (0, 3)), (2, 1), 3),
    (3, 1, (4, 4), 2, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    (1, 5, (8, 9), 7, (3, 3), (1, 2), ((1, -1), (3, 3)), (1, 3), 1),
    (0, 2, (4, 4), 3, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    (2, 17, (9, 8), 33, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (2, 16, (6, 7), 16, (3, 2), (2, 1), ((1, 1), (0, 2)), (1, 2), 16),
    (2, 32, (5, 6), 32, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 32),
    (1, 32, (5, 6), 16, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 16),  # two channels a filter
    (1, 2, (3, 4), 1, (3, 4), (1, 1), ((1, 1), (1, 2)), (1, 1), 1),  # one filter
]

# The same, in half: whole packs of channels, as tensor cores want them.
_HALF_GEOMETRIES: list[tuple[Any, ...]] = [
    (2, 16, (6, 7), 24, (3, 2), (2, 1), ((1, 1), (0, 2)), (1, 2), 1),
    (1, 16, (5, 6), 16, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
]


def _draws(rng: np.random.Generator) -> Iterator[tuple[Array, Array, Array, dict[str, Any]]]:
    """Images, weights, output gradients and options in all types and several memory layouts."""
    typed = [(g, ("f8", "f4")[i % 2]) for i, g in enumerate(_GEOMETRIES)]
    for geometry, dtype in [*typed, *((g, "f2") for g in _HALF_GEOMETRIES)]:
        images, channels, size, filters, kernel_size, stride, padding, dilation, groups = geometry
        outputs = [
            output_length(*along)
            for along in zip(size, kernel_size, stride, padding, dilation, strict=True)
        ]
        x = rng.normal(size=(images, channels, *size)).astype(dtype)
        w = rng.normal(size=(filters, channels // groups, *kernel_size)).astype(dtype)
        g = rng.normal(size=(images, filters, *outputs)).astype(dtype)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        yield x, w, g, options
        yield np.asfortranarray(x), w[::-1], channels_first(channels_last(g).copy()), options


def _forward_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for i, (x, w, _, options) in enumerate(_draws(rng)):
        bias = rng.normal(size=(i % 2, len(w))).astype(w.dtype)  # one, or none
        yield arguments(x, w, *bias, **options)


def _input_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, w, g, options in _draws(rng):
        yield arguments(g, w, input_size=x.shape[2:], **options)


def _weight_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, w, g, options in _draws(rng):
        yield arguments(x, g, kernel_size=w.shape[2:], **options)


def _forward_cost(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Cost:
    outputs = _output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y_size = len(x) * len(w) * math.prod(outputs)
    moved = x.size + w.size + y_size
    return Cost(2.0 * y_size * math.prod(w.shape[1:]), moved * x.dtype.itemsize)


def _input_cost(g: Array, w: Array, *, input_size: Pair, groups: int, **_: Any) -> Cost:
    moved = len(g) * w.shape[1] * groups * input_size[0] * input_size[1] + w.size + g.size
    return Cost(2.0 * g.size * math.prod(w.shape[1:]), moved * g.dtype.itemsize)


def _weight_cost(x: Array, g: Array, *, kernel_size: Pair, groups: int, **_: Any) -> Cost:
    per_filter = x.shape[1] // groups * kernel_size[0] * kernel_size[1]
    moved = x.size + g.size + g.shape[1] * per_filter
    return Cost(2.0 * g.size * per_filter, moved * x.dtype.itemsize)


def _output_size(
    size: Pair, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    rows, columns = (
        output_length(*along)
        for along in zip(size, kernel_size, stride, padding, dilation, strict=True)
    )
    return rows, columns


def check_forward(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Pair:
    """Refuse shapes that do not fit; returns rows and columns of the result."""
    if groups < 1 or x.shape[1] != w.shape[1] * groups or len(w) % groups:
        raise ValueError(f"conv2d: x {x.shape} does not fit w {w.shape} in {groups} groups")
    if bias is not None and bias.shape != (len(w),):
        raise ValueError(f"conv2d: bias {bias.shape} does not fit w {w.shape}")
    return _output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)


def check_input_gradient(
    g: Array,
    w: Array,
    input_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Pair:
    """Refuse shapes that do not fit; returns rows and columns of g."""
    outputs = _output_size(input_size, w.shape[2:], stride, padding, dilation)
    if groups < 1 or g.shape[1:] != (len(w), *outputs) or len(w) % groups:
        raise ValueError(
            f"conv2d_input_gradient: g {g.shape} does not fit w {w.shape} in {groups} groups and "
            f"images of {input_size}"
        )
    return outputs


def check_weight_gradient(
    x: Array,
    g: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Pair:
    """Refuse shapes that do not fit; returns rows and columns of g."""
    outputs = _output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    fits = groups > 0 and not (x.shape[1] % groups or g.shape[1] % groups)
    if not fits or (len(g), *g.shape[2:]) != (len(x), *outputs):
        raise ValueError(
            f"conv2d_weight_gradient: g {g.shape} does not fit x {x.shape} in {groups} groups and "
            f"kernels of {kernel_size}"
        )
    return outputs


def _grouped(x: Array, groups: int) -> Array:
    """View (N, C, H, W) as (groups, N, H, W, C / groups)."""
    images, channels, rows, columns = x.shape
    return x.reshape(images, groups, channels // groups, rows, columns).transpose(1, 0, 3, 4, 2)


def _unfolded(
    x: Array,
    dtype: Any,
    outputs: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Iterator[tuple[slice, Array]]:
    """Blocks of images, and their windows as matrices (groups, windows, kh * kw * C / groups)."""
    xp = array_module(x)
    images, channels = x.shape[:2]
    per_group = channels // groups
    before = (padding[0][0], padding[1][0])
    elements = grid(kernel_size, stride, before, dilation, x.shape[2:], outputs)
    bytes_each = math.prod(outputs) * len(elements) * channels * dtype.itemsize
    unfolded = None
    for block in blocks(images, bytes_each, xp):
        n = block.stop - block.start
        if unfolded is None:  # the first block is the longest; what lies in the padding stays 0
            unfolded = xp.zeros((groups, n, *outputs, *kernel_size, per_group), dtype)
        image = xp.ascontiguousarray(_grouped(x[block], groups))
        part = unfolded[:, :n]
        for (i, j), at, pixels in elements:
            part[(_ALL, _ALL, *at, i, j)] = image[(_ALL, _ALL, *pixels)]
        yield block, part.reshape(groups, n * math.prod(outputs), len(elements) * per_group)


@kernel(samples=_forward_samples, cost=_forward_cost)
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
    """Correlate images x (N, C, H, W) with filters w (O, C / groups, kh, kw); add bias (O,).

    Raises:
        ValueError: if shapes do not fit.
    """
    xp = array_module(x)
    filters, _, *kernel_size = w.shape
    outputs = check_forward(x, w, bias, stride, padding, dilation, groups)
    dtype = summing_type(x, w)
    # (O, C / groups, kh, kw) to (groups, kh * kw * C / groups, O / groups)
    matrices = w.reshape(groups, filters // groups, *w.shape[1:]).transpose(0, 3, 4, 2, 1)
    matrices = matrices.reshape(groups, math.prod(w.shape[1:]), filters // groups)
    matrices = matrices.astype(dtype, copy=False)
    y = xp.empty((len(x), *outputs, filters), dtype)
    for block, windows in _unfolded(
        x, dtype, outputs, kernel_size, stride, padding, dilation, groups
    ):
        rows = y[block].reshape(windows.shape[1], filters)
        of_groups = rows.reshape(windows.shape[1], groups, filters // groups)
        xp.matmul(windows, matrices, out=of_groups.transpose(1, 0, 2))
        if bias is not None:
            rows += bias
    return deliver(channels_first(y).astype(xp.result_type(x, w), copy=False), out)


@kernel(samples=_input_samples, cost=_input_cost)
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
    """The gradient (N, C, H, W) of conv2d's images, given that of its output, g (N, O, h, w).

    `input_size` is (H, W): with a stride, images of several sizes give outputs of one size.

    Raises:
        ValueError: if shapes do not fit.
    """
    xp = array_module(g)
    filters, per_group, *kernel_size = w.shape
    outputs = check_input_gradient(g, w, input_size, stride, padding, dilation, groups)
    dtype = summing_type(g, w)
    # (O, C / groups, kh, kw) to (groups, O / groups, kh * kw * C / groups)
    matrices = w.reshape(groups, filters // groups, *w.shape[1:]).transpose(0, 1, 3, 4, 2)
    matrices = matrices.reshape(groups, filters // groups, math.prod(w.shape[1:]))
    matrices = matrices.astype(dtype, copy=False)
    gx = xp.zeros((len(g), *input_size, per_group * groups), dtype)
    parts = _grouped(channels_first(gx), groups)
    before = (padding[0][0], padding[1][0])
    elements = grid(kernel_size, stride, before, dilation, input_size, outputs)
    bytes_each = math.prod(outputs) * groups * matrices.shape[2] * dtype.itemsize
    for block in blocks(len(g), bytes_each, xp):
        n = block.stop - block.start
        rows = _grouped(g[block], groups)
        rows = rows.reshape(groups, n * math.prod(outputs), filters // groups)
        windows = xp.matmul(rows.astype(dtype, copy=False), matrices)
        windows = windows.reshape(groups, n, *outputs, *kernel_size, per_group)
        for (i, j), at, pixels in elements:
            parts[(_ALL, block, *pixels)] += windows[(_ALL, _ALL, *at, i, j)]
    return deliver(channels_first(gx).astype(xp.result_type(g, w), copy=False), out)


@kernel(samples=_weight_samples, cost=_weight_cost)
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
    """The gradient (O, C / groups, kh, kw) of conv2d's filters, given that of its output, g.

    Raises:
        ValueError: if shapes do not fit.
    """
    xp = array_module(x)
    channels, filters = x.shape[1], g.shape[1]
    outputs = check_weight_gradient(x, g, kernel_size, stride, padding, dilation, groups)
    dtype = summing_type(x, g)
    per_group, filters_each = channels // groups, filters // groups
    gw = xp.zeros((groups, kernel_size[0] * kernel_size[1] * per_group, filters_each), dtype)
    for block, windows in _unfolded(
        x, dtype, outputs, kernel_size, stride, padding, dilation, groups
    ):
        rows = _grouped(g[block], groups).reshape(groups, windows.shape[1], filters_each)
        gw += xp.matmul(windows.transpose(0, 2, 1), rows.astype(dtype, copy=False))
    gw = gw.reshape(groups, *kernel_size, per_group, filters_each).transpose(0, 4, 3, 1, 2)
    result = xp.ascontiguousarray(gw).reshape(filters, per_group, *kernel_size)
    return deliver(result.astype(xp.result_type(x, g), copy=False), out)
