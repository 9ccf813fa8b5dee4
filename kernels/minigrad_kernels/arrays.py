"""What NumPy and CuPy arrays have in common, and how to tell them apart without importing CuPy."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from .gpus import module_of

Array = Any
"""A `numpy.ndarray` or a `cupy.ndarray`."""

Arrays = TypeVar("Arrays", bound=tuple[Any, ...])


def array_module(*arrays: Any) -> ModuleType:
    """The module, `numpy` or `cupy`, whose functions work on these arrays, where they are."""
    for x in arrays:
        if x.__class__ is np.ndarray:
            return np
        if type(x).__module__.partition(".")[0] == "cupy":
            return module_of(x)
    return np


def special_functions(x: Array) -> ModuleType:
    """The module `scipy.special` whose functions work on this array, where it is."""
    if array_module(x) is np:
        from scipy import special  # on first use: it would triple the time of `import minigrad`

        return special  # type: ignore[no-any-return,unused-ignore]
    from cupyx.scipy import special as of_cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return module_of(x, of_cupy)


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
    check_out(out, result.shape)
    array_module(out).copyto(out, result)
    return out


def deliver_all(results: Arrays, out: Arrays | None) -> Arrays:
    """`deliver` for several results: if one cannot be delivered, none is.

    Raises:
        ValueError: if `out` has another number of arrays; as `deliver`.
    """
    if out is None:
        return results
    check_all_out(out, *(result.shape for result in results))
    for result, place in zip(results, out, strict=True):
        array_module(place).copyto(place, result)
    return out


def check_out(out: Array | None, shape: tuple[int, ...]) -> None:
    """Refuse an array that a result of this shape cannot be written to.

    Raises:
        ValueError: for another shape, or a read-only array.
    """
    if out is None:
        return
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, the result {shape}")
    if not getattr(out.flags, "writeable", True):  # CuPy's arrays always are
        raise ValueError("out is read-only")


def check_all_out(out: Any, *shapes: tuple[int, ...]) -> None:
    """`check_out` for several results.

    Raises:
        ValueError: if `out` has another number of arrays; as `check_out`.
    """
    if out is None:
        return
    if len(out) != len(shapes):
        raise ValueError(f"out has {len(out)} arrays, there are {len(shapes)} results")
    for place, shape in zip(out, shapes, strict=True):
        check_out(place, shape)
