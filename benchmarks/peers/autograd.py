"""HIPS autograd."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import autograd
import autograd.numpy as anp

from ..harness import Contender
from ..work import Program

LIBRARY = SimpleNamespace(tanh=anp.tanh, exp=anp.exp, relu=lambda x: anp.maximum(x, 0.0))


def set_threads(count: int) -> None:
    """It has no threads of its own."""


def derivatives(
    program: Program, inputs: Sequence[Any], constants: Sequence[Any], cotangent: Any
) -> list[Contender]:
    """Value and gradients of a program, recorded and walked in each run."""
    which = tuple(range(len(inputs)))
    forward = autograd.make_vjp(lambda *xs: program(LIBRARY, *xs, *constants), which)

    def run() -> list[Any]:
        backward, y = forward(*inputs)
        return [y, *backward(cotangent)]

    return [Contender("autograd", run, list)]
