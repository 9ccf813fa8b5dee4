"""The affine map of a layer: input times weight, transposed, plus bias."""

from __future__ import annotations

import math
from typing import Any

import minigrad_kernels as kernels

from ..recording import operands, record
from ..tensor import Tensor, TensorLike, as_tensor
from .elementwise import add, passed_on
from .linalg import matmul, product
from .registry import differentiable, fails, real, sample
from .shape import reshape


def _flat(x: Any) -> Any:
    """All rows of a tensor or bare array, in whatever batches, as one matrix."""
    if x.ndim == 2:
        return x
    shape = math.prod(x.shape[:-1]), x.shape[-1]
    return reshape(x, shape) if x.__class__ is Tensor else x.reshape(shape)


def _input_rule(g: Any, w: Any) -> Any:
    """The gradient of the input: g (..., out) @ w (out, in)."""
    if g.ndim == 2:
        return product(g, w)
    rows = product(_flat(g), w)
    shape = (*g.shape[:-1], w.shape[1])
    return reshape(rows, shape) if rows.__class__ is Tensor else rows.reshape(shape)


def _weight_rule(g: Any, x: Any) -> Any:
    """The gradient of the weight: the sum over all rows of g^T (out, 1) @ x (1, in)."""
    return product(_flat(g).T, _flat(x))


@differentiable(
    [
        sample(real(4, 3), real(2, 3), real(2)),
        sample(real(4, 3), real(2, 3)),
        sample(real(2, 2, 3), real(2, 3), real(2)),
        sample(real(3), real(2, 3), real(2)),
        sample(real(4, 3), real(2, 3), real()),
        sample(real(4, 3), real(3), real()),
        sample(real(0, 3), real(2, 3), real(2)),
        sample(real(2, 0), real(3, 0), real(3)),
    ],
    kind="smooth",
    errors=[
        fails(ValueError, "linear: input has 4 features, weight wants 3", real(2, 4), real(5, 3)),
        fails(ValueError, "linear: input wants at least one dim", real(), real(5, 3)),
        fails(ValueError, "linear: weight wants 1 or 2 dim", real(2, 3), real(1, 5, 3)),
        fails(ValueError, r"linear: bias wants shape \(5,\)", real(2, 3), real(5, 3), real(3)),
        fails(ValueError, r"linear: bias wants shape \(\)", real(2, 3), real(3), real(2)),
    ],
)
def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """input @ weight.T + bias.

    Args:
        input: (..., in).
        weight: (out, in); or (in,), for one output that gets no dimension.
        bias: (out,) or a single number, or None.

    Returns:
        (..., out).

    Raises:
        ValueError: if the shapes do not fit.

    >>> linear([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [0.5, 0.0])
    tensor([[11.5, 17. ]])
    """
    x, w = operands(input, weight, "linear")
    b = None if bias is None else as_tensor(bias)
    _check_shapes(x.data.shape, w.data.shape, None if b is None else b.data.shape)
    if w.data.ndim == 1:
        y = matmul(x, w)
        return y if b is None else add(y, b)
    x_edge, w_edge = (x, _input_rule, w), (w, _weight_rule, x)
    if b is None:
        return record(linear, kernels.linear(x.data, w.data, None), x_edge, w_edge)
    if b.data.dtype is not x.data.dtype or b.data.__class__ is not x.data.__class__:
        b, x = operands(b, x, "linear")
        w = w.to(x.dtype)
        x_edge, w_edge = (x, _input_rule, w), (w, _weight_rule, x)
    y = kernels.linear(x.data, w.data, b.data)
    return record(linear, y, x_edge, w_edge, (b, passed_on, None))


def _check_shapes(x: tuple[int, ...], w: tuple[int, ...], b: tuple[int, ...] | None) -> None:
    if not x:
        raise ValueError("linear: input wants at least one dimension, got a single number")
    if len(w) not in (1, 2):
        raise ValueError(f"linear: weight wants 1 or 2 dimensions, got shape {w}")
    if x[-1] != w[-1]:
        raise ValueError(
            f"linear: input has {x[-1]} features, weight wants {w[-1]} (input shape {x}, "
            f"weight shape {w})"
        )
    if b is not None and b != () and b != w[:-1]:
        raise ValueError(f"linear: bias wants shape {w[:-1]}, got {b} (weight shape {w})")
