"""Running implementations where their arrays are: tests are written for NumPy arrays.

What belongs on a GPU is given twins there of the test's arrays: with the same strides, and views of
one memory where these are. Afterwards their numbers come back, so that a test sees what was changed
and what was not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigrad_kernels import BACKENDS, Implementation


def runner(i: Implementation) -> Callable[..., Any]:
    """The implementation as a function of NumPy arrays."""
    if "numpy" in BACKENDS[i.backend].arrays:
        return i.run

    def run(*args: Any, **options: Any) -> Any:
        _check_writable(options.get("out"))
        twins = Twins([*args, *options.values()])
        try:
            made = i.run(*twins.of(args), **{k: twins.of(v) for k, v in options.items()})
        finally:
            twins.bring_back()
        return twins.home(made)

    return run


def _check_writable(out: Any) -> None:
    """A GPU knows no read-only memory: its twin of such an array could be written."""
    for x in arrays_in(out):
        if not x.flags.writeable:
            raise ValueError("out is read-only")


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from arrays_in(item)


class Twins:
    """Arrays on the GPU for all NumPy arrays in `values`, also in lists."""

    def __init__(self, values: list[Any]) -> None:
        self.cupy: Any = sys.modules.get("cupy") or __import__("cupy")
        self._originals = list({id(x): x for x in arrays_in(values)}.values())
        self._twins = {}
        for low, members in _regions(self._originals):
            memory = self._memory(low, members)
            for x in members:
                self._twins[id(x)] = self._view(memory, low, x)

    def _memory(self, low: int, members: list[np.ndarray]) -> Any:
        """A copy of a stretch of main memory. As far from a multiple of 16 bytes, unless that is
        where a GPU could not read numbers of their type at all."""
        high = max(_bounds(x)[1] for x in members)
        shift = low % 16 if all(x.flags.aligned for x in members) else 0
        room = np.zeros(shift + high - low, np.uint8)
        for x in members:
            place = _first(x) - low + shift
            view = np.ndarray(x.shape, x.dtype, room, place, x.strides)
            np.copyto(view, x)
        return self.cupy.asarray(room)[shift:]

    def _view(self, memory: Any, low: int, x: np.ndarray) -> Any:
        if not x.size:
            return self.cupy.empty(x.shape, x.dtype)
        place = _first(x) - low
        number = memory[place : place + x.itemsize].view(x.dtype)
        return self.cupy.lib.stride_tricks.as_strided(number, x.shape, x.strides)

    def of(self, value: Any) -> Any:
        """The same with twins in the places of arrays."""
        if isinstance(value, np.ndarray):
            return self._twins[id(value)]
        if type(value) in (list, tuple):
            return type(value)(map(self.of, value))
        return value

    def bring_back(self) -> None:
        """Give the originals what their twins have become."""
        for x in self._originals:
            now = self._twins[id(x)].get()
            if x.flags.writeable:
                np.copyto(x, now)
            else:
                np.testing.assert_array_equal(now, x, "a read-only input was changed")

    def home(self, made: Any) -> Any:
        """Results: the original of a twin, or a copy in main memory."""
        if isinstance(made, (list, tuple)):
            return type(made)(map(self.home, made))
        for x in self._originals:
            if self._twins[id(x)] is made:
                return x
        assert isinstance(made, self.cupy.ndarray), f"left the device, as {type(made)}"
        return made.get()


def _bounds(x: np.ndarray) -> tuple[int, int]:
    return np.lib.array_utils.byte_bounds(x)


def _first(x: np.ndarray) -> int:
    """Where an array's first element lies."""
    return x.__array_interface__["data"][0]


def _regions(arrays: list[np.ndarray]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Where a stretch of memory begins, and the arrays in it, which overlap."""
    members: list[np.ndarray] = []
    low = high = 0
    for x in sorted(arrays, key=lambda x: _bounds(x)[0]):
        start, end = _bounds(x)
        if members and (start >= high or not x.size):
            yield low, members
            members = []
        if not members:
            low = high = start
        members.append(x)
        high = max(high, end)
    if members:
        yield low, members
