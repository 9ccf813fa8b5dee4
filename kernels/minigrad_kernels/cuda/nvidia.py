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

from ..gpus import several
from . import standard
from .errors import CompileError, LaunchError
from .probe import in_words
from .source import INCLUDE, Parameter, Signature, Source

ORDINARY_SHARED = 48 * 1024
"""Bytes of dynamic shared memory that a kernel has without asking."""

SHARED_ATTRIBUTE = 97
"""cudaDevAttrMaxSharedMemoryPerBlockOptin: what a block has if it asks for it, in bytes."""

BOTH_ARCHITECTURES = 12, 9
"""The first NVRTC that takes an architecture twice, as sm_90 and sm_90a."""

_raised: dict[tuple[Any, int], int] = {}  # what was asked for, by kernel and device
_lock = threading.Lock()


def options(source: Source) -> tuple[str, ...]:
    """What NVRTC is told beside the text.

    CuPy adds `-arch=sm_90`, or whatever the device is. Of that and `-arch=sm_90a` NVRTC takes the
    latter, from `BOTH_ARCHITECTURES` on.
    """
    folders = dict.fromkeys((str(source.path.parent), str(INCLUDE)))
    return (
        "-std=c++17",
        "-lineinfo",
        *((f"-arch={source.only}",) if source.only else ()),
        *(f"-I{folder}" for folder in folders),
        f"-DMINIGRAD_DIGEST=0x{source.digest}",
    )


def text(source: Source) -> str:
    """What NVRTC compiles; its messages give lines of the file.

    Raises:
        CompileError: for what a GPU has not; see `standard.check`.
    """
    standard.check(source)
    before, own = (standard.without_headers(t) for t in (source.prelude, source.own_text))
    return f'{standard.prelude(source)}{before}#line 1 "{source.path.name}"\n{own}'


@functools.cache
def _module(source: Source) -> Any:
    import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return cupy.RawModule(code=text(source), options=options(source))


def launcher(source: Source, signature: Signature) -> Callable[..., None]:
    """A function that launches the kernel where its arrays are, on the current stream.

    Raises:
        CompileError: if the source does not compile, or there is no compiler.
    """
    function = _function(source, signature.name)

    def run(grid: Any, block: Any, values: list[Any], shared: int) -> None:
        try:
            if shared > ORDINARY_SHARED:
                _allow(function, shared)
            function(grid, block, values, shared_mem=shared)
        except RuntimeError as error:  # of the driver, or the runtime
            raise LaunchError(
                f"{signature.name}: the GPU does not run {grid} blocks of {block} threads with "
                f"{shared} bytes of dynamic shared memory: {_why(shared, error)}"
            ) from error

    return on_own_device(signature, run)


def on_own_device(signature: Signature, run: Callable[..., None]) -> Callable[..., None]:
    """What runs a kernel on the current GPU, on that of its arrays; itself where there is one GPU.

    Raises:
        ValueError: when it is called with arrays of two GPUs.
    """
    import cupy

    if not several(cupy):
        return run
    current, switched = cupy.cuda.device.get_device_id, cupy.cuda.Device
    pointers = [(i, p) for i, p in enumerate(signature.parameters) if p.pointer]

    def run_there(grid: Any, block: Any, values: list[Any], shared: int) -> None:
        device = _device(signature.name, pointers, values)
        if device is None or device == current():
            run(grid, block, values, shared)
        else:
            with switched(device):
                run(grid, block, values, shared)

    return run_there


def _device(name: str, pointers: list[tuple[int, Parameter]], values: list[Any]) -> int | None:
    """The number of the GPU in whose memory all arrays lie; None if there are none."""
    first: tuple[Parameter, int] | None = None
    for i, parameter in pointers:
        if isinstance(values[i], np.generic):  # a null pointer
            continue
        device = int(values[i].data.device_id)
        if first is None:
            first = parameter, device
        elif device != first[1]:
            raise ValueError(
                f"{name}: parameter `{parameter}` is on cuda:{device}, `{first[0]}` on "
                f"cuda:{first[1]}: a kernel takes arrays of one GPU"
            )
    return None if first is None else first[1]


def _why(shared: int, error: RuntimeError) -> str:
    """What was wrong with a launch, in words."""
    import cupy

    try:
        device = cupy.cuda.device.get_device_id()
        most = int(cupy.cuda.runtime.deviceGetAttribute(SHARED_ATTRIBUTE, device))
    except RuntimeError:  # it answers no more
        most = shared
    if shared > most:
        return f"a block has at most {most} there"
    return in_words(error)


def _function(source: Source, name: str) -> Any:
    import cupy

    if source.only:
        _check_compiler(source)
    try:
        return _module(source).get_function(name)
    except cupy.cuda.compiler.CompileException as error:
        raise CompileError(f"{source.label} does not compile:\n{error}") from error
    except (RuntimeError, OSError, ImportError) as error:  # NVRTC is not there, or too old
        raise CompileError(f"{source.label} cannot be compiled: {in_words(error)}") from error


def _check_compiler(source: Source) -> None:
    """Whether the compiler takes another architecture than CuPy's."""
    import cupy

    version = tuple(cupy.cuda.nvrtc.getVersion())
    if version < BOTH_ARCHITECTURES:
        known, wanted = (".".join(map(str, v)) for v in (version, BOTH_ARCHITECTURES))
        raise CompileError(
            f"{source.label} is for {source.only}: NVRTC {known} is too old, {wanted} is wanted "
            "(install the extra cuda12 or cuda13)"
        )


def _allow(function: Any, shared: int) -> None:
    """Let a kernel have more dynamic shared memory than is usual, on the current device."""
    import cupy

    key = (function, cupy.cuda.device.get_device_id())
    with _lock:
        if _raised.get(key, 0) < shared:
            function.max_dynamic_shared_size_bytes = shared
            _raised[key] = shared
