"""What NVIDIA's compiler makes of the CUDA kernels: no spills, wide loads where they are meant.

It needs no GPU, but NVRTC and a disassembler: `make lint-cuda` installs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minigrad_kernels.cuda.errors import CompileError
from minigrad_kernels.cuda.lint import __main__ as command, check, facts, launches, toolkit
from minigrad_kernels.cuda.lint.expectations import expected
from minigrad_kernels.cuda.lint.facts import ARCHITECTURES, Facts
from minigrad_kernels.cuda.lint.launches import Launched
from minigrad_kernels.cuda.source import FOLDER, Source

FILES = sorted(path.name for path in FOLDER.glob("*.cu"))

with_compiler = pytest.mark.skipif(toolkit.reason() is not None, reason=str(toolkit.reason()))


@with_compiler
@pytest.mark.parametrize("name", FILES)
def test_machine_code(name: str) -> None:
    """Of every kernel, as its launch code launches it, on every architecture."""
    assert any(key.file == name for key in launches.recorded()), "nothing launches its kernels"
    problems = check.check_file(name)
    assert not problems, "\n".join(problems)


def test_launch_code_asks_for_what_is_expected() -> None:
    """Large arrays are loaded 16 bytes at a time, odd ones number by number; rows in two ways."""
    found = {
        dict(key.definitions)["WIDTH"] + dict(key.definitions)["TEAM"]
        for key in launches.recorded()
        if key.kernel == "softmax" and ("T", "float") in key.definitions
    }
    assert found == {"1WarpTeam", "4WarpTeam", "4BlockTeam", "1BlockTeam"}


def test_nothing_runs_while_launches_are_recorded() -> None:
    import numpy as np

    from minigrad_kernels import KERNELS

    (i,) = [i for i in KERNELS["relu"].implementations if i.backend == "cuda-on-cpu"]
    x, out = np.ones((3, 5), "f4"), np.full((3, 5), 7, "f4")
    with launches.launches() as found:
        i.run(x, out=out)
    assert len(found) == 1 and (out == 7).all()
    assert launches.KernelFunction.__call__.__name__ == "__call__"


# Kernels that are wrong on purpose

BROKEN = {
    "spills": (
        """extern "C" __global__ void __launch_bounds__(1024) f(const float* x, float* y) {
  float a[96];
#pragma unroll
  for (int i = 0; i < 96; i++) a[i] = x[threadIdx.x + 1024 * i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 96; i++) y[threadIdx.x + 1024 * i] = a[i] * a[95 - i] + a[(i * 7) % 96];
}""",
        r"on sm_90: spills \d+ bytes of registers",
    ),
    "an array that is indexed by a variable": (
        """extern "C" __global__ void f(const int* x, float* y) {
  float a[16];
  for (int i = 0; i < 16; i++) a[x[i] & 15] = y[i];
  y[threadIdx.x] = a[x[threadIdx.x] & 15];
}""",
        "64 bytes of stack, 0 are allowed",
    ),
    "a double constant": (
        'extern "C" __global__ void f(float* y) { y[threadIdx.x] = y[threadIdx.x] * 1.1; }',
        "computes in double precision, which no definition names",
    ),
    "narrow loads": (
        """// expect: LDG.128 STG.128
extern "C" __global__ void f(float4* y) {
  y[threadIdx.x].x += 1;
}""",
        r"has no instruction LDG\.128\n.*has no instruction STG\.128",
    ),
    "no tensor cores": (
        """// expect: HMMA from sm_80
extern "C" __global__ void f(float* y) { y[0] = 1; }""",
        "^f.cu: f on sm_80: has no instruction HMMA\nf.cu: f on sm_90: has no instruction HMMA$",
    ),
    "more registers than expected": (
        """// expect: registers <= 4
extern "C" __global__ void f(float* y) { y[threadIdx.x] += blockIdx.x; }""",
        r"\d+ registers, 4 are expected at most",
    ),
    "a block that cannot start": (
        """extern "C" __global__ void __launch_bounds__(128, 1) f(const float* x, float* y) {
  float a[160];
#pragma unroll
  for (int i = 0; i < 160; i++) a[i] = x[threadIdx.x + 128 * i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 160; i++) y[threadIdx.x + 128 * i] = a[i] * a[159 - i];
}""",
        r"\d+ registers for 1024 threads: a block cannot start",
    ),
    "shared memory": (
        'extern "C" __global__ void f(float* y) { extern __shared__ float s[]; y[0] = s[0]; }',
        "^f.cu: f on sm_75: 81920 bytes of shared memory, at most 65536$",
    ),
}


def launched(tmp_path: Path, text: str, threads: int = 32, shared: int = 0) -> dict[Any, Source]:
    (tmp_path / "f.cu").write_text(text)
    return {Launched("f.cu", "f", (), threads, shared): Source(tmp_path / "f.cu")}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cuda-lint"


@with_compiler
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_found(name: str, tmp_path: Path, own_cache: Path) -> None:
    text, words = BROKEN[name]
    threads = 1024 if name == "a block that cannot start" else 32
    shared = 80 * 1024 if name == "shared memory" else 0
    problems = check.check(launched(tmp_path, text, threads, shared))
    with pytest.raises(AssertionError, match=words):
        raise AssertionError("\n".join(problems))


@with_compiler
def test_a_good_kernel_is_good(tmp_path: Path, own_cache: Path) -> None:
    text = """// Doubles numbers.
