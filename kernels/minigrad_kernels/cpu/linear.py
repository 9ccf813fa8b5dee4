"""The affine map of a layer on the CPU, and its gradients, all of them in one compiled call."""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import prange

from ..arrays import Array, deliver, deliver_all
from ..layout import REALS, contiguous
from ..linear import check_fit
from ..memory import empty
from .compiled import ALONE, CHUNK, compiled
from .matmul import (
    FEW_ROWS,
    MANY_COLUMNS,
    NO_BIAS,
    axpy_block,
    block_of,
    is_for_one_thread,
    product,
    product_block,
)
from .reduce import ROWS, add_rows
from .tile import PANEL_BYTES, transpose


def linear(
    x: Array, w: Array, b: Array | None, *, relu: bool = False, out: Array | None = None
) -> Array:
    """x (..., in) @ w (out, in) transposed, plus b (out,); where that is negative, 0 if `relu`.

    Raises:
        ValueError: if shapes do not fit.
    """
    if x.shape[-1:] != w.shape[1:] or (b is not None and b.shape != w.shape[:1]):
        raise ValueError(
            f"linear: x {x.shape}, w {w.shape} and b {None if b is None else b.shape} do not fit"
        )
    rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = product(rows, w.T, None if b is None else np.ascontiguousarray(b), relu)
    return deliver(y if x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[0]), out)


# Gradients

SPAN = 512
"""Columns of a task where there are few rows, on several threads."""

PASSES = 4
"""How many multiply-adds count for the work that is done once for each element of g."""


@numba.njit
def _prepare(part, parts, g, y, h, turned, partial, rows, outputs):
    """For a part of the rows: g with 0 where y <= 0, h transposed, the sums of its columns."""
    each = (rows + parts - 1) // parts
    first, last = min(part * each, rows), min((part + 1) * each, rows)
    if y.size:
        within = slice(first * outputs, last * outputs)
        a, b, c = g[within], y[within], h[within]
        for i in range(a.size):
            gi = a[i]
            c[i] = a.dtype.type(0) if b[i] <= 0 else gi
    if turned.size:
        transpose(h, first * outputs, outputs, last - first, outputs, turned, first, rows)
    if partial.size:
        block = np.empty(outputs, h.dtype)
        add_rows(h, first, last, outputs, partial, part * outputs, block)


