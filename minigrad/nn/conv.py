"""Convolutions: Conv1d, Conv2d, ConvTranspose2d."""

from __future__ import annotations

from typing import Any

from ..arguments import integer, integers
from ..tensor import Tensor
from . import functional as F
from .module import Module
from .parameter import Parameter, empty, reset


class _Convolution(Module):
    """What all of them have: sizes, a weight, perhaps a bias; over n dimensions of the image."""

    n: int
    transposed = False
    bias: Parameter | None
    padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        self.in_channels = integer(in_channels, layer, "in_channels", 1)
        self.out_channels = integer(out_channels, layer, "out_channels", 1)
        self.groups = integer(groups, layer, "groups", 1)
        self.kernel_size = integers(kernel_size, self.n, layer, "kernel_size")
        self.stride = integers(stride, self.n, layer, "stride")
        self.dilation = integers(dilation, self.n, layer, "dilation")
        for name, channels in (("in", self.in_channels), ("out", self.out_channels)):
            if channels % self.groups:
                raise ValueError(
                    f"{layer}: {name}_channels must be a multiple of groups, got {channels} and "
                    f"{self.groups}"
                )
        self.padding = self._padding(layer, padding)
        outer, inner = self.out_channels, self.in_channels // self.groups
        if self.transposed:
            outer, inner = self.in_channels, self.out_channels // self.groups
        like = {"device": device, "dtype": dtype}
        self.weight = empty(layer, outer, inner, *self.kernel_size, **like)
        self.bias = empty(layer, self.out_channels, **like) if bias else None
        self.reset_parameters()

    def _padding(self, layer: str, padding: Any) -> Any:
        if not isinstance(padding, str) or self.transposed:
            return integers(padding, self.n, layer, "padding", least=0)
        if padding not in ("same", "valid"):
            raise ValueError(
                f"{layer}: padding must be integers, 'same' or 'valid', got {padding!r}"
            )
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ValueError(f"{layer}: padding='same' needs stride 1, got {self.stride}")
        return padding

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        reset(self.weight, self.bias)

    def extra_repr(self) -> str:
        """Its options, where they are not the defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
        text += f"stride={self.stride}"
        defaults = {"padding": 0, "output_padding": 0, "dilation": 1}
        for name, default in defaults.items():
            value = getattr(self, name, (default,) * self.n)
            if value != (default,) * self.n:
                text += f", {name}={value!r}"
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class Conv1d(_Convolution):
    """Cross-correlation along one dimension: (N, in_channels, L) to (N, out_channels, L').

    See `Conv2d`, whose arguments it takes.
    """

    n = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, L) or (in_channels, L)."""
        return F.conv1d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv2d(_Convolution):
    """Cross-correlation of images: (N, in_channels, H, W) to (N, out_channels, H', W').

    H' = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1, W' likewise.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel; one number is both.
        stride: steps between the places where the kernel is put.
        padding: zeros around the input; "same" keeps H and W, "valid" adds none.
        dilation: steps between the elements of the kernel.
        groups: cut the channels in so many groups that do not mix.
        bias: add a number to each output channel.
        device: where.
        dtype: of which type.

    Attributes:
        weight: (out_channels, in_channels / groups, *kernel_size), uniform in ±1/√fan-in at first.
        bias: (out_channels,), likewise, or None.

    Raises:
        TypeError, ValueError: if a size is not an integer, is too small, or groups do not fit.
    """

    n = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, H, W) or (in_channels, H, W)."""
        return F.conv2d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ConvTranspose2d(_Convolution):
    """The transpose of a convolution as a linear map: what the input's gradient of one is.

    (N, in_channels, H, W) to (N, out_channels, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1.

    Arguments as for `Conv2d`; output_padding, less than stride or dilation, adds rows and columns
    at the bottom and the right, since several H lead to one H' in the convolution. Its weight is
    (in_channels, out_channels / groups, *kernel_size).
    """

    n = 2
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        output_padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        extra = integers(output_padding, 2, "ConvTranspose2d", "output_padding", least=0)
        like = {"device": device, "dtype": dtype}
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, **like
        )
        if any(e >= max(s, d) for e, s, d in zip(extra, self.stride, self.dilation, strict=True)):
            raise ValueError(
                f"ConvTranspose2d: output_padding must be smaller than stride or dilation, got "
                f"{extra} with stride {self.stride} and dilation {self.dilation}"
            )
        self.output_padding = extra

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, H, W) or (in_channels, H, W)."""
        return F.conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )
