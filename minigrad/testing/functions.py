"""What the checker differentiates: a function of arrays, and the function that is its gradient.

`Primal` is the user's function. `Pullback` is the gradient of another function, with the cotangents
as further inputs: checking its derivative checks the second derivatives of that other one. Both can
be evaluated on arrays (`values`) and traced by the engine (`trace`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import grad
from ..modes import enable_grad, no_grad
from ..tensor import Tensor, to_array, wrap

Arrays = list[np.ndarray]


def differentiable_outputs(result: Any) -> list[Tensor]:
    """The tensors of real or complex numbers in what a function returned.

    Raises:
        TypeError: if it holds no tensor at all.
    """
    flat = list(_flatten(result))
    tensors = [y for y in flat if isinstance(y, Tensor)]
    if not tensors:
        raise TypeError(
            f"gradcheck: the function must return a tensor or several, got {type(result).__name__}"
        )
    return [y for y in tensors if y.dtype.kind in "fc"]


def _flatten(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        for item in result:
            yield from _flatten(item)
    else:
        yield result


def leaf(array: np.ndarray) -> Tensor:
    """A tensor around the array that requires a gradient."""
    return wrap(array).requires_grad_()


def pull_back(
    leaves: Sequence[Tensor],
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    create_graph: bool = False,
) -> list[Tensor]:
    """The cotangent of each leaf; zeros where no output depends on it. The graph is kept."""
    live = [(y, v) for y, v in zip(outputs, cotangents, strict=True) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if live:
        ys, vs = zip(*live, strict=True)
        found = grad(
            list(ys),
            list(leaves),
            list(vs),
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
    return [
        wrap(np.zeros(x.shape, x.dtype)) if g is None else g
        for x, g in zip(leaves, found, strict=True)
    ]


class Primal:
    """The user's function of those of its inputs that hold real numbers; the others are fixed."""

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Any]) -> None:
        self.function = function
        self.point: Arrays = []
        self.labels: list[str] = []
        self._inputs: list[Any] = []
        self._places: list[int] = []
        for i, given in enumerate(inputs):
            array = _array(given)
            if array is not None and array.dtype.kind == "f":
                self._places.append(i)
                self.point.append(array.astype(np.float64))
                self.labels.append(f"input {i}")
            self._inputs.append(given if array is None else wrap(array))

    def call(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs that hold real numbers."""
        arguments = list(self._inputs)
        for place, x in zip(self._places, tensors, strict=True):
            arguments[place] = x
        return differentiable_outputs(self.function(*arguments))

    def trace(self, arrays: Arrays) -> tuple[list[Tensor], list[Tensor]]:
        """Leaves around these arrays, and the outputs as recorded by the engine."""
        with enable_grad():
            leaves = [leaf(x) for x in arrays]
            return leaves, self.call(leaves)

    def values(self, arrays: Arrays) -> Arrays:
        """The outputs, nothing recorded. The arrays may be complex."""
        with no_grad():
            return [y.data for y in self.call([wrap(x) for x in arrays])]


class Pullback:
    """The gradient of another function: (its inputs, one cotangent per output) -> gradients."""

    def __init__(self, of: Primal | Pullback, cotangents: Arrays) -> None:
        self.of = of
        self.point: Arrays = [*of.point, *cotangents]
        self.labels: list[str] = [*of.labels, *(f"cotangent {i}" for i in range(len(cotangents)))]

    def trace(self, arrays: Arrays) -> tuple[list[Tensor], list[Tensor]]:
        """Leaves for inputs and cotangents, and the gradients, themselves recorded."""
        n = len(self.of.point)
        with enable_grad():
            leaves, outputs = self.of.trace(arrays[:n])
            cotangents = [leaf(v) for v in arrays[n:]]
            return [*leaves, *cotangents], pull_back(leaves, outputs, cotangents, create_graph=True)

    def values(self, arrays: Arrays) -> Arrays:
        """The gradients, by the ordinary pass that works on bare arrays."""
        n = len(self.of.point)
        leaves, outputs = self.of.trace(arrays[:n])
        return [g.data for g in pull_back(leaves, outputs, [wrap(v) for v in arrays[n:]])]


Function = Primal | Pullback


def _array(given: Any) -> np.ndarray | None:
    """The array of an input; None for an option such as an integer, a string or None."""
    if isinstance(given, (Tensor, np.ndarray, float, np.generic)):
        return np.array(to_array(given))
    if isinstance(given, (list, tuple)) and given and np.asarray(given).dtype.kind == "f":
        return np.asarray(given, dtype=np.float64)
    return None
