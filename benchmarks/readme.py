"""The README's tables, between two marks, written from the results of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .goals import Result, best
from .harness import OURS, in_words

BEGIN = "<!-- performance: written by `python -m benchmarks report` -->"
END = "<!-- end of performance -->"

PEERS = {"torch": "PyTorch", "jax": "JAX", "autograd": "autograd", "mygrad": "MyGrad"}
HEADINGS = {
    "convolution": "convolutions, forward and backward",
    "memory-bound": "operations that move more than they compute, forward and backward",
    "adam": "optimizer",
    "training": "one training step: forward, cross-entropy, backward, Adam",
    "memory": "memory",
    "overhead": "the engine: chains of 200 operations on 2×2 tensors, large graphs, the import",
}
"""The suites that compare with peers, in the order of the page."""


def rewrite(file: Path, results: dict[str, Any]) -> None:
    """Put the tables between the marks of a file.

    Raises:
        ValueError: if it has no such marks, or the results are not of all suites in the tables.
    """
    missing = set(HEADINGS) - {row["suite"] for row in results["rows"]}
    if missing:
        raise ValueError(f"there are no results of {', '.join(sorted(missing))}")
    text = file.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} has no lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n{END}{after}", encoding="utf-8")


def tables(results: dict[str, Any]) -> str:
    """What stands between the marks, as Markdown."""
    about = results["machine"]
    versions = [f"{PEERS.get(n, n)} {v}" for n, v in about["versions"].items()]
    parts = [
        "Ratios are the peer's time (or memory) over ours: above 1 we are the faster (or smaller). "
        "Medians of interleaved rounds, every library at its best setting: default or "
        "channels-last memory, fused Adam, jit. "
        f"{about['date'][:10]}, {about['processor']}, {about['cores']} cores, {about['python']}, "
        f"{', '.join(versions)}, commit {about['commit']}.\n"
    ]
    for suite, heading in HEADINGS.items():
        rows = [r for r in results["rows"] if r["suite"] == suite]
        if rows:
            parts.append("\n".join(table(suite, heading, rows)) + "\n")
    return "\n".join(parts)


def table(suite: str, heading: str, rows: Sequence[Result]) -> list[str]:
    """The lines of one suite's table."""
    took = {case: best(rows, suite, case) for case in dict.fromkeys(r["case"] for r in rows)}
    peers = [p for p in PEERS if any(p in t for t in took.values())]
    unit = {r["case"]: r["unit"] for r in rows}
    lines = [
        f"| {heading} | ours | " + " | ".join(PEERS[p] for p in peers) + " |",
        "|---|" + "---|" * (1 + len(peers)),
    ]
    for case, t in took.items():
        ratios = [_ratio(t[p] / t[OURS]) if p in t else "" for p in peers]
        ours = in_words(t[OURS], unit[case])
        lines.append(f"| {case} | {ours} | " + " | ".join(ratios) + " |")
    return lines


def _ratio(value: float) -> str:
    """Two digits, or all before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
