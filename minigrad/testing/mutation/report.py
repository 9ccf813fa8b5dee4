"""The outcome of a mutation run: a matrix rule x mutation, the score, and who survived."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .engine import ENGINE
from .judge import STATUSES, Result
from .mutations import MUTATIONS

LETTERS = dict(zip(STATUSES, "x!=.?", strict=True))
WIDTH = 79  # of what explains the matrix
WORST_FIRST = ("survived", "timeout", "killed", "equivalent", "not applicable")


@dataclass
class Report:
    """What became of every mutant.

    Attributes:
        results: one for each.
        composed: operations without rules of their own, and what they are composed of.
        seconds: how long the run took.
        notes: what was not done, and why.
    """

    results: list[Result] = field(default_factory=list)
    composed: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def of(self, status: str) -> list[Result]:
        """The results with this status."""
        return [r for r in self.results if r.status == status]

    @property
    def score(self) -> float:
        """Killed mutants as a share of those that change something; 1 if there are none."""
        count = Counter(r.status for r in self.results)
        total = count["killed"] + count["survived"] + count["timeout"]
        return count["killed"] / total if total else 1.0

    @property
    def ok(self) -> bool:
        """Whether every mutant that changes something was killed."""
        return not self.of("survived") and not self.of("timeout")

    def __str__(self) -> str:
        return "\n".join([*self._matrix(), *self._engine(), *self._summary()])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "score": self.score,
            "seconds": round(self.seconds, 1),
            "counts": {s: len(self.of(s)) for s in STATUSES},
            "composed": self.composed,
            "notes": self.notes,
            "mutants": [r.as_dict() for r in self.results],
        }

    def _rows(self) -> dict[str, dict[str, list[Result]]]:
        rows: dict[str, dict[str, list[Result]]] = {}
        for r in self.results:
            if r.mutant.operation != "engine":
                rows.setdefault(r.mutant.rule, {}).setdefault(r.mutant.mutation, []).append(r)
        return rows

    def _matrix(self) -> Iterator[str]:
        rows = self._rows()
        if not rows:
            return
        yield "  ".join(f"{LETTERS[s]} {s}" for s in STATUSES)
        yield "a rule with several variants of a mutation shows the worst of them"
        yield ""
        letters = "abcdefghijklmnopqrstuvwxyz"[: len(MUTATIONS)]
        for letter, (kind, mutation) in zip(letters, MUTATIONS.items(), strict=True):
            words = f"{letter}  {kind}: {mutation.meaning}"
            yield from textwrap.wrap(words, WIDTH, subsequent_indent="   ")
        yield ""
        width = max(map(len, rows))
        yield f"{'':<{width}}  {' '.join(letters)}"
        for rule, cells in rows.items():
            line = [_letter(cells.get(kind, ())) for kind in MUTATIONS]
            yield f"{rule:<{width}}  {' '.join(line)}"

    def _engine(self) -> Iterator[str]:
        results = [r for r in self.results if r.mutant.operation == "engine"]
        if results:
            yield ""
            yield "the engine"
        for r in results:
            name = r.mutant.mutation
            yield f"  {LETTERS[r.status]} {name}: {ENGINE[name].meaning}"

    def _summary(self) -> Iterator[str]:
        yield ""
        without = [name for name, parts in self.composed.items() if not parts]
        for name, parts in self.composed.items():
            if parts:
                yield f"{name} has no rules of its own: it is composed of {', '.join(parts)}"
        if without:
            yield "without derivatives: " + ", ".join(without)
        yield from self.notes
        reasons = Counter(r.how for r in self.of("equivalent"))
        for reason, n in reasons.most_common():
            yield f"{n} equivalent: {reason}"
        for status in ("survived", "timeout"):
            for r in self.of(status):
                yield from _survivor(r)
        if self.of("survived") or self.of("timeout"):
            yield "mutated and damaged are contexts of minigrad.testing.mutation: try them"
        counts = ", ".join(f"{len(self.of(s))} {s}" for s in STATUSES if self.of(s))
        yield f"{counts or 'nothing to break'}; {self.seconds:.0f} s"
        if self.results:
            yield f"score: {self.score:.1%}"


def _letter(results: Sequence[Result]) -> str:
    for status in WORST_FIRST:
        if any(r.status == status for r in results):
            return LETTERS[status]
    return LETTERS["not applicable"]


def _survivor(r: Result) -> Iterator[str]:
    m = r.mutant
    yield f"{'SURVIVED' if r.status == 'survived' else 'NOT JUDGED IN TIME'}: {m}"
    yield f"    {r.how}"
    if m.operation == "engine":
        yield f"    to see it: with damaged({m.mutation!r}): ..."
    else:
        given = (m.rule, m.mutation, m.variant) if m.variant else (m.rule, m.mutation)
        yield f"    to see it: with mutated({', '.join(map(repr, given))}): ..."
