"""Max-pooling on the CPU, on planes and on channels-last images.

A task is a row of windows, or in the gradients a row of pixels. Channels-last, the loops over
channels are vector code for every geometry; on planes, the loops along a row. Windows of 2 x 2 that
touch but do not overlap, by far the most frequent, have loops of their own, which keep a whole
window in registers. Gradients are gathered: each row of pixels asks the windows that lie on it, so
that every pixel is written by one task, in one order.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import prange

from ..arrays import Array, check_all_out, check_out, deliver, deliver_all
from ..memory import empty
from ..pool import indices_of, position_type, window_counts
from ..windows import Pair
from .compiled import compiled
from .images import is_channels_last, native, new_images

# A geometry is (kernel rows, columns, stride ..., padding ..., dilation ...).


@numba.njit
def _halves(geometry: Any, pixels: Any, windows: Any) -> bool:
    """Whether windows are 2 x 2, side by side, and lie on the image whole."""
    return (
        geometry == (2, 2, 2, 2, 0, 0, 1, 1)
        and 2 * windows[0] <= pixels[0]
        and 2 * windows[1] <= pixels[1]
    )


@numba.njit
def _covered(tap: int, stride: int, padding: int, dilation: int, size: int, windows: int) -> Any:
    """The first window whose element `tap` lies on the input, and the one after the last."""
    first = tap * dilation - padding
    start = max(0, -(first // stride))
    stop = min(windows, (size - 1 - first) // stride + 1)
    return start, max(start, stop)


@numba.njit(inline="always")
def _greater(x: Any, best: Any) -> Any:
    """Whether x comes before `best` as a maximum: it is greater, or the first NaN."""
    return (x > best) | ((x != x) & (best == best))


# Forward


@compiled
def _maxima_last(x, y, position, geometry):
    n, h, w, _ = x.shape
    oh, ow = y.shape[1], y.shape[2]
    halves = _halves(geometry, (h, w), (oh, ow))
    for task in prange(n * oh):
        image, row = task // oh, task % oh
        if halves:
            _halved_last(
                x[image, 2 * row], x[image, 2 * row + 1], y[image, row], position[image, row]
            )
        else:
            _row_last(x[image], row, y[image, row], position[image, row], geometry)


@numba.njit
def _halved_last(above, below, y, position):
    for o in range(y.shape[0]):
        a, b, c, d = above[2 * o], above[2 * o + 1], below[2 * o], below[2 * o + 1]
        to, at = y[o], position[o]
        for k in range(to.size):
            best, second, third, fourth = a[k], b[k], c[k], d[k]
            where = position.dtype.type(0)
            take = _greater(second, best)
            best = second if take else best
            where = position.dtype.type(1) if take else where
            take = _greater(third, best)
            best = third if take else best
            where = position.dtype.type(2) if take else where
            take = _greater(fourth, best)
            best = fourth if take else best
            where = position.dtype.type(3) if take else where
            to[k] = best
            at[k] = where


@numba.njit
def _row_last(x, row, y, position, geometry):
    kh, kw, sh, sw, ph, pw, dh, dw = geometry
    h, w, _ = x.shape
    for o in range(y.shape[0]):
        to, at = y[o], position[o]
        found = False
        for i in range(kh):
            r = row * sh - ph + i * dh
            if r < 0 or r >= h:
                continue
            for j in range(kw):
                s = o * sw - pw + j * dw
                if s < 0 or s >= w:
                    continue
                pixel = x[r, s]
                where = position.dtype.type(i * kw + j)
                if not found:
                    found = True
                    for k in range(to.size):
                        to[k] = pixel[k]
                        at[k] = where
                else:
                    for k in range(to.size):
                        xk, best, before = pixel[k], to[k], at[k]
                        take = _greater(xk, best)
                        to[k] = xk if take else best
                        at[k] = where if take else before
        if not found:
            to[:] = -math.inf
            at[:] = position.dtype.type(kh * kw - 1)


@compiled
def _maxima_planes(x, y, position, geometry):
    planes, h, w = x.shape
    oh, ow = y.shape[1], y.shape[2]
    halves = _halves(geometry, (h, w), (oh, ow))
    for task in prange(planes * oh):
        plane, row = task // oh, task % oh
        if halves:
            _halved_row(
                x[plane, 2 * row], x[plane, 2 * row + 1], y[plane, row], position[plane, row]
            )
        else:
            _row(x[plane], row, y[plane, row], position[plane, row], geometry)


@numba.njit
def _halved_row(above, below, y, position):
    for o in range(y.size):
        i = np.uint64(2) * np.uint64(o)  # unsigned: vector code need not allow for negative ones
        left, right = above[i], above[i + np.uint64(1)]
        take = _greater(right, left)
        y[o] = right if take else left
        position[o] = position.dtype.type(1) if take else position.dtype.type(0)
    for o in range(y.size):
        i = np.uint64(2) * np.uint64(o)
        left, right, best, before = below[i], below[i + np.uint64(1)], y[o], position[o]
        take = _greater(right, left)
        other = right if take else left
        where = position.dtype.type(3) if take else position.dtype.type(2)
        take = _greater(other, best)
        y[o] = other if take else best
        position[o] = where if take else before


@numba.njit
def _row(x, row, y, position, geometry):
    kh, kw, sh, sw, ph, pw, dh, dw = geometry
    h, w = x.shape
    y[:] = -math.inf
    position[:] = position.dtype.type(kh * kw - 1)
    # The first element of each window that lies on the input is taken whatever it is.
    for o in range(y.size):
        top, left = row * sh - ph, o * sw - pw
        i = max(0, -(top // dh)) if top < 0 else 0
        j = max(0, -(left // dw)) if left < 0 else 0
        r, s = top + i * dh, left + j * dw
        if i < kh and j < kw and r < h and s < w:
            y[o] = x[r, s]
            position[o] = position.dtype.type(i * kw + j)
    for i in range(kh):
        r = row * sh - ph + i * dh
        if r < 0 or r >= h:
            continue
        for j in range(kw):
            start, stop = _covered(j, sw, pw, dw, w, y.size)
            if start == stop:
                continue
            pixels = x[r, start * sw - pw + j * dw :]
            to, at = y[start:stop], position[start:stop]
            where = position.dtype.type(i * kw + j)
            for o in range(to.size):
                xo, best, before = pixels[np.uint64(o) * np.uint64(sw)], to[o], at[o]
                take = _greater(xo, best)
                to[o] = xo if take else best
                at[o] = where if take else before


def max_pool2d_positions(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    out: Any = None,
) -> tuple[Array, Array]:
    """The maximum of each window, and its position in the window."""
    outputs = window_counts(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    shape = (*x.shape[:2], *outputs)
    check_all_out(out, shape, shape)
    last = is_channels_last(x)
    y, to = new_images(shape, x.dtype, last)
    positions, at = new_images(shape, position_type(kernel_size), last)
    run = (_maxima_last if last else _maxima_planes).suited(x.size)
    run(native(x, last), to, at, (*kernel_size, *stride, *padding, *dilation))
    return deliver_all((y, positions), out)


def max_pool2d(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    out: Any = None,
) -> tuple[Array, Array]:
    """The maximum of each window, and its index in H * W."""
    options: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    options["dilation"] = dilation
    if out is not None:
        shape = (*x.shape[:2], *window_counts(x.shape[2:], **options, ceil_mode=ceil_mode))
        check_all_out(out, shape, shape)
    y, positions = max_pool2d_positions(x, **options, ceil_mode=ceil_mode)
    return deliver_all((y, indices_of(positions, input_size=x.shape[2:], **options)), out)


# The gradient by positions


@compiled
def _gradient_last(g, position, gx, geometry):
    n, h, w, _ = gx.shape
    oh, ow = g.shape[1], g.shape[2]
    halves = _halves(geometry, (h, w), (oh, ow))
    for task in prange(n * h):
        image, row = task // h, task % h
        if halves and row < 2 * oh:
            o = row // 2
            _unhalved_last(g[image, o], position[image, o], 2 * (row % 2), gx[image, row])
        else:
            _row_gradient_last(g[image], position[image], row, gx[image, row], geometry)


@numba.njit
def _unhalved_last(g, position, element, gx):
    """Row `element` // 2 of the 2 x 2 windows: each pixel is written once."""
    first, second = position.dtype.type(element), position.dtype.type(element + 1)
    zero = g.dtype.type(0)
    for o in range(g.shape[0]):
        go, at, left, right = g[o], position[o], gx[2 * o], gx[2 * o + 1]
        for k in range(go.size):
            gk, where = go[k], at[k]
            left[k] = gk if where == first else zero
            right[k] = gk if where == second else zero
    gx[2 * g.shape[0] :] = zero


