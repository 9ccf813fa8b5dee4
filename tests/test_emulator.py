"""The emulator of CUDA: planted mistakes that it must report, orders, builds, and the cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest

from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.backends import _probe_host_compiler
from minigrad_kernels.cuda import CompileError, EmulatorError, Source, running
from minigrad_kernels.cuda.emulator import build
from minigrad_kernels.cuda.softmax import softmax

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

HERE = Path(__file__).parent / "cuda"
PLANTED = Source(HERE / "planted.cu")
OPERATIONS = Source(HERE / "operations.cu")


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
    error = refused("behind_dynamic", zeros())
    assert "the launch gave it none; `shared=` says how many" in error.what


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
    with pytest.raises(ValueError, match="the variable MINI.*_ORDER: order must be one of"):
        last()
    monkeypatch.setenv("MINIGRAD_CUDA_ON_CPU_ORDER", "random:\u00b2")
    with pytest.raises(ValueError, match="order must be one of forward, reverse, random, not"):
        last()


def test_the_order_holds_behind_a_barrier() -> None:
    def total() -> float:
        x = np.ones(64, "f4")
        PLANTED.kernel("tree_without_barriers")(1, 64, x)
        return float(x[0])

    assert total() == 7  # thread 0 adds six numbers before others have added anything to them
    with running("reverse"):
        assert total() == 64


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


# What would have ended the process


def check_far(error: EmulatorError, text: str, words: str) -> None:
    check_place(error, text)
    assert error.what.startswith(f"thread (5, 0, 0) of block (1, 0, 0) {words}")
    assert "`minigrad cuda-check` finds every access outside of an array" in error.what


def launched_in_two_blocks(name: str, *args: Any) -> EmulatorError:
    with pytest.raises(EmulatorError) as caught:
        PLANTED.kernel(name)(2, 32, *args)
    return caught.value


@pytest.fixture
def lonely() -> Iterator[list[np.ndarray[Any, Any]]]:
    """Two arrays with nothing for 32 GB behind them: elsewhere there may be memory of others."""
    private, usable = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE
    memory = [mmap.mmap(-1, 1 << 35, flags=private, prot=0) for _ in range(2)]
    places = [np.frombuffer(m, "u1", 1).ctypes.data for m in memory]
    for place in places:
        size = ctypes.c_size_t(mmap.PAGESIZE)
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(place), size, usable) == 0
    yield [np.ctypeslib.as_array((ctypes.c_float * 64).from_address(p)) for p in places]


def test_memory_that_there_is_not(lonely: list[np.ndarray[Any, Any]]) -> None:
    x, y = lonely
    far = 2**31 - 1  # 8 GB behind
    error = launched_in_two_blocks("far_away", x, y, far, 0)
    check_far(error, "float value = x[from];", "read where there is no memory, ")
    place = f"{4 * far - x.nbytes:,} bytes behind the end of `const float* x`, the nearest array"
    assert place in error.what and "damaged" not in error.what
    error = launched_in_two_blocks("far_away", x, y, 0, far)
    check_far(error, "y[to] = value;", "wrote where there is no memory, ")
    place = f"{4 * far - y.nbytes:,} bytes behind the end of `float* y`, the nearest array. Where"
    assert place in error.what and "it may have damaged this process" in error.what
    error = launched_in_two_blocks("far_away", x, None, 0, 3)
    check_far(error, "y[to] = value;", "wrote where there is no memory: parameter `float* y` is a")
    PLANTED.kernel("far_away")(2, 32, x, y, 0, 63)


def test_what_cannot_be_an_address() -> None:
    error = refused("nowhere", zeros(), 1 << 60)
    check_place(error, "x[at] = 1;")
    assert "used a vector that is not aligned, or what cannot be an address" in error.what


def test_division_by_zero() -> None:
    error = refused("divided", np.zeros(64, "i4"), 0)
    check_place(error, "x[threadIdx.x] = 7 / by;")
    assert error.what == "thread (0, 0, 0) of block (0, 0, 0) divided an integer by zero"


def test_calls_without_end() -> None:
    error = refused("without_end", np.ones(2, "i4"))
    assert "has more local variables and calls than fit on its stack" in error.what
    begin = line_of(PLANTED, "__device__ int deeper(volatile int* x, int depth) {")
    assert begin <= error.line <= begin + 3  # where it comes to the end of the stack


def test_faults_without_line_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    error = refused("divided", np.zeros(64, "i4"), 0)
    assert "by zero" in error.what and (error.file, error.line) == ("", 0)


def test_faults_that_are_not_of_a_kernel() -> None:
    """They go where they went before: to Python's fault handler, and that ends the process."""
    before = (
        "import ctypes, threading, faulthandler, numpy as np\n"
        "from minigrad_kernels.cuda import EmulatorError, Source\n"
        "faulthandler.enable()\n"
        f"planted = Source({str(PLANTED.path)!r})\n"
        "x = np.zeros(2, 'i4')\n"
    )
    after_a_kernel = (
        "try:\n    planted.kernel('divided')(1, 1, x, 0)\n"
        "except EmulatorError:\n    ctypes.string_at(0)\n"
    )
    beside_a_kernel = (
        "run = planted.kernel('until_told')\n"
        "threading.Thread(target=run, args=(1, 1, x), daemon=True).start()\n"
        "while not x[0]:\n    pass\n"
        "ctypes.string_at(0)\n"
    )
    sent_to_it = (
        "import os, signal\n"
        "def send():\n    while not x[0]:\n        pass\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "threading.Thread(target=send, daemon=True).start()\n"
        "planted.kernel('until_told')(1, 1, x)\n"
    )
    for code in (after_a_kernel, beside_a_kernel, sent_to_it):
        process = processes.start(before + code)
        _, told = process.communicate(timeout=processes.PATIENCE)
        assert process.returncode == -signal.SIGSEGV, told
        assert "Fatal Python error: Segmentation fault" in told


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
    before = kept(tmp_path)
    names = "".join(f"{name}\n" for name in sorted(before))
    headers = r"(headers-[0-9a-f]{24}/cuda_on_cpu\.h\.gch\n)?"  # g++ keeps them, clang++ does not
    assert re.fullmatch(headers + r"planted-[0-9a-f]{24}\.so\n", names), names
    processes.run(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert kept(tmp_path) == before, "compiled again"


def kept(cache: Path) -> dict[str, int]:
    """The files that the emulator keeps: their names and numbers, which another file has not."""
    folder = cache / "cuda-on-cpu"
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.stat().st_ino for p in files}


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
