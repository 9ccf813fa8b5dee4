"""Hypothesis strategies for tensors: shapes, layouts, values, geometries. Needs hypothesis.

Values come from a seeded generator, not from Hypothesis's own array strategy, which draws a few
entries and fills the rest with one number: accidental ties everywhere. Shapes, layouts and
geometries shrink; ties are drawn where they are asked for (`tied`). Random programs are in
`minigrad.testing.programs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "minigrad.testing.strategies needs the package hypothesis: pip install hypothesis"
    ) from error

Shape = tuple[int, ...]
Draw = Callable[[Any], Any]


# Shapes


def shapes(
    max_dims: int = 3, max_side: int = 4, min_dims: int = 0, min_side: int = 1
) -> st.SearchStrategy[Shape]:
    """Shapes of a few dimensions; with `min_side=0` also of empty arrays."""
    sides = st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims)
    return sides.map(tuple)


@st.composite
def broadcastable(
    draw: Draw, n: int = 2, max_dims: int = 3, max_side: int = 4
) -> tuple[Shape, ...]:
    """`n` shapes that broadcast together: of one full shape, parts replaced by 1 or left out."""
    full = draw(shapes(max_dims, max_side))
    found = []
    for _ in range(n):
        ones = draw(st.lists(st.booleans(), min_size=len(full), max_size=len(full)))
        first = draw(st.integers(0, len(full)))
        found.append(
            tuple(1 if one else side for one, side in zip(ones, full, strict=True))[first:]
        )
    return tuple(found)


def block_edges(block: int) -> st.SearchStrategy[int]:
    """Sizes at the edges of a block: 0, 1, block - 1, block, block + 1, 2 block + 1, a prime."""
    prime = next(p for p in range(block + 2, 4 * block + 8) if all(p % d for d in range(2, p)))
    return st.sampled_from(
        sorted({0, 1, max(block - 1, 0), block, block + 1, 2 * block + 1, prime})
    )


# Values


def _generators() -> st.SearchStrategy[np.random.Generator]:
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def arrays(
    draw: Draw, shape: Shape, low: float = -2.0, high: float = 2.0, dtype: Any = np.float64
) -> np.ndarray:
    """Uniform random numbers, all different for all that matters."""
    return np.asarray(draw(_generators()).uniform(low, high, shape), dtype)


@st.composite
def separated(
    draw: Draw, shape: Shape, low: float = -2.0, high: float = 2.0, dtype: Any = np.float64
) -> np.ndarray:
    """A shuffled grid: no two numbers are close, and none is close to the middle of the range.

    They lie at the golden section of each cell of the grid, which misses round numbers too.
    """
    n = int(np.prod(shape))
    grid = low + (high - low) * (np.arange(n) + 0.381966) / max(n, 1)
    return np.asarray(draw(_generators()).permutation(grid).reshape(shape), dtype)


@st.composite
def tied(draw: Draw, shape: Shape, values: int = 2, dtype: Any = np.float64) -> np.ndarray:
    """Only so many different numbers: ties on purpose."""
    return np.asarray(draw(_generators()).integers(0, values, shape), dtype)


@st.composite
def cotangents(draw: Draw, shape: Shape, dtype: Any = np.float64) -> np.ndarray:
    """Random numbers of either sign, none small, so that no entry's gradient is weighted away."""
    rng = draw(_generators())
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape), dtype)


# Layouts


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
"""Ways to lay the same numbers out in memory."""


def layouts() -> st.SearchStrategy[Callable[[np.ndarray], np.ndarray]]:
    """One of `LAYOUTS`, a function from arrays to equal arrays."""
    return st.sampled_from(LAYOUTS)


@st.composite
def tensors(
    draw: Draw,
    shape: Shape | None = None,
    dtype: Any = np.float64,
    elements: Callable[..., st.SearchStrategy[np.ndarray]] = arrays,
    layout: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Any:
    """A tensor that requires a gradient, in any layout: values by `elements(shape, dtype=...)`."""
    from ..tensor import wrap

    shape = draw(shapes()) if shape is None else shape
    lay = draw(layouts()) if layout is None else layout
    return wrap(lay(draw(elements(shape, dtype=dtype)))).requires_grad_()


# Geometries


@dataclass(frozen=True)
class MatmulProblem:
    """Shapes of two factors whose matrix product exists, batches and vectors included."""

    a: Shape
    b: Shape


@st.composite
def matmul_problems(draw: Draw, max_side: int = 4) -> MatmulProblem:
    """Products of matrices, vectors and broadcast stacks of them."""
    side = st.integers(1, max_side)
    n, k, m = draw(side), draw(side), draw(side)
    a, b = draw(st.sampled_from([((n, k), (k, m)), ((k,), (k, m)), ((n, k), (k,)), ((k,), (k,))]))
    if len(a) == len(b) == 2:
        first, second = draw(broadcastable(2, max_dims=2, max_side=3))
        a, b = (*first, *a), (*second, *b)
    return MatmulProblem(a, b)


@dataclass(frozen=True)
class WindowProblem:
    """A convolution or pooling: the input's shape (N, C, H, W), kernel size and options.

    `weight` is the shape of the weights (out channels, C / groups, *kernel) of a convolution.
    """

    x: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int = 1
    out_channels: int = 1

    @property
    def weight(self) -> Shape:
        """The shape of the weights."""
        return (self.out_channels, self.x[1] // self.groups, *self.kernel)


@st.composite
def conv2d_problems(draw: Draw, max_kernel: int = 3, max_extra: int = 3) -> WindowProblem:
    """Geometries of which at least one output exists: strides, padding, dilation, groups."""
    groups = draw(st.integers(1, 2))
    channels = groups * draw(st.integers(1, 2))
    kernel, stride, padding, dilation, size = _windows(draw, max_kernel, max_extra, None)
    x = (draw(st.integers(1, 2)), channels, *size)
    out = groups * draw(st.integers(1, 2))
    return WindowProblem(x, kernel, stride, padding, dilation, groups, out)


@st.composite
def pool2d_problems(draw: Draw, max_kernel: int = 3, max_extra: int = 3) -> WindowProblem:
    """As `conv2d_problems`, without weights; the padding is at most half the kernel."""
    kernel, stride, padding, dilation, size = _windows(draw, max_kernel, max_extra, 2)
    x = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *size)
    return WindowProblem(x, kernel, stride, padding, dilation)


def _windows(draw: Draw, max_kernel: int, max_extra: int, share: int | None) -> tuple[Any, ...]:
    """Kernel, stride, padding, dilation and input size, each a pair; at least one window fits."""
    pairs = []
    for _ in range(2):
        kernel, dilation = draw(st.integers(1, max_kernel)), draw(st.integers(1, 2))
        span = (kernel - 1) * dilation + 1
        most = span - 1 if share is None else kernel // share
        padding = draw(st.integers(0, most))
        size = max(1, span - 2 * padding) + draw(st.integers(0, max_extra))
        pairs.append((kernel, draw(st.integers(1, 3)), padding, dilation, size))
    return tuple(zip(*pairs, strict=True))
