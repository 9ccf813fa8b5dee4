"""The command line: `python -m benchmarks SUITE... [--peers ...] [--json FILE] [--quick]`, and
`python -m benchmarks report`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import peers as adapters, suites

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time minigrad beside other libraries, in one process, on the same numbers. "
        "`python -m benchmarks report` runs all suites and writes the results and a page.",
    )
    p.add_argument("suites", nargs="+", choices=suites.NAMES, metavar="SUITE",
                   help=f"one or more of: {', '.join(suites.NAMES)}")  # fmt: skip
    p.add_argument("--peers", default="", help=f"any of {','.join(adapters.NAMES)}")
    p.add_argument("--json", type=Path, help="also write the results to this file")
    p.add_argument("--quick", action="store_true", help="few rounds, small cases: a rough look")
    p.add_argument("--only", default="", metavar="WORDS", help="cases whose names contain this")
    p.add_argument("--emulated", action="store_true",
                   help="suite gpu: on the emulator, to try it where there is no GPU")  # fmt: skip
    p.add_argument("--limit", type=_positive, metavar="SECONDS", help="begin no case later")
    p.add_argument("--threads", type=_positive, help="threads and processors to use")
    return p


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def limit_threads(count: int) -> None:
    """Use `count` threads and processors. Libraries read this when they are imported."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites and print their tables; 1 if a peer computed something else or is missing."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["report"]:
        from . import report

        return report.main(given[1:])
    options = parser().parse_args(given)
    if options.threads:
        limit_threads(options.threads)
    from . import run  # imports NumPy, which reads the number of threads

    try:
        peers = [adapters.load(name) for name in options.peers.split(",") if name]
    except (ValueError, ModuleNotFoundError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    for peer in peers:
        if options.threads:
            peer.set_threads(options.threads)
    if options.emulated:
        from .device import Emulator
        from .suites import gpu

        gpu.chosen = Emulator()
    limit = options.limit or math.inf
    return run.run(options.suites, peers, options.quick, options.only, options.json, limit)


if __name__ == "__main__":
    raise SystemExit(main())
