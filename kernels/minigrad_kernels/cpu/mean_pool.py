"""Mean-pooling on the CPU: windows of any bounds, uniform or adaptive, on planes or channels-last.

A window is the product of a range of rows and a range of columns, and so is its divisor: ranges
(begin, end) and divisors of all windows along one dimension are three rows of a table. A task is a
row of windows, or in the gradient a row of pixels, which collects from the windows that lie on it:
every result is written by one task, in one order.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import prange

from ..arrays import Array, check_out, deliver
from ..mean_pool import divisors, segments
from ..pool import window_counts
from ..windows import Pair
from .compiled import compiled
from .images import is_channels_last, native, new_images


@compiled
def _means_last(x, rows, columns, y):
    n, oh, ow, _ = y.shape
    for task in prange(n * oh):
        image, o = task // oh, task % oh
        for p in range(ow):
            to = y[image, o, p]
            to[:] = y.dtype.type(0)
            for r in range(rows[0, o], rows[1, o]):
                for s in range(columns[0, p], columns[1, p]):
                    pixel = x[image, r, s]
                    for k in range(to.size):
                        to[k] += pixel[k]
            share = y.dtype.type(1 / (np.float64(rows[2, o]) * np.float64(columns[2, p])))
            for k in range(to.size):
                to[k] *= share


@compiled
def _means_planes(x, rows, columns, y):
    planes, oh, ow = y.shape
    for task in prange(planes * oh):
        plane, o = task // oh, task % oh
        line = np.zeros(x.shape[2], x.dtype)  # the sum of the rows of pixels under the windows
        for r in range(rows[0, o], rows[1, o]):
            pixels = x[plane, r]
            for s in range(line.size):
                line[s] += pixels[s]
        to = y[plane, o]
        for p in range(ow):
            total = y.dtype.type(0)
            for s in range(columns[0, p], columns[1, p]):
                total += line[s]
            share = 1 / (np.float64(rows[2, o]) * np.float64(columns[2, p]))
            to[p] = total * y.dtype.type(share)


@compiled
def _gradient_last(g, rows, columns, gx):
    n, h = gx.shape[:2]
    for task in prange(n * h):
        image, r = task // h, task % h
        line = gx[image, r]
        line[:] = gx.dtype.type(0)
        for o in range(g.shape[1]):
            if not rows[0, o] <= r < rows[1, o]:
                continue
            for p in range(g.shape[2]):
                go = g[image, o, p]
                share = g.dtype.type(1 / (np.float64(rows[2, o]) * np.float64(columns[2, p])))
                for s in range(columns[0, p], columns[1, p]):
                    to = line[s]
                    for k in range(to.size):
                        to[k] += go[k] * share


@compiled
def _gradient_planes(g, rows, columns, gx):
    planes, h = gx.shape[:2]
    for task in prange(planes * h):
        plane, r = task // h, task % h
        line = np.zeros(g.shape[2], g.dtype)  # the sum of the rows of windows on the pixels
        for o in range(g.shape[1]):
            if rows[0, o] <= r < rows[1, o]:
                go = g[plane, o]
                share = g.dtype.type(1 / np.float64(rows[2, o]))
                for p in range(line.size):
                    line[p] += go[p] * share
        to = gx[plane, r]
        to[:] = gx.dtype.type(0)
        for p in range(line.size):
            share = line[p] * g.dtype.type(1 / np.float64(columns[2, p]))
            for s in range(columns[0, p], columns[1, p]):
                to[s] += share


def _pooled(x: Array, windows: tuple[Array, Array], out: Array | None) -> Array:
    """The means of x (N, C, H, W) over windows, given by a table for rows and one for columns."""
    shape = (*x.shape[:2], windows[0].shape[1], windows[1].shape[1])
    check_out(out, shape)
    last = is_channels_last(x)
    y, to = new_images(shape, x.dtype, last)
    run = (_means_last if last else _means_planes).suited(x.size)
    run(native(x, last), *windows, to)
    return deliver(y, out)


def _spread(g: Array, size: Pair, windows: tuple[Array, Array], out: Array | None) -> Array:
    """The adjoint of `_pooled` on images of `size`."""
    shape = (*g.shape[:2], *size)
    check_out(out, shape)
    last = is_channels_last(g)
    gx, to = new_images(shape, g.dtype, last)
    run = (_gradient_last if last else _gradient_planes).suited(gx.size)
    run(native(g, last), *windows, to)
    return deliver(gx, out)


@functools.lru_cache(256)
def _uniform(
    size: Pair,
    outputs: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
) -> tuple[Array, Array]:
    """The tables of windows of one size."""
    counted = divisors(outputs, size, kernel_size, stride, padding, count_include_pad)
    tables = []
    for a in (0, 1):
        begin = np.arange(outputs[a]) * stride[a] - padding[a]
        end = begin + kernel_size[a]
        tables.append(np.array([begin.clip(min=0), end.clip(max=size[a]), counted[a]], np.int64))
    if divisor_override is not None:
        tables[0][2], tables[1][2] = divisor_override, 1
    return tables[0], tables[1]


@functools.lru_cache(256)
def _adaptive(size: Pair, outputs: Pair) -> tuple[Array, Array]:
    """The tables of windows that cover images evenly."""
    tables = []
    for pixels, windows in zip(size, outputs, strict=True):
        bounds = [(s.start, s.stop, s.stop - s.start) for s in segments(pixels, windows)]
        tables.append(np.array(bounds, np.int64).T.copy())
    return tables[0], tables[1]


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
    """The mean of each window."""
    size = x.shape[2:]
    outputs = window_counts(size, kernel_size, stride, padding, (1, 1), ceil_mode)
    geometry = (*map(tuple, (kernel_size, stride, padding)), count_include_pad, divisor_override)
    return _pooled(x, _uniform(size, outputs, *geometry), out)


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
    """The gradient of the images."""
    size = (input_size[0], input_size[1])
    outputs = window_counts(size, kernel_size, stride, padding, (1, 1), ceil_mode)
    if g.shape[2:] != outputs:
        raise ValueError(
            f"avg_pool2d_gradient: g {g.shape} does not fit images of {size}: their windows "
            f"are {outputs}"
        )
    geometry = (*map(tuple, (kernel_size, stride, padding)), count_include_pad, divisor_override)
    return _spread(g, size, _uniform(size, outputs, *geometry), out)


def adaptive_avg_pool2d(x: Array, *, output_size: Pair, out: Array | None = None) -> Array:
    """The means of windows that cover the images evenly."""
    return _pooled(x, _adaptive(x.shape[2:], (output_size[0], output_size[1])), out)


def adaptive_avg_pool2d_gradient(g: Array, *, input_size: Pair, out: Array | None = None) -> Array:
    """The gradient of the images."""
    size = (input_size[0], input_size[1])
    return _spread(g, size, _adaptive(size, g.shape[2:]), out)
