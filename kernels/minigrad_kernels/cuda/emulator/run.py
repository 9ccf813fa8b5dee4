"""Running kernels on the emulator: arguments in, errors out.

`with running(order="reverse")` runs the threads of each block, and the blocks, in another order;
so does the environment variable MINIGRAD_CUDA_ON_CPU_ORDER: `forward`, `reverse`, `random` or
`random:SEED`. A kernel whose result changes depends on an order that a GPU does not promise.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CompileError, EmulatorError
from ..launch import MOST_THREADS_IN_ALL
from ..source import Signature, Source
from .build import library
from .faults import Fault, fault_error

ORDER = "MINIGRAD_CUDA_ON_CPU_ORDER"
ORDERS = ("forward", "reverse", "random")

_PLACE = re.compile(r"(.*?):(\d+): (.*)", re.DOTALL)
_POISON = {"f2": 0xFFFF, "f4": 0xFFFF0000, "f8": 0xFFFFFC0000000000}
"""The least bits of unwritten shared memory in results, by their type. All bits of that memory are
ones, a NaN that no computation makes of itself (its first bits would be 0x7fc or 0xffc), and that
most computations pass on; of a narrower type made wider, the last bits are zeros."""


class _Launch(ctypes.Structure):
    """The fields of cuda_on_cpu::Launch, in launch.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_size_t),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("watched", ctypes.c_void_p),
    )


_watched = ctypes.create_string_buffer(8 * MOST_THREADS_IN_ALL + 8)  # see cuda_on_cpu::Watched


class _Order(threading.local):
    """What the current thread has asked for."""

    chosen: tuple[int, int] | None = None


_order = _Order()
_turn = threading.Lock()  # a library has one set of fibers


def _renew_lock() -> None:
    """In a forked child nobody is inside, whoever was in the parent."""
    global _turn
    _turn = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _parsed(order: str, seed: int = 0) -> tuple[int, int]:
    name, _, number = order.partition(":")
    if name not in ORDERS or (number and not number.isdecimal()):
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    return ORDERS.index(name), int(number or seed) % 2**32


def _from_environment() -> tuple[int, int]:
    try:
        return _parsed(os.environ.get(ORDER) or "forward")
    except ValueError as error:
        raise ValueError(f"the variable {ORDER}: {error}") from None


@contextmanager
def running(order: str, seed: int = 0) -> Iterator[None]:
    """Run threads and blocks `forward`, in `reverse`, or at `random`, in this thread.

    Raises:
        ValueError: for another order.
    """
    before, _order.chosen = _order.chosen, _parsed(order, seed)
    try:
        yield
    finally:
        _order.chosen = before


@functools.cache
def _library(source: Source) -> ctypes.CDLL:
    """The source, compiled and loaded; what was damaged in the cache is compiled anew."""
    path = library(source)
    try:
        loaded = _loaded(path)
    except OSError:
        path.unlink(missing_ok=True)
        try:
            loaded = _loaded(library(source))
        except OSError as error:
            raise CompileError(f"{source.label} is compiled, but not loaded: {error}") from None
    loaded.cuda_on_cpu_message.restype = ctypes.c_char_p
    loaded.cuda_on_cpu_fault.restype = ctypes.POINTER(Fault)
    return loaded


def any_launched() -> bool:
    """Whether a kernel has been launched on the emulator in this process."""
    return _library.cache_info().currsize > 0


def _loaded(path: Path) -> ctypes.CDLL:
    """The library; an OSError if it is damaged.

    The system's loader maps a file that was cut off, and reading what is missing then kills the
    process. The header of an ELF file says where its last part lies: the table of its sections.
    """
    with path.open("rb") as file:
        head = file.read(64)
        if head[:5] == b"\x7fELF\x02" and len(head) == 64:  # of 64 bits
            (begin,) = struct.unpack_from("=Q", head, 40)
            size, count = struct.unpack_from("=HH", head, 58)
            if file.seek(0, os.SEEK_END) < begin + size * count:
                raise OSError(f"{path} is not whole")
    return ctypes.CDLL(str(path))


def launcher(source: Source, signature: Signature) -> Callable[..., None]:
    """A function that runs the kernel.

    Raises:
        CompileError: if the source does not compile, or what was compiled cannot be loaded.
    """
    loaded = _library(source)
    function = getattr(loaded, f"{signature.name}__launch")
    function.argtypes = [ctypes.POINTER(_Launch)]
    names = [str(p) for p in signature.parameters]
    written = [i for i, p in enumerate(signature.parameters) if p.pointer and not p.constant]

    def run(
        grid: tuple[int, int, int], block: tuple[int, int, int], values: list[Any], shared: int
    ) -> None:
        order, seed = _order.chosen or _from_environment()
        kept = [_argument(value) for value in values]
        pointers = (ctypes.c_void_p * len(kept))(*[ctypes.addressof(a) for a in kept])
        launch = _Launch(grid, block, shared, pointers, order, seed, ctypes.addressof(_watched))
        poisoned = [_poisoned(values[i]) for i in written]
        with _turn:
            failed = function(ctypes.byref(launch))
            if failed:
                message = loaded.cuda_on_cpu_message().decode(errors="replace")
                fault = Fault.from_buffer_copy(loaded.cuda_on_cpu_fault().contents)
        if failed and fault.signal:
            raise fault_error(source, signature, values, fault, message)
        if failed:
            raise _error(signature.name, message)
        for i, before in zip(written, poisoned, strict=True):
            if _poisoned(values[i]) > before and not any(map(_poisoned, _read(values, written))):
                raise EmulatorError(
                    signature.name,
                    f"unwritten shared memory was read: its NaN has come to parameter `{names[i]}`",
                )

    return run


def _argument(value: Any) -> Any:
    """A ctypes object that holds a parameter's value."""
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.__array_interface__["data"][0])
    data = value.tobytes()
    return (ctypes.c_char * len(data)).from_buffer_copy(data)


def _read(values: list[Any], written: list[int]) -> list[Any]:
    return [value for i, value in enumerate(values) if i not in written]


def _poisoned(x: Any) -> int:
    """How many numbers of an array come from unwritten shared memory."""
    kind = x.dtype.str[1:]
    if kind not in _POISON or not isinstance(x, np.ndarray):
        return 0
    return int(np.count_nonzero(x.view(f"u{x.itemsize}") >= _POISON[kind]))


def _error(kernel: str, message: str) -> EmulatorError:
    place = _PLACE.fullmatch(message)
    if place is None:
        return EmulatorError(kernel, message)
    return EmulatorError(kernel, place[3], place[1], int(place[2]) if place[1] else 0)
