"""The largest and the smallest elements along some dimensions, and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from minigrad_kernels.arrays import array_module

from ..arguments import axis_of
from ..graph import OUTPUT
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, wrap
from .compare import eq, isnan, logical_or
from .elementwise import maximum, minimum, where
from .reduce import WRONG_DIMS, axes_for, length, spread, sum
from .registry import differentiable, fails, integers, real, sample, separated


class Extrema(NamedTuple):
    """The largest or smallest element of each slice, and its index along the dimension."""

    values: Tensor
    indices: Tensor


def _check_not_empty(shape: tuple[int, ...], axes: tuple[int, ...], name: str) -> None:
    if length(shape, axes) == 0:
        raise ValueError(
            f"{name}: an input of shape {shape} has no elements along dim {axes} to choose from"
        )


# Values: ties share the gradient

SLICES = [
    sample(separated(2, 3, 4)),
    sample(separated(2, 3, 4), -2),
    sample(separated(2, 3, 4), (0, -1), keepdim=True),
    sample(separated()),
]
EMPTY = fails(ValueError, "no elements along dim", real(2, 0), dim=1)


def _shared(g: Any, x: Any, y: Any, axes: tuple[int, ...]) -> Any:
    """g, shared evenly among the elements of x that equal the extreme value y (or are NaN)."""
    shape = x.shape
    chosen = logical_or(eq(x, spread(y, shape, axes)), isnan(x))
    return where(chosen, spread(g, shape, axes) / spread(sum(chosen, axes), shape, axes), 0)


def _extreme(operation: Any, method: str, x: TensorLike, dim: Any, keepdim: bool) -> Tensor:
    x = as_tensor(x)
    name = operation.__name__
    axes = axes_for(dim, x.ndim, name)
    _check_not_empty(x.shape, axes, name)
    y = getattr(x.data, method)(axis=axes, keepdims=keepdim)
    return record(operation, y, (x, lambda g, x, y: _shared(g, x, y, axes), (x, OUTPUT)))


@differentiable(SLICES, kind="piecewise", errors=[*WRONG_DIMS, EMPTY])
def amax(x: TensorLike, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The largest element along the dimensions; NaN if one is. VJP: ties share g evenly.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: for one named twice, or if
            there are no elements.

    >>> amax([[1.0, 5.0], [7.0, 2.0]], dim=(0, 1))
    tensor(7.)
    """
    return _extreme(amax, "max", x, dim, keepdim)


@differentiable(SLICES, kind="piecewise", errors=[*WRONG_DIMS, EMPTY])
def amin(x: TensorLike, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest element along the dimensions; NaN if one is. VJP: ties share g evenly.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: for one named twice, or if
            there are no elements.
    """
    return _extreme(amin, "min", x, dim, keepdim)


# Indices: the first of equals, and the first NaN if there is one

PLACES = [
    sample(separated(2, 3, 4)),
    sample(separated(2, 3, 4), -2),
    sample(separated(2, 3), 0, keepdim=True),
    sample(separated(2, 3), keepdim=True),
    sample(integers(3, 4, high=3), 1),
    sample(real()),
    sample(real(), -1),
]
WRONG_DIM = [
    fails(IndexError, "dim is 2, but a tensor with 2 dimensions", real(2, 3), dim=2),
    fails(TypeError, "dim must be an integer", real(2, 3), dim=(0, 1)),
    EMPTY,
]


def _place(name: str, x: TensorLike, dim: int | None, keepdim: bool) -> Tensor:
    array = as_tensor(x).data
    axis = None if dim is None else axis_of(dim, array.ndim, name)
    axes = axes_for(axis, array.ndim, name)
    _check_not_empty(array.shape, axes, name)
    if not array.ndim:
        axis = None
    y = getattr(array, name)(axis=axis, keepdims=keepdim)
    return wrap(array_module(array).asarray(y))


@differentiable(PLACES, kind="constant", errors=WRONG_DIM)
def argmax(x: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element along a dimension, the first of equals (or of NaNs).

    Without `dim` the index counts the elements in row-major order.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: if there are no elements.

    >>> argmax([[1, 5, 2], [7, 7, 0]], dim=1)
    tensor([1, 0])
    """
    return _place("argmax", x, dim, keepdim)


@differentiable(PLACES, kind="constant", errors=WRONG_DIM)
def argmin(x: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element along a dimension, the first of equals (or of NaNs).

    Without `dim` the index counts the elements in row-major order.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: if there are no elements.
    """
    return _place("argmin", x, dim, keepdim)


# Both

BOTH = [
    sample(separated(2, 3, 4)),
    sample(separated(5, 2)),
    sample(separated(2, 3, 4), 1),
    sample(separated(2, 3), -1, keepdim=True),
    sample(separated(), 0),
]
PAIR = sample(separated(3), separated(3, low=-0.9, high=0.7))


def _at_index(g: Any, indices: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """g where the index along the axis is that of `indices`, and 0 elsewhere."""
    if not axes:
        return g
    index = as_tensor(indices).data
    (axis,) = axes
    places = array_module(index).arange(shape[axis]).reshape([-1] + [1] * (len(shape) - 1 - axis))
    chosen = spread(index, shape, axes).data == places
    return where(wrap(chosen), spread(g, shape, axes), 0)


def _with_index(
    operation: Any, place: Callable[..., Tensor], x: TensorLike, dim: int, keepdim: bool
) -> Extrema:
    x = as_tensor(x)
    shape = x.shape
    axes = axes_for(axis_of(dim, x.ndim, operation.__name__), x.ndim, operation.__name__)
    _check_not_empty(shape, axes, operation.__name__)
    indices = place(x, dim, keepdim)
    y = x.data.copy()
    if axes:
        (axis,) = axes
        xp = array_module(y)
        y = xp.take_along_axis(x.data, place(x, dim, True).data, axis)
        y = y if keepdim else y.squeeze(axis)
    values = record(operation, y, (x, lambda g, i: _at_index(g, i, shape, axes), indices))
    return Extrema(values, indices)


@differentiable([*BOTH, PAIR], kind="piecewise", errors=WRONG_DIM)
def max(x: TensorLike, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; along a dimension with its index.

    Args:
        x: any tensor.
        dim: None for the largest of all, whose ties share the gradient evenly; an integer for the
            largest along a dimension, of which the first takes the gradient; or another tensor,
            which is `maximum`.
        keepdim: whether the dimension stays, of length 1.

    Returns:
        a tensor, or with an integer `dim` a named tuple (values, indices).

    Raises:
        IndexError: for a dimension that does not exist; ValueError: if there are no elements.

    >>> max([[1.0, 5.0], [7.0, 2.0]], dim=1)
    Extrema(values=tensor([5., 7.]), indices=tensor([1, 0]))
    """
    if dim is None:
        return _extreme(max, "max", x, None, keepdim)
    if isinstance(dim, Tensor):
        return maximum(x, dim)
    return _with_index(max, argmax, x, dim, keepdim)


@differentiable([*BOTH, PAIR], kind="piecewise", errors=WRONG_DIM)
def min(x: TensorLike, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; along a dimension with its index. See `max`."""
    if dim is None:
        return _extreme(min, "min", x, None, keepdim)
    if isinstance(dim, Tensor):
        return minimum(x, dim)
    return _with_index(min, argmin, x, dim, keepdim)
