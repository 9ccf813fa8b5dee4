"""Losses in CUDA: the launch code of loss_classes.cu and loss_elements.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, array_module, check_all_out, check_out, summing_type
from ..layout import memory_order
from .arrays import address, aligned, ceil_divide, contiguous, empty
from .c_types import c_name
from .channels import BLOCK, BLOCKS, delivered, lanes, room, team
from .source import kernel

# Cross-entropy of class numbers


def _over_rows(name: str, x: Array, y: Array, *args: Any, last: tuple[int, ...] = ()) -> None:
    """Run a kernel of loss_classes.cu on the rows of x, that writes y if that has rows, too."""
    classes = x.shape[-1]
    rows = x.size // classes
    width = 16 // x.itemsize
    if not aligned(width, classes, x, y):
        width = 1
    size = lanes(classes // width)
    run = kernel("loss_classes.cu", name, T=c_name(x), WIDTH=width, TEAM=team(size))
    if size:
        run(ceil_divide(rows * size, 128), 128, *args, classes, rows, *last)
    else:
        run(rows, BLOCK, *args, classes, rows, *last)


def cross_entropy(
    x: Array, target: Array, scale: Array, *, out: tuple[Array, Array, Array] | None = None
) -> tuple[Array, Array, Array]:
    """-scale * log_softmax(x)[target] of each sample; 0 where the target is negative.

    A class that there is not makes the loss NaN on a GPU: to look at the targets, the CPU would
    have to wait for it.

    Raises:
        IndexError: for such a class, if the arrays are NumPy's.
    """
    check_all_out(out, *[target.shape] * 3)
    if isinstance(target, np.ndarray) and target.size and target.max() >= x.shape[-1]:
        raise IndexError(f"target holds class {target.max()}, there are {x.shape[-1]} classes")
    a = contiguous(x)
    results = tuple(empty(x, target.shape) for _ in range(3))
    _over_rows("cross_entropy", a, a, a, contiguous(target), contiguous(scale), *results)
    return delivered(results, out)


def cross_entropy_gradient(
    g: Array,
    x: Array,
    target: Array,
    scale: Array,
    top: Array,
    total: Array,
    *,
    out: Array | None = None,
) -> Array:
    """(softmax(x) - onehot(target)) * g * scale: (..., C); 0 for the samples that are skipped."""
    check_out(out, x.shape)
    a = contiguous(x)
    small = tuple(contiguous(v) for v in (g, target, scale, top, total))
    y = room(out, (a,), *small)
    step = 1 if g.ndim else 0
    _over_rows("cross_entropy_gradient", a, y, small[0], a, *small[1:], y, last=(step,))
    return delivered((y,), None if out is None else (out,))[0]


# Pairs of numbers


def _run(name: str, blocks: int, width: int, x: Array, *args: Any) -> None:
    """Run a kernel of loss_elements.cu."""
    total = "double" if x.itemsize == 8 else "float"
    run = kernel("loss_elements.cu", name, T=c_name(x), TOTAL=total, WIDTH=width)
    run(blocks, BLOCK, *args)


def _width(*arrays: Array) -> int:
    """Numbers that kernels load at once from all the arrays; their last few are loaded singly."""
    width = 16 // arrays[0].itemsize
    return width if all(address(a) % 16 == 0 for a in arrays) else 1


def _blocks(count: int, width: int, loads: int = 1) -> int:
    """Blocks for so many numbers whose threads have so many loads, if they are few."""
    return max(1, min(BLOCKS, ceil_divide(count, width * BLOCK * loads)))


def _dense(*arrays: Array) -> tuple[tuple[int, ...], tuple[Array, ...]]:
    """The arrays as they lie in memory if all of them lie alike and without gaps, or copies; and
    the order of axes there."""
    order = memory_order(arrays[0])
    views = tuple(a.transpose(order) for a in arrays)
    if all(v.flags.c_contiguous for v in views):
        return order, tuple(map(contiguous, views))
    return tuple(range(arrays[0].ndim)), tuple(map(contiguous, arrays))


def _delivered(y: Array, order: tuple[int, ...], out: Array | None) -> Array:
    """A result that lies in that order of axes, with its axes in theirs, or in `out`."""
    y = y.transpose(sorted(range(y.ndim), key=order.__getitem__))
    return delivered((y,), None if out is None else (out,))[0]


def _of_pairs(name: str, x: Array, t: Array, out: Array | None) -> Array:
    """Run a kernel that gives a number for each pair of numbers."""
    order, (a, b) = _dense(x, t)
    y = room(None if out is None else out.transpose(order), (a, b))
    width = _width(a, b, y)
    _run(name, _blocks(x.size, width), width, x, a, b, y, x.size)
    return _delivered(y, order, out)


def mse_loss(x: Array, t: Array, *, reduction: str, out: Array | None = None) -> Array:
    """(x - t)**2, each ("none") or all together ("sum", "mean")."""
    check_out(out, x.shape if reduction == "none" else ())
    if reduction == "none":
        return _of_pairs("squared_differences", x, t, out)
    _, (a, b) = _dense(x, t)
    width = _width(a, b)
    blocks = _blocks(x.size, width, loads=4)
    y = empty(x, ())
    sums = empty(x, (blocks,), summing_type(x)) if blocks > 1 else None
    divisor = x.size if reduction == "mean" else 1
    _run("sum_squared_differences", blocks, width, x, a, b, sums, y, x.size, divisor)
    if sums is not None:
        _run("join_sums", 1, width, x, sums, y, blocks, divisor)
    return delivered((y,), None if out is None else (out,))[0]


def binary_cross_entropy(p: Array, t: Array, *, out: Array | None = None) -> Array:
    """-(t * log(p) + (1 - t) * log(1 - p)), the logarithms not below -100."""
    check_out(out, p.shape)
    return _of_pairs("binary_cross_entropy", p, t, out)


def binary_cross_entropy_with_logits(
    x: Array, t: Array, w: Array | None, *, out: Array | None = None
) -> Array:
    """w * t * softplus(-x) + (1 - t) * softplus(x): no difference that could cancel."""
    check_out(out, x.shape)
    if w is not None and w.size > 1 and (w.size, w.shape[-1:]) != (w.shape[-1], x.shape[-1:]):
        w = array_module(x).broadcast_to(w, x.shape)
    if w is not None and w.shape == x.shape:
        order, (a, b, weight) = _dense(x, t, w)
        y = room(None if out is None else out.transpose(order), (a, b, weight))
        width = _width(a, b, weight, y)
    else:  # one number, or one for each column: the last axis stays the last
        order, weight = tuple(range(x.ndim)), None if w is None else contiguous(w)
        a, b = contiguous(x), contiguous(t)
        y = room(out, (a, b), weight)
        width = _width(a, b, y)
        if weight is not None and weight.size > 1 and not aligned(width, weight.size, weight):
            width = 1
    columns = 1 if weight is None else weight.size
    name = "binary_cross_entropy_with_logits"
    _run(name, _blocks(x.size, width), width, x, a, b, weight, y, x.size, columns)
    return _delivered(y, order, out)
