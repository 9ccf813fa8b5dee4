"""Batch normalisation and its gradients, and what layer normalisation (layer_norm.py) shares.

Both subtract the mean of a group of elements and divide by their standard deviation; then they
scale by a weight and add a bias. A group is a channel of a batch (batch norm) or a row (layer
norm). Gradient kernels take the mean and variance that the forward kernel returned.

With x^ the normalised x, s the standard deviation and means over the group, the transposed Jacobian
of x -> x^ takes g to (g - mean(g) - x^ mean(g x^)) / s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, deliver_all, summing_type
from .cuda.channels import known
from .layout import large, plain
from .registry import Arguments, Cost, Kernel, arguments, imported, kernel

# What both have in common. Here weight and bias have a shape that broadcasts with x.


def wide(x: Array) -> Array:
    """Half-precision numbers are summed in float32."""
    return x.astype(summing_type(x), copy=False)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean over some axes, which stay; zero where there is nothing."""
    return x.sum(axis=axes, keepdims=True) / max(math.prod(x.shape[i] for i in axes), 1)


def reciprocal_deviation(var: Array, eps: float) -> Array:
    """1 / sqrt(var + eps)."""
    with np.errstate(divide="ignore"):  # a constant group without eps: infinity, as IEEE has it
        return 1 / array_module(var).sqrt(var + eps)


def normalize(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array]:
    """x^, and the mean and the (biased) variance of each group."""
    mean = _mean(x, axes)
    y = x - mean
    var = _mean(y * y, axes)
    with np.errstate(invalid="ignore"):
        y *= reciprocal_deviation(var, eps)
    return y, mean, var


def gradient_of_normalized(
    g: Array, x: Array, mean: Array, var: Array, axes: tuple[int, ...], eps: float
) -> Array:
    """(g - mean(g) - x^ mean(g x^)) / s, with the means over these axes."""
    scale = reciprocal_deviation(var, eps)
    y = x - mean
    y *= scale
    y *= _mean(g * y, axes)
    dx = g - _mean(g, axes)
    dx -= y
    dx *= scale
    return dx


