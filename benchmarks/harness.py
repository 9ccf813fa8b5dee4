"""Fair timing: equal results first, then interleaved rounds, medians and their spread."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

OURS = "minigrad"


class ResultsDiffer(Exception):
    """Two contenders computed different things: timing them would compare nothing."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a case.

    Attributes:
        name: the library and, where it matters, its setting.
        run: does the work once, and waits until it is done.
        outputs: what `run` returned as NumPy arrays, for the comparison.
        note: what a reader must know to judge the figure.
        measures_itself: `run` returns the seconds that count, measured elsewhere.
        reset: undoes what runs have done, where one depends on those before it: each batch starts
            with it. A network that learnt its images by heart would have gradients that vanish,
            and processors are slow with numbers that are almost 0.
    """

    name: str
    run: Callable[[], Any]
    outputs: Callable[[Any], Sequence[Any]]
    note: str = ""
    measures_itself: bool = False
    reset: Callable[[], None] = lambda: None


@dataclass
class Case:
    """A piece of work and those who do it; the first contender is ours.

    Attributes:
        name: says what the work is.
        contenders: ours first, then the peers.
        tolerance: the largest relative difference of results that counts as equal.
        trials: how many runs are compared; more than one where a run depends on the one before.
        figures: finds further numbers, such as bytes per node, given what one run of ours takes.
        unit: of what is measured: seconds, or bytes ("B").
        rounds: the fewest rounds, where the usual number would take too long.
    """

    name: str
    contenders: list[Contender]
    tolerance: float = 1e-4
    trials: int = 1
    figures: Callable[[float], dict[str, float]] = lambda ours: {}
    rounds: int | None = None
    unit: str = "s"


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        seconds: measured time to collect for each contender.
        rounds: the fewest rounds.
        batch: the shortest stretch that is timed at once; quicker work is repeated within it.
        limit: no new round starts later than this many seconds after the first, once there are
            `rounds` of them.
        pause: what passes before another contender's turn, so that the threads of the one before,
            which stay awake for a while in case there is more work, are asleep.
    """

    seconds: float = 1.0
    rounds: int = 11
    batch: float = 0.02
    limit: float = 15.0
    pause: float = 0.03


QUICK = Budget(seconds=0.05, rounds=3, batch=0.005, limit=2.0, pause=0.0)

LONG = 0.2
"""Seconds from which a run warms caches and threads up by itself."""


@dataclass(frozen=True)
class Row:
    """One line of the results: our time beside one peer's, or alone.

    Attributes:
        ours: the median of one run of ours: seconds, or what `unit` says.
        peer: whose the other figure is; None where there is none.
        theirs: the median of one run of the peer.
        ratio: `theirs / ours`: above 1 we are faster.
        spread: interquartile range over median, of the ratios round by round; of our times where
            there is no peer.
        contender: whose figure `ours` is.
        error: why the figure cannot be true.
    """

    suite: str
    case: str
    ours: float
    peer: str | None
    theirs: float | None
    ratio: float | None
    spread: float
    note: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    unit: str = "s"
    contender: str = OURS
    error: str = ""


