"""One step of training: forward, cross-entropy, backward, Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from .. import peers as adapters
from ..harness import OURS, Case, Contender
from ..networks import IMAGES, PERCEPTRON, Layer, batch, weights

CASES: dict[str, tuple[tuple[Layer, ...], int, int]] = {
    # name: network, batch size, batch size of a quick run
    "image network, batch 64": (IMAGES, 64, 8),
    "perceptron, batch 1": (PERCEPTRON, 1, 1),
    "perceptron, batch 32": (PERCEPTRON, 32, 32),
    "perceptron, batch 256": (PERCEPTRON, 256, 256),
}


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """All cases; peers that are no libraries of networks take no part."""
    libraries = [adapters.load(OURS), *(p for p in peers if hasattr(p, "training_steps"))]
    for name, (network, size, small) in CASES.items():
        x, target = batch(network, small if quick else size)
        contenders: list[Contender] = []
        for library in libraries:
            contenders += library.training_steps(network, weights(network), x, target)
        # The losses of three steps are compared: they agree only if gradients and updates do. Adam
        # divides by the gradient's size, so that rounding errors of tiny gradients are magnified.
        yield Case(name, contenders, tolerance=1e-3, trials=3)
