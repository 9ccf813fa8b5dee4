"""Sums on the CPU: chunks are summed on all threads, and their sums added in a fixed order."""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import prange

from ..arrays import Array, deliver
from ..layout import memory_order
from ..memory import empty
from .compiled import CHUNK, any_order, compiled
from .vector import clear

ROWS = 128
"""Rows that are added before their sum is added to the others': short sums keep errors small."""


@any_order
def sum_of(x):
    """The sum of x."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@compiled
def _row_totals(x, partial, rows, length, chunk, chunks):
    """partial[row, part]: the sum of a chunk of a row of x (rows, length)."""
    per_task = max(1, CHUNK // max(1, min(chunk, length)))
    pieces = rows * chunks
    for task in prange((pieces + per_task - 1) // per_task):
        first = np.intp(task) * per_task
        for piece in range(first, min(first + per_task, pieces)):
            row, part = divmod(piece, chunks)
            start = row * length + part * chunk
            partial[piece] = sum_of(x[start : min(start + chunk, (row + 1) * length)])


@numba.njit
def add_rows(x, first, last, width, total, to, block):
    """total[to : to + width] = the sum of rows first to last of x (rows, width)."""
    clear(total, to, width)
    sums = total[to : to + width]
    for start in range(first, last, ROWS):
        clear(block, 0, width)
        for row in range(start, min(start + ROWS, last)):
            numbers = x[row * width : (row + 1) * width]
            for i in range(numbers.size):
                block[i] += numbers[i]
        for i in range(sums.size):
            sums[i] += block[i]


@compiled
def _column_totals(x, partial, rows, width, parts):
    """partial[part]: the sum of some of the rows of x (rows, width)."""
    each = (rows + parts - 1) // parts
    for part in prange(parts):
        first = min(np.intp(part) * each, rows)
        block = np.empty(width, x.dtype)
        add_rows(x, first, min(first + each, rows), width, partial, np.intp(part) * width, block)


def sums(x: Array, *, axes: tuple[int, ...], keepdims: bool, out: Array | None = None) -> Array:
    """The sums of x over `axes`."""
    order = memory_order(x)
    shape = [x.shape[axis] for axis in order]
    kept = [place for place, axis in enumerate(order) if axis not in axes and shape[place] != 1]
    first, last = (kept[0], kept[-1] + 1) if kept else (0, 0)
    outer, middle, inner = (
        math.prod(part) for part in (shape[:first], shape[first:last], shape[last:])
    )
    flat = x.transpose(order).reshape(-1)
    y = _over_outer(_over_inner(flat, outer * middle, inner), outer, middle)
    if y is flat:  # every sum has one term
        y = flat.copy()
    in_memory = [1 if axis in axes else x.shape[axis] for axis in order]
    back = [order.index(axis) for axis in range(x.ndim)]
    y = y.reshape(in_memory).transpose(back)
    if not keepdims:
        y = y.reshape([n for axis, n in enumerate(x.shape) if axis not in axes])
    return deliver(y, out)


def _over_inner(x: Array, rows: int, length: int) -> Array:
    """The sums of the rows of x (rows, length)."""
    if length == 1:
        return x
    chunks = max(1, -(-length // CHUNK))
    partial = empty(rows * chunks, x.dtype)
    run = _row_totals.suited(x.size)
    run(x, partial, rows, length, CHUNK, chunks)
    return _over_inner(partial, rows, chunks) if chunks > 1 else partial


def _over_outer(x: Array, rows: int, width: int) -> Array:
    """The sum of the rows of x (rows, width)."""
    if rows == 1:
        return x
    parts = max(1, min(16, rows // ROWS, x.size // CHUNK))
    y = empty((parts, width), x.dtype).reshape(-1)
    run = _column_totals.suited(x.size)
    run(x, y, rows, width, parts)
    return _over_outer(y, parts, width)
