"""Running suites: measures their cases, prints tables, writes the JSON file."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import minigrad
from minigrad import machine as this_machine

from . import peers as adapters
from .harness import QUICK, Budget, ResultsDiffer, Row, measure, table


def run(
    names: Sequence[str],
    peers: Sequence[ModuleType],
    quick: bool = False,
    only: str = "",
    file: Path | None = None,
) -> int:
    """Measure the cases whose names contain `only`, print tables, write the rows to `file`.

    Returns:
        1 if results of some case differed from ours, which is then not timed; else 0.
    """
    load = _load()
    if load > 0.25 * this_machine.cores():
        print(f"this machine is busy (load {load:.1f}): times of several threads cannot be trusted")
    budget = QUICK if quick else Budget()
    results: list[Row] = []
    status = 0
    for name in names:
        print(f"\n{name}")
        found: list[Row] = []
        suite = importlib.import_module(f"benchmarks.suites.{name}")
        for case in suite.cases(peers, quick):
            if only not in case.name:
                continue
            try:
                found += measure(name, case, budget)
            except ResultsDiffer as error:
                print(f"not timed: {error}")
                status = 1
        print(table(found), flush=True)
        results += found
    about = {**machine(), "load_before": load}
    print(f"\n{about['processor']}, {about['cores']} cores, {about['python']}, "
          + ", ".join(f"{k} {v}" for k, v in about["versions"].items()))  # fmt: skip
    if file is not None:
        rows = [dataclasses.asdict(row) for row in results]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
        print(f"wrote {file}")
    return status


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
    }


def commit() -> str | None:
    """The commit of this tree, marked where it was changed since; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None
