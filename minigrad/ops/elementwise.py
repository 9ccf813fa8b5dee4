"""Arithmetic of two operands, elementwise. NumPy's and CuPy's own loops compute it.

Floating-point accidents (a division by zero, an overflow) give inf or NaN as in IEEE arithmetic;
whether NumPy also warns of them is up to `numpy.seterr`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

from minigrad_kernels.arrays import array_module

from .. import dtypes
from ..graph import OUTPUT
from ..tensor import Tensor, TensorLike, as_tensor, operands, record, wrap
from .cast import floating, to
from .registry import booleans, differentiable, fails, integers, positive, real, sample, separated

# Rules that many operations share. In a rule, g is the gradient of the operation's output.


def passed_on(g: Any) -> Any:
    """The input's gradient is the output's."""
    return g


def negated(g: Any) -> Any:
    """The input's gradient is minus the output's."""
    return -g


def scaled(g: Any, factor: Any) -> Any:
    """The output grows `factor` times as fast as the input."""
    return g * factor


def vanishing(g: Any) -> Any:
    """The output does not change with the input: zero, whatever g is."""
    array = getattr(g, "data", g) if isinstance(g, Tensor) else g
    return wrap(array_module(array).zeros_like(array))


PAIRS = [sample(real(3, 4), real(3, 4)), sample(real(3, 1), real(4)), sample(real(), real(2, 3))]
MISFIT = fails(ValueError, r"shapes \(2, 3\) and \(4,\) do not broadcast", real(2, 3), real(4))


def misfit(operation: str, *operands: Tensor) -> NoReturn:
    """Explain why NumPy refused operands."""
    shapes = " and ".join(str(x.shape) for x in operands)
    raise ValueError(f"{operation}: shapes {shapes} do not broadcast") from None


def combine(function: Callable[..., Any], operation: str, *operands: Tensor) -> Any:
    """The array that a NumPy function gives for the operands; misfits are explained."""
    try:
        return function(*[x.data for x in operands])
    except ValueError:
        misfit(operation, *operands)


@differentiable(PAIRS, kind="linear", errors=[MISFIT])
def add(a: TensorLike, b: TensorLike) -> Tensor:
    """The sum a + b, elementwise, with broadcasting.

    >>> add([1.0, 2.0], 3)
    tensor([4., 5.])
    """
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "add")
    try:
        y = a.data + b.data
    except ValueError:
        misfit("add", a, b)
    return record(add, y, (a, passed_on, None), (b, passed_on, None))


@differentiable(PAIRS, kind="linear", errors=[MISFIT])
def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """The difference a - b, elementwise, with broadcasting."""
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "sub")
    try:
        y = a.data - b.data
    except ValueError:
        misfit("sub", a, b)
    except TypeError:
        raise TypeError("sub: booleans have no difference; use logical_xor") from None
    return record(sub, y, (a, passed_on, None), (b, negated, None))


@differentiable(PAIRS, kind="bilinear", errors=[MISFIT])
def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """The product a * b, elementwise, with broadcasting. VJP: g * b to a, and g * a to b."""
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "mul")
    try:
        y = a.data * b.data
    except ValueError:
        misfit("mul", a, b)
    return record(mul, y, (a, scaled, b), (b, scaled, a))


@differentiable(
    [
        sample(real(3, 4), positive(3, 4)),
        sample(real(3, 1), positive(4)),
        sample(real(), separated(2, 3)),
        sample(2, positive(3)),
        sample(real(3), 2),
        sample(integers(3, high=5), integers(3, low=1, high=5)),
    ],
    kind="analytic",
    errors=[MISFIT],
)
def div(a: TensorLike, b: TensorLike) -> Tensor:
    """The quotient a / b, elementwise, with broadcasting; of integers in the default float type.

    VJP: g / b to a and -g * a / b² to b. Division by zero gives inf or NaN.

    >>> div([1, 2], 4)
    tensor([0.25, 0.5 ])
    """
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "div")
    if a.data.dtype.kind in "biu":
        a, b = floating(a), floating(b)
    try:
        y = a.data / b.data
    except ValueError:
        misfit("div", a, b)
    return record(div, y, (a, lambda g, b: g / b, b), (b, lambda g, a, b: -g * (a / b) / b, (a, b)))


# Powers


def _base_gradient(g: Any, a: Any, b: Any) -> Any:
    """g * b * a**(b-1), without the pole of 0**(b-1) where b is 0."""
    return g * b * pow(where((a == 0) & (b == 0), 1, a), b - 1)


def _exponent_gradient(g: Any, a: Any, y: Any) -> Any:
    """g * a**b * log(a), which tends to 0 with a."""
    from .unary import log

    return g * y * log(where(a == 0, 1, a))


@differentiable(
    [
        sample(positive(3, 4), real(3, 4)),
        sample(positive(3, 1), real(4)),
        sample(real(2, 3), 3),
        sample(real(2, 3), 2),
        sample(separated(4), -2),
        sample(real(3), 1),
        sample(real(3), 0),
        sample(positive(3), 0.5),
        sample(2.5, real(2, 3)),
        sample(0, positive(3)),
        sample(real(), integers(2, 3, low=2, high=5)),
    ],
    kind="smooth",
    errors=[
        MISFIT,
        fails(ValueError, "pow: integers .* negative power -1", integers(3, high=5), -1),
        fails(ValueError, "negative power -2", integers(2, high=5), integers(2, low=-2, high=-1)),
    ],
)
def pow(a: TensorLike, b: TensorLike) -> Tensor:
    """The power a**b, elementwise, with broadcasting; 0**0 is 1.

    VJP: g * b * a**(b-1) to a, and g * a**b * log(a) to b, which is 0 where a is 0, and NaN for a
    negative a, whose power is no continuous function of b.

    Raises:
        ValueError: for a negative power of integers, which is no integer.
    """
    if isinstance(b, (int, float)):
        return _power_of_tensor(as_tensor(a), b)
    a_number = isinstance(a, (int, float))
    a, b = operands(a, b, "pow")
    if a.data.dtype.kind in "iu" and b.data.size:
        _check_integer_power(b.data.min())
    y = combine(lambda a, b: a**b, "pow", a, b)
    if a_number:
        return record(pow, y, (b, _rule_of_exponent(float(a)), OUTPUT))
    return record(pow, y, (a, _base_gradient, (a, b)), (b, _exponent_gradient, (a, OUTPUT)))


def _power_of_tensor(a: Tensor, n: float) -> Tensor:
    """The power whose exponent is a Python number."""
    kind = a.data.dtype.kind
    if kind in "biu" and isinstance(n, float):
        a = floating(a)
    elif kind == "b":
        a = to(a, dtype=dtypes.int64)
    elif kind in "iu":
        _check_integer_power(n)
    if n == 0:
        return record(pow, a.data**n, (a, vanishing, None))
    return record(pow, a.data**n, (a, lambda g, a: g * (n * a ** (n - 1)), a))


def _rule_of_exponent(a: float) -> Callable[[Any, Any], Any]:
    """The rule of a**b for a Python number a."""
    if a == 0:
        return lambda g, y: vanishing(g)
    slope = math.log(a) if a > 0 else math.nan
    return lambda g, y: g * (y * slope)


def _check_integer_power(n: Any) -> None:
    if n < 0:
        raise ValueError(
            f"pow: integers cannot be raised to the negative power {n}; convert them to float first"
        )


# Choosing


@differentiable(
    [
        sample(booleans(3, 4), real(3, 4), real(3, 4)),
        sample(booleans(3, 1), real(4), real()),
        sample(booleans(), real(2, 2), 0.5),
        sample(booleans(4), 1, real(4)),
    ],
    kind="linear",
    errors=[
        fails(TypeError, "where: condition must be boolean, got int64", integers(3, high=2), 1, 2),
        fails(ValueError, r"where: shapes \(2,\) and \(3,\)", booleans(2), real(3), real(3)),
    ],
)
def where(condition: TensorLike, a: TensorLike, b: TensorLike) -> Tensor:
    """The elements of `a` where `condition` is true and those of `b` elsewhere, with broadcasting.

    VJP: the gradient goes to the chosen element alone, so an infinite or NaN gradient of the other
    one stays out.

    Raises:
        TypeError: if the condition is not boolean.
        ValueError: if the shapes do not broadcast.

    >>> where(Tensor([True, False]), [1.0, 2.0], 0.0)
    tensor([1., 0.])
    """
    condition = as_tensor(condition)
    if condition.data.dtype.kind != "b":
        raise TypeError(f"where: condition must be boolean, got {condition.dtype}")
    a, b = operands(a, b, "where")
    y = combine(array_module(a.data, condition.data).where, "where", condition, a, b)
    return record(where, y, (a, _if_chosen, condition), (b, _if_not_chosen, condition))


def _if_chosen(g: Any, condition: Any) -> Any:
    return where(condition, g, 0)


def _if_not_chosen(g: Any, condition: Any) -> Any:
    return where(condition, 0, g)


def _larger(g: Any, a: Any, b: Any) -> Any:
    """All of g where a > b, half of it where they are equal."""
    return where(a < b, 0, where(a == b, g * 0.5, g))


def _smaller(g: Any, a: Any, b: Any) -> Any:
    """All of g where a < b, half of it where they are equal."""
    return where(a > b, 0, where(a == b, g * 0.5, g))


APART = [
    sample(separated(3, 4), separated(3, 1, low=-0.9, high=0.7)),
    sample(separated(2, 3), 0.05),
    sample(real(), separated(4, low=3, high=5)),
]


@differentiable(APART, kind="piecewise", errors=[MISFIT])
def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """The larger of two elements, with broadcasting; NaN if either is. Equals share the gradient.

    >>> maximum([1.0, 5.0], 3)
    tensor([3., 5.])
    """
    a, b = operands(a, b, "maximum")
    y = combine(array_module(a.data).maximum, "maximum", a, b)
    return record(maximum, y, (a, _larger, (a, b)), (b, _larger, (b, a)))


@differentiable(APART, kind="piecewise", errors=[MISFIT])
def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """The smaller of two elements, with broadcasting; NaN if either is. See `maximum`."""
    a, b = operands(a, b, "minimum")
    y = combine(array_module(a.data).minimum, "minimum", a, b)
    return record(minimum, y, (a, _smaller, (a, b)), (b, _smaller, (b, a)))
