"""Convolution. It, its input gradient and its weight gradient are each linear in both of their
tensors, and differentiate into one another: three functions, closed under differentiation.
"""

from __future__ import annotations

from typing import Any

import minigrad_kernels as kernels

from ..arguments import integer, integers
from ..recording import operands, record
from ..tensor import Tensor, TensorLike, as_tensor
from . import reduce
from .elementwise import add
from .geometry import (
    Options,
    Size,
    check_channels,
    check_filters,
    check_images,
    convolution_options,
    convolved_size,
    pair,
)
from .registry import differentiable, fails, real, sample


def _with_bias(
    operation: str, input: Any, weight: Any, bias: Any, channels: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """All three in one type, and the bias checked."""
    x, w = operands(input, weight, operation)
    if bias is None:
        return x, w, None
    b = as_tensor(bias)
    if b.shape != (channels,):
        raise ValueError(f"{operation}: bias has shape {b.shape}, wants ({channels},)")
    x, b = operands(x, b, operation)
    return x, operands(w, b, operation)[0], b


# The three bilinear functions, on (N, C, H, W) with checked options


def _convolve(x: Any, w: Any, bias: Tensor | None, options: Options) -> Tensor:
    x, w = as_tensor(x), as_tensor(w)
    input_size, kernel_size = x.shape[2:], w.shape[2:]
    edges: list[Any] = [
        (x, lambda g, w: _input_gradient(g, w, input_size, options), w),
        (w, lambda g, x: _weight_gradient(x, g, kernel_size, options), x),
    ]
    if bias is None:
        return record(conv2d, kernels.conv2d(x.data, w.data, **options), *edges)
    edges.append((bias, lambda g: reduce.sum(g, (0, 2, 3)), None))
    return record(conv2d, kernels.conv2d(x.data, w.data, bias.data, **options), *edges)


def _input_gradient(
    g: Any, w: Any, input_size: Size, options: Options, operation: Any = None
) -> Tensor:
    g, w = as_tensor(g), as_tensor(w)
    kernel_size = w.shape[2:]
    return record(
        operation or conv2d_input_gradient,
        kernels.conv2d_input_gradient(g.data, w.data, input_size=input_size, **options),
        (g, lambda x, w: _convolve(x, w, None, options), w),
        (w, lambda x, g: _weight_gradient(x, g, kernel_size, options), g),
    )


def _weight_gradient(x: Any, g: Any, kernel_size: Size, options: Options) -> Tensor:
    x, g = as_tensor(x), as_tensor(g)
    input_size = x.shape[2:]
    return record(
        conv2d_weight_gradient,
        kernels.conv2d_weight_gradient(x.data, g.data, kernel_size=kernel_size, **options),
        (x, lambda w, g: _input_gradient(g, w, input_size, options), g),
        (g, lambda w, x: _convolve(x, w, None, options), x),
    )


def _checked(
    operation: str,
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> Tensor:
    """Convolve images or one image, after checking everything."""
    check_images(x, operation)
    count = check_filters(operation, w, groups)
    options = convolution_options(operation, stride, padding, dilation, count, w.shape[2:])
    check_channels(operation, "input", x.shape[-3], w.shape[1] * count, w)
    convolved_size(operation, x.shape[-2:], w.shape[2:], options)
    return _convolve(x, w, b, options) if x.ndim == 4 else _convolve(x[None], w, b, options)[0]


# What users call


@differentiable(
    [
        sample(real(2, 2, 4, 3), real(3, 2, 3, 2), real(3), padding=1),
        sample(real(1, 2, 4, 5), real(2, 1, 2, 2), stride=(2, 1), dilation=(1, 2), groups=2),
        sample(real(2, 3, 4), real(1, 2, 3, 4), real(1), padding="same"),
        sample(real(0, 2, 3, 3), real(2, 2, 2, 2)),
    ],
    kind="analytic",
    errors=[
        fails(
            ValueError, "input has 3 channels, weight wants 4", real(1, 3, 5, 5), real(8, 4, 3, 3)
        ),
        fails(ValueError, r"weight shape \(8, 4, 3, 3\)", real(1, 3, 5, 5), real(8, 4, 3, 3)),
        fails(ValueError, r"wants \(N, C, H, W\)", real(5, 5), real(1, 1, 3, 3)),
        fails(ValueError, "no pixels", real(1, 2, 0, 5), real(1, 2, 3, 3)),
        fails(ValueError, "wants 4 dimensions", real(1, 1, 5, 5), real(3, 3)),
        fails(ValueError, "2 groups do not divide", real(1, 2, 5, 5), real(3, 1, 3, 3), groups=2),
        fails(
            ValueError, "groups must be at least 1", real(1, 1, 5, 5), real(1, 1, 3, 3), groups=0
        ),
        fails(ValueError, "stride must be", real(1, 1, 5, 5), real(1, 1, 3, 3), stride=0),
        fails(ValueError, "padding must be", real(1, 1, 5, 5), real(1, 1, 3, 3), padding=-1),
        fails(ValueError, "dilation must be", real(1, 1, 5, 5), real(1, 1, 3, 3), dilation=0),
        fails(ValueError, "larger than the padded", real(1, 1, 2, 5), real(1, 1, 3, 3)),
        fails(ValueError, "stride has 3", real(1, 1, 5, 5), real(1, 1, 3, 3), stride=(1, 1, 1)),
        fails(TypeError, "stride must be", real(1, 1, 5, 5), real(1, 1, 3, 3), stride=1.5),
        fails(ValueError, "'same' wants", real(1, 1, 5, 5), real(1, 1, 3, 3), None, 2, "same"),
        fails(ValueError, "'full'", real(1, 1, 5, 5), real(1, 1, 3, 3), padding="full"),
        fails(ValueError, "has 3 pairs", real(1, 1, 5, 5), real(1, 1, 3, 3), padding=[(1, 1)] * 3),
        fails(ValueError, r"bias has shape \(2,\)", real(1, 1, 5, 5), real(1, 1, 3, 3), real(2)),
        fails(TypeError, "floating-point", [[[1, 2]]], [[[[1]]]]),
    ],
)
def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Correlate images with filters: y[n, o, p] = bias[o] + sum x[n, c, s*p + d*k] * w[o, c, k].

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        weight: (O, C / groups, kh, kw).
        bias: (O,), or None for zeros.
        stride: rows and columns from one window to the next.
        padding: rows and columns of zeros added at both ends, or ((top, bottom), (left, right)), or
            "valid" for none, or "same" for as many as keep the size, the odd one at the end.
        dilation: rows and columns from one element of the kernel to the next.
        groups: cuts channels and filters into so many groups, each seeing only its own.

    Returns:
        (N, O, h, w), or (O, h, w), with h = floor((H + padding - d * (kh - 1) - 1) / s) + 1. In
        memory the channels come last. With 3×3 filters of many channels the compiled kernels use
        Winograd's method, which rounds more: docs/kernels.md says by how much.

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    w = as_tensor(weight)
    x, w, b = _with_bias("conv2d", input, w, bias, w.shape[0] if w.ndim else 0)
    return _checked("conv2d", x, w, b, stride, padding, dilation, groups)


@differentiable(
    [
        sample(real(2, 3, 2, 3), real(3, 2, 2, 2), (4, 3), stride=(2, 1), padding=((0, 0), (1, 0))),
        sample(real(1, 2, 3, 2), real(2, 1, 2, 2), (4, 4), dilation=(1, 2), groups=2),
    ],
    kind="bilinear",
    errors=[
        fails(ValueError, "g has 2 channels", real(1, 2, 3, 3), real(3, 1, 2, 2), (4, 4)),
        fails(ValueError, "from images of", real(1, 3, 2, 3), real(3, 1, 2, 2), (4, 4)),
        fails(ValueError, r"wants \(N, C", real(3, 3), real(3, 1, 2, 2), (4, 4)),
        fails(ValueError, "input_size must be", real(1, 3, 2, 3), real(3, 1, 2, 2), (0, 4)),
    ],
)
def conv2d_input_gradient(
    g: TensorLike,
    weight: TensorLike,
    input_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient (N, C, H, W) of conv2d's input, given that of its output, g (N, O, h, w).

    `input_size` is (H, W); the rest is as in `conv2d`.

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    name = "conv2d_input_gradient"
    g, w = operands(g, weight, name)
    check_images(g, name, "g")
    count = check_filters(name, w, groups)
    options = convolution_options(name, stride, padding, dilation, count, w.shape[2:])
    size = pair(input_size, name, "input_size", 1)
    check_channels(name, "g", g.shape[-3], w.shape[0], w)
    _check_outputs(name, g, size, w.shape[2:], options)
    if g.ndim == 3:
        return _input_gradient(g[None], w, size, options)[0]
    return _input_gradient(g, w, size, options)


@differentiable(
    [
        sample(real(2, 2, 4, 3), real(2, 3, 2, 3), (2, 2), stride=(2, 1), padding=((0, 0), (1, 0))),
        sample(real(1, 2, 4, 4), real(1, 2, 3, 2), (2, 2), dilation=(1, 2), groups=2),
    ],
    kind="bilinear",
    errors=[
        fails(ValueError, "batches of 2 and 3", real(2, 1, 3, 3), real(3, 1, 2, 2), 2),
        fails(ValueError, "from images of", real(2, 1, 3, 3), real(2, 1, 1, 2), 2),
        fails(ValueError, "2 groups do not", real(2, 3, 3, 3), real(2, 2, 2, 2), 2, groups=2),
        fails(ValueError, "kernel_size must be", real(1, 1, 3, 3), real(1, 1, 2, 2), 0),
        fails(ValueError, "as many dimensions", real(1, 1, 3, 3), real(1, 2, 2), 2),
    ],
)
def conv2d_weight_gradient(
    input: TensorLike,
    g: TensorLike,
    kernel_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient (O, C / groups, kh, kw) of conv2d's weight, given that of its output, g.

    `input` is (N, C, H, W), g (N, O, h, w), `kernel_size` (kh, kw); the rest is as in `conv2d`.

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    name = "conv2d_weight_gradient"
    x, g = operands(input, g, name)
    check_images(x, name)
    check_images(g, name, "g")
    size = pair(kernel_size, name, "kernel_size", 1)
    count = integer(groups, name, "groups", 1)
    options = convolution_options(name, stride, padding, dilation, count, size)
    if x.ndim != g.ndim:
        raise ValueError(f"{name}: g {g.shape} must have as many dimensions as input {x.shape}")
    if x.shape[:-3] != g.shape[:-3]:
        raise ValueError(f"{name}: input and g hold batches of {x.shape[0]} and {g.shape[0]}")
    if x.shape[-3] % count or g.shape[-3] % count:
        raise ValueError(
            f"{name}: {count} groups do not divide the channels of input {x.shape} and g {g.shape}"
        )
    _check_outputs(name, g, x.shape[-2:], size, options)
    if x.ndim == 3:
        return _weight_gradient(x[None], g[None], size, options)
    return _weight_gradient(x, g, size, options)


def _check_outputs(
    operation: str, g: Tensor, size: Size, kernel_size: Size, options: Options
) -> None:
    wanted = convolved_size(operation, size, kernel_size, options)
    if g.shape[-2:] != wanted:
        raise ValueError(
            f"{operation}: g has shape {g.shape}, but from images of {size} conv2d makes {wanted}"
        )


# Convolutions that are one of these in other words


@differentiable(
    [
        sample(real(2, 2, 5), real(3, 2, 2), real(3), stride=2, padding=1),
        sample(real(2, 6), real(2, 1, 3), padding="same", dilation=2, groups=2),
    ],
    kind="analytic",
    errors=[
        fails(
            ValueError, "conv1d: input has 3 channels, weight wants 4", real(3, 5), real(2, 4, 3)
        ),
        fails(ValueError, r"wants \(N, C, L\)", real(5), real(1, 1, 3)),
        fails(ValueError, "wants 3 dimensions", real(1, 1, 5), real(1, 1, 3, 3)),
        fails(ValueError, "stride must be", real(1, 1, 5), real(1, 1, 3), stride=0),
        fails(ValueError, "padding must be", real(1, 1, 5), real(1, 1, 3), padding=-2),
        fails(ValueError, "dilation must be", real(1, 1, 5), real(1, 1, 3), dilation=0),
        fails(ValueError, "'same' wants", real(1, 1, 5), real(1, 1, 3), None, 2, "same"),
        fails(ValueError, "larger than the padded", real(1, 1, 2), real(1, 1, 3)),
        fails(ValueError, "bias has shape", real(1, 1, 5), real(1, 1, 3), real(2)),
        fails(TypeError, "floating-point", [[[1, 2]]], [[[1]]]),
    ],
)
def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Correlate sequences (N, C, L) or (C, L) with filters (O, C / groups, k): images of one row.

    Options and errors are those of `conv2d`, with one number each; the result is (N, O, l).

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    w = as_tensor(weight)
    x, w, b = _with_bias("conv1d", input, w, bias, w.shape[0] if w.ndim else 0)
    if x.ndim not in (2, 3):
        raise ValueError(f"conv1d: input has shape {x.shape}, wants (N, C, L) or (C, L)")
    if w.ndim != 3:
        raise ValueError(
            f"conv1d: weight has shape {w.shape}, wants 3 dimensions (output channels, input "
            "channels / groups, length)"
        )
    step = integers(stride, 1, "conv1d", "stride", 1)[0]
    spread = integers(dilation, 1, "conv1d", "dilation", 1)[0]
    if not isinstance(padding, str):
        padding = (0, integers(padding, 1, "conv1d", "padding", 0)[0])
    count = integer(groups, "conv1d", "groups", 1)
    check_channels("conv1d", "input", x.shape[-2], w.shape[1] * count, w)
    x, w = x[..., None, :], w[:, :, None, :]
    y = _checked("conv1d", x, w, b, (1, step), padding, (1, spread), count)
    return y[..., 0, :]


@differentiable(
    [
        sample(real(2, 2, 2, 3), real(2, 3, 3, 2), real(3), stride=(2, 1), padding=(1, 0)),
        sample(real(1, 2, 2, 2), real(2, 1, 2, 2), None, 3, 0, (2, 1), 2),
        sample(real(2, 2, 2), real(2, 1, 2, 1), real(1), dilation=(2, 2), output_padding=(1, 0)),
    ],
    kind="analytic",
    errors=[
        fails(ValueError, "input has 3 channels, weight wants 4", real(3, 5, 5), real(4, 2, 3, 3)),
        fails(ValueError, r"wants \(N, C, H, W\)", real(5, 5), real(1, 1, 3, 3)),
        fails(ValueError, "4 dimensions", real(1, 1, 5, 5), real(1, 1, 3)),
        fails(ValueError, "2 groups do not", real(1, 3, 5, 5), real(3, 1, 3, 3), groups=2),
        fails(
            ValueError, "output_padding must be", real(1, 3, 3), real(1, 1, 2, 2), None, 1, 0, -1
        ),
        fails(ValueError, "smaller than", real(1, 3, 3), real(1, 1, 2, 2), None, 2, 0, 2),
        fails(ValueError, "leaves no pixels", real(1, 2, 2), real(1, 1, 2, 2), padding=2),
        fails(ValueError, "bias has shape", real(1, 3, 3), real(1, 2, 2, 2), real(1)),
        fails(ValueError, "numbers, not", real(1, 3, 3), real(1, 1, 2, 2), padding="same"),
    ],
)
def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The adjoint of `conv2d` as a layer: each pixel of the input adds a kernel to the output.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        weight: (C, O / groups, kh, kw).
        bias: (O,), or None for zeros.
        stride: rows and columns between the kernels of neighbouring pixels.
        padding: rows and columns that are cut off the output at both ends.
        output_padding: rows and columns of the output added at the end, fewer than stride or
            dilation.
        groups: cuts channels and filters into so many groups.
        dilation: rows and columns from one element of the kernel to the next.

    Returns:
        (N, O, h, w), or (O, h, w); h = (H - 1) * s - 2 * p + d * (kh - 1) + output_padding + 1.

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    name = "conv_transpose2d"
    if isinstance(padding, str):
        raise ValueError(f"{name}: padding must be numbers, not {padding!r}")
    w = as_tensor(weight)
    count = check_filters(name, w, groups)
    x, w, b = _with_bias(name, input, w, bias, w.shape[1] * count)
    check_images(x, name)
    options = convolution_options(name, stride, padding, dilation, count, w.shape[2:])
    check_channels(name, "input", x.shape[-3], w.shape[0], w)
    extra = pair(output_padding, name, "output_padding", 0)
    size, cut = [], []
    for a in (0, 1):
        step, spread = options["stride"][a], options["dilation"][a]
        if extra[a] >= max(step, spread):
            raise ValueError(
                f"{name}: output_padding must be smaller than stride or dilation, got {extra}"
            )
        # Rows added at the end are rows that are not cut off there.
        before, after = options["padding"][a]
        cut.append((before, after - extra[a]))
        whole = (x.shape[a - 2] - 1) * step + spread * (w.shape[a + 2] - 1) + 1
        size.append(whole - sum(cut[a]))
    if min(size) < 1:
        raise ValueError(f"{name}: padding {padding} leaves no pixels of the output")
    options["padding"] = (cut[0], cut[1])
    images = x if x.ndim == 4 else x[None]
    y = _input_gradient(images, w, (size[0], size[1]), options, conv_transpose2d)
    y = y if b is None else add(y, b[:, None, None])
    return y if x.ndim == 4 else y[0]
