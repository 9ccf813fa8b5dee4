"""Losses of classification: how improbable the scores make the right class.

Scores are (N, C), of N samples and C classes; (C,) of a single one; or (N, C, d1, ...), of d1 * ...
places in each. Targets are class numbers, of the same shape without C, or, for `cross_entropy`,
probabilities of the same shape.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad_kernels as kernels

from ..device import check_later, looks_later, readable
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, together, wrap
from .elementwise import mul, where
from .loss import check_reduction, reduced
from .pick import gather
from .reduce import real_numbers, sum as sum_, total
from .registry import ErrorSample, differentiable, fails, integers, real, sample
from .shape import movedim, squeeze, unsqueeze
from .softmax import log_softmax, softmax

# What is given


def _classes_last(x: Tensor) -> Tensor:
    """Scores with the classes along the last dimension: (..., C)."""
    return movedim(x, 1, -1) if x.data.ndim > 2 else x


def _class_weight(weight: TensorLike | None, scores: Tensor, name: str) -> Any:
    """The array of the weights of the classes.

    Raises:
        ValueError: if there is not one for each, or they require a gradient.
    """
    if weight is None:
        return None
    w, C = together(name, scores, weight)[1], scores.data.shape[-1]
    if w.shape != (C,):
        raise ValueError(f"{name}: weight wants shape ({C},), one for each class, got {w.shape}")
    if w.requires_grad:
        raise ValueError(f"{name}: weight must not require a gradient; pass weight.detach()")
    return w.data.astype(scores.dtype, copy=False)


def _class_numbers(
    target: Tensor, scores: Tensor, ignore_index: int, name: str, later: bool = False
) -> tuple[Any, bool]:
    """The array of the targets, negative where they are to be skipped; and whether that may be
    anywhere. `later`: those on a GPU are checked when something is read from there.

    Raises:
        TypeError: if they are no integers, or elsewhere; ValueError: if there is not one for each
            sample; IndexError: if there is no such class.
    """
    t = target.data
    *places, C = scores.data.shape
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name}: target wants class numbers of an integer type, got {t.dtype}")
    if t.shape != tuple(places):
        raise ValueError(
            f"{name}: target has shape {t.shape}, wants {tuple(places)}, a class number for each "
            f"sample"
        )
    t = t.astype("int64", copy=False)
    if later and t.__class__ is not np.ndarray and ignore_index < 0 and t.size and looks_later(t):
        check_later(t, ignore_index, lambda low, high: _refusal(name, low, high, C))
        return t, True
    looked_at = readable(t)
    if looked_at and not 0 <= ignore_index < C and _all_below(t, C):
        return t, False
    wrong = (t < 0) | (t >= C)
    skipped = t == ignore_index
    wrong &= ~skipped
    xp = kernels.array_module(t)
    if not looked_at:
        return xp.where(skipped, -1, xp.where(wrong, C, t)), True  # of class C the loss is NaN
    if wrong.any():
        raise IndexError(f"{name}: target holds class {t[wrong][0]}, there are {C} classes")
    return xp.where(skipped, -1, t), True


def _refusal(name: str, low: int, high: int, C: int) -> IndexError | None:
    """The error for class numbers from `low` to `high`, if it is one."""
    if low >= 0 and high < C:
        return None
    wrong = low if low < 0 else high
    return IndexError(f"{name}: target holds class {wrong}, there are {C} classes")


def _all_below(t: Any, C: int) -> bool:
    """Whether all are classes: read as unsigned, negative numbers are large."""
    return not t.size or int(t.view("uint64").max()) < C


def _shares(t: Any, gaps: bool, w: Any, scores: Any, reduction: str) -> tuple[Any, Any]:
    """What each sample counts with and without the weight of its class; 0 for those skipped.

    For a mean both are divided by the sum of the former: if all are skipped, 0 / 0, NaN.
    """
    xp, dtype = kernels.array_module(t), scores.dtype
    if w is None and t.size and not gaps:  # all the same
        share = xp.full(t.shape, 1 / t.size if reduction == "mean" else 1, dtype)
        return share, share
    if w is None and t.size and reduction == "mean" and xp is not np:  # in one launch
        share = kernels.class_shares(t, scores)
        return share, share
    plain = xp.asarray(t >= 0, dtype)
    scale = plain if w is None else plain * w[xp.maximum(t, 0)]
    if reduction != "mean":
        return scale, plain
    n = scale.sum(dtype=np.result_type(dtype, np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (scale / n).astype(dtype, copy=False), (plain / n).astype(dtype, copy=False)


def _summed(losses: Tensor, reduction: str) -> Tensor:
    """The losses, or their sum; for a mean they were divided before. That of nothing is NaN."""
    if reduction == "none":
        return losses
    y = sum_(losses)
    return y if reduction == "sum" or losses.data.size else mul(y, math.nan)


# Losses


WEIGHTS = (0.5, 1.0, 2.0, 0.3)


def _refused(name: str) -> list[ErrorSample]:
    x, t = real(3, 4), integers(3, high=4)
    return [
        fails(IndexError, f"{name}: target holds class 4, there are 4 classes", x, [0, 4, 1]),
        fails(IndexError, f"{name}: target holds class -1", x, [0, -1, 1]),
        fails(ValueError, rf"{name}: target has shape \(2,\), wants \(3,\)", x, [0, 1]),
        fails(TypeError, f"{name}: target .* got float", x, real(3)),
        fails(TypeError, f"{name}: input.* got int64", integers(3, 4, high=4), t),
        fails(ValueError, f"{name}: input wants at least one dimension", real(), integers(high=4)),
        fails(ValueError, rf"{name}: weight wants shape \(4,\)", x, t, real(3)),
        fails(ValueError, f"{name}: reduction is 'max'", x, t, reduction="max"),
    ]


def _scores(input: TensorLike, reduction: str, name: str) -> Tensor:
    """The scores, with the classes last."""
    check_reduction(reduction, name)
    x = real_numbers(input, f"{name}: input")
    if not x.data.ndim:
        raise ValueError(f"{name}: input wants at least one dimension, the classes")
    return _classes_last(x)


@differentiable(
    [
        sample(real(3, 4), integers(3, high=4)),
        sample(real(3, 4), integers(3, high=4), WEIGHTS, reduction="sum"),
        sample(real(3, 4), integers(3, low=-1, high=4), WEIGHTS, ignore_index=-1),
        sample(real(2, 3, 2), integers(2, 2, high=3), reduction="none", ignore_index=1),
        sample(real(3), integers(high=3)),
    ],
    kind="linear",
    errors=_refused("nll_loss"),
)
def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Minus the logarithm of the probability of the right class, times the weight of the class.

    Args:
        input: logarithms of probabilities (N, C), (C,) or (N, C, d1, ...).
        target: class numbers (N,), () or (N, d1, ...).
        weight: of each class (C,); a constant.
        ignore_index: targets of this value are skipped.
        reduction: `"none"`, `"sum"`, or `"mean"`: the sum divided by the sum of the weights.

    Raises:
        TypeError: if the input does not hold floating-point numbers, or the target not integers.
        ValueError: if the shapes do not fit, or for an unknown reduction.
        IndexError: if there is no such class.
    """
    x = _scores(input, reduction, "nll_loss")
    w = _class_weight(weight, x, "nll_loss")
    t, gaps = _class_numbers(together("nll_loss", x, target)[1], x, ignore_index, "nll_loss")
    scale, _ = _shares(t, gaps, w, x.data, reduction)
    return _summed(mul(_picked(x, t), as_tensor(-scale)), reduction)


