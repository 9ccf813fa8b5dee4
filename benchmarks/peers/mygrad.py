"""MyGrad."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import mygrad
import mygrad.nnet

from ..harness import Contender
from ..work import Program

LIBRARY = SimpleNamespace(tanh=mygrad.tanh, exp=mygrad.exp, relu=mygrad.nnet.relu)


def set_threads(count: int) -> None:
    """It has no threads of its own."""


def derivatives(
    program: Program, inputs: Sequence[Any], constants: Sequence[Any], cotangent: Any
) -> list[Contender]:
    """Value and gradients of a program: as it comes, and without its guard against overwriting."""
    xs = [mygrad.tensor(x) for x in inputs]
    cs = [mygrad.tensor(c, constant=True) for c in constants]

    def run() -> list[Any]:
        for x in xs:
            x.null_grad()
        y = program(LIBRARY, *xs, *cs)
        y.backward(cotangent)
        return [y.data, *(x.grad for x in xs)]

    def unguarded() -> list[Any]:
        with mygrad.mem_guard_off:
            return run()

    return [
        Contender("mygrad", run, list),
        Contender("mygrad (unguarded)", unguarded, list, note="mem_guard_off"),
    ]
