"""Memory errors and races in CUDA kernels, found on the CPU.

Kernels run on the emulator in a child process in which a sanitizer watches every access to memory:
the address sanitizer for reads and writes outside of arrays, shared ones included (`memcheck`), the
thread sanitizer for accesses of two threads that no barrier orders (`racecheck`).

>>> check("softmax", "racecheck")  # doctest: +SKIP
[]
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import linecache
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..registry import KERNELS, Arguments, Implementation, Kernel
from .emulator import build
from .emulator.run import any_launched
from .errors import EmulatorError
from .lint.launches import Variant, accepted, effort

TOOLS = {"memcheck": "address", "racecheck": "thread"}
"""The tools, named as NVIDIA's compute-sanitizer names its own, and the sanitizer of each."""

_LIBRARIES = {"address": "asan", "thread": "tsan"}
_MACHINE = platform.machine()
_FILES = ("lib{}.so", f"libclang_rt.{{}}-{_MACHINE}.so", "libclang_rt.{}.so")
"""What g++ calls a sanitizer's library, and clang++, which may keep it in a folder for each CPU."""
_OPTIONS = {
    "address": {
        "ASAN_OPTIONS": "halt_on_error=0:detect_leaks=0:exitcode=0:log_path={log}"
        ":detect_stack_use_after_return=0:allocator_may_return_null=1:handle_abort=1"
    },
    "thread": {
        # Python and its libraries were not compiled for it: what they do is not looked at. For each
        # thread of a block, 128,000 accesses are remembered, in 1 MB.
        "TSAN_OPTIONS": "halt_on_error=0:exitcode=0:log_path={log}:history_size=2"
        ":ignore_noninstrumented_modules=1:report_thread_leaks=0:report_signal_unsafe=0"
        # It need not wait at the end for what other threads still do: all kernels have run.
        ":atexit_sleep_ms=0"
    },
}
_WORDS = {
    "heap-buffer-overflow": "outside of an array",
    "global-buffer-overflow": "outside of an array in shared or constant memory",
    "use-after-poison": "behind the dynamic shared memory",
    "stack-buffer-overflow": "outside of a local array",
    "dynamic-stack-buffer-overflow": "outside of a local array",
    "heap-use-after-free": "in an array that no longer exists",
    "SEGV": "where there is no memory",
}
_FAULTS = {
    "FPE": "an integer is divided by zero",
    "stack-overflow": "local variables and calls do not fit on the stack of a thread",
}
_NO_ADDRESS = "caused by a dereference of a high value address"
"""What a sanitizer says where the processor does not tell the address."""

_REPORT = re.compile(
    r"^(?:==\d+==ERROR: (?:Address|Thread)Sanitizer: (?P<memory>[\w-]+)"
    r"|WARNING: ThreadSanitizer: (?P<race>[\w ]+) \()",
    re.MULTILINE,
)
_ACCESS = re.compile(
    r"(?:^|\n)\s*(?:Previous )?(?:atomic )?(?P<what>read|write) of size (?P<size>\d+)"
    r"|caused by a (?P<segv>READ|WRITE) memory access",
    re.IGNORECASE,
)
_FRAME = re.compile(
    r"^\s*#\d+ (?:0x[0-9a-f]+ in )?(.+?) (\S+?):(\d+)(?::\d+)?(?: \(.*)?$", re.MULTILINE
)


MANY = 1 << 14
"""CUDA threads of a call above which a quick check passes it over if others will do."""


@dataclass(frozen=True)
class Finding:
    """Something wrong that a kernel did.

    Attributes:
        tool: who found it: `"memcheck"`, `"racecheck"`, or `"emulator"` for what it reports itself.
        what: what it is, in words.
        file, line: where; empty and 0 where that is not known.
        text: that line of the source.
        other: where the other thread of a race has been, as `file:line`; empty where that is not
            known, and for what is no race.
        function: the function there.
    """

    tool: str
    what: str
    file: str = ""
    line: int = 0
    text: str = ""
    other: str = ""
    function: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        inside = f" (in {self.function})" if self.function else ""
        source = f"\n    {self.text}" if self.text else ""
        return f"{place}{self.what}{inside}{source}"


Run = str | Path | Callable[[], object]


