"""The affine map of a layer: rows times a weight matrix, plus a bias."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, deliver
from .cuda.c_types import C_NAMES
from .layout import plain
from .matmul import BFLOAT16_EPS, TF32_EPS
from .registry import Arguments, Cost, arguments, kernel


def layers(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without a bias; batches of several dimensions; strided, odd and empty."""

    def draw(*shape: int, dtype: str = "f4") -> Array:
        return rng.normal(size=shape).astype(dtype)

    yield arguments(draw(3, 5), draw(4, 5), draw(4))
    yield arguments(draw(67, 129), draw(33, 129), None)
    yield arguments(draw(31, 17, dtype="f8"), draw(40, 17, dtype="f8"), draw(40, dtype="f8"))
    yield arguments(draw(5, 3).T, draw(5, 4).T, draw(8)[::2])
    yield arguments(draw(2, 7, 5), draw(3, 5), draw(3))
    yield arguments(draw(5), draw(3, 5), draw(3))
    yield arguments(draw(6, 5), draw(3, 5), draw())
    yield arguments(draw(0, 5), draw(3, 5), draw(3))
    yield arguments(draw(4, 0), draw(3, 0), draw(3))


def layer_cost(x: Array, w: Array, b: Array | None) -> Cost:
    """A multiply-add for every weight and row, and an addition for every bias and row."""
    size = math.prod(x.shape[:-1]) * w.shape[0]
    flops = 2 * size * w.shape[1] + (0 if b is None else size)
    read = x.nbytes + w.nbytes + (0 if b is None else b.nbytes)
    return Cost(flops=flops, bytes=read + size * x.itemsize)


@kernel(samples=layers, cost=layer_cost)
def linear(x: Array, w: Array, b: Array | None, *, out: Array | None = None) -> Array:
    """x (..., in) @ w (out, in) transposed, plus b (out,) or (): (..., out)."""
    rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = rows @ w.T
    if b is not None:
        y += b
    return deliver(y.reshape(*x.shape[:-1], w.shape[0]), out)


def _accepts(x: Array, w: Array, b: Array | None, **_: Any) -> bool:
    return x.ndim > 0 and (plain(x, w) if b is None else b.ndim == 1 and plain(x, w, b))


@linear.on("numba", accepts=_accepts)
def _linear_numba() -> Any:
    from .cpu.linear import linear

    return linear


# CUDA: the last one has precedence, the others run when they are asked for


def _computable(x: Array, w: Array, b: Array | None, **_: Any) -> bool:
    return (
        x.ndim > 0
        and x.dtype == w.dtype
        and x.dtype in C_NAMES
        and (b is None or (b.ndim == 1 and b.dtype == x.dtype))
    )


def _rounded(x: Array, w: Array, b: Array | None, **_: Any) -> bool:
    """Whether these are numbers that tensor cores could round and multiply."""
    from .cuda.matmul_tensor import capable

    return _computable(x, w, b) and x.dtype == np.float32 and capable(x)


def _asked_for(*_: Any, **__: Any) -> bool:
    """It rounds more than its inputs do: it is never the choice."""
    return False


@linear.on(
    "cuda", "cuda-on-cpu", name="bfloat16", accepts=_rounded, worth=_asked_for, eps=BFLOAT16_EPS
)
def _linear_bfloat16() -> Any:
    from .cuda.linear import bfloat16_linear

    return bfloat16_linear


@linear.on("cuda", "cuda-on-cpu", name="tf32", accepts=_rounded, worth=_asked_for, eps=TF32_EPS)
def _linear_tf32() -> Any:
    from .cuda.linear import tf32_linear

    return tf32_linear


@linear.on("cuda", "cuda-on-cpu", accepts=_computable)
def _linear_cuda() -> Any:
    from .cuda.linear import linear

    return linear
