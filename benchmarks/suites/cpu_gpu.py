"""CPU against GPU: every implementation of some kernels, on 1 KB to 1 GB.

Sizes are the bytes that a kernel must read and write. A time is that of the device, warm: of a GPU
by its own events. Beside it stand the first call at that size ("cold", with its memory, and once
with compiling or loading the code), what Python and the driver take to launch, and the time with
the inputs brought to the GPU and the result brought back. The error is the largest difference from
the definition in float64, over the largest number, of a part of the result.

Without a GPU, the definition, the kernels compiled for the CPU and, up to a small size, the
emulator are compared, and what is missing is said.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from minigrad import machine
from minigrad_kernels import BACKENDS, KERNELS, Arguments, Cost, Implementation, arguments
from minigrad_kernels.workloads import Random, channels_last

from .. import device as devices
from ..crossover import Curve, crossover, in_bytes
from ..device import Gpu, as_list
from ..harness import Budget, Case, Contender, Row, columns, in_words, spread

BUDGET = Budget(seconds=0.0, rounds=7, pause=0.0)
BATCH = 0.002
"""Seconds of work that are timed at once."""

SIZES = tuple(1 << power for power in range(10, 31, 2))
"""Bytes: 1 KB to 1 GB."""

SLOWEST = 1.0
"""Seconds: an implementation takes no part at sizes where a run would take longer."""

EMULATED = 1 << 16
"""Bytes up to which the emulator takes part."""

PART = 1 << 16
"""Elements of a result, or so, that are compared with the definition's in float64."""


# The kernels, in any size


@dataclass(frozen=True)
class Sweep:
    """A kernel in any size.

    Attributes:
        kernel: its name.
        make: its call, given the bytes that it shall move, and random numbers.
        part: a small call whose results are a part of another's, and these, given both.
    """

    kernel: str
    make: Callable[[int, Random], Arguments]
    part: Callable[[Arguments, Any], tuple[Arguments, Any]]


