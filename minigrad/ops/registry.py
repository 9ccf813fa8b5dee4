"""The list of operations, each with what its tests and benchmarks try it on.

An operation stays a plain function: the decorator files it and gives it back unchanged. Whatever is
filed here is tested because it is filed here: gradients on its samples to second order, its error
samples, that it frees what it keeps, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

KINDS = ("linear", "bilinear", "analytic", "smooth", "piecewise", "constant")
"""What kind of function of its real inputs an operation is: which oracle its derivative can have.

linear: in all its inputs together; bilinear: in each of two inputs; analytic: computed by
operations that work on complex numbers; smooth: differentiable on its samples; piecewise: smooth
between kinks; constant: it has no derivative (comparisons, indices)."""


@dataclass(frozen=True)
class Drawn:
    """An input of an operation: an array drawn at random when a test needs it."""

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    how: str = "real"

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A new array: float64, int64 or bool."""
        if self.how == "integers":
            return rng.integers(int(self.low), int(self.high), self.shape)
        if self.how == "booleans":
            return rng.integers(0, 2, self.shape).astype(bool)
        if self.how == "separated":
            n = int(np.prod(self.shape))
            # The golden section of each cell; its middle would hit 0 and other round numbers.
            grid = self.low + (self.high - self.low) * (np.arange(n) + 0.381966) / max(n, 1)
            return rng.permutation(grid).reshape(self.shape)
        return rng.uniform(self.low, self.high, self.shape)

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "scalar"
        return size if self.how == "real" else f"{self.how} {size}"


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> Drawn:
    """Uniform real numbers."""
    return Drawn(shape, low, high)


def positive(*shape: int) -> Drawn:
    """Real numbers between 0.3 and 2."""
    return Drawn(shape, 0.3, 2.0)


def separated(*shape: int, low: float = -2.0, high: float = 2.0) -> Drawn:
    """Real numbers of which no two are close, and none is close to 0: no ties and no kinks."""
    return Drawn(shape, low, high, "separated")


def integers(*shape: int, low: int = 0, high: int) -> Drawn:
    """Integers in [low, high), such as class numbers and indices."""
    return Drawn(shape, low, high, "integers")


def booleans(*shape: int) -> Drawn:
    """Random truth values, such as masks."""
    return Drawn(shape, how="booleans")


@dataclass(frozen=True)
class Sample:
    """Arguments to try an operation on. Lists of `Drawn` stand for lists of tensors."""

    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    orders: int = 2

    def __str__(self) -> str:
        parts = [_shown(a) for a in self.args] + [f"{k}={v}" for k, v in self.options.items()]
        return ", ".join(parts)


def _shown(argument: Any) -> str:
    if isinstance(argument, list):
        return "[" + ", ".join(map(_shown, argument)) + "]"
    return str(argument)


@dataclass(frozen=True)
class ErrorSample:
    """Arguments that an operation must refuse: with which error, and words of its message."""

    error: type[Exception]
    match: str
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.error.__name__}: {self.match}"


@dataclass(frozen=True)
class Operation:
    """One entry of the list."""

    function: Callable[..., Any]
    samples: tuple[Sample, ...]
    errors: tuple[ErrorSample, ...]
    kind: str

    @property
    def name(self) -> str:
        """Its public name."""
        return self.function.__name__


OPERATIONS: dict[str, Operation] = {}


def sample(*args: Any, orders: int = 2, **options: Any) -> Sample:
    """Arguments to try an operation on; `orders` is how often it can be differentiated there."""
    return Sample(args, options, orders)


def fails(error: type[Exception], match: str, *args: Any, **options: Any) -> ErrorSample:
    """Arguments that must be refused with `error` and a message that contains `match`."""
    return ErrorSample(error, match, args, options)


def differentiable(
    samples: Sequence[Sample], kind: str, errors: Sequence[ErrorSample] = ()
) -> Callable[[F], F]:
    """File a function as an operation. The function itself is left as it is.

    Args:
        samples: what to test it on; at least one.
        kind: what kind of function it is, one of `KINDS`.
        errors: what it must refuse.
    """
    if kind not in KINDS:
        raise ValueError(f"differentiable: kind {kind!r} is none of {', '.join(KINDS)}")

    def file(function: F) -> F:
        if not samples:
            raise ValueError(f"differentiable: {function.__name__} has no samples")
        OPERATIONS[function.__name__] = Operation(function, tuple(samples), tuple(errors), kind)
        return function

    return file
