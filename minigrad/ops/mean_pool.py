"""Mean-pooling over windows of one size, and over windows that cover images evenly; all linear."""

from __future__ import annotations

from typing import Any

import minigrad_kernels as kernels

from ..arguments import integer
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor
from .geometry import (
    Options,
    Size,
    check_batch,
    check_images,
    check_pooling,
    pair,
    pooling_options,
)
from .registry import differentiable, fails, integers, real, sample


@differentiable(
    [
        sample(real(2, 2, 4, 4), 2),
        sample(real(1, 2, 5, 4), (3, 2), stride=(2, 1), padding=1, ceil_mode=True),
        sample(real(5, 6, 4), 3, 2, 1, True, False),
        sample(real(1, 1, 4, 4), 2, 1, divisor_override=3),
        sample(real(0, 1, 4, 4), 2),
    ],
    kind="linear",
    errors=[
        fails(ValueError, r"wants \(N, C, H, W\)", real(4, 4), 2),
        fails(TypeError, "floating-point", integers(1, 4, 4, high=9), 2),
        fails(ValueError, "kernel_size must be", real(1, 4, 4), 0),
        fails(ValueError, "stride must be", real(1, 4, 4), 2, 0),
        fails(ValueError, "padding must be", real(1, 4, 4), 2, padding=-1),
        fails(ValueError, "more than half", real(1, 4, 4), 2, padding=2),
        fails(ValueError, "larger than the padded", real(1, 4, 4), 5),
        fails(ValueError, "divisor_override must", real(1, 4, 4), 2, divisor_override=0),
        fails(TypeError, "divisor_override must", real(1, 4, 4), 2, divisor_override=0.5),
        fails(TypeError, "divisor_override must", real(1, 4, 4), 2, divisor_override=(3, 5)),
    ],
)
def avg_pool2d(
    input: TensorLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of the images.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        kernel_size: rows and columns of a window.
        stride: rows and columns from one window to the next; None: as many as it has.
        padding: rows and columns of zeros added at both ends, at most half of the kernel's.
        ceil_mode: whether a last window may overhang the end. It never begins beyond the input, and
            what overhangs the padding does not count.
        count_include_pad: whether the padding's zeros count as elements.
        divisor_override: divide by this number, whatever the elements.

    Returns:
        (N, C, h, w), or (C, h, w), of the size that `max_pool2d` gives.

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    x = as_tensor(input)
    check_images(x, "avg_pool2d")
    options = _averaging(
        "avg_pool2d", kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    check_pooling("avg_pool2d", x.shape[-2:], options, (1, 1), options["ceil_mode"])
    images = x if x.ndim == 4 else x[None]
    y = _averaged(images, options)
    return y if x.ndim == 4 else y[0]


def _averaging(
    operation: str,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: Any,
    count_include_pad: Any,
    divisor_override: Any,
) -> Options:
    options = pooling_options(operation, kernel_size, stride, padding)
    options["ceil_mode"] = bool(ceil_mode)
    options["count_include_pad"] = bool(count_include_pad)
    if divisor_override is not None:
        divisor_override = integer(divisor_override, operation, "divisor_override")
        if not divisor_override:
            raise ValueError(f"{operation}: divisor_override must not be 0")
    options["divisor_override"] = divisor_override
    return options


def _averaged(x: Any, options: Options) -> Tensor:
    x = as_tensor(x)
    size = x.shape[2:]
    y = kernels.avg_pool2d(x.data, **options)
    return record(avg_pool2d, y, (x, lambda g: _averaged_back(g, size, options), None))


def _averaged_back(g: Any, input_size: Size, options: Options) -> Tensor:
    g = as_tensor(g)
    gx = kernels.avg_pool2d_gradient(g.data, input_size=input_size, **options)
    return record(avg_pool2d_gradient, gx, (g, lambda x: _averaged(x, options), None))


@differentiable(
    [
        sample(real(2, 2, 2, 2), 4, 2),
        sample(real(1, 2, 3, 5), (5, 4), (3, 2), stride=(2, 1), padding=1),
        sample(real(1, 1, 3, 3), (6, 6), 3, 2, 1, False, False),
        sample(real(1, 1, 4, 3), (6, 4), 3, 2, 1, True, True, 7),
    ],
    kind="linear",
    errors=[
        fails(ValueError, "wants 4 dimensions", real(2, 2, 2), 4, 2),
        fails(ValueError, "but on images of", real(1, 1, 3, 3), 4, 2),
        fails(ValueError, "input_size must be", real(1, 1, 2, 2), 0, 2),
        fails(ValueError, "larger than the padded", real(1, 1, 1, 1), 2, 5),
        fails(TypeError, "floating-point", integers(1, 1, 2, 2, high=9), 4, 2),
    ],
)
def avg_pool2d_gradient(
    g: TensorLike,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The gradient (N, C, *input_size) of avg_pool2d's input, given that of its output, g.

    `g` is (N, C, h, w), `input_size` (H, W); the rest is as in `avg_pool2d`.

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    name = "avg_pool2d_gradient"
    g = as_tensor(g)
    check_batch(name, g, "g")
    size = pair(input_size, name, "input_size", 1)
    options = _averaging(
        name, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    windows = check_pooling(name, size, options, (1, 1), options["ceil_mode"])
    if g.shape[2:] != windows:
        raise ValueError(
            f"{name}: g has shape {g.shape}, but on images of {size} there are {windows} windows"
        )
    return _averaged_back(g, size, options)


@differentiable(
    [
        sample(real(2, 2, 4, 6), (2, 3)),
        sample(real(1, 2, 5, 4), (3, None)),
        sample(real(2, 3, 2), (5, 1)),
        sample(real(0, 1, 4, 4), 2),
    ],
    kind="linear",
    errors=[
        fails(ValueError, r"wants \(N, C, H, W\)", real(4, 4), 2),
        fails(ValueError, "output_size must be", real(1, 4, 4), 0),
        fails(ValueError, "output_size has 3", real(1, 4, 4), (1, None, 2)),
        fails(TypeError, "output_size must be", real(1, 4, 4), 1.5),
        fails(TypeError, "floating-point", integers(1, 4, 4, high=9), 2),
    ],
)
def adaptive_avg_pool2d(input: TensorLike, output_size: Any) -> Tensor:
    """The means of `output_size` windows that cover the images evenly.

    Window i of n along H begins at floor(i * H / n) and ends before ceil((i + 1) * H / n).

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        output_size: rows and columns, one number for both; None keeps the input's.

    Raises:
        ValueError: if the shapes do not fit or a size is below 1.
        TypeError: for integer tensors, or sizes that are not integers.
    """
    name = "adaptive_avg_pool2d"
    x = as_tensor(input)
    check_images(x, name)
    if isinstance(output_size, (tuple, list)):
        if len(output_size) == 2:
            sizes = zip(output_size, x.shape[-2:], strict=True)
            output_size = [n if wanted is None else wanted for wanted, n in sizes]
        else:
            output_size = [1 if n is None else n for n in output_size]
    elif output_size is None:
        output_size = x.shape[-2:]
    size = pair(output_size, name, "output_size", 1)
    images = x if x.ndim == 4 else x[None]
    y = _adapted(images, size)
    return y if x.ndim == 4 else y[0]


def _adapted(x: Any, output_size: Size) -> Tensor:
    x = as_tensor(x)
    size = x.shape[2:]
    y = kernels.adaptive_avg_pool2d(x.data, output_size=output_size)
    return record(adaptive_avg_pool2d, y, (x, lambda g: _adapted_back(g, size), None))


def _adapted_back(g: Any, input_size: Size) -> Tensor:
    g = as_tensor(g)
    size = g.shape[2:]
    gx = kernels.adaptive_avg_pool2d_gradient(g.data, input_size=input_size)
    return record(adaptive_avg_pool2d_gradient, gx, (g, lambda x: _adapted(x, size), None))


@differentiable(
    [sample(real(2, 2, 2, 3), (4, 6)), sample(real(1, 1, 5, 2), (3, 3))],
    kind="linear",
    errors=[
        fails(ValueError, "wants 4 dimensions", real(2, 2, 2), 4),
        fails(ValueError, "input_size must be", real(1, 1, 2, 2), -1),
        fails(TypeError, "floating-point", integers(1, 1, 2, 2, high=9), 4),
    ],
)
def adaptive_avg_pool2d_gradient(g: TensorLike, input_size: Any) -> Tensor:
    """The gradient (N, C, *input_size) of adaptive_avg_pool2d's input, given that of its output, g.

    Raises:
        ValueError: if g is not (N, C, h, w), or a size is below 1.
        TypeError: for integer tensors, or sizes that are not integers.
    """
    name = "adaptive_avg_pool2d_gradient"
    g = as_tensor(g)
    check_batch(name, g, "g")
    return _adapted_back(g, pair(input_size, name, "input_size", 1))
