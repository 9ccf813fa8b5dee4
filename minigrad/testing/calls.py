"""Samples of an operation, drawn: a function of flat arrays that calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.registry import Drawn, ErrorSample, Sample

SEED = 11
"""Draws the numbers of samples, everywhere the same: what is found once is found again."""


@dataclass(frozen=True)
class _Slot:
    """Stands, in the arguments, for array number `index`."""

    index: int


@dataclass(frozen=True)
class Call:
    """One call of an operation: the arrays that were drawn for it, and how to make the call.

    Attributes:
        function: the operation.
        arrays: float64, int64 or bool, in the order of the arguments.
    """

    function: Callable[..., Any]
    arrays: list[np.ndarray]
    _args: tuple[Any, ...]
    _options: dict[str, Any]

    @property
    def __name__(self) -> str:
        """The operation's name, for messages."""
        return self.function.__name__

    @property
    def differentiable(self) -> bool:
        """Whether it has an input to differentiate by."""
        return any(a.dtype.kind == "f" for a in self.arrays)

    def __call__(self, *tensors: Any) -> Any:
        """Call the operation with these in the places of the arrays."""
        args = [_filled(a, tensors) for a in self._args]
        return self.function(*args, **{k: _filled(v, tensors) for k, v in self._options.items()})


def draw(
    function: Callable[..., Any],
    sample: Sample | ErrorSample,
    rng: np.random.Generator | None = None,
) -> Call:
    """Draw the arrays of a sample; without a generator, the same numbers every time."""
    rng = np.random.default_rng(SEED) if rng is None else rng
    arrays: list[np.ndarray] = []

    def slots(argument: Any) -> Any:
        if isinstance(argument, Drawn):
            arrays.append(np.asarray(argument.draw(rng)))
            return _Slot(len(arrays) - 1)
        if type(argument) in (list, tuple):
            return type(argument)(slots(a) for a in argument)
        return argument

    args = tuple(slots(a) for a in sample.args)
    options = {k: slots(v) for k, v in sample.options.items()}
    return Call(function, arrays, args, options)


def _filled(argument: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(argument, _Slot):
        return tensors[argument.index]
    if type(argument) in (list, tuple):
        return type(argument)(_filled(a, tensors) for a in argument)
    return argument
