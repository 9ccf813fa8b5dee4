"""Convolution five times, each time faster: the launch code of conv_ladder.cu."""

from __future__ import annotations

from ..arrays import Array, check_out, deliver
from ..conv import check_forward
from ..windows import Padding, Pair, channels_first
from .arrays import ceil_divide, contiguous
from .conv_layout import Taps, forward_taps, new_images, pack_filters, pixels
from .source import kernel

_SMALL, _LARGE, _TERMS = 16, 64, 16  # as in conv_ladder.cu


class Rung:
    """conv2d by one of the kernels.

    Args:
        name: the kernel's name.
        tile: windows and filters of a block's tile; 0 where a thread computes one number.
        threads: those of a block.
    """

    def __init__(self, name: str, tile: int, threads: int) -> None:
        self.name = name
        self.tile = tile
        self.threads = threads

    def __call__(
        self,
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
        """Correlate images with filters; channels lie last in the result."""
        size = check_forward(x, w, bias, stride, padding, dilation, groups)
        check_out(out, (len(x), len(w), *size))
        filters, per_group = w.shape[:2]
        each, windows = filters // groups, len(x) * size[0] * size[1]
        y = new_images(x, len(x), size, filters)
        if self.tile:
            blocks = ceil_divide(windows, self.tile) * ceil_divide(each, self.tile) * groups
        else:
            blocks = ceil_divide(y.size, self.threads)
        down, across = forward_taps(x.shape[2:], size, w.shape[2:], stride, padding, dilation)
        weights, sizes = self._weights(contiguous(w), groups, down, across)
        bias = None if bias is None else contiguous(bias)
        run = kernel("conv_ladder.cu", self.name, WIDTH=1 if per_group % 4 else 4)
        run(
            blocks, self.threads, pixels(x), weights, bias, y, *sizes, len(x), groups, per_group,
            each, *down.axis[:6], *across.axis[:6],
        )  # fmt: skip
        return deliver(channels_first(y), out)

    def _weights(
        self, w: Array, groups: int, down: Taps, across: Taps
    ) -> tuple[Array, tuple[int, ...]]:
        """The filters as the kernel wants them, and the sizes of the packed matrices."""
        if self.name == "naive":
            return w, ()
        filters, per_group, kh, kw = w.shape
        terms = ceil_divide(kh * kw * per_group, _TERMS) * _TERMS
        step = self.tile or 1
        columns = ceil_divide(filters // groups, step) * step
        packed = pack_filters(
            w, groups, terms, columns, down, across,
            transposed=False, for_tensor_cores=self.name == "tensor_cores",
        )  # fmt: skip
        return packed, (terms, columns)


naive = Rung("naive", 0, 256)
coalesced = Rung("coalesced", 0, 256)
tiles = Rung("shared_tiles", _SMALL, _SMALL * _SMALL)
registers = Rung("register_tiles", _LARGE, 256)
tensor_cores = Rung("tensor_cores", _LARGE, 128)