def spread(values: Sequence[float]) -> float:
    """Interquartile range over median: 0 for values that all agree."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)


def compare(case: Case) -> None:
    """Let every contender work `case.trials` times and hold the results to ours.

    The difference is relative to the largest number of the array in question.

    Raises:
        ResultsDiffer: naming the peer, the output and the difference.
    """
    ours, *peers = case.contenders
    wanted = _collect(ours, case.trials)
    for peer in peers:
        got = _collect(peer, case.trials)
        if len(got) != len(wanted):
            raise ResultsDiffer(
                f"{case.name}: {peer.name} gives {len(got)} results, {ours.name} {len(wanted)}"
            )
        for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
            if a.shape != b.shape:
                raise ResultsDiffer(
                    f"{case.name}: result {i} of {peer.name} has shape {a.shape}, of {ours.name} "
                    f"{b.shape}"
                )
            scale = max(float(np.abs(b).max(initial=0.0)), 1e-30)
            difference = float(np.abs(a - b).max(initial=0.0)) / scale
            if not difference <= case.tolerance:  # a NaN differs too
                raise ResultsDiffer(
                    f"{case.name}: result {i} of {peer.name} differs from that of {ours.name} by "
                    f"{difference:.1e} of its largest number, more than {case.tolerance:.0e}"
                )


def _collect(contender: Contender, trials: int) -> list[np.ndarray]:
    results = []
    contender.reset()
    for _ in range(trials):
        results += [np.asarray(x, np.float64) for x in contender.outputs(contender.run())]
    return results


def rounds(contenders: Sequence[Contender], budget: Budget) -> list[list[float]]:
    """Seconds per run, one list for each contender, one number for each round.

    In each round every contender works for a batch of runs, in an order that rotates from round to
    round, so that a machine that slows down or speeds up does so for all.
    """
    repeats, warm_up = zip(*(_repeats(c, budget.batch) for c in contenders), strict=True)
    times: list[list[float]] = [[] for _ in contenders]
    begin = time.perf_counter()
    done = 0
    while done < budget.rounds or (
        min(sum(t) * n for t, n in zip(times, repeats, strict=True)) < budget.seconds
        and time.perf_counter() - begin < budget.limit
    ):
        for k in range(len(contenders)):
            i = (k + done) % len(contenders)
            if len(contenders) > 1:
                time.sleep(budget.pause)
            times[i].append(_timed(contenders[i], repeats[i], warm_up[i]) / repeats[i])
        done += 1
    return times


def _repeats(contender: Contender, batch: float) -> tuple[int, bool]:
    """How many runs fill a batch, and whether one that is not timed should come first."""
    if contender.measures_itself:
        return 1, False
    contender.reset()
    contender.run()
    start = time.perf_counter()
    contender.run()
    took = time.perf_counter() - start
    return max(1, round(batch / max(took, 1e-9))), took < LONG


def _timed(contender: Contender, repeats: int, warm_up: bool) -> float:
    """The seconds that a batch of runs takes.

    One run before it is not timed: it fetches caches and threads back from the contender before.
    """
    run = contender.run
    if contender.measures_itself:
        return sum(run() for _ in range(repeats))
    contender.reset()
    if warm_up:
        run()
    gc.collect()  # nobody pays for another's garbage; the collector itself stays on, as for users
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - start


def rows(suite: str, case: Case, times: Sequence[Sequence[float]]) -> list[Row]:
    """The rows of one measured case: one for each peer, or one for us alone."""
    mine, us = times[0], case.contenders[0]
    ours = statistics.median(mine)
    more = {"figures": case.figures(ours), "unit": case.unit, "contender": us.name}
    if len(times) == 1:
        return [Row(suite, case.name, ours, None, None, None, spread(mine), us.note, **more)]
    result = []
    for peer, others in zip(case.contenders[1:], times[1:], strict=True):
        theirs = statistics.median(others)
        by_round = [b / a for a, b in zip(mine, others, strict=True)]
        numbers = (ours, peer.name, theirs, theirs / ours, spread(by_round))
        result.append(Row(suite, case.name, *numbers, peer.note, **more))
    return result


Rows = Callable[[str, Case, Sequence[Sequence[float]]], list[Row]]


def measure(suite: str, case: Case, budget: Budget, rows_of: Rows = rows) -> list[Row]:
    """Compare the results of a case, then time it.

    Raises:
        ResultsDiffer: if a peer computes something else.
    """
    compare(case)
    if case.rounds is not None:
        budget = replace(budget, rounds=min(case.rounds, budget.rounds))
    return rows_of(suite, case, rounds(case.contenders, budget))


def in_fresh_process(module: str, function: str, *arguments: Any) -> Any:
    """Call `module.function(*arguments)` in a new interpreter; all of it must survive JSON."""
    code = (
        "import importlib, json, sys\n"
        "path, module, function, arguments = json.loads(sys.argv[1])\n"
        "sys.path[:] = path\n"
        "f = getattr(importlib.import_module(module), function)\n"
        "print('\\n' + json.dumps(f(*arguments)))\n"
    )
    task = json.dumps([sys.path, module, function, arguments])
    # Compiled sources are kept from one process to the next, as where people work.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code, task],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"{module}.{function}{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


UNITS = {
    "s": (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)),
    "B": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)),
}


def in_words(value: float | None, unit: str = "s") -> str:
    """A time or size with a unit of the right size: `1.23 ms`."""
    if value is None:
        return ""
    name, size = next((u for u in UNITS[unit] if value >= u[1]), UNITS[unit][-1])
    return f"{value / size:.3g} {name}"


def table(results: Iterable[Row]) -> str:
    """The rows as text, in columns."""
    lines = [["case", "ours", "peer", "peer's", "ratio", "spread", "notes"]]
    for r in results:
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}"
        notes = [text for text in (r.error and f"ERROR: {r.error}", r.note) if text]
        notes += [f"{name} {value:.4g}" for name, value in r.figures.items()]
        lines.append(
            [r.case, in_words(r.ours, r.unit), r.peer or "", in_words(r.theirs, r.unit), ratio]
            + [f"{r.spread:.0%}", "; ".join(notes)]
        )
    return columns(lines, left=(0, 2, 6))


def columns(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Text in columns as wide as they need to be; those in `left` begin at the left."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
