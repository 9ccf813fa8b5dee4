"""Pooling: the maximum or the mean of each window of an image, and the adjoints of both.

Maxima are taken over the elements of a window, not over the windows: for each of the kh * kw
elements one array function handles that element of all windows at once. Sums over rectangles are
separable: first rows are added up, then columns.

Adaptive pooling cuts `size` elements into `n` windows, of which the i-th begins at
floor(i * size / n) and ends before ceil((i + 1) * size / n).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, deliver_all, summing_type
from .registry import Arguments, Cost, arguments, kernel
from .windows import Pair, blocks, channels_first, channels_last, grid, pooled_length, taps

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
]


def _draws(
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
        g = rng.normal(size=shape + _output_size(size, **options, **more)).astype(dtype)
        yield x, g, options, more
        yield np.asfortranarray(x)[:, :, :, ::-1], g[::-1], options, more


def _output_size(
    size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pair:
    rows, columns = (
        pooled_length(*along, ceil_mode)
        for along in zip(size, kernel_size, stride, padding, dilation, strict=True)
    )
    return rows, columns


# The maximum


def _max_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, _, options, more in _draws(rng):
        yield arguments(x, **options, **more)
    x = np.full((1, 1, 4, 4), -np.inf)
    x[0, 0, 1, 2] = np.nan
    options = {"kernel_size": (2, 2), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    yield arguments(x, ceil_mode=False, **options)


def _max_cost(x: Array, **options: Any) -> Cost:
    maxima = math.prod(x.shape[:2]) * math.prod(_output_size(x.shape[2:], **options))
    compared = maxima * math.prod(options["kernel_size"])
    return Cost(compared, x.nbytes + maxima * (x.dtype.itemsize + 8))


@kernel(samples=_max_samples, cost=_max_cost)
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
    xp = array_module(x)
    outputs = _output_size(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    elements = grid(kernel_size, stride, padding, dilation, x.shape[2:], outputs)
    width = x.shape[3]
    steps = xp.asarray([i * dilation[0] * width + j * dilation[1] for (i, j), _, _ in elements])
    rows = xp.arange(outputs[0]) * stride[0] - padding[0]
    corners = rows[:, None] * width + xp.arange(outputs[1]) * stride[1] - padding[1]

    values = xp.empty_like(x, shape=(*x.shape[:2], *outputs))
    indices = xp.empty_like(values, dtype=xp.int64)
    for block in blocks(len(x), x[:1].nbytes, xp):
        _maxima(x[block], values[block], elements)
        element = _first_maximum(x[block], values[block], elements)
        xp.add(steps[element], corners, out=indices[block])
    return deliver_all((values, indices), out)


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


def _index_samples(rng: np.random.Generator) -> Iterator[tuple[Array, Array, Array]]:
    for x, g, options, more in _draws(rng):
        yield x, g, max_pool2d(x, **options, **more)[1]


def _scatter_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, g, indices in _index_samples(rng):
        yield arguments(g, indices, input_size=x.shape[2:])


def _gather_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, _, indices in _index_samples(rng):
        yield arguments(x, indices)


@kernel(
    samples=_scatter_samples,
    cost=lambda g, indices, *, input_size: Cost(
        g.size,
        g.nbytes + indices.nbytes + g[..., 0, 0].size * math.prod(input_size) * g.dtype.itemsize,
    ),
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


# Means


def _along(x: Array, axis: int, part: slice) -> Array:
    """View of a part of x along one axis."""
    return x[(slice(None),) * axis + (part,)]


def _collected(x: Array, axis: int, length: int, pairs: Any) -> Array:
    """An array of `length` along `axis`, to whose parts parts of x are added: pairs (to, of)."""
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
    sums = array_module(x).zeros_like(x, shape=shape, dtype=summing_type(x))
    for to, of in pairs:
        part = _along(sums, axis, to)
        part += _along(x, axis, of)
    return sums


def _divided(
    sums: Array,
    size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Sums over windows (N, C, h, w), each divided by the number of elements that count."""
    if divisor_override is not None:
        sums /= divisor_override
        return sums
    counts = []
    for n, size_, kernel_, stride_, pad in zip(
        sums.shape[2:], size, kernel_size, stride, padding, strict=True
    ):
        begin = np.arange(n) * stride_ - pad
        end = np.minimum(begin + kernel_, size_ + pad)  # what ceil_mode overhangs never counts
        if not count_include_pad:
            begin, end = begin.clip(min=0), end.clip(max=size_)
        counts.append(end - begin)
    divisors = np.outer(*counts)
    if (divisors == divisors[0, 0]).all():
        sums /= float(divisors[0, 0])
    else:
        sums /= array_module(sums).asarray(divisors, sums.dtype)
    return sums


def _mean_samples(rng: np.random.Generator) -> Iterator[tuple[Array, Array, dict[str, Any]]]:
    for i, (x, g, options, more) in enumerate(_draws(rng)):
        if more["dilation"] == (1, 1):
            counting = {"count_include_pad": i % 4 < 2, "divisor_override": 5 if i == 2 else None}
            yield x, g, {**options, "ceil_mode": more["ceil_mode"], **counting}


def _avg_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, _, options in _mean_samples(rng):
        yield arguments(x, **options)


def _avg_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, g, options in _mean_samples(rng):
        yield arguments(g, input_size=x.shape[2:], **options)


