"""Which kernels the launch code calls, with which definitions, threads and shared memory.

Launch code decides by types, shapes and alignment, never by numbers: so it is called here on all
samples and workloads, and instead of running a kernel, its launch is written down.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array
from ...registry import KERNELS, Arguments, Implementation
from ...workloads import Blank, workloads
from ..launch import Dimensions, KernelFunction, dimensions
from ..source import Source


@dataclass(frozen=True)
class Launched:
    """A kernel as it is launched.

    Attributes:
        file: the name of the .cu file.
        kernel: the kernel's name.
        definitions: what is defined: names and values.
        threads: the threads of a block.
        shared: the bytes of dynamic shared memory.
    """

    file: str
    kernel: str
    definitions: tuple[tuple[str, str], ...]
    threads: int
    shared: int

    @property
    def variant(self) -> Variant:
        """What is compiled for it: the file, the kernel and the definitions."""
        return self.file, self.kernel, self.definitions


Variant = tuple[str, str, tuple[tuple[str, str], ...]]

_recording = threading.RLock()


@contextmanager
def launches() -> Iterator[dict[Launched, Source]]:
    """Write launches down, with their sources, and run none of them: results hold anything.

    It concerns all threads: nothing else should launch kernels meanwhile. Within another `launches`
    it writes down what is launched within it alone, which the other one then does not see.
    """
    found: dict[Launched, Source] = {}
    with _noting(lambda launched, _, source: found.update({launched: source})):
        yield found


@contextmanager
def _noting(note: Callable[[Launched, int, Source], object]) -> Iterator[None]:
    """For each launch call `note` instead, with the number of blocks and the source."""

    def launch(
        self: KernelFunction, grid: Dimensions, block: Dimensions, *_: Any, shared: int = 0
    ) -> None:
        blocks, threads = map(math.prod, dimensions(grid, block))
        definitions = tuple(sorted(self.source.definitions.items()))
        launched = Launched(self.source.path.name, self.name, definitions, threads, shared)
        note(launched, blocks, self.source)

    with _recording:
        call = KernelFunction.__call__
        KernelFunction.__call__ = launch  # type: ignore[method-assign]
        try:
            yield
        finally:
            KernelFunction.__call__ = call  # type: ignore[method-assign]


@functools.cache
def recorded() -> dict[Launched, Source]:
    """What all CUDA implementations of all kernels launch, on all calls that they accept."""
    with launches() as found, np.errstate(all="ignore"):
        for name, call in _calls():
            for i in KERNELS[name].implementations:
                if i.backend == "cuda-on-cpu" and accepted(i, call):
                    i.run(*call.args, **call.options)
    return found


def accepted(i: Implementation, call: Arguments) -> bool:
    """Whether the implementation computes this call."""
    return i.accepts is None or i.accepts(*call.args, **call.options)


def effort(i: Implementation, call: Arguments) -> tuple[set[Variant], int]:
    """What the implementation launches for a call that it accepts, and with how many threads."""
    found: list[tuple[Variant, int]] = []
    with (
        _noting(lambda key, blocks, _: found.append((key.variant, blocks * key.threads))),
        np.errstate(all="ignore"),
    ):
        i.run(*call.args, **call.options)
    return {variant for variant, _ in found}, sum(threads for _, threads in found)


def _calls() -> Iterator[tuple[str, Arguments]]:
    """Calls of every kernel, in every type: its samples, odd; its workloads, large and aligned."""
    for name, k in KERNELS.items():
        for call in k.samples(np.random.default_rng(7)):
            for dtype in (None, np.float32, np.float64, np.float16):
                typed = _changed(call, functools.partial(_as_type, dtype=dtype))
                yield name, typed
                yield name, _changed(typed, _channels_last)
    for dtype in (np.float32, np.float64, np.float16):
        for work in workloads(_Typed(dtype)):
            yield work.kernel, work.call


class _Typed(Blank):
    """Zeros of another type."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = dtype

    def normal(self, *shape: int) -> Array:
        """Zeros."""
        return np.zeros(shape, self.dtype)

    uniform = normal


def _changed(call: Arguments, change: Any) -> Arguments:
    """The same call with something done to every array, also in lists."""

    def one(x: Any) -> Any:
        if isinstance(x, (np.ndarray, np.generic)):
            return change(np.asarray(x))
        return type(x)(map(one, x)) if type(x) in (list, tuple) else x

    return Arguments(tuple(map(one, call.args)), {k: one(v) for k, v in call.options.items()})


def _as_type(x: Array, dtype: Any) -> Array:
    return x if dtype is None or x.dtype.kind != "f" else x.astype(dtype)


def _channels_last(x: Array) -> Array:
    if x.ndim != 4:
        return x
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
