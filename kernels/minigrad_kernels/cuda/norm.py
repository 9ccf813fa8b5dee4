"""Batch norm in CUDA: the launch code of norm.cu."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..arrays import Array, check_all_out, check_out, summing_type
from .arrays import ceil_divide, contiguous, empty
from .c_types import c_name
from .channels import Plan, delivered, plan, room
from .launch import KernelFunction
from .source import kernel


@dataclass(frozen=True)
class _Memory:
    """How the memory of images (N, C, ...) goes.

    Attributes:
        order: the axes in memory's order.
        rows, channels, inner: what kernels see.
    """

    order: tuple[int, ...]
    rows: int
    channels: int
    inner: int

    @classmethod
    def of(cls, x: Array) -> _Memory:
        """That of x if channels lie ahead of images, behind them, or last; else images' order."""
        n, channels, *rest = x.shape
        inner = math.prod(rest)
        behind = tuple(range(2, x.ndim))
        if not x.flags.c_contiguous:
            if x.transpose(0, *behind, 1).flags.c_contiguous:
                return cls((0, *behind, 1), n * inner, channels, 1)
            if x.transpose(1, 0, *behind).flags.c_contiguous:
                return cls((1, 0, *behind), 1, channels, n * inner)
        if channels == 1:
            return cls((0, 1, *behind), 1, 1, n * inner)
        return cls((0, 1, *behind), n, channels, inner)

    def dense(self, x: Array) -> Array:
        """x, or a copy of it, as it lies in memory."""
        return contiguous(x.transpose(self.order))

    def room(self, out: Array | None, large: tuple[Array, ...], *small: Array | None) -> Array:
        """A dense array for a result like the dense ones in `large`: the memory of `out`, if that
        lies so and shares none with others."""
        return room(None if out is None else out.transpose(self.order), large, *small)

    def back(self, y: Array) -> Array:
        """A dense array as images."""
        return y.transpose(sorted(range(y.ndim), key=self.order.__getitem__))

    @property
    def whole(self) -> tuple[int, int, int, int]:
        """What kernels see that sum over channels."""
        return 1, self.rows, self.channels, self.inner

    @property
    def single(self) -> tuple[int, int, int, int]:
        """What kernels see that compute each number: planes on their own, or columns."""
        if self.inner == 1:
            return self.whole
        return self.rows * self.channels, 1, 1, self.inner

    @property
    def count(self) -> int:
        """How many numbers a channel has."""
        return self.rows * self.inner


def _kernel(name: str, p: Plan, x: Array) -> KernelFunction:
    definitions = {"T": c_name(x), "TOTAL": _total(x), "WIDTH": p.width, "LAYOUT": p.layout}
    return kernel("norm.cu", name, **definitions)


def _run(name: str, p: Plan, x: Array, *args: Any) -> None:
    """Run a kernel that goes through images; its last arguments are the plan's."""
    _kernel(name, p, x)(p.grid, p.block, *args, *p.arguments)


def _join(name: str, p: Plan, x: Array, *args: Any) -> None:
    """Run a kernel that puts the parts of channels together, a warp for each channel."""
    _kernel(name, p, x)(ceil_divide(p.outputs, 4), 128, *args, p.outputs, p.parts)


def _total(x: Array) -> str:
    return "double" if x.itemsize == 8 else "float"


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    eps: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """(y, mean, variance): y = (x - mean) / sqrt(variance + eps) * weight + bias, per channel."""
    channels = x.shape[1:2]
    check_all_out(out, x.shape, channels, channels)
    memory = _Memory.of(x)
    a = memory.dense(x)
    mean, var = _statistics(memory, a)
    y = memory.room(out and out[0], (a,), weight, bias)
    p = plan(memory.single, a, y)
    vectors = [None if v is None else contiguous(v) for v in (weight, bias)]
    _run("normalize_channels", p, a, a, y, mean, var, *vectors, eps, memory.channels)
    return delivered((memory.back(y), mean, var), out)


def _statistics(memory: _Memory, x: Array) -> tuple[Array, Array]:
    """The mean and the variance of each channel."""
    p = plan(memory.whole, x)
    wide = summing_type(x)
    mean, var = (empty(x, (p.outputs,), wide) for _ in range(2))
    if p.parts == 1:
        _run("channel_moments", p, x, x, None, mean, var)
        return mean, var
    parts = [empty(x, (p.outputs, p.parts), wide) for _ in range(3)]
    _run("channel_moments", p, x, x, *parts)
    _join("join_moments", p, x, *parts, mean, var)
    return mean, var


def batch_norm_input_gradient(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Array | None = None,
) -> Array:
    """The gradient of x: weight (g - mean(g) - x^ mean(g x^)) / s, per channel."""
    check_out(out, x.shape)
    outs = None if out is None else (out,)
    (dx,) = delivered(_gradients(g, x, weight, mean, var, eps, out, "x"), outs)
    return dx


def batch_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Array | None = None
) -> Array:
    """The gradient of the weight: the sum of g x^ over each channel."""
    check_out(out, x.shape[1:2])
    outs = None if out is None else (out,)
    (dw,) = delivered(_gradients(g, x, None, mean, var, eps, None, "w"), outs)
    return dw


def batch_norm_gradients(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients of x, of the weight and of the bias, which share their sums."""
    channels = x.shape[1:2]
    check_all_out(out, x.shape, channels, channels)
    return delivered(_gradients(g, x, weight, mean, var, eps, out and out[0], "xwb"), out)


def _gradients(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    out: Array | None,
    wanted: str,
) -> Any:
    """Those of x, weight and bias that are wanted."""
    memory = _Memory.of(x)
    a, b = memory.dense(x), memory.dense(g)
    mean, var = contiguous(mean), contiguous(var)
    dw, db = (empty(x, mean.shape) if name in wanted else None for name in "wb")
    sums = _gradient_sums(memory, b, a, mean, var, dw, db, eps)
    if "x" not in wanted:
        return (dw,)
    dx = memory.room(out, (b, a), weight, mean, var)
    p = plan(memory.single, a, b, dx)
    scale = None if weight is None else contiguous(weight)
    _run(
        "channel_input_gradient",
        p,
        *(a, b, a, dx, mean, var, scale, *sums, eps, 1 / memory.count, memory.channels),
    )
    return tuple(d for d in (memory.back(dx), dw, db) if d is not None)


def _gradient_sums(
    memory: _Memory,
    g: Array,
    x: Array,
    mean: Array,
    var: Array,
    dw: Array | None,
    db: Array | None,
    eps: float,
) -> list[Array]:
    """The sums of g and of g (x - mean) for each channel; dw and db are filled if given."""
    p = plan(memory.whole, g, x)
    parts = [empty(x, (p.outputs, p.parts), mean.dtype) for _ in range(2)]
    _run("channel_gradient_sums", p, x, g, x, mean, *parts)
    if p.parts == 1 and dw is None and db is None:
        return parts
    sums = [empty(x, (p.outputs,), mean.dtype) for _ in range(2)]
    _join("join_gradient_sums", p, x, *parts, var, *sums, dw, db, eps)
    return sums
