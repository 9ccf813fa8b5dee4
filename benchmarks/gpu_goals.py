"""What is to be reached on an H100, and what a run of the suite `gpu` reached.

Figures of other GPUs are held to the same goals, which are ratios.
"""

from __future__ import annotations

from collections.abc import Sequence

from .goals import Goal, Result

SHARE, RATIO = 0.9, 1.0
PRODUCTS = {"float32": 0.8, "TF32": 0.7, "float16": 0.6, "bfloat16": 0.6}
CONVOLUTION = 0.8
LAUNCH = 8e-6
EAGER, CAPTURED = 1.0, 2.0

_OTHER = ("matmul ", "convolution ", "launch ", "training ")


def goals(rows: Sequence[Result]) -> list[Goal]:
    """All goals, with what these rows say."""
    mine = [row for row in rows if row["suite"] == "gpu"]
    return [
        *_memory_bound(mine),
        *_products(mine),
        *_convolutions(mine),
        _launch(mine),
        *_training(mine),
    ]


def _memory_bound(rows: Sequence[Result]) -> list[Goal]:
    found = [row for row in rows if not row["case"].startswith(_OTHER)]
    if not found:
        work = "memory-bound kernels, 256 MB"
        return [
            Goal(work, "share of the copy bandwidth", SHARE, None),
            Goal(work, "PyTorch's time over ours", RATIO, None),
        ]
    goals = []
    for row in found:
        share = row["figures"]["of copying"]
        goals.append(Goal(row["case"], "share of the copy bandwidth", SHARE, share))
        if row["peer"] is not None:
            goals.append(Goal(row["case"], "PyTorch's time over ours", RATIO, row["ratio"]))
    return goals


def _ratio(rows: Sequence[Result], begin: str, peer: str = "torch") -> float | None:
    """PyTorch's time over ours in the case whose name begins so; None if it was not measured."""
    for row in rows:
        if row["case"].startswith(begin) and row["peer"] == peer:
            return float(row["ratio"])
    return None


def _products(rows: Sequence[Result]) -> list[Goal]:
    """Of every precision; by warpgroups, too, where they were measured: a GPU may have none."""
    asked = [
        (words, wanted, _ratio(rows, f"matmul {words},")) for words, wanted in PRODUCTS.items()
    ]
    for words, wanted in PRODUCTS.items():
        reached = _ratio(rows, f"matmul {words} by warpgroups,")
        if reached is not None:
            asked.append((f"{words} by warpgroups", wanted, reached))
    return [
        Goal(f"matmul {words}", "cuBLAS's time over ours", wanted, reached)
        for words, wanted, reached in asked
    ]


def _convolutions(rows: Sequence[Result]) -> list[Goal]:
    cases = {row["case"] for row in rows if row["case"].startswith("convolution ")}
    return [
        Goal(case, "cuDNN's time over ours", CONVOLUTION, _ratio(rows, case))
        for case in sorted(cases) or ["convolutions 3x3, forward and backward"]
    ]


def _launch(rows: Sequence[Result]) -> Goal:
    took = next((row["ours"] for row in rows if row["case"].startswith("launch ")), None)
    reached = None if took is None else LAUNCH / took
    return Goal("launch of a small kernel", "8 µs over ours", 1.0, reached)


def _training(rows: Sequence[Result]) -> list[Goal]:
    work = "training step, image network, batch 64"
    of_eager = _ratio(rows, work)
    captured = next(
        (
            row["theirs"]
            for row in rows
            if row["case"].startswith(work) and row["peer"] == "minigrad (captured)"
        ),
        None,
    )
    theirs = next(
        (r["theirs"] for r in rows if r["case"].startswith(work) and r["peer"] == "torch"), None
    )
    over = None if captured is None or theirs is None else theirs / captured
    return [
        Goal(work, "eager: PyTorch's time over ours", EAGER, of_eager),
        Goal(work, "captured: PyTorch's time over ours", CAPTURED, over),
    ]
