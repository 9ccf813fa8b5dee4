"""At a kink the derivative is not a number but a range: is the rule's number inside?

The limits of the slopes around a point span its subdifferential (F. Clarke, "Generalized gradients
and applications", Trans. AMS 205, 1975). Slopes to both sides along one direction, and in the same
direction at random points nearby, bound what a rule may say.

A kink that is only near is none: the slopes nearby are looked at from closer and closer, until
they are all alike, or rounding leaves nothing to see.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .oracles import Line, scales_for
from .place import ExhaustedError, Place
from .probes import dense

FIRST, MANY = 16, 256  # points nearby: to begin with, and before a rule is called wrong
CONFIRMED = 8  # so many columns get the many points; if they are wrong, so are the others
CLOSER = 30.0  # how much closer each look is
LOOKS = 7  # as close as 1e-15 of the input, if rounding allows
CALLS, SECONDS = 100_000, 5.0  # how often the function is called, at most, and for how long


class Range(NamedTuple):
    """Slopes around a point, for each number that is compared.

    Attributes:
        low, high: the lowest and the highest.
        kink: whether they jump, at the point or beside it.
        beside: whether it is beside the point, where the slopes are these two.
    """

    low: np.ndarray
    high: np.ndarray
    kink: np.ndarray
    beside: np.ndarray


class Kinks:
    """The slopes around a point of a function.

    Args:
        place: the function there.
        cotangents: v as columns; None is the identity.
        nearby: whether to sample around the point too, and not only along the directions.
    """

    def __init__(self, place: Place, cotangents: np.ndarray | None, nearby: bool) -> None:
        self.place, self.cotangents, self.nearby = place, cotangents, nearby
        self.scales = scales_for(place.eps)

    def verdict(
        self,
        lines: list[Line],
        said: np.ndarray,
        doubtful: np.ndarray,
        rules: np.ndarray,
        hidden: np.ndarray,
    ) -> tuple[str, np.ndarray]:
        """What the doubtful entries are, and which of them are wrong.

        Args:
            lines: one for each column.
            said: v^T J u by the rule.
            doubtful: the entries that differ from an oracle, or that it was not certain of.
            rules: v^T J by all inputs together, for directions that mix them.
            hidden: the rows in which the slopes along sums of directions are no sums of slopes: not
                differentiable, whatever the slopes along single directions say.

        Returns:
            `smooth` and the entries without a kink; `outside` and the entries that lie outside;
            `unclear` and the entries of which too little can be seen; or `kink`, if all lie inside.
        """
        outside, smooth, unknown = (np.zeros_like(doubtful) for _ in range(3))
        seen = np.zeros(doubtful.shape[1], bool)
        confirmed = 0
        try:
            with self.place.at_most(CALLS, SECONDS):
                for j in np.flatnonzero(doubtful.any(axis=0)):
                    found = self._between(lines[j])
                    if (hidden & doubtful[:, j] & ~found.kink).any():
                        found = self._between(lines[j], MANY)
                    smooth[:, j] = doubtful[:, j] & ~found.kink
                    missed = doubtful[:, j] & self._missed(said[:, j], found, 1e-9)
                    if missed.any() and self.nearby and confirmed < CONFIRMED:
                        missed &= self._missed(said[:, j], self._widened(lines[j], found), 1e-9)
                        confirmed += bool(missed.any())
                    smooth[:, j] |= missed & found.beside
                    outside[:, j] = missed & ~found.beside
                    seen[j] = True
                unknown = smooth & hidden[:, None]
                smooth &= ~unknown
                if smooth.any():
                    return "smooth", smooth
                if outside.any() or (not unknown.any() and not self._inside_along_many(rules)):
                    return "outside", outside if outside.any() else doubtful
        except ExhaustedError:
            # What was seen to be wrong is wrong, whatever the others are.
            if smooth.any():
                return "smooth", smooth
            if outside.any():
                return "outside", outside
            if seen.any() or hidden.any() or self._first_kink(lines, doubtful):
                return "unclear", doubtful
            return "smooth", doubtful
        return ("unclear", unknown) if unknown.any() else ("kink", outside)

    def _first_kink(self, lines: list[Line], doubtful: np.ndarray) -> bool:
        """Of a function too slow for more: do slopes to both sides differ in the first column?"""
        j = int(np.flatnonzero(doubtful.any(axis=0))[0])
        found = lines[j].one_sided(self.place.here, self.scales, self.place.noise)
        return bool(self._combined(Range(*found, found[2] & False)).kink[doubtful[:, j]].any())

    def near(self, line: Line) -> bool:
        """Is there a kink, here or so near that differences with a common step go across it?"""
        if line.one_sided(self.place.here, self.scales, looks=0)[2].any():
            return True
        offsets = line.offsets(self.place.rng, FIRST)
        spread = np.ptp(line.nearby(offsets, self.scales.nearby[1], self.scales.step), axis=0)
        wide = np.ptp(line.nearby(offsets, self.scales.nearby[0], self.scales.step), axis=0)
        return bool(((spread > 0.5 * wide) & (spread > self.scales.slack * wide.max())).any())

    def _missed(self, said: np.ndarray, found: Range, least: float) -> np.ndarray:
        """Where a number lies outside the slopes around a kink."""
        slack = self.scales.slack * np.maximum(abs(found.low), abs(found.high)) + least
        inside = (said >= found.low - slack) & (said <= found.high + slack)
        return np.asarray(found.kink & ~inside)

    def _between(self, line: Line, samples: int = FIRST) -> Range:
        """The slopes around the point, per row."""
        left, right, kink = line.one_sided(self.place.here, self.scales, self.place.noise)
        found = Range(np.minimum(left, right), np.maximum(left, right), kink, kink & False)
        if self.nearby:
            around = self._around(line, samples)
            alone = around.beside & ~kink
            low = np.where(around.kink, np.minimum(found.low, around.low), found.low)
            high = np.where(around.kink, np.maximum(found.high, around.high), found.high)
            low, high = np.where(alone, around.low, low), np.where(alone, around.high, high)
            found = Range(low, high, kink | around.kink, alone)
        return self._combined(found)

    def _around(self, line: Line, samples: int) -> Range:
        """Where slopes at points nearby jump: at the point, or beside it.

        At a kink the slopes at x + d z, for given z, are the same for every small distance d.
        Around a smooth point they come together in proportion to d, and beside a kink at once.
        """
        offsets = line.offsets(self.place.rng, samples)
        (far, distance), share = self.scales.nearby, self.scales.step
        wide = np.ptp(line.nearby(offsets, far, share), axis=0)
        slopes = line.nearby(offsets, distance, share)
        low, high, spread = slopes.min(axis=0), slopes.max(axis=0), np.ptp(slopes, axis=0)
        jump = (spread > 0.5 * wide) & (spread > self.scales.jump * abs(slopes).max(axis=0))
        jump &= spread > self._noise(line, share * distance)
        beside, live = np.zeros_like(jump), jump.copy()
        share = self.scales.closer
        for _ in range(LOOKS):
            distance /= CLOSER
            noise = self._noise(line, share * distance)
            live &= noise < 0.05 * spread
            if not live.any():
                break
            # The steepest and the flattest are enough, as long as they differ.
            few = sorted({*slopes[:, live].argmin(axis=0), *slopes[:, live].argmax(axis=0)})
            now = np.ptp(line.nearby([offsets[i] for i in few], distance, share), axis=0)
            if not (live & ~(now >= 0.5 * spread)).any():
                spread = np.where(live, now, spread)
                continue
            slopes = line.nearby(offsets, distance, share)
            now = np.ptp(slopes, axis=0)
            gone = live & (now <= 0.01 * spread + noise)
            low = np.where(gone, slopes.min(axis=0) - noise, low)
            high = np.where(gone, slopes.max(axis=0) + noise, high)
            fading = live & ~gone & ~(now >= 0.5 * spread)
            beside |= gone
            jump &= ~fading
            live &= ~gone & ~fading
            spread = np.where(live, now, spread)
        return Range(low, high, jump, beside)

    def _noise(self, line: Line, step: float) -> np.ndarray:
        """What rounding makes of a slope over this step, relative to the input."""
        rounded = self.scales.noise(self.place.here, self.place.noise)
        return np.asarray(16 * rounded / (step * line.reach))

    def _widened(self, line: Line, found: Range) -> Range:
        """With many more points: of k tied entries, each is first at one point in k only."""
        offsets = line.offsets(self.place.rng, MANY)
        near = line.nearby(offsets, self.scales.nearby[1], self.scales.step)
        more = self._combined(
            Range(near.min(axis=0), near.max(axis=0), found.kink, found.beside), False
        )
        wider = np.fmin(found.low, more.low), np.fmax(found.high, more.high)
        low, high = (np.where(found.beside, a, b) for a, b in zip(found, wider, strict=False))
        return Range(low, high, found.kink, found.beside)

    def _combined(self, found: Range, both: bool = True) -> Range:
        """The range of v^T J u, from those of the outputs."""
        if self.cotangents is None:
            return found
        plus, minus = np.maximum(self.cotangents.T, 0), np.minimum(self.cotangents.T, 0)
        low = plus @ found.low + minus @ found.high
        high = plus @ found.high + minus @ found.low
        if not both:
            return Range(low, high, found.kink, found.beside)
        used = self.cotangents.T != 0
        kink, at = used @ found.kink, used @ (found.kink & ~found.beside)
        return Range(low, high, kink, kink & ~at)

    def _inside_along_many(self, rules: np.ndarray) -> bool:
        """Entry by entry a sum over tied inputs can look right; directions that mix them tell."""
        size, rng = rules.shape[1], self.place.rng
        for u in [np.ones(size), *(dense(rng, (size,)) for _ in range(6))]:
            line = self.place.across(u)
            found = self._between(line)
            found = found._replace(kink=np.ones(found.low.shape, bool))
            missed = self._missed(rules @ u, found, self.scales.slack)
            if missed.any() and self.nearby:
                missed = self._missed(rules @ u, self._widened(line, found), self.scales.slack)
            if missed.any():
                return False
        return True