//
// expect: LDG.128 STG.128
// expect: registers <= 32
extern "C" __global__ void f(float4* y) {
  float4 x = y[threadIdx.x];
  y[threadIdx.x] = make_float4(x.x + x.x, x.y + x.y, x.z + x.z, x.w + x.w);
}"""
    assert check.check(launched(tmp_path, text)) == []


@with_compiler
def test_facts_are_kept_and_damaged_ones_made_anew(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(tmp_path / "f.cu") if launched(tmp_path, BROKEN["narrow loads"][0]) else None
    assert source is not None
    first = facts.facts([source], "sm_80")
    (kept,) = own_cache.glob("*.json")
    kept.write_text("{")
    assert facts.facts([source], "sm_80") == first
    monkeypatch.setattr(toolkit, "compiled", lambda *_: pytest.fail("compiled again"))
    assert facts.facts([source], "sm_80") == first


@with_compiler
def test_a_kernel_that_does_not_compile(tmp_path: Path, own_cache: Path) -> None:
    text = 'extern "C" __global__ void f(float* y) {\n  y[0] = nothing;\n}'
    with pytest.raises(CompileError, match=r"f\.cu does not compile for sm_75.*\nf\.cu\(2\)"):
        check.check(launched(tmp_path, text))


@with_compiler
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["softmax.cu"]) == 0
    shown = capsys.readouterr().out
    assert all(a in shown for a in ARCHITECTURES) and shown.endswith("as expected\n")
    assert command.main(["nothing.cu"]) == 1
    assert "nothing.cu; files: " in capsys.readouterr().err


def test_without_a_compiler_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolkit, "_folders", lambda: ())
    why = toolkit.reason()
    assert why == (
        "the compiler NVRTC was not found: install the extra cuda-lint, or name a CUDA toolkit in "
        "the variable CUDA_PATH"
    )
    monkeypatch.setattr(command, "reason", lambda: why)
    assert command.main([]) == 1
    assert capsys.readouterr().err == f"{why}\n"


# Instructions and expectations


def test_modifiers_come_in_any_order() -> None:
    f = Facts(9, 0, 0, 0, {"LDG.E.128.CONSTANT": 2, "LDG.E": 1, "LDGSTS.E.BYPASS.128": 4})
    assert [f.count(p) for p in ("LDG", "LDG.128", "LDGSTS.128", "LDG.64")] == [3, 2, 4, 0]


KERNELS = """// Two kernels.
// expect: registers <= 64

// The first.
// expect: LDG.128 if WIDTH > 1 and T == float
// allow: stack <= 32 if T != float
extern "C" __global__ void first(float* y) {}

// The second. Not a __global__ void third(int x) {
// expect: HMMA.16816 LDSM from sm_80
// allow: double
// needs: sm_80
extern "C" __global__ void __launch_bounds__(128, 1)
    NAME(float* y) {}
"""


def test_expectations(tmp_path: Path) -> None:
    (tmp_path / "f.cu").write_text(KERNELS)
    source = Source(tmp_path / "f.cu", T="float", WIDTH=4, NAME="second")
    first = expected(source, "first", "sm_75")
    assert (first.instructions, first.registers, first.stack) == (["LDG.128"], 64, 0)
    assert (first.double, first.needs) == (False, "sm_75")
    second = expected(source, "second", "sm_90")
    assert (second.instructions, second.registers) == (["HMMA.16816", "LDSM"], 64)
    assert (second.double, second.needs) == (True, "sm_80")
    assert expected(source, "second", "sm_75").instructions == []
    narrow = Source(tmp_path / "f.cu", T="double", WIDTH=1, NAME="second")
    first = expected(narrow, "first", "sm_80")
    assert (first.instructions, first.stack, first.double) == ([], 32, True)


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ("expect: LDG.128 if SIZE > 1", "SIZE is not among the definitions: T, WIDTH"),
        ("expect: LDG.128 if T > 1", "T is float, no number, in `T > 1`"),
        ("expect: LDG.128 if WIDTH", "cannot understand the condition `WIDTH`"),
        ("expect: LDG.128 from turing", "no architecture 'turing'"),
        ("expect: wide loads", "f.cu:2: cannot understand `expect: wide loads`"),
        ("allow: registers <= 9", "cannot understand `allow: registers <= 9`"),
        ("needs: a GPU", "cannot understand `needs: a GPU`"),
    ],
)
def test_an_expectation_that_cannot_be_understood(clause: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "f.cu").write_text(f'int x;\n// {clause}\nextern "C" __global__ void f() {{}}\n')
    with pytest.raises(ValueError, match=words):
        expected(Source(tmp_path / "f.cu", T="float", WIDTH=4), "f", "sm_80")


def test_an_expectation_that_is_for_no_kernel(tmp_path: Path) -> None:
    text = '#include <a>\n// expect: LDG.128\nint x;\nextern "C" __global__ void f() {}\n'
    (tmp_path / "f.cu").write_text(text)
    with pytest.raises(ValueError, match=r"f\.cu:2: this stands above no kernel"):
        expected(Source(tmp_path / "f.cu"), "f", "sm_80")
