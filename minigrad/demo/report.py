"""Writes the report: one HTML file with its pictures inside, and the poster beside it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from .. import machine
from . import figures
from .outcome import Outcome


def write(outcome: Outcome, path: Path) -> None:
    """Write the report to `path`, and a picture of it to `demo.png` in the same folder."""
    path.write_text(page(outcome), encoding="utf-8")
    figures.poster(
        outcome.losses,
        outcome.accuracies,
        _first_filters(outcome),
        outcome.images,
        outcome.truth,
        outcome.said,
        path.with_name("demo.png"),
    )


def page(outcome: Outcome) -> str:
    """The report as HTML that needs no other file."""
    source = files("minigrad.demo").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    with figures.style():
        pictures = {
            "losses": figures.loss_curve(outcome.losses, outcome.accuracies),
            "filters": figures.filters(_first_filters(outcome)),
            "predictions": figures.predictions(outcome.images, outcome.truth, outcome.said),
        }
        drawn = {name: Markup(figures.svg(f)) for name, f in pictures.items()}
    slowest = {t.kernel: 0.0 for t in outcome.timings}
    for t in outcome.timings:
        slowest[t.kernel] = max(slowest[t.kernel], t.seconds)
    return environment.from_string(source).render(
        outcome=outcome,
        figures=drawn,
        slowest=slowest,
        summary=machine.summary(),
        backends=machine.backends(),
        parameters=sum(p.numel() for p in outcome.model.parameters()),
    )


def _first_filters(outcome: Outcome) -> np.ndarray:
    return np.asarray(next(iter(outcome.model.parameters())).detach())
