"""Sources that launch code could misread, compilers that fail, and libraries that were damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import processes
import pytest

from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.cuda import CompileError, Source
from minigrad_kernels.cuda.emulator import build, run
from minigrad_kernels.cuda.source import INCLUDE

here_on_cpu = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

FILL = 'extern "C" __global__ void fill(float* y) { y[threadIdx.x] = VALUE; }\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file to a folder of the test, given its name and text."""

    def to(name: str, text: str) -> Path:
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return to


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests keep libraries that they do not damage: the headers are compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as the cache."""
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(folder))
    return build.cache_directory()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty; gives the folder for libraries."""
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return build.cache_directory()


def filled(path: Path, **definitions: str | int) -> float:
    y = np.zeros(1, "f4")
    Source(path, **definitions).kernel("fill")(1, 1, y)
    return float(y[0])


# A change to anything that is compiled compiles it anew


@here_on_cpu
@pytest.mark.parametrize("include", ['"value.cuh"', "<value.cuh>"])
def test_a_header_that_was_edited(include: str, write: Callable[..., Path], shared: Path) -> None:
    path = write("fill.cu", f"#include {include}\n{FILL}")
    for value in (1, 100):
        write("value.cuh", f"#define VALUE SCALE * {value}\n")
        assert filled(path, SCALE=2) == 2 * value


@here_on_cpu
def test_a_header_beside_the_source_that_another_folder_includes(
    write: Callable[..., Path], shared: Path
) -> None:
    path = write("fill.cu", f'#include "deep/outer.cuh"\n{FILL}')
    outer = write("deep/outer.cuh", '#include "inner.cuh"\n')
    for value in (1, 100):
        inner = write("inner.cuh", f"#define VALUE {value}\n")
        assert filled(path) == value
        assert set(Source(path).files) == {path, outer, inner}


def test_headers_of_the_system_are_not_ours(write: Callable[..., Path]) -> None:
    own = write("own.cuh", "")
    text = (
        '#include <cuda_fp16.h>\n#include <own.cuh>\n#include <minigrad.cuh>\n#include "lost.h"\n'
    )
    source = Source(write("a.cu", text))
    assert set(source.files) >= {source.path, own, INCLUDE / "minigrad.cuh"}
    assert source.prelude.count("#include") == source.prelude.count("#include <cuda_fp16.h>") == 1


@here_on_cpu
def test_a_source_that_was_edited_between_two_runs(
    write: Callable[..., Path], shared: Path
) -> None:
    for value in (1, 2):
        path = write("fill.cu", FILL.replace("VALUE", str(value)))
        code = (
            "import numpy as np; from minigrad_kernels.cuda import kernel\n"
            f"y = np.zeros(1, 'f4'); kernel({str(path)!r}, 'fill')(1, 1, y); print(y[0])"
        )
        out, _ = processes.run(code, MINIGRAD_CACHE_DIR=str(shared.parent))
        assert float(out) == value


# What the text leaves open


CONDITIONAL = """
#ifdef WIDE
{wide}
#else
{narrow}
#endif
extern "C" __global__ void fill(float* y, {type} x) {{ y[0] = x; }}
"""


@pytest.mark.parametrize(
    ("wide", "narrow", "name"),
    [
        ("#define REAL double", "#define REAL float", "REAL"),
        ("using Real = double;", "using Real = float;", "Real"),
        ("typedef double Real;", "typedef float Real;", "Real"),
        ("#define REAL float\n#define NUMBER double", "#define NUMBER REAL", "NUMBER"),
    ],
)
def test_a_type_that_depends_on_conditions(
    wide: str, narrow: str, name: str, write: Callable[..., Path]
) -> None:
    """Launch code evaluates none: it would pass the bits of a number of another type."""
    text = CONDITIONAL.format(wide=wide, narrow=narrow, type=name)
    with pytest.raises(
        ValueError,
        match=rf"a\.cu: kernel fill: in the parameter '{name} x', {name} stands for \w+ or",
    ):
        Source(write("a.cu", text), WIDE=1).kernel("fill")


def test_a_definition_decides_where_the_text_lets_it(write: Callable[..., Path]) -> None:
    for guard in ("#ifndef REAL", "#if !defined(REAL)"):
        text = CONDITIONAL.format(
            wide="", narrow=f"{guard}\n#define REAL float\n#endif", type="REAL"
        )
        source = Source(write("a.cu", text), REAL="double")
        assert str(source.kernels["fill"].parameters[1]) == "double x"
        assert str(Source(source.path).kernels["fill"].parameters[1]) == "float x"
    text = CONDITIONAL.format(wide="", narrow="#define REAL float", type="REAL")
    with pytest.raises(ValueError, match="REAL stands for double or float"):
        Source(write("a.cu", text), REAL="double").kernel("fill")


def test_names_that_no_parameter_needs_may_mean_anything(write: Callable[..., Path]) -> None:
    text = CONDITIONAL.format(
        wide="#define x 1\n#define THREADS 32", narrow="#define THREADS 64", type="float"
    ).replace("void", "void __launch_bounds__(THREADS)")
    assert Source(write("a.cu", text)).kernels["fill"].most_threads == 1024


