"""Checks of what convolution and pooling are given: sizes, strides, padding, images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minigrad_kernels.windows import Padding, output_length, pooled_length

from ..arguments import integer, integers
from ..tensor import Tensor

Pair = tuple[int, int]
Size = tuple[int, ...]
"""Rows and columns, as they come out of a shape."""


def pair(value: Any, operation: str, argument: str, least: int) -> Pair:
    """Two integers, for rows and columns; one, or a sequence of one, stands for both.

    Raises:
        TypeError: for anything but integers; ValueError: if there are too many, or one is too low.
    """
    if isinstance(value, (tuple, list)) and len(value) == 1:
        (value,) = value
    rows, columns = integers(value, 2, operation, argument, least)
    return rows, columns


def check_images(x: Tensor, operation: str, argument: str = "input") -> None:
    """Refuse what is not (N, C, H, W) or (C, H, W) of floating-point (or complex) numbers.

    Raises:
        ValueError: for another shape, or one with nothing in C, H or W; TypeError: for integers.
    """
    if x.ndim not in (3, 4):
        raise ValueError(
            f"{operation}: {argument} has shape {x.shape}, wants (N, C, H, W) or (C, H, W)"
        )
    if 0 in x.shape[-3:]:
        raise ValueError(f"{operation}: {argument} of shape {x.shape} has no pixels or channels")
    check_real(x, operation, argument)


def check_real(x: Tensor, operation: str, argument: str) -> None:
    """Refuse integers and truth values with a TypeError."""
    if x.dtype.kind not in "fc":
        raise TypeError(f"{operation}: {argument} is {x.dtype}, wants a floating-point type")


@contextmanager
def named(operation: str) -> Iterator[None]:
    """Put the operation's name in front of what the geometry's functions complain about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{operation}: {error}") from None


# Convolution

Options = dict[str, Any]
"""Stride, padding ((top, bottom), (left, right)), dilation and groups, checked, for the kernels."""


def convolution_options(
    operation: str, stride: Any, padding: Any, dilation: Any, groups: int, kernel_size: Size
) -> Options:
    """Check the options of a two-dimensional convolution.

    Raises:
        ValueError, TypeError: for what is not possible.
    """
    steps = pair(stride, operation, "stride", 1)
    spread = pair(dilation, operation, "dilation", 1)
    return {
        "stride": steps,
        "padding": _padding(operation, padding, kernel_size, steps, spread),
        "dilation": spread,
        "groups": groups,
    }


def _padding(
    operation: str, padding: Any, kernel_size: Size, stride: Pair, dilation: Pair
) -> Padding:
    """((top, bottom), (left, right)) from any of the ways to say it."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(
                f"{operation}: padding must be numbers, 'same' or 'valid', got {padding!r}"
            )
        if padding == "valid":
            return (0, 0), (0, 0)
        if stride != (1, 1):
            raise ValueError(f"{operation}: padding='same' wants stride 1, got {stride}")
        above, beside = (d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True))
        return (above // 2, above - above // 2), (beside // 2, beside - beside // 2)
    if isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != 2:
            raise ValueError(f"{operation}: padding has {len(padding)} pairs, wants 2")
        return (
            pair(padding[0], operation, "padding", 0),
            pair(padding[1], operation, "padding", 0),
        )
    rows, columns = pair(padding, operation, "padding", 0)
    return (rows, rows), (columns, columns)


def check_filters(operation: str, weight: Tensor, groups: Any) -> int:
    """The number of groups; refuse a weight that is not (O, C / groups, kh, kw).

    Raises:
        ValueError: for its shape; TypeError: for integers.
    """
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(
            f"{operation}: weight has shape {weight.shape}, wants 4 dimensions (output channels, "
            "input channels / groups, rows, columns), none of them empty"
        )
    count = integer(groups, operation, "groups", 1)
    if weight.shape[0] % count:
        raise ValueError(
            f"{operation}: {count} groups do not divide the {weight.shape[0]} channels of weight "
            f"(shape {weight.shape})"
        )
    return count


def check_channels(operation: str, argument: str, has: int, wants: int, weight: Tensor) -> None:
    """Refuse an argument with another number of channels than the weight wants.

    Raises:
        ValueError: if they differ.
    """
    if has != wants:
        raise ValueError(
            f"{operation}: {argument} has {has} channels, weight wants {wants} "
            f"(weight shape {weight.shape})"
        )


def convolved_size(operation: str, size: Size, kernel_size: Size, options: Options) -> Pair:
    """Rows and columns of the output of a convolution of images of `size`.

    Raises:
        ValueError: if the kernel is larger than the padded image.
    """
    with named(operation):
        rows, columns = (
            output_length(*along)
            for along in zip(
                size,
                kernel_size,
                options["stride"],
                options["padding"],
                options["dilation"],
                strict=True,
            )
        )
    return rows, columns


# Pooling


def pooling_options(operation: str, kernel_size: Any, stride: Any, padding: Any) -> Options:
    """Check the geometry; the stride is the kernel's size where it is not given.

    Raises:
        ValueError, TypeError: for what is not possible.
    """
    size = pair(kernel_size, operation, "kernel_size", 1)
    border = pair(padding, operation, "padding", 0)
    for k, p in zip(size, border, strict=True):
        if p > k // 2:
            raise ValueError(f"{operation}: padding {p} is more than half of the kernel's {k}")
    return {
        "kernel_size": size,
        "stride": size if stride is None or stride == () else pair(stride, operation, "stride", 1),
        "padding": border,
    }


def check_pooling(
    operation: str, size: Size, options: Options, dilation: Pair, ceil_mode: bool
) -> Pair:
    """Rows and columns of windows on images of `size`.

    Raises:
        ValueError: if windows are larger than the padded image, or hold nothing of the image.
    """
    windows = []
    for n, k, s, p, d in zip(
        size,
        options["kernel_size"],
        options["stride"],
        options["padding"],
        dilation,
        strict=True,
    ):
        with named(operation):
            windows.append(pooled_length(n, k, s, p, d, ceil_mode))
        # A window that begins at -b, in the padding, first leaves it on element (-b) mod d.
        if any(-b % d >= n for b in range(p, max(0, p - windows[-1] * s), -s)):
            raise ValueError(
                f"{operation}: with dilation {d} and padding {p}, a window on {n} elements holds "
                "nothing but padding"
            )
    return windows[0], windows[1]


def check_batch(operation: str, x: Tensor, argument: str) -> None:
    """Refuse what is not (N, C, H, W) of floating-point numbers.

    Raises:
        ValueError: for another shape, or one with nothing in C, H or W; TypeError: for integers.
    """
    if x.ndim != 4:
        raise ValueError(f"{operation}: {argument} has shape {x.shape}, wants 4 dimensions")
    check_images(x, operation, argument)
