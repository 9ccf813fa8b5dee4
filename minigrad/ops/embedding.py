"""Looking up rows of a table by their numbers: words, or other things that have no arithmetic."""

from __future__ import annotations

from typing import Any

import minigrad_kernels as kernels

from ..device import check_range
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, together, wrap
from .elementwise import where
from .registry import differentiable, fails, integers, real, sample
from .shape import unsqueeze


def _indices(input: TensorLike, rows: int, like: Tensor, name: str) -> Tensor:
    """The indices of rows of a table, on the device of `like`.

    Raises:
        TypeError: if they are no integers, or elsewhere; IndexError: if there is no such row. On a
            GPU that is raised when something is read from there; the row is NaN.
    """
    index = together(name, like, input)[1]
    if index.data.dtype.kind not in "iu":
        raise TypeError(f"{name}: input wants integers, got {index.dtype}")

    def refusal(low: int, high: int) -> IndexError | None:
        if low >= 0 and high < rows:
            return None
        value = low if low < 0 else high
        return IndexError(f"{name}: input holds index {value}, weight has {rows} rows")

    check_range(index.data, refusal, not rows)
    return index


@differentiable(
    [
        sample(integers(2, 3, high=4), real(4, 2)),
        sample(integers(high=4), real(4, 2)),
        sample(integers(3, low=1, high=4), real(4, 2), padding_idx=0),
        sample(integers(3, high=3), real(4, 2), -1),
        sample(integers(0, high=4), real(4, 2)),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "input holds index 4, weight has 4 rows", [1, 4], real(4, 2)),
        fails(IndexError, "input holds index -1", [1, -1], real(4, 2)),
        fails(TypeError, "input wants integers, got float", real(3), real(4, 2)),
        fails(ValueError, r"weight wants 2 dimensions, got shape \(4,\)", [1], real(4)),
        fails(IndexError, "padding_idx is 4, weight has 4 rows", [1], real(4, 2), padding_idx=4),
    ],
)
def embedding(input: TensorLike, weight: TensorLike, padding_idx: int | None = None) -> Tensor:
    """The rows of `weight` whose numbers `input` holds. VJP: g added up in these rows.

    Args:
        input: indices (...).
        weight: a table (rows, width).
        padding_idx: a row (negative: counted from the end) that gets no gradient.

    Returns:
        (..., width).

    Raises:
        TypeError: if `input` does not hold integers; ValueError: if `weight` is no table;
        IndexError: if there is no such row; on a GPU when something is read from there the next
            time, since to look at once would be to wait for it.

    >>> embedding([2, 0], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    tensor([[3., 3.],
            [1., 1.]])
    """
    w = as_tensor(weight)
    if w.ndim != 2:
        raise ValueError(f"embedding: weight wants 2 dimensions, got shape {w.shape}")
    rows = w.data.shape[0]
    index = _indices(input, rows, w, "embedding")
    skip = padding_idx
    if skip is not None:
        if not -rows <= skip < rows:
            raise IndexError(f"embedding: padding_idx is {skip}, weight has {rows} rows")
        skip %= rows

    def rule(g: Any, index: Any) -> Any:
        if g.__class__ is Tensor:
            return embedding_gradient(g, index, rows, skip)
        return kernels.embedding_gradient(g, index, rows=rows, skip=skip)

    return record(embedding, kernels.embedding(index.data, w.data), (w, rule, wrap(index.data)))


@differentiable(
    [
        sample(real(2, 3, 2), integers(2, 3, high=4), 4),
        sample(real(3, 2), integers(3, high=2), 4, 1),
        sample(real(2), integers(high=4), 4),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "input holds index 3, weight has 3 rows", real(1, 2), [3], 3),
        fails(ValueError, r"gradient wants shape \(2, width\)", real(3, 2), [0, 1], 3),
    ],
)
def embedding_gradient(
    g: TensorLike, input: TensorLike, rows: int, padding_idx: int | None = None
) -> Tensor:
    """The gradient of embedding: g (..., width) added up in the rows of `input` (...).

    Raises:
        ValueError: if the shapes do not fit; IndexError: if an index is not below `rows`.
    """
    g = as_tensor(g)
    index = _indices(input, rows, g, "embedding_gradient")
    if g.ndim != index.ndim + 1 or g.shape[:-1] != index.shape:
        wanted = ", ".join(map(str, (*index.shape, "width")))
        raise ValueError(f"embedding_gradient: the gradient wants shape ({wanted}), got {g.shape}")

    def rule(v: Any, index: Any) -> Any:
        picked = embedding(index, v)
        if padding_idx is None:
            return picked
        return where(unsqueeze(index == padding_idx, -1), 0.0, picked)

    array = kernels.embedding_gradient(g.data, index.data, rows=rows, skip=padding_idx)
    return record(embedding_gradient, array, (g, rule, wrap(index.data)))
