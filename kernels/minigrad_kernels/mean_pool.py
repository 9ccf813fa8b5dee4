"""Pooling: the mean of each window of an image, and the adjoints.

Sums over rectangles are separable: first rows are added up, then columns.

Adaptive pooling cuts `size` elements into `n` windows, of which the i-th begins at
floor(i * size / n) and ends before ceil((i + 1) * size / n).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, summing_type
from .cuda.pool_images import adaptive, poolable
from .layout import large, real
from .pool import draws, window_counts
from .registry import Arguments, Cost, arguments, kernel
from .windows import Pair, taps


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
    counts = np.outer(
        *divisors(sums.shape[2:], size, kernel_size, stride, padding, count_include_pad)
    )
    if (counts == counts[0, 0]).all():
        sums /= float(counts[0, 0])
    else:
        sums /= array_module(sums).asarray(counts, sums.dtype)
    return sums


def divisors(
    windows: Pair,
    size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
) -> list[Array]:
    """How many rows of each row of windows count, and how many columns of each column."""
    counts = []
    for n, size_, kernel_, stride_, pad in zip(
        windows, size, kernel_size, stride, padding, strict=True
    ):
        begin = np.arange(n) * stride_ - pad
        end = np.minimum(begin + kernel_, size_ + pad)  # what ceil_mode overhangs never counts
        if not count_include_pad:
            begin, end = begin.clip(min=0), end.clip(max=size_)
        counts.append(end - begin)
    return counts


def _mean_samples(rng: np.random.Generator) -> Iterator[tuple[Array, Array, dict[str, Any]]]:
    for i, (x, g, options, more) in enumerate(draws(rng)):
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
    outputs = window_counts(x.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
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
    outputs = window_counts(x.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
    sums = x
    for a in (0, 1):
        pairs = taps(kernel_size[a], stride[a], padding[a], 1, x.shape[2 + a], outputs[a])
        sums = _collected(sums, 2 + a, outputs[a], pairs)
    means = _divided(
        sums, x.shape[2:], kernel_size, stride, padding, count_include_pad, divisor_override
    )
    return deliver(means.astype(x.dtype, copy=False), out)


@avg_pool2d.on("numba", accepts=real, worth=large)
def _avg_pool2d_numba() -> Any:
    from .cpu.mean_pool import avg_pool2d

    return avg_pool2d


def _averageable(x: Array, *, divisor_override: int | None, **geometry: Any) -> bool:
    return abs(divisor_override or 0) < 2**63 and poolable(x, **geometry)


@avg_pool2d.on("cuda", "cuda-on-cpu", accepts=_averageable)
def _avg_pool2d_cuda() -> Any:
    from .cuda.mean_pool import avg_pool2d

    return avg_pool2d


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
    outputs = window_counts(input_size, kernel_size, stride, padding, (1, 1), ceil_mode)
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


@avg_pool2d_gradient.on("numba", accepts=real, worth=large)
def _avg_pool2d_gradient_numba() -> Any:
    from .cpu.mean_pool import avg_pool2d_gradient

    return avg_pool2d_gradient


@avg_pool2d_gradient.on("cuda", "cuda-on-cpu", accepts=_averageable)
def _avg_pool2d_gradient_cuda() -> Any:
    from .cuda.mean_pool import avg_pool2d_gradient

    return avg_pool2d_gradient


# Adaptive means


def segments(size: int, windows: int) -> list[slice]:
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
        wide, bounds = means, segments(x.shape[axis], windows)
        shape = (*wide.shape[:axis], windows, *wide.shape[axis + 1 :])
        means = array_module(x).empty_like(wide, shape=shape, dtype=summing_type(x))
        for i, segment in enumerate(bounds):
            mean = _along(means, axis, slice(i, i + 1))
            _along(wide, axis, segment).mean(axis, dtype=means.dtype, keepdims=True, out=mean)
    return deliver(means.astype(x.dtype, copy=False), out)


@adaptive_avg_pool2d.on("numba", accepts=real, worth=large)
def _adaptive_avg_pool2d_numba() -> Any:
    from .cpu.mean_pool import adaptive_avg_pool2d

    return adaptive_avg_pool2d


@adaptive_avg_pool2d.on("cuda", "cuda-on-cpu", accepts=adaptive)
def _adaptive_avg_pool2d_cuda() -> Any:
    from .cuda.mean_pool import adaptive_avg_pool2d

    return adaptive_avg_pool2d


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
        bounds = segments(size, g.shape[axis])
        shares = array_module(g).asarray([s.stop - s.start for s in bounds], summing_type(g))
        sums = _collected(
            sums / shares.reshape(-1, *(1,) * (3 - axis)),
            axis,
            size,
            [(s, slice(i, i + 1)) for i, s in enumerate(bounds)],
        )
    return deliver(sums.astype(g.dtype, copy=False), out)


@adaptive_avg_pool2d_gradient.on("numba", accepts=real, worth=large)
def _adaptive_avg_pool2d_gradient_numba() -> Any:
    from .cpu.mean_pool import adaptive_avg_pool2d_gradient

    return adaptive_avg_pool2d_gradient


@adaptive_avg_pool2d_gradient.on("cuda", "cuda-on-cpu", accepts=adaptive)
def _adaptive_avg_pool2d_gradient_cuda() -> Any:
    from .cuda.mean_pool import adaptive_avg_pool2d_gradient

    return adaptive_avg_pool2d_gradient
