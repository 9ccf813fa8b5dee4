"""Functions of single elements. NumPy's loops compute them, or CuPy's: NumPy hands its arrays on.

Outside a function's domain the result is NaN, at a pole it is infinite.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad_kernels.arrays import special_functions

from .. import dtypes
from ..graph import OUTPUT
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor
from .cast import floating, to
from .elementwise import negated, vanishing
from .registry import booleans, differentiable, fails, integers, positive, real, sample, separated

ANYWHERE = [sample(real(3, 4)), sample(real())]
POSITIVE = [sample(positive(3, 4)), sample(positive())]
UNIT = [sample(real(3, 4, low=-0.9, high=0.9)), sample(real(low=-0.9, high=0.9))]
APART = [sample(separated(3, 4)), sample(separated())]


@differentiable(
    ANYWHERE, kind="linear", errors=[fails(TypeError, "neg: booleans .* no sign", booleans(2))]
)
def neg(x: TensorLike) -> Tensor:
    """The number with the opposite sign, -x.

    Raises:
        TypeError: for booleans.
    """
    x = as_tensor(x)
    if x.data.dtype.kind == "b":
        raise TypeError("neg: booleans have no sign; use logical_not")
    return record(neg, -x.data, (x, negated, None))


# Exponentials and logarithms


@differentiable(ANYWHERE, kind="analytic")
def exp(x: TensorLike) -> Tensor:
    """The exponential function. VJP: g * y, y the output.

    >>> exp([0, 1])
    tensor([1.    , 2.7183])
    """
    x = floating(x)
    return record(exp, np.exp(x.data), (x, lambda g, y: g * y, OUTPUT))


@differentiable(ANYWHERE, kind="analytic")
def expm1(x: TensorLike) -> Tensor:
    """exp(x) - 1, precise also near 0. VJP: g * (y + 1)."""
    x = floating(x)
    return record(expm1, np.expm1(x.data), (x, lambda g, y: g * (y + 1), OUTPUT))


@differentiable(POSITIVE, kind="analytic")
def log(x: TensorLike) -> Tensor:
    """The natural logarithm. VJP: g / x."""
    x = floating(x)
    return record(log, np.log(x.data), (x, lambda g, x: g / x, x))


@differentiable(UNIT, kind="analytic")
def log1p(x: TensorLike) -> Tensor:
    """log(1 + x), precise also near 0. VJP: g / (1 + x)."""
    x = floating(x)
    return record(log1p, np.log1p(x.data), (x, lambda g, x: g / (x + 1), x))


@differentiable(POSITIVE, kind="analytic")
def log2(x: TensorLike) -> Tensor:
    """The logarithm to base 2. VJP: g / (x * log(2))."""
    x = floating(x)
    slope = 1 / math.log(2)
    return record(log2, np.log2(x.data), (x, lambda g, x: g * slope / x, x))


@differentiable(POSITIVE, kind="analytic")
def log10(x: TensorLike) -> Tensor:
    """The logarithm to base 10. VJP: g / (x * log(10))."""
    x = floating(x)
    slope = 1 / math.log(10)
    return record(log10, np.log10(x.data), (x, lambda g, x: g * slope / x, x))


# Powers


@differentiable(POSITIVE, kind="analytic")
def sqrt(x: TensorLike) -> Tensor:
    """The square root. VJP: g / (2 * y), y the output: infinite at 0."""
    x = floating(x)
    return record(sqrt, np.sqrt(x.data), (x, lambda g, y: g / (y + y), OUTPUT))


@differentiable(POSITIVE, kind="analytic")
def rsqrt(x: TensorLike) -> Tensor:
    """One over the square root, y = x**(-1/2). VJP: -g * y**3 / 2."""
    x = floating(x)
    y = 1 / np.sqrt(x.data)
    return record(rsqrt, y, (x, lambda g, y: g * (-0.5 * y * y * y), OUTPUT))


@differentiable(ANYWHERE, kind="analytic")
def square(x: TensorLike) -> Tensor:
    """The square, x * x; of booleans an int64. VJP: 2 * g * x."""
    x = as_tensor(x)
    if x.data.dtype.kind == "b":
        x = to(x, dtype=dtypes.int64)
    return record(square, x.data * x.data, (x, lambda g, x: g * (x + x), x))


@differentiable(APART, kind="analytic")
def reciprocal(x: TensorLike) -> Tensor:
    """One over the number, y = 1 / x. VJP: -g * y**2."""
    x = floating(x)
    return record(reciprocal, 1 / x.data, (x, lambda g, y: -g * (y * y), OUTPUT))


# Signs and whole numbers


@differentiable(APART, kind="piecewise")
def abs(x: TensorLike) -> Tensor:
    """The absolute value. VJP: g * sign(x), 0 at 0."""
    x = as_tensor(x)
    return record(abs, np.abs(x.data), (x, lambda g, x: g * sign(x), x))


@differentiable(APART, kind="piecewise")
def sign(x: TensorLike) -> Tensor:
    """-1 for negative numbers, 0 for 0, 1 for positive ones. Its derivative is 0."""
    x = as_tensor(x)
    array = x.data
    y = array.copy() if array.dtype.kind == "b" else np.sign(array)
    return record(sign, y, (x, vanishing, None))


WHOLE = [sample(separated(3, 4)), sample(real(low=0.3, high=0.7)), sample(integers(3, high=9))]


def _to_whole(operation: Any, ufunc: np.ufunc, x: Any) -> Tensor:
    """What rounding has in common: whole numbers stay as they are, and the derivative is 0."""
    x = as_tensor(x)
    array = x.data
    y = array.copy() if array.dtype.kind in "biu" else ufunc(array)
    return record(operation, y, (x, vanishing, None))


@differentiable(WHOLE, kind="piecewise")
def floor(x: TensorLike) -> Tensor:
    """The largest whole number that is at most x. Its derivative is 0."""
    return _to_whole(floor, np.floor, x)


@differentiable(WHOLE, kind="piecewise")
def ceil(x: TensorLike) -> Tensor:
    """The smallest whole number that is at least x. Its derivative is 0."""
    return _to_whole(ceil, np.ceil, x)


@differentiable(WHOLE, kind="piecewise")
def round(x: TensorLike) -> Tensor:
    """The nearest whole number, of two equally near ones the even one. Its derivative is 0.

    >>> round([0.5, 1.5, 2.4])
    tensor([0., 2., 2.])
    """
    return _to_whole(round, np.rint, x)


@differentiable(WHOLE, kind="piecewise")
def trunc(x: TensorLike) -> Tensor:
    """The whole number next to x on the side of 0. Its derivative is 0."""
    return _to_whole(trunc, np.trunc, x)


# Angles and hyperbolas


@differentiable(ANYWHERE, kind="analytic")
def sin(x: TensorLike) -> Tensor:
    """The sine of an angle in radians. VJP: g * cos(x)."""
    x = floating(x)
    return record(sin, np.sin(x.data), (x, lambda g, x: g * cos(x), x))


@differentiable(ANYWHERE, kind="analytic")
def cos(x: TensorLike) -> Tensor:
    """The cosine of an angle in radians. VJP: -g * sin(x)."""
    x = floating(x)
    return record(cos, np.cos(x.data), (x, lambda g, x: -g * sin(x), x))


@differentiable(UNIT, kind="analytic")
def tan(x: TensorLike) -> Tensor:
    """The tangent of an angle in radians. VJP: g * (1 + y**2), y the output."""
    x = floating(x)
    return record(tan, np.tan(x.data), (x, lambda g, y: g * (y * y + 1), OUTPUT))


@differentiable(UNIT, kind="analytic")
def asin(x: TensorLike) -> Tensor:
    """The angle in [-pi/2, pi/2] whose sine is x. VJP: g / sqrt(1 - x**2)."""
    x = floating(x)
    return record(asin, np.arcsin(x.data), (x, lambda g, x: g * _secant(x), x))


@differentiable(UNIT, kind="analytic")
def acos(x: TensorLike) -> Tensor:
    """The angle in [0, pi] whose cosine is x. VJP: -g / sqrt(1 - x**2)."""
    x = floating(x)
    return record(acos, np.arccos(x.data), (x, lambda g, x: -g * _secant(x), x))


def _secant(x: Any) -> Any:
    """1 / sqrt(1 - x**2), precise also near the ends of [-1, 1]."""
    return rsqrt((1 - x) * (1 + x))


@differentiable(UNIT, kind="analytic")
def atan(x: TensorLike) -> Tensor:
    """The angle in [-pi/2, pi/2] whose tangent is x. VJP: g / (1 + x**2)."""
    x = floating(x)
    return record(atan, np.arctan(x.data), (x, lambda g, x: g / (x * x + 1), x))


@differentiable(ANYWHERE, kind="analytic")
def sinh(x: TensorLike) -> Tensor:
    """The hyperbolic sine. VJP: g * cosh(x)."""
    x = floating(x)
    return record(sinh, np.sinh(x.data), (x, lambda g, x: g * cosh(x), x))


@differentiable(ANYWHERE, kind="analytic")
def cosh(x: TensorLike) -> Tensor:
    """The hyperbolic cosine. VJP: g * sinh(x)."""
    x = floating(x)
    return record(cosh, np.cosh(x.data), (x, lambda g, x: g * sinh(x), x))


@differentiable(ANYWHERE, kind="analytic")
def erf(x: TensorLike) -> Tensor:
    """The error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to x.

    VJP: g * 2/sqrt(pi) * exp(-x**2).
    """
    x = floating(x)
    slope = 2 / math.sqrt(math.pi)
    y = special_functions(x.data).erf(x.data).astype(x.dtype, copy=False)  # of float16 wider
    return record(erf, y, (x, lambda g, x: g * (exp(-x * x) * slope), x))
