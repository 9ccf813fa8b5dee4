"""Every kernel, every implementation that runs here, on calls at the size of real layers.

Implementations that run only when asked for are for study, and those for a GPU have another
roofline: neither is timed here. What an implementation is worth is not asked, so that it is seen.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minigrad_kernels import BACKENDS, KERNELS, Cost, Implementation
from minigrad_kernels.workloads import Random, Workload, workloads

from .. import roofline
from ..harness import Budget, Case, Contender, Row, columns, in_words, spread

BUDGET = Budget(seconds=0.15, rounds=5, batch=0.01, limit=3.0, pause=0.02)

FEWER = {"winograd": 4.0}
"""Algorithms that need so many times fewer operations than the definition, which costs count:
Winograd's F(4x4, 3x3) multiplies 36 times where the definition does 144 times."""


class KernelCase(Case):
    """A case that knows its cost."""

    cost: Cost = Cost(0, 0)


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """One case for each workload; the definition comes first, and the others are held to it."""
    for work in workloads(Random()):
        call = work.call
        case = KernelCase(
            f"{work.kernel}, {work.size}",
            [_contender(work, i) for i in _usable(work)],
            tolerance=2e-4 if work.kernel.startswith("random_normal") else 1e-4,
        )
        case.cost = KERNELS[work.kernel].cost(*call.args, **call.options)
        yield case


def _usable(work: Workload) -> Iterator[Implementation]:
    for i in reversed(KERNELS[work.kernel].implementations):
        backend = BACKENDS[i.backend]
        here = backend.available and backend.automatic and "numpy" in backend.arrays
        if here and (i.accepts is None or i.accepts(*work.call.args, **work.call.options)):
            yield i


def _contender(work: Workload, i: Implementation) -> Contender:
    args, options = work.call.args, dict(work.call.options)
    reset = _nothing
    if "out" in options:  # the kernel works in place: on a copy, for others need the numbers too
        args = tuple(a.copy() for a in work.call.args)
        copies = {id(a): copy for a, copy in zip(work.call.args, args, strict=True)}
        out = options["out"]
        several = isinstance(out, tuple)
        options["out"] = tuple(copies[id(o)] for o in out) if several else copies[id(out)]

        def reset() -> None:
            for mine, original in zip(args, work.call.args, strict=True):
                mine[...] = original

    reasons = KERNELS[work.kernel].reasons(*work.call.args, **work.call.options)
    runs = any(other is i and why == "runs" for other, why in reasons)
    return Contender(
        i.label,
        lambda: i.run(*args, **options),
        _arrays,
        note="runs by default" if runs else "",
        reset=reset,
    )


def _nothing() -> None:
    """There is nothing to undo."""


def _arrays(result: Any) -> list[np.ndarray]:
    return [np.array(r) for r in (result if isinstance(result, tuple) else (result,))]


def rows(suite: str, case: KernelCase, times: Sequence[Sequence[float]]) -> list[Row]:
    """One row for each implementation, with its place under the roofline."""
    ceilings, cost = roofline.ceilings(), case.cost
    found = []
    for contender, seconds in zip(case.contenders, times, strict=True):
        median = statistics.median(seconds)
        fewer = next((n for word, n in FEWER.items() if word in contender.name), 1.0)
        notes = ["memory-bound" if ceilings.bound_by_memory(cost) else "arithmetic-bound"]
        notes += ["in cache"] * ceilings.fits(cost)
        notes += [f"{fewer:g} times fewer operations"] * (fewer != 1)
        notes += [contender.note] * bool(contender.note)
        figures = {
            "GFLOP": cost.flops / 1e9,
            "MB": cost.bytes / 1e6,
            "GFLOP/s": cost.flops / median / 1e9,
            "GB/s": cost.bytes / median / 1e9,
            "of the roofline": ceilings.seconds(cost, fewer) / median,
        }
        found.append(
            Row(
                suite,
                case.name,
                median,
                None,
                None,
                None,
                spread(seconds),
                ", ".join(notes),
                figures,
                contender=contender.name,
                error=ceilings.error(cost, median, fewer),
            )
        )
    return found


def table(results: Sequence[Row]) -> str:
    """The rows as text, after the two ceilings."""
    lines = [
        ["kernel", "implementation", "time", "spread", "GFLOP/s", "GB/s", "of roofline", "notes"]
    ]
    for r in results:
        f = r.figures
        numbers = [f"{f['GFLOP/s']:.1f}", f"{f['GB/s']:.1f}", f"{f['of the roofline']:.0%}"]
        note = f"ERROR: {r.error}; {r.note}" if r.error else r.note
        lines.append([r.case, r.contender, in_words(r.ours), f"{r.spread:.0%}", *numbers, note])
    return columns(lines, left=(0, 1, 7))
