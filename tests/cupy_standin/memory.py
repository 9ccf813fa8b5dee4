"""Devices, and the memory that arrays lie in."""

from __future__ import annotations

from typing import Any

import numpy as np

from .streams import CUDARuntimeError, forbid


class Device:
    """Stands for `cupy.cuda.Device`: a GPU, one of which is the current one."""

    count, current, compute_capability = 1, 0, "90"

    def __init__(self, number: int | None = None) -> None:
        self.id = Device.current if number is None else number
        self._before: list[int] = []
        if not 0 <= self.id < Device.count:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __enter__(self) -> Device:
        self._before.append(Device.current)
        Device.current = self.id
        return self

    def __exit__(self, *_: Any) -> None:
        Device.current = self._before.pop()

    def synchronize(self) -> None:
        forbid("waits for the device")


class Memory:
    """Stands for `cupy.cuda.Memory`: an allocation on the current device, here the array it was
    made for."""

    def __init__(self, whole: np.ndarray) -> None:
        self.whole, self.device_id = whole, Device.current


class MemoryPointer:
    """Stands for `cupy.cuda.MemoryPointer`: an address in an allocation."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.device_id = mem.device_id
        self.mem, self.ptr = mem, mem.whole.ctypes.data + offset

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.whole.ctypes.data + offset)
