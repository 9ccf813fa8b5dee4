"""Copies, and what overwriting a whole tensor means for gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module
from minigrad_kernels.layout import copied

from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, is_placed, together
from .elementwise import passed_on, vanishing
from .registry import differentiable, fails, real, sample


@differentiable([sample(real(3, 4)), sample(real())], kind="linear")
def clone(x: TensorLike) -> Tensor:
    """A copy with memory of its own, in which the axes have the same order."""
    x = as_tensor(x)
    return record(clone, copied(x.data), (x, passed_on, None))


@differentiable([sample(real(3, 4)), sample(real())], kind="linear")
def contiguous(x: TensorLike) -> Tensor:
    """The tensor itself if its elements lie in row-major order without gaps, else such a copy."""
    x = as_tensor(x)
    if x.data.flags.c_contiguous:
        return x
    return record(contiguous, x.data.copy(order="C"), (x, passed_on, None))


@differentiable(
    [sample(real(3, 4), real(4)), sample(real(2), real()), sample(real(2, 3), 2.5)],
    kind="linear",
    errors=[fails(ValueError, r"copy: shape \(3,\) .* \(2,\)", real(2), real(3))],
)
def copy(x: TensorLike, source: TensorLike) -> Tensor:
    """The numbers of `source` in the shape and type of `x`: what `x.copy_(source)` leaves in x.

    VJP: g to the source, summed where it was repeated, and 0 to `x`, whose numbers are lost.

    Raises:
        ValueError: if the source does not broadcast to the shape of `x`.
        TypeError: if it is complex and `x` is not.
    """
    return _overwritten(copy, x, source)


@differentiable(
    [sample(real(3, 4), real()), sample(real(2), 2.5), sample(real(), 0)],
    kind="linear",
    errors=[fails(ValueError, r"fill: value .* one number, got shape \(2,\)", real(2), real(2))],
)
def fill(x: TensorLike, value: TensorLike) -> Tensor:
    """One number, in the shape and type of `x`: what `x.fill_(value)` leaves in x.

    VJP: the sum of g to the value, and 0 to `x`, whose numbers are lost.

    Raises:
        ValueError: if the value is not one number.
        TypeError: if it is complex and `x` is not.
    """
    shape = as_tensor(value).shape
    if shape:
        raise ValueError(f"fill: value must be one number, got shape {shape}")
    return _overwritten(fill, x, value)


def _overwritten(operation: Any, x: TensorLike, source: TensorLike) -> Tensor:
    """`source` in the shape and type of `x`."""
    name, x = operation.__name__, as_tensor(x)
    if isinstance(source, (float, complex)):
        source = np.asarray(source)  # in full precision, which x may have
    elif not is_placed(source):
        source = together(name, x, source)[1]
    source = as_tensor(source)
    if source.dtype.kind == "c" and x.dtype.kind != "c":
        raise TypeError(f"{name}: the source is {source.dtype}, the tensor holds {x.dtype}")
    source = source.to(x.device)
    xp = array_module(x.data)
    try:
        y = xp.broadcast_to(source.data, x.shape).astype(x.dtype, order="C")
    except ValueError:
        raise ValueError(
            f"{name}: shape {source.shape} does not broadcast to the tensor's {x.shape}"
        ) from None
    return record(operation, y, (x, vanishing, None), (source, passed_on, None))
