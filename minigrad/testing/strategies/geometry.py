"""Geometries: matrix products, convolutions, pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from .shapes import Draw, Shape, at_least, broadcastable


@dataclass(frozen=True)
class MatmulProblem:
    """Shapes of two factors whose matrix product exists, batches and vectors included."""

    a: Shape
    b: Shape


def matmul_problems(max_side: int = 4) -> st.SearchStrategy[MatmulProblem]:
    """Products of matrices, vectors and broadcast stacks of them.

    Raises:
        TypeError, ValueError: unless `max_side` is an integer of at least 1.
    """
    at_least("matmul_problems", "max_side", max_side, 1)
    return _matmul_problems(max_side)


@st.composite
def _matmul_problems(draw: Draw, max_side: int) -> MatmulProblem:
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


def conv2d_problems(max_kernel: int = 3, max_extra: int = 3) -> st.SearchStrategy[WindowProblem]:
    """Geometries of which at least one output exists: strides, padding, dilation, groups.

    Args:
        max_kernel: the longest side of a kernel.
        max_extra: by how much the input may be longer than one window.

    Raises:
        TypeError, ValueError: unless these are integers, of at least 1 and 0.
    """
    at_least("conv2d_problems", "max_kernel", max_kernel, 1)
    at_least("conv2d_problems", "max_extra", max_extra, 0)
    return _conv2d_problems(max_kernel, max_extra)


@st.composite
def _conv2d_problems(draw: Draw, max_kernel: int, max_extra: int) -> WindowProblem:
    groups = draw(st.integers(1, 2))
    channels = groups * draw(st.integers(1, 2))
    kernel, stride, padding, dilation, size = _windows(draw, max_kernel, max_extra, None)
    x = (draw(st.integers(1, 2)), channels, *size)
    out = groups * draw(st.integers(1, 2))
    return WindowProblem(x, kernel, stride, padding, dilation, groups, out)


def pool2d_problems(max_kernel: int = 3, max_extra: int = 3) -> st.SearchStrategy[WindowProblem]:
    """As `conv2d_problems`, without weights; the padding is at most half the kernel."""
    at_least("pool2d_problems", "max_kernel", max_kernel, 1)
    at_least("pool2d_problems", "max_extra", max_extra, 0)
    return _pool2d_problems(max_kernel, max_extra)


@st.composite
def _pool2d_problems(draw: Draw, max_kernel: int, max_extra: int) -> WindowProblem:
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
