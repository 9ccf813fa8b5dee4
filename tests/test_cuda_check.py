"""Memcheck and racecheck of CUDA kernels: they find what was planted, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS
from minigrad_kernels.cuda import Source
from minigrad_kernels.cuda.check import Finding, check

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

HERE = Path(__file__).parent / "cuda"
PLANTED = Source(HERE / "planted.cu")
OPERATIONS = Source(HERE / "operations.cu")
TENSOR_CORES = Source(HERE / "tensor_cores.cu")


def line_of(source: Source, text: str, which: int = 0) -> int:
    """The number of the line with this text."""
    return [i for i, t in enumerate(source.own_text.splitlines(), 1) if text in t][which]


def out_of_bounds() -> None:
    PLANTED.kernel("out_of_bounds")(2, 32, np.zeros(60, "f4"), 60)


def out_of_shared() -> None:
    PLANTED.kernel("out_of_shared")(1, 32, np.zeros(32, "f4"))


def behind_dynamic() -> None:
    PLANTED.kernel("behind_dynamic")(1, 32, np.zeros(32, "f4"), shared=64)


def within_bounds() -> None:
    PLANTED.kernel("out_of_bounds")(2, 32, np.zeros(60, "f4"), 59)
    PLANTED.kernel("behind_dynamic")(3, 32, np.zeros(32, "f4"), shared=128)


def far_away() -> None:
    PLANTED.kernel("far_away")(2, 32, np.zeros(64, "f4"), np.zeros(64, "f4"), 0, 2**31 - 1)


def divided() -> None:
    PLANTED.kernel("divided")(1, 32, np.zeros(64, "i4"), 0)


def without_end() -> None:
    PLANTED.kernel("without_end")(1, 1, np.ones(2, "i4"))


def nowhere() -> None:
    PLANTED.kernel("nowhere")(1, 1, np.zeros(64, "f4"), 1 << 60)


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


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize(
    ("run", "text", "what"),
    [
        (far_away, "y[to] = value;", "write where there is no memory"),
        (nowhere, "x[at] = 1;", "what is used as an address cannot be one"),
        (divided, "x[threadIdx.x] = 7 / by;", "an integer is divided by zero"),
        (without_end, "deeper(x, depth + 1)", "do not fit on the stack of a thread"),
    ],
)
def test_what_ends_the_process_is_found_first(run: Any, text: str, what: str, tool: str) -> None:
    found = the_only(check(run, tool))
    assert what in found.what and found.tool == tool
    begin, at = line_of(PLANTED, text) - 2, found.line  # an overflow shows anywhere in a function
    assert at == begin + 2 if run is not without_end else begin - 1 <= at <= begin + 2


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


def test_a_program_imports_what_lies_beside_it_and_may_end_itself(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(
        "import numpy as np\nfrom minigrad_kernels.cuda import kernel\n"
        f"kernel({str(PLANTED.path)!r}, 'out_of_bounds')(2, 32, np.zeros(60, 'f4'), 59)\n"
    )
    program = tmp_path / "program.py"
    program.write_text("import beside\nraise SystemExit(0)\n")
    assert check(program) == []
    program.write_text("import beside\nraise SystemExit(3)\n")
    with pytest.raises(RuntimeError, match="the program ended with 3"):
        check(program)


def test_where_nothing_is_launched_nothing_was_checked(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("def run():\n    pass\n")
    for what in (str(program), f"{program}:run"):
        with pytest.raises(RuntimeError, match="launched no CUDA kernel on NumPy arrays"):
            check(what)
    with pytest.raises(RuntimeError, match="there is no function 'walk' in "):
        check(f"{program}:walk")


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


def test_several_in_one_process() -> None:
    """Kernels of ours by their names: all of them on all samples have a file of their own."""
    found = check(["relu:cuda-on-cpu", out_of_shared, deadlock], "memcheck", quick=True)
    assert {f.tool: f.function for f in found} == {
        "memcheck": "out_of_shared",
        "emulator": "deadlock",
    }
