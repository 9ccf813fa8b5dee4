"""Every CUDA kernel under both sanitizers: no access outside of its arrays, and no race.

The samples in double precision are run in single precision: the code is the same but for the width
of loads, and half of it need not be compiled. What the samples are too small for is called beside
them. That everything is reached is tested, and that what is wrong would be found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cuda_wide_calls
import numpy as np
import pytest

from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.cuda.check import TOOLS, check, run_samples
from minigrad_kernels.cuda.lint.launches import Launched, launches, recorded
from minigrad_kernels.cuda.source import FOLDER, Source

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

ON_CUDA = [
    name
    for name, kernel in KERNELS.items()
    if any(i.backend == "cuda-on-cpu" for i in kernel.implementations)
]


def module_of(name: str) -> str:
    return KERNELS[name].reference.__module__.rpartition(".")[2]


MODULES = list(dict.fromkeys(map(module_of, ON_CUDA)))


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_found_in_the_kernels_of(module: str, tool: str) -> None:
    """One process runs them all: it takes longer to start than most kernels do."""
    run: list[Any] = [name for name in ON_CUDA if module_of(name) == module]
    if module in cuda_wide_calls.FAMILIES:
        run.append(cuda_wide_calls.FAMILIES[module])
    found = check(run, tool, quick=True)
    assert not found, "\n".join(map(str, found))


# Is everything reached?


def test_wide_calls_are_of_kernels_that_there_are() -> None:
    assert set(cuda_wide_calls.FAMILIES) <= set(MODULES)


def variants(launched: Iterable[Launched]) -> set[tuple[Any, ...]]:
    """What is launched, with which definitions, but for other precisions than the single one."""
    return {
        key.variant
        for key in launched
        if not {value for _, value in key.definitions} & {"double", "half"}
    }


def reached(monkeypatch: pytest.MonkeyPatch) -> set[Launched]:
    """What the calls above launch; nothing runs, so that results are not compared."""
    monkeypatch.setattr(cuda_wide_calls, "check_equal", lambda *_, **__: None)
    with launches() as found, np.errstate(all="ignore"):
        for name in ON_CUDA:
            assert not list(run_samples(name, quick=True))
        for run in cuda_wide_calls.FAMILIES.values():
            run()
    return set(found)


def test_every_kernel_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {(path.name, name) for path in FOLDER.glob("*.cu") for name in Source(path).kernels}
    assert {(key.file, key.kernel) for key in reached(monkeypatch)} == there


def test_every_variant_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is launched on any sample or workload: every width of loads, team and tile."""
    missing = variants(recorded()) - variants(reached(monkeypatch))
    assert not missing, "\n".join(map(str, sorted(missing)))


# Would it be found? Faults in our own kernels, which their own samples must show


def plant(file: str, right: str, wrong: str) -> None:
    """From here on the file is read with a fault in it: in a process that then ends."""
    assert right in (FOLDER / file).read_text(encoding="utf-8")

    def own_text(self: Source) -> str:
        text = self.path.read_text(encoding="utf-8")
        return text.replace(right, wrong) if self.path.name == file else text

    Source.own_text = property(own_text)  # type: ignore[assignment]


def softmax_of_rows_that_are_not_there() -> None:
    plant("softmax.cu", "  if (TEAM::row() >= rows) return;", "")
    list(run_samples("softmax", "cuda-on-cpu", quick=True))


def softmax_without_a_barrier() -> None:
    plant("softmax_ladder.cu", "__syncthreads();  // all have read it", "//")
    list(run_samples("softmax", "2-block-per-row", quick=True))


def test_memcheck_finds_a_missing_test_of_bounds() -> None:
    found = check(softmax_of_rows_that_are_not_there, "memcheck")
    assert any(f.what == "read of 4 bytes outside of an array" for f in found), found
    assert any(f.what == "write of 4 bytes outside of an array" for f in found), found


def test_racecheck_finds_a_missing_barrier() -> None:
    found = check(softmax_without_a_barrier, "racecheck")
    assert found, "no race"
    read, written = "top = found[0];", "found[threadIdx.x] = sum;"
    lines = (FOLDER / "softmax_ladder.cu").read_text(encoding="utf-8").splitlines()
    places = {lines.index(f"  {text}") + 1 for text in (read, written)}
    assert {found[0].line, int(found[0].other.rpartition(":")[2])} == places, found
