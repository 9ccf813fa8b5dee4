"""The transforms of Winograd's method, whose formulas are in `winograd.py`.

They multiply a tile by a matrix from both sides: first its columns, then the rows of the result,
which lies in `square` meanwhile. All work on channels-last memory, and do to a whole vector of
neighbouring channels what the formulas do to a number.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import prange

from .compiled import compiled
from .vector import aligned, clear, copy, fill, lanes_of, load, store

_G = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
G = np.array(_G)


@numba.njit(forceinline=True)
def _input_row(d0, d1, d2, d3, d4, d5, two, four, five):
    """B' d for a column d."""
    even, odd = d4 - four * d2, d3 - four * d1
    plain, double = d4 - d2, two * (d3 - d1)
    return (
        four * d0 - five * d2 + d4,
        even + odd,
        even - odd,
        plain + double,
        plain - double,
        four * d1 - five * d3 + d5,
    )


@numba.njit(forceinline=True)
def _output_row(m0, m1, m2, m3, m4, m5, two, four, eight):
    """A' m for a column m."""
    plus, minus = m1 + m2, m1 - m2
    plus2, minus2 = m3 + m4, m3 - m4
    return (
        m0 + plus + plus2,
        minus + two * minus2,
        plus + four * plus2,
        minus + eight * minus2 + m5,
    )


@numba.njit(forceinline=True)
def _gradient_row(g0, g1, g2, g3, two, four, eight):
    """A g for a column g."""
    even, odd = g0 + g2, g1 + g3
    even2, odd2 = g0 + four * g2, two * g1 + eight * g3
    return g0, even + odd, even - odd, even2 + odd2, even2 - odd2, g3


@numba.njit
def _cut(x, image, height, width, channels, top, left, size, step, patch):
    """Copy size × size pixels from (top, left) to patch (size, size, step); zeros lie around x."""
    clear(patch, 0, patch.size)
    first, last = max(0, -left), min(size, width - left)
    for i in range(max(0, -top), min(size, height - top)):
        for j in range(first, last):
            at = ((image * height + top + i) * width + left + j) * channels
            copy(patch, (i * size + j) * step, x, at, channels)


@numba.njit
def _paste(patch, step, y, image, height, width, channels, top, left, first, count):
    """Copy patch (4, 4, step) to the tile of y at (top, left): `count` channels, from `first`."""
    for i in range(min(4, height - top)):
        for j in range(min(4, width - left)):
            at = ((image * height + top + i) * width + left + j) * channels + first
            copy(y, at, patch, (i * 4 + j) * step, count)


@numba.njit
def _transform_input(x, at, row, pixel, step, v, to, plane, square):
    """v[to + p * plane + c] = (B' d B)[p] of the 6×6 pixels at x[at], for c < step."""
    two, four, five = fill(x.dtype.type(2)), fill(x.dtype.type(4)), fill(x.dtype.type(5))
    vector = square.size // 36
    for c in range(0, step, vector):
        for j in range(6):
            s = at + j * pixel + c
            t0, t1, t2, t3, t4, t5 = _input_row(
                load(x, s), load(x, s + row), load(x, s + 2 * row),
                load(x, s + 3 * row), load(x, s + 4 * row), load(x, s + 5 * row),
                two, four, five,
            )  # fmt: skip
            store(square, j * vector, t0)
            store(square, (6 + j) * vector, t1)
            store(square, (12 + j) * vector, t2)
            store(square, (18 + j) * vector, t3)
            store(square, (24 + j) * vector, t4)
            store(square, (30 + j) * vector, t5)
        for i in range(6):
            s = i * 6 * vector
            t0, t1, t2, t3, t4, t5 = _input_row(
                load(square, s), load(square, s + vector), load(square, s + 2 * vector),
                load(square, s + 3 * vector), load(square, s + 4 * vector),
                load(square, s + 5 * vector), two, four, five,
            )  # fmt: skip
            p = to + c + i * 6 * plane
            store(v, p, t0)
            store(v, p + plane, t1)
            store(v, p + 2 * plane, t2)
            store(v, p + 3 * plane, t3)
            store(v, p + 4 * plane, t4)
            store(v, p + 5 * plane, t5)


