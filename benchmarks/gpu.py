"""`make gpu`: all that can be said of the CUDA kernels on this machine's GPU, in nine minutes.

The tests first: every kernel and rung in odd sizes and strides, forward and backward, the engine on
the device, graphs. Then compute-sanitizer, if it is installed. Then the benchmarks, beside PyTorch
if it is there. Results go to benchmarks/results/<gpu>.json and its page; what was verified goes to
the file that `minigrad info` and the README show.

Nothing is installed: NumPy, Numba, CuPy, pytest and hypothesis must be there, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad_kernels import KERNELS
from minigrad_kernels.cuda import CompileError, verified

from . import gpu_goals
from .device import Emulator, Gpu
from .goals import table
from .run import commit

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BUILD = ROOT / "build" / "gpu"

SUITES = ("gpu", "cpu-gpu")
SECONDS = {"compiling": 60, "tests": 180, "sanitizer": 50, "gpu": 120, "cpu-gpu": 50}
"""What each part may take, before the last piece of it begins: less than eight minutes in all."""

DEVICE_TESTS = (
    *("on_gpu", "cuda_graph", "cuda_graph_training", "flat_on_gpu", "device", "other_arrays"),
    *("cuda_operations", "late_checks"),
)
BEGIN, END = "<!-- verified: written by `make gpu` -->", "<!-- end of verified -->"


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    p.add_argument("--bench", action="store_true", help="the benchmarks alone")
    p.add_argument("--tests", action="store_true", help="the tests and the sanitizer alone")
    p.add_argument("--dry-run", action="store_true",
                   help="on the emulator, a few of everything: tries this program, writes nothing "
                   "but into --output")  # fmt: skip
    p.add_argument("--compile", help=argparse.SUPPRESS)  # "2/8": the third of eight shares
    p.add_argument("--output", type=Path, help="the folder for results (benchmarks/results)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run it.

    Returns:
        0; 1 if a test failed, or there is no GPU.
    """
    options = parser().parse_args(argv)
    if options.compile:
        return compile_share(*map(int, options.compile.split("/")))
    device = _device(options.dry_run)
    if device is None:
        print(f"make gpu: there is no GPU: {mg.cuda.reason()}", file=sys.stderr)
        return 1
    begin = time.monotonic()
    print(f"{device.name}: " + ", ".join(f"{k} {v}" for k, v in device.about().items()))
    outcome = None
    if device.is_gpu:
        compile_all()
    if not options.bench:
        outcome = tests(device)
        if shutil.which("compute-sanitizer") and device.is_gpu:
            outcome.sanitizer = sanitizer()
        print(outcome.words(), flush=True)
        if device.is_gpu:
            _record(device, outcome)
    if not options.tests:
        folder = options.output or (BUILD if options.dry_run else RESULTS)
        _benchmarks(device, folder)
    print(f"{time.monotonic() - begin:.0f} s in all")
    return 1 if outcome is not None and (outcome.failed or not outcome.passed) else 0


def _device(dry_run: bool) -> Emulator | None:
    if dry_run:
        return Emulator()
    return Gpu() if mg.cuda.is_available() else None


def _environment() -> dict[str, str]:
    """For child processes: they find what this one has found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in (*sys.path, str(ROOT)) if p)}


# Compiling


def compile_all() -> None:
    """Compile all that launch code launches, in several processes: CuPy keeps it on disk.

    One after the other, on first use, it would take minutes of the tests' time.
    """
    shares = min(8, len(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "benchmarks.gpu", "--compile"]
    running = [
        subprocess.Popen([*command, f"{share}/{shares}"], cwd=ROOT, env=_environment())
        for share in range(shares)
    ]
    end = time.monotonic() + SECONDS["compiling"]
    for process in running:
        try:
            process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def compile_share(share: int, shares: int) -> int:
    """Compile every so-manieth of the sources for this GPU.

    Returns:
        how many do not compile: their tests will say why.
    """
    import cupy  # type: ignore[import-not-found,unused-ignore]

    from minigrad_kernels.cuda.lint import recorded
    from minigrad_kernels.cuda.nvidia import launcher

    here = f"sm_{cupy.cuda.Device().compute_capability}a"
    sources = {s.digest: s for s in recorded().values() if s.only in (None, here)}
    wrong = 0
    for digest in sorted(sources)[share::shares]:
        source = sources[digest]
        try:
            launcher(source, next(iter(source.kernels.values())))
        except CompileError as error:
            print(error, file=sys.stderr)
            wrong += 1
    return wrong


# Tests


@dataclass
class Outcome:
    """What the tests said.

    Attributes:
        passed, failed: how many.
        kernels: for each implementation, as "kernel, label", whether all its tests passed.
        failures: the names of tests that failed, and why.
        sanitizer: what compute-sanitizer said.
    """

    passed: int = 0
    failed: int = 0
    kernels: dict[str, bool] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    sanitizer: dict[str, str] = field(default_factory=dict)

    def words(self) -> str:
        """All of it, as text."""
        good = sum(self.kernels.values())
        lines = [
            f"tests: {self.passed} passed, {self.failed} failed; "
            f"{good} of {len(self.kernels)} implementations are right",
            *(f"  {failure}" for failure in self.failures),
            *(f"{tool}: {said}" for tool, said in self.sanitizer.items()),
        ]
        return "\n".join(lines)


def tests(device: Emulator) -> Outcome:
    """Run them in a process of their own; a GPU that an error has stopped harms only that."""
    paths = [ROOT / "tests" / f"test_{name}.py" for name in DEVICE_TESTS]
    files = [str(path) for path in paths if path.exists()]
    every = str(ROOT / "tests" / "test_every_implementation.py")
    # The names of its tests are those of kernel, backend and implementation.
    parts = [("every", [every, "-k", "cuda and not cuda-on-cpu"]), ("device", files)]
    if not device.is_gpu:
        parts = [("device", [files[0], "-k", "softmax or twins"])]
    outcome = Outcome()
    end = time.monotonic() + SECONDS["tests"]
    for name, arguments in parts:
        report = BUILD / f"{name}.xml"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        command += [f"--junitxml={report}", "--no-header"]
        if find_spec("xdist") and device.is_gpu:
            command += ["-n", "6"]
        _run(command, max(20.0, end - time.monotonic()))
        read_report(report, outcome)
    return outcome


def _run(command: Sequence[str], seconds: float) -> None:
    """Run a command, but not for longer; its output is shown."""
    try:
        subprocess.run(command, cwd=ROOT, env=_environment(), check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        print(f"stopped after {seconds:.0f} s: {' '.join(command)}", file=sys.stderr)


_CASE = re.compile(r"\[(?P<kernel>\w+)-(?:cuda-)?(?P<name>[\w-]+?)\]$")


def read_report(report: Path, outcome: Outcome) -> None:
    """Add what a JUnit file of pytest's says. A test run that left none has failed."""
    if not report.exists():
        outcome.failed += 1
        outcome.failures.append(f"{report.stem}: the tests ended without a report")
        return
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        wrong = [child for child in case if child.tag in ("failure", "error")]
        if not wrong and case.find("skipped") is not None:
            continue
        outcome.passed += not wrong
        outcome.failed += bool(wrong)
        name = case.get("name", "")
        if wrong:
            first = (wrong[0].get("message") or "").splitlines() or [""]
            outcome.failures.append(f"{name}: {first[0][:200]}")
        _note_kernel(name, not wrong, outcome)


