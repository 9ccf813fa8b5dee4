"""The affine map of a layer: input times weight, transposed, plus bias; alone and with a ReLU."""

from __future__ import annotations

import math
from typing import Any

import minigrad_kernels as kernels

from ..graph import OUTPUT
from ..recording import operands, record_jointly
from ..tensor import Tensor, TensorLike, as_tensor
from .activation import relu, relu_gradient
from .elementwise import add
from .linalg import matmul
from .registry import differentiable, fails, real, sample
from .shape import reshape


def _rows(x: Tensor) -> Tensor:
    """All rows of a tensor, in whatever batches, as one matrix."""
    return x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _gradients(g: Any, x: Any, w: Any, y: Any, wanted: tuple[bool, ...]) -> Any:
    """Those of the gradients of input, weight and bias that are wanted.

    With y, the output after a ReLU: g counts as 0 where y is.
    """
    if len(wanted) == 2:  # there is no bias
        wanted = (*wanted, False)
    if g.__class__ is not Tensor:
        return kernels.linear_gradients(g, x, w, y, wanted=wanted)
    if y is not None:
        g = relu_gradient(g, y)
    rows = _rows(g)
    found = []
    if wanted[0]:
        found.append(reshape(matmul(rows, w), (*g.shape[:-1], w.shape[1])))
    if wanted[1]:
        found.append(matmul(rows.T, _rows(x)))
    if wanted[2]:
        found.append(g)  # summed over the rows by the engine
    return tuple(found)


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
    return _layer(linear, input, weight, bias, False)


@differentiable(
    [
        sample(real(4, 3), real(2, 3), real(2)),
        sample(real(4, 3), real(2, 3)),
        sample(real(2, 2, 3), real(2, 3), real(2)),
        sample(real(3), real(2, 3), real(2)),
        sample(real(4, 3), real(2, 3), real()),
        sample(real(4, 3), real(3), real()),
        sample(real(0, 3), real(2, 3), real(2)),
    ],
    kind="piecewise",
    errors=[
        fails(ValueError, "linear_relu: input has 4 features", real(2, 4), real(5, 3)),
        fails(ValueError, r"linear_relu: bias wants shape \(5,\)", real(2, 3), real(5, 3), real(3)),
    ],
)
def linear_relu(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """relu(linear(input, weight, bias)) as one operation; arguments and errors as `linear`'s.

    Results are the same to the last bit. It keeps the input, the weight, and its own output.

    >>> linear_relu([[1.0, 2.0]], [[3.0, 4.0], [-5.0, 1.0]])
    tensor([[11.,  0.]])
    """
    return _layer(linear_relu, input, weight, bias, True)


def _layer(operation: Any, input: Any, weight: Any, bias: Any, with_relu: bool) -> Tensor:
    name = operation.__name__
    x, w = operands(input, weight, name)
    b = None if bias is None else as_tensor(bias)
    _check_shapes(name, x.data.shape, w.data.shape, None if b is None else b.data.shape)
    if w.data.ndim == 1:
        y = matmul(x, w) if b is None else add(matmul(x, w), b)
        return relu(y) if with_relu else y
    array = None
    if b is not None:
        if b.data.dtype is not x.data.dtype or b.data.__class__ is not x.data.__class__:
            b, x = operands(b, x, name)
            w = w.to(x.dtype)
        array = b.data
    y = kernels.linear(x.data, w.data, array, relu=with_relu)
    kept = (
        None if w.node is None else x,
        None if x.node is None else w,
        OUTPUT if with_relu else None,
    )
    return record_jointly(operation, y, (x, w) if b is None else (x, w, b), _gradients, kept)


def _check_shapes(
    name: str, x: tuple[int, ...], w: tuple[int, ...], b: tuple[int, ...] | None
) -> None:
    if not x:
        raise ValueError(f"{name}: input wants at least one dimension, got a single number")
    if len(w) not in (1, 2):
        raise ValueError(f"{name}: weight wants 1 or 2 dimensions, got shape {w}")
    if x[-1] != w[-1]:
        raise ValueError(
            f"{name}: input has {x[-1]} features, weight wants {w[-1]} (input shape {x}, "
            f"weight shape {w})"
        )
    if b is not None and b != () and b != w[:-1]:
        raise ValueError(f"{name}: bias wants shape {w[:-1]}, got {b} (weight shape {w})")
