"""How images (N, C, H, W) lie in memory, for kernels that go through them pixel by pixel.

Two layouts are native: row-major planes, (N * C, H, W), and channels-last pixels, (N, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import Array
from ..memory import empty
from .compiled import Compiled


def is_channels_last(x: Array) -> bool:
    """Whether a kernel should go through x (N, C, H, W) channels-last."""
    if x.flags.c_contiguous:
        return x.shape[2] * x.shape[3] == 1  # both at once: the channels are the longer row
    return x.shape[1] > 1 and abs(x.strides[1]) < abs(x.strides[3])


def native(x: Array, last: bool) -> Array:
    """x (N, C, H, W) as a C-contiguous array, (N, H, W, C) or (N * C, H, W): a view or a copy."""
    view = x.transpose(0, 2, 3, 1) if last else x
    if not (view.flags.c_contiguous and view.flags.aligned):
        copy = empty(view.shape, x.dtype)
        np.copyto(copy, view)
        view = copy
    return view if last else view.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def new_images(shape: tuple[int, ...], dtype: Any, last: bool) -> tuple[Array, Array]:
    """Images of `shape` (N, C, H, W), not filled, and the same memory in its native shape."""
    n, c, h, w = shape
    if last:
        made = empty((n, h, w, c), dtype)
        return made.transpose(0, 3, 1, 2), made
    made = empty(shape, dtype)
    return made, made.reshape(n * c, h, w)


def threads_for(function: Compiled, size: int) -> Callable[..., Any]:
    """The function on all threads, or on the calling one alone where there is little to do."""
    return function.suited(size)


def check_out(out: Any, *shapes: tuple[int, ...]) -> None:
    """Refuse arrays that results of these shapes cannot be written to, before anything is.

    Raises:
        ValueError: for another shape, or a read-only array.
    """
    if out is None:
        return
    for place, shape in zip(out if isinstance(out, (tuple, list)) else (out,), shapes, strict=True):
        if place.shape != shape:
            raise ValueError(f"out has shape {place.shape}, the result {shape}")
        if not place.flags.writeable:
            raise ValueError("out is read-only")
