"""How images (N, C, H, W) lie in memory, for kernels that go through them pixel by pixel.

Two layouts are native: row-major planes, (N * C, H, W), and channels-last pixels, (N, H, W, C).
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array
from ..layout import contiguous
from ..memory import empty


def is_channels_last(x: Array) -> bool:
    """Whether a kernel should go through x (N, C, H, W) channels-last."""
    if x.flags.c_contiguous:
        return x.shape[2] * x.shape[3] == 1  # both at once: the channels are the longer row
    return x.shape[1] > 1 and abs(x.strides[1]) < abs(x.strides[3])


def native(x: Array, last: bool) -> Array:
    """x (N, C, H, W) as a C-contiguous array, (N, H, W, C) or (N * C, H, W): a view or a copy."""
    view = contiguous(x.transpose(0, 2, 3, 1) if last else x)
    return view if last else view.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def new_images(shape: tuple[int, ...], dtype: Any, last: bool) -> tuple[Array, Array]:
    """Images of `shape` (N, C, H, W), not filled, and the same memory in its native shape."""
    n, c, h, w = shape
    if last:
        made = empty((n, h, w, c), dtype)
        return made.transpose(0, 3, 1, 2), made
    made = empty(shape, dtype)
    return made, made.reshape(n * c, h, w)
