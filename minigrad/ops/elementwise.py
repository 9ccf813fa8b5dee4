"""Arithmetic and functions of single elements. NumPy's and CuPy's own loops compute them."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, TensorLike, operands, record
from .registry import differentiable, real, sample

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


PAIRS = [sample(real(3, 4), real(3, 4)), sample(real(3, 1), real(4)), sample(real(), real(2, 3))]


@differentiable(PAIRS, kind="linear")
def add(a: TensorLike, b: TensorLike) -> Tensor:
    """The sum a + b, elementwise, with broadcasting.

    >>> add([1.0, 2.0], 3)
    tensor([4., 5.])
    """
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "add")
    return record(add, a.data + b.data, (a, passed_on, None), (b, passed_on, None))


@differentiable(PAIRS, kind="linear")
def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """The difference a - b, elementwise, with broadcasting."""
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "sub")
    return record(sub, a.data - b.data, (a, passed_on, None), (b, negated, None))


@differentiable(PAIRS, kind="bilinear")
def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """The product a * b, elementwise, with broadcasting: each factor scales the other's gradient."""
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "mul")
    return record(mul, a.data * b.data, (a, scaled, b), (b, scaled, a))
