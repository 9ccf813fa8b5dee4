"""The rungs of the ladder of sums: the launch code of reduce_ladder.cu."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Array, array_module, check_out, deliver
from .arrays import address, ceil_divide, contiguous, empty
from .c_types import c_name
from .source import kernel

BLOCK = 256
MOST_BLOCKS = 1024
"""Blocks of the rungs whose threads sum many numbers each: as many as fill a large GPU."""


@dataclass(frozen=True)
class Rung:
    """A step of the ladder: the sum of all numbers of an array.

    Attributes:
        name: what it is registered as; the kernel's name has no number, and underscores.
        single: whether each thread has one number only.
        deterministic: whether the order of additions is always the same.
    """

    name: str
    single: bool = False
    deterministic: bool = True

    @property
    def kernel(self) -> str:
        """The name of its kernel."""
        return self.name.partition("-")[2].replace("-", "_")

    def accepts(
        self, x: Array, *, axes: tuple[int, ...], keepdims: bool, out: Array | None = None
    ) -> bool:
        """Whether all numbers of x are to be summed, of a type that it computes in."""
        return (
            x.size > 0
            and x.dtype in (np.float32, np.float64)
            and bool(axes)
            and all(-1 < axis < x.ndim for axis in axes)
            and all(n == 1 or axis in axes for axis, n in enumerate(x.shape))
        )

    def run(
        self, x: Array, *, axes: tuple[int, ...], keepdims: bool, out: Array | None = None
    ) -> Array:
        """The sums of x over `axes`: one number."""
        shape = (1,) * (x.ndim if keepdims else x.ndim - len(axes))
        check_out(out, shape)
        return deliver(self._sum(contiguous(x)).reshape(shape), out)

    def _sum(self, x: Array) -> Array:
        width = 16 // x.itemsize if address(x) % 16 == 0 else 1
        run = kernel("reduce_ladder.cu", self.kernel, T=c_name(x), WIDTH=width)
        blocks = ceil_divide(x.size, BLOCK)
        if not self.single:
            blocks = min(MOST_BLOCKS, ceil_divide(blocks, 4 * width))
        if self.kernel == "atomics":
            y = _zeros(x, x.dtype)
            run(blocks, BLOCK, x, y, x.size)
            return y
        sums = empty(x, (blocks,))
        if self.kernel == "last_block":
            y = empty(x, (1,))
            run(blocks, BLOCK, x, sums, _zeros(x, np.uint32), y, x.size)
            return y
        run(blocks, BLOCK, x, sums, x.size)
        return sums if blocks == 1 else self._sum(sums)


def _zeros(like: Array, dtype: type | np.dtype) -> Array:
    """One zero, on the same device."""
    return array_module(like).zeros(1, dtype)


RUNGS = (
    Rung("1-atomics", single=True, deterministic=False),
    Rung("2-interleaved-tree", single=True),
    Rung("3-sequential-tree", single=True),
    Rung("4-warp-shuffles"),
    Rung("5-vector-loads"),
    Rung("6-last-block"),
)
