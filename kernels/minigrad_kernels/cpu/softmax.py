"""Softmax and its logarithm on the CPU.

Along the axis that is contiguous in memory, a row is read once and stays in the cache for all that
is done with it. Along any other axis, the same is done for a few columns at once.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import prange

from ..arrays import Array, deliver
from ..layout import dense, empty_like, like, memory_order
from ..memory import empty
from .compiled import CHUNK, EXPENSIVE, Compiled, any_order, compiled
from .elementwise import writes_straight
from .math import exp, exp_of_negative, log, maximum
from .reduce import sum_of

COLUMNS = 256
"""How many columns go together."""


# What rows and columns share


def sliced(x: Array, axis: int) -> Array:
    """A view (outer, n, inner) of a dense array, the axis in the middle, in memory's order."""
    axis %= x.ndim
    order = tuple(range(x.ndim)) if x.flags.c_contiguous else memory_order(x)
    place = order.index(axis)
    shape = [x.shape[i] for i in order]
    outer, inner = math.prod(shape[:place]), math.prod(shape[place + 1 :])
    return x.transpose(order).reshape(outer, shape[place], inner)


def along(rows: Compiled, columns: Compiled, out: Array | None, axis: int, *inputs: Array) -> Array:
    """rows(*inputs, y) or columns(*inputs, y) along the axis; returns y, or `out`."""
    x = inputs[0]
    if out is None and x.size and axis in (-1, x.ndim - 1) and _contiguous(inputs):
        y = empty(x.shape, x.dtype)
        run = rows.suited(EXPENSIVE * y.size)
        run(*[a.reshape(-1, x.shape[-1]) for a in (*inputs, y)])
        return y
    model = dense(x)
    y = out
    if out is None or not writes_straight(out, model, inputs):
        y = empty_like(model)
    if y.size:
        views = [sliced(x, axis) for x in (*(like(x, model) for x in inputs), y)]
        function = columns
        if views[0].shape[2] == 1:
            function, views = rows, [x[:, :, 0] for x in views]
        run = function.suited(EXPENSIVE * y.size)
        run(*views)
    return y if y is out else deliver(y, out)


def _contiguous(arrays: tuple[Array, ...]) -> bool:
    return all(x.flags.c_contiguous for x in arrays)


