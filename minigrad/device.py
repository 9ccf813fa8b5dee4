"""Devices: their names, and arrays that are made there or moved there. Knows no tensors."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from minigrad_kernels import BACKENDS, array_module, index_bounds
from minigrad_kernels.gpus import resident
from minigrad_kernels.layout import memory_order

ndarray = np.ndarray


class Replayed(Protocol):
    """Work of Python's that belongs to each replay of a graph."""

    def check(self) -> None:
        """Refuse what can be refused. Called before any `advance`."""

    def advance(self) -> None:
        """Do it; the graph is launched next."""


class _Capture(threading.local):
    """Whether the current thread's work on the GPU is captured in a graph, to be done later; and
    what Python has to do in each replay."""

    active = False
    replayed: list[Replayed] = []  # noqa: RUF012 (a new one for each capture)

    def begin(self) -> list[Replayed]:
        self.active, self.replayed = True, []
        return self.replayed

    def end(self) -> None:
        self.active, self.replayed = False, []


capture = _Capture()


def readable(array: Any) -> bool:
    """Whether the numbers of an array may be looked at, to check them.

    They are not there yet where work is captured in a graph: see `minigrad.cuda.capture`.
    """
    return array.__class__ is ndarray or not capture.active


class _Waiting(threading.local):
    """What the current thread has not looked at yet: the smallest and the largest of some integers
    on a GPU, and what says what is wrong with them, if anything is."""

    def __init__(self) -> None:
        self.checks: list[tuple[Any, Callable[[int, int], Exception | None]]] = []


_waiting = _Waiting()

MOST_WAITING = 1000
"""Checks after which they are looked at in any case."""


def looks_later(array: Any) -> bool:
    """Whether integers of an array should be checked later, for now is no time to wait for a GPU.

    What is computed meanwhile stays within its arrays. Our kernels write NaN where an index is out
    of range; CuPy's functions wrap it around, and what they give is wrong until it is said to be.
    """
    return array.__class__ is not ndarray and BACKENDS["cuda"].available and not capture.active


def check_later(array: Any, skip: int | None, refusal: Callable[[int, int], Any]) -> None:
    """Have the smallest and the largest number of an array on a GPU checked by `refusal`, which
    gives an exception or None, when something is read from there the next time: by `look`."""
    if array.dtype == np.uint64:  # the kernel computes with int64, where the largest are negative
        array = array_module(array).minimum(array, np.uint64(np.iinfo(np.int64).max))
    _waiting.checks.append((index_bounds(array, skip=skip), refusal))
    if len(_waiting.checks) > MOST_WAITING:
        look()


def check_range(
    index: Any, refusal: Callable[[int, int], Exception | None], of_nothing: bool = False
) -> None:
    """Check the smallest and the largest of integers by `refusal`, which gives an exception or
    None. Those on a GPU when something is read from there the next time: to look at once would be
    to wait for it. (Where a graph is captured, they are not looked at.)

    `of_nothing`: they are indices into nothing. None is right then, and that is said now."""
    if not index.size:
        return
    error = None
    if looks_later(index) and not of_nothing:
        check_later(index, None, refusal)
    elif readable(index):
        error = refusal(int(index.min()), int(index.max()))
    elif of_nothing:
        error = refusal(0, 0)
    if error is not None:
        raise error


def look() -> None:
    """Do the checks that were put off.

    Raises:
        IndexError, ValueError: the first that there is; the others are forgotten.
    """
    checks = _waiting.checks
    if not checks or capture.active:
        return
    _waiting.checks = []
    for (low, high), (_, refusal) in zip(_numbers([b for b, _ in checks]), checks, strict=True):
        error = refusal(low, high)
        if error is not None:
            raise error


def _numbers(arrays: list[Any]) -> list[list[int]]:
    """The numbers of arrays of one shape, read at once if they are on one GPU."""
    if len({array.device.id for array in arrays}) > 1:
        return [array.tolist() for array in arrays]
    rows: list[list[int]] = array_module(arrays[0]).stack(arrays).tolist()
    return rows


_NUMBER = re.compile("[0-9]{1,9}")


def device_name(name: Any) -> str:
    """A device's full name: `"cuda"` is the first GPU.

    Raises:
        ValueError: for an unknown device.
    """
    kind, _, number = str(name).partition(":")
    if kind == "cpu" and number in ("", "0"):
        return "cpu"
    if kind == "cuda" and (_NUMBER.fullmatch(number) or str(name) == "cuda"):
        return f"cuda:{int(number or 0)}"
    raise ValueError(f"to: unknown device {name!r}; wants 'cpu', 'cuda', 'cuda:0', 'cuda:1', ...")


def gpu_name(device: Any) -> str:
    """The full name of a GPU that was given by its number, its name, or not at all.

    Raises:
        ValueError: if it is no GPU.
    """
    name = "cuda" if device is None else f"cuda:{device}" if device.__class__ is int else device
    if not str(name).startswith("cuda"):
        raise ValueError(f"cuda: wants a GPU's number or name, got {device!r}")
    return device_name(name)


def moved(array: Any, device: str) -> Any:
    """The array on another device, the order of its axes in memory kept: channels stay last.

    Raises:
        RuntimeError: if there is no such GPU, or CuPy is missing; the message says why.
        MemoryError: if the GPU has no room.
    """
    order = memory_order(array)
    copy = _copied(array.transpose(order), device)
    return copy.transpose([order.index(axis) for axis in range(array.ndim)])


def _copied(array: Any, device: str) -> Any:
    if device == "cpu":
        look()
        return array.get()
    with _placing(device, array.nbytes) as cupy:
        copy = cupy.array(array) if isinstance(array, ndarray) else _from_gpu(array, cupy)
        return resident(copy)


def _from_gpu(array: Any, cupy: Any) -> Any:
    """A copy on the current GPU of an array on another. What was to be computed there is waited
    for by this GPU, not by Python; and the other one waits before it uses the memory again."""
    if not array.size:
        return cupy.empty(array.shape, array.dtype)
    stream = cupy.cuda.get_current_stream()
    with array.device:
        there = cupy.cuda.get_current_stream()
        computed = there.record()
    stream.wait_event(computed)
    copy = cupy.ndarray.copy(array)  # an array's own method computes where the array is
    copied = stream.record()
    with array.device:
        there.wait_event(copied)
    return copy


def empty_on(shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    """A new array without contents on a device; None is the CPU. Raises as `moved`, and
    `device_name`."""
    name = "cpu" if device is None else device_name(device)
    if name == "cpu":
        return np.empty(shape, dtype)
    with _placing(name, math.prod(shape) * np.dtype(dtype).itemsize) as cupy:
        return resident(cupy.empty(shape, dtype))


@contextmanager
def _placing(device: str, size: int) -> Iterator[Any]:
    """For making an array of so many bytes on a GPU: gives CuPy, and says errors in words."""
    from minigrad_kernels.cuda.probe import in_words, not_imported

    try:
        import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except Exception as error:  # an installation can be broken in any way
        raise RuntimeError(
            f"to: moving a tensor to {device} needs the package cupy, which {not_imported(error)}"
        ) from None

    number = int(device.partition(":")[2])
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
        if number < count:
            with cupy.cuda.Device(number):
                yield cupy
            return
    except MemoryError as error:
        raise MemoryError(f"to: no room for {size} bytes on {device}: {error}") from None
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"to: {device} cannot be used here: {in_words(error)}") from None
    gpus = "1 GPU" if count == 1 else f"{count} GPUs"
    raise RuntimeError(f"to: there is no {device}; this machine has {gpus}")