@numba.njit
def _row_gradient_last(g, position, row, gx, geometry):
    kh, kw, sh, sw, ph, pw, dh, dw = geometry
    gx[:] = gx.dtype.type(0)
    for i in range(kh):
        top = row + ph - i * dh  # where the window whose row i this is begins, from the padding on
        if top < 0 or top % sh or top // sh >= g.shape[0]:
            continue
        for o in range(g.shape[1]):
            go, at = g[top // sh, o], position[top // sh, o]
            for j in range(kw):
                s = o * sw - pw + j * dw
                if s < 0 or s >= gx.shape[0]:
                    continue
                to = gx[s]
                here = position.dtype.type(i * kw + j)
                for k in range(to.size):
                    gk, before, where = go[k], to[k], at[k]
                    to[k] = before + (gk if where == here else g.dtype.type(0))


@compiled
def _gradient_planes(g, position, gx, geometry):
    planes, h, w = gx.shape
    oh, ow = g.shape[1], g.shape[2]
    halves = _halves(geometry, (h, w), (oh, ow))
    for task in prange(planes * h):
        plane, row = task // h, task % h
        if halves and row < 2 * oh:
            o = row // 2
            _unhalved_row(g[plane, o], position[plane, o], 2 * (row % 2), gx[plane, row])
        else:
            _row_gradient(g[plane], position[plane], row, gx[plane, row], geometry)


@numba.njit
def _unhalved_row(g, position, element, gx):
    first, second = position.dtype.type(element), position.dtype.type(element + 1)
    zero = g.dtype.type(0)
    for o in range(g.size):
        i = np.uint64(2) * np.uint64(o)
        go, where = g[o], position[o]
        gx[i] = go if where == first else zero
        gx[i + np.uint64(1)] = go if where == second else zero
    gx[2 * g.size :] = zero


@numba.njit
def _row_gradient(g, position, row, gx, geometry):
    kh, kw, sh, sw, ph, pw, dh, dw = geometry
    gx[:] = gx.dtype.type(0)
    for i in range(kh):
        top = row + ph - i * dh
        if top < 0 or top % sh or top // sh >= g.shape[0]:
            continue
        for j in range(kw):
            start, stop = _covered(j, sw, pw, dw, gx.size, g.shape[1])
            if start == stop:
                continue
            to = gx[start * sw - pw + j * dw :]
            go, at = g[top // sh, start:stop], position[top // sh, start:stop]
            here = position.dtype.type(i * kw + j)
            for o in range(go.size):
                p = np.uint64(o) * np.uint64(sw)
                to[p] += go[o] if at[o] == here else g.dtype.type(0)


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
    """Each of g where its maximum was, in the layout of `positions`."""
    if g.shape != positions.shape:
        raise ValueError(
            f"max_pool2d_positions_gradient: g {g.shape} does not fit positions {positions.shape}"
        )
    shape = (*g.shape[:2], *input_size)
    check_out(out, shape)
    last = is_channels_last(positions)
    gx, to = new_images(shape, g.dtype, last)
    run = (_gradient_last if last else _gradient_planes).suited(gx.size)
    geometry = (*kernel_size, *stride, *padding, *dilation)
    run(native(g, last), native(positions, last), to, geometry)
    return deliver(gx, out)


# By indices


@compiled
def _scatter(g, index, gx, bad):
    """By planes (N * C, windows) and (N * C, pixels)."""
    for plane in prange(g.shape[0]):
        go, at, to = g[plane], index[plane], gx[plane]
        to[:] = g.dtype.type(0)
        wrong = False
        for o in range(go.size):
            i = at[o]
            if 0 <= i < to.size:
                to[i] += go[o]
            else:
                wrong = True
        bad[plane] = wrong


@compiled
def _gather(x, index, y, bad):
    for plane in prange(x.shape[0]):
        pixels, at, to = x[plane], index[plane], y[plane]
        wrong = False
        for o in range(to.size):
            i = at[o]
            inside = 0 <= i < pixels.size
            wrong |= not inside
            to[o] = pixels[i] if inside else x.dtype.type(0)
        bad[plane] = wrong


def _by_index(function: Any, name: str, a: Array, index: Array, shape: Any, out: Any) -> Array:
    """The function of two sorts of planes, whose result has `shape`."""
    check_out(out, shape)
    planes = shape[0] * shape[1]
    y = empty(shape, a.dtype)
    bad = np.zeros(planes, np.bool_)
    flat_a, flat_index, flat_y = (
        native(z, False).reshape(planes, z.shape[2] * z.shape[3]) for z in (a, index, y)
    )
    function.suited(max(a.size, y.size))(flat_a, flat_index, flat_y, bad)
    if bad.any():
        raise IndexError(f"{name}: an index is out of the range of its image")
    return deliver(y, out)


def max_pool2d_gradient(
    g: Array, indices: Array, *, input_size: Pair, out: Array | None = None
) -> Array:
    """g added up at `indices` into H * W."""
    if g.shape != indices.shape:
        raise ValueError(f"max_pool2d_gradient: g {g.shape} does not fit indices {indices.shape}")
    shape = (*g.shape[:2], *input_size)
    return _by_index(_scatter, "max_pool2d_gradient", g, indices, shape, out)


def max_pool2d_gather(x: Array, indices: Array, *, out: Array | None = None) -> Array:
    """The elements of images at `indices`."""
    if x.shape[:2] != indices.shape[:2]:
        raise ValueError(f"max_pool2d_gather: x {x.shape} does not fit indices {indices.shape}")
    return _by_index(_gather, "max_pool2d_gather", x, indices, indices.shape, out)