@numba.njit
def _task(rows, outputs, columns, panel, few, alone):
    """How many rows of gx, or of gw, a task computes, and how many columns."""
    if not few:
        return block_of(rows, columns, alone), block_of(outputs, columns, alone), panel
    if alone:
        return max(1, rows), max(1, outputs), max(1, columns)
    products = 4 * CHUNK // SPAN
    return max(1, products // max(1, outputs)), max(1, products // max(1, rows)), SPAN


@numba.njit
def _block_of_product(i0, j0, a, a_row, a_column, b, c, rows, columns, depth, block, span, few):
    """c (rows, columns) = a (rows, depth) @ b (depth, columns), for a block of rows and columns."""
    if few:
        last, stop = min(i0 + block, rows), min(j0 + span, columns)
        axpy_block(i0, last, j0, stop, a, a_row, a_column, b, c, columns, depth)
    else:
        product_block(
            0, j0, i0, a, 0, a_row, a_column, b, 0, columns, 1, c[:0], False,
            c, rows, columns, depth, block, False,
        )  # fmt: skip


@compiled
def _gradients(g, y, room, x, w, gx, gw, gb, alone):
    """gx (rows, inputs) = h @ w, gw (outputs, inputs) = h.T @ x, gb (outputs,) = sum of rows of h.

    h (rows, outputs) is g with 0 where y <= 0. All are C-contiguous; what is not wanted, or not
    needed, has no elements. `room` is for h and for h transposed, where they are large. A task
    computes a block of rows of gx or gw, some columns wide: those of both that read and write the
    same columns follow each other.
    """
    (rows, outputs), inputs = g.shape, max(x.shape[1], w.shape[1])
    if g.size <= CHUNK:
        room = np.empty(2 * g.size, g.dtype)
    g, y, x, w, gx, gw = g.ravel(), y.ravel(), x.ravel(), w.ravel(), gx.ravel(), gw.ravel()
    few = rows <= FEW_ROWS or outputs <= FEW_ROWS
    turns = gw.size > 0 and not few and inputs >= MANY_COLUMNS
    h = room[: g.size] if y.size else g
    turned = room[g.size : 2 * g.size] if turns else room[:0]

    if g.size <= ALONE:
        _prepare(0, 1, g, y, h, turned, gb, rows, outputs)
    else:
        parts = max(1, min(16, rows // ROWS))
        partial = np.empty(parts * gb.size, g.dtype)
        for part in prange(parts):
            _prepare(np.intp(part), parts, g, y, h, turned, partial, rows, outputs)
        gb[:] = 0
        for part in range(parts if gb.size else 0):
            for j in range(outputs):
                gb[j] += partial[part * outputs + j]

    panel = PANEL_BYTES // g.itemsize
    x_block, w_block, span = _task(rows, outputs, inputs, panel, few, alone)
    spans = (inputs + span - 1) // span
    x_blocks = (rows + x_block - 1) // x_block if gx.size else 0
    blocks = x_blocks + ((outputs + w_block - 1) // w_block if gw.size else 0)
    for task in prange(spans * blocks):
        place, number = divmod(np.intp(task), blocks)
        if number < x_blocks:
            _block_of_product(
                number * x_block, place * span, h, outputs, 1, w, gx,
                rows, inputs, outputs, x_block, span, few,
            )  # fmt: skip
        elif turns:
            _block_of_product(
                (number - x_blocks) * w_block, place * span, turned, rows, 1, x, gw,
                outputs, inputs, rows, w_block, span, few,
            )  # fmt: skip
        else:
            _block_of_product(
                (number - x_blocks) * w_block, place * span, h, 1, outputs, x, gw,
                outputs, inputs, rows, w_block, span, few,
            )  # fmt: skip


_NO_MATRIX = {dtype: np.empty((0, 0), dtype) for dtype in REALS}


def linear_gradients(
    g: Array,
    x: Array | None,
    w: Array | None,
    y: Array | None = None,
    *,
    wanted: tuple[bool, bool, bool] = (True, True, True),
    out: tuple[Array, ...] | None = None,
) -> tuple[Array, ...]:
    """Those of the gradients of x, w and b that are wanted; g counts as 0 where y <= 0.

    Raises:
        ValueError: if shapes do not fit.
    """
    by_x, by_w, by_b = wanted
    check_fit(g, x, w, y, wanted)
    *batch, outputs = g.shape
    inputs = x.shape[-1] if by_w else w.shape[-1] if by_x else 0  # type: ignore[union-attr]
    dtype = g.dtype
    none, nothing = NO_BIAS[dtype], _NO_MATRIX[dtype]
    # Parameters may have places set aside, which gx, if it were first, could get.
    gw = empty((outputs, inputs), dtype) if by_w else nothing
    gb = empty((outputs,), dtype) if by_b else none
    gx = empty((*batch, inputs), dtype) if by_x else nothing
    needs_room = g.size > CHUNK and (y is not None or (by_w and inputs >= MANY_COLUMNS))
    alone = is_for_one_thread(g.size * max(inputs, PASSES))
    run = _gradients.serial if alone else _gradients.parallel
    run(
        _matrix(g if g.flags.writeable else g.copy()),  # compiled code takes g for h, or `room`
        nothing if y is None else _matrix(y),
        empty(2 * g.size, dtype) if needs_room else none,
        _matrix(x) if by_w else nothing,
        _matrix(w) if by_x else nothing,
        _matrix(gx), gw, gb, alone,
    )  # fmt: skip
    if by_x and by_w and by_b:
        return deliver_all((gx, gw, gb), out)
    found = [a for a, want in zip((gx, gw, gb), wanted, strict=True) if want]
    return deliver_all(tuple(found), out)


def _matrix(x: Array) -> Array:
    """All rows of x, in whatever batches, as one C-contiguous matrix."""
    if x.ndim == 2 and x.flags.c_contiguous:
        return x
    return contiguous(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
