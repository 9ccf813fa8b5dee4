"""Streams, and graphs of what was captured on them.

As on a GPU, what is captured does not run: what its results hold is left to chance, here NaN and
odd numbers. Only a launch of the graph computes, in the same memory each time. As on a GPU, nothing
may be read meanwhile, and nothing copied from main memory; cuBLAS cannot be captured at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class CUDARuntimeError(RuntimeError):
    """Stands for `cupy.cuda.runtime.CUDARuntimeError`."""


class Stream:
    """Stands for `cupy.cuda.Stream`: work is done at once, unless it is captured."""

    current: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.null, self.steps = null, None
        self._before: list[Stream] = []

    steps: list[Callable[[], None]] | None

    def __enter__(self) -> Stream:
        self._before.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *_: Any) -> None:
        Stream.current = self._before.pop()

    def begin_capture(self, mode: int | None = None) -> None:
        if self.null:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the null stream")
        self.steps = []

    def end_capture(self) -> Graph:
        steps, self.steps = self.steps, None
        if steps is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        if not steps or steps[-1] is _invalid:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated: an operation failed")
        return Graph(steps)

    def is_capturing(self) -> bool:
        return self.steps is not None

    def synchronize(self) -> None:
        forbid("waits for the stream")

    def record(self) -> Event:
        event = Event()
        event.record()
        return event

    def wait_event(self, event: Event) -> None:
        pass  # what it stands for is done


Stream.current = Stream(null=True)


class Event:
    """Stands for `cupy.cuda.Event`: a time, since work is done at once."""

    time = 0.0

    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        forbid("waits for an event")


class Graph:
    """Stands for `cupy.cuda.Graph`."""

    def __init__(self, steps: list[Callable[[], None]]) -> None:
        self._steps = steps

    def launch(self, stream: Stream | None = None) -> None:
        for step in self._steps:
            step()


def _invalid() -> None:
    raise AssertionError("a graph that is invalid is never launched")


def forbid(what: str) -> None:
    """Raise if the current stream is capturing; what was captured is then of no use."""
    if Stream.current.steps is not None:
        Stream.current.steps.append(_invalid)
        raise CUDARuntimeError(
            f"cudaErrorStreamCaptureUnsupported: operation not permitted when stream is "
            f"capturing: {what}"
        )


def captured(
    work: Callable[[], Any],
    reads: list[np.ndarray],
    writes: list[np.ndarray],
    allocates: bool = False,
) -> Any:
    """Do work now, or, if the current stream is capturing, when its graph is launched.

    Args:
        work: returns NumPy arrays, or anything else.
        reads, writes: arrays that it looks at, and those whose contents it changes.
        allocates: it only makes arrays, and computes nothing, so that no replay changes them.
    """
    steps = Stream.current.steps
    if steps is None:
        return work()
    before = [x.copy() for x in writes]
    made = work()  # for the shapes of its results
    for x, old in zip(writes, before, strict=True):
        np.copyto(x, old)
    old = [*reads, *writes]
    new = [
        (i, y)
        for i, y in enumerate(_arrays(made))
        if not any(np.may_share_memory(x, y) for x in old)
    ]

    def again() -> None:
        fresh = list(_arrays(work()))
        for i, y in new:
            np.copyto(y, fresh[i])

    for _, y in new:
        y.fill(np.nan if y.dtype.kind in "fc" else 1)
    if not allocates:
        steps.append(again)
    return made


def _arrays(made: Any) -> Iterator[np.ndarray]:
    for y in made if isinstance(made, (tuple, list)) else (made,):
        if isinstance(y, np.ndarray):
            yield y
