"""Launching CUDA kernels: what is read from sources, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.cuda import (
    EmulatorError,
    KernelFunction,
    Source,
    arrays,
    kernel,
)
from minigrad_kernels.cuda.arrays import ceil_divide, contiguous, result
from minigrad_kernels.cuda.c_types import c_name, element
from minigrad_kernels.cuda.source import FOLDER, INCLUDE

here_on_cpu = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

TEXT = """
#include "minigrad.cuh"
#include <cuda_fp16.h>
// extern "C" __global__ void commented_out(int n) {
#define THREADS 64
#define Pixel unsigned char
using Index = int64;
typedef unsigned long long Seed;
/* __global__ void this_too() { */
extern "C" __global__ void __launch_bounds__(THREADS, 2) every(
    const T* __restrict__ x, T *y, float4* packs, void* anything, const Pixel* image,
    Index count, Seed seed, T scale, bool flag, unsigned n) {
  if (threadIdx.x == 0 && x && y && packs && anything && image) y[0] = x[0] * scale;
}
extern "C" __global__ void add(const T* a, const T* b, T* sum, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) sum[i] = a[i] + b[i];
}
struct Matrix {
  float* numbers;
};
extern "C" __global__ void strange(struct Matrix m) {}
extern "C" __global__ void fill(unsigned short* y, half scale, uint16_t n) {
  if (threadIdx.x < n) y[threadIdx.x] = __half_as_ushort(scale);
}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("cuda") / "some.cu"
    path.write_text(TEXT)
    return Source(path, T="float")


@pytest.fixture
def add(source: Source) -> KernelFunction:
    return source.kernel("add")


def floats(n: int = 8) -> np.ndarray:
    return np.arange(n, dtype="f4")


# Sources


def test_parameters_are_read_from_the_text(source: Source) -> None:
    assert list(source.kernels) == ["every", "add", "strange", "fill"]
    every = source.kernels["every"]
    assert every.most_threads == 64
    assert [str(p) for p in every.parameters] == [
        "const float* x",
        "float* y",
        "float4* packs",
        "void* anything",
        "const unsigned char* image",
        "long long count",
        "unsigned long long seed",
        "float scale",
        "bool flag",
        "unsigned n",
    ]
    assert source.kernels["add"].most_threads == 1024
    assert repr(source.kernel("add")) == "<CUDA kernel add of some.cu (T=float)>"
    assert repr(source) == "<CUDA source some.cu (T=float)>"


def test_sources_that_cannot_be(tmp_path: Path, source: Source) -> None:
    with pytest.raises(FileNotFoundError, match="no CUDA source 'nothing.cu'"):
        Source("nothing.cu")
    with pytest.raises(ValueError, match="definition 'a b' is no name"):
        Source("softmax.cu", **{"a b": 1})
    with pytest.raises(ValueError, match="definition T must be a number or one line"):
        Source("softmax.cu", T="a\nb")
    with pytest.raises(ValueError, match="has no kernel 'softest'; there are: every, add"):
        source.kernel("softest")
    plain = tmp_path / "plain.cu"
    plain.write_text("__global__ void plain(float* x) { x[0] = 1; }")
    with pytest.raises(ValueError, match='kernel plain must be declared extern "C"'):
        _ = Source(plain).kernels
    plain.write_text('extern "C" __global__ void plain(float** x) { }')
    with pytest.raises(ValueError, match="kernel plain: cannot read the parameter"):
        _ = Source(plain).kernels


def test_sources_are_looked_for_in_the_package_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Source("softmax.cu").path == FOLDER / "softmax.cu"
    (tmp_path / "mine.cu").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert Source("mine.cu").path == (tmp_path / "mine.cu").resolve()


def test_the_digest_is_of_everything(tmp_path: Path) -> None:
    path, header = tmp_path / "a.cu", tmp_path / "a.cuh"
    path.write_text('#include "a.cuh"\n#include "minigrad.cuh"\n')
    header.write_text('// 1\n#include "a.cuh"\n')
    first = Source(path, T="float")
    assert set(first.files) == {path, header, INCLUDE / "minigrad.cuh"}
    assert Source(path, T="float").digest == first.digest
    assert Source(path, T="double").digest != first.digest
    assert Source(path).digest != first.digest
    header.write_text('// 2\n#include "a.cuh"\n')
    assert Source(path, T="float").digest != first.digest


def test_definitions_come_after_the_headers_of_the_system(source: Source) -> None:
    assert source.prelude == "#include <cuda_fp16.h>\n#define T float\n"
    assert Source(source.path, A=1, B=True, C=0.5, D="x y").prelude.endswith(
        "#define A 1\n#define B 1\n#define C 0.5\n#define D x y\n"
    )


def test_kernel_is_made_once(source: Source) -> None:
    first = kernel(source.path, "add", T="float")
    assert kernel(source.path, "add", T="float") is first
    assert kernel(source.path, "add", T="double") is not first
    assert kernel(source.path, "fill", T="float").source is first.source


