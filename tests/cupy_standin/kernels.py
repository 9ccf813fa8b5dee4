"""CUDA kernels on the stand-in's arrays: the emulator runs them.

So launch code runs as it does on a GPU, for arrays that only CuPy's functions reach, and kernels
are captured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.cuda import nvidia
from minigrad_kernels.cuda.emulator import run as emulator
from minigrad_kernels.cuda.source import Signature, Source

from .arrays import check_current, ndarray
from .streams import captured


def launcher(source: Source, signature: Signature) -> Callable[..., None]:
    """In the place of `minigrad_kernels.cuda.nvidia.launcher`."""
    run = emulator.launcher(source, signature)
    written = [p.pointer and not p.constant for p in signature.parameters]

    def launch(grid: Any, block: Any, values: list[Any], shared: int) -> None:
        check_current(*(x for x in values if isinstance(x, ndarray)))
        hosts = [x._host if isinstance(x, ndarray) else x for x in values]
        arrays = [isinstance(x, ndarray) for x in values]
        captured(
            lambda: run(grid, block, hosts, shared),
            [x for x, is_array in zip(hosts, arrays, strict=True) if is_array],
            [x for x, a, w in zip(hosts, arrays, written, strict=True) if a and w],
        )

    return nvidia.on_own_device(signature, launch)


@contextmanager
def cuda_kernels() -> Iterator[None]:
    """The backend "cuda" is usable, and runs by itself on the stand-in's arrays."""
    state = BACKENDS["cuda"].__dict__
    _ = BACKENDS["cuda"].reason
    with (
        mock.patch.object(nvidia, "launcher", launcher),
        mock.patch.dict(state, {"reason": None}),
    ):
        _forget()
        try:
            yield
        finally:
            _forget()
    _forget()


def _forget() -> None:
    for k in KERNELS.values():
        k.forget_plans()
