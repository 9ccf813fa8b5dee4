"""Pooling: MaxPool2d, AvgPool2d, AdaptiveAvgPool2d."""

from __future__ import annotations

from typing import Any

from ..arguments import integer, integers
from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Pool(Module):
    """Windows that slide over the image: what max- and average-pooling have in common."""

    def __init__(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool) -> None:
        super().__init__()
        layer = type(self).__name__
        stride = kernel_size if stride is None else stride
        sizes = integers(kernel_size, 2, layer, "kernel_size")
        integers(stride, 2, layer, "stride")
        edges = integers(padding, 2, layer, "padding", least=0)
        if any(2 * edge > size for edge, size in zip(edges, sizes, strict=True)):
            raise ValueError(
                f"{layer}: padding must be at most half of kernel_size, got {padding} and "
                f"{kernel_size}"
            )
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """Its options."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool):
    """The largest element of each window: (N, C, H, W) to (N, C, H', W').

    Args:
        kernel_size: height and width of the window; one number is both.
        stride: steps between windows; None is kernel_size.
        padding: rows and columns of minus infinity around the image.
        dilation: steps between the elements of a window.
        return_indices: return also where in its image each maximum stood.
        ceil_mode: also take windows that reach beyond the end, if they start before it.

    Raises:
        TypeError, ValueError: if a size is not an integer, or is too small or too large.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        integers(dilation, 2, "MaxPool2d", "dilation")
        self.dilation = dilation
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """(N, C, H, W) or (C, H, W)."""
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        """Its options."""
        return f"{super().extra_repr()}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(_Pool):
    """The mean of each window: (N, C, H, W) to (N, C, H', W').

    Args:
        kernel_size: height and width of the window; one number is both.
        stride: steps between windows; None is kernel_size.
        padding: rows and columns of zeros around the image.
        ceil_mode: also take windows that reach beyond the end, if they start before it.
        count_include_pad: count the padding as elements.
        divisor_override: divide by this number instead of the number of elements.

    Raises:
        TypeError, ValueError: if a size is not an integer, or is too small or too large.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        if divisor_override is not None:
            integer(divisor_override, "AvgPool2d", "divisor_override", 1)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) or (C, H, W)."""
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AdaptiveAvgPool2d(Module):
    """Means over windows chosen so that the output has a given size: (N, C, H, W) to (N, C, *size).

    Args:
        output_size: height and width; one number is both; None in a pair keeps the input's.

    Raises:
        TypeError, ValueError: if a size is not an integer of at least 1.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
        integers([1 if s is None else s for s in sizes], 2, "AdaptiveAvgPool2d", "output_size")
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) or (C, H, W)."""
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """Its options."""
        return f"output_size={self.output_size}"
