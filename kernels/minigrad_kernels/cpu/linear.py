"""The affine map of a layer on the CPU: a matrix product that begins with the bias."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import Array, deliver
from .matmul import product


def linear(x: Array, w: Array, b: Array | None, *, out: Array | None = None) -> Array:
    """x (..., in) @ w (out, in) transposed, plus b (out,).

    Raises:
        ValueError: if shapes do not fit.
    """
    if x.shape[-1:] != w.shape[1:] or (b is not None and b.shape != w.shape[:1]):
        raise ValueError(
            f"linear: x {x.shape}, w {w.shape} and b {None if b is None else b.shape} do not fit"
        )
    rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = product(rows, w.T, None if b is None else np.ascontiguousarray(b))
    return deliver(y if x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[0]), out)
