"""Softmax and its logarithm: scores become probabilities that sum to 1 along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad_kernels as kernels

from ..arguments import axis_of
from ..graph import OUTPUT
from ..recording import record
from ..tensor import Tensor, TensorLike
from .elementwise import gradient_operands
from .reduce import as_type, real_numbers, sum as sum_
from .registry import differentiable, fails, integers, real, sample
from .shape import reshape
from .unary import exp

SAMPLES = [
    sample(real(3, 4), 1),
    sample(real(3, 2), dim=0),
    sample(real(2, 3, 2), dim=-2),
    sample(real(), dim=-1),
    sample(real(3, 0), dim=1),
    sample(real(0, 3), dim=1),
    sample(integers(2, 3, high=5), 1, dtype=np.float64),
]
PAIRS = [sample(real(2, 3), real(2, 3), 1), sample(real(3, 2), real(3, 2), 0)]


def _refused(name: str) -> list[Any]:
    return [
        fails(IndexError, f"{name}: .*2", real(3, 4), 2),
        fails(
            TypeError, f"{name}: wants floating-point numbers, got int64", integers(3, high=5), 0
        ),
    ]


MISFIT = fails(ValueError, "the gradient has shape", real(3), real(4), 0)


def _softmax_rule(axis: int) -> Any:
    def rule(g: Any, y: Any) -> Any:
        if g.__class__ is Tensor:
            return softmax_gradient(g, y, axis)
        return kernels.softmax_gradient(g, y, axis=axis)

    return rule


@differentiable(SAMPLES, kind="smooth", errors=_refused("softmax"))
def softmax(input: TensorLike, dim: int, *, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`. VJP: y * (g - sum(g * y)), y the output.

    Entries of -inf get probability 0; where all are -inf, NaN. `dtype` converts the input first.

    Raises:
        TypeError: if the input does not hold floating-point numbers.
        IndexError: if it has no dimension `dim`.

    >>> softmax([[0.0, 0.0, -1e4]], dim=1)
    tensor([[0.5, 0.5, 0. ]])
    """
    x = real_numbers(as_type(input, dtype), "softmax")
    axis = axis_of(dim, x.ndim, "softmax")
    if not x.ndim:
        return reshape(softmax(reshape(x, 1), 0), ())
    return record(softmax, kernels.softmax(x.data, axis=axis), (x, _softmax_rule(axis), OUTPUT))


@differentiable(PAIRS, kind="smooth", errors=[MISFIT])
def softmax_gradient(g: TensorLike, y: TensorLike, dim: int) -> Tensor:
    """The gradient of softmax: y * (g - sum(g * y)) along `dim`, y its output."""
    g, y, axis = _gradient_arguments(g, y, dim, "softmax_gradient")

    def rule_y(v: Any, g: Any, y: Any) -> Any:
        inner = sum_(g * y, axis, keepdim=True)
        return v * (g - inner) - g * sum_(v * y, axis, keepdim=True)

    array = kernels.softmax_gradient(g.data, y.data, axis=axis)
    return record(softmax_gradient, array, (g, _softmax_rule(axis), y), (y, rule_y, (g, y)))


def _gradient_arguments(
    g: TensorLike, y: TensorLike, dim: int, name: str
) -> tuple[Tensor, Tensor, int]:
    g, y = gradient_operands(g, y, name)
    return g, y, axis_of(dim, y.ndim, name)


@differentiable(SAMPLES, kind="smooth", errors=_refused("log_softmax"))
def log_softmax(input: TensorLike, dim: int, *, dtype: Any = None) -> Tensor:
    """x - log(sum(exp(x))) along `dim`. VJP: g - exp(y) * sum(g), y the output.

    Raises:
        TypeError: if the input does not hold floating-point numbers.
        IndexError: if it has no dimension `dim`.

    >>> log_softmax([0.0, -1e4], dim=0)
    tensor([     0., -10000.])
    """
    x = real_numbers(as_type(input, dtype), "log_softmax")
    axis = axis_of(dim, x.ndim, "log_softmax")
    if not x.ndim:
        return reshape(log_softmax(reshape(x, 1), 0), ())

    def rule(g: Any, y: Any) -> Any:
        if g.__class__ is Tensor:
            return log_softmax_gradient(g, y, axis)
        return kernels.log_softmax_gradient(g, y, axis=axis)

    return record(log_softmax, kernels.log_softmax(x.data, axis=axis), (x, rule, OUTPUT))


@differentiable(PAIRS, kind="smooth", errors=[MISFIT])
def log_softmax_gradient(g: TensorLike, y: TensorLike, dim: int) -> Tensor:
    """The gradient of log_softmax: g - exp(y) * sum(g) along `dim`, y its output."""
    g, y, axis = _gradient_arguments(g, y, dim, "log_softmax_gradient")

    def rule_g(v: Any, y: Any) -> Any:
        return v - sum_(v * exp(y), axis, keepdim=True)

    def rule_y(v: Any, g: Any, y: Any) -> Any:
        return -v * exp(y) * sum_(g, axis, keepdim=True)

    array = kernels.log_softmax_gradient(g.data, y.data, axis=axis)
    return record(log_softmax_gradient, array, (g, rule_g, y), (y, rule_y, (g, y)))
