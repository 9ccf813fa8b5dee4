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
from functools import cached_property

import numpy as np

from . import rounding
from .functions import Function, Pullback
from .oracles import FIRST_STEP, Line, Slope, flat
from .probes import dense

SMALL = 2048  # outputs times directions up to which a complex step, which is slow, is tried unasked


@dataclass
class Measured:
    """Directional derivatives without rules, one for each line, and how they were found."""

    oracle: str
    slopes: list[Slope]


class Oracles:
    """Measures directional derivatives of one function at one point.

    Args:
        function: what to differentiate.
        kind: one of `minigrad.ops.registry.KINDS`, or `auto`.
        hint: for `auto`, what the function is likely to be; "" if nothing is known.
        order: which derivative this is.
        here: the outputs, flat.
        scale: of the outputs.
        eps: of the type that the function computes in.
        sketched: whether sums over many outputs are compared, in which uncertainties add up.
        rng: draws directions.
    """

    def __init__(
        self,
        function: Function,
        kind: str,
        hint: str,
        order: int,
        here: np.ndarray,
        scale: float,
        eps: float,
        sketched: bool,
        rng: np.random.Generator,
    ) -> None:
        self.function, self.kind, self.hint, self.order = function, kind, hint, order
        self.here, self.scale, self.eps, self.rng = here, scale, eps, rng
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
        return Measured("central differences", self.differences(lines))

    def differences(self, lines: list[Line], noisy: bool = False) -> list[Slope]:
        """Extrapolated central differences; over several steps where one is not certain enough.

        With `noisy` for a function whose rounding is more than its outputs show: it is measured.
        """
        scale = np.maximum(self.scale, self.noise / self.eps) if noisy else self.scale
        slopes = [
            (line.extrapolated_twice if self.sketched else line.extrapolated)(
                FIRST_STEP, scale, self.eps
            )
            for line in lines
        ]
        largest = max([abs(s.value).max(initial=0.0) for s in slopes], default=0.0)
        # Where there is nothing but rounding, other steps would not find more.
        largest = max(largest, 1e-4 * self.scale)
        for i, (line, slope) in enumerate(zip(lines, slopes, strict=True)):
            if (slope.tolerance > 1e-6 * largest).any():
                slopes[i] = line.best(scale, self.eps)
        return slopes

    @cached_property
    def noise(self) -> np.ndarray:
        """By how much each output changes when the inputs change in their last digits.

        What changes by very much is not rounded there, but jumps: that counts as 0.
        """
        with np.errstate(all="ignore"):
            found = [
                abs(flat(self.function.values(near)) - self.here)
                for near, _ in rounding.beside(self.function.point, self.eps)
            ]
        sizes = [abs(a).max(initial=1.0) for a in (*self.function.point, self.here)]
        noise = np.nan_to_num(np.max(found, axis=0), nan=0.0, posinf=0.0)
        return np.where(noise < self.eps**0.5 * max(sizes), noise, 0.0)

    @property
    def known_noise(self) -> float:
        """The largest noise, if it had to be measured; else 0."""
        return float(self.noise.max(initial=0.0)) if "noise" in self.__dict__ else 0.0

    def _exact(self, lines: list[Line]) -> Measured:
        slopes = [line.exact(self.scale, self.eps) for line in lines]
        return Measured("differences with step 1", slopes)

    def _complex(self, lines: list[Line]) -> Measured:
        return Measured("complex step", [line.complex(self.scale, self.eps) for line in lines])

    def _check_linear(self, k: int) -> None:
        """Is the function, as declared, linear along a line? Three points say so."""
        if not self.here.size or not self.function.point[k].size:
            return
        together = self.kind == "linear"
        moves = [
            dense(self.rng, x.shape) if together or i == k else None
            for i, x in enumerate(self.function.point)
        ]
        if not self._straight(Line(self.function.values, self.function.point, moves), (1.0, 2.0)):
            where = "its inputs together" if together else self.function.labels[k]
            self.problems.append(f"declared {self.kind}, but it is not linear in {where}")

    def _straight(self, line: Line, steps: tuple[float, float], hidden: float = 1.0) -> bool:
        """Do the outputs at 0 and at these two steps lie on a straight line?

        To the rounding of each output, and of what may be hidden in it, as a share of the largest.
        """
        a, b = steps
        one, two = line.at(a), line.at(b)
        if self.scale > 2 * abs(self.here).max():  # more than what shows is known to be hidden
            hidden = 1.0
        with np.errstate(all="ignore"):
            off = abs(b * (one - self.here) - a * (two - self.here))
            size = np.maximum(abs(two), hidden * max(self.scale, abs(two).max()))
        return bool((off <= 1e4 * self.eps * abs(b) * size).all())

    # Finding out

    def _found_out(self, k: int, lines: list[Line]) -> Measured:
        if lines and self.here.size:
            moves: list[np.ndarray | None] = [None] * len(self.function.point)
            moves[k] = dense(self.rng, self.function.point[k].shape)
            probe = Line(self.function.values, self.function.point, moves)
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
        return Measured("central differences", self.differences(lines))

    def _straight_both_ways(self, line: Line) -> bool:
        try:
            return all(self._straight(line, (1.0, step), 1e-6) for step in (2.0, -1.0))
        except Exception:  # a step of 1 may leave the domain, which the function may refuse
            return False

    def _first_cotangent(self) -> int:
        """From which input on a gradient is linear whatever the function is."""
        n = len(self.function.point)
        return len(self.function.of.point) if isinstance(self.function, Pullback) else n

    def _may_be_analytic(self, lines: list[Line]) -> bool:
        small = self.here.size * len(lines) <= SMALL
        return self.order == 1 and self.hint in ("", "analytic") and small

    def _confirmed(self, probe: Line, oracle: Callable[[list[Line]], Measured]) -> bool:
        """Does an oracle agree with central differences along a random direction?"""
        found = self._tried(oracle, [probe])
        if found is None:
            return False
        (a,), (b,) = found.slopes, self.differences([probe])
        largest = max(abs(a.value).max(), abs(b.value).max(), 1e-4 * self.scale)
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
