"""Losses between numbers: squares and absolute values of differences, and divergences.

`reduction` says what becomes of the losses of the single elements: `"none"` leaves them, `"sum"`
adds them up, `"mean"` divides the sum by their number. The mean of nothing is NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad_kernels as kernels

from ..device import check_range, looks_later, readable
from ..recording import operands, record
from ..tensor import Tensor, TensorLike, together
from .activation import sigmoid, softplus
from .bounds import clip
from .elementwise import div, maximum, mul, sub, where
from .reduce import mean, real_numbers, sum as sum_
from .registry import ErrorSample, Sample, differentiable, fails, integers, real, sample, separated
from .unary import abs as abs_, exp, log

REDUCTIONS = ("none", "sum", "mean")


def check_reduction(reduction: str, name: str, known: tuple[str, ...] = REDUCTIONS) -> None:
    """Refuse an unknown reduction with a ValueError."""
    if reduction not in known:
        names = ", ".join(map(repr, known))
        raise ValueError(f"{name}: reduction is {reduction!r}, wants one of {names}")


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The losses of the single elements, or their sum or mean."""
    if reduction == "none":
        return losses
    return sum_(losses) if reduction == "sum" else mean(losses)


def _pair(input: TensorLike, target: TensorLike, name: str) -> tuple[Tensor, Tensor]:
    """Floating-point numbers and their targets, of one type and shape."""
    real_numbers(input, f"{name}: input")
    x, t = operands(input, target, name)
    if x.data.shape != t.data.shape:
        raise ValueError(f"{name}: input has shape {x.shape}, target {t.shape}")
    return x, t


def _probabilities(input: TensorLike, target: TensorLike, name: str) -> tuple[Tensor, Tensor]:
    """As `_pair`, for targets that must not be integers either."""
    real_numbers(target, f"{name}: target")
    return _pair(input, target, name)


def _weighted(losses: Tensor, weight: TensorLike | None, name: str) -> Tensor:
    """The losses times a weight that broadcasts to them."""
    if weight is None:
        return losses
    result = mul(losses, fitting(weight, losses, name, "weight"))
    return result if result.dtype == losses.dtype else result.to(losses.dtype)


def fitting(weight: TensorLike, like: Tensor, name: str, argument: str) -> Tensor:
    """A weight of the type of `like`.

    Raises:
        ValueError: if it does not broadcast to its shape.
    """
    _, w = together(name, like, weight)
    try:
        fits = np.broadcast_shapes(w.shape, like.shape) == like.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: {argument} of shape {w.shape} does not broadcast to {like.shape}"
        )
    return w if w.dtype == like.dtype else w.to(like.dtype)


def _samples(*inputs: Any, **options: Any) -> list[Sample]:
    """One sample for each reduction."""
    return [sample(*inputs, reduction=reduction, **options) for reduction in REDUCTIONS]


def _refused(name: str) -> list[ErrorSample]:
    return [
        fails(ValueError, rf"{name}: input has shape \(3,\), target \(3, 1\)", real(3), real(3, 1)),
        fails(ValueError, f"{name}: reduction is 'max'", real(3), real(3), reduction="max"),
        fails(TypeError, f"{name}: input.* got int64", integers(3, high=5), real(3)),
    ]


# Differences


@differentiable(
    [
        *_samples(real(3, 2), real(3, 2)),
        sample(real(), real()),
        sample(real(0, 2), real(0, 2), "sum"),
    ],
    kind="smooth",
    errors=_refused("mse_loss"),
)
def mse_loss(input: TensorLike, target: TensorLike, reduction: str = "mean") -> Tensor:
    """Squared error (x - t)**2. VJP of the mean over n elements: 2 / n * g * (x - t).

    Raises:
        TypeError: if the input does not hold floating-point numbers.
        ValueError: if the shapes differ, or for an unknown reduction.

    >>> mse_loss([1.0, 2.0], [1.0, 4.0])
    tensor(2.)
    """
    check_reduction(reduction, "mse_loss")
    x, t = _pair(input, target, "mse_loss")
    factor = 2.0 if reduction != "mean" else 2.0 / x.data.size if x.data.size else math.nan

    def rule_x(g: Any, x: Any, t: Any) -> Any:
        return (x - t) * (g * factor)

    def rule_t(g: Any, x: Any, t: Any) -> Any:
        return (t - x) * (g * factor)

    array = kernels.mse_loss(x.data, t.data, reduction=reduction)
    return record(mse_loss, array, (x, rule_x, (x, t)), (t, rule_t, (x, t)))


APART = (separated(3, 4), real(3, 4, low=0.0, high=0.01))
"""Inputs and targets whose differences are far from 0 and from 1 or -1."""


