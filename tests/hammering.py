"""Compiled kernels called from several Python threads at once, each result compared to the bit."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigrad_kernels import KERNELS, layout, matmul

THREADS, ROUNDS = 4, 5


def calls() -> Iterator[Callable[[], Any]]:
    """Every compiled function of single elements on several chunks, and a matrix product."""
    rng = np.random.default_rng(3)

    def chunks(a: Any) -> Any:
        if not isinstance(a, np.ndarray):
            return a
        return rng.uniform(0.1, 0.9, (3, 16411)).astype("f4")

    for k in KERNELS.values():
        for i in k.implementations:
            if i.backend == "numba" and i.accepts is layout.elementwise:
                call = next(iter(k.samples(rng)))
                yield functools.partial(i.run, *map(chunks, call.args), **call.options)
    a = rng.normal(size=(200, 300)).astype("f4")
    b = rng.normal(size=(300, 250)).astype("f4")
    yield functools.partial(matmul, a, b)


def hammer() -> int:
    """Call all of them from four threads at once; returns how many calls went right.

    Raises:
        AssertionError: if any result differs from what one thread alone computes.
    """
    work = list(calls())
    wanted = [f().tobytes() for f in work]
    barrier = threading.Barrier(THREADS)
    right: list[int] = []
    wrong: list[object] = []

    def loop(seed: int) -> None:
        order = list(range(len(work))) * ROUNDS
        random.Random(seed).shuffle(order)
        barrier.wait()
        for n in order:
            try:
                (right if work[n]().tobytes() == wanted[n] else wrong).append(n)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=loop, args=(seed,)) for seed in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong
    return len(right)
