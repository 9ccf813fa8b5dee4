"""Sums, means and other numbers that sum up a tensor along some of its dimensions.

`dim` is None (or empty, as in PyTorch) for all dimensions, an integer, or several; `keepdim` keeps
the summed-up dimensions, of length 1. `dtype` converts the elements first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad_kernels as kernels
from minigrad_kernels.arrays import array_module

from .. import dtypes
from ..arguments import axes_of
from ..recording import record, record_view
from ..tensor import Tensor, TensorLike, as_tensor, wrap
from .cast import to
from .registry import booleans, differentiable, fails, integers, real, sample

SLICES = [
    sample(real(2, 3, 4)),
    sample(real(2, 3, 4), 1),
    sample(real(2, 3, 4), (0, -1), keepdim=True),
    sample(real(2, 3), (), keepdim=True),
    sample(real(3, 2), keepdim=True),
    sample(real()),
    sample(real(2, 0, 3), 1),
]
WRONG_DIMS = [
    fails(IndexError, "dim is 2, but a tensor with 2 dimensions", real(2, 3), dim=2),
    fails(IndexError, "dim is -3", real(2, 3), dim=(0, -3)),
    fails(ValueError, "names a dimension twice", real(2, 3), dim=(1, -1)),
    fails(TypeError, "dim must be an integer, got 0.5", real(2, 3), dim=0.5),
]


def axes_for(dim: Any, ndim: int, name: str) -> tuple[int, ...]:
    """The axes that `dim` names: all, if it names none."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    axes = axes_of(dim, ndim, name)
    return axes if ndim else ()


def shape_kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with length 1 along the axes."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def length(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """How many elements are summed up into one."""
    return math.prod(shape[i] for i in axes)


def as_type(x: TensorLike, dtype: Any) -> Tensor:
    """`x` as a tensor, of that type if it is not None."""
    return as_tensor(x) if dtype is None else to(x, dtype=dtype)


# Sums


@differentiable(
    [
        sample(real(2, 4), (2, 3, 4), 1),
        sample(real(1, 3, 1), (2, 3, 4), (0, -1)),
        sample(real(), (2, 3)),
        sample(real(), ()),
    ],
    kind="linear",
    errors=[fails(ValueError, r"spread: shape \(3,\) .* \(2, 3\)", real(3), (2, 3), 1)],
)
def spread(x: TensorLike, shape: tuple[int, ...], dim: Any = None) -> Tensor:
    """Repeat each element along the dimensions `dim` of `shape`: the adjoint of `sum`. A view.

    Args:
        x: what a sum over `dim` of a tensor of this shape gives, with or without `keepdim`.
        shape: the shape wanted.
        dim: the dimensions that `x` lacks.

    Raises:
        ValueError: if `x` is not of such a shape.
    """
    x = as_tensor(x)
    axes = axes_for(dim, len(shape), "spread")
    kept = shape_kept(shape, axes)
    array = x.data
    if array.shape != kept:
        if array.shape != tuple(n for i, n in enumerate(shape) if i not in axes):
            raise ValueError(f"spread: shape {array.shape} is no sum of {shape} over {axes}")
        array = array.reshape(kept)
    y = array_module(array).broadcast_to(array, shape)
    before = x.data.shape
    return record_view(spread, y, (x, lambda g: sum(g, axes, len(before) == len(shape)), None))


@differentiable(
    [
        *SLICES,
        sample(integers(2, 3, high=5), 0),
        sample(integers(2, 3, high=5), dtype=np.float64),
    ],
    kind="linear",
    errors=WRONG_DIMS,
)
def sum(x: TensorLike, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over the dimensions; of integers and booleans an int64. VJP: g, repeated.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: for one named twice.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], dim=0)
    tensor([4., 6.])
    """
    x = as_type(x, dtype)
    shape = x.data.shape
    axes = axes_for(dim, len(shape), "sum")
    y = total(x.data, axes, keepdim)
    if dtype is not None:
        y = y.astype(dtype, copy=False)
    return record(sum, y, (x, lambda g: spread(g, shape, axes), None))


def total(array: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    """The sums of an array: of integers in int64, of float16 in float32 and then rounded."""
    if array.dtype.kind in "biu":
        return array.sum(axis=axes, keepdims=keepdim, dtype=dtypes.int64)
    if array.dtype == dtypes.float16:
        return array.sum(axis=axes, keepdims=keepdim, dtype=dtypes.float32).astype(array.dtype)
    return kernels.sums(array, axes=axes, keepdims=keepdim)


NOT_REAL = fails(TypeError, "wants floating-point numbers, got int64", integers(2, high=5))


def real_numbers(x: TensorLike, name: str) -> Tensor:
    """`x` as a tensor, which must not hold integers or booleans."""
    x = as_tensor(x)
    if x.data.dtype.kind not in "fc":
        raise TypeError(f"{name}: wants floating-point numbers, got {x.dtype}; convert it first")
    return x


@differentiable(
    [
        *(s for s in SLICES if s.args[0].shape != (2, 0, 3)),
        sample(integers(2, 3, high=5), 0, dtype=np.float64),
    ],
    kind="linear",
    errors=[*WRONG_DIMS, NOT_REAL],
)
def mean(x: TensorLike, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over the dimensions; of nothing NaN. VJP: g / n, repeated, n the number of elements.

    Raises:
        TypeError: for integers (unless `dtype` is another type).
        IndexError: for a dimension that does not exist; ValueError: for one named twice.

    >>> mean([[1.0, 2.0], [3.0, 4.0]], dim=1)
    tensor([1.5, 3.5])
    """
    x = real_numbers(as_type(x, dtype), "mean")
    shape = x.data.shape
    axes = axes_for(dim, len(shape), "mean")
    n = length(shape, axes)
    if n == 0:
        y = total(x.data, axes, keepdim) + np.nan
    elif x.data.dtype == dtypes.float16:
        y = (total(x.data.astype("f4"), axes, keepdim) / n).astype(x.data.dtype)
    else:
        y = total(x.data, axes, keepdim) / n
    return record(mean, y, (x, lambda g: spread(g / n if n else g, shape, axes), None))


# Truth


TRUTHS = [
    sample(booleans(2, 3, 4)),
    sample(booleans(2, 3, 4), (0, -1), keepdim=True),
    sample(integers(3, 4, high=2), 1),
    sample(real(), keepdim=True),
    sample(booleans(2, 0), 1),
]


@differentiable(TRUTHS, kind="constant", errors=WRONG_DIMS)
def all(x: TensorLike, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements along the dimensions are true (not 0); true where there are none.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: for one named twice.
    """
    array = as_tensor(x).data
    axes = axes_for(dim, array.ndim, "all")
    return wrap(array_module(array).asarray(array.all(axis=axes, keepdims=keepdim)))


@differentiable(TRUTHS, kind="constant", errors=WRONG_DIMS)
def any(x: TensorLike, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether one element or more along the dimensions is true (not 0); false where there are none.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: for one named twice.
    """
    array = as_tensor(x).data
    axes = axes_for(dim, array.ndim, "any")
    return wrap(array_module(array).asarray(array.any(axis=axes, keepdims=keepdim)))
