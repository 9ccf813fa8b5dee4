"""Arithmetic of two operands and choices between them, elementwise: NumPy's and CuPy's own loops.

Floating-point accidents (a division by zero, an overflow) give inf or NaN as in IEEE arithmetic;
whether NumPy also warns of them is up to `numpy.seterr`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ..device import readable
from ..recording import operands, record, record_pair
from ..tensor import Tensor, TensorLike, as_tensor, is_placed, together, wrap
from .cast import floating
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
    return wrap(np.zeros_like(array))


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


def gradient_operands(g: TensorLike, x: TensorLike, operation: str) -> tuple[Tensor, Tensor]:
    """A gradient and what it is taken at: of one type, and of one shape.

    Raises:
        ValueError: if the shapes differ.
    """
    g, x = operands(g, x, operation)
    if g.shape != x.shape:
        raise ValueError(f"{operation}: the gradient has shape {g.shape}, the function {x.shape}")
    return g, x


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
    except TypeError:
        operands(a, b, "add")  # refuses those on two devices
        raise
    return record_pair(add, y, a, passed_on, None, b, passed_on, None)


@differentiable(
    PAIRS,
    kind="linear",
    errors=[MISFIT, fails(TypeError, "sub: booleans", booleans(2), booleans(2))],
)
def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """The difference a - b, elementwise, with broadcasting.

    Raises:
        TypeError: for booleans; ValueError: if the shapes do not broadcast.
    """
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "sub")
    try:
        y = a.data - b.data
    except ValueError:
        misfit("sub", a, b)
    except TypeError:
        operands(a, b, "sub")  # refuses those on two devices
        raise TypeError("sub: booleans have no difference; use logical_xor") from None
    return record_pair(sub, y, a, passed_on, None, b, negated, None)


@differentiable(PAIRS, kind="bilinear", errors=[MISFIT])
def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """The product a * b, elementwise, with broadcasting. VJP: g * b to a, and g * a to b."""
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "mul")
    try:
        y = a.data * b.data
    except ValueError:
        misfit("mul", a, b)
    except TypeError:
        operands(a, b, "mul")  # refuses those on two devices
        raise
    return record_pair(mul, y, a, scaled, b, b, scaled, a)


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
        a, b = _real_operands(a, b, "div")
    elif a.data.dtype.kind in "biu":
        a, b = floating(a), floating(b)
    try:
        y = a.data / b.data
    except ValueError:
        misfit("div", a, b)
    except TypeError:
        operands(a, b, "div")  # refuses those on two devices
        raise
    return record(div, y, (a, lambda g, b: g / b, b), (b, lambda g, a, b: -g * (a / b) / b, (a, b)))


def _real_operands(a: TensorLike, b: TensorLike, operation: str) -> tuple[Tensor, Tensor]:
    """Two operands of one type, which is no integer type: two integers take the default type, each
    by itself, since the type of one may not hold the other."""
    if _is_whole(a) and _is_whole(b):
        b = floating(b) if is_placed(b) else b
        a = floating(a) if is_placed(a) else a
    a, b = operands(a, b, operation)
    return (floating(a), floating(b)) if a.data.dtype.kind in "biu" else (a, b)


def _is_whole(x: Any) -> bool:
    return isinstance(x, int) or (is_placed(x) and x.dtype.kind in "biu")


# Quotients without remainder


WHOLE = [
    sample(separated(3, 4), 0.3),
    sample(real(3, low=2.15, high=2.3), real(2, 1, low=0.63, high=0.65)),
    sample(integers(4, low=-7, high=8), integers(4, low=1, high=4)),
    sample(7, separated(3, low=1.25, high=1.3)),
]
BY_ZERO = fails(ValueError, "division of integers by zero", integers(3, high=5), 0)
OF_COMPLEX = fails(TypeError, "wants real numbers, got complex", np.array([1j]), 2.0)


def _check_divisor(a: Tensor, b: Tensor, operation: str) -> None:
    if a.data.dtype.kind == "c":
        raise TypeError(f"{operation}: wants real numbers, got {a.dtype}")
    if a.data.dtype.kind in "biu" and readable(b.data) and not b.data.all():
        raise ValueError(f"{operation}: division of integers by zero")


@differentiable(WHOLE, kind="constant", errors=[MISFIT, BY_ZERO, OF_COMPLEX])
def floor_divide(a: TensorLike, b: TensorLike) -> Tensor:
    """The largest whole number that is at most a / b, elementwise, with broadcasting: a constant.

    Raises:
        ValueError: for a division of integers by zero; TypeError: for complex numbers.

    >>> floor_divide([7, -7], 2)
    tensor([ 3, -4])
    """
    a, b = operands(a, b, "floor_divide")
    _check_divisor(a, b, "floor_divide")
    return record(floor_divide, combine(lambda a, b: a // b, "floor_divide", a, b))


@differentiable(
    [*WHOLE, sample(real(3, low=2.45, high=2.55), separated(2, 1, low=0.5, high=1.5))],
    kind="piecewise",
    errors=[MISFIT, BY_ZERO, OF_COMPLEX],
)
def remainder(a: TensorLike, b: TensorLike) -> Tensor:
    """a - b * floor(a / b), elementwise, with broadcasting: it has the sign of b.

    VJP: g to a, and -g * floor(a / b) to b.

    Raises:
        ValueError: for a division of integers by zero; TypeError: for complex numbers.

    >>> remainder([7, -7], 4)
    tensor([3, 1])
    """
    a, b = operands(a, b, "remainder")
    _check_divisor(a, b, "remainder")
    y = combine(lambda a, b: a % b, "remainder", a, b)
    return record(
        remainder, y, (a, passed_on, None), (b, lambda g, a, b: -g * floor_divide(a, b), (a, b))
    )


@differentiable(
    [
        sample(separated(3, 4), separated(3, 4)),
        sample(real(3, 1), positive(4)),
        sample(1, positive()),
    ],
    kind="smooth",
    errors=[MISFIT],
)
def atan2(a: TensorLike, b: TensorLike) -> Tensor:
    """The angle in [-pi, pi] from the x axis to the point (x, y) = (b, a), with broadcasting.

    VJP: g * b / (a**2 + b**2) to a, and -g * a / (a**2 + b**2) to b; 0 at the origin.

    >>> atan2([1.0, -1.0], [-1.0, 1.0])
    tensor([ 2.3562, -0.7854])
    """
    a, b = _real_operands(a, b, "atan2")
    y = combine(np.arctan2, "atan2", a, b)
    return record(
        atan2,
        y,
        (a, lambda g, a, b: g * _over_square(b, a, b), (a, b)),
        (b, lambda g, a, b: -g * _over_square(a, a, b), (a, b)),
    )


def _over_square(x: Any, a: Any, b: Any) -> Any:
    square = a * a + b * b
    return x / where(square == 0, 1, square)


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
    given, condition = condition, as_tensor(condition)
    if condition.data.dtype.kind != "b":
        raise TypeError(f"where: condition must be boolean, got {condition.dtype}")
    nowhere = not (is_placed(a) or is_placed(b))
    a, b = operands(a, b, "where")
    if condition.data.__class__ is not a.data.__class__:
        if nowhere:
            a, b = a.to(condition.device), b.to(condition.device)
        condition = together("where", a, given)[1]
    y = combine(np.where, "where", condition, a, b)
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
    sample(separated(), separated(3, 4)),
    sample(separated(3, 1, low=-0.8, high=0.9), separated(4)),
]


@differentiable(APART, kind="piecewise", errors=[MISFIT])
def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """The larger of two elements, with broadcasting; NaN if either is. Equals share the gradient.

    >>> maximum([1.0, 5.0], 3)
    tensor([3., 5.])
    """
    a, b = operands(a, b, "maximum")
    y = combine(np.maximum, "maximum", a, b)
    return record(maximum, y, (a, _larger, (a, b)), (b, _larger, (b, a)))


@differentiable(APART, kind="piecewise", errors=[MISFIT])
def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """The smaller of two elements, with broadcasting; NaN if either is. See `maximum`."""
    a, b = operands(a, b, "minimum")
    y = combine(np.minimum, "minimum", a, b)
    return record(minimum, y, (a, _smaller, (a, b)), (b, _smaller, (b, a)))