@numba.njit
def groups(rows: int, length: int) -> int:
    """In how many groups to share out rows of this length: so that a group makes a chunk."""
    return min(rows, (rows * length + CHUNK - 1) // CHUNK)


@numba.njit
def group(index: int, count: int, rows: int) -> range:
    """The rows of a group."""
    return range(index * rows // count, (index + 1) * rows // count)


@numba.njit
def blocks(x: Any) -> int:
    """How many blocks of columns (outer, n, inner) makes."""
    return x.shape[0] * ((x.shape[2] + COLUMNS - 1) // COLUMNS)


@numba.njit
def block(x: Any, index: int) -> tuple[Any, slice]:
    """Where the columns of a block lie: in which (n, inner), and which of them.

    A row of them is a[j][part]; a[:, part] would not be known to be contiguous.
    """
    each = (x.shape[2] + COLUMNS - 1) // COLUMNS
    start = index % each * COLUMNS
    return x[index // each], slice(start, min(start + COLUMNS, x.shape[2]))


@any_order
def largest(a: Any) -> Any:
    """The largest number; NaN if there is one."""
    top = a[0]
    for i in range(a.size):
        top = maximum(top, a[i])
    return top


@any_order
def exponentials(a: Any, top: Any) -> Any:
    """The sum of exp(a - top)."""
    total = a.dtype.type(0)
    for i in range(a.size):
        total += exp_of_negative(a[i] - top)
    return total


@any_order
def exponentials_into(b: Any, a: Any, top: Any) -> Any:
    """The same, after writing them to b."""
    total = a.dtype.type(0)
    for i in range(a.size):
        e = exp_of_negative(a[i] - top)
        b[i] = e
        total += e
    return total


@any_order
def sum_of_products(a: Any, b: Any) -> Any:
    """The sum of a * b."""
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@any_order
def largest_of_columns(a: Any, part: slice) -> Any:
    """The largest number of each column of a block."""
    top = a[0][part].copy()
    for j in range(1, a.shape[0]):
        aj = a[j][part]
        for i in range(aj.size):
            top[i] = maximum(top[i], aj[i])
    return top


# Softmax


@compiled
def _softmax_rows(x, y):
    count = groups(*x.shape)
    for index in prange(count):
        for row in group(index, count, x.shape[0]):
            a, b = x[row], y[row]
            top = largest(a)
            share = x.dtype.type(1) / exponentials_into(b, a, top)
            for i in range(b.size):
                b[i] *= share


@compiled
def _softmax_columns(x, y):
    for index in prange(blocks(x)):
        (a, part), b = block(x, index), block(y, index)[0]
        top = largest_of_columns(a, part)
        total = np.zeros_like(top)
        for j in range(a.shape[0]):
            aj, bj = a[j][part], b[j][part]
            for i in range(aj.size):
                e = exp_of_negative(aj[i] - top[i])
                bj[i] = e
                total[i] += e
        for j in range(b.shape[0]):
            bj = b[j][part]
            for i in range(bj.size):
                bj[i] /= total[i]


def softmax(x: Array, *, axis: int, out: Array | None = None) -> Array:
    """exp(x) / sum(exp(x)) along the axis."""
    return along(_softmax_rows, _softmax_columns, out, axis, x)


@compiled
def _softmax_gradient_rows(g, y, gx):
    count = groups(*g.shape)
    for index in prange(count):
        for row in group(index, count, g.shape[0]):
            a, b, c = g[row], y[row], gx[row]
            total = sum_of_products(a, b)
            for i in range(a.size):
                c[i] = b[i] * (a[i] - total)


@compiled
def _softmax_gradient_columns(g, y, gx):
    for index in prange(blocks(g)):
        (a, part), b, c = block(g, index), block(y, index)[0], block(gx, index)[0]
        total = np.zeros_like(a[0][part])
        for j in range(a.shape[0]):
            aj, bj = a[j][part], b[j][part]
            for i in range(aj.size):
                total[i] += aj[i] * bj[i]
        for j in range(a.shape[0]):
            aj, bj, cj = a[j][part], b[j][part], c[j][part]
            for i in range(aj.size):
                cj[i] = bj[i] * (aj[i] - total[i])


def softmax_gradient(g: Array, y: Array, *, axis: int, out: Array | None = None) -> Array:
    """y * (g - sum(g * y)) along the axis, where y = softmax(x)."""
    return along(_softmax_gradient_rows, _softmax_gradient_columns, out, axis, g, y)


# Its logarithm


@compiled
def _log_softmax_rows(x, y):
    count = groups(*x.shape)
    for index in prange(count):
        for row in group(index, count, x.shape[0]):
            a, b = x[row], y[row]
            top = largest(a)
            total = log(exponentials(a, top))
            for i in range(a.size):
                b[i] = (a[i] - top) - total


@compiled
def _log_softmax_columns(x, y):
    for index in prange(blocks(x)):
        (a, part), b = block(x, index), block(y, index)[0]
        top = largest_of_columns(a, part)
        total = np.zeros_like(top)
        for j in range(a.shape[0]):
            aj = a[j][part]
            for i in range(aj.size):
                total[i] += exp_of_negative(aj[i] - top[i])
        for i in range(total.size):
            total[i] = log(total[i])
        for j in range(a.shape[0]):
            aj, bj = a[j][part], b[j][part]
            for i in range(aj.size):
                bj[i] = (aj[i] - top[i]) - total[i]


def log_softmax(x: Array, *, axis: int, out: Array | None = None) -> Array:
    """x - log(sum(exp(x))) along the axis."""
    return along(_log_softmax_rows, _log_softmax_columns, out, axis, x)


@compiled
def _log_softmax_gradient_rows(g, y, gx):
    count = groups(*g.shape)
    for index in prange(count):
        for row in group(index, count, g.shape[0]):
            a, b, c = g[row], y[row], gx[row]
            total = sum_of(a)
            for i in range(a.size):
                c[i] = a[i] - exp(b[i]) * total


@compiled
def _log_softmax_gradient_columns(g, y, gx):
    for index in prange(blocks(g)):
        (a, part), b, c = block(g, index), block(y, index)[0], block(gx, index)[0]
        total = np.zeros_like(a[0][part])
        for j in range(a.shape[0]):
            aj = a[j][part]
            for i in range(aj.size):
                total[i] += aj[i]
        for j in range(a.shape[0]):
            aj, bj, cj = a[j][part], b[j][part], c[j][part]
            for i in range(aj.size):
                cj[i] = aj[i] - exp(bj[i]) * total[i]


def log_softmax_gradient(g: Array, y: Array, *, axis: int, out: Array | None = None) -> Array:
    """g - exp(y) * sum(g) along the axis, where y = log_softmax(x)."""
    return along(_log_softmax_gradient_rows, _log_softmax_gradient_columns, out, axis, g, y)
