"""Products of matrices and vectors, and sums of products written as equations."""

from __future__ import annotations

import math
from typing import Any

import minigrad_kernels as kernels

from ..recording import operands, record, record_pair
from ..tensor import Tensor, TensorLike, together
from .registry import differentiable, fails, real, sample
from .shape import reshape, transpose


def product(a: Any, b: Any) -> Any:
    """A matrix product inside a rule: of tensors, recorded, or of bare arrays."""
    return matmul(a, b) if a.__class__ is Tensor else kernels.matmul(a, b)


def _left(g: Any, b: Any) -> Any:
    """y = a @ b, matrices: the gradient of a is g @ b^T."""
    return product(g, b.T)


def _right(g: Any, a: Any) -> Any:
    """y = a @ b, matrices: the gradient of b is a^T @ g."""
    return product(a.T, g)


@differentiable(
    [
        sample(real(2, 3), real(3, 4)),
        sample(real(3), real(3)),
        sample(real(2, 3), real(3)),
        sample(real(3), real(3, 2)),
        sample(real(2, 2, 3), real(3)),
        sample(real(3), real(2, 3, 2)),
        sample(real(2, 2, 3), real(3, 2)),
        sample(real(2, 3), real(2, 3, 2)),
        sample(real(2, 1, 2, 3), real(2, 3, 2)),
        sample(real(2, 0), real(0, 3)),
        sample(real(0, 2, 3), real(3, 2)),
    ],
    kind="bilinear",
    errors=[
        fails(ValueError, r"matmul: .*\(2, 3\).*\(4, 2\)", real(2, 3), real(4, 2)),
        fails(ValueError, r"matmul: .*\(3,\).*\(2,\)", real(3), real(2)),
        fails(ValueError, "matmul: .*at least one dimension", real(), real(2)),
        fails(ValueError, "matmul: .*broadcast", real(2, 3, 4), real(3, 4, 5)),
    ],
)
def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """The matrix product a @ b: (..., M, K) times (..., K, N) gives (..., M, N).

    Leading dimensions broadcast. A vector stands for one row of `a`, one column of `b`, and leaves
    no dimension in the result: two vectors give their scalar product.

    Raises:
        ValueError: if the inner lengths differ, or the leading dimensions do not broadcast.

    >>> matmul([[1, 2], [3, 4]], [1, 1])
    tensor([3, 7])
    """
    if a.__class__ is not Tensor or b.__class__ is not Tensor or a.data.dtype is not b.data.dtype:
        a, b = operands(a, b, "matmul")
    x, y = a.data, b.data
    if x.__class__ is not y.__class__:
        together("matmul", a, b)
    if x.ndim == 2 and y.ndim == 2 and x.shape[1] == y.shape[0]:
        return record_pair(matmul, kernels.matmul(x, y), a, _left, b, b, _right, a)
    _check_shapes(x.shape, y.shape)
    if y.ndim > 2:
        return _batched(a, b)
    return _folded(a, b)


def _check_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    if not a or not b:
        raise ValueError(f"matmul: both operands want at least one dimension, got {a} and {b}")
    if a[-1] != b[-2 if len(b) > 1 else 0]:
        raise ValueError(
            f"matmul: the last length of a must be the last but one of b (a vector has only one), "
            f"got shapes {a} and {b}"
        )
    for m, n in zip(reversed(a[:-2]), reversed(b[:-2]), strict=False):
        if m != n and 1 not in (m, n):
            raise ValueError(
                f"matmul: the leading dimensions do not broadcast, got shapes {a} and {b}"
            )


def _folded(a: Tensor, b: Tensor) -> Tensor:
    """a (..., K) @ b (K, N) or (K,): all rows of a, in whatever batches, are one matrix.

    One product of matrices instead of many small ones, and no batch of gradients of b to be summed.
    """
    sa, sb = a.data.shape, b.data.shape
    M, K, N = math.prod(sa[:-1]), sa[-1], sb[1] if len(sb) > 1 else 1
    y = kernels.matmul(a.data.reshape(M, K), b.data)  # (M, N) or (M,)
    return record(
        matmul,
        y.reshape(sa[:-1] + sb[1:]),
        (a, lambda g, b: reshape(product(_as(g, M, N), _as(b, K, N).T), sa), b),
        (b, lambda g, a: reshape(product(_as(a, M, K).T, _as(g, M, N)), sb), a),
    )


