"""The page of results: one HTML file with its pictures inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from minigrad.demo.figures import style, svg

from . import charts, gpu_goals
from .goals import Result, goals
from .harness import in_words
from .readme import HEADINGS
from .suites.cpu_gpu import crossovers

GPU_HEADINGS = {
    "gpu": "CUDA kernels: device time by events, PyTorch in the same run",
    "cpu-gpu": "CPU against GPU, 1 KB to 1 GB: warm",
}


def page(results: dict[str, Any]) -> str:
    """The results as HTML that needs no other file."""
    of_kernels = [r for r in results["rows"] if r["suite"] == "kernels"]
    sweeps = [r for r in results["rows"] if r["suite"] == "cpu-gpu"]
    on_gpu = [r for r in results["rows"] if r["suite"] == "gpu"]
    ceilings = results["ceilings"].get("kernels")
    pictures = {}
    if of_kernels and ceilings:
        with style():
            drawn = {
                "roofline": charts.roofline(of_kernels, ceilings),
                "bars": charts.bars(of_kernels),
            }
            pictures = {name: Markup(svg(figure)) for name, figure in drawn.items()}
    with style():
        if sweeps:
            pictures["sizes"] = Markup(svg(charts.sizes(sweeps)))
        single = [r for r in on_gpu if "GFLOP/s" in r["figures"] and not _coarse(r)]
        if single:
            pictures["gpu"] = Markup(svg(charts.roofline(single, gpu_ceilings(single))))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["words"] = in_words
    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    suites = {
        heading: [r for r in results["rows"] if r["suite"] == name]
        for name, heading in {**HEADINGS, **GPU_HEADINGS}.items()
    }
    return environment.from_string(source).render(
        machine=results["machine"],
        ceilings=ceilings,
        not_timed=results["not_timed"],
        goals=goals(results["rows"]) if not on_gpu else gpu_goals.goals(on_gpu),
        crossovers=crossovers(sweeps),
        kernels=of_kernels,
        suites={heading: rows for heading, rows in suites.items() if rows},
        pictures=pictures,
    )


def _coarse(row: Result) -> bool:
    """Whether it computes in a coarser type than float32, which has another ceiling."""
    return any(words in row["case"] for words in ("TF32", "float16", "bfloat16"))


def gpu_ceilings(rows: Sequence[Result]) -> dict[str, float]:
    """What the GPU can do: the most operations a second of any kernel, and the bytes it copies."""
    figures = [(r["figures"], r["ratio"] or 1.0) for r in rows]
    return {
        "flops": max(1e9 * f["GFLOP/s"] / min(1.0, ratio) for f, ratio in figures),
        "bytes": max(1e9 * f["GB/s"] / f["of copying"] for f, _ in figures),
    }
