"""Picking and replacing elements by arrays of indices, by masks, and by diagonals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module

from .. import dtypes
from ..arguments import axis_of, integer
from ..device import check_range
from ..recording import operands, record, record_view
from ..tensor import Tensor, TensorLike, as_tensor, together, wrap
from .elementwise import passed_on
from .index import add_up, getitem, getitem_adjoint
from .registry import booleans, differentiable, fails, integers, real, sample
from .shape import broadcast_to, reshape


def _whole_numbers(x: Tensor, index: TensorLike, name: str) -> Tensor:
    """A tensor of indices into `x`, where `x` is.

    Raises:
        TypeError: if it does not hold integers, or is on another device.
    """
    if isinstance(index, (list, tuple)) and not index:
        return wrap(array_module(x.data).zeros(0, np.int64))
    index = together(name, x, index)[1]
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: index must hold integers, not {index.dtype}")
    return index


def _check_range(index: Any, dim: int, n: int, name: str) -> None:
    """Refuse indices that are negative or not below n: at once, or, on a GPU, later."""

    def refusal(low: int, high: int) -> IndexError | None:
        if low >= 0 and high < n:
            return None
        worst = low if low < 0 else high
        return IndexError(
            f"{name}: index {worst} is out of bounds for dimension {dim} with size {n}"
        )

    check_range(index, refusal, not n)


def _check_fits(
    index: tuple[int, ...], shape: tuple[int, ...], dim: int | None, name: str, what: str
) -> None:
    """`index` must have as many dimensions as `shape`, and none longer, except `dim`."""
    if len(index) != len(shape) or any(
        m > n and i != dim for i, (m, n) in enumerate(zip(index, shape, strict=True))
    ):
        besides = "" if dim is None else f" in dimensions other than {dim}"
        raise ValueError(
            f"{name}: an index of shape {index} does not fit {what} of shape {shape}: it wants as "
            f"many dimensions, none longer{besides}"
        )


# Along one dimension


@differentiable(
    [
        sample(real(3, 4), 0, integers(2, 4, high=3)),
        sample(real(3, 4), -1, integers(2, 5, high=4)),
        sample(real(4), 0, [1, 1, 3]),
        sample(real(2, 3), 1, integers(2, 0, high=3)),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "gather: index 3 is out of bounds for dimension 0", real(3), 0, [0, 3]),
        fails(IndexError, "gather: index -1 is out of bounds", real(3), 0, [-1]),
        fails(IndexError, "gather: dim is 1", real(3), 1, [0]),
        fails(ValueError, r"gather: an index of shape \(2,\)", real(3, 3), 0, [0, 0]),
        fails(ValueError, "gather: an index of shape", real(1, 3), 1, [[0], [0]]),
        fails(TypeError, "gather: index must hold integers", real(3), 0, real(3)),
    ],
)
def gather(x: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """y[i][j][k] = x[index[i][j][k]][j][k] for dim 0, and so on: the shape is that of `index`.

    Raises:
        IndexError: if an index is negative or too large; on a GPU when something is read from there
            the next time.
        ValueError: if `index` has not as many dimensions as `x`, or is longer beside `dim`.
    """
    x = as_tensor(x)
    index = _whole_numbers(x, index, "gather")
    shape, axis = x.data.shape, axis_of(dim, x.data.ndim, "gather")
    _check_fits(index.shape, shape, axis, "gather", "an input")
    _check_range(index.data, axis, shape[axis] if shape else 1, "gather")
    return _gathered(x, axis, index)


def _gathered(x: TensorLike, axis: int, index: TensorLike) -> Tensor:
    """`gather`, of indices that were checked."""
    x, index = as_tensor(x), as_tensor(index)
    shape = x.data.shape
    if not shape:  # one element, picked by index 0
        return record(gather, x.data.copy(), (x, passed_on, None))
    within = tuple(slice(None if i == axis else n) for i, n in enumerate(index.shape))
    y = array_module(x.data).take_along_axis(x.data[within], index.data, axis)

    def rule(g: Any, index: Any) -> Tensor:
        return _scattered(_zeros(shape, g), axis, index, g)

    return record(gather, y, (x, rule, index))


def _zeros(shape: tuple[int, ...], like: Any) -> Tensor:
    array = as_tensor(like).data
    return wrap(array_module(array).zeros(shape, array.dtype))


@differentiable(
    [
        sample(real(3, 4), 0, integers(2, 4, high=3), real(2, 4)),
        sample(real(3, 4), -1, integers(2, 5, high=4), real(3, 6)),
        sample(real(3), 0, [1, 1, 1, 0], real(4)),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "scatter_add: index 3 is out of bounds", real(3), 0, [3], real(1)),
        fails(ValueError, "scatter_add: .*src of shape", real(3), 0, [0, 0], real(1)),
        fails(ValueError, "scatter_add: .*an input of", real(3), 0, [[0, 0]], real(2)),
        fails(TypeError, "scatter_add: index must hold integers", real(3), 0, real(3), real(3)),
    ],
)
def scatter_add(x: TensorLike, dim: int, index: TensorLike, src: TensorLike) -> Tensor:
    """`x` with src[i][j][k] added at [index[i][j][k]][j][k] for dim 0, and so on.

    Raises:
        IndexError: if an index is negative or too large (see `gather`).
        ValueError: if `index` does not fit `x` (see `gather`), or is longer than `src`.
    """
    x, src = operands(x, src, "scatter_add")
    index = _whole_numbers(x, index, "scatter_add")
    shape, axis = x.data.shape, axis_of(dim, x.data.ndim, "scatter_add")
    _check_fits(index.shape, shape, axis, "scatter_add", "an input")
    _check_fits(index.shape, src.shape, None, "scatter_add", "src")
    _check_range(index.data, axis, shape[axis] if shape else 1, "scatter_add")
    return _scattered(x, axis, index, src)


def _scattered(x: Tensor, axis: int, index: TensorLike, src: TensorLike) -> Tensor:
    """`scatter_add`, of indices that were checked."""
    index, src = as_tensor(index), as_tensor(src)
    shape = x.data.shape
    used = tuple(slice(n) for n in index.shape)
    positions = _positions(shape, axis, index.data)
    y = x.data + add_up(math.prod(shape), positions, src.data[used]).reshape(shape)
    whole, src_shape = src.shape == index.shape, src.shape

    def rule(g: Any, index: Any) -> Tensor:
        picked = _gathered(g, axis, index)
        return picked if whole else getitem_adjoint(picked, used, src_shape)

    return record(scatter_add, y, (x, passed_on, None), (src, rule, index))


def _positions(shape: tuple[int, ...], axis: int, index: Any) -> Any:
    """Where, in row-major order, the elements stand that `index` names along `axis`."""
    xp = array_module(index)
    index = index.astype(np.int64, copy=False)  # a uint8 would not hold the products
    total, stride = 0, 1
    for i in reversed(range(len(shape))):
        step = xp.arange(index.shape[i]).reshape([-1 if j == i else 1 for j in range(len(shape))])
        total = total + (index if i == axis else step) * stride
        stride *= shape[i]
    return xp.broadcast_to(xp.asarray(total, np.int64), index.shape)


@differentiable(
    [
        sample(real(3, 4), 0, integers(5, high=3)),
        sample(real(3, 2, 2), -1, [1, 1, 0]),
        sample(real(3, 4), 1, []),
        sample(real(3), 0, 1),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "index_select: index 4 is out of bounds", real(3, 4), 1, [0, 4]),
        fails(ValueError, "index_select: index wants one dimension, got 2", real(3), 0, [[0]]),
        fails(TypeError, "index_select: index must hold integers", real(3), 0, [0.0]),
    ],
)
def index_select(x: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """The slices along `dim` that `index`, a vector, names.

    Raises:
        IndexError: if an index is negative or too large (see `gather`).
    """
    x = as_tensor(x)
    index = _whole_numbers(x, index, "index_select")
    if index.ndim > 1:
        raise ValueError(f"index_select: index wants one dimension, got {index.ndim}")
    if not x.ndim:
        raise IndexError("index_select: the input has no dimensions")
    shape, axis = x.data.shape, axis_of(dim, x.data.ndim, "index_select")
    _check_range(index.data, axis, shape[axis], "index_select")
    if not index.ndim:
        index = wrap(index.data.reshape(1))
    before = (slice(None),) * axis
    return record(
        index_select,
        x.data.take(index.data, axis),
        (x, lambda g, index: getitem_adjoint(g, (*before, index), shape), index),
    )


@differentiable(
    [
        sample(real(3, 4), integers(2, 4, high=3), 0),
        sample(real(3, 1), integers(3, 2, high=1), 1),
        sample(real(3, 4), integers(1, 4, high=4), 1),
        sample(real(2, 3), [5, 0, 0]),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "take_along_dim: index 6", real(2, 3), [6]),
        fails(ValueError, "take_along_dim: .*do not broadcast", real(2, 3), [[0], [0], [0]], 1),
        fails(ValueError, "take_along_dim: .*as many dimensions", real(2, 3), [0], 1),
        fails(TypeError, "take_along_dim: index must hold integers", real(3), [0.5], 0),
    ],
)
def take_along_dim(x: TensorLike, indices: TensorLike, dim: int | None = None) -> Tensor:
    """As `gather`, after broadcasting beside `dim`; without `dim` from the flattened input.

    What `argsort`, `argmax` and the like return with `keepdim` picks the values.
    """
    x = as_tensor(x)
    indices = _whole_numbers(x, indices, "take_along_dim")
    if dim is None:
        x, indices, dim = reshape(x, -1), reshape(indices, -1), 0
    axis = axis_of(dim, x.ndim, "take_along_dim")
    if x.ndim != indices.ndim:
        raise ValueError(
            f"take_along_dim: the indices want as many dimensions as the input, got shapes "
            f"{indices.shape} and {x.shape}"
        )
    a, b = list(x.shape), list(indices.shape)
    if x.ndim:
        _check_range(indices.data, axis, a[axis], "take_along_dim")
    try:
        common = np.broadcast_shapes(a[:axis] + a[axis + 1 :], b[:axis] + b[axis + 1 :])
    except ValueError:
        raise ValueError(
            f"take_along_dim: indices of shape {indices.shape} and an input of shape {x.shape} do "
            f"not broadcast beside dim {axis}"
        ) from None
    for shape in (a, b):
        shape[:axis], shape[axis + 1 :] = common[:axis], common[axis:]
    return _gathered(broadcast_to(x, a), axis, broadcast_to(indices, b))


# By masks


@differentiable(
    [
        sample(real(3, 4), booleans(3, 4), 0.0),
        sample(real(3, 4), booleans(4), real()),
        sample(real(3), booleans(2, 3), real()),
    ],
    kind="linear",
    errors=[
        fails(TypeError, "masked_fill: mask must hold booleans", real(3), [0, 1, 1], 0.0),
        fails(ValueError, "masked_fill: value must be one number", real(3), [True] * 3, real(3)),
        fails(ValueError, r"masked_fill: .*\(2,\).*\(3,\)", real(3), [True, False], 0.0),
        fails(TypeError, "masked_fill: the value is", [1, 2, 3], [True, False, True], 0.5),
    ],
)
def masked_fill(x: TensorLike, mask: TensorLike, value: TensorLike) -> Tensor:
    """`value`, one number, where `mask` is true, and `x` elsewhere; the two broadcast.

    Raises:
        TypeError: if the mask is not boolean, or the value of a higher kind than `x`.
        ValueError: if the shapes do not broadcast, or `value` is not one number.
    """
    x, mask, value = together("masked_fill", x, mask, value)
    _check_mask(mask, "masked_fill")
    if value.ndim:
        raise ValueError(f"masked_fill: value must be one number, got shape {value.shape}")
    if dtypes.category(value.dtype) > dtypes.category(x.dtype):
        raise TypeError(f"masked_fill: the value is {value.dtype}, the tensor holds {x.dtype}")
    value = as_tensor(value, x.dtype)
    _common_shape(x, mask, "masked_fill")
    return record(
        masked_fill,
        array_module(x.data).where(mask.data, value.data, x.data),
        (x, lambda g, mask: masked_fill(g, mask, 0), mask),
        (value, lambda g, mask: masked_fill(g, ~mask, 0), mask),
    )


def _check_mask(mask: Tensor, name: str) -> None:
    if mask.dtype.kind != "b":
        raise TypeError(f"{name}: mask must hold booleans, not {mask.dtype}")


def _common_shape(x: Tensor, mask: Tensor, name: str) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(x.shape, mask.shape)
    except ValueError:
        raise ValueError(
            f"{name}: a mask of shape {mask.shape} and an input of shape {x.shape} do not broadcast"
        ) from None


@differentiable(
    [sample(real(3, 4), booleans(3, 4)), sample(real(3, 1), booleans(4))],
    kind="linear",
    errors=[
        fails(TypeError, "masked_select: mask must hold booleans", real(3), [0, 1, 1]),
        fails(ValueError, "masked_select: .*broadcast", real(3), [True, False]),
    ],
)
def masked_select(x: TensorLike, mask: TensorLike) -> Tensor:
    """The elements where `mask` is true, as a vector; input and mask broadcast."""
    x, mask = together("masked_select", x, mask)
    _check_mask(mask, "masked_select")
    shape = _common_shape(x, mask, "masked_select")
    return getitem(broadcast_to(x, shape), broadcast_to(mask, shape))


# By diagonals


@differentiable(
    [sample(real(3, 4)), sample(real(2, 3, 3), diagonal=-1), sample(real(3, 2), 1)],
    kind="linear",
    errors=[
        fails(ValueError, "tril: wants at least 2 dimensions, got 1", real(3)),
        fails(TypeError, "tril: diagonal must be an integer, got 0.5", real(3, 3), 0.5),
    ],
)
def tril(x: TensorLike, diagonal: int = 0) -> Tensor:
    """The lower triangles of matrices (..., M, N), zero where column - row > `diagonal`."""
    x, diagonal = _matrices(x, "tril"), integer(diagonal, "tril", "diagonal")
    y = array_module(x.data).tril(x.data, diagonal)
    return record(tril, y, (x, lambda g: tril(g, diagonal), None))


@differentiable(
    [sample(real(3, 4)), sample(real(2, 3, 3), diagonal=-1), sample(real(3, 2), 1)],
    kind="linear",
    errors=[
        fails(ValueError, "triu: wants at least 2 dimensions, got 1", real(3)),
        fails(TypeError, "triu: diagonal must be an integer, got 0.5", real(3, 3), 0.5),
    ],
)
def triu(x: TensorLike, diagonal: int = 0) -> Tensor:
    """The upper triangles of matrices (..., M, N), zero where column - row < `diagonal`."""
    x, diagonal = _matrices(x, "triu"), integer(diagonal, "triu", "diagonal")
    y = array_module(x.data).triu(x.data, diagonal)
    return record(triu, y, (x, lambda g: triu(g, diagonal), None))


def _matrices(x: TensorLike, name: str) -> Tensor:
    x = as_tensor(x)
    if x.ndim < 2:
        raise ValueError(f"{name}: wants at least 2 dimensions, got {x.ndim}")
    return x


@differentiable(
    [
        sample(real(3, 4)),
        sample(real(2, 3, 4), offset=1, dim1=-1, dim2=0),
        sample(real(3, 4), -2),
        sample(real(2, 3), 5),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "diagonal: dim1 is 2", real(2, 3), 0, 2, 1),
        fails(ValueError, "diagonal: dim1 and dim2 are both 0", real(2, 3), 0, 0, -2),
        fails(ValueError, "diagonal: wants at least 2 dimensions", real(2)),
        fails(TypeError, "diagonal: offset must be an integer, got 0.5", real(3, 3), 0.5),
    ],
)
def diagonal(x: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements whose index in `dim2` exceeds that in `dim1` by `offset`, as last dimension.

    A read-only view.
    """
    x, offset = _matrices(x, "diagonal"), integer(offset, "diagonal", "offset")
    shape = x.data.shape
    i, j = _plane(len(shape), dim1, dim2, "diagonal")
    y = x.data.diagonal(offset, i, j)
    return record_view(diagonal, y, (x, lambda g: diagonal_adjoint(g, shape, offset, i, j), None))


