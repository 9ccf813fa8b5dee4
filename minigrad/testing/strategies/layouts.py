"""Memory layouts: the same numbers in other places, and tensors in any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .shapes import Draw, Shape, checked_shape, shapes
from .values import arrays

Layout = Callable[[np.ndarray], np.ndarray]


def contiguous(x: np.ndarray) -> np.ndarray:
    """Row-major, without gaps."""
    return np.array(x, order="C")


def column_major(x: np.ndarray) -> np.ndarray:
    """Fortran's order."""
    return np.array(x, order="F")


def reversed_strides(x: np.ndarray) -> np.ndarray:
    """Every stride negative."""
    every: Any = (..., *(slice(None, None, -1),) * x.ndim)
    return np.asarray(np.array(x[every], order="C")[every])


def gaps(x: np.ndarray) -> np.ndarray:
    """Every other element of a wider array; the others hold 99."""
    if not x.ndim:
        return np.stack([x, np.full_like(x, 99)])[0, ...]
    room = np.full((*x.shape[:-1], 2 * x.shape[-1]), 99, x.dtype)
    room[..., ::2] = x
    return room[..., ::2]


def repeated(x: np.ndarray) -> np.ndarray:
    """Its first slice along the last axis, repeated with stride zero. Changes the numbers!"""
    return np.broadcast_to(x[..., :1], x.shape) if x.ndim and x.size else x


LAYOUTS = (contiguous, column_major, reversed_strides, gaps)
"""Ways to lay the same numbers out in memory. `repeated` is not among them: it makes ties."""


def layouts(zero_stride: bool = False) -> st.SearchStrategy[Layout]:
    """One of `LAYOUTS`, a function from arrays to equal arrays.

    With `zero_stride` also `repeated`, which keeps the shape and not the numbers.
    """
    return st.sampled_from((*LAYOUTS, repeated) if zero_stride else LAYOUTS)


def tensors(
    shape: Shape | None = None,
    dtype: Any = np.float64,
    elements: Callable[..., st.SearchStrategy[np.ndarray]] = arrays,
    layout: Layout | st.SearchStrategy[Layout] | None = None,
    requires_grad: bool = True,
) -> st.SearchStrategy[Any]:
    """Tensors in any layout.

    Args:
        shape: None draws one.
        dtype: a floating-point type.
        elements: the numbers are drawn by `elements(shape, dtype=dtype)`: `arrays`, `separated`,
            `tied`, `cotangents`, `extremes`, or a function of your own.
        layout: a function from arrays to equal arrays, such as `gaps`, or a strategy that draws
            one, such as `layouts(zero_stride=True)`; None draws from `LAYOUTS`.
        requires_grad: whether the tensors do.

    Raises:
        TypeError: for arguments of other types, ValueError: for a negative side.
    """
    if shape is not None:
        shape = checked_shape("tensors", shape)
    if not callable(elements):
        raise TypeError(
            f"tensors: elements must be a function of shape and dtype that gives a strategy, got "
            f"{type(elements).__name__}"
        )
    how = layouts() if layout is None else layout
    if not isinstance(how, st.SearchStrategy):
        if not callable(how):
            raise TypeError(
                f"tensors: layout must be a function of arrays or a strategy that draws one, got "
                f"{type(layout).__name__}"
            )
        how = st.just(how)
    return _tensors(shape, np.dtype(dtype), elements, how, requires_grad)


@st.composite
def _tensors(
    draw: Draw,
    shape: Shape | None,
    dtype: np.dtype[Any],
    elements: Callable[..., st.SearchStrategy[np.ndarray]],
    layout: st.SearchStrategy[Layout],
    requires_grad: bool,
) -> Any:
    from ...tensor import wrap

    shape = draw(shapes()) if shape is None else shape
    numbers = draw(elements(shape, dtype=dtype))
    return wrap(draw(layout)(numbers)).requires_grad_(requires_grad)
