"""The emulator of CUDA: right results, and planted mistakes that it must report."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import processes
import pytest
import scipy.special

from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.backends import _probe_host_compiler
from minigrad_kernels.cuda import CompileError, EmulatorError, Source, running
from minigrad_kernels.cuda.check import Finding, check
from minigrad_kernels.cuda.emulator import build
from minigrad_kernels.cuda.softmax import softmax

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

HERE = Path(__file__).parent / "cuda"
PLANTED = Source(HERE / "planted.cu")
OPERATIONS = Source(HERE / "operations.cu")
TENSOR_CORES = Source(HERE / "tensor_cores.cu")

LANES = np.arange(32)


def line_of(source: Source, text: str, which: int = 0) -> int:
    """The number of the line with this text."""
    return [i for i, t in enumerate(source.own_text.splitlines(), 1) if text in t][which]


# Mistakes


def refused(name: str, *args: Any, threads: int = 32, shared: int = 0) -> EmulatorError:
    """The error of a kernel with a mistake, after which another kernel still runs."""
    with pytest.raises(EmulatorError) as caught:
        PLANTED.kernel(name)(1, threads, *args, shared=shared)
    x = np.arange(64, dtype="f4")
    PLANTED.kernel("reversed")(1, 64, x, 1)
    np.testing.assert_array_equal(x, np.arange(64)[::-1])
    assert caught.value.kernel == name and name in str(caught.value)
    return caught.value


def check_place(error: EmulatorError, text: str, which: int = 0) -> None:
    assert Path(error.file) == PLANTED.path
    assert error.line == line_of(PLANTED, text, which)
    assert f"planted.cu:{error.line}: " in str(error)


def zeros() -> np.ndarray:
    return np.zeros(64, "f4")


def test_a_barrier_that_some_threads_never_reach() -> None:
    error = refused("barrier_in_a_branch", zeros())
    check_place(error, "if (threadIdx.x < 16) __syncthreads();")
    assert "is not reached by 16 of 32 threads" in error.what and "thread 16" in error.what


def test_threads_that_wait_at_different_barriers() -> None:
    error = refused("two_barriers", zeros())
    first, second = (line_of(PLANTED, "    __syncthreads();", i) for i in (0, 1))
    assert error.line == second and f"planted.cu:{first}" in error.what
    assert "divergent barrier: thread 16" in error.what


def test_a_deadlock() -> None:
    error = refused("deadlock", zeros())
    check_place(error, "__shfl_sync(0x3")
    assert "deadlock: thread 0 waits at __shfl_sync(), thread 1 at __shfl_sync()" in error.what
    assert f"planted.cu:{line_of(PLANTED, '__shfl_sync(0x6')}" in error.what


def test_a_loop_that_waits_for_ever() -> None:
    error = refused("wait_for_ever", np.zeros(1, "u4"), threads=2)
    check_place(error, "atomicCAS(lock, 1, 0)")
    assert "waits in a loop" in error.what


def test_lanes_and_masks() -> None:
    error = refused("lane_has_exited", zeros())
    check_place(error, "__shfl_xor_sync(0xffffffff, x[threadIdx.x], 1)")
    assert "lane 5 of warp 0 is in the mask but has exited" in error.what
    error = refused("lane_is_not_in_mask", zeros())
    check_place(error, "__shfl_xor_sync(0xff,")
    assert "lane 8 of warp 0 calls it but is not in the mask" in error.what
    error = refused("different_operations", zeros())
    assert "__shfl_xor_sync()" in error.what and "__any_sync()" in error.what


def test_unwritten_shared_memory() -> None:
    x = np.ones(32, "f4")
    error = refused("unwritten", x)
    assert "unwritten shared memory" in error.what and "`float* x`" in error.what
    assert np.flatnonzero(np.isnan(x)).tolist() == [7]
    assert "unwritten" in refused("unwritten_dynamic", np.ones(32, "f4"), shared=32 * 8).what


def test_nan_is_no_unwritten_shared_memory() -> None:
    x = np.full(64, np.nan, "f4")
    x[::2] = -np.nan
    PLANTED.kernel("reversed")(1, 64, x, 1)
    assert np.isnan(x).all()
    x.view("u4")[:] = 0xFFFFFFFF  # from outside: it was in the array before
    PLANTED.kernel("reversed")(1, 64, x, 1)


def test_a_copy_that_was_not_waited_for() -> None:
    x, y = np.arange(32, dtype="f4"), np.zeros(32, "f4")
    PLANTED.kernel("wait_is_missing")(1, 32, x, y, 1)
    np.testing.assert_array_equal(x, y)
    assert "unwritten shared memory" in refused("wait_is_missing", x, y, 0).what
    assert np.isnan(y).all()


def test_a_misaligned_copy() -> None:
    error = refused("misaligned_copy", zeros())
    check_place(error, "cp_async_16(tile + 1, x)")


def test_writing_behind_dynamic_shared_memory() -> None:
    PLANTED.kernel("behind_dynamic")(1, 32, zeros(), shared=128)
    error = refused("behind_dynamic", zeros(), shared=124)
    assert "behind the 124 bytes of dynamic shared memory" in error.what


def test_order_dependence_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def last() -> float:
        x = zeros()
        PLANTED.kernel("order_matters")(1, 64, x)
        return float(x[0])

    assert last() == 63
    with running("reverse"):
        assert last() == 0
        with running("random", seed=1):
            assert last() == last() not in (0, 63)
        assert last() == 0
    assert last() == 63
    monkeypatch.setenv("MINIGRAD_CUDA_ON_CPU_ORDER", "reverse")
    assert last() == 0
    monkeypatch.setenv("MINIGRAD_CUDA_ON_CPU_ORDER", "upwards")
    with pytest.raises(ValueError, match="order must be one of forward, reverse, random"):
        last()


def test_every_block_runs_in_every_order() -> None:
    for order in ("forward", "reverse", "random"):
        for blocks in (1, 2, 3, 4, 30, 97, 98):
            x = np.full(blocks, np.nan, "f4")
            with running(order, seed=5):
                PLANTED.kernel("out_of_bounds")(blocks, 1, x, blocks - 1)
            assert (x == 1).all()


def test_a_stack_that_overflows() -> None:
    assert "do not fit on its stack of 260 KB" in refused("large_locals", zeros(), threads=2).what


def test_assert_names_the_condition() -> None:
    PLANTED.kernel("asserts")(1, 1, zeros())
    error = refused("asserts", zeros() + 1)
    check_place(error, "assert(")
    assert "assert(x[0] == 0) failed, thread 0" in error.what


# Results


def test_shuffles() -> None:
    x = (np.arange(32) * 7 + 1).astype("i4")
    for width in (32, 16, 8, 4):
        y = np.zeros((4, 32), "i4")
        OPERATIONS.kernel("shuffles")(1, 32, x, y, width)
        group = LANES - LANES % width
        sources = [
            group + 3 % width,
            np.where(group > LANES - 2, LANES, LANES - 2),
            np.where(group + width <= LANES + 2, LANES, LANES + 2),
            np.where(group + width <= (LANES ^ 5), LANES, LANES ^ 5),
        ]
        np.testing.assert_array_equal(y, [x[s] for s in sources])


def test_shuffles_of_values_of_1_2_and_8_bytes(rng: np.random.Generator) -> None:
    a = rng.integers(256, size=32).astype("u1")
    b, c = rng.normal(size=32).astype("f2"), rng.normal(size=32)
    y = np.zeros(32)
    OPERATIONS.kernel("shuffles_of_sizes")(1, 32, a, b, c, y)
    wanted = a[LANES ^ 1].astype("f4") + b[LANES ^ 2].astype("f4") + c[LANES ^ 4]
    np.testing.assert_allclose(y, wanted, rtol=1e-15)


def test_two_parts_of_a_warp_on_their_own_ways() -> None:
    x = LANES.astype("i4")
    OPERATIONS.kernel("shuffles_of_half_warps")(1, 32, x)
    sums = (LANES + (LANES ^ 1)) * 4
    np.testing.assert_array_equal(x, np.where(LANES < 16, sums, LANES ^ 8))


def test_votes(rng: np.random.Generator) -> None:
    for most in (10, 9, 3):
        x = rng.integers(most, size=32).astype("i4")
        y = np.zeros((4, 32), "u4")
        OPERATIONS.kernel("votes")(1, 32, x, y)

        def bits(which: np.ndarray) -> int:
            return sum(1 << int(i) for i in np.flatnonzero(which))

        assert set(y[0].tolist()) == {bits(x > 3)}
        assert set(y[1].tolist()) == {int((x == 9).any()) + 2}
        assert y[2].tolist() == [bits(x == v) for v in x]
        assert set(y[3].tolist()) == {0xFFFFFFFF}


def test_barriers_that_count() -> None:
    x = np.arange(40).astype("i4")
    y = np.zeros((2, 40), "i4")
    OPERATIONS.kernel("barriers")(1, 40, x, y)
    assert set(y[0].tolist()) == {36} and set(y[1].tolist()) == {0 + 2}


def test_atomics() -> None:
    n = 128
    ints = np.array([0, 0, 0, 1000], "i4")
    unsigneds = np.array([0, 0, 0xFFFFFFFF, 0, 0, 0, 0], "u4")
    longs, floats, doubles = np.zeros(1, "u8"), np.zeros(1, "f4"), np.zeros(1)
    OPERATIONS.kernel("atomics")(4, n // 4, ints, unsigneds, longs, floats, doubles)
    assert ints.tolist() == [n * (n - 1) // 2, n - 1, 1 - n, 1000 - n]
    parity = np.bitwise_xor.reduce(np.arange(n))
    assert unsigneds.tolist() == [n, 0xFFFFFFFF, 0, parity, n % 10, 77, 5]
    assert (longs[0], floats[0], doubles[0]) == (n << 33, n / 2, n / 4)


def test_a_lock_that_threads_wait_for() -> None:
    for order in ("forward", "reverse", "random"):
        count = np.zeros(1, "i4")
        with running(order):
            OPERATIONS.kernel("spin_lock")(3, 50, np.zeros(1, "u4"), count)
        assert count[0] == 150


def test_bits_of_numbers() -> None:
    x = np.array([1.5, 2.5], "f4")
    n = np.array([0x3F123456, 0xDEADBEEF], "u4")
    y = np.zeros(11, "u4")
    OPERATIONS.kernel("bits")(1, 1, x, n, y)
    a, b = int(n[0]), int(n[1])
    product = ((1 << 40) + a) * ((1 << 40) + b) >> 64
    assert y.tolist() == [
        0x3FC00000,
        a,
        a * b >> 32,
        a.bit_count(),
        32 - a.bit_length(),
        (a & -a).bit_length(),
        int(f"{a:032b}"[::-1], 2),
        0xBEEF3456,
        (b << 8 | a >> 24) & 0xFFFFFFFF,
        product & 0xFFFFFFFF,
        2,
    ]


def test_functions(rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 3, size=50).astype("f4")
    y = np.zeros((10, 50), "f4")
    OPERATIONS.kernel("functions")(1, 64, x, y, 50)
    v = x.astype("f8")
    wanted = [np.exp(v), np.exp(v), np.log(v), v**-0.5, np.tanh(v), scipy.special.erf(v)]
    wanted += [v * v + 1, np.maximum(v, 1.5), 1 / v, v]
    # 4 units in the last place of numbers up to 20: log is of numbers near 1, where it is small.
    np.testing.assert_allclose(y, wanted, rtol=5e-7, atol=1e-7)


@pytest.mark.parametrize("portable", ["", "1"])
def test_every_half(monkeypatch: pytest.MonkeyPatch, portable: str) -> None:
    """All 65,536 of them, and how numbers between them are rounded."""
    monkeypatch.setenv(build.PORTABLE, portable)
    source = Source(OPERATIONS.path)
    every = np.arange(65536, dtype="u2")
    every[np.isnan(every.view("f2"))] = 0x7E00  # some would count as unwritten shared memory
    finite = every.view("f2")[np.isfinite(every.view("f2"))].astype("f4")
    between = (finite[:-1] + finite[1:]) / 2  # ties, which go to the even one
    x = np.concatenate([between, np.nextafter(between, 0), np.array([7e4, np.inf, 1e-9], "f4")])
    x = np.resize(x, 65536)
    wide, narrow = np.zeros(65536, "f4"), np.zeros(65536, "f2")
    source.kernel("halves")(256, 256, every, x, wide, narrow, 65536)
    np.testing.assert_array_equal(wide, every.view("f2").astype("f4"))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(narrow.view("u2"), x.astype("f2").view("u2"))


def test_bfloat16(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.normal(size=60), [0, np.inf, -1e-30, 1 + 2**-8]]).astype("f4")
    narrow, wide = np.zeros(64, "u2"), np.zeros(64, "f4")
    OPERATIONS.kernel("brains")(1, 64, x, narrow, wide, 64)
    rounded = x.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(narrow, rounded.view("u2"))
    np.testing.assert_array_equal(wide, (rounded * rounded).astype("f4"))
    typed = np.zeros(64, ml_dtypes.bfloat16)
    OPERATIONS.kernel("brains")(1, 64, x, typed, wide, 64)
    np.testing.assert_array_equal(typed, rounded)


def test_arithmetic_of_halves(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 64)).astype("f2")
    y = np.zeros((6, 64), "f2")
    OPERATIONS.kernel("arithmetic_of_halves")(1, 64, a, b, y, 64)
    one = np.float16(1)
    wanted = [a + b, a * b, a / b, np.maximum(a, b), a + one, np.where(a < b, b + one, 0)]
    np.testing.assert_array_equal(y, np.array(wanted, "f2"))


def test_vectors_dynamic_shared_memory_constants_and_indices(rng: np.random.Generator) -> None:
    x = rng.normal(size=(24, 4)).astype("f4")
    y = np.zeros((24, 2, 2), "f4")
    OPERATIONS.kernel("vectors")((1, 1, 3), (2, 4, 3), x, y, shared=24 * 16)
    np.testing.assert_array_equal(y[:, 0], x[:, :2])
    np.testing.assert_array_equal(y[:, 1, 0], 2 ** (np.arange(24) // 2 % 4))
    np.testing.assert_array_equal(y[:, 1, 1], 302)


def test_reductions(rng: np.random.Generator) -> None:
    for threads in (32, 96, 1024):
        x = rng.normal(size=threads).astype("f4")
        y = np.zeros((3, threads))
        OPERATIONS.kernel("reductions")(1, threads, x, y)
        np.testing.assert_allclose(y[0], x.sum(dtype="f8"), rtol=1e-12)
        np.testing.assert_array_equal(y[1], x.max())
        by_warp = np.repeat(x.reshape(-1, 32).sum(1, dtype="f8"), 32)
        np.testing.assert_allclose(y[2], by_warp, atol=1e-5)
        assert len(set(y[0].tolist())) == 1, "not the same bits in all threads"


def test_shared_memory_in_a_template() -> None:
    x = np.arange(64).astype("i4")
    OPERATIONS.kernel("templates")(1, 64, x)
    np.testing.assert_array_equal(x, np.arange(64)[::-1])


# Tensor cores


def test_products_of_halves(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(16, 16)).astype("f2"), rng.normal(size=(16, 8)).astype("f2")
    d = np.zeros((16, 8), "f4")
    TENSOR_CORES.kernel("product_f16")(1, 32, a, np.ascontiguousarray(b.T), d)
    np.testing.assert_allclose(d, a.astype("f8") @ b.astype("f8"), atol=1e-5)


def test_products_of_bfloat16(rng: np.random.Generator) -> None:
    a = rng.normal(size=(16, 16)).astype(ml_dtypes.bfloat16)
    b = rng.normal(size=(16, 8)).astype(ml_dtypes.bfloat16)
    d = np.zeros((16, 8), "f4")
    TENSOR_CORES.kernel("product_bf16")(1, 32, a, b, d)
    np.testing.assert_allclose(d, a.astype("f8") @ b.astype("f8"), atol=1e-5)


def tf32(x: np.ndarray, add: int) -> np.ndarray:
    bits = x.astype("f4").view("u4") + np.uint32(add)
    return (bits & np.uint32(0xFFFFE000)).view("f4").astype("f8")


def test_products_of_tf32(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(16, 8)).astype("f4"), rng.normal(size=(8, 8)).astype("f4")
    for rounds, add in ((True, 0x1000), (False, 0)):
        d = np.zeros((16, 8), "f4")
        TENSOR_CORES.kernel("product_tf32")(1, 32, a, b, d, rounds)
        np.testing.assert_allclose(d, tf32(a, add) @ tf32(b, add), atol=1e-5)
        assert np.abs(d - a @ b).max() > 1e-4, "computed in float32"


def test_matrices_come_to_the_lanes_as_the_manual_says(rng: np.random.Generator) -> None:
    x = rng.integers(65536, size=(4, 8, 8)).astype("u2")
    y = np.zeros((10, 32), "u4")
    TENSOR_CORES.kernel("matrices")(1, 32, x, y)
    for i in range(4):
        np.testing.assert_array_equal(y[i].view("u2").reshape(8, 8), x[i])
        np.testing.assert_array_equal(y[4 + i].view("u2").reshape(8, 8), x[i].T)
    np.testing.assert_array_equal(y[8], y[3])
    np.testing.assert_array_equal(y[9], y[7])


def test_a_pipeline_of_asynchronous_copies(rng: np.random.Generator) -> None:
    x = rng.integers(100, size=(9, 32)).astype("f4")
    y = np.zeros(32, "f4")
    TENSOR_CORES.kernel("pipeline")(1, 32, x, y, 9)
    np.testing.assert_array_equal(y, x.sum(0)[::-1])


# Other builds


def test_the_portable_way_to_switch_fibers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.PORTABLE, "1")
    portable = Source(PLANTED.path)
    assert build.library(portable) != build.library(OPERATIONS)
    x = np.arange(64, dtype="f4")
    portable.kernel("reversed")(2, 64, x, 1)
    np.testing.assert_array_equal(x, np.arange(64))
    with pytest.raises(EmulatorError, match="is not reached by 16 of 32"):
        portable.kernel("barrier_in_a_branch")(1, 32, zeros())
    portable.kernel("reversed")(1, 64, x, 1)
    np.testing.assert_array_equal(x, np.arange(64)[::-1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that is the working directory."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_the_message_of_the_compiler(folder: Path) -> None:
    (folder / "wrong.cu").write_text(
        'extern "C" __global__ void wrong(float* x) {\n'
        "  extern __shared__\n    float tile[];\n"
        "  x[0] = nothing + tile[0];\n}\n"
    )
    with pytest.raises(CompileError, match=r"wrong\.cu:4:\d+: error: .nothing. was not declared"):
        Source("wrong.cu").kernel("wrong")(1, 1, zeros())
    (folder / "throws.cu").write_text('extern "C" __global__ void f(float* x) {\n  throw 1;\n}\n')
    with pytest.raises(CompileError, match=r"throws\.cu:2:"):
        Source("throws.cu").kernel("f")(1, 1, zeros())


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "'no-such-compiler', which the variable CXX names, was not found" in str(
        _probe_host_compiler()
    )
    with pytest.raises(CompileError, match=r"planted\.cu cannot be compiled: .*no-such-compiler"):
        Source(PLANTED.path).kernel("reversed")(1, 64, zeros(), 1)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    assert "install g++ or clang++" in str(_probe_host_compiler())
    code = "import numpy as np, minigrad_kernels as k\nx = np.ones((2, 3), 'f4')\n"
    code += "print(k.softmax(x, axis=1).sum(), k.softmax.explain(x, axis=1))"
    out, _ = processes.run(code, CXX="no-such-compiler", PATH="")
    assert out.startswith("2.0") and "cuda-on-cpu: is not usable here" in re.sub(r"\n +", " ", out)


def test_two_processes_with_one_empty_cache(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from minigrad_kernels.cuda import Source\n"
        "x = np.arange(64, dtype='f4')\n"
        f"Source({str(PLANTED.path)!r}).kernel('reversed')(1, 64, x, 1)\n"
        "assert x[0] == 63"
    )
    started = [processes.start(code, MINIGRAD_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    for process in started:
        processes.finish(process)
    files = [p.name for p in (tmp_path / "cuda-on-cpu").iterdir()]
    assert len(files) == 1 and re.fullmatch(r"planted-[0-9a-f]{24}\.so", files[0])
    before = (tmp_path / "cuda-on-cpu" / files[0]).stat().st_ino
    processes.run(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    (path,) = (tmp_path / "cuda-on-cpu").iterdir()
    assert path.stat().st_ino == before, "compiled again"


def test_libraries_lie_beside_what_numba_compiled() -> None:
    from minigrad_kernels.cpu.cache import cache_directory

    assert build.cache_directory().parent == cache_directory().parent


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "import numpy as np, warnings; from minigrad_kernels.cuda import Source\n"
        "x = np.arange(64, dtype='f4')\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    Source({str(PLANTED.path)!r}).kernel('reversed')(1, 64, x, 1)\n"
        "assert x[0] == 63 and len(caught) == 1, caught\n"
        "print(caught[0].message)"
    )
    out, _ = processes.run(code, MINIGRAD_CACHE_DIR=str(tmp_path / "file"))
    assert "cannot keep compiled CUDA sources" in out


def test_calls_from_several_threads() -> None:
    wrong = []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).normal(size=(20, 70)).astype("f4")
        wanted = KERNELS["softmax"].reference(x, axis=1)
        for _ in range(20):
            if not np.allclose(softmax(x, axis=1), wanted, atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# Memcheck and racecheck


def out_of_bounds() -> None:
    PLANTED.kernel("out_of_bounds")(2, 32, np.zeros(60, "f4"), 60)


def out_of_shared() -> None:
    PLANTED.kernel("out_of_shared")(1, 32, np.zeros(32, "f4"))


def behind_dynamic() -> None:
    PLANTED.kernel("behind_dynamic")(1, 32, np.zeros(32, "f4"), shared=64)


def within_bounds() -> None:
    PLANTED.kernel("out_of_bounds")(2, 32, np.zeros(60, "f4"), 59)
    PLANTED.kernel("behind_dynamic")(3, 32, np.zeros(32, "f4"), shared=128)


def race() -> None:
    PLANTED.kernel("reversed")(1, 64, np.zeros(64, "f4"), 0)


def race_of_blocks() -> None:
    PLANTED.kernel("blocks_meet")(3, 64, np.zeros(64, "f4"))


def no_race() -> None:
    PLANTED.kernel("reversed")(1, 64, np.zeros(64, "f4"), 1)
    PLANTED.kernel("blocks_meet")(1, 64, np.zeros(64, "f4"))
    TENSOR_CORES.kernel("pipeline")(1, 32, np.zeros((9, 32), "f4"), np.zeros(32, "f4"), 9)
    OPERATIONS.kernel("spin_lock")(3, 50, np.zeros(1, "u4"), np.zeros(1, "i4"))
    OPERATIONS.kernel("reductions")(1, 96, np.zeros(96, "f4"), np.zeros((3, 96)))


def deadlock() -> None:
    PLANTED.kernel("deadlock")(1, 32, np.zeros(32, "f4"))


def fails() -> None:
    raise ZeroDivisionError("planted")


def the_only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    assert Path(findings[0].file) == PLANTED.path
    return findings[0]


@pytest.mark.parametrize(
    ("run", "text", "what"),
    [
        (out_of_bounds, "if (i <= n) x[i] = 1;", "write of 4 bytes outside of an array"),
        (out_of_shared, "tile[threadIdx.x + 1];", "read of 4 bytes outside of an array in shared"),
        (behind_dynamic, "tile[threadIdx.x] = x[threadIdx.x];", "behind the dynamic shared memory"),
    ],
)
def test_memcheck_finds(run: Any, text: str, what: str) -> None:
    found = check(run, "memcheck")[0]
    assert what in found.what and text in found.text and found.tool == "memcheck"
    assert found.text == PLANTED.own_text.splitlines()[found.line - 1].strip()
    assert f"planted.cu:{found.line}: " in str(found) and found.text in str(found)


def test_racecheck_finds() -> None:
    found, *others = check(race, "racecheck")
    read = line_of(PLANTED, "tile[63 - threadIdx.x]")
    written = line_of(PLANTED, "tile[threadIdx.x] = x[threadIdx.x];", 3)
    assert {found.line, int(found.other.rpartition(":")[2])} == {read, written}
    assert found.what.startswith("race: ") and "of 4 bytes of another thread in" in found.what
    assert found.function == "reversed" and Path(found.file) == PLANTED.path
    assert {f.tool for f in others} <= {"racecheck", "emulator"}  # and what was not yet written


def test_racecheck_finds_blocks_that_meet() -> None:
    found = check(race_of_blocks, "racecheck")
    assert found and {f.line for f in found} == {line_of(PLANTED, "x[threadIdx.x] += 1;")}


def test_both_are_silent_where_nothing_is_wrong() -> None:
    assert check(within_bounds, "memcheck") == []
    assert check(no_race, "racecheck") == []


def test_what_the_emulator_reports_is_a_finding_too() -> None:
    found = the_only(check(f"{__file__}:deadlock", "memcheck"))
    assert found.tool == "emulator" and "deadlock" in found.what


def test_checking_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np\nfrom minigrad_kernels.cuda import kernel\n"
        f"kernel({str(PLANTED.path)!r}, 'out_of_shared')(1, 32, np.zeros(32, 'f4'))\n"
    )
    assert "tile[threadIdx.x + 1]" in the_only(check(program)).text


def test_checking_what_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tool must be one of memcheck, racecheck"):
        check("softmax", "initcheck")
    with pytest.raises(ValueError, match="'softest' is neither a kernel nor a Python file"):
        check("softest")
    with pytest.raises(ValueError, match="there is no file 'nowhere.py'"):
        check("nowhere.py:run")
    with pytest.raises(ValueError, match="must be a function that a module defines"):
        check(lambda: None)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: planted"):
        check(fails)


def test_a_kernel_by_its_name() -> None:
    """On all its samples; that one run is enough, for the others are compiled anew for it."""
    assert check("log_softmax_gradient", "racecheck") == []
