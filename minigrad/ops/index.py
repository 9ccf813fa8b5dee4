"""Reading and writing by index, as NumPy and PyTorch index arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module, is_array

from .. import dtypes
from ..inplace import writes
from ..recording import record, record_view
from ..tensor import Tensor, TensorLike, as_tensor, together, wrap
from .index_entries import (
    PLAIN,
    Index,
    check_bounds,
    in_stages,
    join_index,
    parse,
    placed,
    split_index,
)
from .registry import differentiable, fails, integers, real, sample
from .shape import reshape


def _look_up(array: Any, index: Index, name: str) -> Any:
    """array[index], with errors that name the operation.

    Raises:
        IndexError: if the index leaves the array.
        TypeError, ValueError: if a slice is not made of integers, or its step is 0.
    """
    try:
        return array[index]
    except (IndexError, TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error} (shape of the input {array.shape})") from None


# Sums by position: what the gradients of all kinds of picking come down to


def add_up(size: int, positions: Any, values: Any) -> Any:
    """A vector of length `size` with each of `values` added at its position.

    Floating-point numbers are added in float64. `positions` may be repeated, in any shape.
    """
    xp = array_module(values)
    positions, values = positions.ravel(), values.ravel()
    dtype = values.dtype
    if dtype.kind == "f" and xp is np:
        return np.bincount(positions, values, size).astype(dtype, copy=False)
    if dtype.kind == "f":  # CuPy's bincount looks at the positions, and waits for the GPU
        total = xp.zeros(size, np.float64)
        xp.add.at(total, positions, values.astype(np.float64))
        return total.astype(dtype, copy=False)
    if dtype.kind == "c":
        real, imaginary = add_up(size, positions, values.real), add_up(size, positions, values.imag)
        return real + 1j * imaginary
    # As unsigned numbers, which wrap around as signed ones do: those CuPy can add up.
    total = xp.zeros(size, np.uint64)
    xp.add.at(total, positions, values.astype(np.int64).view(np.uint64))
    return total.view(np.int64).astype(dtype)


def _add_rows(length: int, rows: Any, values: Any) -> Any:
    """As `add_up` for rows: (length, ...) with each of `values` (N, ...) added to its row.

    Sorted by row, what belongs together stands together, and is summed in one go.
    """
    order = rows.argsort(kind="stable")
    rows = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    total = np.zeros((length, *values.shape[1:]), values.dtype)
    total[rows[starts]] = np.add.reduceat(values[order], starts, axis=0)
    return total


def _put(values: Any, index: Index, shape: tuple[int, ...], name: str) -> Any:
    """Zeros of that shape with the values added where `index` points.

    Raises:
        IndexError: if the index leaves the shape; ValueError: if it picks another shape.
    """
    xp = array_module(values)
    arrays = [i for i in index if is_array(i)]
    if all(i.dtype.kind == "b" for i in arrays):  # nothing can be named twice
        total = xp.zeros(shape, values.dtype)
        _check_picked(values, _look_up(total, index, name).shape, name)
        total[index] = values
        return total
    if len(index) == 1 and xp is np and values.ndim > arrays[0].ndim and values.size:
        check_bounds(shape, index, name)
        _check_picked(values, arrays[0].shape + shape[1:], name)
        rows = arrays[0].ravel()
        rows = np.where(rows < 0, rows + shape[0], rows)
        return _add_rows(shape[0], rows, values.reshape(len(rows), *shape[1:]))
    # Number the elements, and let the index itself say which numbers it picks.
    size = math.prod(shape)
    positions = _look_up(xp.arange(size).reshape(shape), index, name)
    _check_picked(values, positions.shape, name)
    return add_up(size, positions, values).reshape(shape)


def _check_picked(values: Any, picked: tuple[int, ...], name: str) -> None:
    if values.shape != picked:
        raise ValueError(f"{name}: the input has shape {values.shape}, the index picks {picked}")


# x[index]

_PICKED = [
    sample(real(3, 4), 1),
    sample(real(3, 4), (-1, slice(None, None, -2))),
    sample(real(3, 4), (Ellipsis, None, slice(1, 3))),
    sample(real(3, 4), ()),
    sample(real(4), [0, 2, 2, -1]),
    sample(real(3, 2), [[0, 2], [2, -3]]),
    sample(real(3, 4), (slice(None), [1, 1, 3])),
    sample(real(3, 4), ([[0], [1]], [0, 0, 3])),
    sample(real(3, 2, 2), ([2, 2], slice(None), [0, 0])),
    sample(real(3), [True, False, True]),
    sample(real(2, 2), [[True, False], [False, False]]),
    sample(real(2, 3), (1, [2, 2, 0])),
    sample(real(2, 2, 3), (1, None, Ellipsis, [2, 2])),
    sample(real(3, 4), []),
    sample(real(4), integers(2, 3, low=-4, high=4)),
    sample(real(), None),
    sample(real(2), True),
]


@differentiable(
    _PICKED,
    kind="linear",
    errors=[
        fails(IndexError, "getitem: index 3 is out of bounds", real(3, 2), 3),
        fails(IndexError, "getitem: index -4 is out of bounds", real(3, 2), [[0, -4]]),
        fails(IndexError, "getitem: too many indices", real(3), (0, 0)),
        fails(IndexError, "getitem: boolean index", real(3), [True, False]),
        fails(TypeError, "getitem: index arrays hold integers", real(3), real(2)),
        fails(TypeError, "getitem: an index is made of", real(3), "a"),
        fails(TypeError, "getitem: an index is made of", real(3), 1.0),
        fails(TypeError, "getitem: slice indices must be integers", real(3), slice(0.5)),
        fails(ValueError, "getitem: slice step cannot be zero", real(3), slice(0, 1, 0)),
    ],
)
def getitem(x: TensorLike, index: Any) -> Tensor:
    """x[index]: integers, slices, None, Ellipsis give a view; integer and boolean arrays a copy.

    An element that is picked several times gets the sum of the gradients. As in PyTorch, integers
    beside arrays are taken first: x[0, :, [1, 2]] is x[0][:, [1, 2]].

    Raises:
        IndexError: if the index is out of range, or has too many entries. Of indices on a GPU that
            is said when something is read from there the next time: to look at once would be to
            wait for it.
        TypeError: if it is none.

    >>> getitem([[1, 2], [3, 4]], ([0, 1, 1], [0, 1, 1]))
    tensor([1, 4, 4])
    """
    x = as_tensor(x)
    index = parse(index, "getitem")
    stages = in_stages(index)
    if stages:
        return getitem(getitem(x, stages[0]), stages[1])
    if not PLAIN.issuperset(map(type, index)):
        return _picked(x, placed(index, x.data, x.data.shape, "getitem"))
    y = _look_up(x.data, index, "getitem")
    shape = x.data.shape
    return record_view(getitem, y, (x, lambda g: getitem_adjoint(g, index, shape), None))


def _picked(x: Tensor, index: Index) -> Tensor:
    """`getitem`, of an index with arrays that was checked."""
    y = _look_up(x.data, index, "getitem")
    pattern, arrays = split_index(index)
    shape = x.data.shape

    def rule(g: Any, *arrays: Any) -> Tensor:
        return _added(as_tensor(g), parse(join_index(pattern, arrays), "getitem_adjoint"), shape)

    return record(getitem, y, (x, rule, arrays))


@differentiable(
    [
        sample(real(4), 1, (3, 4)),
        sample(real(2), (-1, slice(None, None, -2)), (3, 4)),
        sample(real(), (0,), (2,)),
        sample(real(4), [0, 2, 2, -1], (4,)),
        sample(real(2, 2, 3), [[0, 2], [2, -3]], (3, 3)),
        sample(real(3, 3), (slice(None), [1, 1, 3]), (3, 4)),
        sample(real(2), [True, False, True], (3,)),
        sample(real(0, 4), [], (3, 4)),
    ],
    kind="linear",
    errors=[
        fails(ValueError, r"getitem_adjoint: .*\(3,\).*\(2,\)", real(3), [0, 1], (2,)),
        fails(IndexError, "getitem_adjoint: ", real(2), [0, 2], (2,)),
    ],
)
def getitem_adjoint(x: TensorLike, index: Any, shape: tuple[int, ...]) -> Tensor:
    """Zeros of `shape` with `x` added at `index`: the gradient of `getitem`, and it of this.

    Raises:
        IndexError, TypeError: as `getitem`.
        ValueError: if `x` has not the shape that `getitem` gives for this index.
    """
    x = as_tensor(x)
    index = parse(index, "getitem_adjoint")
    return _added(x, placed(index, x.data, shape, "getitem_adjoint"), shape)


def _added(x: Tensor, index: Index, shape: tuple[int, ...]) -> Tensor:
    """`getitem_adjoint`, of an index that was checked."""
    pattern, arrays = split_index(index)
    y = _put(x.data, index, shape, "getitem_adjoint")
    if not arrays:
        return record(getitem_adjoint, y, (x, lambda g: getitem(g, pattern), None))

    def rule(g: Any, *arrays: Any) -> Tensor:
        return _picked(as_tensor(g), parse(join_index(pattern, arrays), "getitem"))

    return record(getitem_adjoint, y, (x, rule, arrays))


# x[index] = value


@differentiable(
    [
        sample(real(3, 4), 1, real(4)),
        sample(real(3, 4), (slice(None), slice(1, 3)), real()),
        sample(real(3, 4), (slice(None), [0, 3]), real(3, 1)),
        sample(real(3, 4), 0, real(1, 4)),
        sample(real(3, 4), [1, -2, 0], real(3, 4)),
        sample(real(2, 2), [[True, False], [True, True]], real(3)),
        sample(real(3), [0, 0, 2], real(3)),
        sample(real(2, 2, 3), (1, slice(None), [0, 2]), real(2, 2)),
        sample(real(3), [], real(0)),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "setitem: index 3 is out of bounds", real(3, 2), 3, 1.0),
        fails(ValueError, r"setitem: .*\(3,\).*\(2,\)", real(3, 2), 0, real(3)),
        fails(TypeError, "setitem: index arrays hold integers", real(3), real(2), 1.0),
    ],
)
def setitem(x: TensorLike, index: Any, value: TensorLike) -> Tensor:
    """A copy of `x` in which the elements at `index` are `value`, broadcast and cast to its type.

    Where the index names an element several times the last value stays, and gets the gradient.

    Raises:
        IndexError, TypeError: as `getitem`; TypeError also for complex numbers into real ones. With
            indices on a GPU that are out of range, other elements are overwritten until it is said.
        ValueError: if the value does not broadcast to what the index picks.
    """
    x, value = together("setitem", x, value)
    index = parse(index, "setitem")
    stages = in_stages(index)
    if stages:
        return setitem(x, stages[0], setitem(getitem(x, stages[0]), stages[1], value))
    index = placed(index, x.data, x.data.shape, "setitem")
    value, picked = _fitted(x, index, value)
    xp = array_module(x.data)
    y = x.data.copy()
    _write(y, index, value.data, picked)
    pattern, arrays = split_index(index)
    n = len(arrays)
    last: tuple[Tensor, ...] = ()
    if value.node is not None and any(a.dtype.kind != "b" for a in arrays):
        last = (_last_written(x.data.shape, index, picked, xp),)

    def of_value(g: Any, *kept: Any) -> Any:
        g = getitem(g, join_index(pattern, kept[:n]))
        return g * kept[n] if len(kept) > n else g

    return record(
        setitem,
        y,
        (x, lambda g, *a: setitem(g, join_index(pattern, a), 0), arrays),
        (value, of_value, arrays + last),
    )


def _write(array: Any, index: Index, values: Any, picked: tuple[int, ...]) -> None:
    """array[index] = values, of which those that come last stay, also on a GPU."""
    if isinstance(array, np.ndarray) or not any(is_array(i) and i.dtype.kind != "b" for i in index):
        array[index] = values
    elif math.prod(picked):
        # A GPU writes in any order, so each element takes what belongs to it.
        xp = array_module(array)
        writer, _ = _writers(array.shape, index, picked, xp)
        each = xp.broadcast_to(values, picked).ravel()[xp.maximum(writer, 1) - 1]
        xp.copyto(array, each, casting="unsafe", where=writer > 0)


def _writers(
    shape: tuple[int, ...], index: Index, picked: tuple[int, ...], xp: Any
) -> tuple[Any, Any]:
    """For each element of `shape` the number of the value that stays there, and all numbers.

    The values, of shape `picked`, are numbered from 1; 0 is where none is written.
    """
    turn = xp.arange(1, math.prod(picked) + 1, dtype=np.uint64).reshape(picked)
    writer = xp.zeros(shape, np.uint64)
    if xp is np:
        writer[index] = turn
    else:
        xp.maximum.at(writer, index, turn)
    return writer, turn


def _last_written(shape: tuple[int, ...], index: Index, picked: tuple[int, ...], xp: Any) -> Tensor:
    """Which of the values written at an index, of shape `picked`, no later one has overwritten."""
    writer, turn = _writers(shape, index, picked, xp)
    return wrap(writer[index] == turn)


def _fitted(x: Tensor, index: Any, value: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The value, ready to be written to `x[index]`, and the shape of what the index picks."""
    if dtypes.category(value.dtype) == 3 != dtypes.category(x.dtype):
        raise TypeError(f"setitem: the value is {value.dtype}, the tensor holds {x.dtype}")
    picked = _look_up(x.data, index, "setitem").shape
    extra = value.ndim - len(picked)
    if extra > 0 and value.shape[:extra] == (1,) * extra:
        value = reshape(value, value.shape[extra:])
    try:
        array_module(x.data).broadcast_to(value.data, picked)
    except ValueError:
        raise ValueError(
            f"setitem: a value of shape {value.shape} does not broadcast to {picked}, which the "
            f"index picks of shape {x.shape}"
        ) from None
    return value, picked


@writes(setitem)
def _write_items(x: Tensor, index: Any, value: TensorLike) -> None:
    """x[index] = value in the memory of `x`, without a copy of the rest."""
    index = parse(index, "setitem")
    stages = in_stages(index)
    if stages:
        return _write_items(wrap(_look_up(x.data, stages[0], "setitem")), stages[1], value)
    index = placed(index, x.data, x.data.shape, "setitem")
    value, picked = _fitted(x, index, together("setitem", x, value)[1])
    _write(x.data, index, value.data, picked)
