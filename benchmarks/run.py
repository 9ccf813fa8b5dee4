"""Running suites: measures their cases, prints tables, writes the JSON file."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import minigrad
from minigrad import machine as this_machine

from . import peers as adapters, roofline, suites
from .device import Gpu
from .harness import QUICK, Budget, ResultsDiffer, Row, measure, rows, table


def run(
    names: Sequence[str],
    peers: Sequence[ModuleType],
    quick: bool = False,
    only: str = "",
    file: Path | None = None,
    limit: float = math.inf,
) -> int:
    """Measure the cases whose names contain `only`, print tables, write the rows to `file`.

    No case is begun later than `limit` seconds after the first.

    Returns:
        1 if results of some case differed from ours, which is then not timed, or some figure is
        beyond what this machine can do, or there is no such case; else 0.
    """
    load = _load()
    if load > 0.25 * this_machine.cores():
        print(f"this machine is busy (load {load:.1f}): times of several threads cannot be trusted")
    results: list[Row] = []
    differing: list[str] = []
    begin = time.monotonic()
    for name in names:
        print(f"\n{name}")
        found: list[Row] = []
        suite = suites.load(name)
        budget = QUICK if quick else getattr(suite, "BUDGET", Budget())
        for case in suite.cases(peers, quick):
            if only not in case.name:
                continue
            if time.monotonic() - begin > limit:
                print(f"the time is up before {case.name}")
                differing.append(f"{name}: the time was up before {case.name}")
                break
            try:
                found += measure(name, case, budget, getattr(suite, "rows", rows))
            except ResultsDiffer as error:
                print(f"not timed: {error}")
                differing.append(str(error))
        print(getattr(suite, "table", table)(found), flush=True)
        results += found
    if only and not (results or differing):
        print(f"no case's name contains {only!r}")
        return 1
    ceilings = roofline.measured()
    if ceilings is not None:
        print(
            f"\nceilings: {ceilings.flops / 1e9:.1f} GFLOP/s (matrix product of "
            f"{ceilings.product}), {ceilings.bytes / 1e9:.1f} GB/s (triad)"
        )
    about = {**machine(), "load_before": load}
    print(f"\n{about['processor']}, {about['cores']} cores, {about['python']}, "
          + ", ".join(f"{k} {v}" for k, v in about["versions"].items()))  # fmt: skip
    if file is not None:
        written = {
            "machine": about,
            "ceilings": dict.fromkeys(names, dataclasses.asdict(ceilings)) if ceilings else {},
            "not_timed": differing,
            "rows": [dataclasses.asdict(row) for row in results],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(written, indent=1) + "\n")
        print(f"wrote {file}")
    return 1 if differing or any(row.error for row in results) else 0


def _load() -> float:
    """How many programs wanted to run in the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def machine() -> dict[str, Any]:
    """The machine, the versions, the date, and the commit that was measured."""
    return {
        **this_machine.describe(adapters.NAMES),
        "minigrad": minigrad.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        **({"gpu": Gpu().about()} if minigrad.cuda.is_available() else {}),
    }


def commit() -> str | None:
    """The commit of this tree, marked where it was changed since; None outside of git.

    For a copy of a tree, without its history, the variable MINIGRAD_COMMIT says it.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        found = done.stdout.strip()
    except OSError:
        found = ""
    return found or os.environ.get("MINIGRAD_COMMIT")
