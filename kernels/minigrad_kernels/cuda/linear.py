"""The affine map of a layer in CUDA: a matrix product that ends with the bias and the ReLU."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..arrays import Array, deliver
from .arrays import contiguous
from .matmul import half_product, plain_product, room
from .matmul_operands import pair
from .matmul_tensor import bfloat16_product, tf32_product


def linear(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    relu: bool = False,
    out: Array | None = None,
    product: Any = None,
) -> Array:
    """x (..., in) @ w (out, in) transposed, plus b (out,), negative numbers to 0 if `relu`.

    Bias and ReLU are applied to the sums before they are stored. `product` computes the product;
    tensor cores do for float16, ordinary ones for float32 and float64.

    Raises:
        ValueError: if shapes do not fit, or those of the result and `out`; if `out` is read-only.
    """
    if x.shape[-1:] != w.shape[1:] or (b is not None and b.shape != w.shape[:1]):
        raise ValueError(
            f"linear: x {x.shape}, w {w.shape} and b {None if b is None else b.shape} do not fit"
        )
    y = room(out, (*x.shape[:-1], w.shape[0]), x.dtype, x, w, b)
    if y.size:
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        sizes = rows.shape[0], w.shape[0], x.shape[-1]
        bias = None if b is None else contiguous(b)
        run = product or product_of(x.dtype)
        run(pair(rows, w.T, ()), sizes, y, bias=bias, relu=relu)
    return y if y is out else deliver(y, out)


tf32_linear = functools.partial(linear, product=tf32_product)
"""`linear` of float32 numbers that are rounded to TF32."""

bfloat16_linear = functools.partial(linear, product=bfloat16_product)
"""`linear` of float32 numbers that are rounded to bfloat16."""


def product_of(dtype: Any) -> Any:
    """The function that computes products of numbers of a type."""
    return half_product if dtype == np.float16 else plain_product
