"""On which GPUs the kernels have been verified, at which commit: what verified.json says.

`make gpu` writes it, on a machine with a GPU, after all tests have run there. What is not in it has
never run on a GPU, however well it does on the emulator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = Path(__file__).with_name("verified.json")
NOTHING = "nothing has run on a GPU yet"


@dataclass(frozen=True)
class Run:
    """All tests, once, on one GPU.

    Attributes:
        gpu: its model.
        capability: its compute capability: "9.0".
        commit: of the sources; it ends in "-dirty" if they were changed.
        date: the day.
        versions: of the driver, CUDA and CuPy.
        passed, failed: how many tests did.
        kernels: for each implementation, as "kernel, label", whether all its tests passed.
        sanitizer: what compute-sanitizer said of each of its tools; empty if it was not there.
    """

    gpu: str
    capability: str
    commit: str
    date: str
    versions: dict[str, str]
    passed: int
    failed: int
    kernels: dict[str, bool] = field(default_factory=dict)
    sanitizer: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        good = sum(self.kernels.values())
        words = f"{self.gpu}: {good} of {len(self.kernels)} implementations, {self.passed} tests"
        words += f" passed, {self.failed} failed" if self.failed else " passed"
        return f"{words}; commit {self.commit}, {self.date}"


def runs(file: Path = FILE) -> list[Run]:
    """What the file says: one run, the latest, for each model of GPU.

    Raises:
        ValueError: if it does not hold runs.
    """
    try:
        return [Run(**run) for run in json.loads(file.read_text(encoding="utf-8"))["runs"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} does not hold runs: {error}") from None


def record(run: Run, file: Path = FILE) -> None:
    """Write a run to the file, in the place of an earlier one on the same model of GPU."""
    kept = [asdict(r) for r in runs(file) if r.gpu != run.gpu]
    written = {"runs": [*kept, asdict(run)]}
    file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def of_kernel(name: str, label: str, known: Sequence[Run]) -> str:
    """Where an implementation of a kernel has been verified, in words."""
    key = f"{name}, {label}"
    found = [(r.gpu, r.kernels[key]) for r in known if key in r.kernels]
    if not found:
        return "on no GPU yet"
    return ", ".join(f"on {gpu}" if good else f"fails on {gpu}" for gpu, good in found)


def sentence(known: Sequence[Run]) -> str:
    """The state of things, for the README."""
    if not known:
        return f"CUDA kernels verified on a GPU: none, {NOTHING}."
    return "CUDA kernels verified on a GPU: " + "; ".join(map(str, known)) + "."
