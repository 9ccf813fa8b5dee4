"""What took time to make, kept on disk for other processes: where, and how it is written there.

Processes may make the same thing at once, and may be stopped at any moment. So a file is written
under a name that no other process uses, and then takes its own name as a whole.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNUSED = 30 * 24 * 3600.0
"""Seconds after which a file that nothing has used is deleted. Who uses one touches it."""


def directory(name: str) -> Path:
    """The folder of that name in MINIGRAD_CACHE_DIR, or in what the system has for caches.

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
    return base / name


@contextmanager
def arriving(path: Path) -> Iterator[Path]:
    """Another name to write a file under, which then takes its place as a whole."""
    partial = path.with_name(f"{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def delete_unused(paths: Iterable[Path]) -> None:
    """Delete those of the files that nothing has used for long."""
    for path in paths:
        with suppress(OSError):  # another process was faster
            if time.time() - path.stat().st_mtime > UNUSED:
                path.unlink()
