"""Kernels in CUDA C++: for CuPy arrays on the GPU, for NumPy arrays on the CPU.

A kernel stands in a .cu file; the Python file of the same name launches it::

    add = kernel("add.cu", "add", T="float")  # void add(const T* a, const T* b, T* sum, int n)
    add(ceil_divide(n, 256), 256, a, b, out, n)

The arrays decide where it runs. For NumPy arrays the very same source is compiled by the machine's
C++ compiler and run by an emulator, which reports what a GPU would hide: divergent barriers,
deadlocks, lanes that are missing from a warp operation, unwritten shared memory that was read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arrays import ceil_divide as ceil_divide
    from .emulator.run import running as running
    from .errors import (
        CompileError as CompileError,
        EmulatorError as EmulatorError,
        LaunchError as LaunchError,
    )
    from .launch import KernelFunction as KernelFunction
    from .source import Source as Source, kernel as kernel

_PUBLIC = {
    "ceil_divide": "arrays",
    "running": "emulator.run",
    "CompileError": "errors",
    "EmulatorError": "errors",
    "LaunchError": "errors",
    "KernelFunction": "launch",
    "Source": "source",
    "kernel": "source",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: who runs no CUDA kernel imports no compiler's runtime."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)


__all__ = list(_PUBLIC)
