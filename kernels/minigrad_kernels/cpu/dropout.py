"""Dropout on the CPU: the random words of a group of elements never leave the cache."""

from __future__ import annotations

from ..arrays import Array, deliver
from ..memory import empty
from .images import check_out
from .random import dropped


def dropout(x: Array, *, p: float, seed: int, offset: int, out: Array | None = None) -> Array:
    """x / (1 - p) where an element's random word is at least p * 2**32, else 0."""
    if round(p * 2**32) == 2**32:  # no word is as large
        check_out(out, x.shape)
        y = empty(x.shape, x.dtype)
        y.fill(0)
        return deliver(y, out)
    return dropped(x, p, seed, offset, out)