@differentiable(_samples(*APART), kind="piecewise", errors=_refused("l1_loss"))
def l1_loss(input: TensorLike, target: TensorLike, reduction: str = "mean") -> Tensor:
    """Absolute error |x - t|; where they are equal, the derivative is 0.

    Raises:
        TypeError: if the input does not hold floating-point numbers.
        ValueError: if the shapes differ, or for an unknown reduction.
    """
    check_reduction(reduction, "l1_loss")
    return reduced(abs_(sub(*_pair(input, target, "l1_loss"))), reduction)


@differentiable(
    [*_samples(*APART), sample(*APART, beta=0.0), sample(*APART, beta=9.0)],
    kind="piecewise",
    errors=[
        *_refused("smooth_l1_loss"),
        fails(ValueError, "beta is -1.0, wants a number not below 0", real(3), real(3), beta=-1.0),
    ],
)
def smooth_l1_loss(
    input: TensorLike, target: TensorLike, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """(x - t)**2 / (2 * beta) where |x - t| < beta, else |x - t| - beta / 2.

    Source: Girshick, Fast R-CNN, 2015.

    Raises:
        TypeError: if the input does not hold floating-point numbers.
        ValueError: if the shapes differ, beta is negative, or for an unknown reduction.
    """
    check_reduction(reduction, "smooth_l1_loss")
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta is {beta}, wants a number not below 0")
    d = sub(*_pair(input, target, "smooth_l1_loss"))
    return reduced(abs_(d) if beta == 0 else div(_bent(d, beta), beta), reduction)


@differentiable(
    [*_samples(*APART), sample(*APART, delta=9.0)],
    kind="piecewise",
    errors=[
        *_refused("huber_loss"),
        fails(ValueError, "delta is 0, wants a positive number", real(3), real(3), delta=0),
    ],
)
def huber_loss(
    input: TensorLike, target: TensorLike, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """(x - t)**2 / 2 where |x - t| < delta, else delta * (|x - t| - delta / 2).

    Source: Huber, Robust estimation of a location parameter, 1964.

    Raises:
        TypeError: if the input does not hold floating-point numbers.
        ValueError: if the shapes differ, delta is not positive, or for an unknown reduction.
    """
    check_reduction(reduction, "huber_loss")
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta}, wants a positive number")
    return reduced(_bent(sub(*_pair(input, target, "huber_loss")), delta), reduction)


def _bent(d: Tensor, delta: float) -> Tensor:
    """d**2 / 2 within [-delta, delta], continued by straight lines: nothing can overflow."""
    c = clip(d, -delta, delta)
    return mul(c, sub(d, mul(c, 0.5)))


# Divergences of probabilities

UNIT = real(3, 2, low=0.35, high=0.65)


def _check_inside(p: Any, name: str) -> None:
    """Refuse probabilities beyond [0, 1]: at once, or, on a GPU, later."""
    inside = (p >= 0) & (p <= 1)

    def refusal(low: int, _: int) -> ValueError | None:
        return None if low else ValueError(f"{name}: input wants numbers between 0 and 1")

    if looks_later(p):
        check_range(inside.view(np.uint8), refusal)
    elif readable(p) and not inside.all():
        wrong = p[~inside].reshape(-1)[0]
        raise ValueError(f"{name}: input wants numbers between 0 and 1, got {wrong}")


@differentiable(
    [
        *_samples(UNIT, UNIT),
        sample(UNIT, UNIT, real(2)),
        sample([0.0, 0.5, 1.0], real(3, low=0.3, high=0.7)),
    ],
    kind="smooth",
    errors=[
        *_refused("binary_cross_entropy"),
        fails(TypeError, "target.* got int64", UNIT, integers(3, 2, high=2)),
        fails(ValueError, "input wants numbers between 0 and 1, got 1.5", [0.5, 1.5], [0.0, 1.0]),
        fails(ValueError, r"weight of shape \(3,\) does not broadcast", UNIT, UNIT, real(3)),
    ],
)
def binary_cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t * log(p) + (1 - t) * log(1 - p)), the logarithms not below -100, of probabilities p.

    VJP, without reduction: g * (p - t) / max(p * (1 - p), 1e-12).

    Raises:
        TypeError: if input or target do not hold floating-point numbers.
        ValueError: if the shapes do not fit, the input leaves [0, 1], or for an unknown reduction;
            for the input on a GPU when something is read from there the next time.

    >>> binary_cross_entropy([0.5, 0.0], [1.0, 1.0], reduction="none")
    tensor([  0.6931, 100.    ])
    """
    name = "binary_cross_entropy"
    check_reduction(reduction, name)
    p, t = _probabilities(input, target, name)
    _check_inside(p.data, name)
    # The smallest number whose logarithm is not cut off, or that there is
    tiny = max(math.exp(-100), float(np.finfo(p.dtype).smallest_subnormal))

    def rule_p(g: Any, p: Any, t: Any) -> Any:
        return g * (p - t) / maximum(p * (1 - p), 1e-12)

    def rule_t(g: Any, p: Any) -> Any:
        return g * (log(maximum(1 - p, tiny)) - log(maximum(p, tiny)))

    array = kernels.binary_cross_entropy(p.data, t.data)
    losses = record(binary_cross_entropy, array, (p, rule_p, (p, t)), (t, rule_t, p))
    return reduced(_weighted(losses, weight, name), reduction)


@differentiable(
    [
        *_samples(real(3, 2), UNIT),
        sample(real(3, 2), UNIT, real(3, 1), pos_weight=real(2, low=0.5, high=3)),
        sample(real(3, 2, low=-9, high=9), UNIT, reduction="sum", pos_weight=real(2)),
    ],
    kind="smooth",
    errors=[
        *_refused("binary_cross_entropy_with_logits"),
        fails(TypeError, "target.* got int64", UNIT, integers(3, 2, high=2)),
        fails(ValueError, r"weight of shape \(3,\) does not broadcast", UNIT, UNIT, real(3)),
        fails(ValueError, "pos_weight of shape .* not broad", UNIT, UNIT, pos_weight=real(3)),
    ],
)
def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """Binary cross-entropy of sigmoid(x): pos_weight * t * softplus(-x) + (1 - t) * softplus(x).

    Exact for scores of any size, where the sigmoid itself would round to 0 or 1.

    Raises:
        TypeError: if input or target do not hold floating-point numbers.
        ValueError: if the shapes do not fit, or for an unknown reduction.

    >>> binary_cross_entropy_with_logits([0.0, -1e4], [1.0, 1.0], reduction="none")
    tensor([6.9315e-01, 1.0000e+04])
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(reduction, name)
    x, t = _probabilities(input, target, name)
    operation = binary_cross_entropy_with_logits
    if pos_weight is None:
        array = kernels.binary_cross_entropy_with_logits(x.data, t.data, None)
        losses = record(operation, array, (x, _logit_rule, (x, t)), (t, _target_rule, x))
    else:
        w = fitting(pos_weight, x, name, "pos_weight")
        array = kernels.binary_cross_entropy_with_logits(x.data, t.data, w.data)
        losses = record(
            operation,
            array,
            (x, _logit_rule, (x, t, w)),
            (t, _target_rule, (x, w)),
            (w, lambda g, x, t: g * t * _softplus(-x), (x, t)),
        )
    return reduced(_weighted(losses, weight, name), reduction)


