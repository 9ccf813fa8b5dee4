"""Steps of optimizers in CUDA graphs: their numbers lie in memory, and change between replays.

The numbers are computed as for any other step, in Python, and written there by a launch; so a step
computes the same bits in a graph as outside of one.
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array
from .arrays import empty
from .c_types import c_name
from .optimizer import adam_numbers, sgd_numbers, update
from .source import kernel

MOST = 10
"""Numbers of a step."""


class Replayable:
    """One step, captured in a graph or launched at once.

    Args:
        name: of the kernel in optimizer.cu whose numbers are arguments.
        inputs: the parameter, its gradient, the state.
    """

    def __init__(self, name: str, inputs: tuple[Array, ...]) -> None:
        self.name, self.inputs = name, inputs
        self.numbers = empty(inputs[0], (MOST,))

    def set(self, numbers: tuple[Any, ...]) -> None:
        """Write the numbers of the next step, on the current stream."""
        padded = (*map(float, numbers), *[0.0] * (MOST - len(numbers)))
        run = kernel("optimizer_numbers.cu", "set_numbers", T=c_name(self.numbers))
        run(1, 1, self.numbers, *padded)

    def launch(self, out: tuple[Any, ...] | None = None) -> tuple[Array, ...]:
        """Do the step: returns the new parameter and state, in `out` if it is given."""
        results = len(self.inputs) - 1  # all but the gradient
        return update(
            f"{self.name}_replayable", self.inputs, self.numbers, results=results, out=out
        )


def replayable_sgd(p: Array, g: Array, *state: Array) -> Replayable:
    """Gradient descent, with momentum where a buffer is given."""
    return Replayable("descend_with_momentum" if state else "descend", (p, g, *state))


def replayable_adam(p: Array, g: Array, *state: Array) -> Replayable:
    """Adam, or with a third array of state AMSGrad."""
    return Replayable("adam" if len(state) == 2 else "amsgrad", (p, g, *state))


# As implementations of the kernels, for tests and benchmarks


def sgd_step(
    p: Array, g: Array, buffer: Array | None = None, *, out: Any = None, **options: Any
) -> Any:
    """`minigrad_kernels.sgd_step`, its numbers written to memory first."""
    step = replayable_sgd(p, g, *(() if buffer is None else (buffer,)))
    step.set(sgd_numbers(buffer is not None, **options))
    if buffer is None:
        return step.launch(out if isinstance(out, tuple) else (out,))[0]
    return step.launch(out)


def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    largest: Array | None = None,
    *,
    out: Any = None,
    **options: Any,
) -> Any:
    """`minigrad_kernels.adam_step`, its numbers written to memory first."""
    step = replayable_adam(p, g, m, v, *(() if largest is None else (largest,)))
    step.set(adam_numbers(**options))
    return step.launch(out)
