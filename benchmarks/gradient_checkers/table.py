"""Asking all checkers about all faults, and the table of what they said."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .checkers import Check
from .faults import Fault

BEGIN = "<!-- checkers: written by `python -m benchmarks.gradient_checkers` -->"
END = "<!-- end of checkers -->"
OURS = "minigrad"


@dataclass(frozen=True)
class Row:
    """One fault and one checker.

    Attributes:
        fault, family, checker: their names.
        seeds: how many draws of the numbers it was asked about.
        caught: in how many of them it complained about the wrong rule.
        false_alarms: in how many it complained about the right one.
        named: in how many the autopsy named the fault's family.
        said: the families that it named, most frequent first.
        seconds: the median time of a check of the right rule, which is what a passing test takes.
    """

    fault: str
    family: str
    checker: str
    seeds: int
    caught: int
    false_alarms: int
    named: int
    said: tuple[str, ...]
    seconds: float


def ask(fault: Fault, name: str, check: Check, seeds: int) -> Row:
    """Ask a checker about the fault in `seeds` draws; a draw is the same for every checker."""
    wrong, right = [], []
    for seed in range(seeds):
        problem = fault.draw(np.random.default_rng(seed))
        wrong.append(check(problem, True, seed))
        right.append(check(problem, False, seed))
    families = [answer.families for answer in wrong]
    said = [f for found in families for f in found]
    return Row(
        fault.name,
        fault.family,
        name,
        seeds,
        sum(a.complains for a in wrong),
        sum(a.complains for a in right),
        sum(fault.family in found for found in families),
        tuple(sorted(set(said), key=said.count, reverse=True)),
        statistics.median(a.seconds for a in right),
    )


def ask_all(
    faults: Sequence[Fault],
    checkers: Mapping[str, Check],
    seeds: int,
    tell: Callable[[Row], Any] = lambda row: None,
) -> list[Row]:
    """Ask every checker about every fault; `tell` hears of each row as it is there."""
    rows = []
    for fault in faults:
        for name, check in checkers.items():
            rows.append(ask(fault, name, check, seeds))
            tell(rows[-1])
    return rows


def markdown(rows: Sequence[Row], faults: Sequence[Fault], about: Mapping[str, Any]) -> str:
    """The table, a sentence about how it was made above it."""
    checkers = list(dict.fromkeys(row.checker for row in rows))
    by = {(row.fault, row.checker): row for row in rows}
    versions = ", ".join(
        f"{name} {about['versions'][package]}"
        for package, name in (("torch", "PyTorch"), ("autograd", "autograd"))
        if package in about["versions"]
    )
    lines = [
        f"Each checker was asked about the same {rows[0].seeds} draws of the inputs; the table "
        "says in how many of them it noticed the fault, and in brackets, where there were any, in "
        f"how many it complained about the right rule. minigrad at commit {about['commit']}, "
        f"{versions or 'no other checker'}, NumPy {about['versions']['numpy']}, "
        f"{about['date'][:10]}, {about['processor']}.\n",
        f"| fault | {' | '.join(checkers)} | the autopsy says |",
        "|---|" + "---|" * (len(checkers) + 1),
    ]
    for fault in faults:
        found = [by[fault.name, checker] for checker in checkers]
        ours = next(row for row in found if row.checker == OURS)
        cells = " | ".join(_cell(row) for row in found)
        lines.append(f"| **{fault.name}**: {fault.what} | {cells} | {_autopsy(ours)} |")
    lines.append(f"| all faults in all draws | {_each(rows, checkers, _total)} | {_named(rows)} |")
    lines.append(f"| false alarms | {_each(rows, checkers, _alarms)} | |")
    lines.append(f"| median time of a check | {_each(rows, checkers, _time)} | |")
    return "\n".join(lines)


def _cell(row: Row) -> str:
    alarms = f" ({row.false_alarms})" if row.false_alarms else ""
    if row.caught == row.seeds:
        return "all" + alarms
    return (f"{row.caught} of {row.seeds}" if row.caught else "none") + alarms


def _autopsy(row: Row) -> str:
    said = " / ".join(row.said) or "nothing"
    if row.named == row.seeds and row.said[0] == row.family:
        return said
    return f"{said} ({row.family} in {row.named} of {row.seeds})"


def _each(rows: Sequence[Row], names: Sequence[str], of: Callable[[list[Row]], str]) -> str:
    return " | ".join(of([row for row in rows if row.checker == name]) for name in names)


def _total(rows: list[Row]) -> str:
    return f"{sum(r.caught for r in rows)} of {sum(r.seeds for r in rows)}"


def _alarms(rows: list[Row]) -> str:
    return f"{sum(r.false_alarms for r in rows)} of {sum(r.seeds for r in rows)}"


def _time(rows: list[Row]) -> str:
    return f"{statistics.median(r.seconds for r in rows) * 1e3:.1f} ms"


def _named(rows: Sequence[Row]) -> str:
    ours = [row for row in rows if row.checker == OURS]
    right = sum(row.named == row.seeds for row in ours)
    return f"the right family, in every draw: {right} of {len(ours)} faults"


def rewrite(file: Path, table: str) -> None:
    """Put the table between the marks of a file.

    Raises:
        ValueError: if it has no such marks.
    """
    text = file.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} has no lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
