"""One block of a Jacobian: the derivative by one input, of the rules and of an oracle."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..autopsy import explain
from ..autopsy.evidence import Case
from .doubts import CALLS, SECONDS, hidden_rows, shake, steep_rows
from .measure import CENTRAL, COMPLEX, WIDE, Measured
from .oracles import flat
from .place import ExhaustedError
from .probes import RANDOM, SINGLE, dense, probes
from .taylor import Study
from .verdict import GOOD, Finding

if TYPE_CHECKING:
    from .compare import Comparison

SMALLEST = 1e-12  # two zeros are equal if the oracle is that certain of its own
RELATIVE = 1e-10  # of the largest derivative of the same output: rounding in rules and functions
ABSENT = 1e-6  # a row that is so small beside the others may be what is left of a cancellation
KNOWN = 5e-4  # of itself; where no remainder tells, that will do: a thousandth still shows
SURE = 1e-6  # a derivative known less well than this, relative to its size, is in doubt
CLOSELY = 8  # so many wrong columns are measured again with all steps
TAYLOR = 64  # so many doubtful entries get a Taylor-remainder test


class Block:
    """V^T J U by one input, as the rules have it and as an oracle sees it.

    Args:
        comparison: of which it is part.
        k: which input.
        start: where this input's entries start in a gradient by all inputs.

    Attributes:
        x, label: the input.
        rules: V^T R, one row for each cotangent.
        columns, lines: the directions U, and the function along each.
        said: V^T R U by the rules.
        measured: J U by an oracle, one slope for each direction.
        seen, allowed: V^T J U from these, and by how much it may differ from what is said.
        wrong: where it differs by more.
        oracle: who says so.
    """

    measured: Measured
    oracle: str
    seen: np.ndarray
    allowed: np.ndarray
    wrong: np.ndarray

    def __init__(self, comparison: Comparison, k: int, start: int) -> None:
        self.comparison, self.k = comparison, k
        self.x, self.label = comparison.place.point[k], comparison.function.labels[k]
        self.own = slice(start, start + self.x.size)
        self.rules = comparison.rules[:, self.own]
        # With a sketch of many outputs a run is likely to be costly: sketch the inputs earlier too.
        most = comparison.full
        if comparison.rows.matrix is not None:
            most = min(most, RANDOM + SINGLE)
        self.columns = probes([self.x], [self.label], most, comparison.rng)
        self.lines = [
            comparison.place.line(k, self.columns.of(j, self.x.size))
            for j in range(len(self.columns.names))
        ]
        self.said = self.rules
        if self.columns.matrix is not None:
            self.said = self.rules @ self.columns.matrix

    def finding(self) -> Finding:
        """Compare."""
        self._measure()
        status = self._status()
        if status in ("different", "outside"):
            status = self._reconsidered(status)
        misused = status == "equal" and self._mixed_differs()
        note = fault = ""
        shape = self.comparison.reshaped.get(self.k)
        if shape is not None and (status in GOOD or not shape.fits):
            fault, note = shape.fault, shape.note
            status = "different"
            self.wrong = np.zeros_like(self.wrong)  # it is the shape, no number
        elif misused or status in ("different", "outside"):
            fault, note = explain(Case(self, status))
            status = "different" if misused or shape is not None else status
        vacuous = status == "equal" and self._is_vacuous
        if vacuous and self.comparison.order == 1:
            note = self._why_vacuous()
        at = self._worst()
        return Finding(
            order=self.comparison.order,
            label=self.label,
            shape=self.x.shape,
            status=status,
            oracle=self.oracle,
            where=self._where(at, misused),
            analytic=float(self.said[at]) if at else 0.0,
            numeric=float(self.seen[at]) if at else 0.0,
            tolerance=float(self.allowed[at]) if at else 0.0,
            wrong=int(self.wrong.sum()),
            compared=self.said.size,
            note=note,
            fault=fault,
            vacuous=vacuous,
            study=self._study(at) if at else None,
        )

    @property
    def _is_vacuous(self) -> bool:
        """Would zeros pass as well?"""
        return bool((np.maximum(abs(self.seen), abs(self.said)) <= self.allowed).all())

    @property
    def slopes(self) -> np.ndarray:
        """J U by the oracle, one column for each direction."""
        return self._columns([s.value for s in self.measured.slopes])

    def _columns(self, columns: list[np.ndarray]) -> np.ndarray:
        return (
            np.stack(columns, axis=1) if columns else np.zeros((self.comparison.place.here.size, 0))
        )

    # Measuring

    def _measure(self) -> None:
        """Ask an oracle, and where it disagrees whatever else can tell who is wrong."""
        self._take(self.comparison.oracles.measure(self.k, self.lines))
        if self.oracle != CENTRAL and self.wrong.any():
            self._second_opinion()
        if self.oracle == CENTRAL and self.wrong.any():
            self._look_closely()
        if self.wrong.any() and self.comparison.rescale():
            self._measure()
        elif self.wrong.any():
            self.allowed = self.allowed + self._rounded
            self.wrong = ~(abs(self.said - self.seen) <= self.allowed)

    def _look_closely(self) -> None:
        """Measure again where it is wrong. If that tells the same of some, so it will of others."""
        slopes, place = list(self.measured.slopes), self.comparison.place
        columns = np.flatnonzero(self.wrong.any(axis=0))
        for some in (columns[:CLOSELY], columns[CLOSELY:]):
            before = self.wrong[:, some].sum()
            with suppress(ExhaustedError), place.at_most(CALLS, SECONDS):
                for j in some:
                    slopes[j] = self.comparison.oracles.closely(self.lines[j])
            self._take(Measured(self.oracle, slopes))
            if self.wrong[:, some].sum() == before:
                return

    def _take(self, measured: Measured) -> None:
        """Believe an oracle."""
        self.measured, self.oracle = measured, measured.oracle
        self.seen, self.allowed = self.combined(measured)
        self.wrong = ~(abs(self.said - self.seen) <= self.allowed)

    def combined(self, measured: Measured) -> tuple[np.ndarray, np.ndarray]:
        """V^T (J U) and the tolerance of each of its entries."""
        seen = self._columns([s.value for s in measured.slopes])
        allowed = self._columns([s.tolerance for s in measured.slopes])
        cotangents = self.comparison.rows.matrix
        if cotangents is not None:
            seen, allowed = cotangents.T @ seen, abs(cotangents.T) @ allowed
        # A rule computes one row at a time.
        largest = abs(seen).max(axis=1, initial=0.0, keepdims=True)
        largest = np.maximum(largest, ABSENT * abs(seen).max(initial=0.0))
        return seen, allowed + RELATIVE * largest

    def _second_opinion(self) -> None:
        """Where another oracle disagrees with the rule, central differences decide who is wrong."""
        kind, oracles = self.comparison.kind, self.comparison.oracles
        if kind in ("linear", "bilinear"):
            return
        second = Measured(CENTRAL, oracles.differences(self.lines))
        other, other_allowed = self.combined(second)
        if kind == "auto":
            # The sharper oracle stays the judge where the two agree.
            if not (abs(self.seen - other) <= self.allowed + other_allowed).all():
                self._take(second)
        elif (abs(self.said - other) <= other_allowed).all():
            self.comparison.problems.append(
                f"declared analytic, but complex numbers give another derivative by {self.label} "
                "than real ones do: it is piecewise or smooth"
            )
            self._take(second)

    @cached_property
    def _rounded(self) -> np.ndarray:
        """What is allowed for the rounding of the numbers that are compared."""
        own = self.comparison.rounding[:, self.own]
        return own if self.columns.matrix is None else own @ abs(self.columns.matrix)

    # Judging

    def _status(self) -> str:
        """The verdict; `wrong` becomes the entries that it is about, `oracle` who says so."""
        limit = self._limit()
        # Zeros of high multiplicity, as of a product with many zeros, are relative to nothing.
        both_zero = (self.said == 0) & (self.seen == 0) & (self.allowed <= SMALLEST)
        unclear = (self.allowed > limit) & ~both_zero
        doubt = bool(self.wrong.any() or unclear.any())
        hidden = hidden_rows(self) if doubt or self._is_vacuous else np.zeros(0, bool)
        if not doubt:
            if not hidden.any():
                return "equal"
            self.wrong |= hidden[:, None]
        if self.comparison.kind == "auto" and self.oracle != CENTRAL and not hidden.any():
            # Central differences agree with a wide step or a complex step: there is no kink here.
            if self.wrong.any():
                return "different"
            self.wrong = unclear
            return "unclear"
        status, doubtful = self.comparison.kinks.verdict(
            self.lines, self.said, self.wrong | unclear, self.comparison.rules, hidden
        )
        if status != "smooth":
            self.wrong = doubtful
            return status
        clearly = doubtful & self.wrong & ~unclear
        if clearly.any():
            self.wrong = clearly
            return "different"
        return self._by_taylor(doubtful, limit)

    def _reconsidered(self, status: str) -> str:
        """What is wrong is asked once more: can the oracle see what it is sure of?"""
        unclear = self.wrong & False
        if status == "different" and self.oracle in (COMPLEX, WIDE):
            with suppress(ExhaustedError), self.comparison.place.at_most(CALLS, SECONDS):
                shake(self)
            unclear = self.wrong & (self.allowed > self._limit())
        steep = steep_rows(self)
        if steep.any() and self.oracle in (COMPLEX, WIDE):
            # What these say where nothing shorter than the first step was tried.
            self._take(Measured(CENTRAL, [self.comparison.oracles.closely(x) for x in self.lines]))
            status = self._status()
            if status not in ("different", "outside"):
                return status
            unclear, steep = self.wrong & False, steep_rows(self)
        unclear |= self.wrong & steep[:, None]
        if (self.wrong & ~unclear).any():
            self.wrong = self.wrong & ~unclear
            return status
        return "unclear" if unclear.any() else "equal"

    def _limit(self) -> float:
        """What is allowed at most; a derivative that is known less well is in doubt."""
        comparison = self.comparison
        scale, noise = comparison.place.scale, comparison.place.known_noise
        if noise > 0.1 * scale:  # nothing but the rounding of larger numbers
            scale = noise / comparison.place.eps
        natural = scale / max(1.0, abs(self.x).max(initial=0.0))
        largest = max(natural, float(abs(self.seen).max(initial=0.0)))
        # What extrapolated differences can reach in this precision is about eps^(2/3).
        certain = max(SURE, 100 * comparison.place.eps ** (2 / 3))
        limit = certain * largest + 1e-300
        if comparison.rows.matrix is not None:  # an error in one term of the sum must still show
            limit = max(limit, 100 * certain * float(abs(self.slopes).max(initial=0.0)))
        return limit

    def _by_taylor(self, doubtful: np.ndarray, limit: float) -> str:
        """Where differences are in doubt, whether the remainder shrinks as h^2 may still tell."""
        places = np.argwhere(doubtful)
        different, unclear = np.zeros_like(doubtful), np.zeros_like(doubtful)
        if len(places) > TAYLOR:
            self.wrong = doubtful
            return "unclear"
        for row, column in places:
            study = self._study((row, column))
            enough = self.allowed[row, column] <= KNOWN * abs(self.seen[row, column])
            known = enough and not self.wrong[row, column]
            if study.says_wrong:
                different[row, column] = True
            elif not (study.says_right or study.most <= limit or known):
                unclear[row, column] = True
        self.wrong = different if different.any() else unclear
        if different.any() or not unclear.any():
            self.oracle = "Taylor remainder"
        if different.any():
            return "different"
        return "unclear" if unclear.any() else "equal"

    def _mixed_differs(self) -> bool:
        """Right for cotangents of one entry, but wrong for a random one: it is not linear."""
        if self.columns.matrix is not None or self.comparison.rows.matrix is not None:
            return False
        v, g = self.comparison.mixed, self.comparison.mixed_rules[self.own]
        off = abs(g - v @ self.seen)
        if (off <= abs(v) @ self.allowed).all():
            return False
        return not bool((off <= abs(v) @ (self.allowed + self._rounded)).all())

    # What the report needs

    def _worst(self) -> tuple[int, int] | None:
        """The entry with the largest error, as a share of what is allowed; a wrong one if any."""
        if not self.said.size:
            return None
        with np.errstate(all="ignore"):
            share = np.nan_to_num(abs(self.said - self.seen) / (self.allowed + 1e-300), nan=0.0)
        share = np.where(self.wrong, share, -1.0) if self.wrong.any() else share
        row, column = np.unravel_index(int(share.argmax()), share.shape)
        return int(row), int(column)

    def _where(self, at: tuple[int, int] | None, mixed: bool) -> str:
        if mixed:
            return f"d (a random combination of the outputs) / d {self.label}"
        if at is None:
            return ""
        return f"d {self.comparison.rows.names[at[0]]} / d {self.columns.names[at[1]]}"

    def _study(self, at: tuple[int, int]) -> Study:
        row, column = at
        place = self.comparison.place
        weights = self.comparison.rows.of(row, place.here.size)
        numbers = float(self.said[at]), float(self.seen[at])
        return Study(self.lines[column], weights, place.here, *numbers, place.eps, place.noise)

    def _why_vacuous(self) -> str:
        """What to say of a derivative that is zero."""
        if not self.said.size:
            return "nothing was compared: input or outputs are empty"
        here = self.comparison.place
        far = [np.asarray(y + dense(here.rng, y.shape)) if y is self.x else y for y in here.point]
        with np.errstate(all="ignore"):
            try:
                moved = flat(here.function.values(far))
            except (ValueError, ArithmeticError):  # outside the domain
                return "all derivatives are zero here"
        if np.allclose(moved, here.here, rtol=0, atol=1e3 * here.eps * here.scale):
            return "all derivatives are zero: the outputs do not change with this input"
        return "all derivatives are zero here"
