"""Softmax and its logarithm along an axis, and the kernels that carry their gradients back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, summing_type
from .cuda.arrays import computable
from .cuda.channels import MOST
from .cuda.softmax_ladder import RUNGS, Rung
from .layout import elementwise
from .registry import (
    Arguments,
    Samples,
    arguments,
    imported,
    kernel,
    only_when_asked,
    per_element,
)


def rows(count: int) -> Samples:
    """Samples of `count` arrays of one shape: along each axis, strided, odd and empty."""

    def samples(rng: np.random.Generator) -> Iterator[Arguments]:
        def draw(*shape: int, dtype: str = "f8", scale: float = 1.0) -> list[Array]:
            return [(rng.normal(size=shape) * scale).astype(dtype) for _ in range(count)]

        yield arguments(*draw(3, 5), axis=-1)
        yield arguments(*draw(2, 131, dtype="f4", scale=50 if count == 1 else 1), axis=-1)
        yield arguments(*draw(67, 10, dtype="f4"), axis=1)
        yield arguments(*(x[:, ::2] for x in draw(4, 6)), axis=0)
        yield arguments(*(x[::-1].T for x in draw(5, 7, dtype="f4")), axis=-1)
        yield arguments(*draw(2, 3, 4, 5, dtype="f4"), axis=1)
        yield arguments(*draw(4, 1, dtype="f4"), axis=1)
        yield arguments(*draw(9), axis=0)
        yield arguments(*draw(0, 4), axis=1)
        yield arguments(*draw(4, 0), axis=1)
        yield arguments(*draw(70, 515, dtype="f4"), axis=0)  # blocks of columns
        yield arguments(*draw(70, 515, dtype="f4"), axis=1)  # groups of rows
        yield arguments(*(x.transpose(0, 3, 1, 2) for x in draw(2, 3, 4, 5, dtype="f4")), axis=1)
        low = -np.inf if count == 1 else -9.0
        yield arguments(*draw(2, 1300, dtype="f4"), axis=1)  # rows that a block of threads shares
        yield arguments(*draw(2, 1301), axis=1)
        ends = np.array([[np.nan, 1, 2], [low, 1, 2], [3, 3, 3]], "f4")[:, :, None]
        yield arguments(*[ends[:, :, 0]] * count, axis=1)
        yield arguments(*[ends] * count, axis=1)

    return samples


SMALL_SOFTMAX = 256
"""Elements up to which NumPy's calls are done before a compiled kernel is."""


def shifted(x: Array, axis: int, out: Array | None = None) -> Array:
    """x less its maximum along the axis, so that exp cannot overflow. All -inf becomes NaN."""
    xp = array_module(x)
    if not x.size:
        return x.copy() if out is None else out
    with np.errstate(invalid="ignore"):
        return xp.subtract(x, x.max(axis=axis, keepdims=True), out=out)


def _total(x: Array, axis: int) -> Array:
    """The sums along the axis; of float16 in float32, where they cannot overflow."""
    return x.sum(axis=axis, keepdims=True, dtype=summing_type(x))  # type: ignore[no-any-return,unused-ignore]


@kernel(samples=rows(1), cost=per_element(5))
def softmax(x: Array, *, axis: int, out: Array | None = None) -> Array:
    """exp(x) / sum(exp(x)) along the axis."""
    xp = array_module(x)
    y = shifted(x, axis, out)
    xp.exp(y, out=y)
    return xp.divide(y, _total(y, axis), out=y)


@kernel(samples=rows(2), cost=per_element(4))
def softmax_gradient(g: Array, y: Array, *, axis: int, out: Array | None = None) -> Array:
    """y * (g - sum(g * y)) along the axis, where y = softmax(x)."""
    xp = array_module(y)
    total = _total(g * y, axis).astype(y.dtype, copy=False)
    return xp.multiply(y, g - total, out=out)


@kernel(samples=rows(1), cost=per_element(5))
def log_softmax(x: Array, *, axis: int, out: Array | None = None) -> Array:
    """x - log(sum(exp(x))) along the axis."""
    xp = array_module(x)
    y = shifted(x, axis, out)
    if not x.size:
        return y
    return xp.subtract(y, xp.log(_total(xp.exp(y), axis)), out=y)


@kernel(samples=rows(2), cost=per_element(4))
def log_softmax_gradient(g: Array, y: Array, *, axis: int, out: Array | None = None) -> Array:
    """g - exp(y) * sum(g) along the axis, where y = log_softmax(x)."""
    xp = array_module(y)
    total = _total(g, axis).astype(y.dtype, copy=False)
    return xp.subtract(g, xp.exp(y) * total, out=out)


# Compiled: each of them has the same name there


def worth_compiled(x: Array, *_: Array, **__: object) -> bool:
    """Whether the array is large enough."""
    return x.size > SMALL_SOFTMAX


def _has_axis(x: Array, *others: Array, axis: int, **_: object) -> bool:
    return -x.ndim <= axis < x.ndim and elementwise(x, *others)


def _along_an_axis(x: Array, *others: Array, axis: int, **_: object) -> bool:
    fits = -x.ndim <= axis < x.ndim and computable(x, *others)
    return fits and x.shape[axis] < MOST  # kernels count them


def _ladder(rung: Rung) -> None:
    """Register a step of the ladder, to be read, compared and run by name, never on its own."""

    @softmax.on(
        "cuda",
        "cuda-on-cpu",
        name=rung.name,
        accepts=rung.accepts,
        worth=only_when_asked,
    )
    def build() -> Any:
        return rung.run


for _rung in RUNGS:  # before the others, which therefore have precedence
    _ladder(_rung)
for _kernel in (softmax, softmax_gradient, log_softmax, log_softmax_gradient):
    _kernel.on("numba", accepts=_has_axis, worth=worth_compiled)(
        imported("cpu.softmax", _kernel.name)
    )
    _kernel.on("cuda", "cuda-on-cpu", accepts=_along_an_axis)(
        imported("cuda.softmax", _kernel.name)
    )
