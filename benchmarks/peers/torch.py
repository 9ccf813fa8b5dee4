"""PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..harness import Contender
from ..networks import LEARNING_RATE, Conv, Flatten, Layer, Linear, Pool, Relu
from ..operations import Operation
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


def operation(work: Operation) -> list[Contender]:
    """Forward and backward, in each layout of images."""
    return [_operation(work, *layout) for layout in work.layouts()]


def _operation(
    work: Operation, suffix: str, inputs: Sequence[np.ndarray], cotangent: np.ndarray | None
) -> Contender:
    # from_numpy and detach keep the layout
    xs = [torch.from_numpy(x).clone().requires_grad_() for x in inputs]
    cs = [torch.from_numpy(c) for c in work.constants]
    g = None if cotangent is None else torch.from_numpy(cotangent)

    def run() -> list[Any]:
        for x in xs:
            x.grad = None
        y = work.program(F, *xs, *cs)
        y.backward(g)
        return [y, *(x.grad for x in xs)]

    return Contender(f"torch{suffix}", run, lambda ts: [t.detach().numpy() for t in ts])


def adam_steps(parameters: dict[str, Any], gradients: dict[str, Any]) -> list[Contender]:
    """`step()` as it comes, and fused."""
    return [
        _adam_steps("torch", parameters, gradients, fused=None),
        _adam_steps("torch (fused)", parameters, gradients, fused=True),
    ]


def _adam_steps(
    name: str, parameters: dict[str, Any], gradients: dict[str, Any], fused: bool | None
) -> Contender:
    ps = [nn.Parameter(torch.tensor(w)) for w in parameters.values()]
    gs = [torch.tensor(g) for g in gradients.values()]
    optimizer = torch.optim.Adam(ps, lr=LEARNING_RATE, fused=fused)

    def reset() -> None:
        nonlocal optimizer
        with torch.no_grad():
            for p, w in zip(ps, parameters.values(), strict=True):
                p.copy_(torch.from_numpy(w))
        optimizer = torch.optim.Adam(ps, lr=LEARNING_RATE, fused=fused)
        optimizer.zero_grad()
        for p, g in zip(ps, gs, strict=True):
            (p * g).sum().backward()

    def run() -> list[Any]:
        optimizer.step()
        return ps

    return Contender(name, run, lambda ts: [t.detach().numpy().copy() for t in ts], reset=reset)


def training_steps(
    network: Sequence[Layer], state: dict[str, Any], x: Any, target: Any
) -> list[Contender]:
    """As it comes; and with what makes it fastest: channels-last memory and the fused Adam."""
    best = "torch (channels-last, fused)" if x.ndim == 4 else "torch (fused)"
    return [
        _training("torch", network, state, x, target, tuned=False),
        _training(best, network, state, x, target, tuned=True),
    ]


def _training(
    name: str, network: Sequence[Layer], state: dict[str, Any], x: Any, target: Any, tuned: bool
) -> Contender:
    model = nn.Sequential(*map(_module, network))
    images, classes = torch.tensor(x), torch.tensor(target)
    if tuned and images.ndim == 4:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    new_optimizer = partial(torch.optim.Adam, lr=LEARNING_RATE, fused=tuned or None)
    optimizer = new_optimizer(model.parameters())

    def reset() -> None:
        nonlocal optimizer
        model.load_state_dict({k: torch.tensor(w) for k, w in state.items()})
        optimizer = new_optimizer(model.parameters())

    def run() -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), classes)
        loss.backward()
        optimizer.step()
        return loss

    return Contender(name, run, lambda loss: [loss.item()], reset=reset)


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
