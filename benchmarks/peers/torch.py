"""PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..harness import Contender
from ..work import Program


def set_threads(count: int) -> None:
    """Let its operations use `count` threads."""
    torch.set_num_threads(count)


def derivatives(
    program: Program, inputs: Sequence[Any], constants: Sequence[Any], cotangent: Any
) -> list[Contender]:
    """Value and gradients of a program, recorded and walked in each run."""
    xs = [torch.tensor(x, requires_grad=True) for x in inputs]
    cs = [torch.tensor(c) for c in constants]
    g = torch.tensor(cotangent)

    def run() -> list[Any]:
        for x in xs:
            x.grad = None
        y = program(torch, *xs, *cs)
        y.backward(g)
        return [y, *(x.grad for x in xs)]

    return [Contender("torch", run, lambda ts: [t.detach().numpy() for t in ts])]
