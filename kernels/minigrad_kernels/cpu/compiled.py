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
from collections.abc import Callable
from typing import Any

import numba
from numba.core.ccallback import CFunc

from .. import threads
from .cache import Cache, writable_directory

CHUNK = 16384
"""Elements of a chunk of elementwise work: 64 KiB of float32, so that what a chunk reads and writes
stays in the L2 cache."""

ALONE = 1 << 17
"""Elements of cheap work that the calling thread does alone. Measured: it takes 10 µs; others
start within 2 µs if they have just worked, but need 70 to 120 µs to wake up if they sleep."""

EXPENSIVE = 4
"""How many elements of cheap work an exponential counts for."""


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


class Compiled:
    """A function to compile, on first use for each combination of argument types."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options

    @functools.cached_property
    def serial(self) -> Callable[..., Any]:
        """It, on the calling thread alone."""
        return self._dispatcher(parallel=False)

    @functools.cached_property
    def parallel(self) -> Callable[..., Any]:
        """It, on as many threads as `threads.get_num_threads` says."""
        return threads.pooled(self._dispatcher(parallel=True))

    def suited(self, size: int) -> Callable[..., Any]:
        """It on all threads, or on the calling one alone, for cheap work on so many elements."""
        return self.serial if size <= ALONE else self.parallel

    def _dispatcher(self, parallel: bool) -> Any:
        made = numba.njit(nogil=True, error_model="numpy", parallel=parallel, **self.options)(
            self.function
        )
        directory = writable_directory()
        if directory is not None:
            variant = "parallel" if parallel else "serial"
            made._cache = Cache(self.function, directory, variant)
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


ANY_ORDER = {"reassoc", "contract", "nsz"}
"""Option `fastmath` for sums and maxima that may be taken in any order, so that vectors do many at
once. The sign of a zero may change; NaN and infinities stay what they are."""


def any_order(function: Callable[..., Any]) -> Any:
    """Decorate a function that only compiled functions call, with the licence of `ANY_ORDER`.

    It is for functions that do nothing but sum: where the order matters, as in x - top - total,
    the licence would spread to its neighbours once inlined.
    """
    return numba.njit(fastmath=ANY_ORDER, error_model="numpy")(function)


def c_function(function: Callable[..., Any], signature: Any, variant: str) -> Any:
    """`function` compiled for these types at once, for other code to call by its `address`."""
    made = CFunc(function, (signature.args, signature.return_type), {}, {"nopython": True})
    directory = writable_directory()
    if directory is not None:
        made._cache = Cache(function, directory, variant)
    made.compile()
    return made
