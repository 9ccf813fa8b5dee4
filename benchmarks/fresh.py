"""What is measured in a new interpreter; imports nothing that a measured import would need."""

from __future__ import annotations

import importlib
import sys
import time


def import_seconds(name: str) -> float:
    """The time of one import in this process, which must not have done it before.

    Raises:
        RuntimeError: if it has.
    """
    if name in sys.modules:
        raise RuntimeError(f"import_seconds: {name} was imported already")
    start = time.perf_counter()
    importlib.import_module(name)
    return time.perf_counter() - start