def _plane(ndim: int, dim1: int, dim2: int, name: str) -> tuple[int, int]:
    i, j = axis_of(dim1, ndim, name, "dim1"), axis_of(dim2, ndim, name, "dim2")
    if i == j:
        raise ValueError(f"{name}: dim1 and dim2 are both {i}")
    return i, j


@differentiable(
    [sample(real(3), (3, 4)), sample(real(3, 1), (2, 3, 4), offset=1, dim1=-1, dim2=0)],
    kind="linear",
    errors=[fails(ValueError, r"diagonal_adjoint: .*\(2,\).*\(3,\)", real(2), (3, 4))],
)
def diagonal_adjoint(
    x: TensorLike, shape: tuple[int, ...], offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """Zeros of `shape` with `x` on a diagonal: the gradient of `diagonal`, and it of this.

    Raises:
        ValueError: if `x` has not the shape of that diagonal.
    """
    x = as_tensor(x)
    i, j = _plane(len(shape), dim1, dim2, "diagonal_adjoint")
    xp = array_module(x.data)
    y = xp.zeros(shape, x.data.dtype)
    planes = xp.moveaxis(y, (i, j), (-2, -1))
    rows = xp.arange(max(0, min(shape[i] + min(offset, 0), shape[j] - max(offset, 0))))
    rows = rows - min(offset, 0)
    wanted = planes.shape[:-2] + rows.shape
    if x.data.shape != wanted:
        raise ValueError(
            f"diagonal_adjoint: the input has shape {x.data.shape}, the diagonal {wanted}"
        )
    planes[..., rows, rows + offset] = x.data
    return record(diagonal_adjoint, y, (x, lambda g: diagonal(g, offset, i, j), None))
