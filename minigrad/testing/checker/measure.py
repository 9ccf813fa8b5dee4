"""Which oracle a function can have: declared by its kind, or found out by trying.

`auto` probes each input by itself. Is the function linear in it? Three points along a random line
say so, to rounding; then a step of 1 is exact. Does it compute with complex numbers? Then a complex
step is exact. Both count only if they agree, along a random direction, with central differences,
which have the last word everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .functions import Pullback
from .oracles import FIRST_STEP, Line, Slope
from .place import Place
from .probes import dense

COMPLEX, WIDE, CENTRAL = "complex step", "differences with step 1", "central differences"
SMALL = 2048  # outputs times directions up to which a complex step, which is slow, is tried unasked


@dataclass
class Measured:
    """Directional derivatives without rules, one for each line, and how they were found."""

    oracle: str
    slopes: list[Slope]


class Oracles:
    """Measures directional derivatives of one function at one point.

    Args:
        place: the function there.
        kind: one of `minigrad.ops.registry.KINDS`, or `auto`.
        hint: for `auto`, what the function is likely to be; "" if nothing is known.
        order: which derivative this is.
        sketched: whether sums over many outputs are compared, in which uncertainties add up.
    """

    def __init__(self, place: Place, kind: str, hint: str, order: int, sketched: bool) -> None:
        self.place, self.kind, self.hint, self.order = place, kind, hint, order
        self.sketched = sketched
        self.problems: list[str] = []

    def measure(self, k: int, lines: list[Line]) -> Measured:
        """The derivatives along lines that all change input k only."""
        if self.kind == "auto":
            return self._found_out(k, lines)
        if self.kind in ("linear", "bilinear"):
            self._check_linear(k)
            return self._exact(lines)
        if self.kind == "analytic" and self.order == 1:
            try:
                return self._complex(lines)
            except Exception as error:  # whatever complex numbers do to the function
                self.problems.append(
                    "declared analytic, but it does not compute with complex numbers: "
                    f"{type(error).__name__}: {error}"
                )
        return Measured(CENTRAL, self.differences(lines))

    def differences(self, lines: list[Line]) -> list[Slope]:
        """Extrapolated central differences; over several steps where one is not certain enough."""
        place = self.place
        slopes = [
            (line.extrapolated_twice if self.sketched else line.extrapolated)(
                FIRST_STEP, place.scale, place.eps
            )
            for line in lines
        ]
        largest = max([abs(s.value).max(initial=0.0) for s in slopes], default=0.0)
        # Where there is nothing but rounding, other steps would not find more.
        largest = max(largest, 1e-4 * place.scale)
        for i, (line, slope) in enumerate(zip(lines, slopes, strict=True)):
            if (slope.tolerance > 1e-6 * largest).any():
                slopes[i] = line.best(place.scale, place.eps)
        return slopes

    def closely(self, line: Line) -> Slope:
        """Central differences over all steps, of a function whose rounding is measured.

        It may be more than its outputs show. And where the inputs are large beside what the
        function makes of their differences, a wide step may miss all that it does.
        """
        place = self.place
        return line.best(np.maximum(place.scale, place.noise / place.eps), place.eps)

    def again(self, oracle: str, lines: list[Line]) -> list[Slope]:
        """Ask an oracle along other lines, by the name that `measure` gave it."""
        return (self._complex if oracle == COMPLEX else self._exact)(lines).slopes

    def _exact(self, lines: list[Line]) -> Measured:
        slopes = [line.exact(self.place.scale, self.place.eps) for line in lines]
        return Measured(WIDE, slopes)

    def _complex(self, lines: list[Line]) -> Measured:
        return Measured(
            "complex step", [line.complex(self.place.scale, self.place.eps) for line in lines]
        )

    def _check_linear(self, k: int) -> None:
        """Is the function, as declared, linear along a line? Three points say so."""
        if not self.place.here.size or not self.place.point[k].size:
            return
        together = self.kind == "linear"
        moves = [
            dense(self.place.rng, x.shape) if together or i == k else None
            for i, x in enumerate(self.place.point)
        ]
        if not self._straight(Line(self.place.values, self.place.point, moves), (1.0, 2.0)):
            where = "its inputs together" if together else self.place.function.labels[k]
            self.problems.append(f"declared {self.kind}, but it is not linear in {where}")

    def _straight(self, line: Line, steps: tuple[float, float], hidden: float = 1.0) -> bool:
        """Do the outputs at 0 and at these two steps, in units of the line, lie on a straight line?

        To the rounding of each output, and of what may be hidden in it, as a share of the largest.
        """
        a, b = steps[0] * line.unit, steps[1] * line.unit
        one, two = line.at(a), line.at(b)
        if (
            self.place.scale > 2 * abs(self.place.here).max()
        ):  # more than what shows is known to be hidden
            hidden = 1.0
        with np.errstate(all="ignore"):
            off = abs(b * (one - self.place.here) - a * (two - self.place.here))
            size = np.maximum(abs(two), hidden * max(self.place.scale, abs(two).max()))
        return bool((off <= 1e4 * self.place.eps * abs(b) * size).all())

    # Finding out

    def _found_out(self, k: int, lines: list[Line]) -> Measured:
        if lines and self.place.here.size:
            moves: list[np.ndarray | None] = [None] * len(self.place.point)
            moves[k] = dense(self.place.rng, self.place.point[k].shape)
            probe = Line(self.place.values, self.place.point, moves)
            may_be_linear = self.hint in ("", "linear", "bilinear") or k >= self._first_cotangent()
            if may_be_linear and self._straight_both_ways(probe):
                if self._confirmed(probe, self._exact):
                    found = self._tried(self._exact, lines)
                    if found is not None:
                        return found
            elif self._may_be_analytic(lines) and self._confirmed(probe, self._complex):
                found = self._tried(self._complex, lines)
                if found is not None:
                    return found
        return Measured(CENTRAL, self.differences(lines))

    def _straight_both_ways(self, line: Line) -> bool:
        try:
            return all(self._straight(line, (1.0, step), 1e-6) for step in (2.0, -1.0))
        except Exception:  # a step of 1 may leave the domain, which the function may refuse
            return False

    def _first_cotangent(self) -> int:
        """From which input on a gradient is linear whatever the function is."""
        n = len(self.place.point)
        return len(self.place.function.of.point) if isinstance(self.place.function, Pullback) else n

    def _may_be_analytic(self, lines: list[Line]) -> bool:
        small = self.place.here.size * len(lines) <= SMALL
        return self.order == 1 and self.hint in ("", "analytic") and small

    def _confirmed(self, probe: Line, oracle: Callable[[list[Line]], Measured]) -> bool:
        """Does an oracle agree with central differences along a random direction?"""
        found = self._tried(oracle, [probe])
        if found is None:
            return False
        (a,), (b,) = found.slopes, self.differences([probe])
        return self._agree(a, b) or self._agree(a, probe.best(self.place.scale, self.place.eps))

    def _agree(self, a: Slope, b: Slope) -> bool:
        largest = max(abs(a.value).max(), abs(b.value).max(), 1e-4 * self.place.scale)
        allowed = a.tolerance + b.tolerance + 1e-10 * largest
        return bool((abs(a.value - b.value) <= allowed).all()) and bool(
            (b.tolerance <= 1e-3 * largest).all()
        )

    @staticmethod
    def _tried(oracle: Callable[[list[Line]], Measured], lines: list[Line]) -> Measured | None:
        """What an oracle finds, or None if the function does not take what it tries."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as "discards the imaginary part"
            try:
                with np.errstate(all="ignore"):
                    found = oracle(lines)
            except Exception:  # whatever complex numbers do to the function
                return None
        return found if all(np.isfinite(s.value).all() for s in found.slopes) else None
