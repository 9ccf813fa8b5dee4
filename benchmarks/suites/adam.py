"""One step of Adam on the parameters of the image network, whose gradients stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from .. import peers as adapters
from ..harness import OURS, Budget, Case, Contender
from ..networks import IMAGES, PERCEPTRON, weights
from .memory_bound import figures

BUDGET = Budget(seconds=1.0, rounds=15, limit=15.0)


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """The image network, or for a quick look the perceptron."""
    libraries = [adapters.load(OURS), *(p for p in peers if hasattr(p, "adam_steps"))]
    network = PERCEPTRON if quick else IMAGES
    parameters, gradients = weights(network, seed=0), weights(network, seed=1)
    contenders: list[Contender] = []
    for library in libraries:
        contenders += library.adam_steps(parameters, gradients)
    count = sum(w.size for w in parameters.values())
    case = Case(f"Adam, {count:,} parameters", contenders, trials=2)
    if not quick:
        # The parameters and both means are read and written, the gradients read: 7 float32 numbers.
        case.figures = lambda ours: figures(ours, 7 * 4.0 * count)
    yield case
