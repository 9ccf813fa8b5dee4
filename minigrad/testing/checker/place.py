"""A function at one point: what is known of it there, and what asking it has cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from . import rounding
from .functions import Arrays, Function
from .oracles import Line, flat
from .probes import split


class ExhaustedError(Exception):
    """A search has called the function as often, or for as long, as it may."""


class Place:
    """A function at its point.

    Args:
        function: what to differentiate.
        rng: draws directions and cotangents.

    Attributes:
        point: one array for each input.
        recording: the function evaluated there, ready to be pulled back.
        outputs, here: what it gave, and the same flat.
        eps: of the type that it computes in.
        scale: of its numbers; larger than the outputs where larger ones are known to have
            cancelled.
        calls: how often the function or its rule was called by `values` and `pull`.
    """

    def __init__(self, function: Function, rng: np.random.Generator) -> None:
        self.function, self.rng = function, rng
        self.point = function.point
        self.recording = function.record(self.point)
        self.outputs = self.recording.outputs
        self.here = flat(self.outputs)
        self.eps = float(max([np.finfo(y.dtype).eps for y in self.outputs], default=2.2e-16))
        self.scale = rounding.scale(function, self.here)
        self.calls = 0
        self._last: tuple[float, float] | None = None  # the call and the time at which to stop

    # Calls, counted

    def values(self, arrays: Arrays) -> Arrays:
        """The outputs at other arrays."""
        with self._counted():
            return self.function.values(arrays)

    def pull(self, cotangents: list[np.ndarray | None]) -> Arrays:
        """The gradients by the rule, one for each input."""
        with self._counted():
            return self.recording.pull(cotangents)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self.is_late:
            raise ExhaustedError
        self.calls += 1
        yield

    @property
    def is_late(self) -> bool:
        """Whether the limit that holds now, if any, is met."""
        last = self._last
        return last is not None and not (self.calls < last[0] and time.perf_counter() < last[1])

    @contextmanager
    def at_most(self, calls: float, seconds: float) -> Iterator[None]:
        """Later calls, or more, raise `ExhaustedError`. Inside another such limit both hold."""
        before = self._last
        mine = self.calls + calls, time.perf_counter() + seconds
        self._last = (min(mine[0], before[0]), min(mine[1], before[1])) if before else mine
        try:
            yield
        finally:
            self._last = before

    # Lines

    def line(self, k: int, direction: np.ndarray) -> Line:
        """The function along a direction of input k."""
        moves: list[np.ndarray | None] = [None] * len(self.point)
        moves[k] = direction.reshape(self.point[k].shape)
        return Line(self.values, self.point, moves)

    def across(self, direction: np.ndarray) -> Line:
        """The function along a direction of all inputs together, which is flat."""
        return Line(self.values, self.point, [*split(direction, self.point)])

    # Rounding

    @cached_property
    def noise(self) -> np.ndarray:
        """By how much each output changes when the inputs change in their last digits.

        What changes by very much is not rounded there, but jumps: that counts as 0.
        """
        with np.errstate(all="ignore"):
            found = [
                abs(flat(self.values(near)) - self.here)
                for near, _ in rounding.beside(self.point, self.eps)
            ]
        sizes = [abs(a).max(initial=1.0) for a in (*self.point, self.here)]
        noise = np.nan_to_num(np.max(found, axis=0), nan=0.0, posinf=0.0)
        return np.where(noise < self.eps**0.5 * max(sizes), noise, 0.0)

    @property
    def known_noise(self) -> float:
        """The largest noise, if it had to be measured; else 0."""
        return float(self.noise.max(initial=0.0)) if "noise" in self.__dict__ else 0.0
