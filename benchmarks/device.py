"""Where CUDA kernels are timed: on a GPU by its own clock, or, to try the benchmarks out, on the
emulator by the wall clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad as mg
from minigrad_kernels import BACKENDS

SAMPLE = 1 << 18
"""Elements of a result that are compared."""


class Emulator:
    """The sources run on the CPU, on NumPy arrays: right results, times that say nothing.

    Attributes:
        name: what it is called in results.
        backend: the kernels' backend.
        where: its name as a tensor's device.
        is_gpu: whether it is one.
    """

    name = "emulator (times say nothing)"
    backend = "cuda-on-cpu"
    where = "cpu"
    is_gpu = False

    def synchronize(self) -> None:
        """Wait until all work is done."""

    def seconds(self, work: Callable[[], Any], repeats: int) -> float:
        """Seconds that the device takes for one run of so many in a row."""
        self.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        self.synchronize()
        return (time.perf_counter() - start) / repeats

    def launch_seconds(self, work: Callable[[], Any], repeats: int) -> float:
        """Seconds until one of so many runs is under way: what Python and the driver take."""
        self.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        took = time.perf_counter() - start
        self.synchronize()
        return took / repeats

    def host(self, x: Any) -> np.ndarray:
        """The numbers of an array, or of a tensor of PyTorch's, in main memory."""
        if hasattr(x, "detach"):
            x = x.detach().cpu().float().numpy()
        return x.get() if hasattr(x, "get") else np.asarray(x)

    def sampled(self, x: Any) -> np.ndarray:
        """Some numbers of a result, spread over all of it."""
        flat = x.reshape(-1)
        return self.host(flat[:: len(flat) // SAMPLE | 1])

    def to_torch(self, x: Any) -> Any:
        """The array as a tensor of PyTorch's, in the same memory."""
        import torch

        return torch.from_dlpack(x) if self.is_gpu else torch.from_numpy(x)

    def torch_works(self) -> bool:
        """Whether PyTorch can compute here."""
        try:
            import torch
        except ImportError:
            return False
        return not self.is_gpu or bool(torch.cuda.is_available())

    # Random arrays, drawn where they are used

    def normal(self, *shape: int) -> Any:
        """Standard normal numbers in float32."""
        return mg.randn(*shape, device=self.where).data

    def uniform(self, *shape: int) -> Any:
        """Numbers in [0, 1) in float32."""
        return mg.rand(*shape, device=self.where).data

    def integers(self, below: int, *shape: int) -> Any:
        """Integers from 0 to `below` - 1 in int64."""
        return mg.randint(below, shape, device=self.where).data

    def array(self, x: np.ndarray) -> Any:
        """A copy of a NumPy array there."""
        return mg.tensor(x, device=self.where).data

    def about(self) -> dict[str, Any]:
        """What must be known to judge the figures, ready for JSON."""
        return {"name": self.name}


class Gpu(Emulator):
    """The GPU that CuPy uses, with its events as the clock."""

    backend = "cuda"
    where = "cuda"
    is_gpu = True

    def __init__(self) -> None:
        import cupy  # type: ignore[import-not-found,unused-ignore]

        self.cupy = cupy
        self.name = mg.cuda.get_device_name()

    def synchronize(self) -> None:
        self.cupy.cuda.Device().synchronize()

    def seconds(self, work: Callable[[], Any], repeats: int) -> float:
        start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        self.synchronize()
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, end)) / 1e3 / repeats

    def about(self) -> dict[str, Any]:
        runtime = self.cupy.cuda.runtime
        p = runtime.getDeviceProperties(0)
        return {
            "name": self.name,
            "capability": f"{p['major']}.{p['minor']}",
            "memory_bytes": int(p["totalGlobalMem"]),
            "multiprocessors": int(p["multiProcessorCount"]),
            "driver_cuda": _version(runtime.driverGetVersion()),
            "runtime_cuda": _version(runtime.runtimeGetVersion()),
            "cupy": self.cupy.__version__,
        }


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def found() -> Emulator | None:
    """The GPU; None if there is none."""
    return Gpu() if BACKENDS["cuda"].available else None


def repeats_for(device: Emulator, work: Callable[[], Any], batch: float) -> int:
    """How many runs take so many seconds."""
    device.seconds(work, 1)
    return max(1, min(10_000, round(batch / max(device.seconds(work, 2), 1e-7))))


def copy_rate(device: Emulator, size: int) -> float:
    """Bytes a second, read and written, by copying an array of so many bytes."""
    x = device.normal(size // 4)
    y = x.copy()

    def copy() -> None:
        y[...] = x

    return 2 * x.nbytes / statistics.median(device.seconds(copy, 10) for _ in range(7))


def as_list(result: Any) -> Sequence[Any]:
    """One result or several, as a list."""
    return list(result) if isinstance(result, (tuple, list)) else [result]
