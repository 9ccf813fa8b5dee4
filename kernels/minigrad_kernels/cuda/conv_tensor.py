"""Convolution and its gradients on tensor cores: the launch code of conv_tensor.cu.

float32 is rounded to TF32: to 11 significant bits, as those of half. Sums are float32.
"""

from __future__ import annotations

import functools

from ..arrays import Array
from .c_types import c_name
from .conv_launch import Method, Tile, convolution, input_gradient, weight_gradient

_LINE = 128  # bytes of a row's terms in a stage
_STAGES = 3
_THREADS = 128


class _OnTensorCores(Method):
    """Products of tensor_tiles.cuh."""

    file = "conv_tensor.cu"
    loads = 32  # a multiply-add is cheaper here
    fill = 256
    tensor_cores = True

    def tiles(self, itemsize: int) -> tuple[Tile, ...]:
        sizes = ((128, 128), (128, 64), (32, 32))
        return tuple(Tile(rows, columns, _THREADS) for rows, columns in sizes)

    def terms(self, itemsize: int) -> int:
        return _LINE // itemsize

    def options(self, x: Array, tile: Tile, *channels: int) -> dict[str, str | int]:
        """A `COPY` has 16 bytes where as many always lie in one group, else 4."""
        whole = not any(n * x.itemsize % 16 for n in channels)
        copy = 16 if whole else 4
        return {"T": c_name(x), "BLOCK_M": tile.rows, "BLOCK_N": tile.columns, "COPY": copy}

    def shared(self, tile: Tile, itemsize: int, over_pixels: bool) -> int:
        """The stages; then where windows begin, or, over pixels, 8 numbers behind each row."""
        if over_pixels:
            return _STAGES * _LINE * (tile.rows + tile.columns + 16)
        return _STAGES * _LINE * (tile.rows + tile.columns) + 16 * tile.rows


ON_TENSOR_CORES = _OnTensorCores()

conv2d = functools.partial(convolution, ON_TENSOR_CORES)
conv2d_input_gradient = functools.partial(input_gradient, ON_TENSOR_CORES)
conv2d_weight_gradient = functools.partial(weight_gradient, ON_TENSOR_CORES)
