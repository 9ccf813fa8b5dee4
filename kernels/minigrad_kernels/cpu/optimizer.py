"""Steps of optimizers on the CPU: one pass over memory, in place where `out` is the inputs.

The formulas, the order of their operations and the rounding of their constants are those of the
references, so that the results are the same to the last bit, however the arrays are cut in pieces.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numba
import numpy as np
from numba import prange

from ..arrays import Array, check_out, deliver
from ..layout import dense, empty_like, flat, like
from ..threads import awake
from .compiled import CHUNK, EXPENSIVE, Compiled, any_order, chunks, compiled, span
from .elementwise import elementwise


@numba.njit
def _direction(g, p, sign, decay):
    """The gradient, turned around to maximize, with the L2 penalty's."""
    d = g * sign
    penalized = d + decay * p
    return d if decay == 0 else penalized  # 0 * p would spread NaN and infinity


@compiled
def _descend(p, g, lr, decay, sign):
    real = p.dtype.type
    lr_, decay_, sign_ = real(lr), real(decay), real(sign)
    for chunk in prange(chunks(p.size)):
        part = span(chunk, p.size)
        p_, g_ = p[part], g[part]
        for i in range(p_.size):
            pi = p_[i]
            p_[i] = pi - lr_ * _direction(g_[i], pi, sign_, decay_)


@compiled
def _momentum(p, g, b, lr, momentum, dampening, decay, nesterov, sign):
    real = p.dtype.type
    lr_, decay_, sign_ = real(lr), real(decay), real(sign)
    kept, taken = real(momentum), real(1 - dampening)
    for chunk in prange(chunks(p.size)):
        part = span(chunk, p.size)
        p_, g_, b_ = p[part], g[part], b[part]
        for i in range(p_.size):
            pi, bi = p_[i], b_[i]
            d = _direction(g_[i], pi, sign_, decay_)
            bi = kept * bi + taken * d
            ahead = d + kept * bi
            b_[i] = bi
            p_[i] = pi - lr_ * (ahead if nesterov else bi)


@numba.njit
def _moments(d, m, v, kept1, taken1, kept2, taken2):
    """The running means of the gradient and of its square."""
    return m * kept1 + d * taken1, v * kept2 + d * d * taken2


@compiled
def _adam(p, g, m, v, rate, correction, beta1, beta2, eps, decay, shrink, sign):
    real = p.dtype.type
    rate_, correction_, eps_ = real(rate), real(correction), real(eps)
    kept1, taken1, kept2, taken2 = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2)
    decay_, shrink_, sign_ = real(decay), real(shrink), real(sign)
    for chunk in prange(chunks(p.size)):
        part = span(chunk, p.size)
        p_, g_, m_, v_ = p[part], g[part], m[part], v[part]
        for i in range(p_.size):
            pi, mi, vi = p_[i], m_[i], v_[i]
            d = _direction(g_[i], pi, sign_, decay_)
            mi, vi = _moments(d, mi, vi, kept1, taken1, kept2, taken2)
            m_[i] = mi
            v_[i] = vi
            p_[i] = pi * shrink_ - mi / (math.sqrt(vi) * correction_ + eps_) * rate_


@compiled
def _amsgrad(p, g, m, v, largest, rate, correction, beta1, beta2, eps, decay, shrink, sign):
    real = p.dtype.type
    rate_, correction_, eps_ = real(rate), real(correction), real(eps)
    kept1, taken1, kept2, taken2 = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2)
    decay_, shrink_, sign_ = real(decay), real(shrink), real(sign)
    for chunk in prange(chunks(p.size)):
        part = span(chunk, p.size)
        p_, g_, m_, v_, l_ = p[part], g[part], m[part], v[part], largest[part]
        for i in range(p_.size):
            pi, mi, vi, li = p_[i], m_[i], v_[i], l_[i]
            d = _direction(g_[i], pi, sign_, decay_)
            mi, vi = _moments(d, mi, vi, kept1, taken1, kept2, taken2)
            li = vi if vi > li or vi != vi else li  # NaN stays, as with numpy.maximum
            m_[i] = mi
            v_[i] = vi
            l_[i] = li
            p_[i] = pi * shrink_ - mi / (math.sqrt(li) * correction_ + eps_) * rate_


_WEIGHTS = {_adam: EXPENSIVE, _amsgrad: EXPENSIVE}
"""How many elements of cheap work one counts for: a division and a root take as long (measured)."""


