"""Sums over axes in CUDA: the launch code of reduce.cu."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import Array, check_out, deliver, summing_type
from ..layout import memory_order
from .arrays import contiguous, empty
from .c_types import c_name
from .channels import Plan, plan
from .source import kernel


def sums(x: Array, *, axes: tuple[int, ...], keepdims: bool, out: Array | None = None) -> Array:
    """The sums of x over `axes`."""
    shape = tuple(
        1 if axis in axes else n for axis, n in enumerate(x.shape) if keepdims or axis not in axes
    )
    check_out(out, shape)
    if 0 in shape:
        return deliver(empty(x, shape, x.dtype), out)
    order = memory_order(x)
    memory = x.transpose(order)
    if not memory.flags.c_contiguous:
        order, memory = tuple(range(x.ndim)), x
    y = _summed(contiguous(memory), [axis in axes for axis in order])
    kept = [axis for axis in order if axis not in axes]
    y = y.reshape([x.shape[axis] for axis in kept])
    y = y.transpose([kept.index(axis) for axis in sorted(kept)])
    return deliver(y.reshape(shape), out)


def _summed(x: Array, gone: list[bool]) -> Array:
    """The sums of a dense array over the axes that are marked, as a vector."""
    shape = _collapsed(x.shape, gone)
    dtype = x.dtype
    while any(gone for _, gone in shape):
        last = max(place for place, (_, gone) in enumerate(shape) if gone)
        kept = math.prod(n for n, _ in shape[last + 1 :])
        # (..., rows, channels, inner) with rows and inner to be summed, or (..., rows, channels)
        if kept != 1:
            inner, channels, place = 1, kept, last - 1
            rows = shape[last][0]
        else:
            inner, channels, place = shape[last][0], 1, last - 1
            rows = 1
            if place >= 0:
                channels, place = shape[place][0], place - 1
            if place >= 0:
                rows, place = shape[place][0], place - 1
        before = shape[: place + 1]
        groups = math.prod(n for n, _ in before)
        finished = not any(gone for _, gone in before)
        x = sums_of((groups, rows, channels, inner), x, dtype if finished else None)
        shape = _joined([*before, (channels, False)])
    return x.reshape(-1)


def _collapsed(shape: tuple[int, ...], gone: list[bool]) -> list[tuple[int, bool]]:
    """Neighbouring axes of one kind as one; those of length 1 are of any kind."""
    return _joined([(n, g) for n, g in zip(shape, gone, strict=True) if n != 1 or g])


def _joined(axes: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
    joined: list[tuple[int, bool]] = []
    for n, g in axes:
        if joined and joined[-1][1] == g:
            joined[-1] = (joined[-1][0] * n, g)
        else:
            joined.append((n, g))
    return joined


def sums_of(shape: tuple[int, int, int, int], x: Array, dtype: Any = None) -> Array:
    """Sums of a dense array seen as (groups, rows, channels, inner) over rows and inner.

    Args:
        shape: these four.
        x: the array.
        dtype: the type of the sums; None is that which they are summed in.

    Returns:
        a vector of groups * channels sums.
    """
    wide = summing_type(x)
    result = empty(x, (shape[0] * shape[2],), dtype or wide)
    if not x.size:
        result[...] = 0
        return result
    p = plan(shape, x)
    if p.parts == 1:
        _run(p, x, result)
        return result
    partial = empty(x, (p.outputs, p.parts), wide)
    _run(p, x, partial)
    rows = plan((1, 1, *partial.shape), partial, cut=False)
    _run(rows, partial, result)
    return result


def _run(p: Plan, x: Array, y: Array) -> None:
    run = kernel("reduce.cu", "sums", T=c_name(x), RESULT=c_name(y), WIDTH=p.width, LAYOUT=p.layout)
    run(p.grid, p.block, x, y, *p.arguments)
