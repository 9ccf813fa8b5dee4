"""The suites. Each module has `cases(peers, quick)`, which yields the cases one by one.

It may have a `BUDGET` of its own, `rows` that make more of the times, and a `table` to show them.
"""

from __future__ import annotations

import importlib
from types import ModuleType

REPORTED = ("overhead", "kernels", "convolution", "memory-bound", "adam", "training", "memory")
"""Those of a report of a machine's processor."""

NAMES = (*REPORTED, "gpu", "cpu-gpu")


def load(name: str) -> ModuleType:
    """The module of a suite."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
