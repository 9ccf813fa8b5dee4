"""Indices and class numbers: whether they are in range, and what they count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver
from .cuda.c_types import C_NAMES
from .cuda.indices import MOST_SHARES
from .registry import Arguments, Cost, arguments, kernel

NOTHING = np.array([np.iinfo(np.int64).max, np.iinfo(np.int64).min])
"""The bounds of no numbers."""


def bounds_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """Several types, several blocks, numbers to be skipped, strides, nothing."""
    for dtype in ("i4", "i8", "u1"):
        yield arguments(rng.integers(0, 100, (7, 5)).astype(dtype))
    yield arguments(rng.integers(-(2**40), 2**40, 50000))
    yield arguments(np.array([3, -100, 5, -100]), skip=-100)
    yield arguments(np.array([-100, -100]), skip=-100)
    yield arguments(np.array([3, -100, 5, -1])[::-2])
    yield arguments(np.array(7))
    yield arguments(np.zeros((0, 2), "i8"))


@kernel(samples=bounds_samples, cost=lambda x, **_: Cost(0.0, float(x.nbytes)))
def index_bounds(index: Array, *, skip: int | None = None, out: Array | None = None) -> Array:
    """The smallest and the largest integer, int64 (2,), but for those equal to `skip`.

    Of nothing, the largest and the smallest there are. So whether indices are in range can be
    looked at later, when something is read from the GPU anyway.
    """
    xp = array_module(index)
    looked_at = index.reshape(-1).astype(np.int64)
    most, least = (int(n) for n in NOTHING)
    counts = xp.ones(looked_at.shape, bool) if skip is None else looked_at != skip
    low = xp.append(xp.where(counts, looked_at, most), xp.full(1, most)).min()
    high = xp.append(xp.where(counts, looked_at, least), xp.full(1, least)).max()
    return deliver(xp.stack([low, high]), out)


@index_bounds.on("cuda", "cuda-on-cpu", accepts=lambda index, **_: index.dtype.kind in "iu")
def _index_bounds_cuda() -> Any:
    from .cuda.indices import index_bounds

    return index_bounds


def shares_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """All types; none, some and all skipped; strides, nothing."""
    for dtype in (np.float32, np.float64, np.float16):
        yield arguments(rng.integers(-1, 5, (3, 7)), np.zeros(1, dtype))
    yield arguments(rng.integers(0, 9, 3000), np.zeros(1, np.float32))
    yield arguments(np.array([3, -1, 2, -1])[::-2], np.zeros(1, np.float32))
    yield arguments(np.full(4, -1), np.zeros(1, np.float32))
    yield arguments(np.array(2), np.zeros(1, np.float64))
    yield arguments(np.zeros(0, "i8"), np.zeros(1, np.float32))


@kernel(samples=shares_samples, cost=lambda t, x: Cost(0.0, t.nbytes + t.size * x.itemsize))
def class_shares(target: Array, x: Array, *, out: Array | None = None) -> Array:
    """What each sample counts in a mean, in x's type: 1 / n, if n targets are not negative; 0 for
    those that are. If all are, NaN.
    """
    xp = array_module(target)
    counted = target >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1.0 / xp.asarray(counted.sum(), np.float64)
        shares = xp.asarray(xp.where(counted, share, 0.0 * share), x.dtype)
    return deliver(shares, out)


@class_shares.on(
    "cuda",
    "cuda-on-cpu",
    accepts=lambda target, x, **_: (
        target.dtype == np.int64 and target.size <= MOST_SHARES and x.dtype in C_NAMES
    ),
)
def _class_shares_cuda() -> Any:
    from .cuda.indices import class_shares

    return class_shares
