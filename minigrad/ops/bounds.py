"""Keeping numbers between bounds, and on the way from one to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..recording import operands, record
from ..tensor import Tensor, TensorLike, as_tensor
from .elementwise import combine, misfit, where
from .registry import differentiable, fails, integers, real, sample, separated


@differentiable(
    [
        sample(separated(3, 4), -1.05, 0.95),
        sample(separated(3, 4), min=0.55),
        sample(separated(2, 3), max=-0.2),
        sample(separated(2, 3), real(3, low=-0.9, high=-0.8), real(2, 1, low=0.4, high=0.5)),
        sample(separated(3, 4), separated(4, low=-1.9, high=-0.1), separated(4, low=0.1, high=1.9)),
        sample(separated(3), 1, -1),
        sample(integers(4, high=9), 2, 5),
    ],
    kind="piecewise",
    errors=[
        fails(ValueError, "clip: needs min, max or both", real(3)),
        fails(ValueError, r"clip: shapes \(2,\) and \(3,\)", real(2), real(3)),
    ],
)
def clip(x: TensorLike, min: Any = None, max: Any = None) -> Tensor:
    """`x` between two bounds, elementwise, with broadcasting; `max` where the bounds are crossed.

    Args:
        x: any tensor.
        min: the lower bound, a number or tensor; None is none.
        max: the upper bound, a number or tensor; None is none.

    VJP: g to x where it lies between the bounds or on one; to the bound that took its place
    elsewhere. NaN stays NaN, and gets none.

    Raises:
        ValueError: if there is neither bound, or the shapes do not broadcast.

    >>> clip([-2.0, 0.5, 2.0], -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    if min is None and max is None:
        raise ValueError("clip: needs min, max or both")
    x = as_tensor(x)
    if min is not None:
        x = _raised(x, min)
    return x if max is None else _lowered(x, max)


clamp = clip  # PyTorch's other name for it


def _raised(x: TensorLike, low: TensorLike) -> Tensor:
    x, low = operands(x, low, "clip")
    y = combine(np.maximum, "clip", x, low)
    return record(
        clip,
        y,
        (x, lambda g, x, low: where(x >= low, g, 0), (x, low)),
        (low, lambda g, x, low: where(x < low, g, 0), (x, low)),
    )


def _lowered(x: TensorLike, high: TensorLike) -> Tensor:
    x, high = operands(x, high, "clip")
    y = combine(np.minimum, "clip", x, high)
    return record(
        clip,
        y,
        (x, lambda g, x, high: where(x <= high, g, 0), (x, high)),
        (high, lambda g, x, high: where(x > high, g, 0), (x, high)),
    )


@differentiable(
    [
        sample(real(3, 4), real(3, 4), real(3, 4, low=0.0, high=0.4)),
        sample(real(3, 4), real(4), 0.7),
        sample(real(), real(2), real(2, low=0.6, high=1.4)),
    ],
    kind="smooth",
    errors=[fails(ValueError, r"lerp: shapes .* do not broadcast", real(2), real(3), 0.5)],
)
def lerp(start: TensorLike, end: TensorLike, weight: TensorLike) -> Tensor:
    """start + weight * (end - start), elementwise, with broadcasting; precise at both ends.

    VJP: g * (1 - weight) to start, g * weight to end, g * (end - start) to weight.

    >>> lerp([0.0, 10.0], [1.0, 20.0], 0.25)
    tensor([ 0.25, 12.5 ])
    """
    start, end = operands(start, end, "lerp")
    start, weight = operands(start, weight, "lerp")
    start, end = operands(start, end, "lerp")
    way = combine(lambda a, b: b - a, "lerp", start, end)
    try:
        first = start.data + weight.data * way
        second = end.data - (1 - weight.data) * way
    except ValueError:
        misfit("lerp", start, end, weight)
    y = np.where(np.abs(weight.data) < 0.5, first, second)
    return record(
        lerp,
        y,
        (start, lambda g, w: g * (1 - w), weight),
        (end, lambda g, w: g * w, weight),
        (weight, lambda g, a, b: g * (b - a), (start, end)),
    )
