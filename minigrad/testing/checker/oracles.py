"""Derivatives without rules: complex steps, exact differences, extrapolated central differences.

Each gives a directional derivative of all outputs at once, and how far it may be off: an error
model (rounding of the function over the step) plus a measured part (how much two steps disagree).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Arrays = list[np.ndarray]
Scale = float | np.ndarray  # of all outputs, or of each

COMPLEX_STEP = 1e-20  # its square vanishes beside 1: no truncation and no cancellation at all
FIRST_STEP = 5e-4  # relative to the input
SHORTER = 5  # times a one-sided step is made shorter, thirty times each, to see if a kink stays
STEPS = (
    1e-10,
    1e-9,
    1e-8,
    1e-7,
    1e-6,
    3e-5,
    FIRST_STEP,
    1e-2,
    0.2,
)  # tried where the first is not certain enough


@dataclass(frozen=True)
class Scales:
    """Lengths, relative to the input, on which kinks are looked for.

    Attributes:
        one_sided: the step of a one-sided difference.
        nearby: how far around a suspected kink slopes are sampled, wide and near.
        step: of those slopes, as a share of that distance.
        closer: the same for slopes from closer, where rounding weighs more.
        slack: how well a slope is known, relative to its size.
        jump: by how much slopes must differ to be different.
        eps: of the type that the function computes in.
    """

    one_sided: float
    nearby: tuple[float, float]
    step: float
    closer: float
    slack: float
    jump: float
    eps: float

    def noise(self, here: np.ndarray, measured: np.ndarray | None) -> np.ndarray:
        """The rounding of outputs: what was measured, but at least that of their last digit."""
        least = self.eps * abs(here)
        return np.asarray(least if measured is None else np.maximum(least, measured))


FINE = Scales(1e-6, nearby=(2e-4, 2e-5), step=1e-4, closer=0.02, slack=1e-4, jump=1e-3, eps=2.3e-16)
COARSE = Scales(3e-3, nearby=(3e-2, 3e-3), step=0.1, closer=0.1, slack=1e-2, jump=3e-2, eps=1.2e-7)
"""For functions that are computed in double precision, and in a lower one."""


def scales_for(eps: float) -> Scales:
    """The scales that suit a unit roundoff."""
    return FINE if eps < 1e-12 else COARSE


@dataclass
class Slope:
    """A directional derivative of all outputs, flattened, and its uncertainty."""

    value: np.ndarray
    tolerance: np.ndarray


class Line:
    """A function along a straight line through a point: t -> f(x + t u), outputs flattened.

    Args:
        function: takes and returns lists of arrays.
        point: where the line passes at t = 0.
        direction: one array per input, or None for an input that stays.
    """

    def __init__(
        self,
        function: Callable[[Arrays], Arrays],
        point: Arrays,
        direction: list[np.ndarray | None],
    ) -> None:
        self.function = function
        self.point = point
        self.direction = direction
        self.size = max([abs(x[u != 0]).max(initial=0.0) for x, u in self._moving()], default=0.0)
        self.reach = max(1.0, self.size)
        self.unit = 2.0 ** np.ceil(np.log2(self.reach))  # 1, or as wide as the input is large

    def _moving(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(x, u) for x, u in zip(self.point, self.direction, strict=True) if u is not None]

    def at(self, t: complex) -> np.ndarray:
        """The outputs at x + t u. Points outside the function's domain give NaN, not a warning."""
        moved = [
            x.copy() if u is None else np.asarray(x + t * u)
            for x, u in zip(self.point, self.direction, strict=True)
        ]
        with np.errstate(all="ignore"):
            try:
                return flat(self.function(moved))
            except (ValueError, ArithmeticError):
                if isinstance(t, complex):
                    raise
                # Functions may refuse what is outside their domain.
                return np.full(flat(self.function(self.point)).shape, np.nan)

    def difference(self, step: float) -> np.ndarray:
        """The central difference quotient."""
        with np.errstate(all="ignore"):
            return np.asarray((self.at(step) - self.at(-step)) / (2 * step))

    def exact(self, scale: float, eps: float) -> Slope:
        """The slope of a function that is linear along this line: a wide step has no truncation."""
        ahead, behind = self.at(self.unit), self.at(-self.unit)
        largest = max(scale, abs(ahead).max(initial=0.0), abs(behind).max(initial=0.0))
        slope = (ahead - behind) / (2 * self.unit)
        return Slope(slope, np.full(slope.shape, 1e3 * eps * largest / self.unit))

    def complex(self, scale: float, eps: float) -> Slope:
        """Im f(x + i t u) / t, for functions that are computed analytically.

        W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions",
        SIAM Review 40 (1998).
        """
        # Small beside a small input too, but no denormal number.
        step = COMPLEX_STEP * max(1e-200, min(1.0, self.size or 1.0))
        outputs = self.at(1j * step)
        slope = np.imag(outputs) / step
        # An output whose imaginary part is 0 does not depend on what moves, however large it is.
        size = np.where(slope == 0, 0.0, np.minimum(scale, abs(outputs)) / self.reach)
        underflow = 8 * np.finfo(np.float64).smallest_subnormal / step
        return Slope(slope, 1e3 * eps * (size + abs(slope).max(initial=0.0)) + underflow)

    def extrapolated(self, step: float, scale: Scale, eps: float) -> Slope:
        """Central differences at two steps, extrapolated to zero (Richardson 1911).

        The quotient of step h errs by c h^2 + O(h^4); 4/3 of the one with h/2 less 1/3 of the one
        with h errs by O(h^4), much less than they disagree. Where only the first derivative is
        continuous, as in elu at 0, it errs by twice the disagreement: allow three times that.
        """
        h = step * self.reach
        with np.errstate(all="ignore"):
            wide, narrow = self.difference(h), self.difference(h / 2)
            slope = narrow + (narrow - wide) / 3
            rounding = 30 * eps * (scale + self.size * abs(slope)) / h
            tolerance = 3 * abs(slope - narrow) + rounding
        tolerance[~np.isfinite(slope) | ~np.isfinite(tolerance)] = np.inf
        slope[~np.isfinite(slope)] = 0.0
        return Slope(slope, tolerance)

    def extrapolated_twice(self, step: float, scale: Scale, eps: float) -> Slope:
        """As `extrapolated`, with a third step (Romberg 1955): errs by O(h^6).

        For sums over many outputs, in which the uncertainties of all add up. Where only the first
        derivative is continuous it errs by 14 times the disagreement: allow twenty times that.
        """
        h = 4 * step * self.reach
        with np.errstate(all="ignore"):
            wide, middle, narrow = (self.difference(h / n) for n in (1, 2, 4))
            first, second = middle + (middle - wide) / 3, narrow + (narrow - middle) / 3
            slope = second + (second - first) / 15
            rounding = 30 * eps * (scale + self.size * abs(slope)) / (h / 4)
            tolerance = 20 * abs(slope - second) + rounding
        tolerance[~np.isfinite(slope) | ~np.isfinite(tolerance)] = np.inf
        slope[~np.isfinite(slope)] = 0.0
        return Slope(slope, tolerance)

    def best(self, scale: Scale, eps: float) -> Slope:
        """For each output the most certain of several steps.

        A wide step may straddle a singularity and look certain; it counts only where it agrees with
        the narrower ones, which are local but noisy.
        """
        # Near 0 a function may change on the scale of the input.
        small = (1e-3 * self.size, 1e-1 * self.size) if 0 < self.size < 1e-8 else ()
        steps = (*(step for step in small if step < STEPS[0]), *STEPS)
        best = self.extrapolated(steps[0], scale, eps)
        for step in steps[1:]:
            wider = self.extrapolated(step, scale, eps)
            agrees = abs(wider.value - best.value) <= wider.tolerance + best.tolerance
            take = agrees & (wider.tolerance < best.tolerance)
            best = Slope(
                np.where(take, wider.value, best.value),
                np.where(take, wider.tolerance, best.tolerance),
            )
        return best

    def one_sided(
        self,
        here: np.ndarray,
        scales: Scales = FINE,
        noise: np.ndarray | None = None,
        looks: int = SHORTER,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slopes to the left and to the right, and where they differ: kinks.

        Where the function is smooth the two differ by h f'', four times less with a fourth of the
        step; at a kink the difference stays, and is more than the outputs' noise over the step.
        It also stays with much shorter steps, `looks` of them, as far down as noise leaves it
        visible: a kink beside the point does not, nor does a curve where the input is large beside
        its own differences.
        """
        h = scales.one_sided * self.reach
        rounded = 16 * scales.noise(here, noise)
        with np.errstate(all="ignore"):
            gaps = []
            for step in (h, h / 4):
                right, left = (self.at(step) - here) / step, (here - self.at(-step)) / step
                gaps.append(right - left)
            size = np.maximum(abs(left), abs(right))
            stays = abs(gaps[1] - gaps[0]) < 0.25 * abs(gaps[0])
            kink = np.isfinite(size) & stays & (abs(gaps[1]) > scales.slack * size + rounded / step)
            for _ in range(looks):
                step /= 30
                visible = kink & (rounded / step < 0.1 * abs(gaps[1]))
                if not visible.any():
                    break
                gap = (self.at(step) - 2 * here + self.at(-step)) / step
                kink &= ~visible | (abs(gap - gaps[1]) < 0.5 * abs(gaps[1]))
        return left, right, kink

    def offsets(self, rng: np.random.Generator, samples: int) -> list[Arrays]:
        """Random points in the cube from -1 to 1, one array for each input."""
        return [[rng.uniform(-1, 1, x.shape) for x in self.point] for _ in range(samples)]

    def nearby(self, offsets: list[Arrays], distance: float, step: float) -> np.ndarray:
        """Slopes in the same direction at points within a distance, stacked.

        The limits of such slopes span the subdifferential (Clarke 1975).

        Args:
            offsets: where, in units of the distance.
            distance: relative to the input.
            step: as a share of the distance.
        """
        length = distance * self.reach
        slopes = []
        for z in offsets:
            around = [np.asarray(x + length * d) for x, d in zip(self.point, z, strict=True)]
            line = Line(self.function, around, self.direction)
            slopes.append(line.difference(step * length))
        return np.stack(slopes)


def flat(arrays: Arrays) -> np.ndarray:
    """All entries of all arrays, one after the other, in double precision."""
    if not arrays:
        return np.zeros(0)
    kind = np.result_type(np.float64, *arrays)
    return np.concatenate([np.asarray(a, dtype=kind).ravel() for a in arrays])
