"""Maps of arrays by their axes, as faults make them, and words for places in arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from .evidence import Map

# Maps of arrays whose first axis stacks them


def swapped(a: int, b: int) -> Map:
    """Two axes exchanged."""
    return lambda z: np.swapaxes(z, a + 1, b + 1)


def reversed_along(axes: tuple[int, ...]) -> Map:
    """These axes backwards."""
    return lambda z: np.flip(z, tuple(a + 1 for a in axes))


def summed(axes: tuple[int, ...]) -> Map:
    """Sums over these axes, repeated along them."""
    over = tuple(a + 1 for a in axes)
    return lambda z: np.broadcast_to(z.sum(over, keepdims=True), z.shape)


def averaged(axes: tuple[int, ...]) -> Map:
    """Means over these axes, repeated along them."""
    over = tuple(a + 1 for a in axes)
    return lambda z: np.broadcast_to(z.mean(over, keepdims=True), z.shape)


def moved(axes: tuple[int, ...], by: int, around: bool) -> Map:
    """Moved along these axes, along each as far: around its end, or with zeros coming in."""

    def f(z: np.ndarray) -> np.ndarray:
        stacked = tuple(a + 1 for a in axes)
        rolled = np.roll(z, (by,) * len(axes), stacked)
        if not around:
            gone = slice(0, by) if by > 0 else slice(by, None)
            for a in stacked:
                rolled[(slice(None),) * a + (gone,)] = 0
        return rolled

    return f


# Shapes and words


def repeated_axes(small: tuple[int, ...], large: tuple[int, ...]) -> list[int]:
    """The axes of the larger shape along which the smaller one is repeated by broadcasting."""
    extra = len(large) - len(small)
    if extra < 0 or any(n not in (1, w) for n, w in zip(small, large[extra:], strict=True)):
        return []
    stretched = [i + extra for i, n in enumerate(small) if n == 1 and large[i + extra] > 1]
    return [*range(extra), *stretched]


def subsets(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Axes that are longer than 1: each, then the last ones together, then all combinations."""
    long = [a for a, n in enumerate(shape) if n > 1][-5:]
    for count in range(1, len(long) + 1):
        yield from itertools.combinations(long, count)


def equal_pairs(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Pairs of axes of equal length."""
    for a, b in itertools.combinations(range(len(shape)), 2):
        if shape[a] == shape[b] > 1:
            yield a, b


def axes_named(axes: tuple[int, ...], ndim: int) -> str:
    """`axis 0`, `axes 0, 2`, `all axes`."""
    if len(axes) == ndim > 1:
        return "all axes"
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def index(i: int, shape: tuple[int, ...]) -> str:
    """`[2, 0]` for a place in memory order."""
    return f"[{', '.join(str(int(j)) for j in np.unravel_index(i, shape))}]"


def describe(places: np.ndarray, shape: tuple[int, ...]) -> str:
    """Where these entries of an array are: a slice, the border, the diagonal, or one by one."""
    found = np.stack(np.unravel_index(places, shape), axis=1) if shape else np.zeros((1, 0), int)
    size = int(np.prod(shape))
    for axis, n in enumerate(shape):
        at = np.unique(found[:, axis])
        if n > 1 and at.size < n and at.size * size // n == places.size:
            where = ", ".join(map(str, at[:8]))
            last = " (the last)" if at.size == 1 and at[0] == n - 1 else ""
            return f"index {where}{last} of axis {axis}"
    inner = np.ones(len(found), bool)
    for axis, n in enumerate(shape):
        if n > 2:
            inner &= (found[:, axis] > 0) & (found[:, axis] < n - 1)
    border = size - int(np.prod([n - 2 if n > 2 else n for n in shape]))
    if not inner.any() and 0 < border == places.size:
        return "the border"
    if len(shape) > 1 and (found == found[:, :1]).all() and places.size == min(shape):
        return "the diagonal"
    if (
        len(shape) > 1
        and size - places.size == min(shape)
        and not (found == found[:, :1]).all(1).any()
    ):
        return "all but the diagonal"
    listed = ", ".join(index(int(i), shape) for i in places[:6])
    return listed + (f" and {places.size - 6} more" if places.size > 6 else "")
