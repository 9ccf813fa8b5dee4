"""What is to be reached, and what a run of the benchmarks reached."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigrad_kernels.workloads import OTHER_SIZES, WINOGRAD_SIZES

from .harness import OURS, columns

Result = Mapping[str, Any]
"""A `Row` as it is in a JSON file."""


@dataclass(frozen=True)
class Goal:
    """One figure that is wanted.

    Attributes:
        work: what is measured.
        figure: what of it: a ratio (their time or memory over ours), or a share of a ceiling.
        wanted: the least that will do.
        reached: what the run gave; None if it was not measured.
        details: further figures, to judge it by.
    """

    work: str
    figure: str
    wanted: float
    reached: float | None
    details: str = ""

    @property
    def verdict(self) -> str:
        """Whether it was reached, and if not, by how much it falls short."""
        if self.reached is None:
            return "not measured"
        if self.reached >= self.wanted:
            return "reached"
        return f"short by {1 - self.reached / self.wanted:.0%}"


def best(rows: Iterable[Result], suite: str, case: str) -> dict[str, float]:
    """The least that each library took for a case, by its name: its best setting counts."""
    found: dict[str, float] = {}
    for row in rows:
        if row["suite"] != suite or row["case"] != case:
            continue
        for name, value in ((row["contender"], row["ours"]), (row["peer"], row["theirs"])):
            if name:
                library = name.partition(" ")[0]
                found[library] = min(value, found.get(library, math.inf))
    return found


def ratio(took: Mapping[str, float], *peers: str) -> float | None:
    """The best of these peers over ours; None where there is nothing to compare."""
    theirs = [took[p] for p in peers if p in took]
    return min(theirs) / took[OURS] if theirs and OURS in took else None


def goals(rows: Sequence[Result]) -> list[Goal]:
    """All goals, with what these rows say."""
    return [
        *_convolutions(rows),
        *_memory_bound(rows),
        *_adam(rows),
        *_training(rows),
        *_memory(rows),
    ]


def _convolutions(rows: Sequence[Result]) -> list[Goal]:
    winograd = [ratio(best(rows, "convolution", str(c)), "torch") for c in WINOGRAD_SIZES]
    others = [ratio(best(rows, "convolution", str(c)), "torch", "jax") for c in OTHER_SIZES]
    work = "3x3 convolutions, forward and backward"
    listed = _listed(winograd)
    least = None if None in winograd else min(r for r in winograd if r is not None)
    return [
        Goal(work, "geometric mean over PyTorch", 1.5, _mean(winograd), listed),
        Goal(work, "least over PyTorch", 1.0, least, listed),
        Goal(
            "other convolutions, forward and backward",
            "geometric mean",
            1.0,
            _mean(others),
            _listed(others),
        ),
    ]


def _mean(ratios: Sequence[float | None]) -> float | None:
    """The geometric mean; None where one is missing."""
    if any(r is None for r in ratios):
        return None
    return math.exp(sum(math.log(r) for r in ratios if r is not None) / len(ratios))


def _listed(ratios: Sequence[float | None]) -> str:
    return ", ".join("-" if r is None else f"{r:.2f}" for r in ratios)


MEMORY_BOUND = (
    "max-pool 2x2, 32x64x56x56",
    "ReLU, 32x64x56x56",
    "softmax, 512x1000",
    "cross-entropy, 512x1000",
    "layer norm, 512x768",
    "batch norm, 32x64x56x56",
)
ADAM = "Adam, 8,475,530 parameters"


def _memory_bound(rows: Sequence[Result]) -> list[Goal]:
    found = []
    for case in MEMORY_BOUND:
        took = best(rows, "memory-bound", case)
        found.append(
            Goal(case, "over the best peer", 1.5, ratio(took, "torch", "jax"), _of_each(took))
        )
        found.append(Goal(case, "share of the triad's bandwidth", 0.6, _share(rows, case, took)))
    return found


def _adam(rows: Sequence[Result]) -> list[Goal]:
    took = best(rows, "adam", ADAM)
    return [
        Goal(ADAM, "over PyTorch", 1.2, ratio(took, "torch")),
        Goal(ADAM, "share of the triad's bandwidth", 0.7, _share(rows, ADAM, took)),
    ]


def _share(rows: Sequence[Result], case: str, took: Mapping[str, float]) -> float | None:
    """The share of the triad's bandwidth at our best setting."""
    for row in rows:
        if row["case"] == case and "of the triad" in row["figures"]:
            return float(row["figures"]["of the triad"] * row["ours"] / took[OURS])
    return None


def _of_each(took: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {t / took[OURS]:.2f}" for name, t in took.items() if name != OURS)


TRAINING = (
    ("image network, batch 64", "PyTorch", "torch", 2.0),
    ("image network, batch 64", "JAX", "jax", 4.0),
    ("perceptron, batch 1", "PyTorch", "torch", 3.0),
    ("perceptron, batch 32", "PyTorch", "torch", 2.5),
    ("perceptron, batch 256", "PyTorch", "torch", 1.5),
    ("perceptron, batch 1", "JAX", "jax", 1.0),
    ("perceptron, batch 32", "JAX", "jax", 1.0),
    ("perceptron, batch 256", "JAX", "jax", 1.0),
)
"""Case, whom to compare with, its name as a peer, the least ratio."""


def _training(rows: Sequence[Result]) -> list[Goal]:
    return [
        Goal(
            f"training step, {case}",
            f"over {name}",
            wanted,
            ratio(best(rows, "training", case), peer),
        )
        for case, name, peer, wanted in TRAINING
    ]


def _memory(rows: Sequence[Result]) -> list[Goal]:
    case = "peak memory of training, image network, batch 64"
    return [Goal(case, "PyTorch's over ours", 1.0, ratio(best(rows, "memory", case), "torch"))]


def table(found: Sequence[Goal]) -> str:
    """The goals as text."""
    lines = [["goal", "figure", "wanted", "reached", "verdict", "details"]]
    for g in found:
        reached = "" if g.reached is None else f"{g.reached:.2f}"
        lines.append([g.work, g.figure, f"{g.wanted:.2f}", reached, g.verdict, g.details])
    return columns(lines, left=(0, 1, 4, 5))
