"""Batch and layer normalisation, and their gradients.

Both subtract the mean of a group of elements and divide by their standard deviation; then they
scale by a weight and add a bias. A group is a channel of a batch (batch norm) or a row (layer
norm). Gradient kernels take the mean and variance that the forward kernel returned.

With x^ the normalised x, s the standard deviation and means over the group, the transposed Jacobian
of x -> x^ takes g to (g - mean(g) - x^ mean(g x^)) / s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, deliver_all, summing_type
from .cuda.channels import known
from .layout import large, plain
from .registry import Arguments, Cost, Kernel, arguments, kernel

# What both have in common. Here weight and bias have a shape that broadcasts with x.


def _wide(x: Array) -> Array:
    """Half-precision numbers are summed in float32."""
    return x.astype(summing_type(x), copy=False)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean over some axes, which stay; zero where there is nothing."""
    return x.sum(axis=axes, keepdims=True) / max(math.prod(x.shape[i] for i in axes), 1)


def _reciprocal_deviation(var: Array, eps: float) -> Array:
    with np.errstate(divide="ignore"):  # a constant group without eps: infinity, as IEEE has it
        return 1 / array_module(var).sqrt(var + eps)


def _normalize(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array]:
    """x^, and the mean and the (biased) variance of each group."""
    mean = _mean(x, axes)
    y = x - mean
    var = _mean(y * y, axes)
    with np.errstate(invalid="ignore"):
        y *= _reciprocal_deviation(var, eps)
    return y, mean, var


def _input_gradient(
    g: Array, x: Array, mean: Array, var: Array, axes: tuple[int, ...], eps: float
) -> Array:
    scale = _reciprocal_deviation(var, eps)
    y = x - mean
    y *= scale
    y *= _mean(g * y, axes)
    dx = g - _mean(g, axes)
    dx -= y
    dx *= scale
    return dx


# Compiled kernels trust shapes: whatever does not fit goes to the definitions, which refuse it.


def _plain(x: Array, *others: Array | None) -> bool:
    return x.size > 0 and plain(x, *(a for a in others if a is not None))


def _channels_fit(x: Array, *vectors: Array | None, **_: object) -> bool:
    shape = x.shape[1:2]
    return (
        x.ndim > 1 and all(v is None or v.shape == shape for v in vectors) and _plain(x, *vectors)
    )


def _channel_gradients_fit(g: Array, x: Array, *vectors: Array | None, **_: object) -> bool:
    return g.shape == x.shape and plain(g, x) and _channels_fit(x, *vectors)


def _rows_fit(x: Array, *vectors: Array | None, **_: object) -> bool:
    shape = x.shape[-1:]
    return (
        x.ndim > 0 and all(v is None or v.shape == shape for v in vectors) and _plain(x, *vectors)
    )


def _row_gradients_fit(g: Array, x: Array, *others: Array | None, **_: object) -> bool:
    *weight, mean, var = others
    if g.shape != x.shape or mean is None or var is None:
        return False
    return (
        mean.shape == var.shape == x.shape[:-1] and _rows_fit(x, *weight) and plain(x, g, mean, var)
    )


# The same for CUDA kernels: weight and bias have the type of x, mean and variance that of sums.


def _known(x: Array, own: tuple[Array | None, ...], wide: tuple[Array, ...] = ()) -> bool:
    total = summing_type(x)
    return (
        x.size > 0
        and known(x)
        and all(a is None or a.dtype == x.dtype for a in own)
        and all(a.dtype == total for a in wide)
    )


def _cuda_channels(x: Array, *vectors: Array | None, **_: object) -> bool:
    return (
        x.ndim > 1
        and all(v is None or v.shape == x.shape[1:2] for v in vectors)
        and _known(x, vectors)
    )


def _cuda_channel_gradients(g: Array, x: Array, *vectors: Array | None, **_: object) -> bool:
    *weight, mean, var = vectors
    if g.shape != x.shape or x.ndim < 2 or mean is None or var is None:
        return False
    shape = x.shape[1:2]
    return all(v is None or v.shape == shape for v in vectors) and _known(
        x, (g, *weight), (mean, var)
    )


def _cuda_rows(x: Array, *vectors: Array | None, **_: object) -> bool:
    return (
        x.ndim > 0
        and all(v is None or v.shape == x.shape[-1:] for v in vectors)
        and _known(x, vectors)
    )


def _cuda_row_gradients(g: Array, x: Array, *others: Array | None, **_: object) -> bool:
    *weight, mean, var = others
    if g.shape != x.shape or x.ndim < 1 or mean is None or var is None:
        return False
    return (
        mean.shape == var.shape == x.shape[:-1]
        and all(v is None or v.shape == x.shape[-1:] for v in weight)
        and _known(x, (g, *weight), (mean, var))
    )


