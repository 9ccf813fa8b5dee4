"""The command `minigrad`: what this machine has, and a demonstration that trains a network."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default).

    Returns:
        the status: 0 is good, 1 says on the error stream what is not.

    Raises:
        SystemExit: with 2, for arguments that it does not understand; with 0, for --help and
            --version.
    """
    options = parser().parse_args(argv)
    if options.command == "info":
        try:
            print("\n".join(info()), flush=True)
        except BrokenPipeError:  # `minigrad info | head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return run_demo(options)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(
        prog="minigrad", description="Tensors and automatic differentiation written from scratch."
    )
    p.add_argument("--version", action="version", version=f"minigrad {__version__}")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("info", help="this machine, the backends, the kernels")
    d = commands.add_parser("demo", help="check gradients, train on digits, write a report")
    d.add_argument("--output", type=Path, default=Path("build/demo"), help="the report's folder")
    d.add_argument("--epochs", type=_positive, default=10, help="passes over the images (10)")
    d.add_argument("--quick", action="store_true", help="one pass over some images: a smoke test")
    d.add_argument("--no-report", action="store_true", help="train only")
    return p


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"wants a whole number of at least 1, got {text!r}")
    return number


def info() -> Iterator[str]:
    """The lines of `minigrad info`."""
    from . import machine

    for label, words in machine.summary():
        yield f"{label:<12}{words}"
    yield ""
    yield "backends"
    for name, available, words in machine.backends():
        yield f"  {'yes' if available else 'no':<5}{name:<13}{words}"
    yield ""
    choices = machine.choices()
    yield f"kernels ({len(choices)}), what runs for calls as networks make them"
    width = max((len(c.kernel) for c in choices), default=0)
    wide = max((len(c.size) for c in choices), default=0)
    for c in choices:
        yield f"  {c.kernel:<{width}}  {c.size:<{wide}}  {c.runs:<14}  {c.why}".rstrip()


def run_demo(options: argparse.Namespace) -> int:
    """`minigrad demo`.

    Returns:
        0; or 1 if a gradient is wrong, or the accuracy is below 97 % in a full run.
    """
    from . import demo

    print("\n".join(info()), flush=True)
    try:
        outcome = demo.run(options.output, options.epochs, options.quick, not options.no_report)
    except (demo.Missing, OSError) as error:  # OSError: a folder that cannot be written to
        print(f"minigrad demo: {error}", file=sys.stderr)
        return 1
    if not options.quick and outcome.accuracy < demo.WANTED:
        print(f"minigrad demo: the accuracy is below {demo.WANTED:.0%}", file=sys.stderr)
        return 1
    return 0 if outcome.verdict.ok else 1
