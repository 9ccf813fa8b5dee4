"""Convolution of every channel with a filter of its own, and its gradients: depthwise.cu."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from ..arrays import Array, check_out, deliver
from ..conv import check_forward, check_input_gradient, check_weight_gradient
from ..windows import Padding, Pair, channels_first
from .arrays import ceil_divide, contiguous, empty
from .c_types import c_name
from .conv_layout import MULTIPROCESSORS, forward_taps, loop, new_images, pixels, total_name, totals
from .launch import KernelFunction
from .source import kernel

PIXELS = 4
"""Pixels of a thread; PIXELS in depthwise.cu."""

TAPS = 9
"""Taps of a thread in the filters' gradient; TAPS there."""

LANES = 32
"""Threads side by side in the filters' gradient; LANES there."""

LEAST_PIXELS = 64
"""Pixels from which another part of the sum over them is worth adding it."""


def _width(x: Array, channels: int) -> int:
    """How many channels are loaded at once: 16 bytes, or less if there is a remainder."""
    widest = min(4, 16 // x.itemsize)
    return math.gcd(widest, channels)


def _kernel(name: str, x: Array, channels: int, down: Pair = (1, 1)) -> KernelFunction:
    types = {"T": c_name(x), "TOTAL": total_name(x)}
    downs = {"DOWN_ROW": down[0], "DOWN_COLUMN": down[1]}
    return kernel("depthwise.cu", name, **types, WIDTH=_width(x, channels), **downs)


def _convolve(
    x: Array,
    w: Array,
    bias: Array | None,
    y: Array,
    axes: Iterable[tuple[int, ...]],
    down: Pair | None = None,
) -> None:
    """Write to y (N, H, W, C) the convolution of x with filters w (C, 1, kh, kw).

    An axis is what the kernel wants: size, windows, up, shift, pace, taps. `down` is the stride if
    it is a gradient.
    """
    if not y.size:  # images without pixels, whose gradient this is
        return
    channels = x.shape[3]
    w = contiguous(w)
    by_taps = empty(w, (w.size,))
    _kernel("filters_by_taps", x, channels)(
        loop(w.size), 256, w, by_taps, channels, w.size // channels
    )
    tasks = y.size // y.shape[2] * ceil_divide(y.shape[2], PIXELS) // _width(x, channels)
    _kernel("convolve", x, channels, down or (1, 1))(
        loop(tasks), 256, x, by_taps, bias, y, tasks, channels, int(down is not None),
        *itertools.chain(*axes),
    )  # fmt: skip


def conv2d(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    out: Array | None = None,
) -> Array:
    """Correlate each channel with its filter; channels lie last in the result."""
    size = check_forward(x, w, bias, stride, padding, dilation, groups)
    check_out(out, (len(x), len(w), *size))
    y = new_images(x, len(x), size, len(w))
    bias = None if bias is None else contiguous(bias)
    axes = forward_taps(x.shape[2:], size, w.shape[2:], stride, padding, dilation)
    _convolve(pixels(x), w, bias, y, (a.axis[:6] for a in axes))
    return deliver(channels_first(y), out)


def conv2d_input_gradient(
    g: Array,
    w: Array,
    *,
    input_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    out: Array | None = None,
) -> Array:
    """The gradient of the images; channels lie last in the result."""
    size = check_input_gradient(g, w, input_size, stride, padding, dilation, groups)
    check_out(out, (*g.shape[:2], *input_size))
    gx = new_images(g, len(g), input_size, g.shape[1])
    axes = (
        (size[a], input_size[a], 1, padding[a][0], -dilation[a], w.shape[2 + a]) for a in range(2)
    )
    _convolve(pixels(g), w, None, gx, axes, (stride[0], stride[1]))
    return deliver(channels_first(gx), out)


def conv2d_weight_gradient(
    x: Array,
    g: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    out: Array | None = None,
) -> Array:
    """The gradient of the filters: sums over parts of the pixels, then of these."""
    size = check_weight_gradient(x, g, kernel_size, stride, padding, dilation, groups)
    channels, taps = x.shape[1], math.prod(kernel_size)
    check_out(out, (channels, 1, *kernel_size))
    gw = empty(x, (channels, 1, *kernel_size))
    blocks = ceil_divide(channels, LANES * _width(x, channels))
    chunks = ceil_divide(taps, TAPS)
    wanted = ceil_divide(8 * MULTIPROCESSORS, blocks * chunks)
    parts = max(1, min(wanted, len(x) * math.prod(size) // LEAST_PIXELS))
    sums = totals(x, (parts, taps, channels))
    down, across = forward_taps(x.shape[2:], size, kernel_size, stride, padding, dilation)
    _kernel("correlate", x, channels)(
        (parts, blocks, chunks), 256, pixels(x), pixels(g), sums, len(x), channels,
        *down.axis[:6], *across.axis[:6],
    )  # fmt: skip
    _kernel("add_parts", x, channels)(loop(gw.size), 256, sums, gw, parts, channels, taps)
    return deliver(gw, out)
