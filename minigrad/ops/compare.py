"""Comparisons, logic and questions about single elements: constants, which have no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad_kernels.arrays import is_array

from ..recording import operands
from ..tensor import Tensor, TensorLike, as_tensor, wrap
from .elementwise import MISFIT, combine
from .registry import booleans, differentiable, fails, integers, real, sample

PAIRS = [
    sample(real(3, 4), real(3, 1)),
    sample(real(2), 0.5),
    sample(integers(3, high=3), integers(3, high=3)),
]
TRUTHS = [
    sample(booleans(3, 4), booleans(4)),
    sample(integers(5, high=2), real(5)),
    sample(booleans(3), True),
]


def _constant(y: Any) -> Tensor:
    """A tensor around a NumPy function's result, which is a number for 0-dimensional operands."""
    return wrap(y if is_array(y) else np.asarray(y))


def _compared(ufunc: np.ufunc, name: str, a: Any, b: Any) -> Tensor:
    a, b = operands(a, b, name)
    return _constant(combine(ufunc, name, a, b))


@differentiable(PAIRS, kind="constant", errors=[MISFIT])
def eq(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether a == b, elementwise, with broadcasting."""
    return _compared(np.equal, "eq", a, b)


@differentiable(PAIRS, kind="constant", errors=[MISFIT])
def ne(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether a != b, elementwise, with broadcasting."""
    return _compared(np.not_equal, "ne", a, b)


@differentiable(PAIRS, kind="constant", errors=[MISFIT])
def lt(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether a < b, elementwise, with broadcasting."""
    return _compared(np.less, "lt", a, b)


@differentiable(PAIRS, kind="constant", errors=[MISFIT])
def le(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether a <= b, elementwise, with broadcasting."""
    return _compared(np.less_equal, "le", a, b)


@differentiable(PAIRS, kind="constant", errors=[MISFIT])
def gt(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether a > b, elementwise, with broadcasting.

    >>> gt([1.0, 3.0], 2)
    tensor([False,  True])
    """
    return _compared(np.greater, "gt", a, b)


@differentiable(PAIRS, kind="constant", errors=[MISFIT])
def ge(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether a >= b, elementwise, with broadcasting."""
    return _compared(np.greater_equal, "ge", a, b)


# Logic: every number but 0 counts as true


@differentiable(TRUTHS, kind="constant", errors=[MISFIT])
def logical_and(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether both are true (not 0), elementwise, with broadcasting."""
    return _compared(np.logical_and, "logical_and", a, b)


@differentiable(TRUTHS, kind="constant", errors=[MISFIT])
def logical_or(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether one or both are true (not 0), elementwise, with broadcasting."""
    return _compared(np.logical_or, "logical_or", a, b)


@differentiable(TRUTHS, kind="constant", errors=[MISFIT])
def logical_xor(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether exactly one is true (not 0), elementwise, with broadcasting."""
    return _compared(np.logical_xor, "logical_xor", a, b)


@differentiable(
    [sample(booleans(3)), sample(integers(2, 3, high=2)), sample(real())], kind="constant"
)
def logical_not(x: TensorLike) -> Tensor:
    """Whether an element is false (0)."""
    return _constant(np.logical_not(as_tensor(x).data))


# The same bit by bit, which for booleans is logic: the operators & | ^ ~

BITS = [
    sample(booleans(3, 4), booleans(4)),
    sample(integers(3, high=9), integers(2, 1, high=9)),
    sample(integers(3, low=-5, high=5), 6),
]
NO_BITS = [
    fails(ValueError, r"shapes \(2,\) and \(3,\) do not broadcast", booleans(2), booleans(3)),
    fails(TypeError, "bitwise_.*: wants integers or booleans", real(3), True),
]


def _bits(x: Tensor, name: str) -> Tensor:
    if x.data.dtype.kind not in "biu":
        raise TypeError(f"{name}: wants integers or booleans, got {x.dtype}")
    return x


def _bitwise(ufunc: np.ufunc, name: str, a: Any, b: Any) -> Tensor:
    a, b = operands(a, b, name)
    return _constant(combine(ufunc, name, _bits(a, name), _bits(b, name)))


@differentiable(BITS, kind="constant", errors=NO_BITS)
def bitwise_and(a: TensorLike, b: TensorLike) -> Tensor:
    """The bits that both integers have, elementwise, with broadcasting; booleans: logical_and.

    >>> bitwise_and([6, 5], 3)
    tensor([2, 1])
    """
    return _bitwise(np.bitwise_and, "bitwise_and", a, b)


@differentiable(BITS, kind="constant", errors=NO_BITS)
def bitwise_or(a: TensorLike, b: TensorLike) -> Tensor:
    """The bits of either integer, elementwise, with broadcasting; booleans: logical_or."""
    return _bitwise(np.bitwise_or, "bitwise_or", a, b)


@differentiable(BITS, kind="constant", errors=NO_BITS)
def bitwise_xor(a: TensorLike, b: TensorLike) -> Tensor:
    """The bits of one integer only, elementwise, with broadcasting; booleans: logical_xor."""
    return _bitwise(np.bitwise_xor, "bitwise_xor", a, b)


@differentiable(
    [sample(booleans(3)), sample(integers(2, 3, high=9)), sample(integers(high=3))],
    kind="constant",
    errors=[fails(TypeError, "bitwise_not: wants integers or booleans, got float", real(3))],
)
def bitwise_not(x: TensorLike) -> Tensor:
    """All bits of an integer turned round, so -x - 1; booleans: logical_not."""
    return _constant(np.invert(_bits(as_tensor(x), "bitwise_not").data))


# Questions

VALUES = [sample(real(3, 4)), sample(real()), sample(integers(3, high=9))]


@differentiable(VALUES, kind="constant")
def isnan(x: TensorLike) -> Tensor:
    """Whether an element is NaN.

    >>> isnan([1.0, float("nan")])
    tensor([False,  True])
    """
    return _constant(np.isnan(as_tensor(x).data))


@differentiable(VALUES, kind="constant")
def isinf(x: TensorLike) -> Tensor:
    """Whether an element is infinite."""
    return _constant(np.isinf(as_tensor(x).data))


@differentiable(VALUES, kind="constant")
def isfinite(x: TensorLike) -> Tensor:
    """Whether an element is neither infinite nor NaN."""
    return _constant(np.isfinite(as_tensor(x).data))


@differentiable(
    [*PAIRS, sample(real(3), real(3), rtol=0.5, atol=1.0, equal_nan=True)],
    kind="constant",
    errors=[MISFIT, fails(ValueError, "isclose: rtol .* got -1", real(2), real(2), rtol=-1.0)],
)
def isclose(
    a: TensorLike,
    b: TensorLike,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> Tensor:
    """Whether |a - b| <= atol + rtol * |b|, elementwise, with broadcasting; inf is close to inf.

    Args:
        a: one tensor.
        b: the other, the reference of the relative tolerance.
        rtol: the relative tolerance.
        atol: the absolute tolerance.
        equal_nan: whether NaN is close to NaN.

    Raises:
        ValueError: if a tolerance is negative or NaN, or the shapes do not broadcast.
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise ValueError(f"isclose: {name} must be at least 0, got {value}")
    a, b = operands(a, b, "isclose")
    y = combine(lambda a, b: np.isclose(a, b, rtol, atol, equal_nan), "isclose", a, b)
    return _constant(y)


@differentiable(PAIRS, kind="constant", errors=[fails(ValueError, "allclose", real(2), real(3))])
def allclose(
    a: TensorLike,
    b: TensorLike,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> bool:
    """Whether all elements are close: see `isclose`."""
    try:
        return bool(isclose(a, b, rtol, atol, equal_nan).data.all())
    except ValueError as error:
        raise ValueError(str(error).replace("isclose", "allclose", 1)) from None


@differentiable([*PAIRS, sample(real(2), real(3))], kind="constant")
def equal(a: TensorLike, b: TensorLike) -> bool:
    """Whether two tensors have the same shape and equal elements.

    >>> equal([1, 2], [1, 2]), equal([1, 2], [1])
    (True, False)
    """
    a, b = operands(a, b, "equal")
    return a.shape == b.shape and bool((a.data == b.data).all())
