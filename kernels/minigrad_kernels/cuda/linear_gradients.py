"""The gradients of a linear layer in CUDA: two matrix products, and a pass over the gradient."""

from __future__ import annotations

import functools
import math
from typing import Any

from ..arrays import Array, check_all_out, deliver, summing_type
from ..linear import check_fit
from .arrays import aligned, ceil_divide, contiguous, empty
from .c_types import C_NAMES
from .linear import product_of
from .matmul import MULTIPROCESSORS, add_parts, room
from .matmul_operands import WIDE, pair
from .matmul_tensor import bfloat16_product, tf32_product
from .source import kernel

LANES, TEAMS = 32, 8
"""Threads of a block of `gate`, side by side and one below the other."""

SHARE = 64
"""Rows that are worth a block of `gate` of their own."""


def linear_gradients(
    g: Array,
    x: Array | None,
    w: Array | None,
    y: Array | None = None,
    *,
    wanted: tuple[bool, bool, bool] = (True, True, True),
    out: Any = None,
    product: Any = None,
) -> Any:
    """The gradients of x, w and b in `linear`, for a gradient g (..., out) of its result.

    With y, the result of `linear` with `relu`, g counts as 0 where y is not positive. Then they are
    g @ w (..., in), the sum over all rows of g^T x (out, in), and that of g (out,), which is added
    up in the pass that applies y. `product` computes the products, as in `linear`.

    Raises:
        ValueError: if shapes do not fit, something is missing, or `out` does not fit the results.
    """
    check_fit(g, x, w, y, wanted)
    shapes = _shapes(g, x, w, wanted)
    check_all_out(out, *shapes)
    rooms = out or (None,) * len(shapes)
    results = [
        room(place, shape, g.dtype, g, *(a for a in (x, w, y) if a is not None))
        for place, shape in zip(rooms, shapes, strict=True)
    ]
    remaining = iter(results)
    by_x, by_w, by_b = (next(remaining) if each else None for each in wanted)
    count, outputs = math.prod(g.shape[:-1]), g.shape[-1]
    rows = g.reshape(count, outputs)
    if y is not None or by_b is not None:
        rows = _gated(rows, None if y is None else y.reshape(count, outputs), by_b)
    run = product or product_of(g.dtype)
    if by_x is not None and by_x.size:
        run(pair(rows, w, ()), (count, by_x.shape[-1], outputs), by_x)
    if by_w is not None and x is not None and by_w.size:
        run(pair(rows.T, x.reshape(count, x.shape[-1]), ()), (*by_w.shape, count), by_w)
    for result, place in zip(results, rooms, strict=True):
        if result is not place:
            deliver(result, place)
    return tuple(results) if out is None else out


tf32_linear_gradients = functools.partial(linear_gradients, product=tf32_product)
"""`linear_gradients` of float32 numbers whose products are of numbers rounded to TF32."""

bfloat16_linear_gradients = functools.partial(linear_gradients, product=bfloat16_product)
"""`linear_gradients` of float32 numbers whose products are of numbers rounded to bfloat16."""


def _shapes(
    g: Array, x: Array | None, w: Array | None, wanted: tuple[bool, bool, bool]
) -> list[tuple[int, ...]]:
    """The shapes of the gradients that are wanted."""
    shapes: list[tuple[int, ...]] = []
    if wanted[0] and w is not None:
        shapes.append((*g.shape[:-1], w.shape[1]))
    if wanted[1] and x is not None:
        shapes.append((g.shape[-1], x.shape[-1]))
    if wanted[2]:
        shapes.append(g.shape[-1:])
    return shapes


def _gated(g: Array, y: Array | None, sums: Array | None) -> Array:
    """g where y is positive, else 0; the sums of its columns into `sums`, if there is one.

    A block takes some rows and columns. What blocks have added up is added in the order of rows.
    """
    rows, columns = g.shape
    if not g.size:
        if sums is not None:
            sums[...] = 0
        return g
    g = contiguous(g)
    y = None if y is None else contiguous(y)
    gated = None if y is None else empty(g, g.shape)
    arrays = [a for a in (g, y, gated) if a is not None]
    width = WIDE // g.itemsize
    width = width if aligned(width, columns, *arrays) else 1
    across = ceil_divide(columns, LANES * width)
    share = max(SHARE, ceil_divide(rows, max(1, 4 * MULTIPROCESSORS // across)))
    down = ceil_divide(rows, share)
    parts = None if sums is None else empty(g, (down, columns), summing_type(g))
    total = C_NAMES[summing_type(g)]
    gate = kernel("linear_gradients.cu", "gate", T=C_NAMES[g.dtype], SUM=total, WIDTH=width)
    gate((across, down), LANES * TEAMS, g, y, gated, parts, rows, columns, share)
    if parts is not None and sums is not None:
        add_parts(parts, sums, None, False, columns)
    return g if gated is None else gated