def test_a_kernel_that_is_there_twice(write: Callable[..., Path]) -> None:
    kernels = [f'extern "C" __global__ void fill({p}) {{}}\n' for p in ("float* y", "double* y")]
    with pytest.raises(ValueError, match=r"a\.cu: kernel fill is there twice, with other param"):
        _ = Source(write("a.cu", "#if WIDE\n{}#else\n{}#endif".format(*kernels))).kernels
    same = write("a.cu", "#if WIDE\n{0}#else\n{0}#endif".format(*kernels))
    assert list(Source(same).kernels) == ["fill"]


def test_a_source_that_is_no_text(write: Callable[..., Path]) -> None:
    path = write("a.cu", FILL)
    path.write_bytes("// è\n".encode("latin-1") + FILL.encode())
    with pytest.raises(ValueError, match=r"a\.cu is not in UTF-8: .* at byte 3"):
        Source(path).kernel("fill")
    header = write("b.cu", '#include "a.cu"\n')
    with pytest.raises(ValueError, match=r"a\.cu is not in UTF-8"):
        _ = Source(header).digest


@here_on_cpu
def test_marks_and_line_ends_of_editors(write: Callable[..., Path], shared: Path) -> None:
    assert filled(write("a.cu", "\ufeff" + FILL.replace("\n", "\r\n")), VALUE=3) == 3


# Compilers


@here_on_cpu
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("false", "does not compile:\nfalse ended with status 1, without a word"),
        ("true", "does not compile:\ntrue ended with status 0, without a word"),
        ("{file}", "cannot be compiled: .*Exec format error"),
        ('g++ "', "cannot be compiled: the C\\+\\+ compiler 'g\\+\\+ \"', which .* was not found"),
        ("{compiler} --no-such-option", "does not compile:\n(.*\n)*.*no-such-option"),
    ],
)
def test_a_compiler_that_fails(
    command: str,
    words: str,
    write: Callable[..., Path],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write("not-a-program", "\x7f")
    file.chmod(0o755)
    path = write("a.cu", FILL)
    found = " ".join(build.compiler() or [])
    monkeypatch.setenv("CXX", command.format(file=file, compiler=found))
    with pytest.raises(CompileError, match=rf"a\.cu \(VALUE=1\) {words}"):
        filled(path, VALUE=1)
    assert not [p for p in cache.rglob("*") if p.is_file()], "something was left in the cache"
    monkeypatch.setenv("CXX", found)
    assert filled(path, VALUE=1) == 1


def test_a_strange_name_of_a_compiler_harms_nobody_else() -> None:
    code = "import numpy as np, minigrad_kernels as k\nprint(k.softmax(np.ones(4), axis=0).sum())"
    out, _ = processes.run(code, CXX='g++ "')
    assert float(out) == 1


# Damaged caches


@here_on_cpu
@pytest.mark.parametrize("share", [0, 0.002, 0.5, 0.99, None])
def test_a_library_that_was_cut_off(
    share: float | None, write: Callable[..., Path], shared: Path
) -> None:
    """By a full disk, or when the power went: it is compiled anew. (None: it is something else.)

    In a process of its own, which loading half a library would kill.
    """
    path = write("fill.cu", FILL.replace("VALUE", "7"))
    whole = build.library(Source(path))
    content = whole.read_bytes()
    whole.unlink()  # and not overwritten: somebody may have loaded it
    whole.write_bytes(b"nothing" if share is None else content[: int(share * len(content))])
    code = (
        "import numpy as np; from minigrad_kernels.cuda import kernel\n"
        f"y = np.zeros(1, 'f4'); kernel({str(path)!r}, 'fill')(1, 1, y); print(y[0])"
    )
    out, _ = processes.run(code, MINIGRAD_CACHE_DIR=str(shared.parent))
    assert float(out) == 7
    assert whole.stat().st_size == len(content)


@here_on_cpu
def test_a_library_that_cannot_be_loaded(
    write: Callable[..., Path], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(f"{path}: failed to map segment from shared object")

    path = write("fill.cu", FILL)
    with monkeypatch.context() as patched:
        patched.setattr(run, "_loaded", refuse)
        with pytest.raises(CompileError, match=r"fill\.cu .* is compiled, but not loaded: .* map"):
            filled(path, VALUE=1)
    assert filled(path, VALUE=1) == 1


@here_on_cpu
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_headers_that_were_cut_off(share: float, write: Callable[..., Path], cache: Path) -> None:
    path = write("fill.cu", FILL)
    assert filled(path, VALUE=1) == 1
    for kept in cache.glob("headers-*/*.gch"):  # g++ keeps them, clang++ does not
        content = kept.read_bytes()
        shutil.rmtree(kept.parent)
        kept.parent.mkdir()
        kept.write_bytes(content[: int(share * len(content))])
    assert filled(path, VALUE=2) == 2


# Arrays of several classes


@here_on_cpu
def test_arrays_from_files_go_with_others(tmp_path: Path) -> None:
    """NumPy's subclasses are arrays of one device."""
    g = np.memmap(tmp_path / "g", "f4", "w+", shape=(3, 5))
    g[...] = np.arange(15).reshape(3, 5)
    y = np.full((3, 5), 0.2, "f4")
    k = KERNELS["softmax_gradient"]
    run_it = next(i.run for i in k.implementations if i.backend == "cuda-on-cpu")
    for pair in ((g, y), (y, g), (g, g)):
        np.testing.assert_allclose(
            run_it(*pair, axis=1), k.reference(*map(np.asarray, pair), axis=1), atol=1e-5
        )
