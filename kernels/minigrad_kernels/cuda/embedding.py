"""Looking up rows of a table, and adding gradients up in them, in CUDA: launches of embedding.cu.

An index that is out of range is an error where the indices lie on the host. From a GPU they are not
read back: there its row is NaN, and its gradient is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, array_module, check_out, deliver
from .arrays import aligned, ceil_divide, contiguous, empty
from .c_types import c_name
from .elementwise import REALS
from .launch import KernelFunction
from .source import kernel

THREADS = 256
SORT_THREADS = 512
"""Indices that a block sorts."""

PIECE = 32
"""Indices, sorted by row, whose gradients a thread adds up."""


def embedding(index: Array, table: Array, *, out: Array | None = None) -> Array:
    """The rows of the table at `index`."""
    rows, width = table.shape
    shape = (*index.shape, width)
    check_out(out, shape)
    places = _places(index, rows, "embedding")
    source = contiguous(table)
    y = _output(out, (index, table), shape, table.dtype)
    if y.size:
        per_load = _width(width, source, y)
        run = _kernel("embedding", y, per_load, places)
        packs = width // per_load
        run(*_grid(places.size, packs), source, places, y, rows, places.size, packs)
    return y if y is out else deliver(y, out)


def embedding_gradient(
    g: Array, index: Array, *, rows: int, skip: int | None, out: Array | None = None
) -> Array:
    """g added up in the rows of their indices, in the order of the indices: always the same bits.

    The source says what it costs.
    """
    width = g.shape[-1]
    check_out(out, (rows, width))
    places = _places(index, rows, "embedding_gradient")
    y = array_module(g).zeros((rows, width), g.dtype)
    if g.size:
        source = contiguous(g)
        per_load = _width(width, source, y)
        _add_up(source, places, y, _skipped(skip, rows), per_load)
    return deliver(y, out)


def embedding_gradient_atomic(
    g: Array, index: Array, *, rows: int, skip: int | None, out: Array | None = None
) -> Array:
    """g added up in the rows of their indices by atomic operations, in any order."""
    width = g.shape[-1]
    check_out(out, (rows, width))
    places = _places(index, rows, "embedding_gradient")
    y = array_module(g).zeros((rows, width), g.dtype)
    if g.size:
        run = _kernel("add_atomically", g, 1, places)
        which = (rows, _skipped(skip, rows), places.size, width)
        run(*_grid(places.size, width), contiguous(g), places, y, *which)
    return deliver(y, out)


def _add_up(g: Array, places: Array, y: Array, skip: int, per_load: int) -> None:
    """Sort the indices by row, sum what each row has in each piece, and join the pieces."""
    count, (rows, width) = places.size, y.shape
    packs, pieces = width // per_load, ceil_divide(count, PIECE)
    keys = _sorted_keys(places, rows, skip, y)
    heads, tails = (empty(y, (pieces, width), _real(y)) for _ in range(2))
    grid = _grid(pieces, packs)
    run = _kernel("sum_pieces", y, per_load, places)
    run(*grid, g, keys, y, heads, tails, count, rows, packs)
    if pieces > 1:
        run = _kernel("join_pieces", y, per_load, places)
        run(*grid, keys, heads, tails, y, count, rows, packs)


def _sorted_keys(places: Array, rows: int, skip: int, y: Array) -> Array:
    """Row and place of every index in one number, in order."""
    count = places.size
    keys = empty(places, (count,), np.uint64)
    blocks = ceil_divide(count, SORT_THREADS)
    _kernel("sort_runs", y, 1, places)(blocks, SORT_THREADS, places, keys, count, rows, skip)
    merge = _kernel("merge_runs", y, 1, places)
    run = SORT_THREADS
    while run < count:
        merged = empty(places, (count,), np.uint64)
        merge(blocks, SORT_THREADS, keys, merged, count, run)
        keys, run = merged, 2 * run
    return keys


def _kernel(name: str, y: Array, per_load: int, places: Array) -> KernelFunction:
    t, index = c_name(y), "int" if places.itemsize == 4 else "long long"
    return kernel("embedding.cu", name, T=t, REAL=REALS[t], WIDTH=per_load, INDEX=index)


def _grid(rows: int, packs: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Blocks, and the threads of each, for a lane for every pack of every row."""
    lanes = 1
    while lanes < min(packs, 32):
        lanes *= 2
    high = THREADS // lanes
    return (ceil_divide(rows, high), ceil_divide(packs, lanes)), (lanes, high)


def _width(width: int, *arrays: Array) -> int:
    """How many numbers a load of a row takes."""
    wide = 16 // arrays[0].itemsize
    return wide if aligned(wide, width, *arrays) else 1


def _real(y: Array) -> Any:
    """The type to sum in."""
    return np.float64 if y.dtype == np.float64 else np.float32


def _skipped(skip: int | None, rows: int) -> int:
    """The row that gets no gradient; -1 if it is none."""
    return -1 if skip is None else range(rows)[skip]


def _places(index: Array, rows: int, name: str) -> Array:
    """The indices one after the other, as int32 or int64.

    Raises:
        IndexError: if one of a NumPy array is out of range.
    """
    if isinstance(index, np.ndarray) and index.size:
        low, high = int(index.min()), int(index.max())
        if low < -rows or high >= rows:
            wrong = low if low < -rows else high
            raise IndexError(f"{name}: index {wrong} is out of range for {rows} rows")
    if index.dtype.kind != "i" or index.itemsize not in (4, 8):
        index = index.astype(np.int64)
    return contiguous(index).reshape(-1)


def _output(
    out: Array | None, inputs: tuple[Array, ...], shape: tuple[int, ...], dtype: Any
) -> Array:
    """`out` if the kernel can write into it straight, or a new array."""
    xp = array_module(inputs[-1])
    if (
        out is not None
        and out.dtype == dtype
        and contiguous(out) is out
        and not any(xp.may_share_memory(out, x) for x in inputs)
    ):
        return out
    return empty(inputs[-1], shape, dtype)
