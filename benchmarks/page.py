"""The page of results: one HTML file with its pictures inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from minigrad.demo.figures import style, svg

from . import charts
from .goals import goals
from .harness import in_words
from .readme import HEADINGS


def page(results: dict[str, Any]) -> str:
    """The results as HTML that needs no other file."""
    of_kernels = [r for r in results["rows"] if r["suite"] == "kernels"]
    ceilings = results["ceilings"].get("kernels")
    pictures = {}
    if of_kernels and ceilings:
        with style():
            drawn = {
                "roofline": charts.roofline(of_kernels, ceilings),
                "bars": charts.bars(of_kernels),
            }
            pictures = {name: Markup(svg(figure)) for name, figure in drawn.items()}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["words"] = in_words
    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    suites = {
        heading: [r for r in results["rows"] if r["suite"] == name]
        for name, heading in HEADINGS.items()
    }
    return environment.from_string(source).render(
        machine=results["machine"],
        ceilings=ceilings,
        not_timed=results["not_timed"],
        goals=goals(results["rows"]),
        kernels=of_kernels,
        suites={heading: rows for heading, rows in suites.items() if rows},
        pictures=pictures,
    )
