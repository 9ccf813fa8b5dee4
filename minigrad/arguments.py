"""Reading arguments: integers, numbers, sizes and dimensions, in all the ways to give them.

Each function takes the value first, then the names of the caller and of the argument, for errors.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np


def integer(value: Any, name: str, argument: str, least: int | None = None) -> int:
    """`value` as an integer, of at least `least`.

    Raises:
        TypeError: if it is not an integer (a boolean is none); ValueError: if it is too small.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name}: {argument} must be an integer, got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name}: {argument} must be at least {least}, got {number}")
    return number


def integers(value: Any, n: int, name: str, argument: str, least: int = 1) -> tuple[int, ...]:
    """`n` integers of at least `least`, from that many or from one for all.

    Raises:
        TypeError: if they are no integers; ValueError: if they are too small, or not `n`.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (integer(value, name, argument, least),) * n
    if len(value) != n:
        wanted = "1" if n == 1 else f"1 or {n}"
        raise ValueError(f"{name}: {argument} has {len(value)} numbers, wants {wanted}")
    return tuple(integer(v, name, argument, least) for v in value)


def number(value: Any, name: str, argument: str, low: float, high: float = math.inf) -> Any:
    """`value`, a number in [low, high].

    Raises:
        TypeError: if it is not a number; ValueError: if it is outside, or NaN.
    """
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: {argument} must be a number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: {argument} must be in [{low}, {high}], got {value}")
    return value


def sizes_of(given: Sequence[Any], name: str, argument: str = "shape") -> tuple[int, ...]:
    """The integers of `f(x, 2, 3)` and of `f(x, (2, 3))` alike.

    Raises:
        TypeError: if they are not integers.
    """
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = given[0]
    try:
        return tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(f"{name}: {argument} must be integers, got {tuple(given)}") from None


def lengths_of(given: Sequence[Any], name: str, argument: str = "size") -> tuple[int, ...]:
    """As `sizes_of`, for the shape of something new.

    Raises:
        TypeError: if they are not integers (a boolean is none); ValueError: if one is negative.
    """
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = given[0]
    lengths = tuple(integer(n, name, argument) for n in given)
    if min(lengths, default=0) < 0:
        raise ValueError(f"{name}: {argument} must be at least 0, got {lengths}")
    return lengths


def axis_of(dim: Any, ndim: int, name: str, argument: str = "dim") -> int:
    """`dim` counted from the front. As in PyTorch, a tensor without dimensions has 0 and -1 too.

    Raises:
        IndexError: if there is no such dimension.
        TypeError: if it is no integer.
    """
    n = ndim or 1
    try:
        i = operator.index(dim)
    except TypeError:
        raise TypeError(f"{name}: {argument} must be an integer, got {dim!r}") from None
    if not -n <= i < n:
        raise IndexError(
            f"{name}: {argument} is {i}, but a tensor with {ndim} dimensions has {-n} to {n - 1}"
        )
    return i % n


def axes_of(dims: Any, ndim: int, name: str, argument: str = "dim") -> tuple[int, ...]:
    """One dimension or several, counted from the front.

    Raises:
        IndexError: if one does not exist; ValueError: if one is named twice.
    """
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    axes = tuple(axis_of(d, ndim, name, argument) for d in dims)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: {argument} names a dimension twice: {tuple(dims)}")
    return axes
