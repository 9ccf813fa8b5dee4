"""A training step of the image network on a GPU: eager, captured in a graph, and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, optim
from minigrad_kernels import use

from ..device import Emulator
from ..harness import Case, Contender
from ..networks import IMAGES, LEARNING_RATE, PERCEPTRON, batch, weights
from ..peers import load

STEPS = 20
"""Steps between two looks at the clock."""


def training_steps(device: Emulator, with_torch: bool, small: bool) -> Iterator[Case]:
    """One case: forward, cross-entropy, backward, Adam; the losses of three steps are compared."""
    network, size = (PERCEPTRON, 4) if small else (IMAGES, 64)
    state, (x, target) = weights(network), batch(network, size)
    name = f"training step, {'perceptron' if small else 'image network'}, batch {size}"
    contenders = [_ours(device, "minigrad", network, state, x, target, captured=False)]
    if device.is_gpu:
        contenders.append(
            _ours(device, "minigrad (captured)", network, state, x, target, captured=True)
        )
    if with_torch:
        contenders += _torch(device, network, state, x, target)
    yield Case(name, contenders, tolerance=2e-3)


def _timed(device: Emulator, name: str, make: Callable[[], Callable[[], Any]]) -> Contender:
    """A contender whose step `make` makes anew, with the first weights."""
    kept: list[Callable[[], Any]] = []

    def run() -> float:
        if not kept:
            kept.append(make())
        steps = STEPS if device.is_gpu else 1
        return device.seconds(kept[0], steps)

    def losses(_: Any) -> list[np.ndarray]:
        step = make()
        return [device.host(step()) for _ in range(3)]

    return Contender(name, run, losses, measures_itself=True)


def _ours(
    device: Emulator, name: str, network: Any, state: Any, x: Any, target: Any, captured: bool
) -> Contender:
    module = load("minigrad")._module

    def make() -> Callable[[], Any]:
        model = nn.Sequential(*map(module, network)).to(device.where)
        images = mg.tensor(device.array(x))
        classes = mg.tensor(device.array(target))

        optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

        def work(images: Any, classes: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), classes)
            loss.backward()
            optimizer.step()
            return loss

        def start() -> None:
            """The first weights, and no step counted, in the memory where all is."""
            model.load_state_dict({k: mg.tensor(w) for k, w in state.items()})
            for kept in optimizer.state.values():
                kept["step"] = 0
                kept["exp_avg"].data[...] = kept["exp_avg_sq"].data[...] = 0

        run: Callable[..., Any] = work
        if captured:
            run = mg.cuda.capture(work, images, classes)
        start()

        def step() -> Any:
            with nullcontext() if device.is_gpu else use("cuda-on-cpu"):
                return run(images, classes)

        return step

    return _timed(device, name, make)


def _torch(device: Emulator, network: Any, state: Any, x: Any, target: Any) -> Iterator[Contender]:
    import torch

    peer = load("torch")

    def make(tuned: bool) -> Callable[[], Any]:
        model = torch.nn.Sequential(*map(peer._module, network))
        model.load_state_dict({k: torch.tensor(w) for k, w in state.items()})
        model = model.to(device.where)
        images, classes = torch.tensor(x).to(device.where), torch.tensor(target).to(device.where)
        if tuned and images.ndim == 4:
            model = model.to(memory_format=torch.channels_last)
            images = images.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=tuned or None)

        def step() -> Any:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), classes)
            loss.backward()
            optimizer.step()
            return loss

        return step

    yield _timed(device, "torch", lambda: make(tuned=False))
    yield _timed(device, "torch (channels-last, fused)", lambda: make(tuned=True))
