"""Batch normalisation on the CPU. Layer normalisation is in `layer_norm.py`.

Planes (N, C, L) are normalised channel by channel: a channel of a batch stays in a core's cache
between the sums over it and the pass that uses them, so that memory is read once. Rows (M, C), as
of channels-last images, are summed in chunks, and the chunks' means and squares combined (Chan,
Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
1979); squares are taken about the chunk's own mean, so nothing cancels. The second pass takes the
chunks in reverse order: those that were read last are still in the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import prange

from ..arrays import Array, check_all_out, check_out, deliver, deliver_all
from ..layout import contiguous
from ..memory import empty
from .compiled import CHUNK, any_order, compiled
from .reduce import sum_of

_MOST_ROWS = 512  # in a chunk: sums of more numbers than these are made of several sums


@any_order
def _column_sums(x, sums):
    """Write the sums of the columns of x (rows, C)."""
    sums[:] = sums.dtype.type(0)
    fours = x.shape[0] // 4
    for p in range(fours):
        a, b, c, d = x[4 * p], x[4 * p + 1], x[4 * p + 2], x[4 * p + 3]
        for i in range(sums.size):
            sums[i] += (a[i] + b[i]) + (c[i] + d[i])
    for p in range(4 * fours, x.shape[0]):
        a = x[p]
        for i in range(sums.size):
            sums[i] += a[i]


@any_order
def _column_squares(x, mean, apart, squares):
    """Write the sums of d = x - mean and of d**2 over the columns of x (rows, C)."""
    apart[:] = apart.dtype.type(0)
    squares[:] = apart.dtype.type(0)
    fours = x.shape[0] // 4
    for p in range(fours):
        a, b, c, d = x[4 * p], x[4 * p + 1], x[4 * p + 2], x[4 * p + 3]
        for i in range(mean.size):
            m = mean[i]
            ai, bi, ci, di = a[i] - m, b[i] - m, c[i] - m, d[i] - m
            apart[i] += (ai + bi) + (ci + di)
            squares[i] += (ai * ai + bi * bi) + (ci * ci + di * di)
    for p in range(4 * fours, x.shape[0]):
        a = x[p]
        for i in range(mean.size):
            ai = a[i] - mean[i]
            apart[i] += ai
            squares[i] += ai * ai


@numba.njit
def _moments(partial, rows, count, i):
    """Mean and variance of column i, from what each chunk has found.

    A chunk's mean was rounded; the mean of what its elements are apart from it is the correction.
    """
    chunks = partial.shape[0]
    mean, square = 0.0, 0.0
    for k in range(chunks):
        apart = np.float64(partial[k, 1, i])
        mean += min(rows, count - k * rows) * np.float64(partial[k, 0, i])
        mean += apart if math.isfinite(apart) else 0.0  # infinity - infinity says nothing
    mean /= count
    for k in range(chunks):
        size, apart = min(rows, count - k * rows), np.float64(partial[k, 1, i])
        offset = np.float64(partial[k, 0, i]) - mean
        square += np.float64(partial[k, 2, i]) + offset * (2 * apart + size * offset)
    return mean, 0.0 if square < 0 else square / count


@compiled
def _forward_rows(x, weight, bias, eps, rows, partial, y, mean, var):
    real = x.dtype.type
    count, channels = x.shape
    chunks = partial.shape[0]
    for k in prange(chunks):
        part = x[k * rows : min((k + 1) * rows, count)]
        means = partial[k, 0]
        _column_sums(part, means)
        for i in range(channels):
            means[i] /= real(part.shape[0])
        _column_squares(part, means, partial[k, 1], partial[k, 2])
    table = np.empty((3, channels), x.dtype)
    for i in range(channels):
        mean[i], var[i] = _moments(partial, rows, count, i)
        table[0, i] = mean[i]
        table[1, i] = np.float64(weight[i]) / math.sqrt(np.float64(var[i]) + eps)
        table[2, i] = bias[i]
    for j in prange(chunks):
        k = np.uint64(chunks - 1 - j)
        start = k * np.uint64(rows)
        part, to = x[start : min(start + rows, count)], y[start : min(start + rows, count)]
        middle, scale, shift = table[0], table[1], table[2]
        for p in range(part.shape[0]):
            a, b = part[p], to[p]
            for i in range(a.size):
                b[i] = (a[i] - middle[i]) * scale[i] + shift[i]


@any_order
def squares(x, mean):
    """The sum of (x - mean)**2 over a row."""
    found = x.dtype.type(0)
    for i in range(x.size):
        apart = x[i] - mean
        found += apart * apart
    return found


@compiled
def _forward_planes(x, weight, bias, eps, y, mean, var):
    images, channels, pixels = x.shape
    count = images * pixels
    for c in prange(channels):
        added, square = 0.0, 0.0
        for n in range(images):
            added += np.float64(sum_of(x[n, c]))
        middle = x.dtype.type(added / count)
        for n in range(images):
            square += np.float64(squares(x[n, c], middle))
        mean[c], var[c] = middle, square / count
        scale = x.dtype.type(np.float64(weight[c]) / math.sqrt(np.float64(var[c]) + eps))
        shift = bias[c]
        for n in range(images):
            a, b = x[n, c], y[n, c]
            for i in range(a.size):
                b[i] = (a[i] - middle) * scale + shift


# Gradients: with r = 1 / s, d = x - mean, B = sum(g) and W = sum(g d), over n elements, that of the
# bias is B, that of the weight r W, and that of x is weight r (g - B / n - d r r W / n).


@any_order
def _column_products(g, x, mean, sums, products):
    """Write the sums of g and of g (x - mean) over the columns of g and x (rows, C)."""
    sums[:] = sums.dtype.type(0)
    products[:] = sums.dtype.type(0)
    pairs = x.shape[0] // 2
    for p in range(pairs):
        g0, g1, x0, x1 = g[2 * p], g[2 * p + 1], x[2 * p], x[2 * p + 1]
        for i in range(sums.size):
            m, a, b = mean[i], g0[i], g1[i]
            sums[i] += a + b
            products[i] += a * (x0[i] - m) + b * (x1[i] - m)
    for p in range(2 * pairs, x.shape[0]):
        g0, x0 = g[p], x[p]
        for i in range(sums.size):
            a = g0[i]
            sums[i] += a
            products[i] += a * (x0[i] - mean[i])


@compiled
def _gradients_rows(g, x, weight, mean, var, eps, rows, partial, gx, gw, gb):
    count, channels = x.shape
    chunks = partial.shape[0]
    for k in prange(chunks):
        start, stop = k * rows, min((k + 1) * rows, count)
        _column_products(g[start:stop], x[start:stop], mean, partial[k, 0], partial[k, 1])
    table = np.empty((3, channels), x.dtype)
    for i in range(channels):
        b, w = 0.0, 0.0
        for k in range(chunks):
            b += np.float64(partial[k, 0, i])
            w += np.float64(partial[k, 1, i])
        r = 1 / math.sqrt(np.float64(var[i]) + eps)
        gb[i], gw[i] = b, r * w
        table[0, i], table[1, i], table[2, i] = b / count, r * (r * w) / count, r * weight[i]
    for j in prange(chunks):
        k = np.uint64(chunks - 1 - j)
        start = k * np.uint64(rows)
        stop = min(start + rows, count)
        g_part, x_part, to = g[start:stop], x[start:stop], gx[start:stop]
        offset, slope, scale = table[0], table[1], table[2]
        for p in range(to.shape[0]):
            a, b, c = g_part[p], x_part[p], to[p]
            for i in range(a.size):
                c[i] = (a[i] - offset[i] - (b[i] - mean[i]) * slope[i]) * scale[i]


@any_order
def _products(g, x, mean):
    first, second = g.dtype.type(0), g.dtype.type(0)
    for i in range(g.size):
        gi = g[i]
        first += gi
        second += gi * (x[i] - mean)
    return first, second


@compiled
def _gradients_planes(g, x, weight, mean, var, eps, gx, gw, gb):
    real = x.dtype.type
    images, channels, pixels = x.shape
    count = images * pixels
    for c in prange(channels):
        b, w, middle = 0.0, 0.0, mean[c]
        for n in range(images):
            first, second = _products(g[n, c], x[n, c], middle)
            b += np.float64(first)
            w += np.float64(second)
        r = 1 / math.sqrt(np.float64(var[c]) + eps)
        gb[c], gw[c] = b, r * w
        offset, slope, scale = real(b / count), real(r * (r * w) / count), real(r * weight[c])
        for n in range(images):
            gs, xs, to = g[n, c], x[n, c], gx[n, c]
            for i in range(to.size):
                to[i] = (gs[i] - offset - (xs[i] - middle) * slope) * scale


# Entries


def _rows_last(x: Array) -> bool:
    """Whether x (N, C, ...) lies in memory as rows (M, C)."""
    return x.ndim == 2 or bool(
        not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous
    )


def _native(x: Array, last: bool) -> Array:
    """x (N, C, ...) as rows (M, C) or planes (N, C, L), C-contiguous: a view or a copy."""
    view = contiguous(np.moveaxis(x, 1, -1) if last else x)
    channels = x.shape[1]
    size = x.size // channels
    return view.reshape((size, channels) if last else (len(x), channels, size // len(x)))


def _new(x: Array, last: bool) -> Array:
    """A new array like x (N, C, ...), not filled, that lies in memory as its native form."""
    if not last:
        return empty(x.shape, x.dtype)
    return np.moveaxis(empty((x.shape[0], *x.shape[2:], x.shape[1]), x.dtype), -1, 1)


def _chunks(rows: Array) -> tuple[int, Array]:
    """How many rows (M, C) make a chunk, and room for three sums of C numbers for each chunk."""
    count, channels = rows.shape
    length = max(1, min(_MOST_ROWS, CHUNK // channels))
    return length, empty((-(-count // length), 3, channels), rows.dtype)


def given(parameter: Array | None, default: float, channels: int, dtype: Any) -> Array:
    """A weight or bias, C-contiguous, or what stands for it where there is none."""
    if parameter is None:
        return np.full(channels, default, dtype)
    return np.ascontiguousarray(parameter)


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float, out: Any = None
) -> tuple[Array, Array, Array]:
    """(y, mean, variance), by the statistics of each channel."""
    channels = x.shape[1]
    check_all_out(out, x.shape, (channels,), (channels,))
    last = _rows_last(x)
    y, (mean, var) = _new(x, last), np.empty((2, channels), x.dtype)
    w, b = given(weight, 1, channels, x.dtype), given(bias, 0, channels, x.dtype)
    source, to = _native(x, last), _native(y, last)
    if last:
        run = _forward_rows.suited(x.size)
        run(source, w, b, float(eps), *_chunks(source), to, mean, var)
    else:
        _forward_planes.suited(x.size)(source, w, b, float(eps), to, mean, var)
    return deliver_all((y, mean, var), out)


def batch_norm_gradients(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Any = None,
) -> tuple[Array, Array, Array]:
    """The gradients of x, the weight and the bias, in the layout of x."""
    channels = x.shape[1]
    check_all_out(out, x.shape, (channels,), (channels,))
    last = _rows_last(x)
    gx, gw, gb = _new(x, last), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    w = given(weight, 1, channels, x.dtype)
    g_in, x_in, to = _native(g, last), _native(x, last), _native(gx, last)
    m, v = np.ascontiguousarray(mean), np.ascontiguousarray(var)
    if last:
        run = _gradients_rows.suited(x.size)
        run(g_in, x_in, w, m, v, float(eps), *_chunks(x_in), to, gw, gb)
    else:
        _gradients_planes.suited(x.size)(g_in, x_in, w, m, v, float(eps), to, gw, gb)
    return deliver_all((gx, gw, gb), out)


def batch_norm_input_gradient(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Array | None = None,
) -> Array:
    """The gradient of x."""
    check_out(out, x.shape)
    return deliver(batch_norm_gradients(g, x, weight, mean, var, eps=eps)[0], out)


def batch_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Array | None = None
) -> Array:
    """The gradient of the weight."""
    check_out(out, x.shape[1:2])
    return deliver(batch_norm_gradients(g, x, None, mean, var, eps=eps)[1], out)
