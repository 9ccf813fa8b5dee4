"""The report's pictures, drawn with matplotlib, in colours that a page can set."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

INK, FAINT = "#010203", "#040506"
"""Stand-ins for the text's and the lines' colour: in a page, its own colours take their place."""
ACCENT, SECOND, WRONG = "#3b82f6", "#f59e0b", "#ef4444"


def style(ink: str = INK, faint: str = FAINT) -> AbstractContextManager[None]:
    """The settings of all figures."""
    return matplotlib.rc_context(
        {
            "font.size": 10,
            "font.family": ["DejaVu Sans"],
            "svg.fonttype": "none",
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.edgecolor": faint,
            "axes.facecolor": "none",
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": faint,
            "grid.linewidth": 0.6,
            "xtick.color": ink,
            "ytick.color": ink,
            "figure.facecolor": "none",
            "legend.frameon": False,
        }
    )


def svg(figure: Figure) -> str:
    """The figure as an SVG element that takes its colours from the page around it."""
    with matplotlib.rc_context({"svg.hashsalt": str(id(figure)), "svg.fonttype": "none"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return text.replace(INK, "currentColor").replace(FAINT, "var(--faint)")


def loss_curve(losses: Sequence[float], accuracies: Sequence[float]) -> Figure:
    """The loss of every step, and the test accuracy after every epoch."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    draw_losses(figure.add_subplot(), losses, accuracies)
    return figure


def draw_losses(axes: Axes, losses: Sequence[float], accuracies: Sequence[float]) -> None:
    """Loss on the left scale (logarithmic), accuracy on the right one."""
    steps = np.arange(1, len(losses) + 1)
    axes.semilogy(steps, losses, color=ACCENT, alpha=0.3, linewidth=0.8)
    window = max(1, len(losses) // 40)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.semilogy(steps[window - 1 :], smooth, color=ACCENT, linewidth=1.8)
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color=ACCENT)
    right = axes.twinx()
    right.grid(False)
    at = np.arange(1, len(accuracies) + 1) * len(losses) / max(len(accuracies), 1)
    right.plot(at, np.multiply(accuracies, 100), color=SECOND, marker="o", markersize=3.5)
    right.set_ylabel("test accuracy, %", color=SECOND)
    right.set_ylim(min(90.0, 100 * min(accuracies, default=0.9)) - 2, 100.5)


def filters(weights: np.ndarray) -> Figure:
    """The first layer's filters."""
    columns = 8
    figure = Figure(figsize=(7.2, 0.9 * -(-len(weights) // columns)), layout="constrained")
    draw_filters(figure, figure.add_gridspec()[0], weights, columns)
    return figure


def draw_filters(figure: Figure, place: SubplotSpec, weights: np.ndarray, columns: int) -> None:
    """One square for each filter; blue is positive, red is negative, in one scale for all."""
    grid = place.subgridspec(-(-len(weights) // columns), columns, wspace=0.1, hspace=0.1)
    limit = float(np.abs(weights).max())
    for i, w in enumerate(weights):
        axes = _picture(figure.add_subplot(grid[i // columns, i % columns]))
        axes.imshow(w[0], cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")


def predictions(images: np.ndarray, truth: Sequence[int], said: Sequence[int]) -> Figure:
    """Some images with what the network says and, where it is wrong, the truth."""
    columns = 12
    figure = Figure(figsize=(7.2, 0.86 * -(-len(images) // columns)), layout="constrained")
    draw_predictions(figure, figure.add_gridspec()[0], images, truth, said, columns)
    return figure


def draw_predictions(
    figure: Figure,
    place: SubplotSpec,
    images: np.ndarray,
    truth: Sequence[int],
    said: Sequence[int],
    columns: int,
) -> None:
    """One square for each image."""
    grid = place.subgridspec(-(-len(images) // columns), columns, wspace=0.1, hspace=0.2)
    for i, (image, t, s) in enumerate(zip(images, truth, said, strict=True)):
        axes = _picture(figure.add_subplot(grid[i // columns, i % columns]))
        axes.imshow(image[0], cmap="gray_r", interpolation="nearest")
        words = f"{s}" if s == t else f"{s}, is {t}"
        title = axes.set_title(words, loc="center", fontsize=9, pad=3)
        if s != t:
            title.set_color(WRONG)


def _picture(axes: Axes) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.set_facecolor("white")
    axes.spines[["top", "right"]].set_visible(True)
    return axes


def poster(
    losses: Sequence[float],
    accuracies: Sequence[float],
    weights: np.ndarray,
    images: np.ndarray,
    truth: Sequence[int],
    said: Sequence[int],
    path: Path,
) -> None:
    """Curve, filters and predictions in one PNG file on white."""
    with style(ink="#1f2937", faint="#d1d5db"):
        figure = Figure(figsize=(10, 4.1), facecolor="white", layout="constrained")
        parts: Any = figure.subfigures(1, 2, width_ratios=(1.15, 1.0), wspace=0.03)
        left, right = parts
        axes = left.add_subplot()
        draw_losses(axes, losses, accuracies)
        axes.set_title("loss of every step, test accuracy after every epoch")
        halves = right.subfigures(2, 1, height_ratios=(1, 1.75))
        top, bottom = halves
        for part, words in ((top, "filters of the first layer"), (bottom, "what it says")):
            part.suptitle(words, fontsize=11, x=0.02, ha="left")
        draw_filters(top, top.add_gridspec()[0], weights, 8)
        draw_predictions(bottom, bottom.add_gridspec()[0], images, truth, said, 8)
        figure.savefig(path, format="png", dpi=130, facecolor="white")
