"""Compiled code on disk: one file for each function and combination of argument types.

The directory's name says which sources and versions the code is from, the file's which function,
types and CPU. A file is written under another name and then moved to its place: processes that
start at once in an empty cache compile the same code and leave one whole file. Each begins with a
digest of the rest, so that a damaged one counts as missing. (Numba's own files share an index,
which two processes can leave pointing to code for other types.)
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching
from numba.core.serialize import dumps

UNUSED = 30 * 24 * 3600.0
"""Seconds after which code of other sources or versions is deleted, if nothing has used it."""

_DIGEST = hashlib.sha256
_lock = threading.Lock()
_warned = False


@functools.cache
def _sources() -> str:
    """A digest of all that compiled code depends on beside the CPU, which Numba's key knows."""
    digest = _DIGEST()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    for part in (numba.__version__, llvmlite.__version__, np.__version__, sys.version):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


@functools.cache
def _file_digest(path: str) -> str:
    """A digest of the source file: functions outside this package can be compiled, too."""
    try:
        return _DIGEST(Path(path).read_bytes()).hexdigest()[:8]
    except OSError:  # typed in, there is no file
        return "none"


def cache_directory() -> Path:
    """Where compiled code is kept: in MINIGRAD_CACHE_DIR, or a folder of the user's cache.

    Raises:
        RuntimeError: if the user has no home directory.
    """
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
def writable_directory() -> Path | None:
    """The cache's directory, made if need be; None, after a warning, if it cannot be written."""
    try:
        directory = cache_directory()
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            _delete_unused(directory)
        probe = directory / f"probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()  # the directory's time of change says when it was last used
        probe.unlink()
    except (OSError, RuntimeError) as error:
        _warn(error)
        return None
    return directory


def _delete_unused(directory: Path) -> None:
    """Delete the directories beside this one that no process has used for long."""
    for other in directory.parent.glob("compiled-*"):
        try:
            unused = other != directory and time.time() - other.stat().st_mtime > UNUSED
        except OSError:  # another process was faster
            continue
        if unused:
            shutil.rmtree(other, ignore_errors=True)


def _warn(error: Exception) -> None:
    """Say once that code cannot be kept."""
    global _warned
    with _lock:
        if _warned:
            return
        _warned = True
    warnings.warn(
        f"minigrad cannot keep compiled kernels ({error}), so every process compiles them anew; "
        "set MINIGRAD_CACHE_DIR to a directory that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


class _Files:
    """The files of one function, each a digest and the pickled key and code."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name

    def _path(self, key: Any) -> Path:
        return self.directory / f"{self.name}.{_DIGEST(repr(key).encode()).hexdigest()[:16]}.nbc"

    def load(self, key: Any) -> Any:
        """The code for that key; None if there is none, or it was damaged."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        length = _DIGEST().digest_size
        if _DIGEST(content[length:]).digest() != content[:length]:
            return None
        stored, code = pickle.loads(content[length:])
        return code if stored == key else None

    def save(self, key: Any, code: Any) -> None:
        """Keep the code for that key, or warn that it cannot be kept."""
        content = dumps((key, code))
        path = self._path(key)
        partial = path.with_name(f"{path.name}-{os.getpid()}-{threading.get_ident()}")
        try:
            partial.write_bytes(_DIGEST(content).digest() + content)
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            if not path.exists():  # Windows refuses to replace a file that is being read
                _warn(error)

    def flush(self) -> None:
        """Delete the function's files."""
        for path in self.directory.glob(f"{self.name}.*"):
            path.unlink(missing_ok=True)


class _Locator(caching._CacheLocator):
    """Tells Numba where compiled code lies; the name of the directory says how fresh it is."""

    def __init__(self, function: Callable[..., Any], path: str) -> None:
        self.function = function
        self._py_file = path  # Numba names it where code cannot be cached

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)

    def ensure_cache_path(self) -> None:
        """It was made before; if it has gone since, `_Files.save` warns."""

    def get_cache_path(self) -> str:
        return str(writable_directory())

    def get_source_stamp(self) -> str:
        return _sources()

    def get_disambiguator(self) -> str:
        return str(self.function.__code__.co_firstlineno)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012


class Cache(caching.FunctionCache):
    """Numba's cache of a function's compiled code, kept in `_Files`."""

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any], directory: Path, variant: str) -> None:
        super().__init__(function)
        source = _file_digest(function.__code__.co_filename)
        self._cache_file = _Files(directory, f"{self._impl.filename_base}-{variant}-{source}")