def test_types() -> None:
    assert element("float4") == ("float", 4)
    assert element("std::uint32_t") == ("unsigned", 1)
    assert element("__half2") == ("half", 2)
    assert element("__nv_bfloat162") == ("bfloat16", 2)
    assert element("int64_t") == ("long long", 1)
    assert element("long") is None
    assert c_name(np.zeros(1, "f2")) == "half"
    with pytest.raises(TypeError, match="compute in float32, float64, float16, not int64"):
        c_name(np.zeros(1, "i8"))


# Arguments


@here_on_cpu
def test_arguments_that_are_right(source: Source, add: KernelFunction) -> None:
    a, b, c = floats(), floats(), np.zeros(8, "f4")
    add(1, 8, a, b, c, 8)
    np.testing.assert_array_equal(c, a + b)
    add((1, 1), (4, 1, 1), a, a, c, np.int64(3))
    np.testing.assert_array_equal(c, [0, 2, 4, 6, 8, 10, 12, 14], "as before: three were written")
    read_only = a.copy()
    read_only.flags.writeable = False
    add(np.int32(1), np.int64(8), read_only, a, c, 8)
    x, y, image = np.full(1, 3, "f4"), np.zeros(1, "f4"), np.zeros(3, "u1")
    every = source.kernel("every")
    every(
        1, 64, x, y, np.zeros((2, 4), "f4"), np.zeros(2, "i8"), image, 2**40, 2**64 - 1, 2, True, 1
    )
    assert y[0] == 6
    every(1, 1, x, y, None, np.zeros(2, "i8"), image, 0, 0, 2.5, np.True_, 1)
    assert y[0] == 6, "a null pointer is one"
    bits = np.zeros(3, "u2")
    source.kernel("fill")(1, 32, bits, 1.5, 2)
    assert bits.tolist() == [0x3E00, 0x3E00, 0]


@here_on_cpu
@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((1, 2), TypeError, r"add takes 4 arguments \(const float\* a, .*, int n\), not 2"),
        (
            (floats(), floats().astype("f8"), floats(), 1),
            TypeError,
            r"add: parameter `const float\* b` wants an array of float32, not float64",
        ),
        ((floats(), [1.0], floats(), 1), TypeError, r"b` wants a NumPy array, not list"),
        ((floats(), floats()[::2], floats(), 1), ValueError, r"b` wants a C-contiguous array"),
        ((floats(), floats(), floats(), 2**31), ValueError, r"n`: 2147483648 does not fit"),
        ((floats(), floats(), floats(), -(2**31) - 1), ValueError, r"n`: -2147483649 does not fit"),
        ((floats(), floats(), floats(), 1.0), TypeError, r"`int n` wants an int, not float"),
        ((floats(), floats(), floats(), floats()), TypeError, r"wants an int, not ndarray"),
        (([1.0], floats(), floats(), 1), TypeError, r"a` wants a NumPy or CuPy array, not list"),
        ((floats(), floats().astype(">f4"), floats(), 1), TypeError, r"float32, not >f4"),
    ],
)
def test_arguments_that_are_refused(
    add: KernelFunction, args: Any, error: type[Exception], message: str
) -> None:
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    with pytest.raises(error, match=message):
        add(1, 8, *args)
    for a, b in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, b)


