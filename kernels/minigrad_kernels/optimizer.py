"""One step of an optimizer on one array. With `out` set to the inputs, it updates them in place.

Arrays come in the order parameter p, its gradient g, then the optimizer's state; all have one shape
and one type. The results, in `out`, are the new parameter and the new state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver
from .cuda.arrays import computable
from .layout import elementwise, large, plain, real
from .registry import Arguments, Cost, arguments, kernel, per_element

PIECE = 1 << 15  # elements worked on at once: with all temporaries they stay in the L2 cache

FEW = 256
"""Elements up to which NumPy's dozen passes take no longer than a call of compiled code."""


def _pieces(arrays: list[Array]) -> Iterator[list[Array]]:
    """Matching pieces of large row-major NumPy arrays; other arrays as they are."""
    first = arrays[0]
    if not first.ndim:  # NumPy's functions of 0-dimensional arrays return scalars
        yield [a.reshape(1) for a in arrays]
        return
    if (
        first.size <= PIECE
        or array_module(first) is not np
        or not all(a.flags.c_contiguous and a.shape == first.shape for a in arrays)
    ):
        yield arrays
        return
    flat = [a.reshape(-1) for a in arrays]
    for start in range(0, first.size, PIECE):
        yield [a[start : start + PIECE] for a in flat]


def _outputs(out: Any, inputs: list[Array]) -> list[Array]:
    """The arrays to write into: those given, or new ones."""
    if out is None:
        return [array_module(x).empty_like(x) for x in inputs]
    return list(out) if isinstance(out, tuple) else [out]


def _result(outputs: list[Array]) -> Any:
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def layouts(rng: np.random.Generator, arrays: int) -> Iterator[np.ndarray]:
    """Stacks of so many arrays, none negative: both types, more than a piece, strides, nothing."""
    yield rng.uniform(size=(arrays, 3, 5))
    yield rng.uniform(size=(arrays, 257, 131)).astype("f4")
    yield rng.uniform(size=(arrays, 6, 10)).astype("f4")[:, ::-1, ::3]
    yield rng.uniform(size=(arrays, 9)).astype("f4")
    yield np.zeros((arrays, 0, 2), "f4")
    yield rng.uniform(size=(arrays,))[:, None][..., 0]


def _accepts(p: Array, *arrays: Array | None, **options: Any) -> bool:
    """Whether compiled code can compute it: one shape, and one type, also that of `out`."""
    out = options.get("out")
    if not plain(p):
        return False
    for x in arrays:
        if x is not None and not _alike(x, p):
            return False
    for y in () if out is None else out if isinstance(out, tuple) else (out,):
        if y.dtype is not p.dtype and y.dtype != p.dtype:
            return False
    return True


def _alike(x: Array, p: Array) -> bool:
    same_type = x.dtype is p.dtype or x.dtype == p.dtype
    return same_type and x.shape == p.shape and x.flags.aligned


def _accepts_on_cuda(p: Array, *arrays: Array | None, **_: Any) -> bool:
    """Whether CUDA kernels can: of float32 or float64, in halves a step would lose its state."""
    return real(p) and computable(p, *(x for x in arrays if x is not None))


def _when_captured(*_: Any, **__: Any) -> bool:
    """Numbers in memory take a launch more: only CUDA graphs want them there, and ask for it."""
    return False


def _worth(p: Array, *_: Array | None, **__: Any) -> bool:
    return p.size > FEW


