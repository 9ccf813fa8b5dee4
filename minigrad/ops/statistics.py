"""Variance, norms and the logarithm of a sum of exponentials, along some dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module

from .. import dtypes
from ..graph import OUTPUT
from ..recording import record
from ..tensor import Tensor, TensorLike
from .cast import floating
from .elementwise import vanishing, where
from .extrema import amax, amin
from .reduce import NOT_REAL, WRONG_DIMS, axes_for, length, mean, real_numbers, spread, sum, total
from .registry import differentiable, fails, integers, real, sample, separated
from .unary import abs, exp, sign

SPREADS = [
    sample(real(2, 3, 4)),
    sample(real(2, 3, 4), -2),
    sample(real(2, 3, 4), (0, 2), keepdim=True),
    sample(real(3, 4), 0, correction=0),
    sample(real(5), correction=2.5, keepdim=True),
]
NO_CORRECTION = [
    fails(ValueError, "correction must be a finite number", real(3), correction=np.nan),
    fails(TypeError, "dim is False; for `unbiased` give correction", real(3), False),
]


def _finite_correction(correction: Any, name: str) -> float:
    if not (isinstance(correction, (int, float)) and math.isfinite(correction)):
        raise ValueError(f"{name}: correction must be a finite number, got {correction!r}")
    return correction


def _dims_of_spread(dim: Any, ndim: int, name: str) -> tuple[int, ...]:
    if isinstance(dim, bool):
        raise TypeError(f"{name}: dim is {dim!r}; for `unbiased` give correction=0 or 1")
    return axes_for(dim, ndim, name)


def _wide(array: Any) -> Any:
    """Numbers whose squares neither overflow nor vanish when those of float16 would."""
    return array.astype(dtypes.float32) if array.dtype == dtypes.float16 else array


def _variance(
    array: Any, axes: tuple[int, ...], correction: float, keepdim: bool
) -> tuple[Any, float]:
    """The variance, of float16 in float32, and one over the degrees of freedom: infinite where
    there are none."""
    n = length(array.shape, axes)
    scale = 1 / (n - correction) if n > correction else math.inf
    wide = _wide(array)
    centered = wide - total(wide, axes, True) / max(n, 1)
    with np.errstate(invalid="ignore"):  # 0 * inf: the variance of one number is NaN
        return total(centered * centered, axes, keepdim) * scale, scale


@differentiable(SPREADS, kind="smooth", errors=[*WRONG_DIMS, NOT_REAL, *NO_CORRECTION])
def var(x: TensorLike, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """The variance over the dimensions: sum((x - mean(x))**2) / (n - correction).

    VJP: g * 2 * (x - mean(x)) / (n - correction). NaN or infinite unless n > correction.

    Raises:
        TypeError: for integers.
        IndexError: for a dimension that does not exist; ValueError: for one named twice, or a
            correction that is not finite.

    >>> var([1.0, 2.0, 3.0])
    tensor(1.)
    """
    x = real_numbers(x, "var")
    axes = _dims_of_spread(dim, x.ndim, "var")
    y, scale = _variance(x.data, axes, _finite_correction(correction, "var"), keepdim)

    def rule(g: Any, x: Any) -> Any:
        return spread(g, x.shape, axes) * ((x - mean(x, axes, True)) * (2 * scale))

    return record(var, y.astype(x.dtype, copy=False), (x, rule, x))


@differentiable(SPREADS, kind="smooth", errors=[*WRONG_DIMS, NOT_REAL, *NO_CORRECTION])
def std(x: TensorLike, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """The standard deviation over the dimensions, the square root y of the variance.

    VJP: g * (x - mean(x)) / (n - correction) / y, and 0 where y is 0.

    Raises:
        TypeError: for integers.
        IndexError: for a dimension that does not exist; ValueError: for one named twice, or a
            correction that is not finite.
    """
    x = real_numbers(x, "std")
    axes = _dims_of_spread(dim, x.ndim, "std")
    y, scale = _variance(x.data, axes, _finite_correction(correction, "std"), keepdim)

    def rule(g: Any, x: Any, y: Any) -> Any:
        return spread(_by_norm(g, y), x.shape, axes) * ((x - mean(x, axes, True)) * scale)

    y = array_module(y).sqrt(y).astype(x.dtype, copy=False)
    return record(std, y, (x, rule, (x, OUTPUT)))


def _nonzero(y: Any) -> Tensor:
    """`y` with 1 in place of 0, where its powers may have a pole."""
    return where(y == 0, 1, y)


def _by_norm(g: Any, y: Any) -> Tensor:
    """g / y, and 0 where y is 0."""
    return where(y == 0, 0, g / _nonzero(y))


# Norms


@differentiable(
    [
        sample(separated(2, 3, 2)),
        sample(separated(2, 3, 2), 2, 1),
        sample(separated(3, 4), 1, -1),
        sample(separated(3, 4), 3.0, 0, keepdim=True),
        sample(separated(2, 3), 0.5),
        sample(separated(2, 3), -1.5),
        sample(separated(2, 3), math.inf, 1),
        sample(separated(2, 3), -math.inf),
        sample(separated(2, 3), 0),
        sample(separated(), "fro"),
    ],
    kind="piecewise",
    errors=[
        *WRONG_DIMS,
        NOT_REAL,
        fails(ValueError, "norm: p must be a number or 'fro', got nan", real(3), math.nan),
        fails(ValueError, "norm: p must be a number or 'fro', got 'nuc'", real(3, 3), "nuc"),
    ],
)
def norm(x: TensorLike, p: Any = 2.0, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The p-norm of the elements along the dimensions, y = sum(abs(x)**p)**(1/p).

    Args:
        x: real numbers.
        p: the order; inf is the largest and -inf the smallest absolute value, 0 counts what is not
            0, and `"fro"` is 2.
        dim: the dimensions.
        keepdim: whether they stay, of length 1.

    VJP: g * sign(x) * abs(x)**(p-1) / y**(p-1); 0 for elements that are 0, so 0 where y is 0.

    Raises:
        TypeError: for numbers that are not real.
        IndexError: for a dimension that does not exist; ValueError: for one named twice, or for an
            unknown p.

    >>> norm([3.0, 4.0])
    tensor(5.)
    """
    x = real_numbers(x, "norm")
    if x.dtype.kind == "c":
        raise TypeError(f"norm: wants real numbers, got {x.dtype}; take abs() first")
    p = 2.0 if isinstance(p, str) and p == "fro" else p
    if not isinstance(p, (int, float)) or math.isnan(p):
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
    axes = axes_for(dim, x.ndim, "norm")
    if math.isinf(p):
        return (amax if p > 0 else amin)(abs(x), axes, keepdim)
    if p == 1:
        return sum(abs(x), axes, keepdim)
    if p == 0:
        shape = x.shape
        y = total(x.data != 0, axes, keepdim).astype(x.data.dtype)
        return record(norm, y, (x, lambda g: spread(vanishing(g), shape, axes), None))
    if p == 2:
        return _euclidean_norm(x, axes, keepdim)
    return _power_norm(x, float(p), axes, keepdim)


