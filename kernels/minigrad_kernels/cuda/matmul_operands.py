"""Operands of matrix products as kernels read them: memory, and how far apart its parts are.

A kernel takes a batch of matrices in two dimensions, at any distances, each matrix with its rows or
its columns contiguous. What lies otherwise is copied: matrices with gaps, and batches that more
than two distances describe. The heads of an attention, which lie side by side in memory, do not.
"""

from __future__ import annotations

from typing import NamedTuple

from ..arrays import Array, array_module
from ..layout import flat
from .arrays import address

WIDE = 16
"""Bytes of the widest load."""


class Operand(NamedTuple):
    """Matrices in memory. Distances are in numbers.

    Attributes:
        memory: all of it, contiguous, in one dimension.
        along: whether neighbours in memory follow each other along the sum.
        leading: from one line of neighbours to the next.
        length: numbers that are neighbours: a row or a column.
        outer, inner: from one matrix to the next in the two dimensions of the batch.
    """

    memory: Array
    along: bool
    leading: int
    length: int
    outer: int
    inner: int

    def aligned(self) -> bool:
        """Whether all can be loaded 16 bytes at a time."""
        count = WIDE // self.memory.itemsize
        return (
            not (self.length % count or self.leading % count)
            and not (self.outer % count or self.inner % count)
            and address(self.memory) % WIDE == 0
        )


class Pair(NamedTuple):
    """Both operands of a batch of products, and the batch: outer times inner matrices."""

    a: Operand
    b: Operand
    outer: int
    inner: int


def pair(a: Array, b: Array, batch: tuple[int, ...]) -> Pair:
    """The operands of a (..., M, K) @ b (..., K, N), leading dimensions broadcast to `batch`."""
    a_memory, a_steps = _memory(a)
    b_memory, b_steps = _memory(b)
    outer, inner, distances = 1, 1, (0, 0, 0, 0)
    if batch:
        sizes, steps = _merged(batch, _of_batch(a, a_steps, batch), _of_batch(b, b_steps, batch))
        if len(sizes) > 2:
            return pair(_repeated(a, batch), _repeated(b, batch), batch)
        outer, inner = (1, 1, *sizes)[-2:]
        (a_outer, b_outer), (a_inner, b_inner) = ((0, 0), (0, 0), *steps)[-2:]
        distances = a_outer, a_inner, b_outer, b_inner
    return Pair(
        _operand(a_memory, a.shape[-2:], a_steps[-2:], *distances[:2]),
        _operand(b_memory, b.shape[:-3:-1], b_steps[:-3:-1], *distances[2:]),
        outer,
        inner,
    )


def _repeated(x: Array, batch: tuple[int, ...]) -> Array:
    """A copy with a matrix of its own for every product of the batch."""
    xp = array_module(x)
    return xp.array(xp.broadcast_to(x, (*batch, *x.shape[-2:])), order="C")


def _memory(x: Array) -> tuple[Array, tuple[int, ...]]:
    """A contiguous view of x's memory, or a copy, and its axes' steps there in numbers."""
    memory = flat(x) if getattr(x.flags, "aligned", True) else None
    rows, columns = x.shape[-2:]
    steps = tuple(s // x.itemsize for s in x.strides)
    if memory is None or (steps[-1] != 1 and steps[-2] != 1 and rows > 1 and columns > 1):
        x = array_module(x).array(x, order="C")
        memory, steps = x.reshape(-1), tuple(s // x.itemsize for s in x.strides)
    return memory, steps


def _of_batch(x: Array, steps: tuple[int, ...], batch: tuple[int, ...]) -> list[int]:
    """Steps along each dimension of the batch: 0 where one matrix serves all."""
    own = [0 if size == 1 else step for size, step in zip(x.shape[:-2], steps, strict=False)]
    return [0] * (len(batch) - len(own)) + own


def _merged(
    batch: tuple[int, ...], a_steps: list[int], b_steps: list[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """The batch in as few dimensions as describe it: sizes, and the steps of both operands."""
    sizes: list[int] = []
    steps: list[tuple[int, int]] = []
    for size, a, b in zip(batch, a_steps, b_steps, strict=True):
        if size == 1:
            continue
        if steps and steps[-1] == (a * size, b * size):
            sizes[-1] *= size
            steps[-1] = (a, b)
        else:
            sizes.append(size)
            steps.append((a, b))
    return sizes, steps


def _operand(
    memory: Array, shape: tuple[int, ...], steps: tuple[int, ...], outer: int, inner: int
) -> Operand:
    """An operand from the shape (across, along the sum) of its matrices and their steps."""
    (across, along), (step_across, step_along) = shape, steps
    if (step_along == 1 and along > 1) or (across > 1 and step_across != 1):
        return Operand(memory, True, step_across if across > 1 else 0, along, outer, inner)
    return Operand(memory, False, step_along if along > 1 else 0, across, outer, inner)
