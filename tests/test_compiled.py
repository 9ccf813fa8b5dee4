"""Compiled code on disk: what processes that share it see, and what damage to it does."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import processes
import pytest

from minigrad_kernels.cpu import cache
from minigrad_kernels.cpu.compiled import CHUNK, chunks, compiled, span

RELU = """
import numpy as np
import minigrad_kernels as kernels

for dtype in DTYPES:
    x = np.linspace(-1, 1, 3001, dtype=dtype)
    assert kernels.relu.explain(x).startswith("relu: numba")
    assert (kernels.relu(x) == kernels.relu.reference(x)).all()
"""


def relu(*dtypes: str) -> str:
    """A program that computes relu with compiled code for each of the types."""
    return RELU.replace("DTYPES", repr(dtypes))


def files(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


# Processes


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    processes.run(relu("f4"), MINIGRAD_CACHE_DIR=str(tmp_path))
    before = files(tmp_path)
    assert len(before) == 1
    stamps = [p.stat().st_mtime_ns for p in tmp_path.rglob("*.nbc")]
    code = (
        relu("f4")
        + """
from minigrad_kernels.cpu.activation import _relu
assert sum(_relu.serial.stats.cache_hits.values()) == 1, _relu.serial.stats
assert not _relu.serial.stats.cache_misses
"""
    )
    processes.run(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert files(tmp_path) == before
    assert [p.stat().st_mtime_ns for p in tmp_path.rglob("*.nbc")] == stamps


def test_processes_that_start_at_once(tmp_path: Path) -> None:
    """In an empty cache, for the same and for other types: whole files, and no other ones."""
    variables = {"MINIGRAD_CACHE_DIR": str(tmp_path)}
    both = [processes.start(relu(*types), **variables) for types in (("f4", "f8"), ("f8", "f4"))]
    for process in both:
        processes.finish(process)
    before = files(tmp_path)
    assert len(before) == 2
    processes.run(relu("f8", "f4"), **variables)
    assert files(tmp_path) == before


def _cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _one_bit(content: bytes) -> bytes:
    return content[:-500] + bytes([content[-500] ^ 1]) + content[-499:]


def test_damaged_files_count_as_missing(tmp_path: Path) -> None:
    """In one process for several kinds of damage, as each loads its file when first called."""
    variables = {"MINIGRAD_CACHE_DIR": str(tmp_path)}
    processes.run(relu("f4", "f8"), **variables)
    before = files(tmp_path)
    assert len(before) == 2
    for path, damage in zip(sorted(tmp_path.rglob("*.nbc")), (_cut_short, _one_bit), strict=True):
        path.write_bytes(damage(path.read_bytes()))
    processes.run(relu("f4", "f8"), **variables)
    assert {name: len(c) for name, c in files(tmp_path).items()} == {
        name: len(c) for name, c in before.items()
    }


def test_code_for_another_processor_lies_beside(tmp_path: Path) -> None:
    variables = {"MINIGRAD_CACHE_DIR": str(tmp_path)}
    processes.run(relu("f4"), **variables)
    before = files(tmp_path)
    processes.run(relu("f4"), NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", **variables)
    after = files(tmp_path)
    assert len(after) == 2
    assert before.items() < after.items()


def test_a_directory_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "import warnings; warnings.simplefilter('always')\n" + relu("f4", "f8")
    code += "x = np.linspace(-1, 1, 100_003)\nkernels.relu(x); kernels.relu_gradient(x, x)\n"
    _, err = processes.run(code, MINIGRAD_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert err.count("RuntimeWarning: minigrad cannot keep compiled kernels") == 1
    assert "set MINIGRAD_CACHE_DIR to a directory that can be written" in err


def test_a_directory_that_goes_while_it_is_used(tmp_path: Path) -> None:
    code = "import warnings; warnings.simplefilter('always')\n" + relu("f4")
    code += f"import shutil; shutil.rmtree({str(tmp_path)!r})\n"
    code += relu("f8", "f4")
    _, err = processes.run(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert err.count("RuntimeWarning: minigrad cannot keep compiled kernels") == 1


# Directories


def test_where_code_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    assert cache.cache_directory().parent == tmp_path
    monkeypatch.delenv("MINIGRAD_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache.cache_directory().parent == tmp_path / "xdg" / "minigrad"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache.cache_directory().parent == tmp_path / ".cache" / "minigrad"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache.cache_directory().parent == tmp_path / "Library" / "Caches" / "minigrad"


def test_without_a_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MINIGRAD_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(cache, "_warned", False)
    with pytest.warns(RuntimeWarning, match="Could not determine home directory"):
        assert cache.writable_directory.__wrapped__() is None


def test_other_sources_lie_in_another_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "cache.py"
    monkeypatch.setattr(cache, "__file__", str(source))
    names = []
    for text in ("x = 1", "x = 2", "x = 1"):
        source.write_text(text)
        names.append(cache._sources.__wrapped__())
    assert names[0] == names[2] != names[1]


def test_directories_that_nothing_has_used_for_long_are_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    for name in ("compiled-old", "compiled-recent", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.nbc").touch()
    month_ago = time.time() - cache.UNUSED - 60
    for name in ("compiled-old", "other"):
        os.utime(tmp_path / name, (month_ago, month_ago))
    made = cache.writable_directory.__wrapped__()
    assert made == cache.cache_directory()
    assert {p.name for p in tmp_path.iterdir()} == {made.name, "compiled-recent", "other"}


def test_using_a_directory_marks_it_as_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    made = cache.writable_directory.__wrapped__()
    os.utime(made, (1e9, 1e9))
    assert cache.writable_directory.__wrapped__() == made
    assert time.time() - made.stat().st_mtime < 3600
    assert not list(made.iterdir())


# Files


@pytest.mark.parametrize(
    "damage",
    [
        _cut_short,
        _one_bit,
        lambda c: b"",
        lambda c: c[:32],
        lambda c: c + b"0",
        lambda c: b"x" * 999,
    ],
    ids=["cut short", "one bit", "empty", "digest alone", "longer", "other content"],
)
def test_a_damaged_file(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = cache._Files(tmp_path, "f")
    store.save(("key",), b"code" * 1000)
    assert store.load(("key",)) == b"code" * 1000
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert store.load(("key",)) is None
    store.save(("key",), b"new")
    assert store.load(("key",)) == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_keys_and_functions_do_not_mix(tmp_path: Path) -> None:
    one, other = cache._Files(tmp_path, "one"), cache._Files(tmp_path, "other")
    for n, store in enumerate((one, other)):
        for key in ("a", "b"):
            store.save(key, (n, key))
    assert one.load("a") == (0, "a")
    assert other.load("b") == (1, "b")
    assert one.load("c") is None
    one.flush()
    assert one.load("a") is one.load("b") is None
    assert other.load("a") == (1, "a")


def test_a_file_of_another_key_under_this_name_does_not_count(tmp_path: Path) -> None:
    store = cache._Files(tmp_path, "f")
    store.save("a", 1)
    shutil.copy(store._path("a"), store._path("b"))
    assert store.load("a") == 1
    assert store.load("b") is None


def test_an_edited_file_is_compiled_anew(tmp_path: Path) -> None:
    """Also where only a constant differs, which Numba's own key does not see."""
    program = tmp_path / "program.py"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import program; print(program.f(1))"
    text = "from minigrad_kernels.cpu.compiled import compiled\nN = 1\n@compiled\ndef _f(x):\n"
    text += "    return x + N\nf = _f.serial\n"
    for n in ("1", "20"):
        program.write_text(text.replace("N = 1", f"N = {n}"))
        out, _ = processes.run(code, MINIGRAD_CACHE_DIR=str(tmp_path / "cache"))
        assert int(out) == 1 + int(n)


# What is compiled


def test_chunks_of_more_elements_than_32_bits_count() -> None:
    size = 2**31 + 5
    assert chunks(size) == 2**31 // CHUNK + 1

    @numba.njit
    def ends(chunk: Any, size: Any) -> Any:
        part = span(chunk, size)
        return part.start, part.stop

    assert ends(chunks(size) - 1, size) == (2**31, size)
    assert ends(2**35, 2**60) == (2**35 * CHUNK, (2**35 + 1) * CHUNK)


def test_elements_beyond_32_bits_are_found(tmp_path: Path) -> None:
    """In a file of zeros that takes no room on the disk: only two pages are ever touched."""

    @compiled
    def _mark(x: Any, chunk: Any) -> None:
        part = x[span(chunk, x.size)]
        for i in range(part.size):
            part[i] = 1

    size = 2**31 + 5
    x = np.memmap(tmp_path / "zeros", np.int8, "w+", shape=(size,))
    _mark.serial(np.asarray(x), chunks(size) - 1)
    assert not x[2**31 - 100 : 2**31].any()
    assert x[2**31 :].all()
    assert not x[:100].any()
