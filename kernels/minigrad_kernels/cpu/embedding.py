"""Looking up rows of a table on the CPU, and adding gradients up in them.

The gradient sorts the indices by row (a counting sort, which keeps equal ones in their order), so
that each row of the table is written by one task, and its sum is always in the same order.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import prange

from ..arrays import Array, check_out, deliver
from ..memory import empty
from .compiled import CHUNK, compiled


@numba.njit
def _inside(index, rows):
    """Whether all indices are those of rows; negative ones count from the end."""
    good = True
    for i in range(index.size):
        good &= -rows <= index[i] < rows
    return good


@compiled
def _look_up(index, table, each, y):
    rows, width = table.shape
    if not _inside(index, rows):
        return False
    for task in prange((index.size + each - 1) // each):
        for i in range(task * each, min((task + 1) * each, index.size)):
            row = np.int64(index[i])
            a, b = table[row + rows if row < 0 else row], y[i]
            for k in range(width):
                b[k] = a[k]
    return True


@compiled
def _add_up(g, index, skip, each, start, order, y):
    """`start` has room for rows + 1 numbers, `order` for as many as there are indices."""
    rows, width = y.shape
    if not _inside(index, rows):
        return False
    start[:] = 0
    for i in range(index.size):
        row = np.int64(index[i])
        start[(row + rows if row < 0 else row) + 1] += 1
    for r in range(rows):
        start[r + 1] += start[r]
    for i in range(index.size):  # start[r] goes up to where row r ends
        row = np.int64(index[i])
        row = row + rows if row < 0 else row
        order[start[row]] = i
        start[row] += 1
    for task in prange((rows + each - 1) // each):
        for r in range(task * each, min((task + 1) * each, rows)):
            to = y[r]
            first = start[r - 1] if r > 0 else 0
            last = first if r == skip else start[r]
            if first == last:
                to[:] = g.dtype.type(0)
            for i in range(first, last):
                a = g[order[i]]
                if i == first:
                    for k in range(width):
                        to[k] = a[k]
                else:
                    for k in range(width):
                        to[k] += a[k]
    return True


def embedding(index: Array, table: Array, *, out: Array | None = None) -> Array:
    """The rows of the table at `index`."""
    shape = (*index.shape, table.shape[1])
    check_out(out, shape)
    y = empty(shape, table.dtype)
    each = max(1, CHUNK // max(1, table.shape[1]))
    rows = np.ascontiguousarray(table)
    flat = np.ascontiguousarray(index).reshape(-1)
    run = _look_up.suited(y.size)
    if not run(flat, rows, each, y.reshape(flat.size, table.shape[1])):
        raise IndexError(f"embedding: an index is out of range for {len(table)} rows")
    return deliver(y, out)


def embedding_gradient(
    g: Array, index: Array, *, rows: int, skip: int | None, out: Array | None = None
) -> Array:
    """g added up in the rows of their indices."""
    width = g.shape[-1]
    check_out(out, (rows, width))
    y = empty((rows, width), g.dtype)
    flat = np.ascontiguousarray(index).reshape(-1)
    source = np.ascontiguousarray(g).reshape(flat.size, width)
    skip = -1 if skip is None else range(rows)[skip]
    each = max(1, CHUNK // max(1, width))
    start, order = np.empty(rows + 1, np.int64), np.empty(flat.size, np.int64)
    run = _add_up.suited(max(g.size, y.size))
    if not run(source, flat, skip, each, start, order, y):
        raise IndexError(f"embedding_gradient: an index is out of range for {rows} rows")
    return deliver(y, out)
