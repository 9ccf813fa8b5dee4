"""What the autopsy of a mismatch looks at: the rule's Jacobian, the numeric one, and the function.

With cotangents V and directions U, the rule says V^T R U and the oracle sees V^T J U. Small cases
have V = U = 1, so that R and J are known entry by entry; of large ones only the sketch is known,
and a suspicion is tested on the same sketch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..checker.oracles import FIRST_STEP, Line
from ..checker.probes import Arrays, dense

if TYPE_CHECKING:
    from ..checker.block import Block

Map = Callable[[np.ndarray], np.ndarray]

FITS = 0.01  # an explanation may leave this share of the mismatch unexplained
LARGEST = 1024  # entries of input and of outputs up to which a sketch is filled in to the whole
QUICK_STEP = 3e-5  # of a single central difference: good to about 1e-9
PATIENCE = 1.5  # seconds that filling in may take


class Case:
    """One mismatch between the rule and the oracle, by one input.

    Args:
        block: where rule and oracle were compared.
        status: of the finding.

    Attributes:
        comparison: of which it is part.
        k: which input.
        x: the input; y: the output, if there is one only, else None.
        rules: V^T R, one row for each cotangent.
        slopes: J U, one column for each direction.
        said, seen: V^T R U and V^T J U.
        full: whether these are the whole Jacobians.
        wrong: where they differ by more than they may.
        gap: the norm of their difference.
    """

    def __init__(self, block: Block, status: str) -> None:
        self.comparison, self.k = block.comparison, block.k
        self.status: str = status
        self.order = self.comparison.order
        self.x, self.label, self.own = block.x, block.label, block.own
        outputs = self.comparison.place.outputs
        self.y = outputs[0] if len(outputs) == 1 else None
        self.rules, self.slopes, self.allowed = block.rules, block.slopes, block.allowed
        self.cotangents, self.directions = self.comparison.rows.matrix, block.columns.matrix
        self.examples: np.ndarray | None = None  # wrong entries of a large gradient, once searched
        if not self.full and self._can_be_filled_in():
            self._fill_in()
        self.said = self.on_directions(self.rules)
        self.seen = self.on_cotangents(self.slopes)
        with np.errstate(all="ignore"):
            self.wrong = ~(abs(self.said - self.seen) <= self.allowed)
            self.gap = float(np.linalg.norm(self.said - self.seen))

    @property
    def full(self) -> bool:
        """Whether the Jacobians are known entry by entry."""
        return self.cotangents is None and self.directions is None

    def on_directions(self, rows: np.ndarray) -> np.ndarray:
        """Rows of a matrix, as seen by the directions U."""
        return rows if self.directions is None else rows @ self.directions

    def on_cotangents(self, columns: np.ndarray) -> np.ndarray:
        """Columns of a matrix, as seen by the cotangents V."""
        return columns if self.cotangents is None else self.cotangents.T @ columns

    # The function and its rule, elsewhere

    def pull(self, v: np.ndarray) -> np.ndarray:
        """R^T v, the rule's gradient by this input, flat."""
        return self.comparison.pull(v)[self.own]

    def numeric(self, direction: np.ndarray, k: int | None = None) -> np.ndarray:
        """J u by central differences, by this input or by another."""
        return self._slope(self.comparison.place.line(self.k if k is None else k, direction))

    def numeric_at(self, point: Arrays, step: float = FIRST_STEP) -> np.ndarray:
        """J U at another point; a small step stays on one side of the kinks around it."""
        moves: list[np.ndarray | None] = [None] * len(point)
        found = []
        for u in self._each_direction():
            moves[self.k] = u.reshape(self.x.shape)
            line = Line(self.comparison.place.values, point, list(moves))
            found.append(self._slope(line, step))
        return np.stack(found, axis=1)

    def _slope(self, line: Line, step: float = FIRST_STEP) -> np.ndarray:
        here = self.comparison.place
        if self.directions is not None and here.eps < 1e-12:  # large: be quick
            return np.nan_to_num(line.difference(min(step, QUICK_STEP) * line.reach))
        return line.extrapolated(step, here.scale, here.eps).value

    def _each_direction(self) -> np.ndarray:
        return np.eye(self.x.size) if self.directions is None else self.directions.T

    def by_input(self, k: int) -> np.ndarray:
        """V^T J U by another input of the same size."""
        return self.on_cotangents(
            np.stack([self.numeric(u, k) for u in self._each_direction()], axis=1)
        )

    def unbroadcast(self) -> np.ndarray | None:
        """J by the input as if it had the output's shape and nothing were repeated.

        Shape: cotangents, then the output's. None if the function does not take such an input.
        """
        assert self.y is not None
        point = list(self.comparison.place.point)
        point[self.k] = np.array(np.broadcast_to(self.x, self.y.shape))
        values = self.comparison.place.values
        try:
            same = np.array_equal(
                np.concatenate([y.ravel() for y in values(point)]), self.y.ravel()
            )
        except Exception:  # whatever other shapes do to the function
            return None
        if not same or self.y.size > LARGEST:
            return None
        moves: list[np.ndarray | None] = [None] * len(point)
        found = []
        for u in np.eye(self.y.size):
            moves[self.k] = u.reshape(self.y.shape)
            found.append(self._slope(Line(values, point, list(moves))))
        return self.on_cotangents(np.stack(found, axis=1)).reshape(-1, *self.y.shape)

    # Linear maps before and after

    def is_input_mapped(self, f: Map, transposed: Map) -> bool:
        """Is R = J F, for a linear map F of arrays of the input's shape, which may be stacked?"""
        if self.directions is None:
            return self.fits(self.said, self._on_rows(transposed, self.seen))
        u = f(self.directions.T.reshape(-1, *self.x.shape)).reshape(-1, self.x.size)
        # Most suspicions are wrong, and the first direction says so.
        first = self.on_cotangents(self.numeric(u[0])[:, None])[:, 0]
        gap = np.linalg.norm(self.said[:, 0] - self.seen[:, 0])
        if not np.linalg.norm(self.said[:, 0] - first) <= 0.1 * gap:
            return False
        mapped = self.on_cotangents(np.stack([self.numeric(d) for d in u], axis=1))
        return self.fits(self.said, mapped)

    def rule_mapped(self, transposed: Map) -> np.ndarray:
        """V^T R F U, with the transpose of F: it acts on the gradients that the rule gives."""
        return self.on_directions(self._on_rows(transposed, self.rules))

    def output_mapped(self, f: Map) -> np.ndarray:
        """V^T B J U for a linear map B of arrays of the output's shape, which may be stacked."""
        assert self.y is not None
        stacked = f(self.slopes.T.reshape(-1, *self.y.shape))
        return self.on_cotangents(stacked.reshape(self.slopes.T.shape).T)

    def _on_rows(self, f: Map, rows: np.ndarray) -> np.ndarray:
        return f(rows.reshape(-1, *self.x.shape)).reshape(rows.shape)

    # Does it fit?

    def fits(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Is what an explanation leaves unexplained small beside the mismatch?"""
        with np.errstate(all="ignore"):
            left = float(np.linalg.norm(a - b))
            noise = float(np.linalg.norm(self.allowed))
        return left <= max(FITS * self.gap, min(2 * noise, 0.1 * self.gap))

    @cached_property
    def mixed(self) -> tuple[np.ndarray, np.ndarray]:
        """A random cotangent, and the rule's gradient for it along the directions."""
        v = dense(self.comparison.rng, self.comparison.place.here.shape)
        return v, self.on_directions(self.pull(v)[None])[0]

    # Filling in

    def _can_be_filled_in(self) -> bool:
        here = self.comparison.place
        if max(self.x.size, here.here.size) > LARGEST:
            return False
        start = time.perf_counter()
        self.numeric(dense(here.rng, self.x.shape))
        self.pull(dense(here.rng, here.here.shape))
        passed = time.perf_counter() - start
        return passed * max(self.x.size, here.here.size) < PATIENCE

    def _fill_in(self) -> None:
        if self.cotangents is not None:
            self.rules = np.stack([self.pull(v) for v in np.eye(self.comparison.place.here.size)])
        if self.directions is not None:
            self.slopes = np.stack([self.numeric(u) for u in np.eye(self.x.size)], axis=1)
        self.cotangents = self.directions = None
        size = abs(self.slopes).max(initial=0.0)
        self.allowed = np.full(self.slopes.shape, 1e-7 * size + self.allowed.min(initial=1.0))
