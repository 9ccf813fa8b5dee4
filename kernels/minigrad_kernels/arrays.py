"""What NumPy and CuPy arrays have in common, and how to tell them apart without importing CuPy."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A `numpy.ndarray` or a `cupy.ndarray`."""


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
