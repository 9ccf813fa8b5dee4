"""The page's pictures: the roofline with every implementation under it, and a bar for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from minigrad.demo.figures import ACCENT, INK, SECOND, WRONG

from .goals import Result

COLOURS = {"reference": SECOND, "numba": ACCENT}
SHOWN = 1.5
"""The share of the roofline at which bars end; data in a cache can go far beyond."""


def colour(row: Result) -> str:
    """An error's, or the backend's."""
    if row["error"]:
        return WRONG
    return COLOURS.get(row["contender"].partition(":")[0], INK)


def roofline(rows: Sequence[Result], ceilings: dict[str, Any]) -> Figure:
    """Operations a second over operations per byte, both logarithmic, and the two ceilings."""
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    peak, bandwidth = ceilings["flops"] / 1e9, ceilings["bytes"] / 1e9
    counted = [r for r in rows if r["figures"]["GFLOP"] > 0]
    at = [1e3 * r["figures"]["GFLOP"] / r["figures"]["MB"] for r in counted]
    ridge = peak / bandwidth
    line = np.array([min([*at, ridge]) / 2, ridge, 2 * max([*at, ridge])])
    axes.loglog(line, np.minimum(line * bandwidth, peak), color=INK, linewidth=1.4)
    axes.text(line[-1], peak * 1.08, f"{peak:.0f} GFLOP/s", ha="right", va="bottom")
    middle = np.sqrt(line[0] * ridge)
    axes.text(middle, middle * bandwidth * 1.2, f"{bandwidth:.1f} GB/s ", ha="right", va="bottom")
    backends = sorted({r["contender"].partition(":")[0] for r in counted}, reverse=True)
    for backend in backends:
        mine = [
            (x, r) for x, r in zip(at, counted, strict=True) if r["contender"].startswith(backend)
        ]
        axes.scatter(
            [x for x, _ in mine],
            [r["figures"]["GFLOP/s"] for _, r in mine],
            s=18,
            c=[colour(r) for _, r in mine],
            alpha=0.8,
            linewidths=0,
        )
        axes.scatter([], [], s=18, c=COLOURS.get(backend, INK), label=backend)
    axes.legend(loc="lower right")
    axes.set_xlabel("operations per byte that must move")
    axes.set_ylabel("GFLOP/s")
    return figure


def sizes(rows: Sequence[Result]) -> Figure:
    """Time over size for each kernel, a line for each implementation, both axes logarithmic."""
    kernels = list(dict.fromkeys(r["case"].partition(",")[0] for r in rows))
    figure = Figure(figsize=(7.6, 2.9 * -(-len(kernels) // 2)), layout="constrained")
    axes = figure.subplots(-(-len(kernels) // 2), 2, squeeze=False).ravel()
    for kernel, place in zip(kernels, axes, strict=False):
        mine = [r for r in rows if r["case"].partition(",")[0] == kernel]
        for label in dict.fromkeys(r["contender"] for r in mine):
            line = [r for r in mine if r["contender"] == label]
            x = [r["figures"]["bytes"] for r in line]
            drawn = place.loglog(x, [r["ours"] for r in line], linewidth=1.2, label=label)
            if "with transfer" in line[0]["figures"]:
                carried = [r["figures"]["with transfer"] for r in line]
                place.loglog(x, carried, ":", color=drawn[0].get_color(), linewidth=1)
        place.set_title(kernel, fontsize=9)
        place.set_xlabel("bytes")
        place.set_ylabel("seconds; dotted: with transfers")
        place.legend(fontsize=6)
    for place in axes[len(kernels) :]:
        place.set_visible(False)
    return figure


def bars(rows: Sequence[Result]) -> Figure:
    """How much of the roofline each implementation reaches, kernel by kernel."""
    cases = list(dict.fromkeys(r["case"] for r in rows))
    figure = Figure(figsize=(7.6, 0.6 + 0.13 * (len(rows) + len(cases))), layout="constrained")
    axes = figure.add_subplot()
    y, ticks = 0.0, []
    for case in cases:
        mine = [r for r in rows if r["case"] == case]
        ticks.append(y + (len(mine) - 1) / 2)
        for r in mine:
            share = r["figures"]["of the roofline"]
            axes.barh(y, min(share, SHOWN), height=0.85, color=colour(r))
            if share > SHOWN:
                axes.text(SHOWN, y, f" {share:.0%}", va="center", fontsize=6)
            y += 1
        y += 1
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_yticks(ticks, cases, fontsize=6)
    axes.set_ylim(y - 0.5, -1)
    axes.set_xlim(0, SHOWN * 1.08)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.xaxis.tick_top()
    axes.grid(False, axis="y")
    return figure
