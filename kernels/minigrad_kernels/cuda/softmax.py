"""Softmax and its logarithm in CUDA: the launch code of softmax.cu."""

from __future__ import annotations

from ..arrays import Array, array_module, deliver
from .arrays import aligned, ceil_divide, contiguous, result
from .c_types import c_name
from .source import kernel

LONG = 1024
"""Numbers in a row from which a block computes it, not a warp."""

WARP_ROWS = 4
"""Rows that a block computes when each of its warps has one; 32 threads a warp."""

BLOCK = 256
"""Threads that share a long row."""


def softmax(x: Array, *, axis: int, out: Array | None = None) -> Array:
    """exp(x) / sum(exp(x)) along the axis."""
    return _along("softmax", axis, out, x)


def log_softmax(x: Array, *, axis: int, out: Array | None = None) -> Array:
    """x - log(sum(exp(x))) along the axis."""
    return _along("log_softmax", axis, out, x)


def softmax_gradient(g: Array, y: Array, *, axis: int, out: Array | None = None) -> Array:
    """y * (g - sum(g * y)) along the axis, where y = softmax(x)."""
    return _along("softmax_gradient", axis, out, g, y)


def log_softmax_gradient(g: Array, y: Array, *, axis: int, out: Array | None = None) -> Array:
    """g - exp(y) * sum(g) along the axis, where y = log_softmax(x)."""
    return _along("log_softmax_gradient", axis, out, g, y)


def _along(name: str, axis: int, out: Array | None, *inputs: Array) -> Array:
    """Run a kernel on the rows along an axis: as they lie, or of copies where they are last."""
    x = inputs[0]
    if axis in (-1, x.ndim - 1):
        rows = tuple(contiguous(a) for a in inputs)
        y = result(out, inputs, x.shape, x.dtype)
        _launch(name, *rows, y)
        return y if y is out else deliver(y, out)
    xp = array_module(x)
    moved = tuple(xp.moveaxis(a, axis, -1) for a in inputs)
    y = xp.moveaxis(_along(name, -1, None, *moved), -1, axis)
    return deliver(y, out)


def _launch(name: str, *arrays: Array) -> None:
    """Run a kernel on dense arrays of one shape, the rows along the last axis."""
    x = arrays[0]
    if not x.size:
        return
    length = x.shape[-1]
    rows = x.size // length
    width = 16 // x.itemsize
    if not aligned(width, length, *arrays):
        width = 1
    long = length > LONG
    team = "BlockTeam" if long else "WarpTeam"
    run = kernel("softmax.cu", name, T=c_name(x), WIDTH=width, TEAM=team)
    if long:
        run(rows, BLOCK, *arrays, length, rows)
    else:
        run(ceil_divide(rows, WARP_ROWS), 32 * WARP_ROWS, *arrays, length, rows)
