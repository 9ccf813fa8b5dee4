"""Convolution and its gradients in CUDA, with tiles in registers: the launch code of conv.cu."""

from __future__ import annotations

import functools

from ..arrays import Array
from .c_types import c_name
from .conv_launch import Method, Tile, convolution, input_gradient, weight_gradient
from .conv_layout import total_name


def _tile(rows: int, columns: int, thread_rows: int, thread_columns: int) -> Tile:
    threads = rows // thread_rows * (columns // thread_columns)
    return Tile(rows, columns, threads, (("THREAD_M", thread_rows), ("THREAD_N", thread_columns)))


class _InRegisters(Method):
    """Products of register_tiles.cuh."""

    file = "conv.cu"
    loads = 16  # it takes some ten instructions to find a number's place, and some to move it
    fill = 256  # threads with 64 independent sums each
    tensor_cores = False
    _floats = (_tile(128, 64, 8, 8), _tile(128, 32, 8, 4), _tile(32, 32, 4, 4))
    _doubles = (_tile(64, 64, 4, 4), _tile(32, 32, 4, 4))

    def tiles(self, itemsize: int) -> tuple[Tile, ...]:
        return self._doubles if itemsize == 8 else self._floats

    def terms(self, itemsize: int) -> int:
        return 8

    def options(self, x: Array, tile: Tile, *channels: int) -> dict[str, str | int]:
        """`WIDTH` numbers are loaded at once: as many as always lie in one group."""
        width = 2 if x.itemsize == 8 else 4
        return {
            "T": c_name(x),
            "TOTAL": total_name(x),
            "WIDTH": 1 if any(n % width for n in channels) else width,
            "BLOCK_M": tile.rows,
            "BLOCK_N": tile.columns,
            "BLOCK_K": self.terms(x.itemsize),
            **dict(tile.options),
        }

    def shared(self, tile: Tile, itemsize: int, over_pixels: bool) -> int:
        """Two stages of both tiles, and 16 bytes behind each row of A."""
        return 2 * self.terms(itemsize) * ((tile.rows + tile.columns) * max(4, itemsize) + 16)


IN_REGISTERS = _InRegisters()

conv2d = functools.partial(convolution, IN_REGISTERS)
conv2d_input_gradient = functools.partial(input_gradient, IN_REGISTERS)
conv2d_weight_gradient = functools.partial(weight_gradient, IN_REGISTERS)