def statistics(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The mean and the variance of each group, without the axes they are over."""
    _, mean, var = normalize(x, axes, 1.0)
    return mean.squeeze(axes), var.squeeze(axes)


def forward_cost(x: Array, *_: Any, **__: Any) -> Cost:
    """The mean, the variance, and the result; x must be read once if it stays in the cache."""
    return Cost(flops=8.0 * x.size, bytes=2.0 * x.nbytes)


def gradient_cost(g: Array, x: Array, *_: Any, **__: Any) -> Cost:
    """Two sums, then the result; both arrays are read once if they stay in the cache."""
    return Cost(flops=11.0 * x.size, bytes=3.0 * x.nbytes)


def gradients_cost(g: Array, x: Array, *_: Any, **__: Any) -> Cost:
    """As that of the input's gradient: the sums are the other gradients."""
    return Cost(flops=11.0 * x.size, bytes=3.0 * x.nbytes)


def weight_gradient_cost(g: Array, x: Array, *_: Any, **__: Any) -> Cost:
    """One sum over both arrays."""
    return Cost(flops=4.0 * x.size, bytes=2.0 * x.nbytes)


# Compiled kernels trust shapes: whatever does not fit goes to the definitions, which refuse it.


def all_plain(x: Array, *others: Array | None) -> bool:
    """Whether there is something to compute, all in one type that compiled kernels compute in."""
    return x.size > 0 and plain(x, *(a for a in others if a is not None))


def all_known(x: Array, own: tuple[Array | None, ...], sums: tuple[Array, ...] = ()) -> bool:
    """The same for CUDA kernels: `own` have the type of x, `sums` that in which x is summed."""
    total = summing_type(x)
    return (
        x.size > 0
        and known(x)
        and all(a is None or a.dtype == x.dtype for a in own)
        and all(a.dtype == total for a in sums)
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


@kernel(samples=batch_norm_samples, cost=forward_cost)
def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float, out: Any = None
) -> tuple[Array, Array, Array]:
    """(y, mean, variance): y = (x - mean) / sqrt(variance + eps) * weight + bias, per channel.

    The variance is the biased one. Mean and variance are float32 for float16. A variance too large
    for its type is infinite, and what is divided by its root 0: then y is the bias, and gradients
    of x and weight are 0.
    """
    y, mean, var = normalize(wide(x), _channel_axes(x), eps)
    if weight is not None:
        y *= _per_channel(weight, x)
    if bias is not None:
        y += _per_channel(bias, x)
    return deliver_all((y.astype(x.dtype, copy=False), mean.reshape(-1), var.reshape(-1)), out)


def batch_norm_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without a weight."""
    for x in images(rng):
        g = rng.normal(size=x.shape).astype(x.dtype)
        mean, var = statistics(x, _channel_axes(x))
        weight = rng.normal(size=(x.shape[1],)).astype(x.dtype)
        yield arguments(g, x, weight, mean, var, eps=1e-5)
        yield arguments(g, x, None, mean, var, eps=1e-5)


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
    dx = gradient_of_normalized(wide(g), x, mean, var, _channel_axes(x), eps)
    if weight is not None:
        dx *= _per_channel(weight, x)
    return deliver(dx.astype(x.dtype, copy=False), out)


def batch_norm_weight_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """As for the gradient of the input."""
    for x in images(rng):
        yield arguments(
            rng.normal(size=x.shape).astype(x.dtype), x, *statistics(x, _channel_axes(x)), eps=1e-5
        )


@kernel(samples=batch_norm_weight_gradient_samples, cost=weight_gradient_cost)
def batch_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Any = None
) -> Array:
    """The gradient of the weight: the sum of g x^ over each channel."""
    y = x - _per_channel(mean, x)
    y *= g
    dw: Array = y.sum(axis=_channel_axes(x)) * reciprocal_deviation(var, eps)
    return deliver(dw.astype(x.dtype, copy=False), out)


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
    db = wide(g).sum(axis=_channel_axes(x)).astype(x.dtype, copy=False)
    return deliver_all((dx, dw, db), out)


# Compiled, and in CUDA: each of them has the same name there


def _channels_fit(x: Array, *vectors: Array | None, **_: object) -> bool:
    shape = x.shape[1:2]
    return (
        x.ndim > 1
        and all(v is None or v.shape == shape for v in vectors)
        and all_plain(x, *vectors)
    )


def _channel_gradients_fit(g: Array, x: Array, *vectors: Array | None, **_: object) -> bool:
    return g.shape == x.shape and plain(g, x) and _channels_fit(x, *vectors)


def _cuda_channels(x: Array, *vectors: Array | None, **_: object) -> bool:
    return (
        x.ndim > 1
        and all(v is None or v.shape == x.shape[1:2] for v in vectors)
        and all_known(x, vectors)
    )


def _cuda_channel_gradients(g: Array, x: Array, *vectors: Array | None, **_: object) -> bool:
    *weight, mean, var = vectors
    if g.shape != x.shape or x.ndim < 2 or mean is None or var is None:
        return False
    shape = x.shape[1:2]
    return all(v is None or v.shape == shape for v in vectors) and all_known(
        x, (g, *weight), (mean, var)
    )


def _file(k: Kernel, accepts: Any, accepts_in_cuda: Any) -> None:
    k.on("numba", accepts=accepts, worth=large)(imported("cpu.norm", k.name))
    k.on("cuda", "cuda-on-cpu", accepts=accepts_in_cuda)(imported("cuda.norm", k.name))


_file(batch_norm, _channels_fit, _cuda_channels)
for _kernel in (batch_norm_input_gradient, batch_norm_weight_gradient, batch_norm_gradients):
    _file(_kernel, _channel_gradients_fit, _cuda_channel_gradients)
