"""Calls of kernels at the sizes that real networks have: what is timed, and what `info` asks about.

Samples test whether a kernel is right, so they are small and odd; these show how fast it is. Images
lie channels-last in memory, as convolutions deliver them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Array
from .registry import KERNELS, Arguments, Kernel, arguments


@dataclass(frozen=True)
class Workload:
    """One call of a kernel.

    Attributes:
        kernel: its name.
        size: the shapes, in words.
        call: the arguments. Where `out` is among them, it is some of the inputs: the kernel works
            in place, as in training.
    """

    kernel: str
    size: str
    call: Arguments


class Random:
    """Draws the arrays of workloads at random, in float32."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self.generator.standard_normal(shape, np.float32)

    def uniform(self, *shape: int) -> Array:
        """Numbers in [0, 1), where a variance or a probability is wanted."""
        return self.generator.random(shape, np.float32)

    def integers(self, below: int, *shape: int) -> Array:
        """Integers from 0 to `below` - 1."""
        return self.generator.integers(0, below, shape)


class Blank(Random):
    """Draws nothing but zeros, which take no time and no memory until they are read."""

    def normal(self, *shape: int) -> Array:
        """Zeros."""
        return np.zeros(shape, np.float32)

    uniform = normal

    def integers(self, below: int, *shape: int) -> Array:
        """Zeros."""
        return np.zeros(shape, np.int64)


def workloads(draw: Random) -> Iterator[Workload]:
    """Every kernel at the size of real layers; those that no list below names at their largest
    sample."""
    listed = set()
    for family in (_products, _convolutions, _elementwise, _rows, _images, _losses, _others):
        for name, size, call in family(draw):
            listed.add(name)
            yield Workload(name, size, call)
    for name in sorted(set(KERNELS) - listed):
        yield Workload(name, "its largest sample", largest_sample(KERNELS[name]))


def largest_sample(k: Kernel) -> Arguments:
    """The sample with the most elements."""

    def elements(call: Arguments) -> int:
        return sum(int(np.size(a)) for a in call.args if a is not None)

    return max(k.samples(np.random.default_rng(0)), key=elements)


Drawn = Iterator[tuple[str, str, Arguments]]


def _products(draw: Random) -> Drawn:
    yield "matmul", "1024x1024 times 1024x1024", arguments(*(draw.normal(1024, 1024) for _ in "ab"))
    for rows, inputs, outputs in ((64, 8192, 1024), (256, 784, 128)):
        x, w, b = draw.normal(rows, inputs), draw.normal(outputs, inputs), draw.normal(outputs)
        words = f"{rows} rows, {inputs} to {outputs}"
        yield "linear", words, arguments(x, w, b)
        g, y = draw.normal(rows, outputs), draw.normal(rows, outputs)
        yield "linear_gradients", words, arguments(g, x, w, y)


@dataclass(frozen=True)
class Convolution:
    """The sizes of a convolution of square images by square filters."""

    images: int
    channels: int
    pixels: int
    filters: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return self.images, self.channels, self.pixels, self.pixels

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """(O, C / groups, kh, kw)."""
        return self.filters, self.channels // self.groups, self.kernel, self.kernel

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        """(N, O, h, w)."""
        size = (self.pixels + 2 * self.padding - self.kernel) // self.stride + 1
        return self.images, self.filters, size, size

    def __str__(self) -> str:
        words = f"{self.kernel}x{self.kernel}"
        words += f" stride {self.stride}" if self.stride > 1 else ""
        words += " depthwise" if self.groups > 1 else ""
        return f"{words}, {self.images}x{self.channels}x{self.pixels}² to {self.filters}"


WINOGRAD_SIZES = tuple(
    Convolution(*sizes)
    for sizes in (
        (64, 64, 16, 128),
        (32, 64, 56, 64),
        (32, 128, 28, 128),
        (32, 256, 14, 256),
        (64, 32, 13, 64),
    )
)
"""3x3 convolutions with stride 1: most of the work of residual networks."""

