"""`python -m benchmarks report`: measures; writes the results, a page, and the README's tables."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import goals, peers as adapters, readme, suites

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BUILD = ROOT / "build" / "benchmarks"
WITHOUT_PEERS = ("kernels",)


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks report",
        description="Measure, and write what was reached: results/<machine>.json and .html, and "
        "the README's tables.",
    )
    p.add_argument("--from", nargs="+", type=Path, default=[], dest="files", metavar="FILE",
                   help="take these results instead of measuring")  # fmt: skip
    p.add_argument("--suites", nargs="+", choices=suites.NAMES,
                   default=list(suites.REPORTED),
                   metavar="SUITE", help=f"some of: {', '.join(suites.NAMES)}")  # fmt: skip
    p.add_argument("--quick", action="store_true", help="a rough look: small cases, few rounds")
    p.add_argument("--output", type=Path, help="the folder to write into (benchmarks/results; "
                   "after a quick run build/benchmarks)")  # fmt: skip
    p.add_argument("--readme", type=Path, default=ROOT / "README.md", metavar="FILE",
                   help="the file whose tables are written anew (README.md)")  # fmt: skip
    p.add_argument("--no-readme", dest="readme", action="store_const", const=None,
                   help="leave the README's tables as they are, as after a quick run")  # fmt: skip
    return p


def main(argv: Sequence[str]) -> int:
    """Measure or read, write, and print what was reached.

    Returns:
        1 if some case was not timed, or a figure cannot be true, or a file cannot be read; else 0.
    """
    options = parser().parse_args(argv)
    try:
        files = options.files or measured(options.suites, options.quick)
        results = merged([json.loads(file.read_text(encoding="utf-8")) for file in files])
    except (OSError, ValueError, RuntimeError) as error:
        print(f"benchmarks report: {error}", file=sys.stderr)
        return 1
    folder = options.output or (BUILD if options.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{machine_name(results['machine'])}.json"
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    written = [target]
    if find_spec("matplotlib") and find_spec("jinja2"):
        from . import page

        written.append(target.with_suffix(".html"))
        written[-1].write_text(page.page(results), encoding="utf-8")
    else:
        print("no page: it needs matplotlib and jinja2 (pip install -e .[report])")
    if options.readme and not options.quick:
        try:
            readme.rewrite(options.readme, results)
        except (OSError, ValueError) as error:
            print(f"benchmarks report: the README is left as it is: {error}", file=sys.stderr)
            return 1
        written.append(options.readme)
    print(f"\n{goals.table(goals.goals(results['rows']))}\n")
    print("wrote " + ", ".join(map(str, written)))
    return 1 if results["not_timed"] or any(row["error"] for row in results["rows"]) else 0


def measured(names: Sequence[str], quick: bool) -> list[Path]:
    """Run each suite in a process of its own, so that no library's threads disturb another suite.

    Returns:
        the files of results.

    Raises:
        RuntimeError: if a suite wrote none.
    """
    here = ",".join(name for name in adapters.NAMES if find_spec(name))
    files = []
    for name in names:
        file = BUILD / f"{name}.json"
        file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks", name, "--json", str(file)]
        command += ["--peers", "" if name in WITHOUT_PEERS else here] + ["--quick"] * quick
        path = os.pathsep.join(p for p in sys.path if p)
        environment = {**os.environ, "PYTHONPATH": path}
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if not file.exists():
            raise RuntimeError(f"the suite {name} ended without results")
        files.append(file)
    return files


def merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several results as one.

    Raises:
        ValueError: if they are not of one machine, or a case is in two of them, or what was read is
            no result.
    """
    for part in parts:
        if not {"machine", "ceilings", "not_timed", "rows"} <= set(part):
            raise ValueError("a file does not hold results of this program")
    names = {machine_name(part["machine"]) for part in parts}
    if len(names) != 1:
        raise ValueError(f"results of one machine are wanted, got {', '.join(sorted(names))}")
    of_suites = [name for part in parts for name in {row["suite"] for row in part["rows"]}]
    if len(of_suites) != len(set(of_suites)):
        raise ValueError("a suite is in two of the files")
    return {
        "machine": parts[-1]["machine"],
        "ceilings": {k: v for part in parts for k, v in part["ceilings"].items()},
        "not_timed": [words for part in parts for words in part["not_timed"]],
        "rows": [row for part in parts for row in part["rows"]],
    }


def machine_name(machine: dict[str, Any]) -> str:
    """A name for files: the processor and its cores."""
    return file_name(f"{machine['processor']} {machine['cores']} cores")


def file_name(words: str) -> str:
    """Words as a name for files: in small letters, with dashes between them."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
