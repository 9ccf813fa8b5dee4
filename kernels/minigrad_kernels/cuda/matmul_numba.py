"""The third step of matmul_ladder.cu once more, written in Python: tiles in shared memory.

Numba compiles it for the GPU. Beside the same kernel in C++ it shows what that costs: launches take
tens of microseconds, and there are no loads of 16 bytes, tensor cores or asynchronous copies to go
on with. Numba's simulator (NUMBA_ENABLE_CUDASIM=1) runs it on the CPU, slowly.
"""

from __future__ import annotations

from typing import Any

import numba.cuda
import numpy as np

from ..arrays import Array, array_module, deliver
from .arrays import ceil_divide, contiguous
from .matmul import room
from .matmul_ladder import check_shapes

SIDE = 16
"""Rows and columns of a tile, which the threads of a block compute, a number each."""

cuda: Any = numba.cuda  # much of which is made as it is imported: a type checker does not see it
config: Any = numba.config
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small products have few blocks, and that is all right


def matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N), a thread for each number, by tiles in shared memory.

    Raises:
        ValueError: if inner dimensions differ, or `out` has another shape or is read-only.
    """
    check_shapes(a, b)
    (rows, depth), columns = a.shape, b.shape[1]
    c = room(out, (rows, columns), a.dtype, a, b)
    if c.size:
        grid = ceil_divide(rows, SIDE), ceil_divide(columns, SIDE)
        tiles[grid, (SIDE, SIDE), _stream(a)](contiguous(a), contiguous(b), c, depth)
    return c if c is out else deliver(c, out)


def _stream(x: Array) -> Any:
    """The stream that CuPy works on now; the default one in the simulator."""
    if isinstance(x, np.ndarray):
        return 0
    return cuda.external_stream(array_module(x).cuda.get_current_stream().ptr)


@cuda.jit  # type: ignore[untyped-decorator,unused-ignore]
def tiles(a: Any, b: Any, c: Any, depth: int) -> None:
    """A block computes a tile of c; it goes along the sums by tiles of a and b."""
    a_tile = cuda.shared.array((SIDE, SIDE), numba.float32)
    b_tile = cuda.shared.array((SIDE, SIDE), numba.float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    row, column = cuda.blockIdx.x * SIDE + y, cuda.blockIdx.y * SIDE + x
    total = numba.float32(0)
    for first in range(0, depth, SIDE):
        a_tile[y, x] = 0
        b_tile[y, x] = 0
        if row < c.shape[0] and first + x < depth:
            a_tile[y, x] = a[row, first + x]
        if first + y < depth and column < c.shape[1]:
            b_tile[y, x] = b[first + y, column]
        cuda.syncthreads()
        for k in range(SIDE):
            total += a_tile[y, k] * b_tile[k, x]
        cuda.syncthreads()
    if row < c.shape[0] and column < c.shape[1]:
        c[row, column] = total
