"""The matrix product, of matrices, vectors, and batches of matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module
from .backends import BACKENDS
from .cuda.c_types import C_NAMES
from .cuda.capability import TENSOR_CORES, WARPGROUPS
from .layout import plain
from .registry import Arguments, Cost, arguments, imported, kernel, only_when_asked

TF32_EPS, BFLOAT16_EPS = 2.0**-10, 2.0**-7
"""The spacing of TF32's and of bfloat16's numbers above 1: tensor cores round to them."""


def products(rng: np.random.Generator) -> Iterator[Arguments]:
    """Matrices, vectors and batches; transposed and strided, odd and empty."""

    def draw(*shape: int, dtype: str = "f4") -> Array:
        return rng.normal(size=shape).astype(dtype)

    yield arguments(draw(3, 5), draw(5, 4))
    yield arguments(draw(67, 129), draw(129, 33))
    yield arguments(draw(31, 17, dtype="f8"), draw(17, 40, dtype="f8"))
    yield arguments(draw(5, 3).T, draw(4, 5).T)
    yield arguments(draw(6, 8)[::2, ::-2], draw(4, 5))
    yield arguments(draw(5), draw(5))
    yield arguments(draw(3, 5), draw(5))
    yield arguments(draw(5), draw(2, 5, 3))
    yield arguments(draw(2, 7, 5), draw(5, 3))
    yield arguments(draw(3, 1, 4, 5), draw(2, 5, 6))
    yield arguments(draw(2, 5, 4).swapaxes(1, 2), draw(2, 6, 5).swapaxes(1, 2))
    yield arguments(draw(0, 5), draw(5, 3))
    yield arguments(draw(3, 0), draw(0, 4))
    yield arguments(draw(0, 3, 5), draw(5, 4))
    yield arguments(draw(67, 40, dtype="f2"), draw(40, 24, dtype="f2"))
    yield arguments(draw(2, 3, 70).swapaxes(0, 1), draw(3, 70, 9))


def product_cost(a: Array, b: Array) -> Cost:
    """A multiply-add for every element of the result and every place of the sum."""
    inner = a.shape[-1]
    rows = a.size // inner if inner else 0
    columns = b.shape[-1] if b.ndim > 1 else 1
    batches = 1
    if a.ndim > 1:
        shared = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        batches = int(np.prod(shared))
        rows = a.shape[-2]
    elif b.ndim > 2:
        batches = int(np.prod(b.shape[:-2]))
    size = batches * rows * columns
    return Cost(flops=2 * size * inner, bytes=a.nbytes + b.nbytes + size * a.itemsize)


@kernel(samples=products, cost=product_cost)
def matmul(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a (..., M, K) times b (..., K, N): (..., M, N), leading dimensions broadcast.

    A vector stands for one row of `a`, one column of `b`, and leaves no dimension in the result.
    """
    return a @ b if out is None else array_module(a).matmul(a, b, out=out)


def _accepts(a: Array, b: Array, **_: Any) -> bool:
    return a.ndim > 0 and b.ndim > 0 and a.size > 0 and b.size > 0 and plain(a, b)


SMALL = 1 << 13
"""Multiply-adds up to which NumPy is done before a compiled kernel has looked at its arguments."""


OUTER = 1 << 9
"""The same for the product of a column and a row, which NumPy leaves to slower loops."""


def _large(a: Array, b: Array, **_: Any) -> bool:
    if not b.ndim:
        return False
    work = a.size * b.shape[-1]
    return work > SMALL or (work > OUTER and b.shape[0] == 1 and b.ndim == 2)


@matmul.on("numba", accepts=_accepts, worth=_large)
def _matmul_numba() -> Any:
    from .cpu.matmul import matmul

    return matmul


# CUDA: the last one has precedence, the others run when they are asked for


def _computable(a: Array, b: Array, **_: Any) -> bool:
    return a.ndim > 0 and b.ndim > 0 and a.dtype == b.dtype and a.dtype in C_NAMES


def _rounded(a: Array, b: Array, **_: Any) -> bool:
    """Whether these are numbers that tensor cores round and multiply."""
    return _computable(a, b) and a.dtype == np.float32


def _single_matrices(a: Array, b: Array, **_: Any) -> bool:
    return _computable(a, b) and a.dtype == np.float32 and a.ndim == b.ndim == 2


def _half_or_rounded(a: Array, b: Array, **_: Any) -> bool:
    return _computable(a, b) and a.dtype != np.float64


if BACKENDS["numba"].available:

    @matmul.on("cuda", name="numba", accepts=_single_matrices, worth=only_when_asked)
    def _matmul_numba_cuda() -> Any:
        from .cuda.matmul_numba import matmul

        return matmul


_CUDA = "cuda", "cuda-on-cpu"

for _number, _name in enumerate(("naive", "coalesced", "tiles", "registers"), 1):
    matmul.on(*_CUDA, name=f"{_number}-{_name}", accepts=_single_matrices, worth=only_when_asked)(
        imported("cuda.matmul_ladder", _name)
    )
matmul.on(
    *_CUDA,
    name="5-tensor-cores",
    accepts=_single_matrices,
    worth=only_when_asked,
    eps=TF32_EPS,
    needs=TENSOR_CORES,
)(imported("cuda.matmul_ladder", "tensor_cores"))
for _name, _function, _accepted, _eps in (
    ("6-warpgroups-bfloat16", "bfloat16_matmul", _rounded, BFLOAT16_EPS),
    ("6-warpgroups", "matmul", _half_or_rounded, TF32_EPS),
):
    matmul.on(
        *_CUDA, name=_name, accepts=_accepted, worth=only_when_asked, eps=_eps, needs=WARPGROUPS
    )(imported("cuda.matmul_warpgroup", _function))
for _name, _eps in (("bfloat16", BFLOAT16_EPS), ("tf32", TF32_EPS)):
    matmul.on(
        *_CUDA, name=_name, accepts=_rounded, worth=only_when_asked, eps=_eps, needs=TENSOR_CORES
    )(imported("cuda.matmul_tensor", f"{_name}_matmul"))
matmul.on(*_CUDA, accepts=_computable)(imported("cuda.matmul", "matmul"))
