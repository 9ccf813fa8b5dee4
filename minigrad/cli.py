"""The command `minigrad`: what this machine has, and a demonstration that trains a network."""

from __future__ import annotations

import argparse
import linecache
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__

if TYPE_CHECKING:
    from minigrad_kernels.cuda.check import Finding


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default).

    Returns:
        the status: 0 is good, 1 is not, in words; 2 of cuda-check, that it could not check.

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
    if options.command == "cuda-check":
        return run_cuda_check(options)
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
    c = commands.add_parser(
        "cuda-check",
        help="look for memory errors and races in CUDA kernels, on the CPU",
        description="Runs CUDA kernels on the CPU, where a sanitizer watches their memory. The "
        "status is 0 if nothing was found, 1 if something was, 2 if nothing could be checked.",
    )
    c.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="a kernel of minigrad, tried on its samples (softmax, or softmax:6-online for one "
        "implementation); a program that launches kernels of your own (scan.py, or scan.py:run for "
        "one function of it); or a source (scan.cu), launched by scan.py beside it",
    )
    c.add_argument("--tool", choices=("memcheck", "racecheck", "all"), default="all")
    c.add_argument("--list", action="store_true", help="the kernels, and their implementations")
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
    yield ""
    yield from _cuda_kernels()


def _cuda_kernels() -> Iterator[str]:
    from . import machine

    found = machine.cuda_kernels()
    yield f"CUDA kernels ({len(found)}), and where they have been verified"
    for words in machine.verified_on():
        yield f"  {words}"
    width = max((len(k.kernel) for k in found), default=0)
    for k in found:
        labels = (label.removeprefix("cuda:") for label in k.implementations)
        yield f"  {k.kernel:<{width}}  {k.verified}: {', '.join(labels)}"


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


# cuda-check


def run_cuda_check(options: argparse.Namespace) -> int:
    """`minigrad cuda-check`.

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
    """The lines that tell what was found: place, words, and the lines of the source."""
    place = f"{finding.file}:{finding.line}: " if finding.file else ""
    yield f"  {place}{finding.what}"
    if finding.text:
        yield f"    {finding.line:>5} | {finding.text}"
    file, _, line = finding.other.rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line else ""
    if text and (file, int(line)) != (finding.file, finding.line):
        yield f"    {line:>5} | {text}"
