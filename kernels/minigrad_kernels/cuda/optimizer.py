"""Steps of optimizers, norms and scaling in CUDA: the launch code of optimizer*.cu."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np

from ..arrays import Array, array_module, deliver
from .arrays import ceil_divide, contiguous, empty
from .c_types import c_name
from .elementwise import mapped, mapped_to_all
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
    direction = (weight_decay, -1.0 if maximize else 1.0)
    if buffer is None:
        places = out if isinstance(out, tuple) else (out,)
        return _update("descend", (p, g), lr, *direction, results=1, out=places)[0]
    rates = (lr, momentum, 1 - dampening, bool(nesterov), *direction)
    return _update("descend_with_momentum", (p, g, buffer), *rates, results=2, out=out)


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
    numbers = (
        lr / (1 - beta1**step),
        1 / math.sqrt(1 - beta2**step),
        eps,
        *(beta1, 1 - beta1, beta2, 1 - beta2),
        1 - lr * weight_decay if decoupled else 1.0,
        0.0 if decoupled else weight_decay,
        -1.0 if maximize else 1.0,
    )
    if largest is None:
        return _update("adam", (p, g, m, v), *numbers, results=3, out=out)
    return _update("amsgrad", (p, g, m, v, largest), *numbers, results=4, out=out)


def _update(
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


def norms(x: Array, spans: np.ndarray, *, out: Array | None = None) -> Array:
    """For each pair (begin, end) the Euclidean norm of x[begin:end].

    The chunks of given spans are copied to the GPU once and kept there: an optimizer asks for the
    norms of the same ones again and again, and while work is recorded no such copy may be made.
    Spans that are on the GPU are read first, which waits for it.
    """
    xp = array_module(x)
    device = 0 if xp is np else int(x.device.id)
    pairs = spans if isinstance(spans, np.ndarray) else spans.get()
    begins, ends, firsts = _chunks(pairs.tobytes(), x.size, xp, device)
    source = contiguous(x)
    sums = empty(x, (begins.size,), np.float64)
    y = empty(x, (len(spans),))
    t = c_name(x)
    run = kernel("optimizer_norms.cu", "sum_squares", T=t)
    run(begins.size, NORM_THREADS, source, begins, ends, sums)
    kernel("optimizer_norms.cu", "norms", T=t)(len(spans), NORM_THREADS, sums, firsts, y)
    return deliver(y, out)


@functools.lru_cache(maxsize=64)
def _chunks(spans: bytes, size: int, xp: ModuleType, device: int) -> tuple[Array, Array, Array]:
    """Where the chunks of all spans begin and end, and which are the first of each span, and the
    number of chunks. On the current device, whose number is a part of the cache's key.

    Spans are cut at the ends of the array, as slices are.
    """
    pieces = [range(size)[a:b] for a, b in np.frombuffer(spans, np.intp).reshape(-1, 2).tolist()]
    begins = [a for piece in pieces for a in piece[::CHUNK]]
    ends = [min(a + CHUNK, piece.stop) for piece in pieces for a in piece[::CHUNK]]
    firsts = np.cumsum([0, *(ceil_divide(len(piece), CHUNK) for piece in pieces)])
    return tuple(xp.asarray(np.asarray(numbers, np.int64)) for numbers in (begins, ends, firsts))
