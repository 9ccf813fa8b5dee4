"""What CUDA graphs need beside kernels: memory that stays, and copies that are no part of them.

A graph is launched again and again with the addresses that it was captured with. Its own results
lie in a pool of memory that stays with it. What comes from elsewhere, such as a table that is kept
for later calls, must stay as long as the graph.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from ..arrays import Array
from ..gpus import device_of

T = TypeVar("T")


class _Capture(threading.local):
    """What must stay with the graph that the current thread captures; None if it captures none."""

    kept: list[Any] | None = None


_capture = _Capture()


@contextmanager
def keeping() -> Iterator[list[Any]]:
    """While a graph is captured: gives the list of what must stay with it."""
    before, _capture.kept = _capture.kept, []
    try:
        yield _capture.kept
    finally:
        _capture.kept = before


def keep(x: T) -> T:
    """x itself, which stays with the graph that is captured, if one is."""
    if _capture.kept is not None:
        _capture.kept.append(x)
    return x


@contextmanager
def beside(xp: ModuleType) -> Iterator[None]:
    """What the body does on the GPU of `xp` is done when it ends, and is no part of a graph that is
    captured meanwhile: it has a stream of its own, which is waited for."""
    with device_of(xp), xp.cuda.Stream(non_blocking=True) as stream:
        yield
        stream.synchronize()


def uploaded(tables: list[np.ndarray[Any, Any]], xp: ModuleType) -> list[Array]:
    """Copies of NumPy's arrays on the GPU of `xp`, also while a graph is captured."""
    if xp is np:
        return list(tables)
    with beside(xp):
        return [xp.asarray(table) for table in tables]