def _first_rows(call: Arguments, result: Any) -> tuple[Arguments, Any]:
    """Of a kernel that does the same to every row."""
    x = call.args[0]
    count = max(1, min(len(x), PART * len(x) // x.size))
    args = tuple(a[:count] if a.shape[:1] == x.shape[:1] else a for a in call.args)
    return Arguments(args, call.options), result[:count]


def _first_columns(call: Arguments, result: Any) -> tuple[Arguments, Any]:
    """Of a kernel that does the same to every column."""
    x = call.args[0]
    count = max(1, min(x.shape[1], 64))
    return Arguments((x[:, :count],), call.options), result[:count]


def _product_rows(call: Arguments, result: Any) -> tuple[Arguments, Any]:
    a, b = call.args
    return arguments(a[:4], b), result[:4]


def _flat(arrays: int, **options: Any) -> Callable[[int, Random], Arguments]:
    def make(size: int, draw: Random) -> Arguments:
        return arguments(*(draw.normal(size // 4 // arrays) for _ in range(arrays - 1)), **options)

    return make


def _rows(size: int, draw: Random) -> tuple[Any, int]:
    width = min(1024, size // 8)
    return draw.normal(size // 8 // width, width), width


def _softmax(size: int, draw: Random) -> Arguments:
    return arguments(_rows(size, draw)[0], axis=-1)


def _layer_norm(size: int, draw: Random) -> Arguments:
    x, width = _rows(size, draw)
    return arguments(x, *draw.normal(2, width), eps=1e-5)


def _sums(size: int, draw: Random) -> Arguments:
    width = min(1024, size // 4)
    return arguments(draw.normal(size // 4 // width, width), axes=(0,), keepdims=False)


def _matmul(size: int, draw: Random) -> Arguments:
    side = int((size / 12) ** 0.5)
    return arguments(draw.normal(side, side), draw.normal(side, side))


def _adam(size: int, draw: Random) -> Arguments:
    p, g, m = (draw.normal(size // 28) for _ in "pgm")
    options: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.0, "maximize": False}
    options |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "step": 10, "decoupled": False}
    return arguments(p, g, m, draw.uniform(size // 28), **options)


def _convolution(size: int, draw: Random) -> Arguments:
    channels, pixels = (64, 28) if size >= 1 << 20 else (8, 8)
    images = max(1, size // (8 * channels * pixels**2))
    x = channels_last(draw.normal, (images, channels, pixels, pixels))
    options: dict[str, Any] = {"stride": (1, 1), "padding": ((1, 1), (1, 1))}
    return arguments(x, draw.normal(channels, channels, 3, 3), **options, dilation=(1, 1), groups=1)


SWEEPS = (
    Sweep("relu", _flat(2), _first_rows),
    Sweep("softmax", _softmax, _first_rows),
    Sweep("layer_norm", _layer_norm, _first_rows),
    Sweep("sums", _sums, _first_columns),
    Sweep("adam_step", _adam, _first_rows),
    Sweep("matmul", _matmul, _product_rows),
    Sweep("conv2d", _convolution, _first_rows),
)


# What is timed


@dataclass
class Subject:
    """An implementation at one size.

    Attributes:
        implementation: of the kernel.
        where: what it is called: its label; and on which arrays, where that is not clear.
        call: its arguments, where it computes.
        gpu: the GPU, if it computes there.
        host: the arguments in main memory.
        found: the further figures.
    """

    implementation: Implementation
    where: str
    call: Arguments
    host: Arguments
    gpu: Gpu | None
    found: dict[str, float] = field(default_factory=dict)

    def work(self) -> Any:
        """Compute once."""
        return self.implementation.run(*self.call.args, **self.call.options)

    def first(self) -> float:
        """Seconds of the first call at this size."""
        start = time.perf_counter()
        self.work()
        self._wait()
        return time.perf_counter() - start

    def seconds(self, repeats: int) -> float:
        """Seconds of a call, of so many in a row; the GPU's own, where it has one."""
        if self.gpu is not None:
            return self.gpu.seconds(self.work, repeats)
        start = time.perf_counter()
        for _ in range(repeats):
            self.work()
        return (time.perf_counter() - start) / repeats

    def _wait(self) -> None:
        if self.gpu is not None:
            self.gpu.synchronize()

    def with_transfer(self) -> float:
        """Seconds of a call whose inputs come from main memory and whose result goes there."""
        assert self.gpu is not None
        start = time.perf_counter()
        moved = _moved(self.host, self.gpu)
        for y in as_list(self.implementation.run(*moved.args, **moved.options)):
            self.gpu.host(y)
        return time.perf_counter() - start


def _moved(call: Arguments, gpu: Gpu) -> Arguments:
    args = tuple(gpu.array(a) if isinstance(a, np.ndarray) else a for a in call.args)
    return Arguments(args, call.options)


class SweepCase(Case):
    """A kernel at one size."""

    sweep: Sweep
    size: int
    cost: Cost
    subjects: list[Subject]


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """One case for each kernel and size, as far as memory and time allow."""
    gpu = devices.found()
    assert gpu is None or isinstance(gpu, Gpu)
    for words in missing():
        print(words)
    sizes = SIZES[:4] if quick else SIZES
    for sweep in SWEEPS:
        slow: dict[str, float] = {}
        for size in sizes:
            if 4 * size > (machine.memory() or 1 << 32):
                break
            case = _case(sweep, size, gpu, slow)
            if case is not None:
                yield case
                _note_slow(case, slow)


def missing() -> list[str]:
    """The backends that take no part, and why."""
    return [
        f"{b.name} takes no part: {b.reason}" for b in BACKENDS.values() if b.reason is not None
    ]


def _note_slow(case: SweepCase, slow: dict[str, float]) -> None:
    """Remember how long a run took, for the next size."""
    for s in case.subjects:
        slow[s.where] = s.found.get("warm", 0.0)  # nothing, where the case was not measured


def _case(sweep: Sweep, size: int, gpu: Gpu | None, slow: dict[str, float]) -> SweepCase | None:
    call = sweep.make(size, Random())
    subjects = [
        s
        for s in _subjects(KERNELS[sweep.kernel].implementations, call, gpu)
        if 8 * slow.get(s.where, 0.0) < SLOWEST  # products grow so from one size to the next
        and (s.implementation.backend != "cuda-on-cpu" or size <= EMULATED)
    ]
    if not subjects:
        return None
    case = SweepCase(f"{sweep.kernel}, {in_bytes(size)}", [_contender(s) for s in subjects])
    case.sweep, case.size, case.subjects = sweep, size, subjects
    case.cost = KERNELS[sweep.kernel].cost(*call.args, **call.options)
    return case


def _subjects(
    implementations: Sequence[Implementation], call: Arguments, gpu: Gpu | None
) -> Iterator[Subject]:
    """Whoever takes such a call, the definition first; it runs in both places."""
    there = None if gpu is None else _moved(call, gpu)
    for i in reversed(implementations):
        if i.reason is not None or not _accepts(i, call):
            continue
        if i.backend == "cuda-on-cpu" and i.name != "cuda-on-cpu":
            continue  # the rungs of ladders are to be read there, not to be timed
        if "numpy" in BACKENDS[i.backend].arrays:
            yield Subject(i, i.label, call, call, None)
        if there is not None and "cupy" in BACKENDS[i.backend].arrays:
            where = f"{i.label} (CuPy)" if i.backend == "reference" else i.label
            yield Subject(i, where, there, call, gpu)


def _accepts(i: Implementation, call: Arguments) -> bool:
    return i.accepts is None or i.accepts(*call.args, **call.options)


def _contender(s: Subject) -> Contender:
    repeats: list[int] = []

    def run() -> float:
        if not repeats:
            s.found["cold"] = s.first()
            repeats.append(max(1, min(1000, round(BATCH / max(s.seconds(1), 1e-7)))))
        return s.seconds(repeats[0])

    return Contender(s.where, run, lambda _: [], measures_itself=True)


# Figures


def rows(suite: str, case: SweepCase, times: Sequence[Sequence[float]]) -> list[Row]:
    """One row for each implementation."""
    found = []
    for s, seconds in zip(case.subjects, times, strict=True):
        median = statistics.median(seconds)
        s.found["warm"] = median
        figures = {
            "bytes": float(case.size),
            "MB": case.cost.bytes / 1e6,
            "GFLOP": case.cost.flops / 1e9,
            "GFLOP/s": case.cost.flops / median / 1e9,
            "GB/s": case.cost.bytes / median / 1e9,
            "cold": s.found["cold"],
            "error": error(case.sweep, s),
        }
        if s.gpu is not None:
            figures["launch"] = s.gpu.launch_seconds(s.work, 5)
            figures["with transfer"] = statistics.median(s.with_transfer() for _ in range(3))
        found.append(
            Row(suite, case.name, median, None, None, None, spread(seconds), "", figures,
                contender=s.where)
        )  # fmt: skip
    return found


def error(sweep: Sweep, s: Subject) -> float:
    """The largest difference from the definition in float64, over its largest number."""
    result = s.work()
    several = [(Arguments((), {}), y) for y in as_list(result)]
    small, _ = sweep.part(s.call, several[0][1])
    narrow = [np.asarray(_home(s, a)) for a in small.args]
    wide = [a.astype("f8") if a.dtype == np.float32 else a for a in narrow]
    wanted = as_list(KERNELS[sweep.kernel].reference(*wide, **small.options))
    worst = 0.0
    for y, z in zip(as_list(result), wanted, strict=True):
        got = _home(s, sweep.part(s.call, y)[1])
        difference = float(np.abs(got.astype("f8") - z).max(initial=0.0))
        worst = max(worst, difference / max(float(np.abs(z).max(initial=0.0)), 1e-30))
    return worst


def _home(s: Subject, x: Any) -> np.ndarray:
    return x if s.gpu is None else s.gpu.host(x)


# Who wins from where on


def crossovers(results: Sequence[Any]) -> list[tuple[str, str, str]]:
    """For each kernel (its name, who over whom, from where on).

    The best of the kernels compiled for the CPU over the definition there; the best on the GPU over
    the best on the CPU, with its transfers and without.
    """
    found = []
    plain = [r if isinstance(r, dict) else vars(r) for r in results]
    for kernel in dict.fromkeys(r["case"].partition(",")[0] for r in plain):
        mine = [r for r in plain if r["case"].partition(",")[0] == kernel]
        cpu = _best(mine, lambda r: r["contender"].startswith("numba"))
        slow = _best(mine, lambda r: r["contender"] == "reference")
        gpu = _best(mine, _on_gpu)
        carried = _best(mine, _on_gpu, "with transfer")
        either = _best(
            mine, lambda r: r["contender"].startswith(("numba", "reference")) and not _on_gpu(r)
        )
        for words, first, second in (
            ("Numba over the definition", slow, cpu),
            ("GPU over CPU", either, gpu),
            ("GPU over CPU, with transfers", either, carried),
        ):
            if first is not None and second is not None:
                found.append((kernel, words, str(crossover(first, second))))
    return found


def _on_gpu(row: Any) -> bool:
    return "launch" in row["figures"]


def _best(results: Sequence[Any], which: Callable[[Any], bool], figure: str = "") -> Curve | None:
    """The fastest of some implementations at each size; None if there are none."""
    at: dict[float, tuple[float, float]] = {}
    for r in results:
        if which(r):
            size = r["figures"]["bytes"]
            seconds = r["figures"][figure] if figure else r["ours"]
            at[size] = min(at.get(size, (float("inf"), 0.0)), (seconds, r["spread"]))
    if not at:
        return None
    sizes = sorted(at)
    return Curve(sizes, [at[s][0] for s in sizes], [at[s][1] for s in sizes])


def table(results: Sequence[Row]) -> str:
    """The rows as text; then who wins from where on, and who takes no part."""
    lines = [
        ["kernel", "implementation", "time", "spread", "GB/s", "GFLOP/s", "cold", "launch"]
        + ["with transfer", "error"]
    ]
    for r in results:
        f = r.figures
        lines.append(
            [r.case, r.contender, in_words(r.ours), f"{r.spread:.0%}", f"{f['GB/s']:.2f}"]
            + [f"{f['GFLOP/s']:.2f}", in_words(f["cold"]), in_words(f.get("launch"))]
            + [in_words(f.get("with transfer")), f"{f['error']:.1e}"]
        )
    text = [columns(lines, left=(0, 1)), ""]
    text += [f"{kernel}: {words} {where}" for kernel, words, where in crossovers(results)]
    return "\n".join([*text, *missing()])
