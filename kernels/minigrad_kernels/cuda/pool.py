"""Max-pooling in CUDA: the launch code of pool.cu, pool_rows.cu and pool_indices.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, check_all_out, check_out, deliver, deliver_all
from ..pool import position_type, window_counts
from ..windows import Pair
from .c_types import c_name
from .pool_images import BLOCK, Layout, blocks, index_type, is_last, native, room
from .pool_windows import Geometry, launch
from .source import kernel

PLACES = {
    np.dtype(np.uint8): "unsigned char",
    np.dtype(np.uint16): "unsigned short",
    np.dtype(np.uint32): "unsigned",
    np.dtype(np.int64): "long long",
}
"""The types that say where a maximum is: positions in windows; int64, indices in images."""


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
    """The maximum of each window, and its index in H * W."""
    geometry = kernel_size, stride, padding, dilation
    outputs = window_counts(x.shape[2:], *geometry, ceil_mode)
    return _maxima(x, np.dtype(np.int64), outputs, geometry, out)


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
    """The maximum of each window, and its position in the window."""
    geometry = kernel_size, stride, padding, dilation
    outputs = window_counts(x.shape[2:], *geometry, ceil_mode)
    return _maxima(x, position_type(kernel_size), outputs, geometry, out)


def _maxima(
    x: Array, place_type: np.dtype[Any], outputs: Pair, geometry: Geometry, out: Any
) -> tuple[Array, Array]:
    shape = (*x.shape[:2], *outputs)
    check_all_out(out, shape, shape)
    last = is_last(x)
    values, to = room(shape, x.dtype, last, out and out[0], x)
    places, at = room(shape, place_type, last, out and out[1], x)
    if to.size:
        arrays = native(x, last), to, at
        place = PLACES[place_type]
        launch("pool", "maxima", arrays, x.shape, outputs, geometry, last, PLACE=place)
    return deliver_all((values, places), out)


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
    last = is_last(positions)
    gx, to = room(shape, g.dtype, last, out, g, positions)
    if to.size:
        arrays = native(g, last), native(positions, last), to
        geometry = kernel_size, stride, padding, dilation
        place = PLACES[positions.dtype]
        outputs = (g.shape[2], g.shape[3])
        launch("pool", "maxima_gradient", arrays, shape, outputs, geometry, last, PLACE=place)
    return deliver(gx, out)


# By indices


def max_pool2d_gradient(
    g: Array, indices: Array, *, input_size: Pair, out: Array | None = None
) -> Array:
    """g added up at `indices` into H * W, each sum in one order.

    On a GPU an index out of range adds nothing: to look for it would mean to wait for the GPU.

    Raises:
        IndexError: for an index out of range, of NumPy arrays.
    """
    return _scattered("scatter", g, indices, input_size, out)


def max_pool2d_gradient_atomic(
    g: Array, indices: Array, *, input_size: Pair, out: Array | None = None
) -> Array:
    """As `max_pool2d_gradient`, each sum in any order."""
    return _scattered("scatter_atomic", g, indices, input_size, out)


def _scattered(name: str, g: Array, indices: Array, input_size: Pair, out: Array | None) -> Array:
    if g.shape != indices.shape:
        raise ValueError(f"max_pool2d_gradient: g {g.shape} does not fit indices {indices.shape}")
    shape = (*g.shape[:2], *input_size)
    check_out(out, shape)
    last = is_last(indices)
    at = _indices("max_pool2d_gradient", indices, last, input_size)
    gx, to = room(shape, g.dtype, last, out, g, indices)
    threads = 32 * shape[0] * shape[1]  # a warp for each plane
    if name == "scatter_atomic":
        to[...] = 0
        threads = g.size
    if to.size:
        run = kernel("pool_indices.cu", name, T=c_name(g), INDEX=index_type(to, at))
        layout = Layout.of(shape, last)
        sizes = input_size[0] * input_size[1], g.shape[2] * g.shape[3]
        arrays = native(g, last), at, to
        run(blocks(threads), BLOCK, *arrays, layout.images, layout.channels, *sizes)
    return deliver(gx, out)


def max_pool2d_gather(x: Array, indices: Array, *, out: Array | None = None) -> Array:
    """The elements of images at `indices`.

    On a GPU an index out of range gives NaN: to look for it would mean to wait for the GPU.

    Raises:
        IndexError: for an index out of range, of NumPy arrays.
    """
    if x.shape[:2] != indices.shape[:2]:
        raise ValueError(f"max_pool2d_gather: x {x.shape} does not fit indices {indices.shape}")
    check_out(out, indices.shape)
    last = is_last(x)
    at = _indices("max_pool2d_gather", indices, last, (x.shape[2], x.shape[3]))
    y, to = room(indices.shape, x.dtype, last, out, x, indices)
    if to.size:
        run = kernel("pool_indices.cu", "gather", T=c_name(x), INDEX=index_type(x, at))
        layout = Layout.of(x.shape, last)
        sizes = x.shape[2] * x.shape[3], indices.shape[2] * indices.shape[3]
        arrays = native(x, last), at, to
        run(blocks(to.size), BLOCK, *arrays, layout.images, layout.channels, *sizes)
    return deliver(y, out)


def _indices(name: str, indices: Array, last: bool, size: Pair) -> Array:
    """The indices as kernels take them; NumPy's are looked at."""
    at = native(indices.astype(np.int64, copy=False), last)
    if isinstance(at, np.ndarray) and ((at < 0) | (at >= size[0] * size[1])).any():
        raise IndexError(f"{name}: an index is out of the range of its image")
    return at
