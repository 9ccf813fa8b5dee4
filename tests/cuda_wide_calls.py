"""Calls of kernels for which launch code loads whole vectors and takes large tiles.

The samples of the kernels are small and odd: they reach the tails, and hardly ever what runs on the
arrays of real networks. These calls reach that with as little work as there can be, in float32.
Each function here calls one family of kernels. An implementation computes what makes it launch a
kernel, or definitions, that neither samples nor earlier calls do; its result is compared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from kernel_calls import check_equal

from minigrad_kernels import KERNELS, Arguments, arguments
from minigrad_kernels.cuda import conv_launch, matmul
from minigrad_kernels.cuda.check import run_samples
from minigrad_kernels.cuda.lint.launches import Variant, accepted, effort, launches

Calls = Iterator[tuple[str, Arguments]]

FAMILIES: dict[str, Callable[[], None]] = {}
"""By the name of the module whose kernels they call."""


def family(calls: Callable[[Callable[..., np.ndarray]], Calls]) -> Callable[[], None]:
    """The function that makes these calls, given one that draws arrays."""

    def run() -> None:
        rng = np.random.default_rng(3)
        wide = list(calls(lambda *shape: rng.normal(size=shape).astype("f4")))
        reached = _by_samples({name for name, _ in wide})
        with one_multiprocessor():
            for name, call in wide:
                _compare(name, call, reached)

    functools.update_wrapper(run, calls)
    FAMILIES[calls.__name__.rstrip("_")] = run
    return run


def _by_samples(names: set[str]) -> set[Variant]:
    """What the kernels of these names launch on their samples."""
    with launches() as found, np.errstate(all="ignore"):
        for name in names:
            assert not list(run_samples(name, quick=True))
    return {key.variant for key in found}


def _compare(name: str, call: Arguments, reached: set[Variant]) -> None:
    kernel = KERNELS[name]
    wanted = kernel.reference(*call.args, **call.options)
    for i in kernel.implementations:
        if i.backend != "cuda-on-cpu" or not accepted(i, call):
            continue
        launched, _ = effort(i, call)
        if launched - reached:
            check_equal(kernel, call, i.run(*call.args, **call.options), wanted, eps=i.eps)
        reached |= launched


@contextmanager
def one_multiprocessor() -> Iterator[None]:
    """As on a GPU so small that a single large tile keeps it busy."""
    modules = (matmul, conv_launch)
    before = [module.MULTIPROCESSORS for module in modules]
    chosen: list[Any] = [matmul.plan, conv_launch.grid]  # they remember what they chose
    try:
        for module in modules:
            module.MULTIPROCESSORS = 1
        for choose in chosen:
            choose.cache_clear()
        yield
    finally:
        for module, number in zip(modules, before, strict=True):
            module.MULTIPROCESSORS = number
        for choose in chosen:
            choose.cache_clear()


def channels_last(x: np.ndarray) -> np.ndarray:
    """The same images with their channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


# Products


def _operands(draw: Any, rows: int, columns: int, depth: int) -> Iterator[list[np.ndarray]]:
    """Two matrices, each with its rows or its columns contiguous."""
    for a in (draw(rows, depth), draw(depth, rows).T):
        for b in (draw(depth, columns), draw(columns, depth).T):
            yield [a, b]


@family
def matmul_(draw: Any) -> Calls:
    for sizes in ((128, 256, 32), (128, 128, 32), (64, 64, 160), (32, 32, 16)):
        for operands in _operands(draw, *sizes):
            yield "matmul", arguments(*operands)
    yield "matmul", arguments(draw(32, 512), draw(512, 32))  # in parts


@family
def linear(draw: Any) -> Calls:
    yield "linear", arguments(draw(64, 32), draw(128, 32), draw(128), relu=True)
    layer = draw(64, 128), draw(64, 32), draw(128, 32)
    yield "linear_gradients", arguments(*layer, np.maximum(draw(64, 128), 0))


