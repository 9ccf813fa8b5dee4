"""This machine's roofline: how fast anything could be, by its arithmetic or by its memory.

(Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", 2009.) Both ceilings are measured in the run that they are compared with.

Bytes are counted as `Kernel.cost` counts them: what must be read and written at least once. So are
those of the triad a = b + c * s (McCalpin's STREAM): three arrays. Writing an array that is not in
the cache makes most processors read it first ("write-allocate"), a fourth array that is not
counted; work that reads more than it writes can therefore be up to 4/3 times as fast as the triad.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import minigrad_kernels as kernels
from minigrad import machine
from minigrad_kernels import Cost, memory

WRITE_ALLOCATE = 4 / 3
NOISE = 1.1
"""How much faster than a ceiling a median may come out without being wrong."""


@dataclass(frozen=True)
class Ceilings:
    """What cannot be exceeded.

    Attributes:
        flops: float32 operations a second, by the best large matrix product.
        product: whose product it was.
        bytes: bytes a second, by the triad.
        cache: bytes of the largest cache: what stays in it need not come from memory.
    """

    flops: float
    product: str
    bytes: float
    cache: int

    def seconds(self, cost: Cost, fewer: float = 1.0) -> float:
        """The least time by both ceilings, for one that needs `fewer` times less arithmetic."""
        return max(cost.flops / fewer / self.flops, cost.bytes / self.bytes)

    def bound_by_memory(self, cost: Cost) -> bool:
        """Whether moving the bytes takes longer than the arithmetic."""
        return cost.bytes / self.bytes >= cost.flops / self.flops

    def fits(self, cost: Cost) -> bool:
        """Whether all that is read and written may stay in the cache between two calls."""
        return cost.bytes <= self.cache

    def error(self, cost: Cost, seconds: float, fewer: float = 1.0) -> str:
        """Why so short a time cannot be true; "" if it can."""
        if cost.flops / fewer / self.flops > NOISE * seconds:
            return "above the arithmetic ceiling"
        if (cost.bytes - self.cache) / self.bytes > NOISE * WRITE_ALLOCATE * seconds:
            return "above the memory ceiling"
        return ""


@functools.cache
def ceilings() -> Ceilings:
    """Both, measured on first use in this process."""
    flops, product = max((_product_rate(f), name) for name, f in _products().items())
    cache = max(machine.caches().values(), default=1 << 25)
    return Ceilings(flops, product, _triad_rate(cache), cache)


def measured() -> Ceilings | None:
    """Both, if this process has measured them."""
    return ceilings() if ceilings.cache_info().currsize else None


def _products() -> dict[str, Callable[[np.ndarray, np.ndarray], object]]:
    found: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {"NumPy": np.matmul}
    for i in kernels.matmul.implementations:
        if i.backend == "numba":
            found[f"ours ({i.label})"] = i.run
    return found


def _product_rate(product: Callable[[np.ndarray, np.ndarray], object], size: int = 2048) -> float:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in "ab")
    return 2 * size**3 / _best(lambda: product(a, b), 5)


def _triad_rate(cache: int) -> float:
    size = 4 * max(cache, 1 << 24) // 4  # each array four times as large as the cache
    a, b, c = (memory.empty(size, np.float32) for _ in "abc")
    for x in (a, b, c):
        x.fill(1)
    run = _triad()
    rate = 3 * a.nbytes / _best(lambda: run(a, b, c, np.float32(3)), 10)
    if not a[0] == a[-1] == 4:
        raise ArithmeticError("the triad did not compute b + 3 c")
    return rate


def _triad() -> Callable[..., None]:
    """a = b + c * s on all threads of the pool that the compiled kernels run on."""
    import numba

    @numba.njit(parallel=True)  # type: ignore[untyped-decorator,unused-ignore]
    def triad(a, b, c, s):  # type: ignore[no-untyped-def]
        for i in numba.prange(a.size):
            a[i] = b[i] + c[i] * s

    return triad


def _best(work: Callable[[], object], repeats: int) -> float:
    """The shortest of so many runs: a ceiling is what the machine can do when undisturbed."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        time.sleep(0.03)  # so that one library's threads are asleep before the next one's run
    return min(times)
