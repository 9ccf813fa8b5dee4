"""At a kink the derivative is not a number but a range: is the rule's number inside?

The limits of the slopes around a point span its subdifferential (F. Clarke, "Generalized gradients
and applications", Trans. AMS 205, 1975). Slopes to both sides along one direction, and in the same
direction at random points nearby, bound what a rule may say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .oracles import Line
from .probes import Arrays, dense, split


class Kinks:
    """The slopes around a point of a function.

    Args:
        function: takes and returns lists of arrays.
        point: where.
        here: its outputs there, flat.
        cotangents: v as columns; None is the identity.
        nearby: whether to sample around the point too, and not only along the directions.
        rng: draws points and directions.
    """

    def __init__(
        self,
        function: Callable[[Arrays], Arrays],
        point: Arrays,
        here: np.ndarray,
        cotangents: np.ndarray | None,
        nearby: bool,
        rng: np.random.Generator,
    ) -> None:
        self.function, self.point, self.here = function, point, here
        self.cotangents, self.nearby, self.rng = cotangents, nearby, rng

    def verdict(
        self, lines: list[Line], said: np.ndarray, doubtful: np.ndarray, rules: np.ndarray
    ) -> tuple[str, np.ndarray]:
        """What the doubtful entries are, and which of them are wrong.

        Args:
            lines: one for each column.
            said: v^T J u by the rule.
            doubtful: the entries that differ from an oracle, or that it was not certain of.
            rules: v^T J by all inputs together, for directions that mix them.

        Returns:
            `smooth` and the entries without a kink; `outside` and the entries that lie outside; or
            `kink`, if all lie inside.
        """
        outside = np.zeros_like(doubtful)
        smooth = np.zeros_like(doubtful)
        for j in np.flatnonzero(doubtful.any(axis=0)):
            low, high, kink = self._between(lines[j])
            slack = 1e-4 * np.maximum(abs(low), abs(high)) + 1e-9
            missed = ~((said[:, j] >= low - slack) & (said[:, j] <= high + slack))
            outside[:, j] = doubtful[:, j] & kink & missed
            smooth[:, j] = doubtful[:, j] & ~kink
        if smooth.any():
            return "smooth", smooth
        if outside.any() or not self._inside_along_many(rules):
            return "outside", outside if outside.any() else doubtful
        return "kink", outside

    def _between(self, line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The lowest and highest slope around the point, per row, and whether they differ there."""
        left, right, kink = line.one_sided(self.here)
        low, high = np.minimum(left, right), np.maximum(left, right)
        if self.nearby:
            with np.errstate(all="ignore"):
                wide, near = line.nearby(self.rng)
                spread = np.ptp(near, axis=0)
                size = np.maximum(abs(low), abs(high)) + abs(near).max(axis=0)
                # Around a smooth point the spread shrinks with the distance, at a jump it stays.
                jump = (spread > 0.5 * np.ptp(wide, axis=0)) & (spread > 1e-3 * size)
            low = np.where(jump, np.minimum(low, near.min(axis=0)), low)
            high = np.where(jump, np.maximum(high, near.max(axis=0)), high)
            kink = kink | jump
        if self.cotangents is not None:
            plus, minus = np.maximum(self.cotangents.T, 0), np.minimum(self.cotangents.T, 0)
            low, high = plus @ low + minus @ high, plus @ high + minus @ low
            kink = (self.cotangents.T != 0) @ kink
        return low, high, kink

    def _inside_along_many(self, rules: np.ndarray) -> bool:
        """Entry by entry a sum over tied inputs can look right; directions that mix them tell."""
        size = rules.shape[1]
        directions = [np.ones(size), *(dense(self.rng, (size,)) for _ in range(6))]
        for u in directions:
            moves: list[np.ndarray | None] = [*split(u, self.point)]
            low, high, _ = self._between(Line(self.function, self.point, moves))
            slack = 1e-4 * np.maximum(abs(low), abs(high)) + 1e-4
            slope = rules @ u
            if not ((slope >= low - slack) & (slope <= high + slack)).all():
                return False
        return True
