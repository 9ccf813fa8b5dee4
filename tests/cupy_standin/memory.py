"""Devices, and the memory that arrays lie in."""

from __future__ import annotations

from typing import Any

import numpy as np

from .streams import CUDARuntimeError, forbid


class Device:
    """Stands for `cupy.cuda.Device`: there is one."""

    id, compute_capability = 0, "90"

    def __init__(self, number: int = 0) -> None:
        if number:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def synchronize(self) -> None:
        forbid("waits for the device")


class Memory:
    """Stands for `cupy.cuda.Memory`: an allocation, here the array it was made for."""

    def __init__(self, whole: np.ndarray) -> None:
        self.whole = whole


class MemoryPointer:
    """Stands for `cupy.cuda.MemoryPointer`: an address in an allocation."""

    device_id = 0

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.ptr = mem, mem.whole.ctypes.data + offset

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.whole.ctypes.data + offset)
