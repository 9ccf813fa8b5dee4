"""`minigrad cuda-check`, and the example of a student who plants a race and sees it found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from minigrad import cli
from minigrad.commands import cuda_check
from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.cuda import check as checking
from minigrad_kernels.cuda.check import Finding
from minigrad_kernels.cuda.emulator import build

EXAMPLE = Path(__file__).parent.parent / "examples" / "cuda_race.py"

here_on_cpu = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

SCAN = """
extern "C" __global__ void shift(float* x) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = tile[63 - threadIdx.x];
}
extern "C" __global__ void too_far(float* x) {
  x[threadIdx.x + 1] = 1;
}
"""
PROGRAM = """
from pathlib import Path
import numpy as np
from minigrad_kernels.cuda import kernel
SOURCE = Path(__file__).with_suffix(".cu")

def shift():
    kernel(SOURCE, "shift")(1, 64, np.zeros(64, "f4"))

def too_far():
    kernel(SOURCE, "too_far")(1, 64, np.zeros(64, "f4"))

def nothing():
    kernel(SOURCE, "too_far")(1, 63, np.zeros(64, "f4"))

def fails():
    raise ZeroDivisionError("planted")

if __name__ == "__main__":
    too_far()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "scan.cu").write_text(SCAN)
    (tmp_path / "scan.py").write_text(PROGRAM)
    return tmp_path / "scan.py"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["cuda-check", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


# What it finds


@here_on_cpu
def test_the_planted_race_is_found_and_the_mended_kernel_is_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLE.parent)  # below it, files are named as seen from there
    source = EXAMPLE.with_suffix(".cu")
    line = 1 + source.read_text().splitlines().index(
        "    if (i >= distance) sums[i] += sums[i - distance];"
    )
    status, shown, _ = run(capsys, f"{EXAMPLE}:with_race", "--tool", "racecheck")
    assert status == 1
    found, place, text, *others = shown.splitlines()
    assert found == f"{EXAMPLE}:with_race: racecheck: 1 found" and not others
    assert place.startswith(f"  {source.name}:{line}: race: ")
    assert f"of another thread in {source.name}:" in place
    assert text.strip() == f"{line} | if (i >= distance) sums[i] += sums[i - distance];"
    status, shown, _ = run(capsys, f"{EXAMPLE}:mended")
    assert status == 0
    assert shown.splitlines() == [
        f"{EXAMPLE}:mended: {tool}: nothing found" for tool in ("memcheck", "racecheck")
    ]


@here_on_cpu
def test_the_example_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    from test_examples import load

    load("cuda_race").main([])
    assert capsys.readouterr().out.splitlines() == [
        "scan_with_race, threads forward: the sums are WRONG",
        "scan_with_race, threads reverse: the sums are right",
        "scan, threads forward: the sums are right",
        "scan, threads reverse: the sums are right",
        "racecheck of with_race: 1 found",
        "  line 15: race: read of 4 bytes in",
        "    if (i >= distance) sums[i] += sums[i - distance];",
        "racecheck of mended: nothing found",
    ]


@here_on_cpu
def test_both_lines_of_a_race(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, _ = run(capsys, f"{program}:shift", "--tool", "racecheck")
    assert status == 1
    assert "    4 | tile[threadIdx.x] = x[threadIdx.x];" in shown
    assert "    5 | x[threadIdx.x] = tile[63 - threadIdx.x];" in shown


@here_on_cpu
@pytest.mark.parametrize("what", ["scan.cu", "scan.py", "scan.py:too_far"])
def test_memory_errors(what: str, program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, _ = run(capsys, str(program.with_name(what)), "--tool", "memcheck")
    assert status == 1
    assert "memcheck: 1 found\n" in shown
    assert f"{program.with_suffix('.cu')}:8: write of 4 bytes outside of an array" in shown
    assert "    8 | x[threadIdx.x + 1] = 1;" in shown


@here_on_cpu
def test_nothing_found(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, error = run(capsys, f"{program}:nothing", "--tool", "memcheck")
    assert (status, shown, error) == (0, f"{program}:nothing: memcheck: nothing found\n", "")


@here_on_cpu
def test_one_implementation_of_a_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    what = "max_pool2d_gradient:atomic"
    status, shown, _ = run(capsys, what, "--tool", "racecheck")
    assert (status, shown) == (0, f"{what}: racecheck: nothing found\n")


# What it says of the rest


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, _ = run(capsys, "--list")
    assert status == 0
    told = {line.split()[0]: line for line in shown.splitlines()}
    on_cuda = [k for k in KERNELS if checking.implementations(k)]
    assert list(told) == on_cuda and "max_pool2d_gather" in told
    assert told["max_pool2d_gradient"].split()[1:] == ["cuda-on-cpu,", "atomic"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ([], "name a kernel, a program or a source; --list shows the kernels"),
        (["softest"], "'softest' is neither a kernel nor a Python file"),
        (["max_pool2d_gradient:fast"], "no CUDA implementation 'fast'; there are cuda-on-cpu, at"),
        (["nowhere.cu"], "there is no file 'nowhere.cu'"),
        (["nowhere.py"], "there is no file 'nowhere.py'"),
    ],
)
def test_what_cannot_be_checked(
    what: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown, error = run(capsys, *what)
    assert (status, shown) == (2, "")
    assert error.startswith("minigrad cuda-check: ") and words in error


def test_a_source_that_nothing_launches(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.unlink()
    status, _, error = run(capsys, str(program.with_suffix(".cu")))
    assert status == 2
    assert f"needs a program that launches its kernels; none is in {program}" in error


@here_on_cpu
def test_a_program_that_fails(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = run(capsys, f"{program}:fails", "--tool", "memcheck")
    assert status == 2 and "ZeroDivisionError: planted" in error


def test_without_a_compiler_or_a_sanitizer(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "reason", lambda: "no C++ compiler was found")
    status, _, error = run(capsys, f"{program}:shift")
    assert (status, error) == (2, "minigrad cuda-check: no C++ compiler was found\n")
    monkeypatch.setattr(build, "reason", lambda: None)
    monkeypatch.setattr(build, "compiler", lambda: [sys.executable, "-c", "print('libasan.so')"])
    status, _, error = run(capsys, f"{program}:shift")
    assert status == 2
    assert "libasan.so, the address sanitizer of the C++ compiler, was not found" in error


def test_a_finding_without_a_place() -> None:
    finding: Any = Finding("memcheck", "read where there is no memory")
    assert list(cuda_check.described(finding)) == ["  read where there is no memory"]