OTHER_SIZES = (
    Convolution(32, 256, 14, 256, kernel=1, padding=0),
    Convolution(16, 3, 224, 64, kernel=7, stride=2, padding=3),
    Convolution(64, 1, 28, 32, kernel=5, padding=2),
    Convolution(16, 128, 56, 128, groups=128),
    Convolution(32, 64, 56, 128, stride=2),
)
"""Convolutions that Winograd's algorithm is not for."""


def channels_last(draw: Callable[..., Array], shape: tuple[int, ...]) -> Array:
    """An array (N, C, H, W) whose channels are neighbours in memory."""
    n, c, h, w = shape
    return draw(n, h, w, c).transpose(0, 3, 1, 2)


def _convolutions(draw: Random) -> Drawn:
    for c in (*WINOGRAD_SIZES, *OTHER_SIZES):
        x, g = channels_last(draw.normal, c.x_shape), channels_last(draw.normal, c.y_shape)
        w = draw.normal(*c.w_shape)
        options: dict[str, Any] = {
            "stride": (c.stride, c.stride),
            "padding": ((c.padding, c.padding),) * 2,
            "dilation": (1, 1),
            "groups": c.groups,
        }
        size = {"input_size": c.x_shape[2:]}
        yield "conv2d", str(c), arguments(x, w, **options)
        yield "conv2d_input_gradient", str(c), arguments(g, w, **size, **options)
        yield "conv2d_weight_gradient", str(c), arguments(x, g, kernel_size=w.shape[2:], **options)


_OPTIONS: dict[str, dict[str, Any]] = {
    "relu": {},
    "leaky_relu": {"slope": 0.01},
    "elu": {"alpha": 1.0},
    "sigmoid": {},
    "tanh": {},
    "silu": {},
    "softplus": {"beta": 1.0, "threshold": 20.0},
    "gelu": {"approximate": "none"},
}
"""The activation functions, with their usual options."""


def _elementwise(draw: Random) -> Drawn:
    shape = (64, 64, 32, 32)
    x, g = (channels_last(draw.normal, shape) for _ in "xg")
    words = "x".join(map(str, shape))
    for name, options in _OPTIONS.items():
        yield name, words, arguments(x, **options)
        yield f"{name}_gradient", words, arguments(g, x, **options)
    yield "dropout", words, arguments(x, p=0.5, seed=1, offset=0)


def _rows(draw: Random) -> Drawn:
    x, g, y = draw.normal(512, 1000), draw.normal(512, 1000), draw.uniform(512, 1000)
    for name in ("softmax", "log_softmax"):
        yield name, "512x1000", arguments(x, axis=-1)
        yield f"{name}_gradient", "512x1000", arguments(g, y, axis=-1)
    x, g = draw.normal(512, 768), draw.normal(512, 768)
    weight, bias = draw.normal(2, 768)
    yield "layer_norm", "512x768", arguments(x, weight, bias, eps=1e-5)
    mean, variance = draw.normal(512), draw.uniform(512) + np.float32(0.5)
    call = arguments(g, x, weight, mean, variance, eps=1e-5)
    yield "layer_norm_input_gradient", "512x768", call
    yield "layer_norm_weight_gradient", "512x768", arguments(g, x, mean, variance, eps=1e-5)
    yield "layer_norm_gradients", "512x768", call


