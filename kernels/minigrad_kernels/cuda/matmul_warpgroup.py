"""Matrix products by warpgroups, on GPUs of compute capability 9.0: matmul_warpgroup.cu's launches.

The kernel copies operands 16 bytes at a time and multiplies them as they are. What does not lie so
is brought into lines by a pass before it, which also rounds.
"""

from __future__ import annotations

import functools

import numpy as np

from ..arrays import Array
from .arrays import ceil_divide, empty
from .c_types import BFLOAT16
from .capability import WARPGROUPS
from .errors import LaunchError
from .matmul import Plan, Sizes, Tile, launch, multiplied, plan, result_name
from .matmul_operands import WIDE, Operand, Pair
from .matmul_tensor import check_bfloat16
from .source import kernel

TILES = (Tile("Large", 128, 256, 256, 4), Tile("Medium", 128, 128, 256, 3))

LINE = 128
"""Bytes of each row and column in a stage."""

START = 1024
"""A multiple of which the first stage begins at, in bytes: that of the swizzle's pattern."""

SIDE, THREADS = 32, 256
"""What a block of `lines` brings along: so many rows and terms, with so many threads."""


def matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """`matmul` of float16 numbers, or of float32 numbers rounded to TF32; sums in float32.

    Raises:
        ValueError: as `matmul`.
    """
    return multiplied(a, b, out, half_product if a.dtype == np.float16 else tf32_product)


def bfloat16_matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """`matmul` of float32 numbers that are rounded to bfloat16.

    Raises:
        ValueError: as `matmul`.
    """
    return multiplied(a, b, out, bfloat16_product)


def matmul_of_bfloat16(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """`matmul` of bfloat16 numbers, with a result in float32; as `matmul_tensor` has it.

    Raises:
        TypeError: for arrays of other types.
        ValueError: as `matmul`.
    """
    check_bfloat16(a, b)
    return multiplied(a, b, out, bfloat16_product, np.float32)


def warpgroup_product(
    operands: Pair,
    sizes: Sizes,
    c: Array,
    *,
    number: str,
    bias: Array | None = None,
    relu: bool = False,
    chosen: Plan | None = None,
) -> None:
    """Products by warpgroups, into c; as `plain_product`, with sums in float32.

    Args:
        operands: two stacks of matrices, of float32, or of `number` itself (bfloat16 as its bits).
        sizes: rows, columns, depth.
        c: of float16 for halves, else of float32.
        number: what is multiplied, in C++: half, bfloat16, or float for TF32.
        bias: of c's type.
        relu: whether negative numbers become 0.
        chosen: tiles and splits, if they are not to be chosen by the sizes.

    Raises:
        LaunchError: on a GPU of another compute capability than 9.0.
    """
    lacking = WARPGROUPS.lacking(c)
    if lacking is not None:
        raise LaunchError(f"warpgroup_product: {lacking}")
    rows, columns, depth = sizes
    chosen = chosen or plan(TILES, *sizes, operands.outer * operands.inner)
    a = ready(operands.a, operands, (rows, depth), number)
    b = ready(operands.b, operands, (columns, depth), number)
    operands = operands._replace(a=a, b=b)
    run = kernel(
        "matmul_warpgroup.cu",
        "warpgroup_product",
        T=number,
        RESULT=result_name(c, chosen),
        TILE=chosen.tile.name,
        A_ALONG=int(a.along),
        B_ALONG=int(b.along),
    )
    shared = shared_bytes(chosen.tile)
    launch(run, chosen, operands, sizes, c, bias, relu, shared=shared)


half_product = functools.partial(warpgroup_product, number="half")
tf32_product = functools.partial(warpgroup_product, number="float")
bfloat16_product = functools.partial(warpgroup_product, number=BFLOAT16)


def shared_bytes(tile: Tile) -> int:
    """Bytes of shared memory for the stages of a tile, wherever they begin."""
    return tile.stages * (tile.rows + tile.columns) * LINE + START


def ready(x: Operand, of: Pair, shape: tuple[int, int], number: str) -> Operand:
    """An operand of (rows, terms) as the kernel takes it: itself, or its numbers in lines.

    A line is along the sum. It begins at a multiple of 16 bytes, and ends with zeros. Float is
    always rounded: tensor cores would cut it off.
    """
    of_float = x.memory.dtype == np.float32
    if not of_float and x.aligned():
        return x
    dtype = np.float32 if number == "float" else np.uint16 if number == BFLOAT16 else np.float16
    rows, terms = shape
    per_chunk = WIDE // np.dtype(dtype).itemsize
    padded = ceil_divide(terms, per_chunk) * per_chunk
    outer, inner = (of.outer if x.outer else 1), (of.inner if x.inner else 1)
    y = empty(x.memory, (outer * inner * rows * padded,), dtype)
    run = kernel(
        "matmul_lines.cu",
        "lines",
        T="float" if of_float else number,
        RESULT=number,
        ALONG=int(x.along),
    )
    blocks = ceil_divide(rows, SIDE) * ceil_divide(padded, SIDE) * outer * inner
    run(blocks, THREADS, x.memory, x.leading, x.outer, x.inner, y, rows, terms, padded, inner)
    size = rows * padded
    return Operand(y, True, padded, padded, inner * size if x.outer else 0, size if x.inner else 0)
