"""Losses on the CPU: predictions and targets are read once."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import prange

from ..arrays import Array, check_all_out, deliver, deliver_all
from ..layout import dense, flat, like
from ..memory import empty
from .compiled import CHUNK, EXPENSIVE, any_order, chunks, compiled, span
from .elementwise import elementwise, writes_straight
from .math import exp_of_negative, log, log1p
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
    check_all_out(out, *[target.shape] * 3)
    results = np.empty((3, target.size), x.dtype)
    run = _cross_entropy.suited(EXPENSIVE * x.size)
    if not run(_rows(x), _column(target), _column(scale), *results):
        _refuse_classes(target, x.shape[-1])
    losses, top, total = results.reshape(3, *target.shape)
    return deliver_all((losses, top, total), out)


def _column(a: Array) -> Array:
    """One number for each sample, one after the other in memory."""
    if a.ndim == 1 and a.flags.c_contiguous:
        return a
    return np.ascontiguousarray(a).reshape(-1)


# In the gradient, the fast exponential makes the smallest numbers 0, and 0 times infinity would be
# NaN; nor may its argument be positive, as it may be where a total is negative: never a true one.


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
            right = (a[t] - high) - rest
            if rest >= 0 and abs(share) < np.inf:
                for i in range(a.size):
                    c[i] = exp_of_negative((a[i] - high) - rest) * share
            else:
                for i in range(a.size):
                    c[i] = a.dtype.type(math.exp((a[i] - high) - rest)) * share
            c[t] = (a.dtype.type(math.exp(right)) - a.dtype.type(1)) * share
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
    run = _cross_entropy_gradient.suited(EXPENSIVE * x.size)
    if not run(_column(g), rows, *columns, y.reshape(rows.shape)):
        _refuse_classes(target, x.shape[-1])
    return y if y is out else deliver(y, out)


# Differences


@any_order
def _squares(a: Any, b: Any) -> Any:
    """The sum of (a - b)**2."""
    total = a.dtype.type(0)
    for i in range(a.size):
        d = a[i] - b[i]
        total += d * d
    return total


@compiled
def _sum_of_squares(x, t, totals):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        totals[chunk] = _squares(x[part], t[part])


@compiled
def _squared_differences(x, t, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b, c = x[part], t[part], y[part]
        for i in range(a.size):
            d = a[i] - b[i]
            c[i] = d * d


def mse_loss(x: Array, t: Array, *, reduction: str, out: Array | None = None) -> Array:
    """(x - t)**2, each ("none") or all together ("sum", "mean"); the mean of nothing is NaN."""
    if reduction == "none":
        return elementwise(_squared_differences, out, x, t)
    model = dense(x)
    totals = np.empty(-(-x.size // CHUNK))  # float64: the sums of the chunks are added exactly
    run = _sum_of_squares.suited(EXPENSIVE * x.size)
    run(flat(model), flat(like(t, model)), totals)
    total = totals.sum()
    if reduction == "mean":
        total = total / x.size if x.size else math.nan
    return deliver(np.asarray(total, x.dtype), out)


# Binary cross-entropy


@compiled
def _binary_cross_entropy(p, t, y):
    dt = p.dtype.type
    one, lowest = dt(1), dt(-100)
    for chunk in prange(chunks(p.size)):
        part = span(chunk, p.size)
        a, b, c = p[part], t[part], y[part]
        for i in range(a.size):
            pi, ti = a[i], b[i]
            yes, no = log(pi), log1p(-pi)
            yes, no = lowest if yes < lowest else yes, lowest if no < lowest else no
            c[i] = -(ti * yes + (one - ti) * no)


def binary_cross_entropy(p: Array, t: Array, *, out: Array | None = None) -> Array:
    """-(t * log(p) + (1 - t) * log(1 - p)), the logarithms not below -100."""
    return elementwise(_binary_cross_entropy, out, p, t)


@compiled
def _with_logits(x, t, y):
    dt = x.dtype.type
    zero, one = dt(0), dt(1)
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b, c = x[part], t[part], y[part]
        for i in range(a.size):
            xi, ti = a[i], b[i]
            rest = log1p(exp_of_negative(-abs(xi)))
            positive = zero if xi <= zero else xi
            c[i] = ti * ((positive - xi) + rest) + (one - ti) * (positive + rest)


@compiled
def _with_weighted_logits(x, t, w, y):
    dt = x.dtype.type
    zero, one = dt(0), dt(1)
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b, c, d = x[part], t[part], w[part], y[part]
        for i in range(a.size):
            xi, ti, wi = a[i], b[i], c[i]
            rest = log1p(exp_of_negative(-abs(xi)))
            positive = zero if xi <= zero else xi
            d[i] = wi * (ti * ((positive - xi) + rest)) + (one - ti) * (positive + rest)


def binary_cross_entropy_with_logits(
    x: Array, t: Array, w: Array | None, *, out: Array | None = None
) -> Array:
    """w * t * softplus(-x) + (1 - t) * softplus(x); without w, as if it were 1."""
    if w is None:
        return elementwise(_with_logits, out, x, t)
    return elementwise(_with_weighted_logits, out, x, t, np.broadcast_to(w, x.shape))
