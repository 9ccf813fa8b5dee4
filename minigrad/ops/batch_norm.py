"""Batch normalisation. How it is closed under differentiation is told in `layer_norm.py`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad_kernels as kernels

from ..inplace import is_writable, write
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, together, wrap
from .elementwise import add, mul, sub
from .layer_norm import (
    Together,
    check_eps,
    check_same_shape,
    checked,
    curvature,
    data_of,
    statistics_of,
)
from .reduce import sum as sum_of
from .registry import differentiable, fails, positive, real, sample
from .shape import reshape


def _channel_axes(x: Any) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _per_channel(v: Any, x: Any) -> Tensor:
    """A vector of C numbers, shaped to broadcast with x."""
    return reshape(v, (-1, *(1,) * (x.ndim - 2)))


def _check_batch(name: str, x: Tensor) -> None:
    if x.ndim < 2:
        raise ValueError(f"{name}: wants an input of shape (N, C, ...), got {x.shape}")


@differentiable(
    [
        sample(real(3, 2, 2), real(3, 2, 2), positive(2)),
        sample(real(4, 3), real(4, 3)),
        sample(real(2, 2, 1, 2), real(2, 2, 1, 2), real(2), eps=0.1),
    ],
    kind="smooth",
    errors=[
        fails(ValueError, "g has shape", real(3, 2), real(2, 2)),
        fails(ValueError, "wants an input of shape", real(3), real(3)),
    ],
)
def batch_norm_input_gradient(
    g: TensorLike,
    x: TensorLike,
    weight: TensorLike | None = None,
    eps: float = 1e-5,
    statistics: tuple[Any, Any] | None = None,
) -> Tensor:
    """The gradient of the input of `batch_norm` in training, for a gradient g of its output.

    weight (g - mean(g) - x^ mean(g x^)) / s, means over each channel, s its standard deviation.

    Args:
        g: (N, C, ...).
        x: the input of the same shape.
        weight: (C,), or None for ones.
        eps: as in `batch_norm`.
        statistics: the mean and variance of each channel of x, if they are known.

    Raises:
        ValueError: if the shapes do not fit; TypeError: if the types do not.
    """
    g, x = together("batch_norm_input_gradient", g, x)
    _check_batch("batch_norm_input_gradient", x)
    check_same_shape("batch_norm_input_gradient", g, x)
    (w,) = checked("batch_norm_input_gradient", x, x.shape[1:2], weight=weight)
    axes = _channel_axes(x)
    m, v = statistics_of(x, kernels.batch_norm, statistics)
    dx = kernels.batch_norm_input_gradient(g.data, x.data, data_of(w), m.data, v.data, eps=eps)

    def by_g(h: Any, x: Any, m: Any, v: Any, w: Any = None) -> Tensor:
        return batch_norm_input_gradient(h, x, w, eps, (m, v))

    def by_x(h: Any, g: Any, x: Any, w: Any = None) -> Tensor:
        return curvature(h, g if w is None else g * _per_channel(w, g), x, axes, eps)

    def by_weight(h: Any, g: Any, x: Any, m: Any, v: Any) -> Tensor:
        return sum_of(g * batch_norm_input_gradient(h, x, None, eps, (m, v)), axes)

    known = () if w is None else (w,)
    edges: list[Any] = [(g, by_g, (x, m, v, *known)), (x, by_x, (g, x, *known))]
    if w is not None:
        edges.append((w, by_weight, (g, x, m, v)))
    return record(batch_norm_input_gradient, dx, *edges)


@differentiable(
    [sample(real(3, 2, 2), real(3, 2, 2)), sample(real(4, 3), real(4, 3), eps=0.1)],
    kind="smooth",
    errors=[fails(ValueError, "g has shape", real(3, 2), real(2, 2))],
)
def batch_norm_weight_gradient(
    g: TensorLike,
    x: TensorLike,
    eps: float = 1e-5,
    statistics: tuple[Any, Any] | None = None,
) -> Tensor:
    """The gradient of the weight of `batch_norm` in training: the sum of g x^ over each channel.

    Arguments and errors as `batch_norm_input_gradient`'s. Returns shape (C,).
    """
    g, x = together("batch_norm_weight_gradient", g, x)
    _check_batch("batch_norm_weight_gradient", x)
    check_same_shape("batch_norm_weight_gradient", g, x)
    checked("batch_norm_weight_gradient", x, ())
    m, v = statistics_of(x, kernels.batch_norm, statistics)
    dw = kernels.batch_norm_weight_gradient(g.data, x.data, m.data, v.data, eps=eps)

    def by_g(h: Any, x: Any) -> Tensor:
        return batch_norm(x, None, None, h, None, True, eps=eps)

    def by_x(h: Any, g: Any, x: Any, m: Any, v: Any) -> Tensor:
        return batch_norm_input_gradient(g, x, h, eps, (m, v))

    return record(batch_norm_weight_gradient, dw, (g, by_g, x), (x, by_x, (g, x, m, v)))


def _trained(x: Tensor, w: Any, b: Any, eps: float) -> tuple[Tensor, Any, Any]:
    """The result of batch norm by the statistics of x itself, and they."""
    y, mean, var = kernels.batch_norm(x.data, data_of(w), data_of(b), eps=eps)
    m, v = wrap(mean), wrap(var)
    axes = _channel_axes(x)
    joint = Together(kernels.batch_norm_gradients, eps)

    def by_x(g: Any, x: Any, m: Any, v: Any, w: Any = None) -> Any:
        if g.__class__ is not Tensor:
            return joint.input(g, x, m, v, w)
        return batch_norm_input_gradient(g, x, w, eps, (m, v))

    def by_weight(g: Any, x: Any, m: Any, v: Any) -> Any:
        found = joint.found("weight", g)
        return batch_norm_weight_gradient(g, x, eps, (m, v)) if found is None else found

    def by_bias(g: Any) -> Any:
        found = joint.found("bias", g)
        return sum_of(g, axes) if found is None else found

    edges: list[Any] = [(x, by_x, (x, m, v) if w is None else (x, m, v, w))]
    if w is not None:
        edges.append((w, by_weight, (x, m, v)))
    if b is not None:
        edges.append((b, by_bias, None))
    return record(batch_norm, y, *edges), mean, var


def _evaluated(x: Tensor, m: Tensor, v: Tensor, w: Any, b: Any, eps: float) -> Tensor:
    """The result of batch norm by given statistics: a scale and a shift for each channel."""
    with np.errstate(divide="ignore"):
        scale = wrap((1 / (v.data + eps) ** 0.5).astype(x.dtype, copy=False))
    scale = scale if w is None else mul(w, scale)
    mean = wrap(m.data.astype(x.dtype))  # a copy: training may go on before backward
    shift = -(scale * mean) if b is None else sub(b, scale * mean)
    return add(mul(x, _per_channel(scale, x)), _per_channel(shift, x))


RUNNING = (np.array([0.1, -0.2]), np.array([0.5, 2.0]))


@differentiable(
    [
        sample(real(3, 2, 2), None, None, real(2), real(2), True),
        sample(real(4, 3), None, None, None, None, True, eps=0.1),
        sample(real(2, 2, 1, 2), None, None, real(2), None, True),
        sample(real(2, 2, 1, 2), *RUNNING, real(2), real(2)),
        sample(real(3, 2), *RUNNING),
    ],
    kind="smooth",
    errors=[
        fails(ValueError, "wants an input of shape", real(3), None, None, training=True),
        fails(TypeError, "floating-point", [[1, 2], [3, 4]], None, None, training=True),
        fails(ValueError, "more than 1 value", real(1, 3), None, None, training=True),
        fails(ValueError, "more than 1 value", real(0, 3), None, None, training=True),
        fails(ValueError, "weight has shape", real(4, 3), None, None, real(2), training=True),
        fails(ValueError, "bias has shape", real(4, 3), None, None, None, real(4), training=True),
        fails(ValueError, "running_mean has shape", real(4, 3), *RUNNING),
        fails(ValueError, "running_mean and running_var", real(4, 2), None, None),
        fails(
            ValueError, "running_mean and running_var", real(4, 2), RUNNING[0], None, training=True
        ),
        fails(ValueError, "eps", real(4, 2), *RUNNING, eps=-1.0),
        fails(ValueError, "momentum", real(4, 2), *RUNNING, training=True, momentum=math.nan),
    ],
)
def batch_norm(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, per channel of an input (N, C, ...).

    In training, mean and (biased) variance are those of the channel over the batch and all
    positions, and the running ones move towards them, in place: running = (1 - momentum) running +
    momentum new, with the unbiased variance. Otherwise the running ones are used. (Ioffe and
    Szegedy, "Batch normalization", ICML 2015.)

    Args:
        input: (N, C, ...), floating-point.
        running_mean: (C,), or None in training if none is wanted.
        running_var: likewise.
        weight: (C,), or None for ones.
        bias: (C,), or None for zeros.
        training: whether the input's own statistics are used.
        momentum: how far the running statistics move, in [0, 1].
        eps: added to the variance.

    Raises:
        ValueError: if shapes do not fit, the running statistics are missing, a channel has fewer
            than two values in training, or eps or momentum is out of range.
        TypeError: if the types do not fit. Nothing is changed then.
    """
    x = as_tensor(input)
    _check_batch("batch_norm", x)
    m, v, w, b = checked(
        "batch_norm",
        x,
        x.shape[1:2],
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    check_eps("batch_norm", eps)
    if (m is None) != (v is None) or (m is None and not training):
        raise ValueError("batch_norm: running_mean and running_var are wanted, both of them")
    if not training:
        return _evaluated(x, m, v, w, b, eps)
    n = x.data.size // max(x.shape[1], 1)
    if n < 2:
        raise ValueError(
            f"batch_norm: training wants more than 1 value per channel, got {n} in shape {x.shape}"
        )
    if not (isinstance(momentum, (int, float)) and 0 <= momentum <= 1):
        raise ValueError(f"batch_norm: momentum must lie in [0, 1], got {momentum}")
    for what, r in (("running_mean", m), ("running_var", v)):
        if r is not None and not (r.is_floating_point() and is_writable(r)):
            raise ValueError(f"batch_norm: {what} is not a floating-point tensor that can change")
    y, mean, var = _trained(x, w, b, eps)
    if m is not None:
        write(m, (1 - momentum) * m.data + momentum * mean, "batch_norm")
        write(v, (1 - momentum) * v.data + momentum * (n / (n - 1)) * var, "batch_norm")
    return y