def _softplus(x: Any) -> Tensor:
    """softplus without its threshold, which would round."""
    return softplus(x, threshold=math.inf)


def _logit_rule(g: Any, x: Any, t: Any, w: Any = 1.0) -> Any:
    return g * ((1 - t) * sigmoid(x) - w * t * sigmoid(-x))


def _target_rule(g: Any, x: Any, w: Any = 1.0) -> Any:
    return g * (w * _softplus(-x) - _softplus(x))


@differentiable(
    [
        *_samples(real(3, 2), UNIT),
        sample(real(3, 2), UNIT, "batchmean"),
        sample(real(3, 2), real(3, 2), "sum", log_target=True),
        sample(real(), real(low=0.2, high=1)),
    ],
    kind="smooth",
    errors=[
        *_refused("kl_div"),
        fails(TypeError, "target.* got int64", UNIT, integers(3, 2, high=2)),
    ],
)
def kl_div(
    input: TensorLike, target: TensorLike, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """t * (log(t) - x), and 0 for t = 0: the Kullback-Leibler divergence, x being a logarithm.

    Args:
        input: logarithms of probabilities.
        target: probabilities; with `log_target` their logarithms.
        reduction: also `"batchmean"`: the sum divided by the first length, so per sample.
        log_target: how the target is given.

    Raises:
        TypeError: if input or target do not hold floating-point numbers.
        ValueError: if the shapes differ, or for an unknown reduction.
    """
    check_reduction(reduction, "kl_div", (*REDUCTIONS, "batchmean"))
    x, t = _probabilities(input, target, "kl_div")
    if log_target:
        losses = mul(exp(t), sub(t, x))
    else:
        losses = mul(t, sub(log(where(t == 0, 1.0, t)), x))
    if reduction == "batchmean" and x.ndim and x.data.shape[0]:  # of no samples NaN, as the mean
        return div(sum_(losses), float(x.data.shape[0]))
    return reduced(losses, "mean" if reduction == "batchmean" else reduction)
