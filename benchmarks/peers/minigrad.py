"""Our own side of each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import minigrad as mg

from ..harness import OURS, Contender
from ..work import Program


def set_threads(count: int) -> None:
    """The environment variables that were set before NumPy was imported say it all."""


def derivatives(
    program: Program, inputs: Sequence[Any], constants: Sequence[Any], cotangent: Any
) -> list[Contender]:
    """Value and gradients of a program, recorded and walked in each run."""
    xs = [mg.tensor(x, requires_grad=True) for x in inputs]
    cs = [mg.tensor(c) for c in constants]
    g = mg.tensor(cotangent)

    def run() -> list[Any]:
        for x in xs:
            x.grad = None
        y = program(mg, *xs, *cs)
        y.backward(g)
        return [y, *(x.grad for x in xs)]

    return [Contender(OURS, run, lambda ts: [np.asarray(t.detach()) for t in ts])]
