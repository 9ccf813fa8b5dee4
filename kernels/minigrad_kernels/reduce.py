"""Sums over some axes of an array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array
from .cuda.channels import known
from .cuda.reduce_ladder import RUNGS, Rung
from .layout import memory_order, plain
from .registry import Arguments, Cost, arguments, kernel, only_when_asked


def reductions(rng: np.random.Generator) -> Iterator[Arguments]:
    """Axes ahead, behind, on both sides and all; long sums, channels-last, strided, empty."""

    def draw(*shape: int, dtype: str = "f4") -> Array:
        return rng.normal(size=shape).astype(dtype)

    yield arguments(draw(3, 5), axes=(0,), keepdims=False)
    yield arguments(draw(3, 5, dtype="f8"), axes=(1,), keepdims=True)
    yield arguments(draw(7, 5, 4), axes=(0, 2), keepdims=False)
    yield arguments(
        draw(2, 6, 5, 7, dtype="f8").transpose(0, 3, 1, 2), axes=(0, 2, 3), keepdims=False
    )
    yield arguments(draw(700, 33), axes=(0,), keepdims=False)
    yield arguments(draw(3, 17000), axes=(1,), keepdims=False)
    yield arguments(draw(33000), axes=(0,), keepdims=True)
    yield arguments(draw(2, 3, 4), axes=(1,), keepdims=False)
    yield arguments(draw(6, 8)[::2, ::-2], axes=(0,), keepdims=False)
    yield arguments(draw(0, 3), axes=(0,), keepdims=False)
    yield arguments(draw(3, 0), axes=(0,), keepdims=False)
    yield arguments(draw(3, 0), axes=(0, 1), keepdims=False)
    yield arguments(draw(2, 3), axes=(), keepdims=False)


def cost(x: Array, *, axes: tuple[int, ...], **_: Any) -> Cost:
    """An addition for every element, which is read once."""
    return Cost(flops=x.size, bytes=x.nbytes)


@kernel(samples=reductions, cost=cost)
def sums(x: Array, *, axes: tuple[int, ...], keepdims: bool, out: Array | None = None) -> Array:
    """The sums of x over `axes`, distinct and not negative."""
    y = x.sum(axis=axes, keepdims=keepdims, out=out)
    return np.asarray(y) if isinstance(y, np.generic) else y


LONG = 1 << 14
"""Elements from which summing with all threads is faster than NumPy."""


def _long(x: Array, **_: Any) -> bool:
    return x.size >= LONG


def _accepts(x: Array, *, axes: tuple[int, ...], **_: Any) -> bool:
    """Whether, in memory's order, the axes that stay lie between those that go."""
    if not (plain(x) and axes and min(axes) >= 0 and max(axes) < x.ndim):
        return False
    order = memory_order(x)
    if not x.transpose(order).flags.c_contiguous:
        return False
    kept = [place for place, axis in enumerate(order) if axis not in axes and x.shape[axis] > 1]
    if not kept:
        return True
    between = order[kept[0] : kept[-1] + 1]
    return all(axis not in axes or x.shape[axis] == 1 for axis in between)


@sums.on("numba", accepts=_accepts, worth=_long)
def _sums_numba() -> Any:
    from .cpu.reduce import sums

    return sums


# On the GPU


def _ladder(rung: Rung) -> None:
    """Register a step of the ladder, to be read, compared and run by name, never on its own."""

    @sums.on(
        "cuda",
        "cuda-on-cpu",
        name=rung.name,
        accepts=rung.accepts,
        worth=only_when_asked,
        deterministic=rung.deterministic,
    )
    def build() -> Any:
        return rung.run


for _rung in RUNGS:  # before the one that takes any axes, which therefore has precedence
    _ladder(_rung)


def _accepts_cuda(x: Array, *, axes: tuple[int, ...], **_: Any) -> bool:
    return known(x) and bool(axes) and min(axes) >= 0 and max(axes) < x.ndim


@sums.on("cuda", "cuda-on-cpu", accepts=_accepts_cuda)
def _sums_cuda() -> Any:
    from .cuda.reduce import sums

    return sums