def _images(draw: Random) -> Drawn:
    shape = (32, 64, 56, 56)
    words = "32x64x56x56"
    x, g = (channels_last(draw.normal, shape) for _ in "xg")
    weight, bias, mean = draw.normal(3, 64)
    variance = draw.uniform(64) + np.float32(0.5)
    yield "batch_norm", words, arguments(x, weight, bias, eps=1e-5)
    call = arguments(g, x, weight, mean, variance, eps=1e-5)
    yield "batch_norm_input_gradient", words, call
    yield "batch_norm_weight_gradient", words, arguments(g, x, mean, variance, eps=1e-5)
    yield "batch_norm_gradients", words, call
    yield "sums", f"{words} to 64", arguments(x, axes=(0, 2, 3), keepdims=False)

    options: dict[str, Any] = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    half = channels_last(draw.normal, (32, 64, 28, 28))
    corners = 2 * 56 * np.arange(28)[:, None] + 2 * np.arange(28)
    positions = channels_last(lambda *s: draw.integers(4, *s).astype(np.uint8), half.shape)
    indices = np.array([0, 1, 56, 57])[positions] + corners
    maxima = {**options, "dilation": (1, 1)}
    yield "max_pool2d", f"2x2, {words}", arguments(x, **maxima, ceil_mode=False)
    yield "max_pool2d_positions", f"2x2, {words}", arguments(x, **maxima, ceil_mode=False)
    call = arguments(half, positions, input_size=(56, 56), **maxima)
    yield "max_pool2d_positions_gradient", f"2x2, {words}", call
    yield "max_pool2d_gradient", f"2x2, {words}", arguments(half, indices, input_size=(56, 56))
    yield "max_pool2d_gather", f"2x2, {words}", arguments(x, indices)
    options |= {"ceil_mode": False, "count_include_pad": True, "divisor_override": None}
    yield "avg_pool2d", f"2x2, {words}", arguments(x, **options)
    call = arguments(half, input_size=(56, 56), **options)
    yield "avg_pool2d_gradient", f"2x2, {words}", call
    last, means = (channels_last(draw.normal, (32, 512, n, n)) for n in (7, 1))
    yield "adaptive_avg_pool2d", "32x512x7x7 to 1x1", arguments(last, output_size=(1, 1))
    call = arguments(means, input_size=(7, 7))
    yield "adaptive_avg_pool2d_gradient", "32x512x7x7 to 1x1", call


def _losses(draw: Random) -> Drawn:
    x, target = draw.normal(512, 1000), draw.integers(1000, 512)
    scale = np.full(512, 1 / 512, np.float32)
    yield "cross_entropy", "512x1000", arguments(x, target, scale)
    top, total = draw.normal(512) + np.float32(5), draw.uniform(512) + np.float32(3)
    call = arguments(np.ones((), np.float32), x, target, scale, top, total)
    yield "cross_entropy_gradient", "512x1000", call
    x, t = draw.normal(256, 4096), draw.uniform(256, 4096)
    yield "mse_loss", "256x4096", arguments(x, t, reduction="mean")
    p = draw.uniform(256, 4096)
    yield "binary_cross_entropy", "256x4096", arguments(p, t)
    yield "binary_cross_entropy_with_logits", "256x4096", arguments(x, t, None)


def _others(draw: Random) -> Drawn:
    size = 1 << 20
    for name, dtype in (("bits", "u4"), ("uniform", "f4"), ("normal", "f4")):
        call = arguments(np.zeros(size, dtype), seed=1, offset=0)
        yield f"random_{name}", f"{size}", call
    index, table = draw.integers(20_000, 64, 128), draw.normal(20_000, 256)
    yield "embedding", "64x128 of 20000x256", arguments(index, table)
    call = arguments(draw.normal(64, 128, 256), index, rows=20_000, skip=None)
    yield "embedding_gradient", "64x128 of 20000x256", call

    p, g, m = (draw.normal(8_475_530) for _ in "pgm")  # the demo's network for 3x32x32 images
    v = draw.uniform(p.size)
    rates: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.0, "maximize": False}
    means: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "step": 10}
    call = arguments(p, g, m, v, **rates, **means, decoupled=False, out=(p, m, v))
    yield "adam_step", f"{p.size}", call
    momentum: dict[str, Any] = {"momentum": 0.9, "dampening": 0.0, "nesterov": False}
    yield "sgd_step", f"{p.size}", arguments(p, g, m, **rates, **momentum, out=(p, m))
    yield "norms", f"{g.size}", arguments(g, np.array([[0, g.size // 2], [g.size // 2, g.size]]))
    yield "scale", f"{g.size}", arguments(g, factor=1.0, out=g)
