"""Layer normalisation, and its gradients: of rows, by their own mean and deviation; see norm.py.

x is (..., D); weight and bias are (D,); mean and variance have the shape of the rows, x.shape[:-1].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, deliver, deliver_all
from .layout import large, plain
from .norm import (
    all_known,
    all_plain,
    forward_cost,
    gradient_cost,
    gradient_of_normalized,
    gradients_cost,
    normalize,
    reciprocal_deviation,
    statistics,
    weight_gradient_cost,
    wide,
)
from .registry import Arguments, Kernel, arguments, imported, kernel


def rows(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows in several layouts."""
    yield rng.normal(size=(3, 5))
    yield (rng.normal(size=(2, 7, 130)) * 3 + 1).astype("f4")
    yield rng.normal(size=(6, 9)).astype("f4").T
    yield rng.normal(size=(4, 10))[::-1, ::2]
    yield rng.normal(size=(11,)).astype("f4")
    yield np.zeros((0, 3), "f4")


def layer_norm_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without weight and bias."""
    for x in rows(rng):
        weight, bias = rng.normal(size=(2, x.shape[-1])).astype(x.dtype)
        yield arguments(x, weight, bias, eps=1e-5)
        yield arguments(x, None, None, eps=1e-3)


@kernel(samples=layer_norm_samples, cost=forward_cost)
def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float, out: Any = None
) -> tuple[Array, Array, Array]:
    """(y, mean, variance): y = (x - mean) / sqrt(variance + eps) * weight + bias, for each row.

    The variance is the biased one. Mean and variance are float32 for float16. One that is too large
    for its type is infinite; see `batch_norm`.
    """
    y, mean, var = normalize(wide(x), (-1,), eps)
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return deliver_all((y.astype(x.dtype, copy=False), mean[..., 0], var[..., 0]), out)


def layer_norm_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without a weight."""
    for x in rows(rng):
        g = rng.normal(size=x.shape).astype(x.dtype)
        mean, var = statistics(x, (-1,))
        weight = rng.normal(size=(x.shape[-1],)).astype(x.dtype)
        yield arguments(g, x, weight, mean, var, eps=1e-5)
        yield arguments(g, x, None, mean, var, eps=1e-5)


@kernel(samples=layer_norm_gradient_samples, cost=gradient_cost)
def layer_norm_input_gradient(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Any = None,
) -> Array:
    """The gradient of x: (u - mean(u) - x^ mean(u x^)) / s for each row, with u = g weight."""
    g = wide(g) if weight is None else wide(g) * weight
    dx = gradient_of_normalized(g, x, mean[..., None], var[..., None], (-1,), eps)
    return deliver(dx.astype(x.dtype, copy=False), out)


def layer_norm_weight_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """As for the gradient of the input."""
    for x in rows(rng):
        g = rng.normal(size=x.shape).astype(x.dtype)
        yield arguments(g, x, *statistics(x, (-1,)), eps=1e-5)


@kernel(samples=layer_norm_weight_gradient_samples, cost=weight_gradient_cost)
def layer_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Any = None
) -> Array:
    """The gradient of the weight: the sum of g x^ over all rows."""
    y = x - mean[..., None]
    y *= reciprocal_deviation(var, eps)[..., None]
    y *= g
    dw: Array = y.sum(axis=tuple(range(x.ndim - 1)))
    return deliver(dw.astype(x.dtype, copy=False), out)


@kernel(samples=layer_norm_gradient_samples, cost=gradients_cost)
def layer_norm_gradients(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Any = None,
) -> tuple[Array, Array, Array]:
    """The gradients of x, of the weight and of the bias, which share their sums."""
    dx = layer_norm_input_gradient.reference(g, x, weight, mean, var, eps=eps)
    dw = layer_norm_weight_gradient.reference(g, x, mean, var, eps=eps)
    db = wide(g).sum(axis=tuple(range(x.ndim - 1))).astype(x.dtype, copy=False)
    return deliver_all((dx, dw, db), out)


# Compiled, and in CUDA: each of them has the same name there


def _rows_fit(x: Array, *vectors: Array | None, **_: object) -> bool:
    shape = x.shape[-1:]
    return (
        x.ndim > 0
        and all(v is None or v.shape == shape for v in vectors)
        and all_plain(x, *vectors)
    )


def _row_gradients_fit(g: Array, x: Array, *others: Array | None, **_: object) -> bool:
    *weight, mean, var = others
    if g.shape != x.shape or mean is None or var is None:
        return False
    return (
        mean.shape == var.shape == x.shape[:-1] and _rows_fit(x, *weight) and plain(x, g, mean, var)
    )


def _cuda_rows(x: Array, *vectors: Array | None, **_: object) -> bool:
    return (
        x.ndim > 0
        and all(v is None or v.shape == x.shape[-1:] for v in vectors)
        and all_known(x, vectors)
    )


def _cuda_row_gradients(g: Array, x: Array, *others: Array | None, **_: object) -> bool:
    *weight, mean, var = others
    if g.shape != x.shape or x.ndim < 1 or mean is None or var is None:
        return False
    return (
        mean.shape == var.shape == x.shape[:-1]
        and all(v is None or v.shape == x.shape[-1:] for v in weight)
        and all_known(x, (g, *weight), (mean, var))
    )


def _file(k: Kernel, accepts: Any, accepts_in_cuda: Any) -> None:
    k.on("numba", accepts=accepts, worth=large)(imported("cpu.layer_norm", k.name))
    k.on("cuda", "cuda-on-cpu", accepts=accepts_in_cuda)(imported("cuda.layer_norm", k.name))


_file(layer_norm, _rows_fit, _cuda_rows)
for _kernel in (layer_norm_input_gradient, layer_norm_weight_gradient, layer_norm_gradients):
    _file(_kernel, _row_gradients_fit, _cuda_row_gradients)
