"""How many threads compiled kernels run on: one pool for all of them, Numba's.

Matrix products are computed by the same pool, not by a BLAS library with threads of its own: two
pools that both keep their threads awake take the cores from each other (the same convolution took
15 ms with one pool, and 250 ms with two).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()  # for pools that cannot be entered twice


class _Local(threading.local):
    """What this Python thread has told Numba; None: nothing."""

    applied: int | None = None


_local = _Local()
_wanted: int | None = None
_started = False
_exclusive = False  # whether only one Python thread at a time may use the pool
_last = -math.inf  # when the pool was last used, by time.perf_counter


def set_num_threads(threads: int) -> None:
    """Run compiled kernels on so many threads, from whichever Python thread they are called.

    Results do not depend on it, to the last bit.

    Raises:
        TypeError: if it is not an integer; ValueError: if it is less than 1, or more than the pool
            has: the number of cores, or what the environment variable NUMBA_NUM_THREADS says.
    """
    global _wanted
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise TypeError(f"set_num_threads: wants an integer, got {type(threads).__name__}")
    most = _pool_size()
    if not 1 <= threads <= most:
        raise ValueError(f"set_num_threads: {threads} threads; there are 1 to {most}")
    _wanted = int(threads)


def get_num_threads() -> int:
    """On how many threads compiled kernels run."""
    return _pool_size() if _wanted is None else _wanted


def layer() -> str:
    """What Numba's pool is made with: tbb, omp or workqueue. Starts the pool."""
    from numba.np.ufunc import parallel

    _start()
    name: Callable[[], str] = parallel.threading_layer
    return name()


def _pool_size() -> int:
    from numba.core import config

    return int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def pooled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which Numba compiled for several threads, on as many as are wanted."""
    import numba

    def run(*args: Any) -> Any:
        global _last
        if _wanted is not None and _local.applied != _wanted:
            numba.set_num_threads(_wanted)
            _local.applied = _wanted
        try:
            if _exclusive:
                with _lock:
                    return function(*args)
            return function(*args)
        finally:
            _last = time.perf_counter()

    _start()
    return run


def _start() -> None:
    """Start the pool, and learn whether several Python threads may use it at once."""
    global _started, _exclusive
    if _started:
        return
    from numba.np.ufunc import parallel

    launch: Callable[[], None] = parallel._launch_threads
    with _short_waits():
        launch()
    name: Callable[[], str] = parallel.threading_layer
    _exclusive = name() == "workqueue"
    _started = True


def awake() -> bool:
    """Whether the pool's threads have just worked, and wait for more before they sleep.

    They start at once then, and need 70 to 120 µs if they sleep: far longer where another program
    has taken their core meanwhile.
    """
    return time.perf_counter() - _last < AWAKE


AWAKE = 3e-4
"""Seconds for which threads surely look for work: somewhat less than `SPINS` take."""

SPINS = 20000
"""How often an idle thread looks for work before it sleeps, about half a millisecond in all."""


@contextmanager
def _short_waits() -> Iterator[None]:
    """Let OpenMP's threads, if they start now, sleep soon when they wait for each other.

    GNU's wait for about 5 ms otherwise, and when another program needs a core, too, a thread that
    waits takes it from the one it waits for: a training step that took 60 ms alone took 350 ms
    beside one busy process, and takes 110 ms so. What the user's environment says comes first.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)  # read when the library is loaded, and only then
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _after_fork() -> None:
    """In a child process the pool's threads are gone, and OpenMP cannot start others."""
    if _started:
        from .backends import BACKENDS
        from .registry import KERNELS

        BACKENDS["numba"].__dict__["reason"] = (
            "this process was forked from one that had started the pool of threads; start "
            "processes with the method 'spawn' or 'forkserver' instead"
        )
        for k in KERNELS.values():
            k.forget_plans()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
