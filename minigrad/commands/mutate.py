"""`minigrad mutate`: break gradient rules on purpose, and see whether a test notices."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .arguments import Subparsers, add_inputs, cores, positive
from .target import BadTarget, importable


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command's arguments."""
    p = subparsers.add_parser(
        "mutate",
        help="break gradient rules on purpose, and see whether a test notices",
        description="Breaks every rule of the operations in known ways: a sign, a factor, a sum "
        "over broadcast axes that is missing, another operand's rule, a value that is out of date, "
        "and so on; and the engine itself. gradcheck on the operation's samples must notice, or "
        "else the tests: what gradcheck notices, no test is asked about. The status is 0 if every "
        "mutant that changes something was noticed, 1 if one was not, 2 if there is nothing to "
        "break, or it cannot be done.",
    )
    p.add_argument(
        "what",
        nargs="*",
        metavar="OP",
        help="operations, or engine; or a function of yours that records rules, as "
        "package.module:function or file.py:function, with --shapes; all operations and the engine "
        "by default",
    )
    p.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module, package.module or file.py, and break the operations that it "
        "registers with minigrad.ops.registry.differentiable",
    )
    add_inputs(p)
    p.add_argument(
        "--tests",
        type=Path,
        metavar="FOLDER",
        help="pytest files for what gradcheck lets pass, or one file (for minigrad's own "
        "operations: its own tests, where the sources are)",
    )
    judges = p.add_mutually_exclusive_group()
    judges.add_argument("--no-tests", action="store_true", help="ask gradcheck only")
    judges.add_argument(
        "--no-gradcheck", action="store_true", help="ask the tests only: what do they notice?"
    )
    p.add_argument(
        "--processes", type=positive, default=cores(), metavar="N", help="(one for each core)"
    )
    p.add_argument(
        "--limit", type=float, default=300.0, metavar="SECONDS", help="for one mutant (300)"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Break, judge and report.

    Returns:
        0 for a score of 100 %; 1 for less; 2 if there is nothing to break, or it could not be done:
        why is said on the error stream.
    """
    from minigrad.testing.mutation import make_importable, mutate, own_tests

    make_importable(os.getcwd())
    own = None if options.module or any(":" in w for w in options.what) else own_tests()
    tests = None if options.no_tests else options.tests or own
    done = 0

    def progress(task: str) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            print(f"\r{done} done, the last {task}\033[K", end="", file=sys.stderr, flush=True)

    try:
        report = mutate(
            [importable(name) for name in options.what],
            modules=[importable(name) for name in options.module],
            shapes=options.shapes,
            options=dict(options.option),
            tests=tests,
            gradcheck=not options.no_gradcheck,
            limit=options.limit,
            processes=options.processes,
            progress=progress,
        )
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(report.as_dict(), indent=1, ensure_ascii=False)
            options.json.write_text(text + "\n", encoding="utf-8")
    except (BadTarget, ValueError, TypeError, RuntimeError, OSError) as error:
        words = " ".join(str(error).removeprefix("mutate: ").split())
        print(f"minigrad mutate: {words}", file=sys.stderr)
        return 2
    finally:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(report, flush=True)
    if not report.results:
        return 2
    return 0 if report.ok else 1
