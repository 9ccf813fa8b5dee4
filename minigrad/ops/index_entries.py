"""What stands between the brackets of x[...]: read, checked, and taken apart."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module, is_array

from ..device import check_range
from ..tensor import Tensor, as_tensor, wrap

Index = tuple[Any, ...]
"""What stands between the brackets: integers, slices, None, Ellipsis and arrays."""


class _Here:
    """Stands in an index pattern for the next of the arrays that an edge keeps."""

    def __repr__(self) -> str:
        return "array"


HERE = _Here()
PLAIN = {int, slice, type(None), type(Ellipsis)}  # what an index without arrays is made of


def parse(index: Any, name: str) -> Index:
    """An index with its tensors, lists and truth values as arrays of integers or truth values.

    One without arrays ends in Ellipsis if it contains none, since NumPy gives numbers for elements
    that are picked by integers alone, but views of them with it.

    Raises:
        TypeError: for numbers that are neither, and whatever else is no index.
    """
    found = index if isinstance(index, tuple) else (index,)
    if not PLAIN.issuperset(map(type, found)):
        found = tuple(_entry(i, name) for i in found)
        if any(map(is_array, found)):
            return found
    return found if Ellipsis in found else (*found, Ellipsis)


def placed(index: Index, like: Any, shape: tuple[int, ...], name: str) -> Index:
    """An index whose arrays are where `like` is, checked against `shape` if that is a GPU. Arrays
    are copied to a GPU, but not from there.

    CuPy wraps integers that are out of range around instead of refusing them. Those that come from
    main memory are looked at here, those on the GPU later: see `device.check_range`.

    Raises:
        TypeError: for an array on a GPU where `like` is on the CPU, or on another GPU.
        IndexError: for an index out of range.
    """
    if PLAIN.issuperset(map(type, index)):
        return index
    here = wrap(like).device
    for i in index:
        if is_array(i) and not isinstance(i, np.ndarray) and wrap(i).device != here:
            raise TypeError(f"{name}: the input is on {here}, the index on {wrap(i).device}")
    if isinstance(like, np.ndarray):
        return index
    check_bounds(shape, index, name)
    asarray = array_module(like).asarray
    return tuple(asarray(i) if isinstance(i, np.ndarray) else i for i in index)


def _entry(i: Any, name: str) -> Any:
    if i is None or i is Ellipsis or (isinstance(i, (int, slice)) and not isinstance(i, bool)):
        return i
    if isinstance(i, Tensor):
        i = i.data
    elif isinstance(i, (list, tuple, range)):
        i = as_tensor(list(i)).data if len(i) else np.zeros(0, np.int64)
    elif isinstance(i, (bool, np.generic)):
        i = np.asarray(i)
    elif hasattr(i, "__index__") and not is_array(i):
        return i.__index__()
    if not is_array(i):
        raise TypeError(
            f"{name}: an index is made of integers, slices, None, ... and arrays of integers or "
            f"booleans, not {type(i).__name__}"
        )
    if i.dtype.kind not in "iub":
        raise TypeError(f"{name}: index arrays hold integers or booleans, not {i.dtype}")
    return i if i.ndim or i.dtype.kind == "b" else int(i)


def split_index(index: Index) -> tuple[Index, tuple[Tensor, ...]]:
    """The pattern of an index, which a rule may close over, and the arrays, which it keeps."""
    if PLAIN.issuperset(map(type, index)):
        return index, ()
    pattern = tuple(HERE if is_array(i) else i for i in index)
    return pattern, tuple(wrap(i) for i in index if is_array(i))


def join_index(pattern: Index, arrays: tuple[Any, ...]) -> Index:
    """The index of which `split_index` made the pattern and arrays; these may be tensors by now."""
    found = iter(arrays)
    return tuple(next(found) if i is HERE else i for i in pattern)


def in_stages(index: Index) -> tuple[Index, Index] | None:
    """The integers of an index, and the rest of it, where both integers and arrays are in it.

    PyTorch takes the integers first: x[0, :, [1, 2]] is x[0][:, [1, 2]]. NumPy would treat them as
    arrays, and bring the dimension of the arrays to the front.
    """
    if not any(map(is_array, index)) or int not in map(type, index):
        return None
    first: list[Any] = []
    for i in index:
        first += [i] if i is Ellipsis or type(i) is int else [slice(None)] * _dims_of(i)
    return tuple(first), tuple(i for i in index if type(i) is not int)


def check_bounds(shape: tuple[int, ...], index: Index, name: str) -> None:
    """Refuse arrays of integers beyond the dimensions that they index; those on a GPU later."""
    taken = sum(_dims_of(i) for i in index)
    dim = 0
    for i in index:
        if i is Ellipsis:
            dim += len(shape) - taken
        elif is_array(i) and i.dtype.kind in "iu" and i.size and dim < len(shape):
            check_range(i, functools.partial(_refusal, shape, dim, name), not shape[dim])
        dim += _dims_of(i)


def _refusal(shape: tuple[int, ...], dim: int, name: str, low: int, high: int) -> IndexError | None:
    """The error for indices from `low` to `high`, if it is one."""
    n = shape[dim]
    if low >= -n and high < n:
        return None
    worst = high if high >= n else low
    return IndexError(
        f"{name}: index {worst} is out of bounds for dimension {dim} with size {n} "
        f"(shape of the input {shape})"
    )


def _dims_of(i: Any) -> int:
    """How many dimensions of the indexed array an entry of an index uses up."""
    if i is None or i is Ellipsis:
        return 0
    return i.ndim if is_array(i) and i.dtype.kind == "b" else 1
