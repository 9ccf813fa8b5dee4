"""Matrix products in CUDA: the launch code of matmul.cu and matmul_tensor.cu."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, array_module, check_out, deliver, summing_type
from .arrays import aligned, ceil_divide, contiguous, empty
from .c_types import C_NAMES
from .matmul_operands import WIDE, Operand, Pair, pair
from .source import kernel

MULTIPROCESSORS = 132
"""Blocks that keep a large GPU busy. One number for all GPUs: so they all add in one order."""

SHORTEST = 256
"""Terms of a sum that are worth a block of their own where sums are split."""

MOST = 2**31 - 2**10
"""Rows, columns or terms: kernels count them in 32 bits, and a tile beyond."""

BLOCK, BLOCKS = 256, 8 * MULTIPROCESSORS
"""Threads of a block, and most blocks, of the passes over whole arrays."""


class Tile(NamedTuple):
    """What a block computes, and with what: the classes of the same names in the .cu files.

    Attributes:
        name: the class.
        rows, columns: numbers of the result.
        threads: of a block.
        stages: tiles of operands in shared memory at a time, on tensor cores.
    """

    name: str
    rows: int
    columns: int
    threads: int
    stages: int = 0


Sizes = tuple[int, int, int]
"""Rows and columns of a product, and the terms of its sums."""


class Plan(NamedTuple):
    """How a product is computed: in which tiles, each sum in how many parts of how many terms."""

    tile: Tile
    splits: int
    part: int


SINGLE = (Tile("Large", 128, 128, 256), Tile("Medium", 64, 64, 128), Tile("Small", 32, 32, 64))
DOUBLE = SINGLE[1:]

PART = 64
"""What the terms in a part of a split sum are a multiple of: so it is of every tile's depth."""


