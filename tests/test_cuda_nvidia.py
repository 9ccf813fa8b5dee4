"""Launching CUDA kernels on a GPU: what CuPy gets, and what becomes of its errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS
from minigrad_kernels.cuda import CompileError, LaunchError, Source, nvidia
from minigrad_kernels.cuda.source import INCLUDE

TEXT = """
#include <cuda_fp16.h>
extern "C" __global__ void add(const T* a, const T* b, T* sum, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) sum[i] = a[i] + b[i];
}
extern "C" __global__ void fill(unsigned short* y, half scale, uint16_t n) {
  if (threadIdx.x < n) y[threadIdx.x] = __half_as_ushort(scale);
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "some.cu"
    path.write_text(TEXT)
    return Source(path, T="float")


def floats(n: int = 8) -> np.ndarray:
    return np.arange(n, dtype="f4")


class ndarray:  # stands for CuPy's, which has NumPy's attributes, and `data.ptr`
    def __init__(self, host: np.ndarray) -> None:
        self.dtype, self.flags, self.strides = host.dtype, host.flags, host.strides
        self.data = SimpleNamespace(ptr=host.__array_interface__["data"][0])


ndarray.__module__ = "cupy"


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A CuPy that only notes what it is asked for."""
    noted: list[Any] = []

    class CompileException(Exception):
        pass

    class Function:
        max_dynamic_shared_size_bytes = 0

        def __call__(self, grid: Any, block: Any, args: Any, shared_mem: int) -> None:
            noted.append((grid, block, args, shared_mem, self.max_dynamic_shared_size_bytes))

    class RawModule:
        def __init__(self, code: str, options: tuple[str, ...]) -> None:
            noted.append((code, options))

        def get_function(self, name: str) -> Function:
            if name == "fill":
                raise CompileException("some.cu(24): error: what is half?")
            return Function()

    module = ModuleType("cupy")
    module.RawModule, module.ndarray = RawModule, ndarray  # type: ignore[attr-defined]
    module.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        compiler=SimpleNamespace(CompileException=CompileException),
        device=SimpleNamespace(get_device_id=lambda: 0),
        runtime=SimpleNamespace(getDeviceCount=lambda: 1),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    yield noted
    nvidia._module.cache_clear()
    nvidia._raised.clear()


def test_what_cupy_gets(source: Source, launches: list[Any]) -> None:
    add = Source(source.path, T="float").kernel("add")
    a = ndarray(floats())
    add((2, 3), 32, a, a, a, 5)
    (code, options), (grid, block, args, shared, _) = launches
    assert "using uint16_t = unsigned short;" in code  # which NVRTC has not
    assert '#include <cuda_fp16.h>\n#define T float\n#line 1 "some.cu"\n' in code
    assert code.endswith(TEXT)
    assert f"-I{INCLUDE}" in options and f"-I{source.path.parent}" in options
    assert f"-DMINIGRAD_DIGEST=0x{source.digest}" in options
    assert (grid, block, shared) == ((2, 3, 1), (32, 1, 1), 0)
    assert args[:3] == [a, a, a] and type(args[3]) is np.int32 and args[3] == 5
    add(1, 32, a, None, a, 5, shared=100 * 1024)
    assert len(launches) == 3, "compiled once"
    assert launches[2][3:] == (100 * 1024, 100 * 1024)
    null = launches[2][2][1]
    assert null == 0 and null.nbytes == 8
    add(0, 32, a, a, a, 5)
    assert len(launches) == 3


def test_arrays_of_two_devices_are_not_mixed(source: Source, launches: list[Any]) -> None:
    add = Source(source.path, T="float").kernel("add")
    a, host = ndarray(floats()), floats()
    with pytest.raises(TypeError, match="wants a CuPy array as the first one is, not one of NumPy"):
        add(1, 32, a, host, a, 5)
    with pytest.raises(TypeError, match="wants an array of float32, not float64"):
        add(1, 32, a, ndarray(np.zeros(3)), a, 5)
    if BACKENDS["cuda-on-cpu"].available:
        with pytest.raises(TypeError, match="NumPy array as the first one is, not one of CuPy"):
            add(1, 32, host, a, host, 5)


def test_arrays_must_be_aligned(source: Source, launches: list[Any]) -> None:
    """On a GPU the first access to another address would be the last of the process."""
    add = Source(source.path, T="float").kernel("add")
    a, odd = ndarray(floats()), ndarray(np.zeros(33, "u1")[1:].view("f4"))
    assert odd.data.ptr % 4
    with pytest.raises(ValueError, match=r"`const float\* b` wants an array aligned to 4 bytes"):
        add(1, 32, a, odd, a, 5)
    add(1, 32, a, a, a, 5)
    assert len(launches) == 2


def test_a_kernel_runs_where_its_arrays_are(source: Source, launches: list[Any]) -> None:
    """With two GPUs, the one of the arrays is the current one for the launch; and for what a
    kernel is to be allowed there."""
    cuda = sys.modules["cupy"].cuda
    current, entered = [0], []

    class Device:
        def __init__(self, number: int) -> None:
            self.number = number

        def __enter__(self) -> None:
            entered.append(self.number)
            current.append(self.number)

        def __exit__(self, *_: Any) -> None:
            current.pop()

    cuda.runtime.getDeviceCount, cuda.Device = lambda: 2, Device
    cuda.device.get_device_id = lambda: current[-1]
    add = Source(source.path, T="float").kernel("add")
    first, second = ndarray(floats()), ndarray(floats())
    first.data.device_id, second.data.device_id = 0, 1
    add(1, 32, first, None, first, 5)
    assert entered == []
    add(1, 32, None, second, second, 5, shared=100 * 1024)
    assert (entered, current) == ([1], [0])
    assert [device for _, device in nvidia._raised] == [1]
    with pytest.raises(
        ValueError, match=r"`float\* sum` is on cuda:1, `const float\* a` on cuda:0: .* of one GPU"
    ):
        add(1, 32, first, first, second, 5)
    assert len(launches) == 3 and entered == [1]


def test_bfloat16_has_two_types(tmp_path: Path, launches: list[Any]) -> None:
    (tmp_path / "brain.cu").write_text(
        'extern "C" __global__ void copy(const __nv_bfloat16* x, __nv_bfloat16* y) {}'
    )
    copy = Source(tmp_path / "brain.cu").kernel("copy")
    bits, typed = ndarray(np.zeros(3, "u2")), ndarray(np.zeros(3, "u2"))
    typed.dtype = SimpleNamespace(name="bfloat16", itemsize=2)  # type: ignore[assignment]
    copy(1, 1, bits, typed)
    with pytest.raises(TypeError, match="wants an array of uint16, not float16"):
        copy(1, 1, bits, ndarray(np.zeros(3, "f2")))


def test_an_error_of_nvrtc(source: Source, launches: list[Any]) -> None:
    with pytest.raises(
        CompileError, match=r"some\.cu \(T=float\) does not compile:\nsome\.cu\(24\)"
    ):
        Source(source.path, T="float").kernel("fill")(1, 1, ndarray(np.zeros(1, "u2")), 1.0, 1)


class CUDADriverError(RuntimeError):
    """As `cupy.cuda.driver.CUDADriverError`."""


@pytest.mark.parametrize(
    ("said", "shared", "words"),
    [
        (
            "CUDA_ERROR_INVALID_VALUE: invalid argument",
            100 * 1024,
            r"add: the GPU does not run \(2, 1, 1\) blocks of \(32, 1, 1\) threads with 102400 "
            "bytes of dynamic shared memory: a block has at most 65536 there$",
        ),
        (
            "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
            0,
            "need more registers than a block can have .CUDADriverError: CUDA_ERROR_LAUNCH_OUT_OF",
        ),
        (
            "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
            0,
            "a kernel read or wrote where there is no memory, which ends .* `minigrad cuda-check`",
        ),
    ],
)
def test_a_launch_that_the_gpu_refuses(
    said: str, shared: int, words: str, source: Source, launches: list[Any]
) -> None:
    """The next one is as if nothing had been."""
    cuda = sys.modules["cupy"].cuda
    cuda.runtime.deviceGetAttribute = lambda number, device: {97: 64 * 1024}[number]
    add = Source(source.path, T="float").kernel("add")
    a = ndarray(floats())
    add(2, 32, a, a, a, 5)
    function = sys.modules["cupy"].RawModule.get_function(None, "add").__class__
    usual = function.__call__

    def refuse(*_: Any, **__: Any) -> None:
        raise CUDADriverError(said)

    function.__call__ = refuse
    with pytest.raises(LaunchError, match=words):
        add(2, 32, a, a, a, 5, shared=shared)
    function.__call__ = usual
    add(2, 32, a, a, a, 5)
    assert len(launches) == 3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CuPy failed to load libnvrtc.so.13: OSError"), "NVRTC was not found or doe"),
        (ImportError("libnvrtc.so.13: cannot open shared object file"), "NVRTC was not found or "),
        (RuntimeError("NVRTC_ERROR_INVALID_OPTION (5)"), "NVRTC was not found or does not fit"),
        (RuntimeError("Failed to find CUDA headers"), "CUDA's headers were not found"),
        (CUDADriverError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"), "the driver is older than"),
    ],
)
def test_no_compiler_for_gpus(
    error: Exception, words: str, source: Source, launches: list[Any]
) -> None:
    """Said when a kernel is first wanted, and again; when it has come, all is well."""
    module = sys.modules["cupy"].RawModule
    usual = module.get_function

    def missing(*_: Any) -> None:
        raise error

    module.get_function = missing
    add = Source(source.path, T="float").kernel("add")
    a = ndarray(floats())
    for _ in range(2):
        with pytest.raises(
            CompileError, match=rf"some\.cu \(T=float\) cannot be compiled: .*{words}"
        ):
            add(1, 32, a, a, a, 5)
    module.get_function = usual
    add(1, 32, a, a, a, 5)
    assert launches[-1][0] == (1, 1, 1)
