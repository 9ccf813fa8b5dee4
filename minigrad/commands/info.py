"""`minigrad info`: this machine, the backends, the kernels and what runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from .arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command's arguments."""
    p = subparsers.add_parser("info", help="this machine, the backends, the kernels")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the lines. Returns 0."""
    try:
        print("\n".join(lines()), flush=True)
    except BrokenPipeError:  # `minigrad info | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def lines(every_cuda_kernel: bool = True) -> Iterator[str]:
    """The lines of `minigrad info`; without those of each CUDA kernel if they are not wanted."""
    from .. import machine

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
    yield ""
    yield from _cuda_kernels(every_cuda_kernel)


def _cuda_kernels(every: bool) -> Iterator[str]:
    from .. import machine

    found = machine.cuda_kernels()
    yield f"CUDA kernels ({len(found)}), and where they have been verified"
    for words in machine.verified_on():
        yield f"  {words}"
    width = max((len(k.kernel) for k in found), default=0)
    for k in found if every else ():
        labels = (label.removeprefix("cuda:") for label in k.implementations)
        yield f"  {k.kernel:<{width}}  {k.verified}: {', '.join(labels)}"
