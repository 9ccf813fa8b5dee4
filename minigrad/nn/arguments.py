"""Checks and conversions of constructor arguments that several layers share."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import dtypes, ops
from ..tensor import wrap
from . import init
from .parameter import Parameter


def integer(layer: str, name: str, value: Any, least: int = 1) -> int:
    """`value` as an integer of at least `least`.

    Raises:
        TypeError: if it is not an integer; ValueError: if it is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{layer}: {name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{layer}: {name} must be at least {least}, got {number}")
    return number


def integers(layer: str, name: str, value: Any, n: int, least: int = 1) -> tuple[int, ...]:
    """`value`, one integer or `n` of them, as a tuple of `n` integers of at least `least`.

    Raises:
        TypeError: if they are no integers; ValueError: if they are too small, or not `n`.
    """
    if not isinstance(value, (tuple, list)):
        return (integer(layer, name, value, least),) * n
    if len(value) != n:
        raise ValueError(f"{layer}: {name} must be one integer or {n}, got {value!r}")
    return tuple(integer(layer, name, item, least) for item in value)


def number(layer: str, name: str, value: Any, low: float, high: float = math.inf) -> Any:
    """`value`, a number in [low, high].

    Raises:
        TypeError: if it is not a number; ValueError: if it is outside, or NaN.
    """
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{layer}: {name} must be a number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{layer}: {name} must be in [{low}, {high}], got {value}")
    return value


def empty(layer: str, *shape: int, dtype: Any = None, device: Any = None) -> Parameter:
    """A parameter of zeros, to be initialised.

    Raises:
        TypeError: if the type is not a floating-point type.
    """
    kind = np.dtype(dtypes.get_default_dtype() if dtype is None else dtype)
    if not dtypes.is_floating(kind):
        raise TypeError(f"{layer}: dtype must be a floating-point type, got {kind}")
    zeros = wrap(np.zeros(shape, kind))
    return Parameter(zeros if device is None else ops.to(zeros, device=device))


def reset(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default for linear layers and convolutions: uniform in ±1/√(fan-in), both.

    For the weight that is Kaiming's uniform initialisation with a = √5 (He et al. 2015).
    """
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(math.prod(weight.shape[1:]))
        init.uniform_(bias, -bound, bound)
