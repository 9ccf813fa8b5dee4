"""What the emulator asks of C++ compilers: debugging information, and where sanitizers lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minigrad_kernels import BACKENDS
from minigrad_kernels.cuda import Source, check
from minigrad_kernels.cuda.emulator import build

with_compiler = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=str(BACKENDS["cuda-on-cpu"].reason)
)

ROOTS = """extern "C" __global__ void roots(float* x) {
  float number = x[threadIdx.x];
  x[threadIdx.x] = sqrtf(number);
}
"""


@with_compiler
def test_libraries_for_a_debugger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They name the file and its variables; others do not."""
    (tmp_path / "roots.cu").write_text(ROOTS)
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "cache"))
    usual = build.library(Source(tmp_path / "roots.cu")).read_bytes()
    monkeypatch.setenv(build.DEBUG, "1")
    source = Source(tmp_path / "roots.cu")
    debugged = build.library(source).read_bytes()
    for word in (b".debug_line", b"roots.cu", b"number"):
        assert word in debugged
        assert word not in usual
    x = np.array([4, 9], "f4")
    source.kernel("roots")(1, 2, x)
    np.testing.assert_array_equal(x, [2, 3])


def test_a_debugger_wants_nothing_optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of several levels counts; sanitizers can be had beside it."""
    for sanitizer in build.SANITIZERS:
        monkeypatch.setenv(build.SANITIZE, sanitizer)
        monkeypatch.setenv(build.DEBUG, "1")
        assert [flag for flag in build.flags() if flag.startswith("-O")][-1] == "-O0"
        monkeypatch.setenv(build.DEBUG, "")
        assert [flag for flag in build.flags() if flag.startswith("-O")][-1] != "-O0"


def stand_in(path: Path, version: str, library: Path) -> None:
    """A compiler that says its version, and knows where one file lies."""
    path.write_text(
        "#!/bin/sh\n"
        f"echo '{version}' >&2\n"
        'case "$1" in\n'
        f"  -print-file-name={library.name}) echo '{library}';;\n"
        '  -print-file-name=*) echo "${1#*=}";;\n'
        "esac\n"
    )
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "file", "missing"),
    [
        ("gcc version 12.2.0", "libtsan.so", "libasan.so, the address sanitizer"),
        ("clang version 17.0.6", "libclang_rt.tsan.so", "or libclang_rt.asan.so, the address"),
        ("Debian clang version 14", f"libclang_rt.tsan-{check._MACHINE}.so", "libclang_rt.asan-"),
    ],
)
def test_where_the_sanitizers_of_a_compiler_lie(
    version: str, file: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path / "c++", version, tmp_path / file)
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    assert build.is_clang() == ("clang" in version)
    assert check._sanitizer_library("thread") == str((tmp_path / file).resolve())
    with pytest.raises(RuntimeError, match=missing):
        check._sanitizer_library("address")
