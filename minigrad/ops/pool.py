"""Max-pooling. Linear but for the choice of the maximum: its two adjoints add and take by index."""

from __future__ import annotations

import functools
from typing import Any

import minigrad_kernels as kernels

from ..device import check_range
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, together, wrap
from .geometry import Options, Size, check_batch, check_images, check_pooling, pair, pooling_options
from .registry import differentiable, fails, integers, real, sample, separated


@differentiable(
    [
        sample(separated(2, 2, 4, 4), 2),
        sample(separated(1, 2, 5, 4), (3, 2), stride=(2, 1), padding=1, ceil_mode=True),
        sample(separated(1, 6, 5), 2, 1, 0, (2, 3)),
        sample(separated(1, 2, 3), 3, ceil_mode=True),
        sample(separated(0, 1, 4, 4), 2),
    ],
    kind="piecewise",
    errors=[
        fails(ValueError, r"wants \(N, C, H, W\)", real(4, 4), 2),
        fails(ValueError, "no pixels", real(1, 0, 4, 4), 2),
        fails(TypeError, "floating-point", integers(1, 4, 4, high=9), 2),
        fails(ValueError, "kernel_size must be", real(1, 4, 4), 0),
        fails(TypeError, "kernel_size must be", real(1, 4, 4), 2.0),
        fails(ValueError, "kernel_size has 3", real(1, 4, 4), (2, 2, 2)),
        fails(ValueError, "stride must be", real(1, 4, 4), 2, 0),
        fails(ValueError, "padding must be", real(1, 4, 4), 2, padding=-1),
        fails(ValueError, "more than half", real(1, 4, 4), 2, padding=2),
        fails(ValueError, "dilation must be", real(1, 4, 4), 2, dilation=0),
        fails(ValueError, "larger than the padded", real(1, 4, 4), 5),
        fails(ValueError, "nothing but padding", real(1, 1, 5), (2, 1), 1, (1, 0), (2, 1)),
    ],
)
def max_pool2d(
    input: TensorLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of the images.

    The gradient goes to the maximum; of equal ones to the first, row by row. NaN is larger than any
    number. Padding is never taken.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        kernel_size: rows and columns of a window.
        stride: rows and columns from one window to the next; None: as many as it has.
        padding: rows and columns added at both ends, at most half of the kernel's.
        dilation: rows and columns from one element of a window to the next.
        ceil_mode: whether a last window may overhang the end. It never begins beyond the input.
        return_indices: whether to return a pair, the second of which says where in the H * W pixels
            of its image the maximum was.

    Returns:
        (N, C, h, w), or (C, h, w), with h = floor((H + 2 * p - d * (kh - 1) - 1) / s) + 1; with
        `ceil_mode` the quotient is rounded up.

    Raises:
        ValueError: if the shapes do not fit or an option is out of its range.
        TypeError: for integer tensors, or options that are not integers.
    """
    x = as_tensor(input)
    check_images(x, "max_pool2d")
    spread = pair(dilation, "max_pool2d", "dilation", 1)
    options = pooling_options("max_pool2d", kernel_size, stride, padding)
    check_pooling("max_pool2d", x.shape[-2:], options, spread, bool(ceil_mode))
    images = x if x.ndim == 4 else x[None]
    geometry = {**options, "dilation": spread}
    size = images.shape[2], images.shape[3]
    if not return_indices:
        values, positions = kernels.max_pool2d_positions(
            images.data, **geometry, ceil_mode=bool(ceil_mode)
        )
        rule = functools.partial(_put_back, input_size=size, geometry=geometry)
        y = record(max_pool2d, values, (images, rule, wrap(positions)))
        return y if x.ndim == 4 else y[0]
    values, indices = kernels.max_pool2d(images.data, **geometry, ceil_mode=bool(ceil_mode))
    where = wrap(indices)
    y = record(max_pool2d, values, (images, lambda g, where: _scattered(g, where, size), where))
    return (y, where) if x.ndim == 4 else (y[0], where[0])


def _put_back(g: Any, positions: Any, input_size: tuple[int, int], geometry: Options) -> Any:
    """The gradient of the input by the positions of the maxima: one byte each, not eight.

    Where it is to be differentiated again, by their indices.
    """
    if g.__class__ is not Tensor:
        return kernels.max_pool2d_positions_gradient(
            g, positions, input_size=input_size, **geometry
        )
    indices = kernels.indices_of(positions.data, input_size=input_size, **geometry)
    return _scattered(g, wrap(indices), input_size)


def _scattered(g: Any, indices: Any, input_size: Size) -> Tensor:
    g, where = as_tensor(g), as_tensor(indices)
    gx = kernels.max_pool2d_gradient(g.data, where.data, input_size=input_size)
    return record(max_pool2d_gradient, gx, (g, _gathered, where))


def _gathered(x: Any, indices: Any) -> Tensor:
    x, where = as_tensor(x), as_tensor(indices)
    size = x.shape[2:]
    y = kernels.max_pool2d_gather(x.data, where.data)
    return record(max_pool2d_gather, y, (x, lambda g, where: _scattered(g, where, size), where))


def _check_indices(operation: str, indices: Tensor, size: Size) -> None:
    """Refuse indices that are not integers, or out of range; on a GPU the latter later.

    Raises:
        TypeError, IndexError: accordingly.
    """
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{operation}: indices are {indices.dtype}, wants integers")
    pixels = size[0] * size[1]

    def refusal(low: int, high: int) -> IndexError | None:
        if low >= 0 and high < pixels:
            return None
        return IndexError(
            f"{operation}: indices go from {low} to {high}, but there are {pixels} pixels"
        )

    check_range(indices.data, refusal, not pixels)


@differentiable(
    [sample(real(2, 2, 2, 3), integers(2, 2, 2, 3, high=20), (4, 5))],
    kind="linear",
    errors=[
        fails(ValueError, "wants 4 dimensions", real(2, 2), integers(2, 2, high=4), 2),
        fails(ValueError, "have shape", real(1, 1, 2, 2), integers(1, 1, 2, 1, high=4), 2),
        fails(IndexError, "4 pixels", real(1, 1, 1, 1), [[[[4]]]], 2),
        fails(IndexError, "from -1", real(1, 1, 1, 1), [[[[-1]]]], 2),
        fails(TypeError, "wants integers", real(1, 1, 1, 1), real(1, 1, 1, 1), 2),
        fails(TypeError, "floating-point", [[[[1]]]], [[[[1]]]], 2),
    ],
)
def max_pool2d_gradient(g: TensorLike, indices: TensorLike, input_size: Any) -> Tensor:
    """The gradient (N, C, *input_size) of max_pool2d's input, given that of its output, g.

    Its adjoint is `max_pool2d_gather`.

    Args:
        g: (N, C, h, w).
        indices: of the same shape, as `max_pool2d` returns them.
        input_size: (H, W).

    Raises:
        ValueError: if shapes do not fit; IndexError: for an index beyond H * W, on a GPU when
            something is read from there the next time; TypeError: if g is not of a floating-point
            type, or indices are not integers.
    """
    name = "max_pool2d_gradient"
    g, where = together(name, g, indices)
    size = pair(input_size, name, "input_size", 1)
    check_batch(name, g, "g")
    if g.shape != where.shape:
        raise ValueError(f"{name}: indices have shape {where.shape}, wants that of g, {g.shape}")
    _check_indices(name, where, size)
    return _scattered(g, where, size)


@differentiable(
    [sample(real(2, 2, 4, 5), integers(2, 2, 2, 3, high=20))],
    kind="linear",
    errors=[
        fails(ValueError, "wants 4 dimensions", real(1, 2, 2), integers(1, 2, 2, high=4)),
        fails(ValueError, "batch and channels", real(1, 1, 2, 2), integers(1, 2, 1, 1, high=4)),
        fails(IndexError, "4 pixels", real(1, 1, 2, 2), [[[[4]]]]),
        fails(TypeError, "wants integers", real(1, 1, 1, 1), real(1, 1, 1, 1)),
    ],
)
def max_pool2d_gather(input: TensorLike, indices: TensorLike) -> Tensor:
    """The pixels of images (N, C, H, W) at `indices` (N, C, h, w), counted through H * W.

    With the indices that `max_pool2d` returned, its derivative in the direction `input`.

    Raises:
        ValueError: if shapes do not fit; IndexError: for an index beyond H * W, on a GPU when
            something is read from there the next time; TypeError: if the images are not of a
            floating-point type, or indices are not integers.
    """
    name = "max_pool2d_gather"
    x, where = together(name, input, indices)
    check_batch(name, x, "input")
    if where.ndim != 4 or where.shape[:2] != x.shape[:2]:
        raise ValueError(
            f"{name}: indices have shape {where.shape}, wants batch and channels of input {x.shape}"
        )
    _check_indices(name, where, x.shape[2:])
    return _gathered(x, where)
