"""Our own side of each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, optim
from minigrad_kernels import memory

from ..harness import OURS, Contender
from ..networks import LEARNING_RATE, Conv, Flatten, Layer, Linear, Pool, Relu
from ..operations import Operation
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


def operation(work: Operation) -> list[Contender]:
    """Forward and backward, in each layout of images."""
    return [_operation(work, *layout) for layout in work.layouts()]


def _operation(
    work: Operation, suffix: str, inputs: Sequence[np.ndarray], cotangent: np.ndarray | None
) -> Contender:
    xs = [mg.tensor(x, requires_grad=True) for x in inputs]
    cs = [mg.tensor(c) for c in work.constants]
    g = None if cotangent is None else mg.tensor(cotangent)

    def run() -> list[Any]:
        for x in xs:
            x.grad = None
        y = work.program(F, *xs, *cs)
        y.backward(g)
        return [y, *(x.grad for x in xs)]

    return Contender(OURS + suffix, run, lambda ts: [np.asarray(t.detach()) for t in ts])


def adam_steps(parameters: dict[str, Any], gradients: dict[str, Any]) -> list[Contender]:
    """`step()` with gradients that a backward pass left."""
    ps = [nn.Parameter(mg.tensor(w)) for w in parameters.values()]
    gs = [mg.tensor(g) for g in gradients.values()]
    optimizers = [optim.Adam(ps, lr=LEARNING_RATE)]

    def reset() -> None:
        optimizers.clear()  # the parameters lie in its memory: let them lie in that of the next
        with mg.no_grad():
            for p, w in zip(ps, parameters.values(), strict=True):
                p.copy_(mg.tensor(w))
        optimizers.append(optim.Adam(ps, lr=LEARNING_RATE))
        optimizers[0].zero_grad()
        for p, g in zip(ps, gs, strict=True):
            (p * g).sum().backward()

    def run() -> list[Any]:
        optimizers[0].step()
        return ps

    return [Contender(OURS, run, lambda ts: [np.array(t.detach()) for t in ts], reset=reset)]


def release() -> None:
    """Return the memory that is kept for later arrays to the system."""
    memory.release()


def training_steps(
    network: Sequence[Layer], state: dict[str, Any], x: Any, target: Any
) -> list[Contender]:
    """The loop as its users write it."""
    model = nn.Sequential(*map(_module, network))
    images, classes = mg.tensor(x), mg.tensor(target)
    optimizers = [optim.Adam(model.parameters(), lr=LEARNING_RATE)]

    def reset() -> None:
        optimizers.clear()  # the parameters lie in its memory: let them lie in that of the next
        model.load_state_dict({k: mg.tensor(w) for k, w in state.items()})
        optimizers.append(optim.Adam(model.parameters(), lr=LEARNING_RATE))

    def run() -> Any:
        optimizers[0].zero_grad()
        loss = F.cross_entropy(model(images), classes)
        loss.backward()
        optimizers[0].step()
        return loss

    return [Contender(OURS, run, lambda loss: [loss.item()], reset=reset)]


def _module(layer: Layer) -> nn.Module:
    match layer:
        case Conv(channels_in, channels_out):
            return nn.Conv2d(channels_in, channels_out, 3, padding=1)
        case Linear(features_in, features_out):
            return nn.Linear(features_in, features_out)
        case Relu():
            return nn.ReLU()
        case Pool():
            return nn.MaxPool2d(2)
        case Flatten():
            return nn.Flatten()