def sgd_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without momentum, and every option."""
    plain = {
        "lr": 0.1,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    }
    for p, g in layouts(rng, 2):
        yield arguments(p, g, **plain)
        yield arguments(p, g, **{**plain, "weight_decay": 0.1, "maximize": True})
    for p, g, b in layouts(rng, 3):
        yield arguments(p, g, b, **{**plain, "momentum": 0.9, "dampening": 0.1})
        yield arguments(p, g, b, **{**plain, "momentum": 0.9, "nesterov": True})


def sgd_cost(p: Array, g: Array, buffer: Array | None = None, **_: Any) -> Cost:
    """Two operations, or four with momentum; all is read once, and p and the state written."""
    if buffer is None:
        return Cost(flops=2.0 * p.size, bytes=3.0 * p.nbytes)
    return Cost(flops=5.0 * p.size, bytes=5.0 * p.nbytes)


@kernel(samples=sgd_samples, cost=sgd_cost)
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
    """Gradient descent, with momentum where a buffer is given. Returns p, or (p, buffer).

    d = g + weight_decay p  (-g to maximize)
    buffer = momentum buffer + (1 - dampening) d;  d = buffer, or d + momentum buffer (Nesterov)
    p = p - lr d
    """
    state = [] if buffer is None else [buffer]
    outputs = _outputs(out, [p, *state])
    xp = array_module(p)
    for p_, d, *rest in _pieces([p, g, *state, *outputs]):
        new_p = rest[-1] if buffer is None else rest[1]
        if maximize:
            d = -d
        if weight_decay:
            d = d + weight_decay * p_
        if buffer is not None:
            old, _, new = rest
            xp.multiply(old, momentum, out=new)
            new += (1 - dampening) * d
            d = d + momentum * new if nesterov else new
        xp.subtract(p_, lr * d, out=new_p)
    return _result(outputs)


@sgd_step.on("numba", accepts=_accepts, worth=_worth)
def _sgd_step_numba() -> Any:
    from .cpu.optimizer import sgd_step

    return sgd_step


@sgd_step.on(
    "cuda", "cuda-on-cpu", name="replayable", accepts=_accepts_on_cuda, worth=_when_captured
)
def _sgd_step_replayable() -> Any:
    from .cuda.optimizer_replay import sgd_step

    return sgd_step


@sgd_step.on("cuda", "cuda-on-cpu", accepts=_accepts_on_cuda)
def _sgd_step_cuda() -> Any:
    from .cuda.optimizer import sgd_step

    return sgd_step


def adam_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """Early and late steps, both kinds of weight decay, AMSGrad."""
    plain = {
        "lr": 1e-2,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled": False,
        "maximize": False,
        "step": 1,
    }
    for p, g, m, v in layouts(rng, 4):
        yield arguments(p, g, m, v, **plain)
        yield arguments(p, g, m, v, **{**plain, "weight_decay": 0.1, "step": 1000})
        yield arguments(
            p, g, m, v, **{**plain, "weight_decay": 0.1, "decoupled": True, "maximize": True}
        )
    for p, g, m, v, largest in layouts(rng, 5):
        yield arguments(p, g, m, v, largest, **{**plain, "step": 7})


def adam_cost(p: Array, g: Array, m: Array, v: Array, largest: Any = None, **_: Any) -> Cost:
    """All is read once, and p and the state are written."""
    moved = 7 if largest is None else 9
    return Cost(flops=12.0 * p.size, bytes=float(moved * p.nbytes))


@kernel(samples=adam_samples, cost=adam_cost)
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
    """Adam (Kingma and Ba, 2015); AdamW where `decoupled`. Returns (p, m, v[, largest]).

    d = g + weight_decay p  (-g to maximize); decoupled: p = p - lr weight_decay p instead
    m = beta1 m + (1 - beta1) d;  v = beta2 v + (1 - beta2) d**2
    p = p - lr m' / (sqrt(v') + eps),  m' = m / (1 - beta1**step),  v' = v / (1 - beta2**step)

    With `largest` (AMSGrad: Reddi, Kale and Kumar, 2018) the largest v so far takes the place of v.
    """
    state = [m, v] if largest is None else [m, v, largest]
    outputs = _outputs(out, [p, *state])
    xp = array_module(p)
    rate = lr / (1 - beta1**step)
    correction = 1 / math.sqrt(1 - beta2**step)
    for p_, d, *rest in _pieces([p, g, *state, *outputs]):
        old, (new_p, *new) = rest[: len(state)], rest[len(state) :]
        if maximize:
            d = -d
        if weight_decay and not decoupled:
            d = d + weight_decay * p_
        t = d * (1 - beta1)
        xp.multiply(old[0], beta1, out=new[0])
        new[0] += t
        t = d * d
        t *= 1 - beta2
        xp.multiply(old[1], beta2, out=new[1])
        new[1] += t
        if largest is not None:
            xp.maximum(old[2], new[1], out=new[2])
        xp.sqrt(new[-1], out=t)
        t *= correction
        t += eps
        xp.divide(new[0], t, out=t)
        t *= rate
        if weight_decay and decoupled:
            xp.multiply(p_, 1 - lr * weight_decay, out=new_p)
            p_ = new_p
        xp.subtract(p_, t, out=new_p)
    return _result(outputs)


@adam_step.on("numba", accepts=_accepts, worth=_worth)
def _adam_step_numba() -> Any:
    from .cpu.optimizer import adam_step

    return adam_step


@adam_step.on(
    "cuda", "cuda-on-cpu", name="replayable", accepts=_accepts_on_cuda, worth=_when_captured
)
def _adam_step_replayable() -> Any:
    from .cuda.optimizer_replay import adam_step

    return adam_step


@adam_step.on("cuda", "cuda-on-cpu", accepts=_accepts_on_cuda)
def _adam_step_cuda() -> Any:
    from .cuda.optimizer import adam_step

    return adam_step


def norms_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """One piece and several, of many chunks, with gaps and without elements; both types."""
    yield arguments(rng.normal(size=7).astype("f4"), np.array([[0, 7]]))
    yield arguments(rng.normal(size=50000).astype("f4"), np.array([[0, 40000], [40016, 50000]]))
    yield arguments(rng.normal(size=40), np.array([[0, 3], [8, 8], [16, 40]]))
    yield arguments(rng.normal(size=20).astype("f4")[::-2], np.array([[0, 10]]))
    yield arguments(np.array([1e30, 1e30, 2.0], "f4"), np.array([[0, 2], [2, 3]]))


def check_spans(spans: Array) -> None:
    """Refuse what are not pairs of integers: (n, 2).

    Raises:
        ValueError: if they are not.
    """
    if spans.ndim != 2 or spans.shape[1] != 2 or spans.dtype.kind not in "iu":
        raise ValueError(f"norms: spans {spans.shape} of {spans.dtype} are not pairs of integers")


@kernel(samples=norms_samples, cost=lambda x, spans: Cost(2.0 * x.size, float(x.nbytes)))
def norms(x: Array, spans: np.ndarray, *, out: Array | None = None) -> Array:
    """For each pair (begin, end) the Euclidean norm of x[begin:end], x being flat.

    The squares are summed in float64. How a norm is rounded does not depend on what else is in `x`.

    Raises:
        ValueError: if spans are not pairs.
    """
    check_spans(spans)
    xp = array_module(x)
    sums = [xp.square(x[a:b].astype(np.float64)).sum() for a, b in spans.tolist()]
    return deliver(xp.sqrt(xp.stack(sums)).astype(x.dtype), out)


@norms.on(
    "numba",
    accepts=lambda x, spans, **_: (
        plain(x) and x.ndim == 1 and spans.ndim == 2 and spans.size > 0 and spans.dtype == np.intp
    ),
)
def _norms_numba() -> Any:
    from .cpu.optimizer import norms

    return norms


@norms.on(
    "cuda",
    "cuda-on-cpu",
    accepts=lambda x, spans, **_: (
        computable(x)
        and x.ndim == 1
        and spans.ndim == 2
        and spans.size > 0
        and spans.dtype == np.intp
    ),
)
def _norms_cuda() -> Any:
    from .cuda.optimizer import norms

    return norms


def scale_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """Both types, several chunks, strides, nothing."""
    for (x,) in layouts(rng, 1):
        yield arguments(x, factor=0.3)


@kernel(samples=scale_samples, cost=per_element(1))
def scale(x: Array, *, factor: float, out: Array | None = None) -> Array:
    """x times a number."""
    xp = array_module(x)
    return xp.multiply(x, factor, out=xp.empty_like(x) if out is None else out)


@scale.on("numba", accepts=elementwise, worth=large)
def _scale_numba() -> Any:
    from .cpu.optimizer import scale

    return scale


@scale.on("cuda", "cuda-on-cpu", accepts=lambda x, **_: computable(x))
def _scale_cuda() -> Any:
    from .cuda.optimizer import scale

    return scale
