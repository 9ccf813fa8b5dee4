"""Where one implementation begins to win: the size from which on it is the faster one.

Between two sizes that were measured, times are taken to be straight lines in logarithms. The
interval is where the lines would cross if each of the two were as slow, or as fast, as a quarter of
its runs was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """Times over sizes, both in ascending order of sizes.

    Attributes:
        sizes: bytes.
        times: seconds, medians.
        spreads: interquartile range over median, of each.
    """

    sizes: Sequence[float]
    times: Sequence[float]
    spreads: Sequence[float]

    def shifted(self, halves: int) -> Curve:
        """With times as many times longer as half of their spread says, or shorter (-1)."""
        times = [t * (1 + s / 2) ** halves for t, s in zip(self.times, self.spreads, strict=True)]
        return Curve(self.sizes, times, self.spreads)


@dataclass(frozen=True)
class Crossover:
    """The size in bytes from which on the second wins, and the interval around it.

    0 is: at every size that was measured; infinity: at none.
    """

    at: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.at == 0:
            return "at every size"
        if self.at == math.inf:
            return "at no size"
        return f"from {in_bytes(self.at)} ({in_bytes(self.low)} to {in_bytes(self.high)})"


def crossover(first: Curve, second: Curve) -> Crossover:
    """From where on `second` is faster than `first`, at the sizes that both were measured at.

    Raises:
        ValueError: if there is no such size.
    """
    early = _crossing(first.shifted(1), second.shifted(-1))
    late = _crossing(first.shifted(-1), second.shifted(1))
    return Crossover(_crossing(first, second), early, late)


def _crossing(first: Curve, second: Curve) -> float:
    ours = dict(zip(second.sizes, second.times, strict=True))
    points = [
        (size, math.log(ours[size] / time))  # below 0 the second wins
        for size, time in zip(first.sizes, first.times, strict=True)
        if size in ours
    ]
    if not points:
        raise ValueError("no size was measured for both")
    if points[-1][1] >= 0:
        return math.inf
    after = next((i for i in reversed(range(len(points))) if points[i][1] >= 0), -1)
    if after < 0:
        return 0.0
    (a, above), (b, below) = points[after], points[after + 1]
    return a * (b / a) ** (above / (above - below))


def in_bytes(size: float) -> str:
    """A size with a unit: `4 KB` is 4,096 bytes."""
    if math.isinf(size):
        return "beyond"
    for unit, power in (("GB", 30), ("MB", 20), ("KB", 10)):
        if size >= 1 << power:
            return f"{size / (1 << power):.3g} {unit}"
    return f"{size:.3g} B"
