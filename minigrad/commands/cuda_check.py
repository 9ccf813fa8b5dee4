"""`minigrad cuda-check`: look for memory errors and races in CUDA kernels, on the CPU."""

from __future__ import annotations

import argparse
import linecache
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Subparsers

if TYPE_CHECKING:
    from minigrad_kernels.cuda.check import Finding


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command's arguments."""
    p = subparsers.add_parser(
        "cuda-check",
        help="look for memory errors and races in CUDA kernels, on the CPU",
        description="Runs CUDA kernels on the CPU, where a sanitizer watches their memory. The "
        "status is 0 if nothing was found, 1 if something was, 2 if nothing could be checked.",
    )
    p.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="a kernel of minigrad, tried on its samples (softmax, or softmax:6-online for one "
        "implementation); a program that launches kernels of your own (scan.py, or scan.py:run for "
        "one function of it); or a source (scan.cu), launched by scan.py beside it",
    )
    p.add_argument("--tool", choices=("memcheck", "racecheck", "all"), default="all")
    p.add_argument("--list", action="store_true", help="the kernels, and their implementations")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check what was named.

    Returns:
        0 if nothing was found; 1 if something was; 2 if it could not be checked, and why is said on
        the error stream.
    """
    from minigrad_kernels.cuda import check

    if options.list:
        print("\n".join(checkable()), flush=True)
        return 0
    tools = tuple(check.TOOLS) if options.tool == "all" else (options.tool,)
    found = 0
    try:
        what = launching(options.what)
        for tool in tools:
            findings = check.check(what, tool)
            print(f"{what}: {tool}: {len(findings) or 'nothing'} found", flush=True)
            for finding in findings:
                print(*described(finding), sep="\n", flush=True)
            found += len(findings)
    except (ValueError, RuntimeError) as error:
        print(f"minigrad cuda-check: {error}", file=sys.stderr)
        return 2
    return 1 if found else 0


def checkable() -> Iterator[str]:
    """The kernels that `minigrad cuda-check` takes, and what they have more than one of."""
    from minigrad_kernels import KERNELS
    from minigrad_kernels.cuda.check import implementations

    for kernel in KERNELS:
        names = implementations(kernel)
        if names:
            yield f"{kernel:<32}{', '.join(names) if len(names) > 1 else ''}".rstrip()


def launching(what: str | None) -> str:
    """What launches the kernels to be checked: for a source, the program beside it.

    Raises:
        ValueError: if nothing was named, or there is no such source or program.
    """
    if what is None:
        raise ValueError("name a kernel, a program or a source; --list shows the kernels")
    if not what.endswith(".cu"):
        return what
    program = Path(what).with_suffix(".py")
    if not Path(what).is_file():
        raise ValueError(f"there is no file {what!r}")
    if not program.is_file():
        raise ValueError(f"{what} needs a program that launches its kernels; none is in {program}")
    return str(program)


def described(finding: Finding) -> Iterator[str]:
    """The lines that tell what was found: place, words, and the lines of the source.

    Files below the current folder are named as seen from there.
    """
    place = f"{finding.file}:{finding.line}: " if finding.file else ""
    yield f"  {place}{finding.what}".replace(os.path.join(os.getcwd(), ""), "")
    if finding.text:
        yield f"    {finding.line:>5} | {finding.text}"
    file, _, line = finding.other.rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line else ""
    if text and (file, int(line)) != (finding.file, finding.line):
        yield f"    {line:>5} | {text}"
