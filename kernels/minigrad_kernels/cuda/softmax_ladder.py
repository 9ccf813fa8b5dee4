"""The rungs of the ladder of softmax: the launch code of softmax_ladder.cu."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Array, array_module, deliver
from .arrays import aligned, ceil_divide, contiguous, result
from .c_types import c_name
from .source import kernel

BLOCK = 256
MOST_BLOCKS = 1024
"""Blocks of the last rung, which take several rows each if there are more."""

NEAR = 32 * 1024
"""Bytes of a row, or of two, that rungs keep in shared memory: what every GPU has without asking,
less what they need beside it."""


@dataclass(frozen=True)
class Rung:
    """A step of the ladder.

    Attributes:
        name: what it is registered as; the kernel's name has no number, and underscores.
        rows_kept: how many rows a block keeps in shared memory.
        longest: the most bytes that a row may have; None if any number will do.
    """

    name: str
    rows_kept: int = 0
    longest: int | None = None

    @property
    def kernel(self) -> str:
        """The name of its kernel."""
        return self.name.partition("-")[2].replace("-", "_")

    def accepts(self, x: Array, *, axis: int, out: Array | None = None) -> bool:
        """Whether rows along the axis are short enough, and of a type that it computes in."""
        if x.dtype not in (np.float32, np.float64) or not -x.ndim <= axis < x.ndim:
            return False
        return self.longest is None or x.shape[axis] * x.itemsize <= self.longest

    def run(self, x: Array, *, axis: int, out: Array | None = None) -> Array:
        """exp(x) / sum(exp(x)) along the axis."""
        xp = array_module(x)
        last = axis in (-1, x.ndim - 1)
        rows = contiguous(x if last else xp.moveaxis(x, axis, -1))
        y = result(out if last else None, (x,), rows.shape, rows.dtype)
        if x.size:
            self._launch(rows, y)
        if not last:
            y = xp.moveaxis(y, -1, axis)
        return y if y is out else deliver(y, out)

    def _launch(self, x: Array, y: Array) -> None:
        length = x.shape[-1]
        rows = x.size // length
        width = 16 // x.itemsize
        if not aligned(width, length, x, y):
            width = 1
        packs = 1
        if self.kernel == "registers":
            packs = 1 << (ceil_divide(length, BLOCK * width) - 1).bit_length()
        blocks = rows
        if self.kernel == "thread_per_row":
            blocks = ceil_divide(rows, BLOCK)
        elif self.kernel == "async_copies":
            blocks = min(rows, MOST_BLOCKS)
        run = kernel("softmax_ladder.cu", self.kernel, T=c_name(x), WIDTH=width, PACKS=packs)
        room = ceil_divide(length * x.itemsize, 16) * 16
        run(blocks, BLOCK, x, y, length, rows, shared=self.rows_kept * room)


RUNGS = (
    Rung("1-thread-per-row"),
    Rung("2-block-per-row"),
    Rung("3-shared-memory", rows_kept=1, longest=NEAR),
    Rung("4-warp-shuffles", rows_kept=1, longest=NEAR),
    Rung("5-registers", longest=BLOCK * 64),
    Rung("6-online"),
    Rung("7-async-copies", rows_kept=2, longest=NEAR // 2),
)