def check(
    run: Run | Sequence[Run], tool: str = "memcheck", *, quick: bool = False
) -> list[Finding]:
    """Run kernels under a sanitizer and return what it found, each place once.

    Args:
        run: the name of one of this package's kernels, which is tried on all its samples, or
            `"kernel:name"` for one of its CUDA implementations; a Python file, which is run as a
            program; `"file.py:function"` or a function of a module, which is called without
            arguments. Each of these launches the kernels to be checked. Several in a list are run
            one after the other: they share what it takes to start.
        tool: `"memcheck"` or `"racecheck"`.
        quick: try kernels on the samples in single precision only: those in double precision
            are converted. Mostly the code is the same, and half of it need not be compiled. And
            samples that take very many threads are run only if they launch what others do not.

    Raises:
        ValueError: for another tool, or something that cannot be run.
        RuntimeError: if the sanitizer is not installed, the program failed by itself, with the end
            of what it wrote, or nothing was launched that the sanitizer could watch.
    """
    if tool not in TOOLS:
        raise ValueError(f"tool must be one of {', '.join(TOOLS)}, not {tool!r}")
    several: list[Any] = list(run) if isinstance(run, (list, tuple)) else [run]
    targets = [_target(r) for r in several]
    with tempfile.TemporaryDirectory(prefix="minigrad-check-") as folder:
        errors = Path(folder) / "errors.json"
        log = Path(folder) / "log"
        ended = subprocess.run(
            [*_command(tool), json.dumps([targets, quick, str(errors)])],
            env=_environment(TOOLS[tool], log),
            capture_output=True,
            text=True,
            check=False,
        )
        reports = "".join(p.read_text(errors="replace") for p in sorted(Path(folder).glob("log*")))
        findings = _findings(reports, tool)
        names = ", ".join(target[-1] or target[1] for target in targets)
        if errors.exists():
            launched, reported = json.loads(errors.read_text())
            if not launched:
                raise RuntimeError(f"{names} launched no CUDA kernel on NumPy arrays")
            findings += [_of_the_emulator(e) for e in reported]
        elif not findings:  # it did not get to its end
            told = (ended.stdout + ended.stderr + reports).strip()[-3000:]
            raise RuntimeError(f"{names} failed under {tool}:\n{told}")
    return list(dict.fromkeys(findings))


# What to run


def _target(run: str | Path | Callable[[], object]) -> list[str]:
    """What to run in words for another process: how, and what."""
    if callable(run):
        file, name = inspect.getsourcefile(run), run.__qualname__
        if file is None or "." in name or "<" in name:
            raise ValueError(f"{run!r} must be a function that a module defines, to be found again")
        return ["function", file, name]
    file, _, name = str(run).partition(":")
    if file.endswith(".py"):
        if not Path(file).is_file():
            raise ValueError(f"there is no file {file!r}")
        return ["function", file, name] if name else ["program", file]
    if file not in KERNELS:
        raise ValueError(f"{str(run)!r} is neither a kernel nor a Python file")
    names = implementations(file)
    if not names:
        raise ValueError(f"the kernel {file} has no CUDA implementation")
    if name and name not in names:
        raise ValueError(
            f"the kernel {file} has no CUDA implementation {name!r}; there are {', '.join(names)}"
        )
    return ["kernel", file, name]


def implementations(kernel: str) -> list[str]:
    """The names of a kernel's CUDA implementations, the preferred one first."""
    return [i.name for i in KERNELS[kernel].implementations if i.backend == "cuda-on-cpu"]


def _command(tool: str) -> list[str]:
    code = "from minigrad_kernels.cuda.check import in_child; in_child()"
    command = [sys.executable, "-c", code]
    # The thread sanitizer wants memory at certain addresses, which random ones may occupy.
    setarch = shutil.which("setarch")
    return [setarch, "-R", *command] if setarch and tool == "racecheck" else command


def _environment(sanitizer: str, log: Path) -> dict[str, str]:
    options = {name: text.format(log=log) for name, text in _OPTIONS[sanitizer].items()}
    return {
        **os.environ,
        **options,
        "LD_PRELOAD": _sanitizer_library(sanitizer),
        build.SANITIZE: sanitizer,
        "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONFAULTHANDLER": "",
    }


