"""The work that is timed, written once for all libraries: programs of tiny operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Program = Callable[..., Any]
"""`program(library, *tensors)`: `library` offers tanh, exp and relu; operators do the rest."""

LENGTH = 200


def arithmetic(length: int) -> Program:
    """`length` products, sums and differences, whose values stay where they began."""

    def program(library: Any, x: Any, w: Any, v: Any, b: Any, c: Any) -> Any:
        for _ in range(length // 4):
            x = x * w
            x = x + b
            x = x * v
            x = x - c
        return x

    return program


def scalars(library: Any, x: Any) -> Any:
    """200 operations with a Python number on one side."""
    for _ in range(LENGTH // 4):
        x = x * 1.25
        x = x + 0.5
        x = x * 0.8
        x = 1.0 - x
    return x


def mixed(library: Any, x: Any, w: Any, b: Any) -> Any:
    """200 operations, two in five of them products and differences, the rest functions."""
    for _ in range(LENGTH // 5):
        x = library.tanh(x)
        x = library.exp(x)
        x = x - b
        x = library.relu(x)
        x = x * w
    return x


def numbers(seed: int = 0) -> dict[str, np.ndarray]:
    """2x2 float32 arrays for the programs; w v = 1 and b v = c, so that values stay bounded.

    w is a power of two: its products are exact, over any number of operations.
    """
    rng = np.random.default_rng(seed)
    w = np.exp2(rng.permutation([-1.0, 1.0, -2.0, 2.0])).reshape(2, 2) * rng.choice([-1, 1], (2, 2))
    b = rng.uniform(0.5, 1.5, (2, 2))
    found = {
        "x": rng.uniform(0.5, 1.5, (2, 2)),
        "w": w,
        "v": 1 / w,
        "b": b,
        "c": b / w,
        "gain": rng.uniform(0.9, 1.0, (2, 2)),
        "shift": rng.uniform(0.9, 1.1, (2, 2)),
        "g": rng.normal(size=(2, 2)),
    }
    return {name: array.astype(np.float32) for name, array in found.items()}
