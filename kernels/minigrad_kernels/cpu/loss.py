"""Losses on the CPU: predictions and targets are read once."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import prange

from ..arrays import Array, deliver, deliver_all
from ..memory import empty
from .compiled import CHUNK, compiled
from .elementwise import writes_straight
from .math import exp_of_negative, log
from .softmax import exponentials, group, groups, largest

# Cross-entropy of class numbers


def _rows(x: Array) -> Array:
    """Scores (..., C) as (samples, C), one after the other in memory."""
    if x.ndim == 2 and x.flags.c_contiguous:
        return x
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def _refuse_classes(target: Array, classes: int) -> None:
    raise IndexError(f"target holds class {target.max()}, there are {classes} classes")


@numba.njit
def _all_exist(target: Any, classes: int) -> bool:
    """Whether there are so many classes: compiled code would read beyond the scores."""
    highest = target[0]
    for i in range(target.size):
        highest = max(highest, target[i])
    return highest < classes


def _refuse_out(out: tuple[Array, ...] | None, shape: tuple[int, ...]) -> None:
    """Before the first of several results is written, the others must fit too."""
    for place in out or ():
        if place.shape != shape:
            raise ValueError(f"out has shape {place.shape}, the result {shape}")
        if not place.flags.writeable:
            raise ValueError("out is read-only")


@compiled
def _cross_entropy(x, target, scale, losses, top, total):
    if not _all_exist(target, x.shape[1]):
        return False
    count = groups(*x.shape)
    for index in prange(count):
        for row in group(index, count, x.shape[0]):
            a, t = x[row], target[row]
            high = largest(a)
            rest = log(exponentials(a, high))
            loss = x.dtype.type(0) if t < 0 else rest - (a[max(t, 0)] - high)
            losses[row] = loss * scale[row]
            top[row] = high
            total[row] = rest
    return True


def cross_entropy(
    x: Array, target: Array, scale: Array, *, out: tuple[Array, Array, Array] | None = None
) -> tuple[Array, Array, Array]:
    """-scale * log_softmax(x)[target], 0 where the target is negative; and the rows' statistics.

    Raises:
        IndexError: if a target is no class; ValueError: if `out` does not fit.
    """
    _refuse_out(out, target.shape)
    results = np.empty((3, target.size), x.dtype)
    run = _cross_entropy.serial if x.size <= CHUNK else _cross_entropy.parallel
    if not run(_rows(x), _column(target), _column(scale), *results):
        _refuse_classes(target, x.shape[-1])
    losses, top, total = results.reshape(3, *target.shape)
    return deliver_all((losses, top, total), out)


def _column(a: Array) -> Array:
    """One number for each sample, one after the other in memory."""
    if a.ndim == 1 and a.flags.c_contiguous:
        return a
    return np.ascontiguousarray(a).reshape(-1)


@compiled
def _cross_entropy_gradient(g, x, target, scale, top, total, gx):
    if not _all_exist(target, x.shape[1]):
        return False
    count = groups(*x.shape)
    for index in prange(count):
        for row in group(index, count, x.shape[0]):
            a, c, t = x[row], gx[row], target[row]
            if t < 0:
                c[:] = 0
                continue
            share = g[row if g.size > 1 else 0] * scale[row]
            high, rest = top[row], total[row]
            right = exp_of_negative((a[t] - high) - rest) - x.dtype.type(1)
            for i in range(a.size):
                c[i] = exp_of_negative((a[i] - high) - rest) * share
            c[t] = right * share
    return True


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
    """(softmax(x) - onehot(target)) * g * scale: (..., C); 0 for the samples that are skipped.

    Raises:
        IndexError: if a target is no class; ValueError: if `out` does not fit.
    """
    rows = _rows(x)
    given = (g, x, target, scale, top, total)
    y = out
    if out is None or not writes_straight(out, rows.reshape(x.shape), given):
        y = empty(x.shape, x.dtype)
    columns = [_column(a) for a in (target, scale, top, total)]
    run = _cross_entropy_gradient.serial if x.size <= CHUNK else _cross_entropy_gradient.parallel
    if not run(_column(g), rows, *columns, y.reshape(rows.shape)):
        _refuse_classes(target, x.shape[-1])
    return y if y is out else deliver(y, out)
