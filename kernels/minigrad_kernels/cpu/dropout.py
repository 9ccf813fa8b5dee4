"""Dropout on the CPU: the random words of a group of elements never leave the cache."""

from __future__ import annotations

import numpy as np
from numba import prange

from ..arrays import Array, check_out, deliver
from ..memory import empty
from .compiled import compiled
from .random import GROUP, GROUPS, lay_out, philox, stream_start

_WORK = 8  # times that of an elementwise kernel: what an element costs, for its random word


@compiled
def _dropped(x, seed, offset, threshold, scale, y):
    """y = x * scale where the element's word is at least the threshold, else 0."""
    size = 4 * GROUP
    zero = x.dtype.type(0)
    tasks = (y.size + size * GROUPS - 1) // (size * GROUPS)
    for task in prange(tasks):
        words = np.empty((4, GROUP), np.uint32)
        lined = np.empty(size, np.uint32)
        for group in range(task * GROUPS, (task + 1) * GROUPS):
            part = y[group * size : min((group + 1) * size, y.size)]
            if part.size == 0:
                break
            given = x[group * size : min((group + 1) * size, x.size)]
            philox(seed, offset + np.uint64(group * GROUP), words)
            lay_out(words, lined)
            for i in range(part.size):
                xi = given[i] * scale
                part[i] = xi if lined[i] >= threshold else zero


def dropout(x: Array, *, p: float, seed: int, offset: int, out: Array | None = None) -> Array:
    """x / (1 - p) where an element's random word is at least p * 2**32, else 0."""
    check_out(out, x.shape)
    threshold = round(p * 2**32)
    y = empty(x.shape, x.dtype)
    if threshold == 2**32:  # no word is as large
        y.fill(0)
        return deliver(y, out)
    source, scale = np.ascontiguousarray(x).reshape(-1), x.dtype.type(1 / (1 - p))
    run = _dropped.suited(_WORK * x.size)
    run(source, *stream_start(seed, offset), np.uint32(threshold), scale, y.reshape(-1))
    return deliver(y, out)
