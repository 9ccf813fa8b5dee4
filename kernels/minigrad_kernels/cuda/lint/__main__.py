"""`python -m minigrad_kernels.cuda.lint [FILE.cu ...]`: a table of the machine code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from ..source import Source
from .check import check_file, machine_code
from .facts import Facts
from .launches import Launched, recorded
from .toolkit import reason

SHOWN = ("LDG.128", "STG.128", "LDGSTS", "LDS", "LDSM", "HMMA", "HGMMA", "FFMA", "BAR", "SHFL")


def main(files: Sequence[str]) -> int:
    """Print the table, and what is wrong; 1 if something is, or nothing can be looked at."""
    why = reason()
    if why:
        print(why, file=sys.stderr)
        return 1
    known = sorted({key.file for key in recorded()})
    unknown = sorted(set(files) - set(known))
    if unknown:
        there = ", ".join(known) or "none"
        print(f"no launch of a kernel in {', '.join(unknown)}; files: {there}", file=sys.stderr)
        return 1
    problems: list[str] = []
    for name in files or known:
        print("\n".join(table(name)), end="\n\n")
        problems += check_file(name)
    print("\n".join(problems) or "as expected")
    return 1 if problems else 0


def table(name: str) -> Iterator[str]:
    """The lines for one file."""
    launched = {key: source for key, source in recorded().items() if key.file == name}
    yield f"{'':60} arch   threads  regs  stack  shared  " + "  ".join(SHOWN)
    for architecture, key, source, of_kernel in machine_code(launched):
        yield _line(key, source, architecture, of_kernel)


def _line(key: Launched, source: Source, architecture: str, f: Facts) -> str:
    inside = ", ".join(f"{k}={v}" for k, v in source.definitions.items())
    counts = "  ".join(f"{f.count(name):{len(name)}}" for name in SHOWN)
    size = f.shared + key.shared
    numbers = f"{key.threads:7}  {f.registers:4}  {f.stack:5}  {size:6}"
    return f"{f'{key.kernel} ({inside})':60} {architecture}  {numbers}  {counts}"


def _files() -> list[str]:
    parser = argparse.ArgumentParser(
        prog="python -m minigrad_kernels.cuda.lint",
        description="Print what NVIDIA's compiler makes of minigrad's CUDA kernels; needs no GPU.",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE.cu", help="a source of minigrad; all if none is named"
    )
    return list(parser.parse_args().files)


if __name__ == "__main__":
    raise SystemExit(main(_files()))