def _picked(x: Tensor, t: Any) -> Tensor:
    """The entry of (..., C) that belongs to each target; 0 where it is skipped."""
    if not x.data.size:
        return sum_(x, -1)  # of nothing: zeros (...)
    index = kernels.array_module(t).maximum(t, 0)[..., None]
    picked = squeeze(gather(x, -1, wrap(index)), -1)
    return where(as_tensor(t < 0), 0.0, picked)


@differentiable(
    [
        sample(real(3, 4), integers(3, high=4)),
        sample(real(3, 4), integers(3, high=4), WEIGHTS),
        sample(real(3, 4), integers(3, low=-1, high=4), WEIGHTS, ignore_index=-1),
        sample(real(3, 4), integers(3, high=4), WEIGHTS, reduction="sum"),
        sample(real(2, 3, 2), integers(2, 2, high=3), reduction="none", ignore_index=1),
        sample(real(3), integers(high=3)),
        sample(real(0, 3), integers(0, high=3), reduction="sum"),
        sample(real(3, 4), integers(3, low=-1, high=4), label_smoothing=0.3, ignore_index=-1),
        sample(real(3, 4), integers(3, high=4), WEIGHTS, label_smoothing=0.3),
        sample(real(3, 4), real(3, 4, low=0, high=1)),
        sample(real(2, 3, 2), real(2, 3, 2), WEIGHTS[:3], label_smoothing=0.3, reduction="sum"),
    ],
    kind="smooth",
    errors=[
        *_refused("cross_entropy"),
        fails(
            ValueError,
            "label_smoothing is 1.5, wants a number between 0 and 1",
            real(3, 4),
            integers(3, high=4),
            label_smoothing=1.5,
        ),
        fails(ValueError, "ignore_index .* prob", real(3, 4), real(3, 4), ignore_index=1),
    ],
)
def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum(q * log_softmax(x)) over the classes, q the target's probabilities.

    For class numbers q is 1 for the class. VJP, without reduction: g * (softmax(x) - q).

    Args:
        input: scores (N, C), (C,) or (N, C, d1, ...).
        target: class numbers (N,), () or (N, d1, ...), or probabilities of the input's shape.
        weight: of each class (C,); a constant.
        ignore_index: class numbers of this value are skipped.
        reduction: `"none"`, `"sum"`, or `"mean"`: the sum divided by the sum of the weights of the
            targets' classes; for probabilities by the number of samples and places.
        label_smoothing: the share of each target that is spread evenly over all classes.

    Raises:
        TypeError: if the input does not hold floating-point numbers, or the target is neither.
        ValueError: if the shapes do not fit, for an unknown reduction, or a wrong label_smoothing.
        IndexError: if there is no such class; on a GPU when something is read from there the next
            time, such as the loss (unless there is label_smoothing, or an ignore_index of 0 or
            more). To look at once would be to wait for it.

    >>> cross_entropy([[1e4, -1e4], [0.0, 0.0]], [1, 0], reduction="none")
    tensor([2.0000e+04, 6.9315e-01])
    """
    name = "cross_entropy"
    x = _scores(input, reduction, name)
    smoothing = label_smoothing
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing is {smoothing}, wants a number between 0 and 1")
    t = together(name, x, target)[1]
    w = _class_weight(weight, x, name)
    if t.dtype.kind == "f" and t.data.ndim == x.data.ndim:
        if ignore_index >= 0:
            raise ValueError(f"{name}: ignore_index is not for targets that are probabilities")
        return reduced(_of_probabilities(x, _classes_last(t), w, smoothing), reduction)
    numbers, gaps = _class_numbers(t, x, ignore_index, name, later=not smoothing)
    scale, plain = _shares(numbers, gaps, w, x.data, reduction)
    if smoothing:
        return _summed(_smoothed(x, numbers, w, scale, plain, smoothing), reduction)
    return _of_classes(x, numbers, scale, reduction)


def _of_classes(x: Tensor, t: Any, scale: Any, reduction: str) -> Tensor:
    """The cross-entropy of class numbers, in one operation."""
    losses, top, log_total = kernels.cross_entropy(x.data, t, scale)
    y = losses if reduction == "none" else total(losses, tuple(range(losses.ndim)), False)
    if reduction == "mean" and not losses.size:
        y = y * math.nan
    asarray = kernels.array_module(t).asarray
    kept = (wrap(asarray(array)) for array in (t, scale, top, log_total))
    return record(cross_entropy, y, (x, _classes_rule, (x, *kept)))


def _classes_rule(g: Any, x: Any, t: Any, scale: Any, top: Any, log_total: Any) -> Any:
    """(softmax(x) - onehot(t)) * g * scale."""
    if g.__class__ is not Tensor:
        return kernels.cross_entropy_gradient(g, x, t, scale, top, log_total)
    skipped = t.data < 0
    share = unsqueeze(g * where(as_tensor(skipped), 0.0, scale), -1)
    classes = kernels.array_module(t.data).arange(x.shape[-1])
    difference = softmax(x, -1) - wrap(classes == t.data[..., None])
    return where(wrap(skipped[..., None]), 0.0, difference * share)


def _smoothed(x: Tensor, t: Any, w: Any, scale: Any, plain: Any, smoothing: float) -> Tensor:
    """The cross-entropy with the share `smoothing` of each class number spread over all classes."""
    y = log_softmax(x, -1)
    everywhere = sum_(y if w is None else mul(y, wrap(w)), -1)
    even = where(as_tensor(t < 0), 0.0, everywhere) * as_tensor(plain * (smoothing / x.shape[-1]))
    return -(_picked(y, t) * as_tensor(scale * (1 - smoothing)) + even)


def _of_probabilities(x: Tensor, q: Tensor, w: Any, smoothing: float) -> Tensor:
    """The cross-entropy of each sample, for targets that are probabilities."""
    if q.shape != x.shape:
        raise ValueError(
            f"cross_entropy: target of probabilities has shape {q.shape}, wants the input's shape "
            f"{x.shape} (both with the classes last)"
        )
    if smoothing:
        q = q * (1 - smoothing) + smoothing / x.shape[-1]
    if w is not None:
        q = mul(q, wrap(w))
    return -sum_(mul(q, log_softmax(x, -1)), -1)
