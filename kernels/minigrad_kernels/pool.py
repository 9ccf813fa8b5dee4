"""Pooling: the maximum of each window of an image, and the adjoints. Means are in `mean_pool.py`.

Where a maximum was is told in two ways: by its index in the image, or by its position, the number
of the element in its window (row by row), which takes one byte instead of eight. Training is bound
by memory, and goes by positions.

Maxima are taken over the elements of a window, not over the windows: for each of the kh * kw
elements one array function handles that element of all windows at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, deliver_all
from .cuda.pool_images import images, poolable
from .layout import large, real
from .registry import Arguments, Cost, arguments, kernel, only_when_asked
from .windows import Pair, blocks, channels_first, channels_last, grid, pooled_length

# Samples: images and channels, image, kernel, stride, padding, dilation, ceil_mode.
_GEOMETRIES: list[tuple[Any, ...]] = [
    ((2, 3), (4, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((1, 2), (7, 5), (3, 2), (2, 1), (1, 0), (1, 1), True),
    ((2, 1), (6, 9), (2, 3), (1, 2), (1, 1), (2, 1), False),
    ((3, 5), (5, 5), (3, 3), (3, 3), (1, 1), (1, 1), True),
    ((0, 2), (4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((1, 1), (8, 8), (1, 1), (3, 2), (0, 0), (1, 1), True),
    ((1, 2), (2, 5), (3, 4), (2, 3), (0, 1), (1, 1), True),
    ((2, 70), (10, 10), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 8), (5, 16), (3, 3), (2, 2), (1, 1), (1, 1), False),
    ((2, 8), (4, 16), (2, 2), (2, 2), (0, 0), (1, 1), False),
]


def draws(
    rng: np.random.Generator,
) -> Iterator[tuple[Array, Array, dict[str, Any], dict[str, Any]]]:
    """Images, gradients of their pooled images, options of any pooling, options of a maximum."""
    for i, (shape, size, kernel_size, stride, padding, dilation, ceil_mode) in enumerate(
        _GEOMETRIES
    ):
        dtype = ("f8", "f4")[i % 2]
        options = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        more = {"dilation": dilation, "ceil_mode": ceil_mode}
        x = rng.normal(size=shape + size).astype(dtype).round(1)  # round numbers: some are equal
        g = rng.normal(size=shape + window_counts(size, **options, **more)).astype(dtype)
        yield x, g, options, more
        yield np.asfortranarray(x)[:, :, :, ::-1], g[::-1], options, more


def window_counts(
    size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pair:
    """How many windows pooling places on an image of `size`.

    Raises:
        ValueError: if not one fits.
    """
    rows, columns = (
        pooled_length(*along, ceil_mode)
        for along in zip(size, kernel_size, stride, padding, dilation, strict=True)
    )
    return rows, columns


# The maximum


def _max_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, _, options, more in draws(rng):
        yield arguments(x, **options, **more)
    x = np.full((1, 1, 4, 4), -np.inf)
    x[0, 0, 1, 2] = np.nan
    options = {"kernel_size": (2, 2), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    yield arguments(x, ceil_mode=False, **options)
    options |= {"kernel_size": (17, 16), "padding": (8, 8)}  # positions of two bytes
    yield arguments(rng.normal(size=(1, 2, 3, 20)).astype("f4"), ceil_mode=False, **options)


def _max_cost(bytes_each: int) -> Callable[..., Cost]:
    """The cost where each maximum's place takes so many bytes."""

    def cost(x: Array, **options: Any) -> Cost:
        maxima = math.prod(x.shape[:2]) * math.prod(window_counts(x.shape[2:], **options))
        compared = maxima * math.prod(options["kernel_size"])
        return Cost(compared, x.nbytes + maxima * (x.dtype.itemsize + bytes_each))

    return cost