def _note_kernel(name: str, good: bool, outcome: Outcome) -> None:
    """Note for an implementation of a kernel that one of its tests has passed or failed."""
    found = _CASE.search(name)
    if found is None or found["kernel"] not in KERNELS:
        return
    for i in KERNELS[found["kernel"]].implementations:
        if i.backend == "cuda" and i.name == found["name"]:
            key = f"{found['kernel']}, {i.label}"
            outcome.kernels[key] = outcome.kernels.get(key, True) and good


def sanitizer() -> dict[str, str]:
    """What NVIDIA's compute-sanitizer finds while the kernels run on their samples."""
    found = {}
    test = str(ROOT / "tests" / "test_on_gpu.py")
    for tool in ("memcheck", "racecheck"):
        command = ["compute-sanitizer", "--tool", tool, "--print-limit", "5", sys.executable]
        command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", test, "-k", "on_the_device"]
        try:
            run = subprocess.run(
                command,
                cwd=ROOT,
                env=_environment(),
                check=False,
                timeout=SECONDS["sanitizer"] / 2,
                capture_output=True,
                text=True,
            )
            lines = [line for line in run.stdout.splitlines() if "SUMMARY" in line]
            found[tool] = lines[-1].strip("= ") if lines else "said nothing"
        except subprocess.TimeoutExpired:
            found[tool] = f"nothing in {SECONDS['sanitizer'] // 2} s, then it was stopped"
    return found


def _record(device: Emulator, outcome: Outcome) -> None:
    """Write down what has been verified, for `minigrad info` and the README."""
    about = device.about()
    versions = {key: about[key] for key in ("driver_cuda", "runtime_cuda", "cupy")}
    run = verified.Run(
        device.name,
        about["capability"],
        commit() or "unknown",
        time.strftime("%Y-%m-%d", time.gmtime()),
        versions,
        outcome.passed,
        outcome.failed,
        outcome.kernels,
        outcome.sanitizer,
    )
    verified.record(run)
    rewrite_readme(ROOT / "README.md", verified.sentence(verified.runs()))


def rewrite_readme(file: Path, sentence: str) -> None:
    """Put a sentence between the marks.

    Raises:
        ValueError: if the file has none.
    """
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} has no lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n\n{sentence}\n\n{END}{after}", encoding="utf-8")


# Benchmarks


def _benchmarks(device: Emulator, folder: Path) -> None:
    """Measure, each suite in a process of its own, and write the results and the page."""
    from . import report

    parts = []
    for suite in SUITES:
        file = BUILD / f"{suite}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks", suite, "--json", str(file)]
        command += ["--limit", str(SECONDS[suite])]
        command += ["--peers", "torch"] if find_spec("torch") and device.is_gpu else []
        command += [] if device.is_gpu else ["--quick", "--emulated", "--only", "softmax"]
        _run(command, 1.3 * SECONDS[suite])
        if file.exists():
            parts.append(json.loads(file.read_text(encoding="utf-8")))
    if not parts:
        print("the benchmarks ended without results", file=sys.stderr)
        return
    results = report.merged(parts)
    results["machine"]["gpu"] = device.about()
    written = write(results, folder)
    print(f"\n{table(gpu_goals.goals(results['rows']))}\n\nwrote {', '.join(map(str, written))}")


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """The results as JSON and, where matplotlib and jinja2 are, as a page."""
    from . import report

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{report.file_name(results['machine']['gpu']['name'])}.json"
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not (find_spec("matplotlib") and find_spec("jinja2")):
        print(f"no page: `python -m benchmarks report --from {target}` writes it elsewhere")
        return [target]
    from . import page

    target.with_suffix(".html").write_text(page.page(results), encoding="utf-8")
    return [target, target.with_suffix(".html")]


if __name__ == "__main__":
    raise SystemExit(main())
