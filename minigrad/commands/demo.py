"""`minigrad demo`: check gradients, train a network on digits, write a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import info
from .arguments import Subparsers, positive


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command's arguments."""
    p = subparsers.add_parser("demo", help="check gradients, train on digits, write a report")
    p.add_argument("--output", type=Path, default=Path("build/demo"), help="the report's folder")
    p.add_argument("--epochs", type=positive, default=10, help="passes over the images (10)")
    p.add_argument("--quick", action="store_true", help="one pass over some images: a smoke test")
    p.add_argument("--no-report", action="store_true", help="train only")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demonstration.

    Returns:
        0; or 1 if a gradient is wrong, or the accuracy is below 97 % in a full run.
    """
    from .. import demo

    print("\n".join(info.lines(every_cuda_kernel=False)), flush=True)
    try:
        outcome = demo.run(options.output, options.epochs, options.quick, not options.no_report)
    except (demo.Missing, OSError) as error:  # OSError: a folder that cannot be written to
        print(f"minigrad demo: {error}", file=sys.stderr)
        return 1
    if not options.quick and outcome.accuracy < demo.WANTED:
        print(f"minigrad demo: the accuracy is below {demo.WANTED:.0%}", file=sys.stderr)
        return 1
    return 0 if outcome.verdict.ok else 1
