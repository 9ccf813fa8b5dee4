"""Kernels on NVIDIA's GPUs: compiled by NVRTC and launched through CuPy.

CuPy compiles a module when one of its kernels is first launched on a device, once for each
architecture, and keeps the machine code in its cache on disk. It recognises a source by its text
and the options, and does not look into headers of ours, so their digest is among the options.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import CompileError, LaunchError
from .probe import in_words
from .source import INCLUDE, Signature, Source

ORDINARY_SHARED = 48 * 1024
"""Bytes of dynamic shared memory that a kernel has without asking."""

MOST_SHARED = 97
"""The number of the attribute: bytes of shared memory that a block has if it asks for them."""

_raised: dict[tuple[Any, int], int] = {}  # what was asked for, by kernel and device
_lock = threading.Lock()


def options(source: Source) -> tuple[str, ...]:
    """What NVRTC is told beside the text."""
    folders = dict.fromkeys((str(source.path.parent), str(INCLUDE)))
    return (
        "-std=c++17",
        "-lineinfo",
        *(f"-I{folder}" for folder in folders),
        f"-DMINIGRAD_DIGEST=0x{source.digest}",
    )


def text(source: Source) -> str:
    """What NVRTC compiles; its messages give lines of the file."""
    return f'{source.prelude}#line 1 "{source.path.name}"\n{source.own_text}'


@functools.cache
def _module(source: Source) -> Any:
    import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return cupy.RawModule(code=text(source), options=options(source))


def launcher(source: Source, signature: Signature) -> Callable[..., None]:
    """A function that launches the kernel on the current device and stream.

    Raises:
        CompileError: if the source does not compile, or there is no compiler.
    """
    import cupy

    function = _function(source, signature.name)
    several = cupy.cuda.runtime.getDeviceCount() > 1

    def run(grid: Any, block: Any, values: list[Any], shared: int) -> None:
        if several:
            _check_devices(signature, values)
        try:
            if shared > ORDINARY_SHARED:
                _allow(function, shared)
            function(grid, block, values, shared_mem=shared)
        except RuntimeError as error:  # of the driver, or the runtime
            raise LaunchError(
                f"{signature.name}: the GPU does not run {grid} blocks of {block} threads with "
                f"{shared} bytes of dynamic shared memory: {_why(shared, error)}"
            ) from error

    return run


def _why(shared: int, error: RuntimeError) -> str:
    """What was wrong with a launch, in words."""
    import cupy

    try:
        device = cupy.cuda.device.get_device_id()
        most = int(cupy.cuda.runtime.deviceGetAttribute(MOST_SHARED, device))
    except RuntimeError:  # it answers no more
        most = shared
    if shared > most:
        return f"a block has at most {most} there"
    return in_words(error)


def _check_devices(signature: Signature, values: list[Any]) -> None:
    """Kernels run on the current device: all arrays must lie in its memory."""
    import cupy

    current = cupy.cuda.device.get_device_id()
    for parameter, value in zip(signature.parameters, values, strict=True):
        array = parameter.pointer and not isinstance(value, np.generic)  # that is a null pointer
        if array and value.device.id != current:
            raise ValueError(
                f"{signature.name}: parameter `{parameter}` is on device {value.device.id}, "
                f"the current one is {current}: compute within `with cupy.cuda.Device"
                f"({value.device.id}):` what lies there"
            )


def _function(source: Source, name: str) -> Any:
    import cupy

    try:
        return _module(source).get_function(name)
    except cupy.cuda.compiler.CompileException as error:
        raise CompileError(f"{source.label} does not compile:\n{error}") from error
    except (RuntimeError, OSError, ImportError) as error:  # NVRTC is not there, or too old
        raise CompileError(f"{source.label} cannot be compiled: {in_words(error)}") from error


def _allow(function: Any, shared: int) -> None:
    """Let a kernel have more dynamic shared memory than is usual, on the current device."""
    import cupy

    key = (function, cupy.cuda.device.get_device_id())
    with _lock:
        if _raised.get(key, 0) < shared:
            function.max_dynamic_shared_size_bytes = shared
            _raised[key] = shared
