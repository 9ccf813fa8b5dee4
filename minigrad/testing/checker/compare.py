"""Comparing what the rules say with what an oracle says: the full Jacobian, or a sketch of it.

With J the Jacobian, backward gives rows v^T J for cotangents v, and an oracle gives columns J u for
directions u. Both know V J U. Small functions get V = U = 1, the full matrix; large ones several
random cotangents and directions, and a few single entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from ..autopsy import explain
from ..autopsy.axes import axes_named, repeated_axes
from ..autopsy.evidence import Case
from . import rounding
from .functions import Function, Pullback
from .kinks import Kinks
from .measure import Measured, Oracles
from .oracles import Line, Slope, flat
from .probes import RANDOM, SINGLE, Probes, dense, probes, split
from .taylor import Study
from .verdict import GOOD, Finding

RELATIVE = 1e-10  # of the largest derivative by the same input: rounding inside rules and functions
SURE = 1e-6  # a derivative known less well than this, relative to its size, is in doubt
TAYLOR = 64  # so many doubtful entries get a Taylor-remainder test


class Comparison:
    """One function at one point, its rules against an oracle.

    Args:
        function: what to differentiate.
        kind: what kind of function it is, see `minigrad.ops.registry.KINDS`, or `auto`.
        hint: for `auto`, the kind that is tried first; "" if nothing is known.
        order: which derivative this is, for messages.
        rng: draws cotangents and directions.
        full: up to how many entries get the full Jacobian.

    Attributes:
        problems: sentences about what is wrong beside the numbers.
    """

    def __init__(
        self,
        function: Function,
        kind: str,
        hint: str,
        order: int,
        rng: np.random.Generator,
        full: int,
    ) -> None:
        self.function, self.kind, self.order, self.rng, self.full = function, kind, order, rng, full
        self.problems: list[str] = []
        self.factor = 1.0  # of cotangents; its inverse multiplies gradients
        self.point = function.point
        self.recording = function.record(self.point)
        self.outputs = self.recording.outputs
        self.here = flat(self.outputs)
        self.eps = max([np.finfo(y.dtype).eps for y in self.outputs], default=2.2e-16)
        self.scale = rounding.scale(function, self.here)
        self.rows = probes(self.outputs, output_labels(function, len(self.outputs)), full, rng)
        sketched = self.rows.matrix is not None
        self.oracles = Oracles(
            function, kind, hint, order, self.here, self.scale, float(self.eps), sketched, rng
        )
        nearby = kind in ("piecewise", "auto")
        self.kinks = Kinks(
            function.values,
            self.point,
            self.here,
            self.rows.matrix,
            nearby,
            float(self.eps),
            self.rng,
        )
        self.mixed = dense(rng, self.here.shape)  # one more cotangent, for linearity
        self.reshaped: dict[int, tuple[str, str]] = {}  # inputs whose gradient has another shape

    def pull(self, v: np.ndarray) -> np.ndarray:
        """v^T J by the rules, all inputs together; v is flat."""
        return self._pulled(self.cut(v))

    def _pulled(self, cotangents: list[np.ndarray | None]) -> np.ndarray:
        scaled = [None if v is None else np.asarray(self.factor * v) for v in cotangents]
        gradients = self.recording.pull(scaled)
        for k, (g, x) in enumerate(zip(gradients, self.point, strict=True)):
            if g.shape != x.shape:
                gradients[k], fault, note = reshaped(g, x)
                self.reshaped[k] = fault, note
        return flat(gradients) / self.factor

    def cut(self, v: np.ndarray) -> list[np.ndarray | None]:
        """A flat cotangent as one for each output."""
        return [*split(v, self.outputs)]

    def findings(self) -> Iterator[Finding]:
        """Compare the derivative by each input in turn."""
        rules = self._rule_rows()
        if self.scale < 1e-6 and np.isfinite(rules).all():
            # Whatever the outputs are made of has cancelled: how large was it?
            self.scale = max(self.scale, rounding.implied(self.rounding, float(self.eps)))
            self.oracles.scale = self.scale
        self.mixed_rules = self.pull(self.mixed) if self.mixed.size else np.zeros(rules.shape[1])
        self._check_linear_in_cotangent(rules)
        start = 0
        for k, x in enumerate(self.point):
            yield self._input(k, start, rules[:, start : start + x.size], rules)
            start += x.size
        self.problems += self.oracles.problems

    def _rule_rows(self) -> np.ndarray:
        """V^T J by backward passes over one graph; rows are the cotangents."""
        rows = np.zeros((len(self.rows.names), sum(x.size for x in self.point)))
        if self.rows.matrix is not None:
            for row, column in enumerate(self.rows.matrix.T):
                rows[row] = self.pull(column)
        else:
            row = 0
            for i, y in enumerate(self.outputs):
                for j in range(y.size):
                    if self.recording.connected[i]:
                        seeds: list[np.ndarray | None] = [None] * len(self.outputs)
                        seeds[i] = unit = np.zeros(y.shape)
                        unit.reshape(-1)[j] = 1.0
                        rows[row] = self._pulled(seeds)
                    row += 1
        if not np.isfinite(rows).all():
            self.problems.append(f"order {self.order}: the gradient holds NaN or infinity")
        return rows

    def _check_linear_in_cotangent(self, rules: np.ndarray) -> None:
        if self.rows.matrix is None:
            v, rows, together = self.mixed, rules, self.mixed_rules
        else:
            v, rows = dense(self.rng, (RANDOM,)), rules[:RANDOM]
            together = self.pull(self.rows.matrix[:, :RANDOM] @ v)
        if not np.isfinite(rows).all():
            return
        size = (abs(v) @ abs(rows)).max(initial=0.0)
        # A gradient that cancels to zero is the rounding of what was cancelled.
        cancelled = 1e3 * float(self.eps) * self.scale * float(abs(v).sum())
        allowed = max(1e-10, 1e3 * float(self.eps)) * size + cancelled + 1e-300
        off = abs(together - v @ rows)
        if not (off <= allowed).all():
            allowed = allowed + abs(v) @ self.rounding[: len(rows)]
        if not (off <= allowed).all():
            self.problems.append(
                f"order {self.order}: the gradient is not linear in its cotangent (a random "
                "cotangent gives something else than the sum of its parts' gradients)"
            )

    # One input

    def _input(self, k: int, start: int, rules: np.ndarray, all_rules: np.ndarray) -> Finding:
        x, label = self.point[k], self.function.labels[k]
        # With a sketch of many outputs a run is likely to be costly: sketch the inputs earlier too.
        most = self.full if self.rows.matrix is None else min(self.full, RANDOM + SINGLE)
        columns = probes([x], [label], most, self.rng)
        lines = [self.line(k, columns.of(j, x.size)) for j in range(len(columns.names))]
        said = rules if columns.matrix is None else rules @ columns.matrix
        measured = self.oracles.measure(k, lines)
        seen, allowed = self._combined(measured.slopes)
        wrong = ~(abs(said - seen) <= allowed)
        if measured.oracle != "central differences" and wrong.any():
            measured, seen, allowed = self._second_opinion(
                measured, lines, label, said, seen, allowed
            )
            wrong = ~(abs(said - seen) <= allowed)
        if wrong.any():
            allowed = allowed + self._rounded(start, x, columns)
            wrong = ~(abs(said - seen) <= allowed)
        status, wrong, oracle = self._status(
            x, lines, said, seen, allowed, wrong, all_rules, measured
        )
        misused = status == "equal" and self._mixed_differs(start, x, columns, seen, allowed)
        note = fault = ""
        if misused or status in ("different", "outside"):
            slopes = np.stack([s.value for s in measured.slopes], axis=1)
            fault, note = explain(Case(self, k, start, rules, columns, slopes, allowed, status))
            status = "different" if misused else status
        if k in self.reshaped:
            if status in GOOD:
                fault, note = self.reshaped[k]
            status = "different"
        vacuous = status == "equal" and bool((np.maximum(abs(seen), abs(said)) <= allowed).all())
        if vacuous and self.order == 1:
            note = self._why_vacuous(x, said)
        at = self._worst(said, seen, allowed, wrong)
        return Finding(
            order=self.order,
            label=label,
            shape=x.shape,
            status=status,
            oracle=oracle,
            where=self._where(at, columns, label, misused),
            analytic=float(said[at]) if at else 0.0,
            numeric=float(seen[at]) if at else 0.0,
            tolerance=float(allowed[at]) if at else 0.0,
            wrong=int(wrong.sum()),
            compared=said.size,
            note=note,
            fault=fault,
            vacuous=vacuous,
            study=self._study(at, lines, said, seen) if at else None,
        )

    def has_kink(self) -> bool:
        """Whether slopes to both sides differ along some entry of some input."""
        for k, x in enumerate(self.point):
            columns = probes([x], [self.function.labels[k]], self.full, self.rng)
            for j in range(len(columns.names)):
                line = self.line(k, columns.of(j, x.size))
                if line.one_sided(self.here, self.kinks.scales)[2].any():
                    return True
        return False

    def line(self, k: int, direction: np.ndarray) -> Line:
        """The function along a direction of input k."""
        moves: list[np.ndarray | None] = [None] * len(self.point)
        moves[k] = direction.reshape(self.point[k].shape)
        return Line(self.function.values, self.point, moves)

    def _status(
        self,
        x: np.ndarray,
        lines: list[Line],
        said: np.ndarray,
        seen: np.ndarray,
        allowed: np.ndarray,
        wrong: np.ndarray,
        all_rules: np.ndarray,
        measured: Measured,
    ) -> tuple[str, np.ndarray, str]:
        """The verdict on one input, the entries that are wrong, and who says so."""
        natural = self.scale / max(1.0, abs(x).max(initial=0.0))
        largest = max(natural, float(abs(seen).max(initial=0.0)))
        # What extrapolated differences can reach in this precision is about eps^(2/3).
        certain = max(SURE, 100 * float(self.eps) ** (2 / 3))
        limit = certain * largest + 1e-300
        if self.rows.matrix is not None:  # an error in one term of the sum must still show
            slopes = np.stack([s.value for s in measured.slopes], axis=1)
            limit = max(limit, 100 * certain * abs(slopes).max(initial=0.0))
        unclear = allowed > limit
        oracle = measured.oracle
        if not (wrong.any() or unclear.any()):
            return "equal", wrong, oracle
        if self.kind == "auto" and oracle != "central differences":
            # Central differences agree with a step of 1 or a complex step: there is no kink here.
            return ("different", wrong, oracle) if wrong.any() else ("unclear", unclear, oracle)
        status, doubtful = self.kinks.verdict(lines, said, wrong | unclear, all_rules)
        if status != "smooth":
            return status, doubtful, oracle
        clearly = doubtful & wrong & ~unclear
        if clearly.any():
            return "different", clearly, oracle
        return self._by_taylor(lines, said, seen, doubtful, oracle, float(limit))

    def _by_taylor(
        self,
        lines: list[Line],
        said: np.ndarray,
        seen: np.ndarray,
        doubtful: np.ndarray,
        oracle: str,
        limit: float,
    ) -> tuple[str, np.ndarray, str]:
        """Where differences are in doubt, whether the remainder shrinks as h^2 may still tell."""
        places = np.argwhere(doubtful)
        if len(places) > TAYLOR:
            return "unclear", doubtful, oracle
        different = np.zeros_like(doubtful)
        unclear = np.zeros_like(doubtful)
        for row, column in places:
            study = self._study((row, column), lines, said, seen)
            if study.says_wrong:
                different[row, column] = True
            elif not (study.says_right or study.most <= limit):
                unclear[row, column] = True
        if different.any():
            return "different", different, "Taylor remainder"
        if unclear.any():
            return "unclear", unclear, oracle
        return "equal", unclear, "Taylor remainder"

    def _combined(self, slopes: list[Slope]) -> tuple[np.ndarray, np.ndarray]:
        """V^T (J U) and the tolerance of each of its entries."""
        if not slopes:
            empty = np.zeros((len(self.rows.names), 0))
            return empty, empty
        seen = np.stack([s.value for s in slopes], axis=1)
        allowed = np.stack([s.tolerance for s in slopes], axis=1)
        if self.rows.matrix is not None:
            seen, allowed = self.rows.matrix.T @ seen, abs(self.rows.matrix.T) @ allowed
        return seen, allowed + RELATIVE * abs(seen).max(initial=0.0)

    def _second_opinion(
        self,
        measured: Measured,
        lines: list[Line],
        label: str,
        said: np.ndarray,
        seen: np.ndarray,
        allowed: np.ndarray,
    ) -> tuple[Measured, np.ndarray, np.ndarray]:
        """Where another oracle disagrees with the rule, central differences decide who is wrong."""
        if self.kind in ("linear", "bilinear"):
            return measured, seen, allowed
        second = Measured("central differences", self.oracles.differences(lines))
        other, other_allowed = self._combined(second.slopes)
        if self.kind == "auto":
            # The sharper oracle stays the judge where the two agree.
            agree = (abs(seen - other) <= allowed + other_allowed).all()
            return (measured, seen, allowed) if agree else (second, other, other_allowed)
        if not (abs(said - other) <= other_allowed).all():
            return measured, seen, allowed
        self.problems.append(
            f"declared analytic, but complex numbers give another derivative by {label} than real "
            "ones do: it is piecewise or smooth"
        )
        return second, other, other_allowed

    # What the report needs

    def _mixed_differs(
        self, start: int, x: np.ndarray, columns: Probes, seen: np.ndarray, allowed: np.ndarray
    ) -> bool:
        """Right for cotangents of one entry, but wrong for a random one: it is not linear."""
        if columns.matrix is not None or self.rows.matrix is not None:
            return False
        v, g = self.mixed, self.mixed_rules[start : start + x.size]
        off = abs(g - v @ seen)
        if (off <= abs(v) @ allowed).all():
            return False
        return not bool((off <= abs(v) @ (allowed + self._rounded(start, x, columns))).all())

    @cached_property
    def rounding(self) -> np.ndarray:
        """What is allowed for the rounding of the rules, for each of their numbers."""
        recording, problems, rules = self.recording, list(self.problems), self._rule_rows()
        changes = np.zeros_like(rules)
        try:
            with np.errstate(all="ignore"):
                for point, factor in rounding.beside(self.point, float(self.eps)):
                    self.recording, self.factor = self.function.record(point), factor
                    changes = np.maximum(changes, abs(self._rule_rows() - rules))
        finally:
            self.recording, self.problems, self.factor = recording, problems, 1.0
        return rounding.allowance(self.function, rules, changes)

    def _rounded(self, start: int, x: np.ndarray, columns: Probes) -> np.ndarray:
        """The same for the numbers that are compared for one input."""
        own = self.rounding[:, start : start + x.size]
        return own if columns.matrix is None else own @ abs(columns.matrix)

    def _where(self, at: tuple[int, int] | None, columns: Probes, label: str, mixed: bool) -> str:
        if mixed:
            return f"d (a random combination of the outputs) / d {label}"
        return f"d {self.rows.names[at[0]]} / d {columns.names[at[1]]}" if at else ""

    def _why_vacuous(self, x: np.ndarray, said: np.ndarray) -> str:
        if not said.size:
            return "nothing was compared: input or outputs are empty"
        far = [np.asarray(y + dense(self.rng, y.shape)) if y is x else y for y in self.point]
        with np.errstate(all="ignore"):
            try:
                moved = flat(self.function.values(far))
            except (ValueError, ArithmeticError):  # outside the domain
                return "all derivatives are zero here"
        if np.allclose(moved, self.here, rtol=0, atol=1e3 * float(self.eps) * self.scale):
            return "all derivatives are zero: the outputs do not change with this input"
        return "all derivatives are zero here"

    def _study(
        self, at: tuple[int, int], lines: list[Line], said: np.ndarray, seen: np.ndarray
    ) -> Study:
        row, column = at
        weights = self.rows.of(row, self.here.size)
        numbers = float(said[row, column]), float(seen[row, column])
        return Study(lines[column], weights, self.here, *numbers, float(self.eps))

    @staticmethod
    def _worst(
        said: np.ndarray, seen: np.ndarray, allowed: np.ndarray, wrong: np.ndarray
    ) -> tuple[int, int] | None:
        if not said.size:
            return None
        with np.errstate(all="ignore"):
            share = np.nan_to_num(abs(said - seen) / (allowed + 1e-300), nan=0.0)
        share = np.where(wrong, share, -1.0) if wrong.any() else share
        row, column = np.unravel_index(int(share.argmax()), share.shape)
        return int(row), int(column)


def reshaped(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, str, str]:
    """A gradient of the wrong shape in the right one, and the fault if it is right then."""
    was = f"the gradient has shape {g.shape}, its input {x.shape}"
    axes = repeated_axes(x.shape, g.shape)
    if axes:
        summed = g.sum(tuple(axes), keepdims=True).reshape(x.shape)
        over = axes_named(tuple(axes), g.ndim + 1)
        return (
            summed,
            "broadcast",
            f"looks like: broadcasting is not undone: {was}; sum over {over}",
        )
    if g.shape == x.shape[::-1]:
        return g.T, "transposed", f"looks like: the gradient is transposed: {was}"
    if g.size == x.size:
        return g.reshape(x.shape), "unknown", f"{was}; reshaped, it is right"
    return np.zeros(x.shape), "unknown", was


def output_labels(function: Function, count: int) -> list[str]:
    """What to call the outputs in messages."""
    if isinstance(function, Pullback):
        return [f"the gradient of {label}" for label in function.of.labels]
    return [f"output {i}" for i in range(count)]
