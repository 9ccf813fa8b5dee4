"""The launch code of the lesson in matmul_ladder.cu: a matrix product in five steps."""

from __future__ import annotations

from ..arrays import Array, array_module, deliver
from .arrays import aligned, ceil_divide, contiguous, empty
from .matmul import room
from .source import kernel

SIDE = 128
"""Rows and columns of a tile in the last two steps; of depth, they take a part of it at a time."""


def naive(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N), a thread for each number, threads of a warp in different rows."""
    return _simple("naive", 16, a, b, out)


def coalesced(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N), a thread for each number, threads of a warp in different columns."""
    return _simple("coalesced", 16, a, b, out)


def tiles(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N), by tiles in shared memory."""
    return _simple("tiles", 32, a, b, out)


def registers(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N), by tiles in shared memory and tiles in registers."""
    return _whole_tiles("registers", a, b, out)


def tensor_cores(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N) on tensor cores, which round to TF32."""
    return _whole_tiles("tensor_cores", a, b, out)


def check_shapes(a: Array, b: Array) -> None:
    """Refuse matrices that have no product.

    Raises:
        ValueError: if inner dimensions differ.
    """
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: {a.shape} times {b.shape}: the inner dimensions differ")


def _simple(name: str, side: int, a: Array, b: Array, out: Array | None) -> Array:
    """A kernel that computes a number in a thread, for blocks of side * side of them."""
    check_shapes(a, b)
    (rows, depth), columns = a.shape, b.shape[1]
    c = room(out, (rows, columns), a.dtype, a, b)
    grid = ceil_divide(rows, side), ceil_divide(columns, side)
    run = kernel("matmul_ladder.cu", name)
    run(grid, (side, side), contiguous(a), contiguous(b), c, rows, columns, depth)
    return c if c is out else deliver(c, out)


def _whole_tiles(name: str, a: Array, b: Array, out: Array | None) -> Array:
    """A kernel that computes whole tiles, with 256 threads each: zeros are added at the edges."""
    check_shapes(a, b)
    rows, columns = a.shape[0], b.shape[1]
    c = room(out, (rows, columns), a.dtype, a, b)
    wide_a, wide_b = _padded(a), _padded(b)
    (height, depth), width = wide_a.shape, wide_b.shape[1]
    whole = (height, width) == c.shape and aligned(4, width, c)
    tiles = c if whole else empty(a, (height, width))
    run = kernel("matmul_ladder.cu", name)
    run((height // SIDE, width // SIDE), 256, wide_a, wide_b, tiles, width, depth)
    if not whole and c.size:
        array_module(c).copyto(c, tiles[:rows, :columns])
    return c if c is out else deliver(c, out)


def _padded(x: Array) -> Array:
    """x itself if it consists of whole tiles and can be loaded 16 bytes at a time, or a copy."""
    rows, columns = (SIDE * max(1, ceil_divide(n, SIDE)) for n in x.shape)
    if (rows, columns) == x.shape and contiguous(x) is x and aligned(4, columns, x):
        return x
    padded = array_module(x).zeros((rows, columns), x.dtype)
    padded[: x.shape[0], : x.shape[1]] = x
    return padded
