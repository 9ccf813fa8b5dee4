"""Looking up rows of a table by their numbers, and adding gradients up in the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver
from .cuda.arrays import computable
from .layout import SMALL, plain, real
from .registry import Arguments, Cost, arguments, kernel


def lookups(rng: np.random.Generator) -> Iterator[Arguments]:
    """Tables and indices of any shape, with repetitions, strided and empty."""

    def draw(*shape: int, dtype: str = "f4") -> Array:
        return rng.normal(size=shape).astype(dtype)

    yield arguments(rng.integers(0, 5, (3, 4)), draw(5, 3, dtype="f8"))
    yield arguments(rng.integers(0, 65, (131,)).astype("i4"), draw(65, 17))
    yield arguments(rng.integers(0, 6, (4, 6))[:, ::2], draw(12, 6)[::2, ::-1])
    yield arguments(np.array(2), draw(4, 3))
    yield arguments(np.zeros((0, 2), "i8"), draw(4, 3))
    yield arguments(np.zeros(3, "i8"), draw(4, 0))


def gradients(rng: np.random.Generator) -> Iterator[Arguments]:
    """The gradients that belong to `lookups`, with and without a row left out."""
    for call in lookups(rng):
        index, table = call.args
        g = rng.normal(size=(*index.shape, table.shape[1])).astype(table.dtype)
        yield arguments(g, index, rows=table.shape[0], skip=None)
        yield arguments(g, index, rows=table.shape[0], skip=1)


def lookup_cost(index: Array, table: Array) -> Cost:
    """Nothing is computed; the rows are read and written."""
    copied = index.size * table.shape[1] * table.itemsize
    return Cost(flops=0, bytes=index.nbytes + 2 * copied)


def gradient_cost(g: Array, index: Array, *, rows: int, skip: int | None) -> Cost:
    """An addition for every number of the gradient; a whole table is written."""
    table = rows * g.shape[-1] * g.itemsize
    return Cost(flops=g.size, bytes=g.nbytes + index.nbytes + table)


@kernel(samples=lookups, cost=lookup_cost)
def embedding(index: Array, table: Array, *, out: Array | None = None) -> Array:
    """table[index]: rows of the table (rows, width) in the order of index (...): (..., width)."""
    return deliver(array_module(table).take(table, index, axis=0), out)


def _integers(index: Array) -> bool:
    return index.dtype.kind in "iu" and index.dtype.isnative and index.flags.aligned


@embedding.on(
    "numba",
    accepts=lambda index, table, **_: table.ndim == 2 and plain(table) and _integers(index),
    worth=lambda index, table, **_: table.ndim == 2 and index.size * table.shape[1] > SMALL,
)
def _embedding_numba() -> Any:
    from .cpu.embedding import embedding

    return embedding


MOST_INDICES = 2**31 - 1
MOST_NUMBERS = 2**20
"""Indices, and numbers in a row, that the grids and keys of CUDA kernels have room for."""


def _few(index: Array, rows: int, width: int) -> bool:
    """Whether there is room for so much, and the indices are integers in the usual byte order."""
    usual = index.dtype.kind in "iu" and index.dtype.isnative
    return usual and max(index.size, rows) <= MOST_INDICES and width <= MOST_NUMBERS


@embedding.on(
    "cuda",
    "cuda-on-cpu",
    accepts=lambda index, table, **_: (
        table.ndim == 2 and computable(table) and _few(index, *table.shape)
    ),
)
def _embedding_cuda() -> Any:
    from .cuda.embedding import embedding

    return embedding


@kernel(
    samples=gradients,
    cost=gradient_cost,
    deterministic=False,  # CuPy adds with atomics, in any order; NumPy always in the same
)
def embedding_gradient(
    g: Array, index: Array, *, rows: int, skip: int | None, out: Array | None = None
) -> Array:
    """Add g (..., width) up in the rows (rows, width) of their indices; row `skip` stays 0.

    Sorted by row, equal indices are neighbours and NumPy adds them up in one go. CuPy's reduceat
    takes differences of running sums, which spread one row's infinity and rounding errors to all
    others; it adds the rows by atomic operations instead.
    """
    xp = array_module(g)
    y = xp.zeros((rows, g.shape[-1]), g.dtype)
    flat = index.reshape(-1)
    if g.size and xp is not np:
        xp.add.at(y, flat, g.reshape(flat.size, -1))
    elif g.size:
        order = np.argsort(flat, kind="stable")
        row = flat[order]
        first = np.ones(row.size, bool)
        first[1:] = row[1:] != row[:-1]
        starts = np.flatnonzero(first)
        y[row[starts]] = np.add.reduceat(g.reshape(flat.size, -1)[order], starts, axis=0)
    if g.size and skip is not None:
        y[skip] = 0
    return deliver(y, out)


@embedding_gradient.on(
    "numba",
    accepts=lambda g, index, **_: g.shape[:-1] == index.shape and plain(g) and _integers(index),
    worth=lambda g, index, *, rows, **_: max(g.size, rows * g.shape[-1]) > SMALL,
)
def _embedding_gradient_numba() -> Any:
    from .cpu.embedding import embedding_gradient

    return embedding_gradient


@embedding_gradient.on(
    "cuda",
    "cuda-on-cpu",
    name="atomic",
    accepts=lambda g, index, *, rows, **_: (
        g.shape[:-1] == index.shape and real(g) and _few(index, rows, g.shape[-1])
    ),
    deterministic=False,
)
def _embedding_gradient_atomic() -> Any:
    from .cuda.embedding import embedding_gradient_atomic

    return embedding_gradient_atomic


@embedding_gradient.on(
    "cuda",
    "cuda-on-cpu",
    accepts=lambda g, index, *, rows, **_: (
        g.shape[:-1] == index.shape and computable(g) and _few(index, rows, g.shape[-1])
    ),
)
def _embedding_gradient_cuda() -> Any:
    from .cuda.embedding import embedding_gradient

    return embedding_gradient