def _avg_cost(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Cost:
    outputs = _output_size(x.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
    means = math.prod(x.shape[:2]) * math.prod(outputs)
    return Cost(means * math.prod(kernel_size), x.nbytes + means * x.dtype.itemsize)


def _avg_gradient_cost(g: Array, *, input_size: Pair, kernel_size: Pair, **_: Any) -> Cost:
    pixels = math.prod(g.shape[:2]) * math.prod(input_size)
    return Cost(g.size * math.prod(kernel_size), g.nbytes + pixels * g.dtype.itemsize)


@kernel(samples=_avg_samples, cost=_avg_cost)
def avg_pool2d(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    out: Array | None = None,
) -> Array:
    """The mean of each window of x (N, C, H, W); padding is 0, and counts or not.

    Raises:
        ValueError: if not one window fits.
    """
    outputs = _output_size(x.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
    sums = x
    for a in (0, 1):
        pairs = taps(kernel_size[a], stride[a], padding[a], 1, x.shape[2 + a], outputs[a])
        sums = _collected(sums, 2 + a, outputs[a], pairs)
    means = _divided(
        sums, x.shape[2:], kernel_size, stride, padding, count_include_pad, divisor_override
    )
    return deliver(means.astype(x.dtype, copy=False), out)


@kernel(samples=_avg_gradient_samples, cost=_avg_gradient_cost)
def avg_pool2d_gradient(
    g: Array,
    *,
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    out: Array | None = None,
) -> Array:
    """The gradient (N, C, *input_size) of avg_pool2d's images, given that of its output, g.

    Raises:
        ValueError: if the windows on such images are not as many as in g.
    """
    outputs = _output_size(input_size, kernel_size, stride, padding, (1, 1), ceil_mode)
    if g.shape[2:] != outputs:
        raise ValueError(
            f"avg_pool2d_gradient: g {g.shape} does not fit images of {input_size}: their windows "
            f"are {outputs}"
        )
    sums = _divided(
        g.astype(summing_type(g)),
        input_size,
        kernel_size,
        stride,
        padding,
        count_include_pad,
        divisor_override,
    )
    for a in (0, 1):
        pairs = taps(kernel_size[a], stride[a], padding[a], 1, input_size[a], g.shape[2 + a])
        sums = _collected(sums, 2 + a, input_size[a], [(of, to) for to, of in pairs])
    return deliver(sums.astype(g.dtype, copy=False), out)


# Adaptive means


def _segments(size: int, windows: int) -> list[slice]:
    """The elements of each window of adaptive pooling along one dimension."""
    return [slice(i * size // windows, -(-(i + 1) * size // windows)) for i in range(windows)]


def _adaptive_sizes(rng: np.random.Generator) -> Iterator[tuple[Array, Pair]]:
    for i, output_size in enumerate([(1, 1), (2, 3), (5, 4), (7, 11), (3, 3), (2, 1), (4, 4)]):
        shape = ((2, 3, 6, 8), (1, 2, 5, 7), (0, 2, 4, 4))[i % 3]
        x = rng.normal(size=shape).astype(("f8", "f4")[i % 2])
        yield x, output_size
        yield np.asfortranarray(x)[:, :, ::-1], output_size


def _adaptive_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for x, output_size in _adaptive_sizes(rng):
        yield arguments(x, output_size=output_size)


def _adaptive_gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    for g, input_size in _adaptive_sizes(rng):
        yield arguments(g, input_size=input_size)


@kernel(
    samples=_adaptive_samples,
    cost=lambda x, *, output_size: Cost(
        x.size, x.nbytes + math.prod(x.shape[:2]) * math.prod(output_size) * x.dtype.itemsize
    ),
)
def adaptive_avg_pool2d(x: Array, *, output_size: Pair, out: Array | None = None) -> Array:
    """The means of output_size windows that cover x (N, C, H, W) evenly."""
    means = x
    for axis, windows in zip((2, 3), output_size, strict=True):
        wide, segments = means, _segments(x.shape[axis], windows)
        shape = (*wide.shape[:axis], windows, *wide.shape[axis + 1 :])
        means = array_module(x).empty_like(wide, shape=shape, dtype=summing_type(x))
        for i, segment in enumerate(segments):
            mean = _along(means, axis, slice(i, i + 1))
            _along(wide, axis, segment).mean(axis, dtype=means.dtype, keepdims=True, out=mean)
    return deliver(means.astype(x.dtype, copy=False), out)


@kernel(
    samples=_adaptive_gradient_samples,
    cost=lambda g, *, input_size: Cost(
        g.size, g.nbytes + math.prod(g.shape[:2]) * math.prod(input_size) * g.dtype.itemsize
    ),
)
def adaptive_avg_pool2d_gradient(g: Array, *, input_size: Pair, out: Array | None = None) -> Array:
    """The gradient (N, C, *input_size) of adaptive_avg_pool2d's images, given its output's, g."""
    sums = g
    for axis, size in zip((2, 3), input_size, strict=True):
        segments = _segments(size, g.shape[axis])
        shares = array_module(g).asarray([s.stop - s.start for s in segments], summing_type(g))
        sums = _collected(
            sums / shares.reshape(-1, *(1,) * (3 - axis)),
            axis,
            size,
            [(s, slice(i, i + 1)) for i, s in enumerate(segments)],
        )
    return deliver(sums.astype(g.dtype, copy=False), out)
