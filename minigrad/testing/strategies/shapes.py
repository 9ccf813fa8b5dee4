"""Shapes: small ones, shapes that broadcast together, sizes at the edges of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Shape = tuple[int, ...]
Draw = Callable[[Any], Any]


def at_least(name: str, argument: str, value: Any, least: int) -> None:
    """Refuse what is not an integer of at least `least`.

    Raises:
        TypeError: for something else than an integer; ValueError: for a smaller one.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: {argument} must be an integer, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}: {argument} must be at least {least}, got {value}")


def checked_shape(name: str, shape: Any) -> Shape:
    """The shape as a tuple; one integer is a shape of one dimension.

    Raises:
        TypeError: if it does not hold integers; ValueError: for a negative one.
    """
    if isinstance(shape, int) and not isinstance(shape, bool):
        shape = (shape,)
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{name}: shape must be a tuple of integers, got {type(shape).__name__}")
    for side in shape:
        at_least(name, f"every side of the shape {tuple(shape)}", side, 0)
    return tuple(shape)


def shapes(
    max_dims: int = 3, max_side: int = 4, min_dims: int = 0, min_side: int = 1
) -> st.SearchStrategy[Shape]:
    """Shapes of a few dimensions; with `min_side=0` also of empty arrays.

    Raises:
        TypeError: for bounds that are no integers; ValueError: for negative or empty ranges.
    """
    at_least("shapes", "min_dims", min_dims, 0)
    at_least("shapes", "max_dims", max_dims, min_dims)
    at_least("shapes", "min_side", min_side, 0)
    at_least("shapes", "max_side", max_side, min_side)
    sides = st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims)
    return sides.map(tuple)


def broadcastable(
    n: int = 2, max_dims: int = 3, max_side: int = 4
) -> st.SearchStrategy[tuple[Shape, ...]]:
    """`n` shapes that broadcast together: of one full shape, parts replaced by 1 or left out.

    Raises:
        TypeError, ValueError: unless n and max_side are at least 1, and max_dims at least 0.
    """
    at_least("broadcastable", "n", n, 1)
    at_least("broadcastable", "max_dims", max_dims, 0)
    at_least("broadcastable", "max_side", max_side, 1)
    return _broadcastable(n, max_dims, max_side)


@st.composite
def _broadcastable(draw: Draw, n: int, max_dims: int, max_side: int) -> tuple[Shape, ...]:
    full = draw(shapes(max_dims, max_side))
    found = []
    for _ in range(n):
        ones = draw(st.lists(st.booleans(), min_size=len(full), max_size=len(full)))
        first = draw(st.integers(0, len(full)))
        found.append(
            tuple(1 if one else side for one, side in zip(ones, full, strict=True))[first:]
        )
    return tuple(found)


def block_edges(block: int) -> st.SearchStrategy[int]:
    """Sizes at the edges of a block: 0, 1, block - 1, block, block + 1, 2 block + 1, a prime.

    Raises:
        TypeError, ValueError: unless the block is an integer of at least 1.
    """
    at_least("block_edges", "block", block, 1)
    prime = next(p for p in range(block + 2, 4 * block + 8) if all(p % d for d in range(2, p)))
    return st.sampled_from(sorted({0, 1, block - 1, block, block + 1, 2 * block + 1, prime}))
