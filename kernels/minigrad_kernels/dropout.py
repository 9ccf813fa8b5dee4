"""Dropout: which elements it keeps follows from a seed alone, so that nothing need be stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module
from .cuda.arrays import computable
from .layout import elementwise, large
from .random import random_bits
from .registry import Arguments, Cost, arguments, kernel


def samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """Both float types, strides, no element at all, and the ends of the range of p."""
    yield arguments(rng.normal(size=(3, 5)), p=0.5, seed=3, offset=0)
    yield arguments(rng.normal(size=(7, 130)).astype("f4"), p=0.1, seed=2**63 + 1, offset=2**32 - 9)
    yield arguments(rng.normal(size=(4, 6)).astype("f4")[:, ::2].T, p=0.9, seed=5, offset=7)
    yield arguments(rng.normal(size=(2, 3)), p=1.0, seed=5, offset=7)
    yield arguments(rng.normal(size=(2, 3)).astype("f4"), p=0.0, seed=5, offset=7)
    yield arguments(np.zeros((0, 3), "f4"), p=0.5, seed=5, offset=7)


def cost(x: Array, **_: Any) -> Cost:
    """The random bits, about 25 integer operations each, dominate the arithmetic."""
    return Cost(flops=27.0 * x.size, bytes=2.0 * x.nbytes)


@kernel(samples=samples, cost=cost)
def dropout(x: Array, *, p: float, seed: int, offset: int, out: Any = None) -> Array:
    """x / (1 - p) where element i's random word, a 32-bit integer, is at least p * 2**32, else 0.

    The words are those of `random_bits` with the same seed and offset: the same for every float
    type. It is linear in x and its own transpose: applied to a gradient, it is the backward pass.
    """
    xp = array_module(x)
    if out is None:
        out = xp.empty_like(x)
    threshold = round(p * 2**32)
    if threshold == 2**32:
        out[...] = 0
        return out
    words = xp.empty(x.shape, xp.uint32)
    keep = random_bits(words, seed=seed, offset=offset, out=words) >= threshold
    scaled = x * x.dtype.type(1 / (1 - p))
    out[...] = xp.where(keep, scaled, x.dtype.type(0))
    return out


@dropout.on("numba", accepts=elementwise, worth=large)
def _dropout_numba() -> Any:
    from .cpu.dropout import dropout

    return dropout


@dropout.on("cuda", "cuda-on-cpu", accepts=lambda x, **_: computable(x))
def _dropout_cuda() -> Any:
    from .cuda.dropout import dropout

    return dropout
