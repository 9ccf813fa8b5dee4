"""The command `minigrad`: picks the subcommand, a module of `minigrad.commands`, and runs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import __version__
from .commands import cuda_check, demo, gradcheck, info, mutate

COMMANDS = (info, demo, gradcheck, mutate, cuda_check)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default).

    Returns:
        the status: 0 is good, 1 is not, in words; 2 of what checks, that it could not check.

    Raises:
        SystemExit: with 2, for arguments that it does not understand; with 0, for --help and
            --version.
    """
    options = parser().parse_args(argv)
    status: int = options.run(options)
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