# Images


@family
def conv(draw: Any) -> Calls:
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    for channels, filters in ((4, 32), (4, 64), (4, 128), (3, 32), (3, 64)):
        x, w = channels_last(draw(1, channels, 16, 16)), draw(filters, channels, 3, 3)
        yield "conv2d", arguments(x, w, **options)
    for channels, filters in ((8, 32), (4, 128), (4, 256), (8, 256)):
        x, w = channels_last(draw(1, channels, 6, 6)), draw(filters, channels, 3, 3)
        g = channels_last(draw(1, filters, 6, 6))
        yield "conv2d_input_gradient", arguments(g, w, input_size=(6, 6), **options)
        yield "conv2d_weight_gradient", arguments(x, g, kernel_size=(3, 3), **options)


@family
def mean_pool(draw: Any) -> Calls:
    x = channels_last(draw(1, 8, 8, 8))
    for size, padding in ((2, 0), (3, 1)):
        for counting in (True, False):
            options = {
                "kernel_size": (size, size),
                "stride": (2, 2),
                "padding": (padding, padding),
                "ceil_mode": False,
                "count_include_pad": counting,
                "divisor_override": None,
            }
            yield "avg_pool2d", arguments(x, **options)
            g = channels_last(draw(1, 8, 4, 4))
            yield "avg_pool2d_gradient", arguments(g, input_size=(8, 8), **options)
    for shape in ((3, 5), (1, 1)):
        yield "adaptive_avg_pool2d", arguments(x, output_size=shape)
        g = channels_last(draw(1, 8, *shape))
        yield "adaptive_avg_pool2d_gradient", arguments(g, input_size=(8, 8))


# Rows and channels


def _normalizations(kind: str, x: np.ndarray, draw: Any) -> Calls:
    """A normalisation over all but the channels, or over rows, and its gradients."""
    batch = kind == "batch_norm"
    axes = (0, *range(2, x.ndim)) if batch else (-1,)
    channels = x.shape[1 if batch else -1]
    weight, bias, g = draw(channels), draw(channels), draw(*x.shape)
    statistics = x.mean(axes), x.var(axes)
    yield kind, arguments(x, weight, bias, eps=1e-5)
    yield f"{kind}_input_gradient", arguments(g, x, weight, *statistics, eps=1e-5)
    yield f"{kind}_weight_gradient", arguments(g, x, *statistics, eps=1e-5)
    yield f"{kind}_gradients", arguments(g, x, weight, *statistics, eps=1e-5)


@family
def norm(draw: Any) -> Calls:
    yield from _normalizations("batch_norm", channels_last(draw(2, 8, 33, 33)), draw)
    yield from _normalizations("batch_norm", draw(2, 3, 8, 8), draw)


@family
def layer_norm(draw: Any) -> Calls:
    for length in (16, 160, 1200):
        yield from _normalizations("layer_norm", draw(6, length), draw)


@family
def loss(draw: Any) -> Calls:
    for classes in (16, 160, 1200):
        x, target, scale = draw(5, classes), np.array([3, -1, 0, 7, 15]), np.abs(draw(5))
        yield "cross_entropy", arguments(x, target, scale)
        _, top, total = KERNELS["cross_entropy"].reference(x, target, scale)
        yield "cross_entropy_gradient", arguments(draw(5), x, target, scale, top, total)


@family
def reduce(draw: Any) -> Calls:
    for length in (16, 160, 1200):
        yield "sums", arguments(draw(3, length), axes=(1,), keepdims=False)
        yield "sums", arguments(draw(length, 8), axes=(0,), keepdims=False)


@family
def embedding(draw: Any) -> Calls:
    index = np.arange(1100) % 7  # so many that places are sorted in several runs
    yield "embedding", arguments(index[:9], draw(7, 8))
    yield "embedding_gradient", arguments(draw(1100, 8), index, rows=7, skip=None)
