"""Steps of optimizers, norms and scaling in CUDA: the launch code of optimizer*.cu."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np

from ..arrays import Array, array_module, deliver, deliver_all
from ..optimizer import check_spans
from .arrays import ceil_divide, contiguous, empty
from .c_types import c_name
from .elementwise import REALS, mapped, mapped_to_all
from .graphs import keep, uploaded
from .source import kernel

CHUNK = 8192
"""Numbers whose squares a block of `sum_squares` adds up."""

NORM_THREADS = 256


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
    numbers = sgd_numbers(
        buffer is not None,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
        maximize=maximize,
    )
    if buffer is None:
        places = out if isinstance(out, tuple) else (out,)
        return update("descend", (p, g), *numbers, results=1, out=places)[0]
    return update("descend_with_momentum", (p, g, buffer), *numbers, results=2, out=out)


def sgd_numbers(
    has_buffer: bool,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """The numbers of the kernels' formulas, in their order."""
    direction = (weight_decay, -1.0 if maximize else 1.0)
    if not has_buffer:
        return lr, *direction
    return lr, momentum, 1 - dampening, bool(nesterov), *direction


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
    numbers = adam_numbers(
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        decoupled=decoupled,
        maximize=maximize,
        step=step,
    )
    if largest is None:
        return update("adam", (p, g, m, v), *numbers, results=3, out=out)
    return update("amsgrad", (p, g, m, v, largest), *numbers, results=4, out=out)


def adam_numbers(
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    step: int,
) -> tuple[float, ...]:
    """The numbers of the kernels' formulas, in their order."""
    return (
        lr / (1 - beta1**step),
        1 / math.sqrt(1 - beta2**step),
        eps,
        *(beta1, 1 - beta1, beta2, 1 - beta2),
        1 - lr * weight_decay if decoupled else 1.0,
        0.0 if decoupled else weight_decay,
        -1.0 if maximize else 1.0,
    )


def update(
    name: str, inputs: tuple[Array, ...], *numbers: Any, results: int, out: Any
) -> tuple[Array, ...]:
    """Run a step; the new arrays, in `out` if it is given."""
    places = (None,) * results if out is None else tuple(out)
    if len(places) != results:
        raise ValueError(f"out has {len(places)} arrays, there are {results} results")
    return mapped_to_all("optimizer.cu", name, inputs, *numbers, out=places)


def scale(x: Array, *, factor: float, out: Array | None = None) -> Array:
    """x times a number."""
    return mapped("optimizer.cu", "scale", (x,), float(factor), out=out)


def scale_by(x: Array, factor: Array, *, out: Array | None = None) -> Array:
    """x times the one number in an array."""
    by = contiguous(factor.astype(_wide(x), copy=False))
    if out is not None and array_module(x).may_share_memory(out, by):
        by = by.copy()  # it is read until the end
    return mapped("optimizer.cu", "scale_by", (x,), by, out=out)


def clip_factor(norms: Array, *, limit: float, out: Any = None) -> Any:
    """The norm of all parts from the norms of each, and the factor for their numbers."""
    total, factor = (empty(norms, (), _wide(norms)) for _ in range(2))
    t = c_name(norms)
    run = kernel("optimizer_norms.cu", "clip_factor", T=t, REAL=REALS[t])
    run(1, 1, contiguous(norms), norms.size, float(limit), total, factor)
    return deliver_all((total, factor), out)


def norms(x: Array, spans: np.ndarray, *, out: Array | None = None) -> Array:
    """For each pair (begin, end) the Euclidean norm of x[begin:end].

    The chunks of given spans are copied to the GPU once and kept there: an optimizer asks for the
    norms of the same ones again and again. Spans that are on the GPU are read first, which waits
    for it.

    Raises:
        ValueError: if spans are not pairs, or `out` does not fit.
    """
    check_spans(spans)
    pairs = spans if isinstance(spans, np.ndarray) else spans.get()
    begins, ends, firsts = keep(_chunks(pairs.tobytes(), x.size, array_module(x)))
    source = contiguous(x)
    sums = empty(x, (begins.size,), np.float64)
    y = empty(x, (len(spans),))
    t = c_name(x)
    run = kernel("optimizer_norms.cu", "sum_squares", T=t, REAL=REALS[t])
    run(begins.size, NORM_THREADS, source, begins, ends, sums)
    finish = kernel("optimizer_norms.cu", "norms", T=t, REAL=REALS[t])
    finish(len(spans), NORM_THREADS, sums, firsts, y)
    return deliver(y, out)


def _wide(x: Array) -> Any:
    """The type to compute in."""
    return np.float64 if x.dtype == np.float64 else np.float32


@functools.lru_cache(maxsize=64)
def _chunks(spans: bytes, size: int, xp: ModuleType) -> tuple[Array, Array, Array]:
    """Where the chunks of all spans begin and end, and which are the first of each span, and the
    number of chunks. On the device of `xp`: where there are several, each has its own.

    Spans are cut at the ends of the array, as slices are.
    """
    pieces = [range(size)[a:b] for a, b in np.frombuffer(spans, np.intp).reshape(-1, 2).tolist()]
    begins = [a for piece in pieces for a in piece[::CHUNK]]
    ends = [min(a + CHUNK, piece.stop) for piece in pieces for a in piece[::CHUNK]]
    firsts = np.cumsum([0, *(ceil_divide(len(piece), CHUNK) for piece in pieces)])
    tables = [np.asarray(numbers, np.int64) for numbers in (begins, ends, firsts)]
    return tuple(uploaded(tables, xp))