def sgd_step(
    p: Array,
    g: Array,
    buffer: Array | None = None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    out: Any = None,
) -> Any:
    """Gradient descent, with momentum where a buffer is given. Returns p, or (p, buffer)."""
    sign = -1.0 if maximize else 1.0
    if buffer is None:
        outputs = (out,) if out is None or isinstance(out, np.ndarray) else out
        return _update(_descend, (p,), g, outputs, lr, weight_decay, sign)[0]
    rates = (lr, momentum, dampening, weight_decay, nesterov, sign)
    return _update(_momentum, (p, buffer), g, out or (None, None), *rates)


def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    largest: Array | None = None,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    step: int,
    out: Any = None,
) -> Any:
    """Adam, AdamW where `decoupled`, AMSGrad with `largest`. Returns (p, m, v[, largest])."""
    rates = (
        lr / (1 - beta1**step),
        1 / math.sqrt(1 - beta2**step),
        beta1,
        beta2,
        eps,
        0.0 if decoupled else weight_decay,
        1 - lr * weight_decay if decoupled else 1.0,
        -1.0 if maximize else 1.0,
    )
    if largest is None:
        return _update(_adam, (p, m, v), g, out or (None,) * 3, *rates)
    return _update(_amsgrad, (p, m, v, largest), g, out or (None,) * 4, *rates)


def _update(
    function: Compiled, old: tuple[Array, ...], g: Array, out: tuple[Any, ...], *rates: Any
) -> tuple[Array, ...]:
    """`function`, which overwrites the parameter and the state, on these or on copies of them."""
    if len(out) != len(old):
        raise ValueError(f"out has {len(out)} arrays, there are {len(old)} results")
    for y in out:
        if y is not None and (y.shape != g.shape or not y.flags.writeable):
            check_out(y, g.shape)  # says which
    model = old[0]
    in_place = all(map(operator.is_, old, out)) and _apart(model, g, old)
    if in_place:
        new = old
    else:
        model = dense(model)
        g = like(g, model)
        new = tuple(empty_like(model) for _ in old)
        for y, x in zip(new, old, strict=True):
            np.copyto(y, x)
    arrays = [flat(x) for x in (new[0], g, *new[1:])]
    # A small step alone (the rest of a training step may be too small for others) wakes nobody.
    run = function.suited(model.size * (_WEIGHTS.get(function, 1) if awake() else 1))
    run(*arrays, *rates)
    if in_place:
        return old
    for y, x in zip(out, new, strict=True):
        if y is not None:
            np.copyto(y, x)
    return tuple(x if y is None else y for x, y in zip(new, out, strict=True))


def _apart(model: Array, g: Array, old: tuple[Array, ...]) -> bool:
    """Whether all lie in memory in one order, without gaps, and no two at one place."""
    if not model.flags.c_contiguous and flat(model) is None:
        return False
    strides = model.strides
    arrays = (g, *old)
    for i, x in enumerate(arrays):
        if x.strides != strides:
            return False
        for y in arrays[:i]:
            if np.may_share_memory(x, y):
                return False
    return True


@any_order
def _sum_of_squares(x, start, stop):
    """Of x[start:stop], in float64."""
    part = x[start:stop]
    total = 0.0
    for i in range(part.size):
        xi = np.float64(part[i])
        total += xi * xi
    return total


@compiled
def _norms(x, begins, ends, firsts, partial):
    for task in prange(partial.size):
        piece = np.searchsorted(firsts, task, side="right") - 1
        start = begins[piece] + (task - firsts[piece]) * CHUNK
        partial[task] = _sum_of_squares(x, start, min(start + CHUNK, ends[piece]))


def norms(x: Array, spans: np.ndarray, *, out: Array | None = None) -> Array:
    """For each pair (begin, end) the Euclidean norm of x[begin:end]."""
    begins, ends = np.ascontiguousarray(spans.T, np.intp)
    tasks = -(-(ends - begins) // CHUNK)
    stops = np.cumsum(tasks)
    partial = np.empty(int(stops[-1]) if stops.size else 0)
    run = _norms.suited(x.size)
    run(np.ascontiguousarray(x), begins, ends, stops - tasks, partial)
    sums = np.zeros(len(begins))
    np.add.at(sums, np.repeat(np.arange(len(begins)), tasks), partial)  # one after the other
    return deliver(np.sqrt(sums).astype(x.dtype), out)


@compiled
def _scale(x, factor, y):
    factor_ = x.dtype.type(factor)
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            b[i] = a[i] * factor_


def scale(x: Array, *, factor: float, out: Array | None = None) -> Array:
    """x times a number."""
    return elementwise(_scale, out, x, options=(float(factor),))
