"""Matrix products on tensor cores: the launch code of matmul_tensor.cu."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..arrays import Array
from .arrays import ceil_divide, empty
from .c_types import BFLOAT16
from .launch import MOST_SHARED
from .matmul import BLOCK, BLOCKS, Plan, Sizes, Tile, launch, multiplied, plan, result_name
from .matmul_operands import WIDE, Operand, Pair
from .nvidia import SHARED_ATTRIBUTE
from .source import kernel

TILES = (
    Tile("Large", 128, 256, 256, 4),
    Tile("Medium", 128, 128, 128, 3),
    Tile("Small", 64, 64, 128, 4),
)
DEPTH = 128
"""Bytes of each row and column in a stage."""

GAP = 32
"""Bytes between lines of a stage where numbers of 4 bytes are read one by one."""

RESERVED = 1024
"""Bytes of shared memory that are not for stages: the kernel's own and the system's."""


def tf32_matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """`matmul` of float32 numbers that are rounded to TF32, with 10 bits behind the first.

    Raises:
        ValueError: as `matmul`.
    """
    return multiplied(a, b, out, tf32_product)


def bfloat16_matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """`matmul` of float32 numbers that are rounded to bfloat16, with 7 bits behind the first.

    Raises:
        ValueError: as `matmul`.
    """
    return multiplied(a, b, out, bfloat16_product)


def matmul_of_bfloat16(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """`matmul` of bfloat16 numbers, with a result in float32.

    Args:
        a, b: the numbers' bits as uint16, or arrays of `ml_dtypes.bfloat16`.
        out: of float32.

    Raises:
        TypeError: for arrays of other types.
        ValueError: as `matmul`.
    """
    check_bfloat16(a, b)
    product = functools.partial(tensor_product, number=BFLOAT16)
    return multiplied(a, b, out, product, np.float32)


def check_bfloat16(*arrays: Array) -> None:
    """Refuse arrays of other numbers.

    Raises:
        TypeError: for them.
    """
    for x in arrays:
        if x.dtype != np.uint16 and x.dtype.name != BFLOAT16:
            raise TypeError(f"matmul_of_bfloat16: wants bfloat16 or its bits, not {x.dtype}")


def tf32_product(operands: Pair, sizes: Sizes, c: Array, **options: Any) -> None:
    """Products of float32 numbers, rounded on their way to the tensor cores; `plain_product`."""
    tensor_product(operands, sizes, c, number="float", **options)


def bfloat16_product(operands: Pair, sizes: Sizes, c: Array, **options: Any) -> None:
    """The same, rounded by a pass over both: the product itself then reads half as much."""
    rounded = operands._replace(a=_rounded(operands.a), b=_rounded(operands.b))
    tensor_product(rounded, sizes, c, number=BFLOAT16, **options)


def _rounded(x: Operand) -> Operand:
    """An operand in bfloat16; NumPy and CuPy hold its bits as uint16."""
    y = empty(x.memory, x.memory.shape, np.uint16)
    blocks = max(1, min(BLOCKS, ceil_divide(y.size, BLOCK)))
    kernel("matmul_passes.cu", "to_bfloat16", T="float", SUM="float")(
        blocks, BLOCK, x.memory, y, y.size
    )
    return x._replace(memory=y)


def tensor_product(
    operands: Pair,
    sizes: Sizes,
    c: Array,
    *,
    number: str,
    bias: Array | None = None,
    relu: bool = False,
    chosen: Plan | None = None,
) -> None:
    """Products on tensor cores, into c; as `plain_product`, with sums in float32.

    Args:
        operands: two stacks of matrices of the type `number`.
        sizes: rows, columns, depth.
        c: of float16 for halves, else of float32.
        number: the operands' type in C++: half, bfloat16, or float for TF32.
        bias: of c's type.
        relu: whether negative numbers become 0.
        chosen: tiles, stages and splits, if they are not to be chosen by the sizes.
    """
    a, b = operands.a, operands.b
    itemsize = a.memory.itemsize
    if chosen is None:
        tiles = fitting(shared_memory(c), itemsize)
        chosen = plan(tiles, *sizes, operands.outer * operands.inner)
    run = kernel(
        "matmul_tensor.cu",
        "tensor_product",
        T=number,
        RESULT=result_name(c, chosen),
        TILE=chosen.tile.name,
        STAGES=chosen.tile.stages,
        WIDTH=WIDE // itemsize if a.aligned() and b.aligned() else 1,
        A_ALONG=int(a.along),
        B_ALONG=int(b.along),
    )
    gaps = (not a.along) + (not b.along)
    shared = chosen.tile.stages * stage_bytes(chosen.tile, itemsize, gaps)
    launch(run, chosen, operands, sizes, c, bias, relu, wide=2, shared=shared)


def stage_bytes(tile: Tile, itemsize: int, gaps: int) -> int:
    """Shared memory of a stage of which so many operands run across the sum."""
    lines = gaps * DEPTH // itemsize if itemsize == 4 else 0
    return (tile.rows + tile.columns) * DEPTH + lines * GAP


@functools.lru_cache(maxsize=64)
def fitting(shared: int, itemsize: int) -> tuple[Tile, ...]:
    """The tiles of which at least two stages fit into that much shared memory, in as many as do."""
    found = []
    for tile in TILES:
        stages = min(tile.stages, (shared - RESERVED) // stage_bytes(tile, itemsize, 2))
        if stages >= 2:
            found.append(tile._replace(stages=stages))
    return tuple(found)


def shared_memory(x: Array) -> int:
    """Bytes of shared memory that a block may have where an array is."""
    if isinstance(x, np.ndarray):
        return MOST_SHARED
    return _shared_memory(x.device.id)


@functools.cache
def _shared_memory(device: int) -> int:
    from cupy.cuda import runtime  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return int(runtime.deviceGetAttribute(SHARED_ATTRIBUTE, device))
