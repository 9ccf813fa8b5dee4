"""Matrix products on the CPU: blocks of b are packed into the cache, and tiles do the rest.

A task computes a panel of columns for a block of rows. It walks along the sum in blocks; of each it
copies the rows of `b` that the panel needs side by side ("packing"), and every tile of the block of
rows then reads them from the cache. `a` is read where it lies.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import prange
from numba.extending import register_jitable

from ..arrays import Array, deliver
from ..layout import REALS
from ..memory import empty
from .compiled import CHUNK, any_order, compiled
from .tile import ADD, PANEL_BYTES, ROWS, START, ZERO, multiply, transpose
from .vector import clear, copy, multiples

DEPTH = 256
"""Terms of the sum in a block: with a panel, 64 KiB, which stay in the L2 cache."""

FOR_ONE_THREAD = 1 << 19
"""Multiply-adds that the calling thread does alone: some 10 µs of work, as in `compiled.ALONE`."""

FEW_ROWS = 4
"""Rows up to which a product with a transposed matrix is so many dot products: tiles would mostly
compute what nobody asked for, and packing would take longer than the product."""

MANY_COLUMNS = 256
"""Columns from which a transposed matrix is first copied row by row: read down its columns, its
numbers lie in lines of the cache that compete for the same place."""


@numba.njit
def pack(b, at, row, column, depth, columns, width, packed):
    """Copy b[at + k * row + j * column] to packed[k * width + j]; beyond `columns` lie zeros."""
    if columns < width:
        clear(packed, 0, depth * width)
    if column == 1:
        for k in range(depth):
            copy(packed, k * width, b, at + k * row, columns)
    elif row == 1:
        transpose(b, at, column, columns, depth, packed, 0, width)
    else:
        for k in range(depth):
            for j in range(columns):
                packed[k * width + j] = b[at + k * row + j * column]


@numba.njit
def product_block(batch, j0, i0, a, a_at, a_row, a_column, b, b_at, b_row, b_column, bias, relu,
                   c, rows, columns, depth, block, transposed):  # fmt: skip
    """A panel of columns of c, from column j0, for a block of rows, from row i0."""
    panel = PANEL_BYTES // c.itemsize
    width, height = min(panel, columns - j0), min(block, rows - i0)
    a_rows = multiples(height, a_row)
    packed = np.empty(min(DEPTH, depth) * panel, c.dtype)
    if transposed:
        target, c_at, c_rows = np.empty(height * panel, c.dtype), 0, multiples(height, panel)
    else:
        target, c_at = c, (batch * rows + i0) * columns + j0
        c_rows = multiples(height, columns)
    segments = multiples(1, 0)
    in_place = b_column == 1 and width == panel and height <= ROWS
    begin = START if bias.size and not transposed else ZERO
    for k0 in range(0, max(depth, 1), DEPTH):
        part = min(DEPTH, depth - k0)
        b_here = b_at + k0 * b_row + j0 * b_column
        if not in_place:
            pack(b, b_here, b_row, b_column, part, width, panel, packed)
        last = k0 + DEPTH >= depth
        for i in range(0, height, ROWS):
            multiply(
                a, a_at + i0 * a_row + k0 * a_column, a_rows, i, a_column, segments, 0, 1, part,
                b if in_place else packed, b_here if in_place else 0, b_row if in_place else panel,
                target, c_rows, i, c_at, min(ROWS, height - i), width,
                begin if k0 == 0 else ADD, bias, j0, relu and last and not transposed,
            )  # fmt: skip
    if transposed:
        _write_transposed(
            target, panel, c, (batch * columns + j0) * rows + i0, rows, height, width,
            bias, i0, relu,
        )  # fmt: skip


@numba.njit
def _write_transposed(tile, panel, c, at, rows, height, width, bias, first, relu):
    """c[at + j * rows + i] = tile[i * panel + j] + bias[first + i]; negative ones 0 if `relu`."""
    transpose(tile, 0, panel, height, width, c, at, rows)
    for j in range(width):
        column = c[at + j * rows : at + j * rows + height]
        if bias.size:
            numbers = bias[first : first + height]
            for i in range(column.size):
                column[i] += numbers[i]
        if relu:
            for i in range(column.size):
                value = column[i]
                column[i] = c.dtype.type(0) if value <= 0 else value


@compiled
def _product(a, a_batch, a_row, a_column, b, b_batch, b_row, b_column, bias, relu,
             c, batches, rows, columns, depth, block, transposed):  # fmt: skip
    """c (batches, rows, columns), or transposed (batches, columns, rows), for rows in blocks.

    `bias` has no elements, or one for each column, or, if transposed, for each row.
    """
    panel = PANEL_BYTES // c.itemsize
    panels = (columns + panel - 1) // panel
    row_blocks = (rows + block - 1) // block
    for task in prange(batches * panels * row_blocks):
        place, row_block = divmod(np.intp(task), row_blocks)
        batch, number = divmod(place, panels)
        product_block(
            batch, number * panel, row_block * block, a, batch * a_batch, a_row, a_column,
            b, batch * b_batch, b_row, b_column, bias, relu, c, rows, columns, depth, block,
            transposed,
        )  # fmt: skip


@any_order
def _dot(x, x_at, w, w_at, depth):
    """The dot product of `depth` numbers of x and w."""
    a, b = x[x_at : x_at + depth], w[w_at : w_at + depth]
    total = x.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@compiled
def _dots(x, w, bias, relu, y, rows, columns, depth):
    """y[i, j]: the dot product of row i of x and row j of w, plus bias[j], if there are any."""
    step = max(1, CHUNK // max(1, depth * rows))
    for task in prange((columns + step - 1) // step):
        for j in range(np.intp(task) * step, min((np.intp(task) + 1) * step, columns)):
            for i in range(rows):
                total = _dot(x, i * depth, w, j * depth, depth)
                if bias.size:
                    total += bias[j]
                y[i * columns + j] = x.dtype.type(0) if relu and total <= 0 else total


@numba.njit
def axpy_block(first, last, start, stop, a, a_row, a_column, b, c, columns, depth):
    """c[i, j] = sum over k of a[i, k] * b[k, j] for rows first <= i < last, start <= j < stop."""
    for i in range(first, last):
        ci = c[i * columns + start : i * columns + stop]
        if depth == 0:
            ci[:] = 0
        for k in range(depth):
            number = a[i * a_row + k * a_column]
            bk = b[k * columns + start : k * columns + stop]
            if k == 0:
                for j in range(ci.size):
                    ci[j] = number * bk[j]
            else:
                for j in range(ci.size):
                    ci[j] += number * bk[j]


@compiled
def _axpys(a, a_row, a_column, b, c, rows, columns, depth):
    """c[i] = sum over k of a[i, k] * b[k], rows of b and c being contiguous."""
    span = 4096
    spans = (columns + span - 1) // span
    step = max(1, 4 * span // max(1, min(span, columns) * depth))
    row_blocks = (rows + step - 1) // step
    for task in prange(row_blocks * spans):
        row_block, part = divmod(np.intp(task), spans)
        axpy_block(
            row_block * step, min((row_block + 1) * step, rows),
            part * span, min((part + 1) * span, columns), a, a_row, a_column, b, c, columns, depth,
        )  # fmt: skip


@compiled
def _transposed(x, y, rows, columns):
    """y (columns, rows) = x (rows, columns) transposed."""
    for block in prange((rows + 63) // 64):
        first = np.intp(block) * 64
        transpose(x, first * columns, columns, min(64, rows - first), columns, y, first, rows)


def _by_rows(x: Array) -> Array:
    """A copy of a matrix, its rows contiguous."""
    if not x.flags.f_contiguous:
        return np.ascontiguousarray(x)
    y = empty(x.shape, x.dtype)
    run = _transposed.suited(x.size)
    run(x.T.reshape(-1), y.reshape(-1), x.shape[1], x.shape[0])
    return y


def _strides(x: Array) -> tuple[Array, int, int]:
    """A matrix's memory, and the strides of its rows and columns; copied if it has gaps."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1], 1
    if x.flags.f_contiguous:
        return x.T.reshape(-1), 1, x.shape[0]
    return np.ascontiguousarray(x).reshape(-1), x.shape[1], 1