@functools.lru_cache(maxsize=1024)
def plan(tiles: tuple[Tile, ...], rows: int, columns: int, depth: int, batches: int) -> Plan:
    """The largest tile of which most multiprocessors get one, splitting sums if need be.

    A tile of which most would lie beyond the result is too large; the last one is taken where
    nothing else will do.

    Raises:
        ValueError: for matrices whose sides kernels cannot count.
    """
    most = max(1, depth // SHORTEST)
    if max(rows, columns, depth) > MOST:
        raise ValueError(f"matmul: {rows} x {depth} times {depth} x {columns}: at most {MOST} each")
    for tile in tiles:
        blocks = ceil_divide(rows, tile.rows) * ceil_divide(columns, tile.columns) * batches
        waste = blocks * tile.rows * tile.columns > 2 * rows * columns * batches
        if tile is tiles[-1] or (not waste and 4 * blocks * most >= 3 * MULTIPROCESSORS):
            splits = min(most, max(1, 2 * MULTIPROCESSORS // blocks))
            part = max(PART, ceil_divide(ceil_divide(depth, splits), PART) * PART)
            return Plan(tile, max(1, ceil_divide(depth, part)), part)
    raise ValueError("there are no tiles to choose from")


# Products of what was brought into shape


def matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (..., M, K) @ b (..., K, N), leading dimensions broadcast; vectors as in the definition.

    float32 and float64 on ordinary cores, float16 on tensor cores with sums in float32.

    Raises:
        ValueError: if shapes do not fit, or those of the result and `out`; if `out` is read-only.
    """
    return multiplied(a, b, out, half_product if a.dtype == np.float16 else plain_product)


def half_product(operands: Pair, sizes: Sizes, c: Array, **options: Any) -> None:
    """Products of float16 numbers on tensor cores, into c; as `plain_product`."""
    from .matmul_tensor import tensor_product

    tensor_product(operands, sizes, c, number="half", **options)


def multiplied(a: Array, b: Array, out: Array | None, product: Any, dtype: Any = None) -> Array:
    """`matmul` with a function that computes products, such as `plain_product`.

    `dtype` is the result's type, if it is not a's.
    """
    left = a if a.ndim > 1 else a.reshape(1, -1)
    right = b if b.ndim > 1 else b.reshape(-1, 1)
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul: {a.shape} times {b.shape}: the inner dimensions differ")
    batch = _batch(left, right)
    shape = batch
    if a.ndim > 1:
        shape = (*shape, a.shape[-2])
    if b.ndim > 1:
        shape = (*shape, b.shape[-1])
    c = room(out, shape, a.dtype if dtype is None else dtype, a, b)
    if c.size:
        if right.ndim == 2 and left.ndim > 2:  # one matrix for all: their rows make one matrix
            left, batch = left.reshape(-1, left.shape[-1]), ()
        product(pair(left, right, batch), (left.shape[-2], right.shape[-1], left.shape[-1]), c)
    return c if c is out else deliver(c, out)


def _batch(a: Array, b: Array) -> tuple[int, ...]:
    left, right = a.shape[:-2], b.shape[:-2]
    return left if left == right else np.broadcast_shapes(left, right)


def room(out: Array | None, shape: tuple[int, ...], dtype: Any, *inputs: Array | None) -> Array:
    """Where a product is written: `out`, if it is dense and no input's memory, or a new array.

    Raises:
        ValueError: if `out` has another shape, or is read-only.
    """
    check_out(out, shape)
    if out is not None and out.dtype == dtype and contiguous(out) is out:
        xp = array_module(out)
        if not any(x is not None and xp.may_share_memory(out, x) for x in inputs):
            return out
    return empty(inputs[0], shape, dtype)


def plain_product(
    operands: Pair,
    sizes: Sizes,
    c: Array,
    *,
    bias: Array | None = None,
    relu: bool = False,
    chosen: Plan | None = None,
) -> None:
    """Products of float32 or float64 numbers, into c.

    Args:
        operands: two stacks of matrices, of c's type.
        sizes: rows, columns, depth.
        c: outer * inner * rows * columns numbers, C-contiguous.
        bias: one number for each column, contiguous.
        relu: whether negative numbers become 0.
        chosen: tiles and splits, if they are not to be chosen by the sizes.
    """
    tiles = DOUBLE if c.dtype == np.float64 else SINGLE
    chosen = chosen or plan(tiles, *sizes, operands.outer * operands.inner)
    run = kernel(
        "matmul.cu",
        "product",
        T=C_NAMES[c.dtype],
        TILE=chosen.tile.name,
        WIDTH=WIDE // c.itemsize if operands.a.aligned() and operands.b.aligned() else 1,
        A_ALONG=int(operands.a.along),
        B_ALONG=int(operands.b.along),
    )
    launch(run, chosen, operands, sizes, c, bias, relu)


def launch(
    run: Any,
    chosen: Plan,
    operands: Pair,
    sizes: Sizes,
    c: Array,
    bias: Array | None,
    relu: bool,
    *,
    wide: int | None = None,
    shared: int = 0,
) -> None:
    """Launch a kernel with what all products take. If sums are split, it is for their parts, which
    are added afterwards.

    `wide` is how many columns are stored at once, where they can be: 16 bytes if it is not given.
    """
    rows, columns, depth = sizes
    tile, splits, part = chosen
    whole = splits == 1
    y = c if whole else empty(c, (splits, c.size), summing_type(c))
    batches = operands.outer * operands.inner
    blocks = ceil_divide(rows, tile.rows) * ceil_divide(columns, tile.columns) * batches * splits
    run(
        blocks, tile.threads, *_passed(operands.a), *_passed(operands.b),
        bias if whole else None, relu and whole, y, aligned(wide or WIDE // y.itemsize, columns, y),
        rows, columns, depth, batches, operands.inner, part, shared=shared,
    )  # fmt: skip
    if not whole:
        add_parts(y, c, bias, relu, columns)


def result_name(c: Array, chosen: Plan) -> str:
    """The C++ type of what a kernel stores: c's, or that of the parts of its sums."""
    return C_NAMES[c.dtype if chosen.splits == 1 else summing_type(c)]


def _passed(x: Operand) -> tuple[Array, int, int, int]:
    return x.memory, x.leading, x.outer, x.inner


def add_parts(parts: Array, c: Array, bias: Array | None, relu: bool, columns: int) -> None:
    """c = the sum of the rows of `parts`, plus the bias of each column, and so on."""
    total = C_NAMES[parts.dtype]
    add = kernel("matmul_passes.cu", "add_parts", T=C_NAMES[c.dtype], SUM=total)
    blocks = min(BLOCKS, ceil_divide(c.size, BLOCK))
    add(blocks, BLOCK, parts, parts.shape[0], c.size, bias, columns, relu, c)
