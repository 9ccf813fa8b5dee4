"""What several subcommands share: the types of their arguments, and their defaults."""

from __future__ import annotations

import argparse
import ast
import os
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = object


def cores() -> int:
    """How many processes make sense: the cores that this one may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def positive(text: str) -> int:
    """A whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"wants a whole number of at least 1, got {text!r}")
    return number


def add_inputs(p: argparse._ActionsContainer) -> None:
    """The arguments that say what a function of the user's is called with."""
    p.add_argument(
        "--shapes",
        metavar="3x4,4x5",
        help="of the function's inputs; scalar for a single number, 8:0..9 for 8 integers from 0 "
        "to 9 (classes, indices), 8:bool for truth values",
    )
    p.add_argument(
        "--option",
        type=keyword,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a keyword argument of the function, such as dim=1; may be repeated",
    )


def keyword(text: str) -> tuple[str, Any]:
    """A keyword argument as it is written in a call; a word that is no literal is a string.

    >>> keyword("dim=(0, 1)"), keyword("reduction=mean")
    (('dim', (0, 1)), ('reduction', 'mean'))

    Raises:
        argparse.ArgumentTypeError: if there is no name, or no value.
    """
    name, _, value = (part.strip() for part in text.partition("="))
    if not name.isidentifier() or not value:
        raise argparse.ArgumentTypeError(f"wants NAME=VALUE, such as dim=1, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
