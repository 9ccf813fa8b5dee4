"""A few kernels, timed on every backend that is here, after their results were compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad_kernels as kernels
from minigrad_kernels import BACKENDS, KERNELS, Arguments, Implementation, arguments


@dataclass(frozen=True)
class Timing:
    """One implementation of a kernel, timed.

    Attributes:
        kernel: its name.
        shapes: the shapes of its arrays, in words.
        where: the backend, and the implementation's name where it has one of its own.
        seconds: the median time of a call; on a GPU until the result is there.
        rate: floating-point operations per second, by the kernel's own count.
        traffic: bytes per second, by the kernel's own count.
    """

    kernel: str
    shapes: str
    where: str
    seconds: float
    rate: float
    traffic: float


def calls(rng: np.random.Generator) -> Iterator[tuple[str, Arguments]]:
    """What is timed: sizes as in a small image network, random numbers."""

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    geometry: dict[str, Any] = {
        "stride": (1, 1),
        "padding": ((1, 1), (1, 1)),
        "dilation": (1, 1),
        "groups": 1,
    }
    yield "matmul", arguments(normal(512, 512), normal(512, 512))
    yield "conv2d", arguments(normal(64, 16, 28, 28), normal(32, 16, 3, 3), **geometry)
    yield "gelu", arguments(normal(256, 4096), approximate="none")
    yield "softmax", arguments(normal(1024, 1000), axis=-1)


def measure(seconds: float = 0.2) -> list[Timing]:
    """Time each call on each implementation, for about `seconds` each.

    Backends that do not run unless asked for are left out: they are for study, not for speed.

    Raises:
        ArithmeticError: if an implementation disagrees with the reference.
    """
    found = []
    for name, call in calls(np.random.default_rng(0)):
        wanted = KERNELS[name].reference(*call.args, **call.options)
        for label, implementation, send, wait in _implementations(name):
            args = [send(a) for a in call.args]
            if implementation.accepts and not implementation.accepts(*args, **call.options):
                continue

            work = _worker(implementation.run, args, call.options, wait)
            _compare(f"{name} on {label}", work(), wanted)
            found.append(_timing(name, label, call, _median(work, seconds)))
    return found


def _implementations(
    name: str,
) -> Iterator[tuple[str, Implementation, Callable[[Any], Any], Callable[[], None]]]:
    """(label, implementation, how to send an array to it, how to wait for it)."""
    for i in reversed(KERNELS[name].implementations):
        backend = BACKENDS[i.backend]
        if not (backend.available and backend.automatic):
            continue
        label = i.backend if i.name == i.backend else f"{i.backend}: {i.name}"
        if "numpy" in backend.arrays:
            yield label, i, lambda a: a, lambda: None
        if "cupy" in backend.arrays and BACKENDS["cuda"].available:
            import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

            on_gpu = label if i.backend == "cuda" else f"{label} on the GPU"
            yield on_gpu, i, cupy.asarray, lambda: cupy.cuda.Device().synchronize()


def _worker(
    run: Callable[..., Any], args: list[Any], options: dict[str, Any], wait: Callable[[], None]
) -> Callable[[], Any]:
    def work() -> Any:
        result = run(*args, **options)
        wait()
        return result

    return work


def _compare(what: str, result: Any, wanted: np.ndarray) -> None:
    got = result.get() if hasattr(result, "get") else result
    error = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    if not error < 1e-4:  # float32, sums of up to 512 products
        raise ArithmeticError(f"{what} differs from the reference by {error:.1e} of its maximum")


def _median(work: Callable[[], Any], seconds: float) -> float:
    work()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _timing(name: str, label: str, call: Arguments, seconds: float) -> Timing:
    cost: kernels.Cost = KERNELS[name].cost(*call.args, **call.options)
    shapes = ", ".join("x".join(map(str, np.shape(a))) for a in call.args)
    return Timing(name, shapes, label, seconds, cost.flops / seconds, cost.bytes / seconds)