def is_for_one_thread(work: int) -> bool:
    """Whether so many multiply-adds are done sooner than another thread would help."""
    return work <= FOR_ONE_THREAD


NO_BIAS = {dtype: np.empty(0, dtype) for dtype in REALS}


def product(a: Array, b: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """a (M, K) @ b (K, N) + bias (N,), negative numbers to 0 if `relu`; C-contiguous.

    Of a and b, the one with fewer elements is packed, the other read where it lies; where that is
    a, the transpose b.T @ a.T is computed.
    """
    (rows, depth), columns = a.shape, b.shape[1]
    c = empty((rows, columns), a.dtype)
    start = NO_BIAS[a.dtype] if bias is None else bias
    if columns >= MANY_COLUMNS and not a.flags.c_contiguous:
        a = _by_rows(a)
    a_memory, a_row, a_column = _strides(a)
    b_memory, b_row, b_column = _strides(b)
    work = rows * columns * depth
    if rows <= FEW_ROWS and b_row == 1 and a_column == 1:
        run = _dots.serial if is_for_one_thread(work) else _dots.parallel
        run(a_memory, b_memory, start, relu, c.reshape(-1), rows, columns, depth)
        return c
    if (rows <= FEW_ROWS or depth <= FEW_ROWS) and b_column == 1 and bias is None and not relu:
        run = _axpys.serial if is_for_one_thread(work) else _axpys.parallel
        run(a_memory, a_row, a_column, b_memory, c.reshape(-1), rows, columns, depth)
        return c
    alone = is_for_one_thread(work)
    run = _product.serial if alone else _product.parallel
    swapped = b_row == 1 and a.size < b.size and rows <= columns
    if swapped:
        run(
            b_memory, 0, b_column, b_row, a_memory, 0, a_column, a_row, start, relu,
            c.reshape(-1), 1, columns, rows, depth, block_of(columns, rows, alone), True,
        )  # fmt: skip
    else:
        run(
            a_memory, 0, a_row, a_column, b_memory, 0, b_row, b_column, start, relu,
            c.reshape(-1), 1, rows, columns, depth, block_of(rows, columns, alone), False,
        )  # fmt: skip
    return c


@register_jitable
def block_of(rows, columns, alone):
    """How many rows a task computes: many, but so that there are tasks enough for all threads."""
    if alone:
        return max(1, (rows + ROWS - 1) // ROWS) * ROWS
    panels = (4 * columns + PANEL_BYTES - 1) // PANEL_BYTES
    blocks = (8 + panels - 1) // max(1, panels)
    block = (rows + blocks - 1) // max(1, blocks)
    return min(max(36, (block + ROWS - 1) // ROWS * ROWS), 480)


def matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (..., M, K) @ b (..., K, N), leading dimensions broadcast; vectors as in the definition."""
    left = a if a.ndim > 1 else a.reshape(1, -1)
    right = b if b.ndim > 1 else b.reshape(-1, 1)
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul: {a.shape} times {b.shape}: the inner dimensions differ")
    if right.ndim == 2:  # one matrix for all: their rows make one matrix, too
        rows = left if left.ndim == 2 else left.reshape(-1, left.shape[-1])
        y = product(rows, right).reshape(*left.shape[:-1], right.shape[-1])
    else:
        y = _batched(left, right)
    if a.ndim == 1:
        y = y[..., 0, :]
    return deliver(y if b.ndim > 1 else y[..., 0], out)


def _batched(a: Array, b: Array) -> Array:
    """A product of every pair of matrices."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    count = math.prod(batch)
    (rows, depth), columns = a.shape[-2:], b.shape[-1]
    c = empty((*batch, rows, columns), a.dtype)
    work = count * rows * columns * depth
    run = _product.serial if is_for_one_thread(work) else _product.parallel
    run(
        *_batch_strides(a, batch), *_batch_strides(b, batch), NO_BIAS[a.dtype], False,
        c.reshape(-1), count, rows, columns, depth, block_of(rows, columns, True), False,
    )  # fmt: skip
    return c


def _batch_strides(x: Array, batch: tuple[int, ...]) -> tuple[Array, int, int, int]:
    """The memory of matrices, and the strides from one to the next, of their rows and columns."""
    if x.ndim == 2:
        memory, row, column = _strides(x)
        return memory, 0, row, column
    if x.shape[:-2] != batch:
        x = np.broadcast_to(x, (*batch, *x.shape[-2:]))
    rows, columns = x.shape[-2:]
    turned = x.swapaxes(-1, -2)
    if turned.flags.c_contiguous and not x.flags.c_contiguous:
        return turned.reshape(-1), rows * columns, 1, rows
    return np.ascontiguousarray(x).reshape(-1), rows * columns, columns, 1