@numba.njit
def _transform_output(m, at, plane, columns, bias, first, y, to, row, pixel, square, check):
    """Write A' m A + bias to the 4×4 pixels at y[to], for so many columns, filters from `first`.

    Adds 0 times what it wrote to the vector in `check`: 0, as long as all is finite.
    """
    zero, checked = fill(y.dtype.type(0)), load(check, 0)
    two, four, eight = fill(y.dtype.type(2)), fill(y.dtype.type(4)), fill(y.dtype.type(8))
    vector = square.size // 36
    for k in range(0, columns, vector):
        for j in range(6):
            s = at + k + j * plane
            t0, t1, t2, t3 = _output_row(
                load(m, s), load(m, s + 6 * plane), load(m, s + 12 * plane),
                load(m, s + 18 * plane), load(m, s + 24 * plane), load(m, s + 30 * plane),
                two, four, eight,
            )  # fmt: skip
            store(square, j * vector, t0)
            store(square, (6 + j) * vector, t1)
            store(square, (12 + j) * vector, t2)
            store(square, (18 + j) * vector, t3)
        b = load(bias, first + k)
        for i in range(4):
            s = i * 6 * vector
            t0, t1, t2, t3 = _output_row(
                load(square, s), load(square, s + vector), load(square, s + 2 * vector),
                load(square, s + 3 * vector), load(square, s + 4 * vector),
                load(square, s + 5 * vector), two, four, eight,
            )  # fmt: skip
            t0, t1, t2, t3 = t0 + b, t1 + b, t2 + b, t3 + b
            checked = checked + zero * t0 + zero * t1 + zero * t2 + zero * t3
            p = to + k + i * row
            store(y, p, t0)
            store(y, p + pixel, t1)
            store(y, p + 2 * pixel, t2)
            store(y, p + 3 * pixel, t3)
    store(check, 0, checked)


@numba.njit
def _transform_gradient(g, at, row, pixel, step, e, to, plane, square):
    """e[to + p * plane + k] = (A g A')[p] of the 4×4 pixels at g[at], for k < step."""
    two, four, eight = fill(g.dtype.type(2)), fill(g.dtype.type(4)), fill(g.dtype.type(8))
    vector = square.size // 36
    for k in range(0, step, vector):
        for j in range(4):
            s = at + j * pixel + k
            t0, t1, t2, t3, t4, t5 = _gradient_row(
                load(g, s), load(g, s + row), load(g, s + 2 * row), load(g, s + 3 * row),
                two, four, eight,
            )  # fmt: skip
            store(square, j * vector, t0)
            store(square, (4 + j) * vector, t1)
            store(square, (8 + j) * vector, t2)
            store(square, (12 + j) * vector, t3)
            store(square, (16 + j) * vector, t4)
            store(square, (20 + j) * vector, t5)
        for i in range(6):
            s = i * 4 * vector
            t0, t1, t2, t3, t4, t5 = _gradient_row(
                load(square, s), load(square, s + vector), load(square, s + 2 * vector),
                load(square, s + 3 * vector), two, four, eight,
            )  # fmt: skip
            p = to + k + i * 6 * plane
            store(e, p, t0)
            store(e, p + plane, t1)
            store(e, p + 2 * plane, t2)
            store(e, p + 3 * plane, t3)
            store(e, p + 4 * plane, t4)
            store(e, p + 5 * plane, t5)


@numba.njit
def _tile(number, down, across):
    """The image of a tile, and the tile's place in it."""
    image, place = divmod(number, down * across)
    i, j = divmod(place, across)
    return image, 4 * i, 4 * j


@numba.njit
def transform_inputs(x, height, width, channels, down, across, above, beside, first, count, step,
                      v, at, row, plane, patch, square):  # fmt: skip
    """The transforms of `count` tiles of x, from tile `first`: v[at + p * plane + t * row + c]."""
    for t in range(count):
        to = at + t * row
        image, top, left = _tile(first + t, down, across)
        top, left = top - above, left - beside
        inside = top >= 0 and left >= 0 and top + 6 <= height and left + 6 <= width
        if inside and channels == step:
            start = ((image * height + top) * width + left) * channels
            _transform_input(x, start, width * channels, channels, step, v, to, plane, square)
        else:
            _cut(x, image, height, width, channels, top, left, 6, step, patch)
            _transform_input(patch, 0, 6 * step, step, step, v, to, plane, square)


