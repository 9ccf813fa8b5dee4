"""Compiling with Numba: one decorator, code cached on disk, and the threads that run it.

    @compiled
    def doubled(x, y):
        for start in prange(chunks(x.size)):
            ...

`doubled(x, y)` runs on several threads, `doubled.serial(x, y)` on the calling one, without the
microsecond or two that waking the others takes. Both run the same loop over the same chunks, so
that they give the same bits.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching

from .. import threads

CHUNK = 16384
"""Elements of a chunk of elementwise work: 64 KiB of float32, so that what a chunk reads and writes
stays in the L2 cache; also the least work for which waking a second thread pays (measured: a
chunk of a cheap function takes 3 µs from the cache, waking a thread that still spins 1.5 µs)."""


@numba.njit
def chunks(size: int) -> int:
    """How many chunks `size` elements make."""
    return (size + CHUNK - 1) // CHUNK


@numba.njit
def span(chunk: int, size: int) -> slice:
    """The elements of a chunk.

    Slice arrays with it and count from 0: where Numba cannot tell that an index is not negative, it
    allows for negative ones, and the loop is not vectorised.
    """
    return slice(chunk * CHUNK, min((chunk + 1) * CHUNK, size))


@functools.cache
def _sources() -> str:
    """A digest of all that compiled code depends on beside the CPU, which Numba's key knows."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    for part in (numba.__version__, llvmlite.__version__, np.__version__, sys.version):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def cache_directory() -> Path:
    """Where compiled code is kept: MINIGRAD_CACHE_DIR, or a folder in the user's cache."""
    chosen = os.environ.get("MINIGRAD_CACHE_DIR")
    if chosen:
        base = Path(chosen)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "minigrad"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches" / "minigrad"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigrad"
    return base / f"compiled-{_sources()}"


@functools.cache
def _writable_cache_directory() -> str | None:
    """The cache's directory, made if need be; None, after a warning, if it cannot be written."""
    try:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f"probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        warnings.warn(
            f"minigrad cannot keep compiled kernels ({error}), so every process compiles them "
            "anew; set MINIGRAD_CACHE_DIR to a directory that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return str(directory)


class _Locator(caching._CacheLocator):
    """Tells Numba where compiled code lies; the name of the directory says how fresh it is."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func)

    def get_cache_path(self) -> str | None:
        return _writable_cache_directory()

    def get_source_stamp(self) -> str:
        return _sources()

    def get_disambiguator(self) -> str:
        return str(self.function.__code__.co_firstlineno)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012


class _SerialImplementation(_Implementation):
    @property
    def filename_base(self) -> str:
        return f"{super().filename_base}-serial"


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation


class _SerialCache(caching.FunctionCache):
    _impl_class = _SerialImplementation


class Compiled:
    """A function to compile, on first use for each combination of argument types."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options

    @functools.cached_property
    def serial(self) -> Callable[..., Any]:
        """It, on the calling thread alone."""
        return self._dispatcher(_SerialCache, parallel=False)

    @functools.cached_property
    def parallel(self) -> Callable[..., Any]:
        """It, on as many threads as `threads.get_num_threads` says."""
        return threads.pooled(self._dispatcher(_Cache, parallel=True))

    def _dispatcher(self, cache: type, **options: Any) -> Any:
        made = numba.njit(nogil=True, error_model="numpy", **self.options, **options)(self.function)
        if _writable_cache_directory() is not None:
            made._cache = cache(self.function)
        return made

    def __call__(self, *args: Any) -> Any:  # noqa: D102
        return self.parallel(*args)


def compiled(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorate a function that Python calls. `options` are those of `numba.njit`, as fastmath.

    Functions that only compiled functions call are decorated with `numba.njit` itself.
    """
    if function is None:
        return functools.partial(compiled, **options)
    return Compiled(function, **options)
