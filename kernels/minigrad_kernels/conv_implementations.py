"""The implementations of convolutions, and when each is the choice: the latest that is worth it.

Each is a function of the kernel's own name in a file of `cpu` or `cuda`. The predicates take the
arguments of all three kernels: `x` is the images or, for the gradient of the images, that of the
output; `other` is the filters or, for the gradient of the filters, that of the output. That last
kernel alone has the option `kernel_size`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Array
from .conv import conv2d, conv2d_input_gradient, conv2d_weight_gradient
from .cuda.capability import TENSOR_CORES
from .layout import REALS, plain
from .matmul import TF32_EPS
from .registry import imported, only_when_asked

CONVOLUTIONS = (conv2d, conv2d_input_gradient, conv2d_weight_gradient)


def _three_by_three(other: Array, options: dict[str, Any]) -> bool:
    """Whether filters are 3 by 3, and windows lie side by side."""
    ones = (1, 1)
    return (
        tuple(options.get("kernel_size", other.shape[2:])) == (3, 3)
        and tuple(options["stride"]) == ones == tuple(options["dilation"])
        and options["groups"] == 1
        and min(map(min, options["padding"])) >= 0
    )


def _one_filter_each(x: Array, other: Array, options: dict[str, Any]) -> bool:
    """Whether every channel has one filter."""
    if "kernel_size" in options:
        return bool(x.shape[1] == other.shape[1] == options["groups"])
    return other.shape[1] == 1 and bool(x.shape[1] == len(other) == options["groups"])


def _fewest_channels(x: Array, other: Array, options: dict[str, Any]) -> int:
    """Channels or filters, whichever are fewer."""
    return min(x.shape[1], other.shape[1] if "kernel_size" in options else min(other.shape[:2]))


def _many_tiles(x: Array) -> bool:
    return len(x) * -(-x.shape[2] // 4) * -(-x.shape[3] // 4) >= WINOGRAD_TILES


WINOGRAD_TILES = 512
"""Tiles of 4×4 pixels from which Winograd's method is worth the seconds that compiling it takes,
once."""


# On the CPU

WINOGRAD_CHANNELS = 16
"""Channels and filters from which transforming tiles costs less than the multiplications saved."""

WIDEST_VECTOR = 64
"""Bytes of the widest vectors there are: depthwise filters are compiled for whole ones."""


def _direct(x: Array, other: Array, bias: Array | None = None, **_: Any) -> bool:
    if not (x.size and other.size):
        return False
    return plain(x, other) if bias is None else plain(x, other, bias)


def _winograd(x: Array, other: Array, bias: Array | None = None, **options: Any) -> bool:
    return _three_by_three(other, options) and _direct(x, other, bias)


def _worth_winograd(x: Array, other: Array, *_: Array, **options: Any) -> bool:
    return _fewest_channels(x, other, options) >= WINOGRAD_CHANNELS and _many_tiles(x)


def _depthwise(x: Array, other: Array, bias: Array | None = None, **options: Any) -> bool:
    whole_vectors = x.shape[1] * x.dtype.itemsize % WIDEST_VECTOR == 0
    each = x.shape[1] > 1 and _one_filter_each(x, other, options)
    return each and whole_vectors and _direct(x, other, bias)


def _grouped(*_: Array, groups: int, **__: Any) -> bool:
    return groups > 1


for _kernel in CONVOLUTIONS:
    _name = _kernel.name
    _kernel.on("numba", name="direct", accepts=_direct)(imported("cpu.conv", _name))
    _kernel.on("numba", name="winograd", accepts=_winograd, worth=_worth_winograd)(
        imported("cpu.winograd", _name)
    )
    _kernel.on("numba", name="depthwise", accepts=_depthwise, worth=_grouped)(
        imported("cpu.depthwise", _name)
    )


# In CUDA

GPU_WINOGRAD_CHANNELS = 64
"""Channels and filters from which Winograd's method should be faster on an H100, by arithmetic.

With C of both, it saves 27 - 9 multiply-adds of each C² and pixel, and moves 2 (1 + 2 * 36 / 16) C
numbers for a pixel where direct convolution moves 2 C. At 60 TFLOP/s and 3.3 TB/s both take as long
where C is about 50."""


def _on_gpu(x: Array, other: Array, bias: Array | None = None, **_: Any) -> bool:
    from .cuda.conv_layout import convolvable

    return convolvable(x, other, bias)


def _in_single(x: Array, other: Array, bias: Array | None = None, **_: Any) -> bool:
    return x.dtype == np.float32 and _on_gpu(x, other, bias)


def _in_half(
    x: Array, other: Array, bias: Array | None = None, *, groups: int, **options: Any
) -> bool:
    # Copies take 8 channels of a group, of what sums run through: x, or both over pixels.
    whole = [x.shape[1]] + ([other.shape[1]] if "kernel_size" in options else [])
    fits = groups > 0 and not any(channels % (8 * groups) for channels in whole)
    return x.dtype == np.float16 and fits and _on_gpu(x, other, bias)


def _depthwise_on_gpu(x: Array, other: Array, bias: Array | None = None, **options: Any) -> bool:
    return _one_filter_each(x, other, options) and _on_gpu(x, other, bias)


def _winograd_on_gpu(x: Array, other: Array, bias: Array | None = None, **options: Any) -> bool:
    return x.dtype in REALS and _three_by_three(other, options) and _on_gpu(x, other, bias)


def _worth_winograd_on_gpu(x: Array, other: Array, *_: Array, **options: Any) -> bool:
    return _fewest_channels(x, other, options) >= GPU_WINOGRAD_CHANNELS and _many_tiles(x)


CUDA = "cuda", "cuda-on-cpu"

for _number, _rung in enumerate(("naive", "coalesced", "tiles", "registers"), 1):
    conv2d.on(*CUDA, name=f"{_number}-{_rung}", accepts=_in_single, worth=only_when_asked)(
        imported("cuda.conv_ladder", _rung)
    )
_IN_TF32: dict[str, Any] = {"worth": only_when_asked, "eps": TF32_EPS, "needs": TENSOR_CORES}

conv2d.on(*CUDA, name="5-tensor-cores", accepts=_in_single, **_IN_TF32)(
    imported("cuda.conv_ladder", "tensor_cores")
)

for _kernel in CONVOLUTIONS:
    _name = _kernel.name
    _kernel.on(*CUDA, name="tf32", accepts=_in_single, **_IN_TF32)(
        imported("cuda.conv_tensor", _name)
    )
    _kernel.on(*CUDA, accepts=_on_gpu)(imported("cuda.conv", _name))
    _kernel.on(*CUDA, name="half", accepts=_in_half, needs=TENSOR_CORES)(
        imported("cuda.conv_tensor", _name)
    )
    _kernel.on(*CUDA, name="depthwise", accepts=_depthwise_on_gpu)(
        imported("cuda.depthwise", _name)
    )
    _kernel.on(*CUDA, name="winograd", accepts=_winograd_on_gpu, worth=_worth_winograd_on_gpu)(
        imported("cuda.winograd", _name)
    )
