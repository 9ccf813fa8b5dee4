"""The emulator takes what NVIDIA's compiler takes, and refuses what it refuses.

Where NVRTC is installed, which needs no GPU, every source here is compiled by both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minigrad_kernels import BACKENDS
from minigrad_kernels.cuda import CompileError, Source
from minigrad_kernels.cuda.emulator import build
from minigrad_kernels.cuda.lint import toolkit

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

EVERYDAY = Source(Path(__file__).parent / "cuda" / "everyday.cu")
HAS_NVRTC = toolkit.reason() is None


def test_nvidias_compiler_takes_it_too() -> None:
    build.library(EVERYDAY)
    if HAS_NVRTC:
        code, _ = toolkit.compiled(EVERYDAY, "sm_80")
        assert set(toolkit.functions(code)) >= set(EVERYDAY.kernels)


def test_constants() -> None:
    y = np.zeros(15)
    EVERYDAY.kernel("constants")(1, 1, y)
    single, whole = np.finfo("f4"), np.iinfo("i4")
    wanted = [np.inf, np.nan, single.max, np.finfo("f8").eps, whole.min, 2**32 - 1, np.pi]
    wanted += [np.float32(np.pi), -np.inf, single.min, np.inf, whole.max, 3.5, 6.5, 2]
    np.testing.assert_array_equal(y, wanted)


def test_functions_of_floats() -> None:
    y, sizes = np.zeros(11, "f4"), np.zeros(4, "i4")
    EVERYDAY.kernel("floats")(1, 1, np.array([-0.75], "f4"), y, sizes)
    wanted = [0.75, 0, -4, 0.5, 0.5, 2, 7, 0.2, 1, np.sin(-0.75), np.cos(-0.75)]
    np.testing.assert_allclose(y, wanted, rtol=1e-6)  # a few units of the last place
    assert sizes.tolist() == [4, 4, 8, 16]


def test_rounding_in_a_direction() -> None:
    one, _, three = x = np.array([1, 2.0**-30, 3], "f4")
    d = np.array([1 + 2.0**-30, 2.0**-60])
    y, z = np.zeros(10, "f4"), np.zeros(3)
    EVERYDAY.kernel("directions")(1, 1, x, d, y, z)
    above, below = np.nextafter(one, three), np.nextafter(np.float32(1) / 3, np.float32(0))
    third = np.float32(1) / np.float32(3)  # to the nearest it lies above
    down = third if float(third) * 3 <= 1 else below
    up = np.nextafter(down, one)
    root = np.sqrt(three)
    root = root if float(root) ** 2 <= 3 else np.nextafter(root, one)
    wanted = [above, one, -one, three, down, up, root, above, above, 2.0**40]
    np.testing.assert_array_equal(y, np.array(wanted, "f4"))
    assert z.tolist() == [np.nextafter(1, 2), np.nextafter(1, 0), 0.25]


def test_whole_numbers() -> None:
    y = np.zeros(17, "i8")
    EVERYDAY.kernel("whole_numbers")(1, 1, np.array([2.5], "f4"), y)
    converted = [2, -2, 3, -3, 2**31 - 1, 0, 0, -(2**63)]
    dot = 1 * 1 + -1 * 2 + 2 * 3 + 3 * 4 + 100
    assert y.tolist() == [*converted, -15, 15, -1, 2**31, dot, -(2**63), 5, -1, 16]


def test_reductions_by_warps(rng: np.random.Generator) -> None:
    x = rng.integers(100, size=32).astype("i4")
    y = np.zeros((4, 32), "i4")
    EVERYDAY.kernel("reduced_by_warps")(1, 32, x, y)
    np.testing.assert_array_equal(y[:, 0], [x.sum(), x.max(), np.bitwise_xor.reduce(x), 2])
    assert (y == y[:, :1]).all()
    x[7] = 100
    EVERYDAY.kernel("reduced_by_warps")(1, 32, x, y)
    assert not y[3].any()


def test_language() -> None:
    x, y, ticks = np.arange(32, dtype="f4"), np.zeros(32, "f4"), np.zeros(1, "u8")
    EVERYDAY.kernel("language")(1, 32, x, y, ticks)
    np.testing.assert_array_equal(y, 2 * x[::-1] + 24)
    assert ticks[0] >= 32


REFUSED = {
    "half h = 1;": "half and its functions come with #include <cuda_fp16.h>",
    "__nv_bfloat16 h;": "come with #include <cuda_bf16.h>",
    "x[0] = max(x[0], 0);": "an integer is ambiguous; write 0.0f for 0",
    "x[0] = min(1, x[0]);": "min() of a floating-point number and an integer is ambiguous",
    "threadIdx.x = 1;": "read-only",
    "int n = x[0]; float local[n]; x[0] = local[0];": "variable length array",
    "int numbers[warpSize]; x[0] = numbers[0];": "variable length array",
    "register int n = 1; x[0] = n;": "register",
    "__shared__ float tile[2] = {1, 2}; x[0] = tile[0];": "cannot have an initializer",
    "atomicMax(x, 1.0f);": "CUDA has atomicMax for int, unsigned, long long, unsigned long long a",
    "atomicAdd(reinterpret_cast<long long*>(x), 1);": "Cast to the unsigned type of the same size",
    "x[0] = __shfl_down(x[0], 1);": "__shfl_down_sync takes the lanes that come there",
}


@pytest.mark.parametrize("statement", REFUSED)
def test_what_both_refuse(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "refused.cu"
    path.write_text(f'extern "C" __global__ void f(float* x) {{\n  {statement}\n}}\n')
    with pytest.raises(CompileError, match=r"refused\.cu:2") as caught:
        build.library(Source(path))
    assert REFUSED[statement] in str(caught.value)
    if HAS_NVRTC:
        with pytest.raises(CompileError):
            toolkit.compiled(Source(path), "sm_80")


def test_headers_that_a_gpu_has_not(tmp_path: Path) -> None:
    path = tmp_path / "headers.cu"
    path.write_text('#include <vector>\nextern "C" __global__ void f(float* x) {}\n')
    for compile_it in (build.library, lambda source: toolkit.compiled(source, "sm_80")):
        if HAS_NVRTC or compile_it is build.library:
            with pytest.raises(CompileError, match=r"headers\.cu: #include <vector>: NVIDIA's com"):
                compile_it(Source(path))
    path.write_text('#include <mma.h>\nextern "C" __global__ void f(float* x) {}\n')
    with pytest.raises(CompileError, match="the emulator has no mma; minigrad.cuh has sums of"):
        build.library(Source(path))


def test_assembly_is_for_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "assembly.cu"
    text = 'extern "C" __global__ void f(int* x) {\n  asm("mov.u32 %0, %%laneid;" : "=r"(x[0]));\n}'
    path.write_text(text)
    with pytest.raises(CompileError, match="inline PTX compiles for a GPU alone: with #ifdef CUDA"):
        build.library(Source(path))
