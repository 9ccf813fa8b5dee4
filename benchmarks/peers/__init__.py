"""One adapter for each library that takes part: how its users would write the same work."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

NAMES = ("torch", "jax", "autograd", "mygrad")


def load(name: str) -> ModuleType:
    """The adapter of a library; importing it imports the library.

    Raises:
        ValueError: if there is no adapter of that name.
        ModuleNotFoundError: if the library is not installed.
    """
    if name not in (*NAMES, "minigrad"):
        raise ValueError(f"no peer {name!r}; there are {', '.join(NAMES)}")
    if not find_spec(name):
        raise ModuleNotFoundError(
            f"the peer {name} is not installed (pip install -e .[peers])", name=name
        )
    return importlib.import_module(f"{__name__}.{name}")