@numba.njit
def transform_gradients(g, height, width, filters, down, across, first, count, step,
                         e, at, row, plane, patch, square):  # fmt: skip
    """The transforms of `count` tiles of g, from tile `first`: e[at + p * plane + t * row + k]."""
    for t in range(count):
        image, top, left = _tile(first + t, down, across)
        to = at + t * row
        if top + 4 <= height and left + 4 <= width and filters == step:
            start = ((image * height + top) * width + left) * filters
            _transform_gradient(g, start, width * filters, filters, step, e, to, plane, square)
        else:
            _cut(g, image, height, width, filters, top, left, 4, step, patch)
            _transform_gradient(patch, 0, 4 * step, step, step, e, to, plane, square)


@numba.njit
def transform_outputs(m, plane, columns, bias, first_filter, y, height, width, filters,
                       down, across, first, count, patch, square, check):  # fmt: skip
    """Write `count` tiles of y, from tile `first`, and filters, from m[p * plane + t * columns]."""
    used = min(columns, filters - first_filter)
    for t in range(count):
        image, top, left = _tile(first + t, down, across)
        at = t * columns
        if used == columns and top + 4 <= height and left + 4 <= width:
            to = ((image * height + top) * width + left) * filters + first_filter
            _transform_output(
                m, at, plane, columns, bias, first_filter,
                y, to, width * filters, filters, square, check,
            )  # fmt: skip
        else:
            _transform_output(
                m, at, plane, columns, bias, first_filter,
                patch, 0, 4 * columns, columns, square, check,
            )  # fmt: skip
            _paste(
                patch, columns, y, image, height, width, filters, top, left, first_filter, used
            )  # fmt: skip


# Filters


@numba.njit
def _filter_gradient_of(c, u, g, gw, channels, filters, row):
    """gw[:, c] = G' u[:, c] G, for a vector of filters at a time."""
    vector = lanes_of(u)
    half, whole = aligned(18 * vector, u), aligned(9 * vector, u)
    zero = fill(u.dtype.type(0))
    for k in range(0, filters, vector):
        for j in range(6):
            for r in range(3):
                total = zero
                for i in range(6):
                    place = ((i * 6 + j) * channels + c) * row + k
                    total = total + fill(g[i, r]) * load(u, place)
                store(half, (r * 6 + j) * vector, total)
        for r in range(3):
            for s in range(3):
                total = zero
                for j in range(6):
                    total = total + fill(g[j, s]) * load(half, (r * 6 + j) * vector)
                store(whole, (r * 3 + s) * vector, total)
        for n in range(min(vector, filters - k)):
            to = ((k + n) * channels + c) * 9
            for p in range(9):
                gw[to + p] = whole[p * vector + n]


@compiled
def filter_gradient(u, g, gw, channels, filters, row):
    """gw (filters, channels, 3, 3) = G' u G, of u (36, channels, row)."""
    for c in prange(channels):
        _filter_gradient_of(np.intp(c), u, g, gw, channels, filters, row)


@numba.njit
def _transform_filters_of(c, w, start, by_filter, by_channel, by_row, by_column, g, u,
                          filters, channels, columns, panels):  # fmt: skip
    """u[:, :, c] = G w G' of channel c, for a vector of filters at a time."""
    vector = lanes_of(u)
    whole, half = aligned(9 * vector, u), aligned(18 * vector, u)
    zero = fill(u.dtype.type(0))
    for k in range(0, panels * columns, vector):
        used = min(vector, filters - k)
        clear(whole, 0, whole.size)
        for r in range(3):
            for s in range(3):
                at = start + k * by_filter + c * by_channel + r * by_row + s * by_column
                for n in range(used):
                    whole[(r * 3 + s) * vector + n] = w[at + n * by_filter]
        for i in range(6):
            for s in range(3):
                total = zero
                for r in range(3):
                    total = total + fill(g[i, r]) * load(whole, (r * 3 + s) * vector)
                store(half, (i * 3 + s) * vector, total)
        panel, column = divmod(k, columns)
        for i in range(6):
            for j in range(6):
                total = zero
                for s in range(3):
                    total = total + fill(g[j, s]) * load(half, (i * 3 + s) * vector)
                place = ((panel * 36 + i * 6 + j) * channels + c) * columns + column
                store(u, place, total)


@compiled
def transform_filters(w, start, by_filter, by_channel, by_row, by_column, g, u,
                       filters, channels, columns, panels):  # fmt: skip
    """u[panel, p, c, k] = (G w G')[p] of channel c and filter panel * columns + k; zero beyond."""
    for c in prange(channels):
        _transform_filters_of(
            np.intp(c), w, start, by_filter, by_channel, by_row, by_column, g, u,
            filters, channels, columns, panels,
        )  # fmt: skip
