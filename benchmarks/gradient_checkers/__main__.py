"""`python -m benchmarks.gradient_checkers [--seeds N] [--only WORDS] [--write]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..run import machine
from . import FAULTS, installed
from .checkers import CHECKERS
from .table import OURS, Row, ask_all, markdown, rewrite

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gradient-checkers.json"
PAGE = ROOT / "docs" / "gradient-testing.md"


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.gradient_checkers",
        description="Ask gradient checkers about twenty planted faults: minigrad's, and those of "
        "PyTorch and HIPS autograd where they are installed.",
    )
    p.add_argument("--seeds", type=_positive, default=10, help="draws of each fault's numbers (10)")
    p.add_argument("--only", default="", metavar="WORDS", help="faults whose names contain this")
    p.add_argument("--write", action="store_true",
                   help="write the results and the table in the documentation")  # fmt: skip
    return p


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, print, write; 1 if minigrad missed a fault or complained about a right rule."""
    options = parser().parse_args(argv)
    faults = [fault for fault in FAULTS if options.only in fault.name]
    if not faults:
        print(f"no fault's name contains {options.only!r}", file=sys.stderr)
        return 1
    checkers = installed()
    missing = ", ".join(name for name in CHECKERS if name not in checkers)
    if missing:
        print(f"not installed: {missing} (pip install -e .[peers])", file=sys.stderr)
    if options.write and (missing or options.only):
        print("the table is written with all checkers and all faults only", file=sys.stderr)
        return 1
    about = machine()
    rows = ask_all(faults, checkers, options.seeds, _tell)
    table = markdown(rows, faults, about)
    print(f"\n{table}")
    if options.write:
        written = {"machine": about, "rows": [dataclasses.asdict(row) for row in rows]}
        RESULTS.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        rewrite(PAGE, table)
        print(f"wrote {RESULTS} and {PAGE}")
    ours = [row for row in rows if row.checker == OURS]
    return int(any(row.caught < row.seeds or row.false_alarms for row in ours))


def _tell(row: Row) -> None:
    said = f", says {' / '.join(row.said)}" if row.said else ""
    alarms = f", {row.false_alarms} FALSE ALARMS" if row.false_alarms else ""
    print(
        f"{row.fault:21} {row.checker:19} {row.caught:3} of {row.seeds}{alarms}, "
        f"{row.seconds * 1e3:.1f} ms{said}",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
