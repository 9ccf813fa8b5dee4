"""Comparing what the rules say with what an oracle says: the full Jacobian, or a sketch of it.

With J the Jacobian, backward gives rows v^T J for cotangents v, and an oracle gives columns J u for
directions u. Both know V J U. Small functions get V = U = 1, the full matrix; large ones several
random cotangents and directions, and a few single entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..tensor import Tensor, wrap
from .functions import Arrays, Function, Pullback, pull_back
from .oracles import FIRST_STEP, Line, Slope, flat
from .verdict import Finding

RELATIVE = 1e-10  # of the largest derivative by the same input: rounding inside rules and functions
RANDOM, SINGLE = 4, 6  # how many random and single-entry probes a large array gets


@dataclass
class Probes:
    """Directions in the space of an array, as columns, and what to call them."""

    matrix: np.ndarray | None  # None is the identity
    names: list[str]

    def of(self, k: int, size: int) -> np.ndarray:
        """The direction number k, flat."""
        if self.matrix is not None:
            return self.matrix[:, k]
        unit = np.zeros(size)
        unit[k] = 1.0
        return unit


def entries(label: str, shape: tuple[int, ...]) -> list[str]:
    """`label[i, j]` for every entry, in memory order."""
    if not shape:
        return [label]
    return [f"{label}[{', '.join(map(str, i))}]" for i in np.ndindex(*shape)]


def probes(arrays: Arrays, labels: list[str], full: int, rng: np.random.Generator) -> Probes:
    """All entries of the arrays if there are at most `full`, else a sketch."""
    size = sum(a.size for a in arrays)
    if size <= full:
        names = [
            n for a, label in zip(arrays, labels, strict=True) for n in entries(label, a.shape)
        ]
        return Probes(None, names)
    single = rng.choice(size, SINGLE, replace=False)
    matrix = np.zeros((size, RANDOM + SINGLE))
    matrix[:, :RANDOM] = dense(rng, (size, RANDOM))
    matrix[single, RANDOM + np.arange(SINGLE)] = 1.0
    what = labels[0] if len(labels) == 1 else "the outputs"
    names = [f"random combination {i} of {what}" for i in range(RANDOM)]
    return Probes(matrix, [*names, *(f"entry {i} of {what}" for i in single)])


def dense(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers of either sign, none small: nothing hides behind a tiny weight."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def split(vector: np.ndarray, like: Arrays) -> Arrays:
    """A flat vector cut into arrays of these shapes."""
    cuts = np.cumsum([a.size for a in like])[:-1]
    return [p.reshape(a.shape) for p, a in zip(np.split(vector, cuts), like, strict=True)]


def output_labels(function: Function, count: int) -> list[str]:
    """What to call the outputs in messages."""
    if isinstance(function, Pullback):
        return [f"the gradient of {label}" for label in function.of.labels]
    return [f"output {i}" for i in range(count)]


class Comparison:
    """One function at one point, its rules against an oracle.

    Args:
        function: what to differentiate.
        kind: what kind of function it is, see `minigrad.ops.registry.KINDS`.
        order: which derivative this is, for messages.
        rng: draws cotangents and directions.
        full: up to how many entries get the full Jacobian.
    """

    def __init__(
        self, function: Function, kind: str, order: int, rng: np.random.Generator, full: int
    ) -> None:
        self.function, self.kind, self.order, self.rng, self.full = function, kind, order, rng, full
        self.problems: list[str] = []
        self.point = function.point
        self.outputs = function.values(self.point)
        self.here = flat(self.outputs)
        self.eps = max([np.finfo(y.dtype).eps for y in self.outputs], default=2.2e-16)
        self.scale = float(abs(self.here).max(initial=0.0))
        self.rows = probes(self.outputs, output_labels(function, len(self.outputs)), full, rng)

    def findings(self) -> Iterator[Finding]:
        """Compare the derivative by each input in turn."""
        rules = self._rule_rows()
        start = 0
        for k, x in enumerate(self.point):
            yield self._input(k, rules[:, start : start + x.size], rules)
            start += x.size

    def _rule_rows(self) -> np.ndarray:
        """V^T J by backward passes over one graph; rows are the cotangents."""
        leaves, outputs = self.function.trace(self.point)
        rows = np.zeros((len(self.rows.names), sum(x.size for x in self.point)))
        row = 0
        if self.rows.matrix is not None:
            for row, column in enumerate(self.rows.matrix.T):
                rows[row] = self._pulled(leaves, outputs, split(column, self.outputs))
            return rows
        for y in outputs:
            for i in range(y.numel()):
                if y.requires_grad:
                    unit = np.zeros(y.shape)
                    unit.reshape(-1)[i] = 1.0
                    rows[row] = self._pulled(leaves, [y], [unit])
                row += 1
        if not np.isfinite(rows).all():
            self.problems.append(f"order {self.order}: the gradient holds NaN or infinity")
            return rows
        v = dense(self.rng, self.here.shape)
        together = self._pulled(leaves, outputs, split(v, self.outputs)) if v.size else 0.0
        allowed = 1e-10 * (abs(v) @ abs(rows)).max(initial=0.0) + 1e-300
        if not np.allclose(together, v @ rows, rtol=0, atol=max(allowed, 1e3 * self.eps * allowed)):
            self.problems.append(
                f"order {self.order}: the gradient is not linear in its cotangent (a random "
                "cotangent gives something else than the sum of its entries' gradients)"
            )
        return rows

    @staticmethod
    def _pulled(leaves: list[Tensor], outputs: list[Tensor], cotangents: Arrays) -> np.ndarray:
        return flat([g.data for g in pull_back(leaves, outputs, [wrap(v) for v in cotangents])])

    # One input

    def _input(self, k: int, rules: np.ndarray, all_rules: np.ndarray) -> Finding:
        x, label = self.point[k], self.function.labels[k]
        # With a sketch of many outputs a run is likely to be costly: sketch the inputs earlier too.
        most = self.full if self.rows.matrix is None else min(self.full, RANDOM + SINGLE)
        columns = probes([x], [label], most, self.rng)
        lines = [self._line(k, columns.of(j, x.size)) for j in range(len(columns.names))]
        said = rules if columns.matrix is None else rules @ columns.matrix
        oracle, slopes = self._oracle(k, lines)
        seen, allowed = self._combined(slopes)
        wrong = ~(abs(said - seen) <= allowed)
        if oracle == "complex step" and wrong.any():
            oracle, seen, allowed = self._second_opinion(lines, label, said, seen, allowed)
            wrong = ~(abs(said - seen) <= allowed)
        status, note = ("different", "") if wrong.any() else ("equal", "")
        natural = self.scale / max(1.0, abs(x).max(initial=0.0))
        certain = max(1e-6, float(np.sqrt(self.eps)))
        limit = certain * max(natural, abs(seen).max(initial=0.0)) + 1e-300
        unclear = allowed > limit
        if wrong.any() or unclear.any():
            status, wrong = self._at_kinks(lines, said, wrong | unclear, all_rules)
            if status == "smooth":
                clearly = wrong & ~unclear
                status, wrong = ("different", clearly) if clearly.any() else ("unclear", unclear)
            note = guess(said, seen, wrong) if status == "different" else ""
        elif not seen.any() and not said.any() and seen.size:
            note = "all derivatives are zero"
        at = self._worst(said, seen, allowed, wrong)
        return Finding(
            order=self.order,
            label=label,
            shape=x.shape,
            status=status,
            oracle=oracle,
            where=f"d {self.rows.names[at[0]]} / d {columns.names[at[1]]}" if at else "",
            analytic=float(said[at]) if at else 0.0,
            numeric=float(seen[at]) if at else 0.0,
            tolerance=float(allowed[at]) if at else 0.0,
            wrong=int(wrong.sum()),
            compared=said.size,
            note=note,
        )

    def _line(self, k: int, direction: np.ndarray) -> Line:
        moves: list[np.ndarray | None] = [None] * len(self.point)
        moves[k] = direction.reshape(self.point[k].shape)
        return Line(self.function.values, self.point, moves)

    def _oracle(self, k: int, lines: list[Line]) -> tuple[str, list[Slope]]:
        if self.kind in ("linear", "bilinear"):
            self._check_linear(k)
            return "differences with step 1", [line.exact(self.scale, self.eps) for line in lines]
        if self.kind == "analytic" and self.order == 1:
            try:
                return "complex step", [line.complex(self.scale) for line in lines]
            except Exception as error:  # whatever complex numbers do to the function
                self.problems.append(
                    "declared analytic, but it does not compute with complex numbers: "
                    f"{type(error).__name__}: {error}"
                )
        return "central differences", self._differences(lines)

    def _check_linear(self, k: int) -> None:
        """Is the function, as declared, linear along a line? Three points say so."""
        if not self.here.size or not self.point[k].size:
            return
        together = self.kind == "linear"
        moves = [
            dense(self.rng, x.shape) if together or i == k else None
            for i, x in enumerate(self.point)
        ]
        line = Line(self.function.values, self.point, moves)
        one, two = line.at(1.0), line.at(2.0)
        off = abs(two - 2 * one + self.here).max()
        if not off <= 1e4 * self.eps * max(self.scale, abs(two).max()):
            where = "its inputs together" if together else self.function.labels[k]
            self.problems.append(f"declared {self.kind}, but it is not linear in {where}")

    def _differences(self, lines: list[Line]) -> list[Slope]:
        slopes = [line.extrapolated(FIRST_STEP, self.scale, self.eps) for line in lines]
        largest = max([abs(s.value).max(initial=0.0) for s in slopes], default=0.0)
        for i, (line, slope) in enumerate(zip(lines, slopes, strict=True)):
            if (slope.tolerance > 1e-6 * largest).any():
                slopes[i] = line.best(self.scale, self.eps)
        return slopes

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
        lines: list[Line],
        label: str,
        said: np.ndarray,
        seen: np.ndarray,
        allowed: np.ndarray,
    ) -> tuple[str, np.ndarray, np.ndarray]:
        """Where a complex step disagrees, central differences decide who is wrong."""
        other, other_allowed = self._combined(self._differences(lines))
        if not (abs(said - other) <= other_allowed).all():
            return "complex step", seen, allowed
        self.problems.append(
            f"declared analytic, but complex numbers give another derivative by {label} than real "
            "ones do: it is piecewise or smooth"
        )
        return "central differences", other, other_allowed

    # Kinks

    def _at_kinks(
        self, lines: list[Line], said: np.ndarray, doubtful: np.ndarray, all_rules: np.ndarray
    ) -> tuple[str, np.ndarray]:
        """Are the doubtful entries kinks, and is the gradient between the slopes of both sides?"""
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
        if outside.any() or not self._inside_along_many(all_rules):
            return "outside", outside if outside.any() else doubtful
        return "kink", outside

    def _between(self, line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The lowest and highest slope around the point, per row, and whether they differ there."""
        left, right, kink = line.one_sided(self.here)
        low, high = np.minimum(left, right), np.maximum(left, right)
        if self.kind == "piecewise":
            with np.errstate(all="ignore"):
                wide, near = line.nearby(self.rng)
                spread = np.ptp(near, axis=0)
                size = np.maximum(abs(low), abs(high)) + abs(near).max(axis=0)
                # Around a smooth point the spread shrinks with the distance, at a jump it stays.
                jump = (spread > 0.5 * np.ptp(wide, axis=0)) & (spread > 1e-3 * size)
            low = np.where(jump, np.minimum(low, near.min(axis=0)), low)
            high = np.where(jump, np.maximum(high, near.max(axis=0)), high)
            kink = kink | jump
        if self.rows.matrix is not None:
            plus, minus = np.maximum(self.rows.matrix.T, 0), np.minimum(self.rows.matrix.T, 0)
            low, high = plus @ low + minus @ high, plus @ high + minus @ low
            kink = (self.rows.matrix.T != 0) @ kink
        return low, high, kink

    def _inside_along_many(self, rules: np.ndarray) -> bool:
        """Entry by entry a sum over tied inputs can look right; directions that mix them tell."""
        size = rules.shape[1]
        directions = [np.ones(size), *(dense(self.rng, (size,)) for _ in range(6))]
        for u in directions:
            moves: list[np.ndarray | None] = [*split(u, self.point)]
            low, high, _ = self._between(Line(self.function.values, self.point, moves))
            slack = 1e-4 * np.maximum(abs(low), abs(high)) + 1e-4
            slope = rules @ u
            if not ((slope >= low - slack) & (slope <= high + slack)).all():
                return False
        return True

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


def guess(said: np.ndarray, seen: np.ndarray, wrong: np.ndarray) -> str:
    """One sentence about what the wrong entries have in common, or nothing."""
    a, b = said[wrong], seen[wrong]
    if not a.any():
        return "the rule gives zero there"
    if (abs(b) > 1e-6 * abs(a).max()).all():
        ratio = a / b
        if np.ptp(ratio) < 1e-4 * abs(ratio).max():
            return f"every wrong entry is {ratio.mean():.6g} times what it should be"
    return ""
