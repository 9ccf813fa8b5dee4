"""At a kink the derivative is not a number but a range: is the rule's number inside?

The limits of the slopes around a point span its subdifferential (F. Clarke, "Generalized gradients
and applications", Trans. AMS 205, 1975). Slopes to both sides along one direction, and in the same
direction at random points nearby, bound what a rule may say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .oracles import Line, scales_for
from .probes import Arrays, dense, split

FIRST, MANY = 16, 256  # points nearby: to begin with, and before a rule is called wrong
CONFIRMED = 8  # so many columns get the many points; if they are wrong, so are the others

Range = tuple[np.ndarray, np.ndarray, np.ndarray]


class Kinks:
    """The slopes around a point of a function.

    Args:
        function: takes and returns lists of arrays.
        point: where.
        here: its outputs there, flat.
        cotangents: v as columns; None is the identity.
        nearby: whether to sample around the point too, and not only along the directions.
        eps: of the type that the function computes in.
        rng: draws points and directions.
    """

    def __init__(
        self,
        function: Callable[[Arrays], Arrays],
        point: Arrays,
        here: np.ndarray,
        cotangents: np.ndarray | None,
        nearby: bool,
        eps: float,
        rng: np.random.Generator,
    ) -> None:
        self.function, self.point, self.here = function, point, here
        self.cotangents, self.nearby, self.rng = cotangents, nearby, rng
        self.scales = scales_for(eps)
        self.noise: np.ndarray | None = None

    def verdict(
        self,
        lines: list[Line],
        said: np.ndarray,
        doubtful: np.ndarray,
        rules: np.ndarray,
        noise: np.ndarray | None = None,
    ) -> tuple[str, np.ndarray]:
        """What the doubtful entries are, and which of them are wrong.

        Args:
            lines: one for each column.
            said: v^T J u by the rule.
            doubtful: the entries that differ from an oracle, or that it was not certain of.
            rules: v^T J by all inputs together, for directions that mix them.
            noise: of each output, if it was measured: slopes that differ by no more are no kink.

        Returns:
            `smooth` and the entries without a kink; `outside` and the entries that lie outside; or
            `kink`, if all lie inside.
        """
        self.noise = noise
        outside = np.zeros_like(doubtful)
        smooth = np.zeros_like(doubtful)
        confirmed = 0
        for j in np.flatnonzero(doubtful.any(axis=0)):
            found = self._between(lines[j])
            smooth[:, j] = doubtful[:, j] & ~found[2]
            missed = doubtful[:, j] & self._missed(said[:, j], found, 1e-9)
            if missed.any() and self.nearby and confirmed < CONFIRMED:
                missed &= self._missed(said[:, j], self._widened(lines[j], found), 1e-9)
                confirmed += bool(missed.any())
            outside[:, j] = missed
        if smooth.any():
            return "smooth", smooth
        if outside.any() or not self._inside_along_many(rules):
            return "outside", outside if outside.any() else doubtful
        return "kink", outside

    def _missed(self, said: np.ndarray, found: Range, least: float) -> np.ndarray:
        """Where a number lies outside the slopes around a kink."""
        low, high, kink = found
        slack = self.scales.slack * np.maximum(abs(low), abs(high)) + least
        return np.asarray(kink & ~((said >= low - slack) & (said <= high + slack)))

    def _between(self, line: Line) -> Range:
        """The lowest and highest slope around the point, per row, and whether they differ there."""
        low, high, kink = self._one_sided(line)
        if self.nearby:
            near = line.nearby(self.rng, self.scales.nearby[1], self.scales.step, FIRST)
            wide = line.nearby(self.rng, self.scales.nearby[0], self.scales.step, FIRST)
            with np.errstate(all="ignore"):
                spread = np.ptp(near, axis=0)
                size = np.maximum(abs(low), abs(high)) + abs(near).max(axis=0)
                # Around a smooth point the spread shrinks with the distance, at a jump it stays.
                jump = (spread > 0.5 * np.ptp(wide, axis=0)) & (spread > self.scales.jump * size)
                step = self.scales.step * self.scales.nearby[1] * line.reach
                jump &= spread > 16 * self.scales.noise(self.here, self.noise) / step
            low = np.where(jump, np.minimum(low, near.min(axis=0)), low)
            high = np.where(jump, np.maximum(high, near.max(axis=0)), high)
            kink = kink | jump
        return self._combined(low, high, kink)

    def _widened(self, line: Line, found: Range) -> Range:
        """With many more points: of k tied entries, each is first at one point in k only."""
        near = line.nearby(self.rng, self.scales.nearby[1], self.scales.step, MANY)
        low, high, _ = self._combined(near.min(axis=0), near.max(axis=0), found[2])
        return np.fmin(found[0], low), np.fmax(found[1], high), found[2]

    def _one_sided(self, line: Line) -> Range:
        left, right, kink = line.one_sided(self.here, self.scales, self.noise)
        return np.minimum(left, right), np.maximum(left, right), kink

    def _combined(self, low: np.ndarray, high: np.ndarray, kink: np.ndarray) -> Range:
        """The range of v^T J u, from those of the outputs."""
        if self.cotangents is None:
            return low, high, kink
        plus, minus = np.maximum(self.cotangents.T, 0), np.minimum(self.cotangents.T, 0)
        lowest, highest = plus @ low + minus @ high, plus @ high + minus @ low
        if kink.size == self.cotangents.shape[0]:
            kink = (self.cotangents.T != 0) @ kink
        return lowest, highest, kink

    def _inside_along_many(self, rules: np.ndarray) -> bool:
        """Entry by entry a sum over tied inputs can look right; directions that mix them tell."""
        size = rules.shape[1]
        directions = [np.ones(size), *(dense(self.rng, (size,)) for _ in range(6))]
        for u in directions:
            moves: list[np.ndarray | None] = [*split(u, self.point)]
            line = Line(self.function, self.point, moves)
            low, high, _ = found = self._between(line)
            every = np.ones(low.shape, bool)
            missed = self._missed(rules @ u, (low, high, every), self.scales.slack)
            if missed.any() and self.nearby:
                low, high, _ = self._widened(line, found)
                missed = self._missed(rules @ u, (low, high, every), self.scales.slack)
            if missed.any():
                return False
        return True