def _euclidean_norm(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """The root of the sum of squares. Its rule is the general one, without powers."""

    def rule(g: Any, x: Any, y: Any) -> Any:
        return spread(_by_norm(g, y), x.shape, axes) * x

    wide = _wide(x.data)
    y = array_module(wide).sqrt(total(wide * wide, axes, keepdim))
    return record(norm, y.astype(x.dtype, copy=False), (x, rule, (x, OUTPUT)))


def _power_norm(x: Tensor, p: float, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """The general case."""

    def rule(g: Any, x: Any, y: Any) -> Any:
        direction = sign(x) * _nonzero(abs(x)) ** (p - 1)
        scale = where(y == 0, 0, _nonzero(y) ** (1 - p))
        return spread(g * scale, x.shape, axes) * direction

    size = array_module(x.data).abs(_wide(x.data))
    with np.errstate(divide="ignore"):  # for p < 0 an element 0 makes the norm 0
        y = total(size**p, axes, keepdim) ** (1 / p)
    return record(norm, y.astype(x.dtype, copy=False), (x, rule, (x, OUTPUT)))


# The logarithm of a sum


@differentiable(
    [
        sample(real(2, 3), 1),
        sample(real(2, 3, 2), (0, 2), keepdim=True),
        sample(real(4), None),
        sample(real(), 0),
        sample(integers(3, high=5), 0),
    ],
    kind="smooth",
    errors=[
        fails(IndexError, "logsumexp: dim is 2", real(2, 3), 2),
        fails(ValueError, "logsumexp: dim names a dimension twice", real(2, 3), (0, 0)),
    ],
)
def logsumexp(x: TensorLike, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over the dimensions, as m + log(sum(exp(x - m))), m = max(x): no overflow.

    VJP: g * exp(x - y), the softmax; 0 where y is -inf, which is also the result of an empty sum.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: for one named twice.

    >>> logsumexp([1000.0, -1000.0], dim=0)
    tensor(1000.)
    """
    x = floating(x)
    array = x.data
    axes = axes_for(dim, array.ndim, "logsumexp")
    xp = array_module(array)
    largest = xp.zeros((), array.dtype)
    if array.size:
        largest = array.max(axis=axes, keepdims=True)
        largest = xp.where(xp.isfinite(largest), largest, largest.dtype.type(0))
    with np.errstate(divide="ignore", over="ignore"):  # log(0) is -inf; exp overflows beside +inf
        y = xp.log(total(xp.exp(array - largest), axes, True)) + largest
    y = y if keepdim else y.squeeze(axes)

    def rule(g: Any, x: Any, y: Any) -> Any:
        finite = where(y == -math.inf, 0, y)
        return spread(g, x.shape, axes) * exp(x - spread(finite, x.shape, axes))

    return record(logsumexp, y, (x, rule, (x, OUTPUT)))
