"""Comparing what the rules say with what an oracle says: the full Jacobian, or a sketch of it.

With J the Jacobian, backward gives rows v^T J for cotangents v, and an oracle gives columns J u for
directions u. Both know V J U. Small functions get V = U = 1, the full matrix; large ones several
random cotangents and directions, and a few single entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..autopsy.axes import axes_named, repeated_axes
from . import rounding
from .block import Block
from .functions import Function, Pullback
from .kinks import Kinks
from .measure import Oracles
from .oracles import flat
from .place import Place
from .probes import RANDOM, dense, probes, split
from .verdict import Finding


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
        self.place = Place(function, rng)
        outputs = self.place.outputs
        self.rows = probes(outputs, output_labels(function, len(outputs)), full, rng)
        sketched = self.rows.matrix is not None
        self.oracles = Oracles(self.place, kind, hint, order, sketched)
        self.kinks = Kinks(self.place, self.rows.matrix, kind in ("piecewise", "auto"))
        self.mixed = dense(rng, self.place.here.shape)  # one more cotangent, for linearity
        self.reshaped: dict[int, Reshaped] = {}  # inputs whose gradient has another shape

    def pull(self, v: np.ndarray) -> np.ndarray:
        """v^T J by the rules, all inputs together; v is flat."""
        return self._pulled(self.cut(v))

    def _pulled(self, cotangents: list[np.ndarray | None]) -> np.ndarray:
        scaled = [None if v is None else np.asarray(self.factor * v) for v in cotangents]
        gradients = self.place.pull(scaled)
        for k, (g, x) in enumerate(zip(gradients, self.place.point, strict=True)):
            if g.shape != x.shape:
                self.reshaped[k] = reshaped(g, x)
                gradients[k] = self.reshaped[k].gradient
        return flat(gradients) / self.factor

    def cut(self, v: np.ndarray) -> list[np.ndarray | None]:
        """A flat cotangent as one for each output."""
        return [*split(v, self.place.outputs)]

    def findings(self) -> Iterator[Finding]:
        """Compare the derivative by each input in turn."""
        if self.place.scale < 1e-6 and np.isfinite(self.rules).all():
            self.rescale()
        self._check_linear_in_cotangent()
        start = 0
        for k, x in enumerate(self.place.point):
            yield Block(self, k, start).finding()
            start += x.size
        self.problems += self.oracles.problems

    @cached_property
    def rules(self) -> np.ndarray:
        """V^T J by the rules, all inputs together."""
        return self._rule_rows()

    @cached_property
    def mixed_rules(self) -> np.ndarray:
        """The gradient for the cotangent `mixed`."""
        return self.pull(self.mixed) if self.mixed.size else np.zeros(self.rules.shape[1])

    def _rule_rows(self) -> np.ndarray:
        """V^T J by backward passes over one graph; rows are the cotangents."""
        rows = np.zeros((len(self.rows.names), sum(x.size for x in self.place.point)))
        if self.rows.matrix is not None:
            for row, column in enumerate(self.rows.matrix.T):
                rows[row] = self.pull(column)
        else:
            row = 0
            for i, y in enumerate(self.place.outputs):
                for j in range(y.size):
                    if self.place.recording.connected[i]:
                        seeds: list[np.ndarray | None] = [None] * len(self.place.outputs)
                        seeds[i] = unit = np.zeros(y.shape)
                        unit.reshape(-1)[j] = 1.0
                        rows[row] = self._pulled(seeds)
                    row += 1
        if not np.isfinite(rows).all():
            self.problems.append(f"order {self.order}: the gradient holds NaN or infinity")
        return rows

    def rescale(self) -> bool:
        """Whether what cancelled in the outputs was larger than it seemed, as rounding tells."""
        implied = rounding.implied(self.rounding, self.rules, self.place.eps)
        if not implied > 2 * self.place.scale:
            return False
        self.place.scale = implied
        return True

    def _check_linear_in_cotangent(self) -> None:
        if self.rows.matrix is None:
            v, rows, together = self.mixed, self.rules, self.mixed_rules
        else:
            v, rows = dense(self.rng, (RANDOM,)), self.rules[:RANDOM]
            together = self.pull(self.rows.matrix[:, :RANDOM] @ v)
        if not np.isfinite(rows).all():
            return
        size = (abs(v) @ abs(rows)).max(initial=0.0)
        # A gradient that cancels to zero is the rounding of what was cancelled.
        cancelled = 1e3 * self.place.eps * self.place.scale * float(abs(v).sum())
        allowed = max(1e-10, 1e3 * self.place.eps) * size + cancelled + 1e-300
        off = abs(together - v @ rows)
        if not (off <= allowed).all():
            allowed = allowed + abs(v) @ self.rounding[: len(rows)]
        if not (off <= allowed).all():
            self.problems.append(
                f"order {self.order}: the gradient is not linear in its cotangent (a random "
                "cotangent gives something else than the sum of its parts' gradients)"
            )

    def has_kink(self, near: bool) -> bool:
        """Whether slopes to both sides differ along some entry of some input.

        With `near` also whether they do at points around.
        """
        for k, x in enumerate(self.place.point):
            columns = probes([x], [self.function.labels[k]], self.full, self.rng)
            for j in range(len(columns.names)):
                line = self.place.line(k, columns.of(j, x.size))
                if near and self.kinks.near(line):
                    return True
                if line.one_sided(self.place.here, self.kinks.scales, looks=0)[2].any():
                    return True
        return False

    @cached_property
    def rounding(self) -> np.ndarray:
        """What is allowed for the rounding of the rules, for each of their numbers."""
        rules, recording, problems = self.rules, self.place.recording, list(self.problems)
        changes = np.zeros_like(rules)
        try:
            with np.errstate(all="ignore"):
                for point, factor in rounding.beside(self.place.point, self.place.eps):
                    self.place.recording, self.factor = self.function.record(point), factor
                    changes = np.maximum(changes, abs(self._rule_rows() - rules))
        finally:
            self.place.recording, self.problems, self.factor = recording, problems, 1.0
        return rounding.allowance(self.function, rules, changes)


class Reshaped(NamedTuple):
    """A gradient of the wrong shape, in the right one.

    Attributes:
        gradient: of the right shape; zeros if nothing brings it there.
        fits: whether something does.
        fault, note: the fault, if the numbers are right then.
    """

    gradient: np.ndarray
    fits: bool
    fault: str
    note: str


def reshaped(g: np.ndarray, x: np.ndarray) -> Reshaped:
    """Bring a gradient into its input's shape, as far as that can be meant."""
    was = f"the gradient has shape {g.shape}, its input {x.shape}"
    axes = repeated_axes(x.shape, g.shape)
    if axes:
        summed = g.sum(tuple(axes), keepdims=True).reshape(x.shape)
        over = axes_named(tuple(axes), g.ndim + 1)
        note = f"looks like: broadcasting is not undone: {was}; sum over {over}"
        return Reshaped(summed, True, "broadcast", note)
    if g.shape == x.shape[::-1]:
        note = f"looks like: the gradient is transposed: {was}"
        return Reshaped(g.T, True, "transposed", note)
    if g.size == x.size:
        return Reshaped(g.reshape(x.shape), True, "unknown", f"{was}; reshaped, it is right")
    return Reshaped(np.zeros(x.shape), False, "unknown", was)


def output_labels(function: Function, count: int) -> list[str]:
    """What to call the outputs in messages."""
    if isinstance(function, Pullback):
        return [f"the gradient of {label}" for label in function.of.labels]
    return [f"output {i}" for i in range(count)]
