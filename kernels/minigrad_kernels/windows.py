"""The geometry of convolution and pooling: windows that slide over images."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from .arrays import Array

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
"""Rows added (above, below) and columns added (left, right). Negative at an end: left out there."""

BLOCK_BYTES = 2**21
"""Work is cut in blocks of images whose temporaries stay in a CPU core's L2 cache: with 2 MiB,
convolutions took 0.6 times as long as in one piece; from 1 to 4 MiB it makes no difference."""


def _check_window(kernel: int, stride: int, dilation: int) -> None:
    if kernel < 1 or stride < 1 or dilation < 1:
        raise ValueError(
            f"a window of {kernel} elements, {dilation} apart, in steps of {stride}: none of these "
            "may be less than 1"
        )


def output_length(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """How many windows fit along one dimension of `size` elements.

    Raises:
        ValueError: if not even one fits, or a number is less than 1.
    """
    _check_window(kernel, stride, dilation)
    extent = dilation * (kernel - 1) + 1
    padded = size + padding[0] + padding[1]
    if extent > padded:
        raise ValueError(
            f"a window of {extent} elements is larger than the padded input of {padded}"
        )
    return (padded - extent) // stride + 1


def pooled_length(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """How many windows pooling places along one dimension, which is padded at both ends.

    With `ceil_mode` the last window may overhang the padded end, but it never begins beyond the
    input.

    Raises:
        ValueError: as `output_length`.
    """
    _check_window(kernel, stride, dilation)
    extent = dilation * (kernel - 1) + 1
    room = size + 2 * padding - extent
    windows = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (windows - 1) * stride - padding >= size:
        windows -= 1
    if windows < 1:
        raise ValueError(
            f"a window of {extent} elements is larger than the padded input of {size + 2 * padding}"
        )
    return windows


def taps(
    kernel: int, stride: int, before: int, dilation: int, size: int, windows: int
) -> list[tuple[slice, slice]]:
    """For each element of a window: in which windows it lies on the input, and on what elements.

    Windows begin `before` elements ahead of the input and overhang it there and at the end. What
    overhangs is in neither slice, so that nothing has to be padded.

    >>> for tap in taps(kernel=3, stride=2, before=1, dilation=1, size=4, windows=2):
    ...     print(tap)
    (slice(1, 2, None), slice(1, 2, 2))
    (slice(0, 2, None), slice(0, 3, 2))
    (slice(0, 2, None), slice(1, 4, 2))
    """
    found = []
    for k in range(kernel):
        first = k * dilation - before  # the input element under element k of window 0
        start = max(0, -(first // stride))  # the ceiling of -first / stride
        stop = min(windows, (size - 1 - first) // stride + 1)
        if start < stop:
            last = first + (stop - 1) * stride
            found.append((slice(start, stop), slice(first + start * stride, last + 1, stride)))
        else:
            found.append((slice(0, 0), slice(0, 0)))
    return found


def grid(
    kernel_size: Pair, stride: Pair, before: Pair, dilation: Pair, size: Pair, windows: Pair
) -> list[tuple[Pair, tuple[slice, slice], tuple[slice, slice]]]:
    """`taps` in two dimensions, row by row: (element of the window, windows, pixels)."""
    along_rows, along_columns = (
        taps(*along)
        for along in zip(kernel_size, stride, before, dilation, size, windows, strict=True)
    )
    return [
        ((i, j), (rows, columns), (on_rows, on_columns))
        for i, (rows, on_rows) in enumerate(along_rows)
        for j, (columns, on_columns) in enumerate(along_columns)
    ]


def blocks(images: int, bytes_each: int, xp: ModuleType) -> Iterator[slice]:
    """Cut `images` into runs that need about `BLOCK_BYTES` of temporaries, much more on a GPU."""
    limit = BLOCK_BYTES if xp.__name__ == "numpy" else 256 * BLOCK_BYTES
    length = max(1, min(images, limit // max(1, bytes_each)))
    for start in range(0, images, length):
        yield slice(start, min(images, start + length))


def channels_last(x: Array) -> Array:
    """View (N, C, H, W) as (N, H, W, C)."""
    return x.transpose(0, 2, 3, 1)


def channels_first(x: Array) -> Array:
    """View (N, H, W, C) as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)
