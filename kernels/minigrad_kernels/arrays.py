"""What NumPy and CuPy arrays have in common, and how to tell them apart without importing CuPy."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

Array = Any
"""A `numpy.ndarray` or a `cupy.ndarray`."""

Arrays = TypeVar("Arrays", bound=tuple[Any, ...])


def array_module(*arrays: Any) -> ModuleType:
    """The module, `numpy` or `cupy`, whose functions work on these arrays."""
    for x in arrays:
        if x.__class__ is np.ndarray:
            return np
        if type(x).__module__.partition(".")[0] == "cupy":
            return sys.modules["cupy"]
    return np


def is_array(x: Any) -> bool:
    """Whether `x` is a NumPy or CuPy array."""
    return isinstance(x, np.ndarray) or (
        type(x).__name__ == "ndarray" and type(x).__module__.partition(".")[0] == "cupy"
    )


def summing_type(*arrays: Array) -> Any:
    """The type to sum products of these arrays in: their common one, but at least float32."""
    dtype = np.result_type(*(x.dtype for x in arrays))
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def deliver(result: Array, out: Array | None) -> Array:
    """`result` itself, or `out`, if it was given, after `result` was copied there.

    Raises:
        ValueError: if `out` has another shape, or is read-only.
    """
    if out is None:
        return result
    _check(result, out)
    array_module(out).copyto(out, result)
    return out


def deliver_all(results: Arrays, out: Arrays | None) -> Arrays:
    """`deliver` for several results: if one cannot be delivered, none is.

    Raises:
        ValueError: if `out` has another number of arrays; as `deliver`.
    """
    if out is None:
        return results
    if len(out) != len(results):
        raise ValueError(f"out has {len(out)} arrays, there are {len(results)} results")
    for result, place in zip(results, out, strict=True):
        _check(result, place)
    for result, place in zip(results, out, strict=True):
        array_module(place).copyto(place, result)
    return out


def _check(result: Array, out: Array) -> None:
    """Raise the error that writing `result` into `out` would."""
    if out.shape != result.shape:
        raise ValueError(f"out has shape {out.shape}, the result {result.shape}")
    if not getattr(out.flags, "writeable", True):  # CuPy's arrays always are
        raise ValueError("out is read-only")
