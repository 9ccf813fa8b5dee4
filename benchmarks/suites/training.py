"""One step of training: forward, cross-entropy, backward, Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from .. import peers as adapters
from ..harness import OURS, Case, Contender
from ..networks import IMAGES, PERCEPTRON, Layer, batch, weights

CASES: tuple[tuple[str, tuple[Layer, ...], int], ...] = (
    ("image network", IMAGES, 64),
    ("perceptron", PERCEPTRON, 1),
    ("perceptron", PERCEPTRON, 32),
    ("perceptron", PERCEPTRON, 256),
)
"""Name, network, batch size."""


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """All cases; `quick` makes batches of images small.

    Peers that are no libraries of networks take no part.
    """
    libraries = [adapters.load(OURS), *(p for p in peers if hasattr(p, "training_steps"))]
    for name, network, size in CASES:
        if quick and network is IMAGES:
            size = 8
        x, target = batch(network, size)
        contenders: list[Contender] = []
        for library in libraries:
            contenders += library.training_steps(network, weights(network), x, target)
        # The losses of three steps are compared: they agree only if gradients and updates do. Adam
        # divides by the gradient's size, so that rounding errors of tiny gradients are magnified.
        yield Case(f"{name}, batch {size}", contenders, tolerance=1e-3, trials=3)
