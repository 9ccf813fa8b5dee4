"""Whether kernels can run on a GPU here, and if not, why not, in words.

A machine has a GPU for us if its driver, the device, the compiler NVRTC and CUDA's headers are all
there and fit together. Only a kernel that was compiled and has run shows that.
"""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from typing import Any

_SOURCE = """
#include <cuda_fp16.h>
extern "C" __global__ void probe(float* x) { x[0] = __half2float(__float2half(42.0f)); }
"""
"""It wants a header, as our kernels do."""

_WORDS = (
    ("cudaErrorNoDevice", "the driver finds no GPU"),
    ("cudaErrorInsufficientDriver", "{driver}"),
    ("cudaErrorSystemDriverMismatch", "the driver's parts are of different versions; restart it"),
    ("cudaErrorSystemNotReady", "the driver is not ready: a service of it does not run"),
    ("cudaErrorNoKernelImageForDevice", "the GPU is too old, or too new, for this CUDA"),
    ("cudaErrorDevicesUnavailable", "the GPU is busy or out of order"),
    (
        "cudaErrorInitializationError",
        "CUDA does not start: a process that was forked cannot use what its parent did before, so "
        "start processes by `spawn`",
    ),
    ("cudaErrorUnsupportedPtxVersion", "the driver is older than CUDA's compiler: update it"),
    ("cudaErrorLaunchOutOfResources", "so many threads need more registers than a block can have"),
    (
        "cudaErrorIllegalAddress",
        "a kernel read or wrote where there is no memory, which ends all work on the GPU in this "
        "process: find it with `minigrad cuda-check`",
    ),
    ("cudaErrorMemoryAllocation", "the GPU has not enough free memory"),
    ("OutOfMemoryError", "the GPU has not enough free memory"),
    ("cannot open source file", "CUDA's headers were not found"),
    ("could not open source file", "CUDA's headers were not found"),
    ("Failed to find", "CUDA's headers were not found"),
    ("nvrtc", "CUDA's compiler NVRTC was not found or does not fit"),
)
"""What to say of an error in whose class or words this is found; the first one counts. The driver
calls cudaErrorNoDevice, say, CUDA_ERROR_NO_DEVICE."""

_REMEDY = "install the extra cuda12 or cuda13"


def reason() -> str | None:
    """Why kernels cannot run on a GPU; None if one has.

    It compiles and runs a kernel, which can take seconds, and never raises.
    """
    if not find_spec("cupy"):
        return f"the package cupy is not installed ({_REMEDY})"
    try:
        import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except Exception as error:  # whatever is broken in an installation, its words are the reason
        return f"the package cupy {not_imported(error)}"
    try:
        if not cupy.cuda.runtime.getDeviceCount():
            return "the driver finds no GPU"
        x = cupy.zeros(1, dtype=cupy.float32)
        cupy.RawKernel(_SOURCE, "probe")((1,), (1,), (x,))
        return None if float(x[0]) == 42.0 else "a test kernel ran but gave a wrong result"
    except Exception as error:
        return in_words(error)


def not_imported(error: Exception) -> str:
    """What the error of an `import cupy` means: there is none, or what there is does not work.

    >>> not_imported(OSError("libcuda.so.1: cannot open shared object file"))
    'cannot be imported: OSError: libcuda.so.1: cannot open shared object file'
    """
    if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
        return f"is not installed ({_REMEDY})"
    return f"cannot be imported: {_first_line(error)}"


def in_words(error: BaseException) -> str:
    """What an error of CuPy's means for a user, and its own first line.

    >>> in_words(RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected"))
    'the driver finds no GPU (RuntimeError: cudaErrorNoDevice: no CUDA-capable device is detected)'
    """
    text = f"{type(error).__name__} {error}".lower()
    for sign, words in _WORDS:
        if sign.lower() in text or sign.lower() in text.replace("_", ""):
            if "{driver}" in words:
                words = _driver()
            if "headers" in words or "NVRTC" in words:
                words += f" ({_REMEDY})"
            return f"{words} ({_first_line(error)})"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def _driver() -> str:
    """What is wrong with a driver that is not sufficient: there is none, or it is too old."""
    try:
        runtime: Any = sys.modules["cupy"].cuda.runtime
        has, wants = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
    except Exception:  # it cannot even be asked
        has = wants = 0
    if not has:
        return "no NVIDIA driver was found" if not _driver_library() else "the driver is too old"
    return f"the driver knows CUDA up to {_version(has)}, CuPy wants {_version(wants)}: update it"


def _driver_library() -> bool:
    """Whether the driver's library can be loaded."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _version(number: int) -> str:
    """CUDA's version from its number: 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"
