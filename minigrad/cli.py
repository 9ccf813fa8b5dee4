"""The command `minigrad`: picks the subcommand, a module of `minigrad.commands`, and runs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__
from .commands import cuda_check, demo, gradcheck, info, mutate

COMMANDS = (info, demo, gradcheck, mutate, cuda_check)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default).

    Returns:
        the status: 0 is good, 1 is not, in words; 2 of what checks, that it could not check, and of
            everything, that nobody reads what it prints; 130, that it was interrupted.

    Raises:
        SystemExit: with 2, for arguments that it does not understand; with 0, for --help and
            --version.
    """
    options = parser().parse_args(argv)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `minigrad gradcheck ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        print(f"minigrad {options.command}: interrupted", file=sys.stderr)
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(
        prog="minigrad", description="Tensors and automatic differentiation written from scratch."
    )
    p.add_argument("--version", action="version", version=f"minigrad {__version__}")
    subparsers = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return p
