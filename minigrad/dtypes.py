"""Number types: NumPy's, under PyTorch's names, with PyTorch's rules for mixing them."""

from __future__ import annotations

from typing import Any

import numpy as np

float16 = half = np.dtype(np.float16)
float32 = float_ = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
complex64 = np.dtype(np.complex64)
complex128 = np.dtype(np.complex128)
uint8 = np.dtype(np.uint8)
int8 = np.dtype(np.int8)
int16 = short = np.dtype(np.int16)
int32 = int_ = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
bool_ = np.dtype(np.bool_)

_default = float32
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}  # bool < integer < real < complex


def get_default_dtype() -> np.dtype[Any]:
    """The type of tensors made from Python floats, and of true division of integers."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Make `dtype` (float16, float32 or float64) the type of tensors made from Python floats."""
    global _default
    wanted = np.dtype(dtype)
    if wanted.kind != "f":
        raise TypeError(f"set_default_dtype: wants a floating-point type, got {wanted}")
    _default = wanted


def of_python(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of tensors made from Python's numbers, which NumPy reads as `dtype`."""
    if dtype == float64:
        return _default
    return real_and_complex(_default)["c"] if dtype == complex128 else dtype


def real_and_complex(dtype: np.dtype[Any]) -> dict[str, np.dtype[Any]]:
    """The types, by kind, of real and of complex numbers as precise as those of a type that is one
    of them. Beside float16 stands complex64: there is none of half precision."""
    if dtype.kind == "c":
        return {"f": float64 if dtype == complex128 else float32, "c": dtype}
    return {"f": dtype, "c": np.promote_types(dtype, complex64)}


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether gradients of tensors of this type are defined (real floating-point numbers)."""
    return dtype.kind == "f"


def category(dtype: np.dtype[Any]) -> int:
    """0 for bool, 1 for integers, 2 for real and 3 for complex numbers.

    Raises:
        TypeError: for anything else (strings, dates, objects).
    """
    try:
        return _CATEGORY[dtype.kind]
    except KeyError:
        raise TypeError(f"tensors hold numbers and booleans, not {dtype}") from None


def promote(
    a: np.dtype[Any], b: np.dtype[Any], a_is_scalar: bool = False, b_is_scalar: bool = False
) -> np.dtype[Any]:
    """The type in which values of types `a` and `b` are combined.

    The higher category wins (a float tensor stays float32 beside int64). Within one category the
    wider type wins, except that a 0-dimensional tensor does not widen one that has dimensions.
    """
    ca, cb = category(a), category(b)
    if ca != cb:
        high, low = (a, b) if ca > cb else (b, a)
        if max(ca, cb) == 3 and low == float64:
            return complex128
        return high
    if a_is_scalar != b_is_scalar:
        return b if a_is_scalar else a
    return np.promote_types(a, b)
