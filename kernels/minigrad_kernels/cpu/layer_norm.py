"""Layer normalisation on the CPU: a row stays in the L1 cache while it is gone through.

Gradients of weight and bias are sums over all rows: each task adds its rows up, and the tasks' sums
are added in their order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from ..arrays import Array, check_all_out, check_out, deliver, deliver_all
from ..layout import contiguous
from ..memory import empty
from .compiled import CHUNK, any_order, compiled
from .norm import given, squares
from .reduce import sum_of

_MOST_TASKS = 64  # so that their sums stay small beside the rows


@compiled
def _forward(x, weight, bias, eps, rows, y, mean, var):
    real = x.dtype.type
    count, width = x.shape
    for task in prange((count + rows - 1) // rows):
        for p in range(task * rows, min((task + 1) * rows, count)):
            a, b = x[p], y[p]
            middle = real(np.float64(sum_of(a)) / width)
            square = np.float64(squares(a, middle)) / width
            scale = real(1 / math.sqrt(square + eps))
            mean[p], var[p] = middle, square
            for i in range(a.size):
                b[i] = (a[i] - middle) * scale * weight[i] + bias[i]


@any_order
def _weighted_products(g, x, weight, mean):
    """The sums of u = g weight and of u (x - mean)."""
    first, second = g.dtype.type(0), g.dtype.type(0)
    for i in range(g.size):
        u = g[i] * weight[i]
        first += u
        second += u * (x[i] - mean)
    return first, second


@compiled
def _gradients(g, x, weight, mean, var, eps, rows, partial, gx, gw, gb):
    """With d = x - mean and r = 1 / s: gx = r (u - mean(u) - d r r mean(u d)) for each row."""
    real = x.dtype.type
    count, width = x.shape
    tasks = partial.shape[0]
    for task in prange(tasks):
        w_sum, b_sum = partial[task, 0], partial[task, 1]
        w_sum[:] = real(0)
        b_sum[:] = real(0)
        for p in range(task * rows, min((task + 1) * rows, count)):
            a, b, c, middle = g[p], x[p], gx[p], mean[p]
            first, second = _weighted_products(a, b, weight, middle)
            r = 1 / math.sqrt(np.float64(var[p]) + eps)
            scale = real(r)
            offset, slope = real(first / width), real(r * (r * np.float64(second)) / width)
            for i in range(a.size):
                c[i] = (a[i] * weight[i] - offset - (b[i] - middle) * slope) * scale
            for i in range(a.size):  # of its own: one loop through six arrays is not vectorised
                gi = a[i]
                w_sum[i] += gi * ((b[i] - middle) * scale)
                b_sum[i] += gi
    for i in range(width):
        gw[i], gb[i] = partial[0, 0, i], partial[0, 1, i]
    for task in range(1, tasks):
        w_sum, b_sum = partial[task, 0], partial[task, 1]
        for i in range(width):
            gw[i] += w_sum[i]
            gb[i] += b_sum[i]


def _native(x: Array) -> Array:
    """x (..., D) as rows (M, D), C-contiguous: a view or a copy."""
    return contiguous(x).reshape(x.size // x.shape[-1], x.shape[-1])


def _rows_each(x: Array) -> int:
    """How many rows of x (M, D) a task takes."""
    return max(1, CHUNK // x.shape[1], -(-len(x) // _MOST_TASKS))


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float, out: Any = None
) -> tuple[Array, Array, Array]:
    """(y, mean, variance), by the statistics of each row."""
    groups, width = x.shape[:-1], x.shape[-1]
    check_all_out(out, x.shape, groups, groups)
    y, mean, var = empty(x.shape, x.dtype), empty(groups, x.dtype), empty(groups, x.dtype)
    w, b = given(weight, 1, width, x.dtype), given(bias, 0, width, x.dtype)
    rows = _native(x)
    run = _forward.suited(x.size)
    run(rows, w, b, float(eps), _rows_each(rows), _native(y), mean.reshape(-1), var.reshape(-1))
    return deliver_all((y, mean, var), out)


def layer_norm_gradients(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Any = None,
) -> tuple[Array, Array, Array]:
    """The gradients of x, the weight and the bias."""
    width = x.shape[-1]
    check_all_out(out, x.shape, (width,), (width,))
    gx, gw, gb = empty(x.shape, x.dtype), empty(width, x.dtype), empty(width, x.dtype)
    rows = _native(x)
    each = _rows_each(rows)
    partial = empty((-(-len(rows) // each), 2, width), x.dtype)
    w = given(weight, 1, width, x.dtype)
    m, v = np.ascontiguousarray(mean).reshape(-1), np.ascontiguousarray(var).reshape(-1)
    run = _gradients.suited(x.size)
    run(_native(g), rows, w, m, v, float(eps), each, partial, _native(gx), gw, gb)
    return deliver_all((gx, gw, gb), out)


def layer_norm_input_gradient(
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
    return deliver(layer_norm_gradients(g, x, weight, mean, var, eps=eps)[0], out)


def layer_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Array | None = None
) -> Array:
    """The gradient of the weight."""
    check_out(out, x.shape[-1:])
    return deliver(layer_norm_gradients(g, x, None, mean, var, eps=eps)[1], out)
