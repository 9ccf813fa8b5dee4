"""A rule seems to be wrong. Three questions, before it is said, of what the oracle may not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import rounding
from .measure import CENTRAL, Measured
from .oracles import Line
from .place import ExhaustedError
from .probes import dense

if TYPE_CHECKING:
    from .block import Block

NARROW = (16, 128, 1024)  # last digits, by which inputs move to see how steep a function is
FEW = 4  # so often, each time in another direction
CALLS, SECONDS = 20_000, 5.0  # how often, and how long, a function is called for each question


def hidden_rows(block: Block) -> np.ndarray:
    """Rows whose slopes along sums of directions are not the sums of the slopes.

    Such a function is not differentiable, and slopes along single directions may not show it:
    the median of three equal numbers stays what it is if any one of them moves.
    """
    if len(block.lines) < 2:
        return np.zeros(len(block.said), bool)
    comparison = block.comparison
    w = dense(comparison.rng, (len(block.lines),))
    u = w if block.columns.matrix is None else block.columns.matrix @ w
    try:
        with comparison.place.at_most(CALLS, SECONDS):
            along = comparison.oracles.closely(comparison.place.line(block.k, u))
    except ExhaustedError:
        return np.zeros(len(block.said), bool)
    found, allowed = block.combined(Measured(CENTRAL, [along]))
    off = abs(found[:, 0] - block.seen @ w)
    small = 1e-3 * (abs(block.seen) @ abs(w) + abs(found[:, 0])) + 1e-300
    return np.asarray(off > allowed[:, 0] + block.allowed @ abs(w) + small)


def shake(block: Block) -> None:
    """Allow for the rounding of an oracle that has none of its own, as far as it shows.

    Where the function is all but singular its derivative hangs on the last digits as well.
    """
    comparison, place = block.comparison, block.comparison.place
    for j in np.flatnonzero(block.wrong.any(axis=0)):
        changes = []
        for point, _ in rounding.beside(place.point, place.eps):
            line = Line(place.values, point, block.lines[j].direction)
            (slope,) = comparison.oracles.again(block.oracle, [line])
            changes.append(abs(slope.value - block.measured.slopes[j].value))
        change = np.max(changes, axis=0)
        v = comparison.rows.matrix
        block.allowed[:, j] += rounding.TIMES * (change if v is None else abs(v.T) @ change)
        if not (abs(block.said - block.seen) <= block.allowed)[:, j].any():
            break  # what no rounding explains in one column is no rounding in the others
    block.wrong &= ~(abs(block.said - block.seen) <= block.allowed)


def steep_rows(block: Block) -> np.ndarray:
    """Rows that follow the rule, and not the oracle, where inputs move by a few digits.

    There the function is steeper than any step could see, as the solution of equations is that
    are all but singular; or so rounded that its last digits change by as much.
    """
    place, size = block.comparison.place, abs(block.x).max(initial=0.0)
    v = block.comparison.rows.matrix
    steep = np.zeros(len(block.said), bool)
    for digits in NARROW:
        changes, ways = [], []
        for _ in range(FEW):
            w = dense(block.comparison.rng, (len(block.lines),))
            u = w if block.columns.matrix is None else block.columns.matrix @ w
            length = digits * place.eps * size / max(abs(u).max(initial=0.0), 1e-300)
            change = place.line(block.k, u).at(length) - place.here
            changes.append(change if v is None else v.T @ change)
            ways.append(length * w)
        change = np.stack(changes, axis=1)
        by_rule, by_oracle = (m @ np.stack(ways, axis=1) for m in (block.said, block.seen))
        moved, rule, oracle = (np.linalg.norm(m, axis=1) for m in (change, by_rule, by_oracle))
        rounded = (moved > 1e4 * place.eps * place.scale) & (oracle < 1e-3 * moved)
        steep |= rounded & (rule > 0.1 * moved)
        off_rule, off_oracle = (np.linalg.norm(change - m, axis=1) for m in (by_rule, by_oracle))
        steep |= (off_rule < 0.3 * moved) & (off_oracle > 0.5 * moved)
    return steep & block.wrong.any(axis=1)