# Batch norm: x is (N, C, ...); weight, bias, mean and variance are (C,)


def _channel_axes(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _per_channel(v: Array, x: Array) -> Array:
    return v.reshape(-1, *(1,) * (x.ndim - 2))


def images(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches with channels in several layouts."""
    yield rng.normal(size=(4, 3, 5, 2))
    yield (rng.normal(size=(3, 7, 6, 5)) * 3 + 1).astype("f4")
    yield rng.normal(size=(3, 8, 6, 5)).astype("f4").transpose(0, 3, 1, 2)  # channels last
    yield rng.normal(size=(37, 5)).astype("f4")
    yield rng.normal(size=(4, 3, 9))[:, ::-1, ::2]
    yield np.zeros((0, 3, 2), "f4")


def batch_norm_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without weight and bias."""
    for x in images(rng):
        weight, bias = rng.normal(size=(2, x.shape[1])).astype(x.dtype)
        yield arguments(x, weight, bias, eps=1e-5)
        yield arguments(x, None, None, eps=1e-3)


def forward_cost(x: Array, *_: Any, **__: Any) -> Cost:
    """The mean, the variance, and the result; x must be read once if it stays in the cache."""
    return Cost(flops=8.0 * x.size, bytes=2.0 * x.nbytes)


@kernel(samples=batch_norm_samples, cost=forward_cost)
def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float, out: Any = None
) -> tuple[Array, Array, Array]:
    """(y, mean, variance): y = (x - mean) / sqrt(variance + eps) * weight + bias, per channel.

    The variance is the biased one. Mean and variance are float32 for float16.
    """
    y, mean, var = _normalize(_wide(x), _channel_axes(x), eps)
    if weight is not None:
        y *= _per_channel(weight, x)
    if bias is not None:
        y += _per_channel(bias, x)
    return deliver_all((y.astype(x.dtype, copy=False), mean.reshape(-1), var.reshape(-1)), out)


@batch_norm.on("numba", accepts=_channels_fit, worth=large)
def _batch_norm_numba() -> Any:
    from .cpu.norm import batch_norm

    return batch_norm


def _statistics(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    _, mean, var = _normalize(x, axes, 1.0)
    return mean.squeeze(axes), var.squeeze(axes)


def batch_norm_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without a weight."""
    for x in images(rng):
        g = rng.normal(size=x.shape).astype(x.dtype)
        mean, var = _statistics(x, _channel_axes(x))
        weight = rng.normal(size=(x.shape[1],)).astype(x.dtype)
        yield arguments(g, x, weight, mean, var, eps=1e-5)
        yield arguments(g, x, None, mean, var, eps=1e-5)


def gradient_cost(g: Array, x: Array, *_: Any, **__: Any) -> Cost:
    """Two sums, then the result; both arrays are read once if they stay in the cache."""
    return Cost(flops=11.0 * x.size, bytes=3.0 * x.nbytes)


@kernel(samples=batch_norm_gradient_samples, cost=gradient_cost)
def batch_norm_input_gradient(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Any = None,
) -> Array:
    """The gradient of x: weight (g - mean(g) - x^ mean(g x^)) / s, per channel."""
    mean, var = _per_channel(mean, x), _per_channel(var, x)
    dx = _input_gradient(_wide(g), x, mean, var, _channel_axes(x), eps)
    if weight is not None:
        dx *= _per_channel(weight, x)
    return deliver(dx.astype(x.dtype, copy=False), out)


@batch_norm_input_gradient.on("numba", accepts=_channel_gradients_fit, worth=large)
def _batch_norm_input_gradient_numba() -> Any:
    from .cpu.norm import batch_norm_input_gradient

    return batch_norm_input_gradient


def batch_norm_weight_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """As for the gradient of the input."""
    for x in images(rng):
        yield arguments(
            rng.normal(size=x.shape).astype(x.dtype), x, *_statistics(x, _channel_axes(x)), eps=1e-5
        )


def gradients_cost(g: Array, x: Array, *_: Any, **__: Any) -> Cost:
    """As that of the input's gradient: the sums are the other gradients."""
    return Cost(flops=11.0 * x.size, bytes=3.0 * x.nbytes)


def weight_gradient_cost(g: Array, x: Array, *_: Any, **__: Any) -> Cost:
    """One sum over both arrays."""
    return Cost(flops=4.0 * x.size, bytes=2.0 * x.nbytes)


@kernel(samples=batch_norm_weight_gradient_samples, cost=weight_gradient_cost)
def batch_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Any = None
) -> Array:
    """The gradient of the weight: the sum of g x^ over each channel."""
    y = x - _per_channel(mean, x)
    y *= g
    dw: Array = y.sum(axis=_channel_axes(x)) * _reciprocal_deviation(var, eps)
    return deliver(dw.astype(x.dtype, copy=False), out)


@batch_norm_weight_gradient.on("numba", accepts=_channel_gradients_fit, worth=large)
def _batch_norm_weight_gradient_numba() -> Any:
    from .cpu.norm import batch_norm_weight_gradient

    return batch_norm_weight_gradient


@kernel(samples=batch_norm_gradient_samples, cost=gradients_cost)
def batch_norm_gradients(
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
    dx = batch_norm_input_gradient.reference(g, x, weight, mean, var, eps=eps)
    dw = batch_norm_weight_gradient.reference(g, x, mean, var, eps=eps)
    db = _wide(g).sum(axis=_channel_axes(x)).astype(x.dtype, copy=False)
    return deliver_all((dx, dw, db), out)


@batch_norm_gradients.on("numba", accepts=_channel_gradients_fit, worth=large)
def _batch_norm_gradients_numba() -> Any:
    from .cpu.norm import batch_norm_gradients

    return batch_norm_gradients


# Layer norm: x is (..., D); weight and bias are (D,); mean and variance have the shape of the rows


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

    The variance is the biased one. Mean and variance are float32 for float16.
    """
    y, mean, var = _normalize(_wide(x), (-1,), eps)
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return deliver_all((y.astype(x.dtype, copy=False), mean[..., 0], var[..., 0]), out)


@layer_norm.on("numba", accepts=_rows_fit, worth=large)
def _layer_norm_numba() -> Any:
    from .cpu.layer_norm import layer_norm

    return layer_norm


def layer_norm_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without a weight."""
    for x in rows(rng):
        g = rng.normal(size=x.shape).astype(x.dtype)
        mean, var = _statistics(x, (-1,))
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
    g = _wide(g) if weight is None else _wide(g) * weight
    dx = _input_gradient(g, x, mean[..., None], var[..., None], (-1,), eps)
    return deliver(dx.astype(x.dtype, copy=False), out)


@layer_norm_input_gradient.on("numba", accepts=_row_gradients_fit, worth=large)
def _layer_norm_input_gradient_numba() -> Any:
    from .cpu.layer_norm import layer_norm_input_gradient

    return layer_norm_input_gradient


def layer_norm_weight_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """As for the gradient of the input."""
    for x in rows(rng):
        g = rng.normal(size=x.shape).astype(x.dtype)
        yield arguments(g, x, *_statistics(x, (-1,)), eps=1e-5)


@kernel(samples=layer_norm_weight_gradient_samples, cost=weight_gradient_cost)
def layer_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Any = None
) -> Array:
    """The gradient of the weight: the sum of g x^ over all rows."""
    y = x - mean[..., None]
    y *= _reciprocal_deviation(var, eps)[..., None]
    y *= g
    dw: Array = y.sum(axis=tuple(range(x.ndim - 1)))
    return deliver(dw.astype(x.dtype, copy=False), out)


@layer_norm_weight_gradient.on("numba", accepts=_row_gradients_fit, worth=large)
def _layer_norm_weight_gradient_numba() -> Any:
    from .cpu.layer_norm import layer_norm_weight_gradient

    return layer_norm_weight_gradient


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
    db = _wide(g).sum(axis=tuple(range(x.ndim - 1))).astype(x.dtype, copy=False)
    return deliver_all((dx, dw, db), out)


@layer_norm_gradients.on("numba", accepts=_row_gradients_fit, worth=large)
def _layer_norm_gradients_numba() -> Any:
    from .cpu.layer_norm import layer_norm_gradients

    return layer_norm_gradients


# On the GPU; each of them has the same name there


def _on_cuda(k: Kernel, module: str, accepts: Any) -> None:
    @k.on("cuda", "cuda-on-cpu", accepts=accepts)
    def build() -> Any:
        return getattr(import_module(f".cuda.{module}", __package__), k.name)


_on_cuda(batch_norm, "norm", _cuda_channels)
for _kernel in (batch_norm_input_gradient, batch_norm_weight_gradient, batch_norm_gradients):
    _on_cuda(_kernel, "norm", _cuda_channel_gradients)
_on_cuda(layer_norm, "layer_norm", _cuda_rows)
for _kernel in (layer_norm_input_gradient, layer_norm_weight_gradient, layer_norm_gradients):
    _on_cuda(_kernel, "layer_norm", _cuda_row_gradients)