@here_on_cpu
def test_arrays_that_are_refused_for_their_memory(source: Source, add: KernelFunction) -> None:
    fixed = floats()
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match=r"`float\* sum` is written to; the array is read-only"):
        add(1, 8, floats(), floats(), fixed, 8)
    odd = np.zeros(33, "u1")[1:].view("f4")
    with pytest.raises(ValueError, match="wants an array aligned to 4 bytes"):
        add(1, 8, odd, floats(), floats(), 8)
    x = floats(16)
    packs = x[4 - x.__array_interface__["data"][0] // 4 % 4 :][1:9]
    with pytest.raises(ValueError, match=r"`float4\* packs` wants an array aligned to 16 bytes"):
        source.kernel("every")(1, 1, x, x, packs, None, None, 0, 0, 0, False, 0)


@here_on_cpu
def test_numbers_that_are_refused(source: Source) -> None:
    def call(count: Any = 0, seed: Any = 0, scale: Any = 0, flag: Any = False) -> None:
        x = floats()
        source.kernel("every")(1, 1, x, x, None, None, None, count, seed, scale, flag, 0)

    call()
    call(scale=np.inf)
    call(scale=np.nan)
    with pytest.raises(ValueError, match=r"`unsigned long long seed`: -1 does not fit: 0 to"):
        call(seed=-1)
    with pytest.raises(ValueError, match=r"`float scale`: 1e\+300 does not fit"):
        call(scale=1e300)
    with pytest.raises(ValueError, match=r"`float scale`: it does not fit: at most 3\.4"):
        call(scale=10**400)
    with pytest.raises(TypeError, match="wants a number, not str"):
        call(scale="2")
    with pytest.raises(TypeError, match="`bool flag` wants True or False, not int"):
        call(flag=1)
    with pytest.raises(TypeError, match="cannot pass a value of the type struct Matrix"):
        source.kernel("strange")(1, 1, 0)


@here_on_cpu
@pytest.mark.parametrize(
    ("grid", "block", "error", "message"),
    [
        (-1, 8, ValueError, r"^\w+: a grid of \(-1, 1, 1\) blocks"),
        ((1, 65536), 8, ValueError, "at most .2147483647, 65535, 65535."),
        (2**31, 8, ValueError, "a grid of"),
        (1, 0, ValueError, r"^\w+: a block of \(0, 1, 1\) threads"),
        (1, 1025, ValueError, "1 to .1024, 1024, 64."),
        (1, (32, 33), ValueError, "at most 1024 in all"),
        (1, (1, 1, 65), ValueError, "1 to .1024, 1024, 64."),
        ((1, 1, 1, 1), 8, TypeError, "grid and block must be ints"),
        (1.0, 8, TypeError, "grid and block must be ints"),
        ([1], 8, TypeError, "grid and block must be ints"),
        (True, 8, TypeError, "grid and block must be ints"),
    ],
)
def test_dimensions_that_are_refused(
    add: KernelFunction, grid: Any, block: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        add(grid, block, floats(), floats(), floats(), 8)


@here_on_cpu
def test_launch_bounds_and_shared_memory_are_held(source: Source, add: KernelFunction) -> None:
    with pytest.raises(ValueError, match="its __launch_bounds__ promise at most 64"):
        x = floats()
        source.kernel("every")(1, 65, x, x, None, None, None, 0, 0, 0, False, 0)
    for shared in (-1, 227 * 1024 + 1):
        with pytest.raises(ValueError, match="bytes of shared memory; 0 to 232448"):
            add(1, 8, floats(), floats(), floats(), 8, shared=shared)
    add(1, 8, floats(), floats(), floats(), 8, shared=227 * 1024)


@here_on_cpu
def test_one_array_at_least(source: Source, add: KernelFunction) -> None:
    """Null pointers alone do not say where to run; on a CPU they could end the process."""
    with pytest.raises(TypeError, match=r"^add: every pointer is None; .*`const float\* \w+` say"):
        add(1, 8, None, None, None, 8)
    with pytest.raises(TypeError, match=r"^every: every pointer is None"):
        source.kernel("every")(1, 1, None, None, None, None, None, 0, 0, 0, False, 0)
    sums = floats()
    add(1, 8, floats(), floats(), sums, 8)


@here_on_cpu
def test_nothing_to_do(add: KernelFunction) -> None:
    nothing = np.zeros((0, 3), "f4")
    add((0, 1), 8, nothing, nothing, nothing, 0)
    add(1, 8, nothing, nothing, nothing, 0)
    with pytest.raises(TypeError, match="wants an int"):
        add(0, 8, nothing, nothing, nothing, 0.0)


def test_errors_pickle() -> None:
    error = EmulatorError("add", "wrong", "some.cu", 3)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "add: some.cu:3: wrong"
    assert (again.kernel, again.file, again.line) == ("add", "some.cu", 3)


# What launch code does with arrays


def test_arrays_for_kernels() -> None:
    assert [ceil_divide(n, 4) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    x = floats().reshape(2, 4)
    assert contiguous(x) is x
    assert contiguous(x.T).flags.c_contiguous
    odd = np.zeros(33, "u1")[1:].view("f4")
    assert contiguous(odd) is not odd and contiguous(odd).flags.aligned
    made = arrays.empty(x, (3,))
    assert made.dtype == x.dtype and arrays.empty(x, (3,), "i8").dtype == np.int64
    assert arrays.aligned(4, 8, np.zeros(8, "f4")) and not arrays.aligned(4, 7, x)
    assert not arrays.aligned(4, 4, odd)


def test_where_results_are_written() -> None:
    x = floats()
    out = np.zeros(8, "f4")
    assert result(out, (x,), (8,), x.dtype) is out
    assert result(x, (x,), (8,), x.dtype) is x, "in its place"
    buffer = floats(9)
    for wrong in (np.zeros(8), np.zeros((8, 2), "f4")[:, 0], buffer[1:]):
        made = result(wrong, (buffer[:8],), (8,), x.dtype)
        assert made is not wrong and made.dtype == x.dtype and made.flags.c_contiguous
    with pytest.raises(ValueError, match="out has shape"):
        result(out, (x,), (7,), x.dtype)


@here_on_cpu
def test_softmax_of_halves_and_long_rows(rng: np.random.Generator) -> None:
    run = next(i.run for i in KERNELS["softmax"].implementations if i.backend == "cuda-on-cpu")
    for shape, dtype in (((5, 16), "f2"), ((3, 1028), "f4"), ((3, 1027), "f4"), ((2, 1500), "f8")):
        x = rng.normal(size=shape).astype(dtype)
        x[0, :7] = -np.inf  # before a finite number comes
        wanted = KERNELS["softmax"].reference(x.astype("f8"), axis=1)
        got = run(x, axis=1)
        assert got.dtype == x.dtype
        np.testing.assert_allclose(got, wanted, rtol=4 * float(np.finfo(dtype).eps))
