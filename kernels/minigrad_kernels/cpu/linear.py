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
from .compiled import CHUNK, compiled
from .matmul import (
    FEW_ROWS,
    MANY_COLUMNS,
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
"""Columns of a task where there are few rows."""

PASSES = 4
"""How many multiply-adds count for the work that is done once for each element of g."""


@numba.njit
def _prepare(part, parts, g, y, cleared, h, turned, partial, rows, outputs):
    """For a part of the rows: g with 0 where y <= 0, h transposed, the sums of its columns."""
    each = (rows + parts - 1) // parts
    first, last = min(part * each, rows), min((part + 1) * each, rows)
    if cleared.size:
        within = slice(first * outputs, last * outputs)
        a, b, c = g[within], y[within], cleared[within]
        for i in range(a.size):
            gi = a[i]
            c[i] = a.dtype.type(0) if b[i] <= 0 else gi
    if turned.size:
        transpose(h, first * outputs, outputs, last - first, outputs, turned, first, rows)
    if partial.size:
        block = np.empty(outputs, h.dtype)
        add_rows(h, first, last, outputs, partial, part * outputs, block)


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
def _gradients(g, y, h, cleared, turned, partial, x, w, gx, gw, gb, rows, outputs, inputs,
               parts, x_block, w_block, span, few):  # fmt: skip
    """gx (rows, inputs) = h @ w, gw (outputs, inputs) = h.T @ x, gb (outputs,) = sum of rows of h.

    All are C-contiguous; without elements for what is not wanted, or not needed. h (rows,
    outputs) is g, or `cleared`, which becomes g with 0 where y <= 0. `turned` becomes h transposed,
    `partial` (parts, outputs) the sums of parts of the rows; if there is one part, it is gb. A task
    computes a block of rows of gx or gw, `span` columns wide: those of both that read and write the
    same columns follow each other.
    """
    g, y, h, cleared, turned = g.ravel(), y.ravel(), h.ravel(), cleared.ravel(), turned.ravel()
    partial, x, w = partial.ravel(), x.ravel(), w.ravel()
    gx, gw = gx.ravel(), gw.ravel()
    for part in prange(parts):
        _prepare(np.intp(part), parts, g, y, cleared, h, turned, partial, rows, outputs)
    if parts > 1 and gb.size:
        gb[:] = 0
        for part in range(parts):
            for j in range(outputs):
                gb[j] += partial[part * outputs + j]
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
        elif turned.size:
            _block_of_product(
                (number - x_blocks) * w_block, place * span, turned, rows, 1, x, gw,
                outputs, inputs, rows, w_block, span, few,
            )  # fmt: skip
        else:
            _block_of_product(
                (number - x_blocks) * w_block, place * span, h, 1, outputs, x, gw,
                outputs, inputs, rows, w_block, span, few,
            )  # fmt: skip


_NOTHING = {dtype: np.empty((0, 0), dtype) for dtype in REALS}


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
    rows = math.prod(batch)
    dtype, nothing = g.dtype, _NOTHING[g.dtype]
    # Parameters may have places set aside, which gx, if it were first, could get.
    gw = empty((outputs, inputs), dtype) if by_w else nothing
    gb = empty((outputs,), dtype) if by_b else nothing
    gx = empty((*batch, inputs), dtype) if by_x else nothing
    few = rows <= FEW_ROWS or outputs <= FEW_ROWS
    turns = by_w and not few and inputs >= MANY_COLUMNS
    parts = max(1, min(16, rows // ROWS, g.size // CHUNK))
    alone = is_for_one_thread(rows * outputs * max(inputs, PASSES))
    g = _matrix(g)
    cleared = nothing if y is None else empty((rows, outputs), dtype)
    run = _gradients.serial if alone else _gradients.parallel
    run(
        g,
        nothing if y is None else _matrix(y),
        g if y is None else cleared,
        cleared,
        empty((outputs, rows), dtype) if turns else nothing,
        gb.reshape(1, -1) if parts == 1 or not by_b else empty((parts, outputs), dtype),
        _matrix(x) if by_w else nothing,
        _matrix(w) if by_x else nothing,
        _matrix(gx), gw, gb.reshape(-1), rows, outputs, inputs,
        parts, *_task(rows, outputs, inputs, PANEL_BYTES // dtype.itemsize, few, alone), few,
    )  # fmt: skip
    results = [found for found, want in zip((gx, gw, gb), wanted, strict=True) if want]
    return deliver_all(tuple(results), out)


def _task(
    rows: int, outputs: int, inputs: int, panel: int, few: bool, alone: bool
) -> tuple[int, int, int]:
    """How many rows of gx, or of gw, a task computes, and how many columns."""
    if not few:
        work = rows * outputs * inputs
        return block_of(rows, inputs, work), block_of(outputs, inputs, work), panel
    if alone:
        return max(1, rows), max(1, outputs), max(1, inputs)
    products = 4 * CHUNK // SPAN
    return max(1, products // max(1, outputs)), max(1, products // max(1, rows)), SPAN


def _matrix(x: Array) -> Array:
    """All rows of x, in whatever batches, as one C-contiguous matrix."""
    if x.ndim == 2 and x.flags.c_contiguous:
        return x
    return contiguous(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
