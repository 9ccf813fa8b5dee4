"""Does the gradient checker accuse rules that are right? `python -m benchmarks.false_alarms`.

Every registered operation is called in the shapes and with the options of its samples, on numbers
that Hypothesis draws: random, far apart, tied, on the landmarks where kinks are (0, 1/2, 1, 2, the
operation's own constants), and 1e-3 to 1e-12 beside them; in all memory layouts, zero strides
included. The rules are right: other tests compare them with other engines. So each verdict that is
not `right`, and each exception, is a false alarm.

One kind of verdict is counted apart. Beside a kink of a piecewise operation, "too noisy to tell" is
the truth where the kink is nearer than the shortest step that rounding leaves something of. On all
other numbers it is an alarm as well.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from minigrad.ops.registry import OPERATIONS
from minigrad.testing import gradcheck
from minigrad.testing.strategies import OperationCall, operation_calls

STATUSES = ("equal", "kink", "constant")
NO_TENSOR = ("allclose", "equal")  # they return a truth value of Python's


@dataclass
class Row:
    """What the checker said about one operation.

    Attributes:
        operation: its name.
        kind: what kind of function it is.
        examples: how many calls were checked.
        statuses: how often an input's derivatives were found equal, at a kink, ...
        too_close: verdicts "too noisy to tell" beside a kink of a piecewise operation.
        alarms: the other verdicts that are not `right`: the call and what was said.
        seconds: how long it took.
    """

    operation: str
    kind: str
    examples: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    too_close: int = 0
    alarms: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def judge(call: OperationCall, row: Row, kind: str, order: int = 2) -> None:
    """Check one call and enter the verdict in its operation's row."""
    row.examples += 1
    order = min(order, call.sample.orders)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning would alarm a user as well
            verdict = gradcheck(call, call.arrays, order=order, kind=kind)
    except Exception as error:  # whatever it is, it is an alarm
        row.alarms.append((str(call), f"{kind}: {type(error).__name__}: {error}"))
        return
    row.statuses.update(f.status for f in verdict.findings)
    if not verdict.findings and verdict.ok:
        row.statuses["constant"] += 1
    if verdict.ok:
        return
    noisy = all(f.ok or f.status == "unclear" for f in verdict.findings) and not verdict.problems
    if noisy and call.kind == "piecewise" and "beside" in call.ways:
        row.too_close += 1
    else:
        row.alarms.append((str(call), f"kind {kind}: {verdict}"))


def check_operation(name: str, examples: int, first: int = 0) -> Row:
    """So many calls of one operation; `first` is the seed of the draws.

    Half of the calls tell the checker the declared kind, the others let it find out.
    """
    row = Row(name, OPERATIONS[name].kind)
    start = time.perf_counter()

    @seed(first)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation_calls(name))
    def check(call: OperationCall) -> None:
        declared = call.kind == "constant" or row.examples % 2
        judge(call, row, call.kind if declared else "auto")

    check()
    row.seconds = time.perf_counter() - start
    return row


def operations(only: Iterable[str] = ()) -> list[str]:
    """The operations that can be checked: those that return tensors and have a real input.

    Raises:
        ValueError: if `only` names another one.
    """
    usable = [name for name in OPERATIONS if name not in NO_TENSOR]
    wrong = sorted(set(only) - set(usable))
    if wrong:
        raise ValueError(f"no operation {', '.join(wrong)} that the checker could be tried on")
    return [name for name in usable if name in only] if only else usable


def shared(names: Sequence[str], examples: int) -> list[tuple[str, int]]:
    """How many examples each operation gets: by the number of its samples, `examples` in all."""
    weights = [len(OPERATIONS[name].samples) for name in names]
    bounds = [examples * sum(weights[:i]) // sum(weights) for i in range(len(names) + 1)]
    counts = [b - a for a, b in itertools.pairwise(bounds)]
    return [(name, count) for name, count in zip(names, counts, strict=True) if count]


def _task(task: tuple[str, int, int]) -> Row:
    return check_operation(*task)


def run(tasks: Sequence[tuple[str, int]], processes: int, first: int = 0) -> list[Row]:
    """Check all operations in several processes of one thread each."""
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    rows: dict[str, Row] = {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        jobs = [(name, count, first) for name, count in tasks]
        for row in pool.imap_unordered(_task, jobs):
            rows[row.operation] = row
            if sys.stderr.isatty():
                print(f"\r{len(rows)} of {len(tasks)} operations", end="", file=sys.stderr)
    return [rows[name] for name, _ in tasks]


def table(rows: Sequence[Row]) -> str:
    """One line for each operation, and one for all."""
    heads = ("operation", "kind", "examples", *STATUSES, "too close", "alarms", "seconds")
    total = Row("all", "")
    lines = []
    for row in rows:
        total.examples += row.examples
        total.statuses += row.statuses
        total.too_close += row.too_close
        total.alarms += row.alarms
        total.seconds += row.seconds
    for row in (*rows, total):
        cells: list[Any] = [row.operation, row.kind, row.examples]
        cells += [row.statuses[status] for status in STATUSES]
        lines.append([*map(str, cells), str(row.too_close), str(len(row.alarms)),
                      f"{row.seconds:.1f}"])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (heads, *lines)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the table and the alarms; 1 if there was one."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.false_alarms", description=__doc__)
    p.add_argument("operations", nargs="*", help="only these")
    p.add_argument("--examples", type=int, default=20_000, help="in all (default: 20,000)")
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--show", type=int, default=3, help="alarms to print for each operation")
    given_ = p.parse_args(argv)
    if given_.examples < 1 or given_.processes < 1:
        p.error("wants at least one example and one process")
    try:
        names = operations(given_.operations)
    except ValueError as error:
        p.error(str(error))
    start = time.perf_counter()
    rows = run(shared(names, given_.examples), given_.processes, given_.seed)
    print(table(rows))
    print(f"{time.perf_counter() - start:.0f} s in {given_.processes} processes")
    for row in rows:
        for call, said in row.alarms[: given_.show]:
            print(f"\n{call}\n{said}")
    return int(any(row.alarms for row in rows))


if __name__ == "__main__":
    sys.exit(main())