@kernel(samples=_max_samples, cost=_max_cost(8))
def max_pool2d(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    out: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """The maximum of each window of x (N, C, H, W), and where it is: its index in H * W (int64).

    Of equal ones the first in row-major order is taken, and NaN before any number; padding never.

    Raises:
        ValueError: if not one window fits.
    """
    options: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    values, positions = max_pool2d_positions.reference(
        x, **options, dilation=dilation, ceil_mode=ceil_mode
    )
    indices = indices_of(positions, input_size=x.shape[2:], **options, dilation=dilation)
    return deliver_all((values, indices), out)


@max_pool2d.on("numba", accepts=real, worth=large)
def _max_pool2d_numba() -> Any:
    from .cpu.pool import max_pool2d

    return max_pool2d


@max_pool2d.on("cuda", "cuda-on-cpu", accepts=poolable)
def _max_pool2d_cuda() -> Any:
    from .cuda.pool import max_pool2d

    return max_pool2d


def indices_of(
    positions: Array,
    *,
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Array:
    """The indices in H * W (int64) of elements of windows, given their positions (N, C, h, w)."""
    xp = array_module(positions)
    width = input_size[1]
    i, j = np.divmod(np.arange(math.prod(kernel_size)), kernel_size[1])
    steps = xp.asarray(i * (dilation[0] * width) + j * dilation[1])
    rows, columns = (
        xp.arange(n) * s - p for n, s, p in zip(positions.shape[2:], stride, padding, strict=True)
    )
    indices = xp.empty_like(positions, dtype=xp.int64)
    corners = rows[:, None] * width + columns
    for block in blocks(len(positions), positions[:1].size * 8, xp):
        xp.add(steps[positions[block]], corners, out=indices[block])
    return indices


_POSITIONS = [np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32)]


def position_type(kernel_size: Pair) -> np.dtype[Any]:
    """The smallest integers that number the elements of a window."""
    return np.dtype(np.min_scalar_type(math.prod(kernel_size) - 1))


@kernel(samples=_max_samples, cost=_max_cost(1))
def max_pool2d_positions(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    out: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """As `max_pool2d`, but a maximum's place is its position: the number of its element, from 0.

    Positions are of the smallest unsigned type that holds them. A window that lies on nothing but
    padding has its last element.

    Raises:
        ValueError: if not one window fits.
    """
    outputs = window_counts(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    elements = grid(kernel_size, stride, padding, dilation, x.shape[2:], outputs)
    xp = array_module(x)
    values = xp.empty_like(x, shape=(*x.shape[:2], *outputs))
    positions = xp.empty_like(values, dtype=position_type(kernel_size))
    for block in blocks(len(x), x[:1].nbytes, xp):
        _maxima(x[block], values[block], elements)
        positions[block] = _first_maximum(x[block], values[block], elements)
    return deliver_all((values, positions), out)


@max_pool2d_positions.on("numba", accepts=real, worth=large)
def _max_pool2d_positions_numba() -> Any:
    from .cpu.pool import max_pool2d_positions

    return max_pool2d_positions


@max_pool2d_positions.on("cuda", "cuda-on-cpu", accepts=poolable)
def _max_pool2d_positions_cuda() -> Any:
    from .cuda.pool import max_pool2d_positions

    return max_pool2d_positions


def _maxima(x: Array, values: Array, elements: Any) -> None:
    """Write the maximum of each window into `values`; NaN if there is one in the window."""
    values.fill(-math.inf)
    for _, windows, pixels in elements:
        best = values[(..., *windows)]
        array_module(x).maximum(best, x[(..., *pixels)], out=best)


def _first_maximum(x: Array, values: Array, elements: Any) -> Array:
    """Which element of each window is its maximum: the number of elements before the first."""
    xp = array_module(x)
    before = xp.zeros_like(values, dtype=np.min_scalar_type(len(elements)))
    searching = xp.ones_like(values, dtype=bool)
    for _, windows, pixels in elements[:-1]:
        element = x[(..., *pixels)]
        is_less = element != values[(..., *windows)]
        is_less &= element == element  # NaN is unequal even to itself
        searching[(..., *windows)] &= is_less
        before += searching
    return before


def _positions_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, g, options, more in draws(rng):
        _, positions = max_pool2d_positions(x, **options, **more)
        size = {"input_size": x.shape[2:], "dilation": more["dilation"]}
        yield arguments(g, positions, **options, **size)


def _scatter_cost(g: Array, places: Array, *, input_size: Pair, **_: Any) -> Cost:
    pixels = math.prod(g.shape[:2]) * math.prod(input_size)
    return Cost(g.size, g.nbytes + places.nbytes + pixels * g.dtype.itemsize)


@kernel(samples=_positions_samples, cost=_scatter_cost)
def max_pool2d_positions_gradient(
    g: Array,
    positions: Array,
    *,
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    out: Array | None = None,
) -> Array:
    """The gradient (N, C, *input_size) of max_pool2d's images: each of g where its maximum was.

    Raises:
        ValueError: if g and positions have different shapes.
    """
    xp = array_module(g)
    if g.shape != positions.shape:
        raise ValueError(
            f"max_pool2d_positions_gradient: g {g.shape} does not fit positions {positions.shape}"
        )
    outputs = positions.shape[2:]
    gx = xp.zeros_like(g, shape=(*g.shape[:2], *input_size))
    elements = grid(kernel_size, stride, padding, dilation, input_size, outputs)
    for element, (_, windows, pixels) in enumerate(elements):
        there = (..., *windows)
        gx[(..., *pixels)] += xp.where(positions[there] == element, g[there], 0)
    return deliver(gx, out)


@max_pool2d_positions_gradient.on("numba", accepts=real, worth=large)
def _max_pool2d_positions_gradient_numba() -> Any:
    from .cpu.pool import max_pool2d_positions_gradient

    return max_pool2d_positions_gradient


def _has_positions(g: Array, positions: Array, **geometry: Any) -> bool:
    return poolable(g, positions, **geometry) and positions.dtype in _POSITIONS


@max_pool2d_positions_gradient.on("cuda", "cuda-on-cpu", accepts=_has_positions)
def _max_pool2d_positions_gradient_cuda() -> Any:
    from .cuda.pool import max_pool2d_positions_gradient

    return max_pool2d_positions_gradient


def _indexed(x: Array, indices: Array, **_: object) -> bool:
    return real(x) and indices.dtype.kind in "iu" and indices.dtype.isnative


def _indexed_images(x: Array, indices: Array, **_: object) -> bool:
    return images(x, indices) and indices.dtype.kind in "iu"


def _float_images(x: Array, indices: Array, **_: object) -> bool:
    return real(x) and _indexed_images(x, indices)


def _index_samples(rng: np.random.Generator) -> Iterator[tuple[Array, Array, Array]]:
    for x, g, options, more in draws(rng):
        yield x, g, max_pool2d(x, **options, **more)[1]


def _scatter_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, g, indices in _index_samples(rng):
        yield arguments(g, indices, input_size=x.shape[2:])


def _gather_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, _, indices in _index_samples(rng):
        yield arguments(x, indices)


@kernel(
    samples=_scatter_samples,
    cost=_scatter_cost,
    deterministic=False,  # CuPy adds with atomics, in any order; NumPy always in the same
)
def max_pool2d_gradient(
    g: Array, indices: Array, *, input_size: Pair, out: Array | None = None
) -> Array:
    """Images (N, C, *input_size) of zeros, with g (N, C, h, w) added at `indices` into H * W.

    Raises:
        ValueError: if g and indices have different shapes; IndexError: for an index out of range.
    """
    xp = array_module(g)
    if g.shape != indices.shape:
        raise ValueError(f"max_pool2d_gradient: g {g.shape} does not fit indices {indices.shape}")
    images, channels = g.shape[:2]
    pixels = math.prod(input_size)
    gx = xp.zeros((images, *input_size, channels), g.dtype)
    place = indices * channels + xp.arange(channels)[:, None, None]
    place += (xp.arange(images) * (pixels * channels))[:, None, None, None]
    xp.add.at(gx.reshape(-1), channels_last(place).ravel(), channels_last(g).ravel())
    return deliver(channels_first(gx), out)


@max_pool2d_gradient.on("numba", accepts=_indexed, worth=large)
def _max_pool2d_gradient_numba() -> Any:
    from .cpu.pool import max_pool2d_gradient

    return max_pool2d_gradient


@max_pool2d_gradient.on(
    "cuda",
    "cuda-on-cpu",
    name="atomic",
    accepts=_float_images,
    worth=only_when_asked,  # its last bits may change
    deterministic=False,
)
def _max_pool2d_gradient_atomic() -> Any:
    from .cuda.pool import max_pool2d_gradient_atomic

    return max_pool2d_gradient_atomic


@max_pool2d_gradient.on("cuda", "cuda-on-cpu", accepts=_indexed_images)
def _max_pool2d_gradient_cuda() -> Any:
    from .cuda.pool import max_pool2d_gradient

    return max_pool2d_gradient


@kernel(
    samples=_gather_samples,
    cost=lambda x, indices: Cost(0, indices.nbytes + 2 * indices.size * x.dtype.itemsize),
)
def max_pool2d_gather(x: Array, indices: Array, *, out: Array | None = None) -> Array:
    """The elements of images x (N, C, H, W) at `indices` (N, C, h, w) in H * W.

    Raises:
        ValueError: if x and indices have other batches or channels; IndexError: out of range.
    """
    if x.shape[:2] != indices.shape[:2]:
        raise ValueError(f"max_pool2d_gather: x {x.shape} does not fit indices {indices.shape}")
    planes = x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])
    flat = indices.reshape(*x.shape[:2], indices.shape[2] * indices.shape[3])
    y = array_module(x).take_along_axis(planes, flat, axis=2)
    return deliver(y.reshape(indices.shape), out)


@max_pool2d_gather.on("numba", accepts=_indexed, worth=large)
def _max_pool2d_gather_numba() -> Any:
    from .cpu.pool import max_pool2d_gather

    return max_pool2d_gather


@max_pool2d_gather.on("cuda", "cuda-on-cpu", accepts=_indexed_images)
def _max_pool2d_gather_cuda() -> Any:
    from .cuda.pool import max_pool2d_gather

    return max_pool2d_gather