def _as(x: Any, rows: int, columns: int) -> Any:
    """A matrix of a tensor, recorded, or of a bare array."""
    return reshape(x, rows, columns) if x.__class__ is Tensor else x.reshape(rows, columns)


def _batched(a: Tensor, b: Tensor) -> Tensor:
    """a (..., M, K) or (K,) @ b (..., K, N); the engine sums over what was broadcast."""
    y = kernels.matmul(a.data, b.data)
    if a.data.ndim > 1:
        return record(
            matmul,
            y,
            (a, lambda g, b: matmul(g, transpose(b, -1, -2)), b),
            (b, lambda g, a: matmul(transpose(a, -1, -2), g), a),
        )
    K, N, batch = a.data.shape[0], y.shape[-1], y.shape[:-1]
    return record(
        matmul,
        y,
        (a, lambda g, b: reshape(matmul(b, reshape(g, (*batch, N, 1))), (*batch, K)), b),
        (b, lambda g, a: reshape(a, K, 1) * reshape(g, (*batch, 1, N)), a),
    )


# Special cases, which insist on the number of dimensions


def _check_dims(name: str, *wanted: tuple[Tensor, str, int]) -> None:
    for x, argument, ndim in wanted:
        if x.ndim != ndim:
            raise ValueError(
                f"{name}: {argument} wants {ndim} dimension{'s' * (ndim > 1)}, got shape {x.shape}"
            )


@differentiable(
    [sample(real(3), real(3))],
    kind="bilinear",
    errors=[
        fails(ValueError, "dot: other wants 1 dimension,", real(3), real(3, 1)),
        fails(ValueError, r"dot: .*\(3,\) and \(2,\)", real(3), real(2)),
    ],
)
def dot(input: TensorLike, other: TensorLike) -> Tensor:
    """The scalar product of two vectors."""
    a, b = operands(input, other, "dot")
    _check_dims("dot", (a, "input", 1), (b, "other", 1))
    if a.shape != b.shape:
        raise ValueError(f"dot: the vectors have different shapes, {a.shape} and {b.shape}")
    return matmul(a, b)


@differentiable(
    [sample(real(3), real(2)), sample(real(0), real(2))],
    kind="bilinear",
    errors=[fails(ValueError, "outer: input wants 1 dimension,", real(3, 1), real(3))],
)
def outer(input: TensorLike, other: TensorLike) -> Tensor:
    """All products of an element of one vector and one of the other: (M,) and (N,) give (M, N)."""
    a, b = operands(input, other, "outer")
    _check_dims("outer", (a, "input", 1), (b, "other", 1))
    return matmul(reshape(a, -1, 1), reshape(b, 1, -1))


@differentiable(
    [sample(real(2, 3), real(3))],
    kind="bilinear",
    errors=[fails(ValueError, "mv: vec wants 1 dimension,", real(2, 3), real(3, 1))],
)
def mv(input: TensorLike, vec: TensorLike) -> Tensor:
    """A matrix (M, K) times a vector (K,)."""
    a, b = operands(input, vec, "mv")
    _check_dims("mv", (a, "input", 2), (b, "vec", 1))
    return matmul(a, b)


@differentiable(
    [sample(real(2, 3), real(3, 2))],
    kind="bilinear",
    errors=[fails(ValueError, "mm: mat2 wants 2 dimensions,", real(2, 3), real(3))],
)
def mm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """A matrix (M, K) times a matrix (K, N)."""
    a, b = operands(input, mat2, "mm")
    _check_dims("mm", (a, "input", 2), (b, "mat2", 2))
    return matmul(a, b)


@differentiable(
    [sample(real(2, 2, 3), real(2, 3, 2))],
    kind="bilinear",
    errors=[
        fails(ValueError, "bmm: input wants 3 dimensions,", real(2, 3), real(1, 3, 2)),
        fails(ValueError, "bmm: .*batches of 1 and 2", real(1, 2, 3), real(2, 3, 2)),
    ],
)
def bmm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """Matrices (N, M, K) times as many matrices (N, K, P), without broadcasting."""
    a, b = operands(input, mat2, "bmm")
    _check_dims("bmm", (a, "input", 3), (b, "mat2", 3))
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"bmm: the operands are batches of {a.shape[0]} and {b.shape[0]} matrices")
    return matmul(a, b)