def _sanitizer_library(sanitizer: str) -> str:
    """The library that must be loaded before Python's own."""
    why = build.reason()
    if why:
        raise RuntimeError(why)
    names = [name.format(_LIBRARIES[sanitizer]) for name in _FILES]
    names = names[1:] if build.is_clang() else names[:1]  # clang++ would find that of g++, too
    for name in names:
        found = subprocess.run(
            [*(build.compiler() or ()), f"-print-file-name={name}"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        if os.path.isabs(found):
            return os.path.realpath(found)
    wanted = " or ".join(names)
    raise RuntimeError(f"{wanted}, the {sanitizer} sanitizer of the C++ compiler, was not found")


# In the child process


def in_child() -> None:
    """Run what the command line says; write to a file if it launched a kernel, and its errors.

    These are the emulator's own: the sanitizer writes what it finds to its log.
    """
    targets, quick, errors = json.loads(sys.argv[1])
    found: list[EmulatorError] = []
    for target in targets:
        if target[0] == "kernel":
            found += run_samples(target[1], target[2], quick=quick)
        else:
            try:
                _call(target)
            except EmulatorError as error:
                found.append(error)
    reported = [[e.kernel, e.what, e.file, e.line] for e in found]
    Path(errors).write_text(json.dumps([any_launched(), reported]))


def _call(target: list[str]) -> None:
    how, file, *names = target
    sys.path.insert(0, str(Path(file).resolve().parent))  # where Python looks first, for a program
    if how == "program":
        _run_program(file)
    else:
        _call_function(file, *names)


def _run_program(file: str) -> None:
    sys.argv = [file]
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        if end.code:
            sys.exit(f"the program ended with {end.code!r}")


def _call_function(file: str, name: str) -> None:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        sys.exit(f"there is no function {name!r} in {file}")
    function()


def run_samples(name: str, only: str = "", *, quick: bool = False) -> Iterator[EmulatorError]:
    """Run the CUDA implementations of a kernel, or one, on the samples that they accept.

    Yields the errors of the emulator; for `quick` see `check`.
    """
    kernel = KERNELS[name]
    for i in kernel.implementations:
        if i.backend != "cuda-on-cpu" or only not in ("", i.name):
            continue
        for call in _calls(kernel, i, quick):
            try:
                i.run(*call.args, **call.options)
            except EmulatorError as error:
                yield error


def _calls(kernel: Kernel, i: Implementation, quick: bool) -> list[Arguments]:
    """The samples of a kernel that an implementation accepts; for `quick` see `check`."""
    drawn = kernel.samples(np.random.default_rng(7))
    calls = [
        Arguments(_converted(call.args, quick), _converted(call.options, quick)) for call in drawn
    ]
    calls = [call for call in calls if accepted(i, call)]
    return _needed(i, calls) if quick else calls


def _needed(i: Implementation, calls: list[Arguments]) -> list[Arguments]:
    """The calls of few threads, and those of many that launch what calls of fewer do not."""
    reached: set[Variant] = set()
    needed = []
    efforts = [(call, *effort(i, call)) for call in calls]
    for call, variants, threads in sorted(efforts, key=lambda entry: entry[2]):
        if threads <= MANY or variants - reached:
            needed.append(call)
        reached |= variants
    return needed


def _converted(value: Any, single: bool) -> Any:
    """Arguments where NumPy's scalars are arrays; for `single`, float32 where they are float64."""
    if isinstance(value, (np.ndarray, np.generic)):
        x = np.asarray(value)
        return x.astype(np.float32) if single and x.dtype == np.float64 else x
    if isinstance(value, dict):
        return {key: _converted(v, single) for key, v in value.items()}
    return (
        type(value)(_converted(v, single) for v in value) if type(value) in (list, tuple) else value
    )


# What the sanitizers report


def _of_the_emulator(error: list[Any]) -> Finding:
    kernel, what, file, line = error
    return Finding("emulator", what, file, line, _line(file, line), function=kernel)


def _findings(reports: str, tool: str) -> list[Finding]:
    starts = [m.start() for m in _REPORT.finditer(reports)]
    ends = [*starts, len(reports)][1:]
    return [_finding(reports[i:j], tool) for i, j in zip(starts, ends, strict=True)]


def _finding(report: str, tool: str) -> Finding:
    head = _REPORT.match(report)
    assert head is not None
    accesses = list(_ACCESS.finditer(report))
    ends = [m.start() for m in accesses[1:]] + [len(report)]
    places = [_place(report[m.start() : end]) for m, end in zip(accesses, ends, strict=False)]
    function, file, line = places[0] if places else _place(report)
    first = _done(accesses[0]) if accesses else "access"
    other = ""
    if head["race"]:
        what = f"race: {first}"
        if len(places) > 1:
            other = f"{places[1][1]}:{places[1][2]}" if places[1][1] else ""  # long ago
            where = f" in {other}" if other else ""
            what += f", and {_done(accesses[1])} of another thread{where}, in no order"
    elif head["memory"] in _FAULTS:
        what = _FAULTS[head["memory"]]
    elif _NO_ADDRESS in report:
        what = "a vector is not aligned to its size, or what is used as an address cannot be one"
    else:
        what = f"{first} {_WORDS.get(head['memory'], head['memory'])}"
    return Finding(tool, what, file, line, _line(file, line), other, function)


def _done(access: re.Match[str]) -> str:
    if access["segv"]:
        return access["segv"].lower()
    return f"{access['what'].lower()} of {access['size']} bytes"


def _place(stack: str) -> tuple[str, str, int]:
    """Function, file and line of the innermost call in a source that is not the emulator's own."""
    frames = [(m[1], m[2], int(m[3])) for m in _FRAME.finditer(stack)]
    for function, file, line in frames:
        if not Path(file).resolve().is_relative_to(build.HEADERS.resolve()):
            return function.split("(")[0].rpartition("::")[2], file, line
    return frames[0] if frames else ("", "", 0)


def _line(file: str, line: int) -> str:
    return linecache.getline(file, line).strip()
