"""What this machine is: processor, memory, versions, threads; for people and for benchmarks."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from minigrad_kernels import BACKENDS, KERNELS, Backend, threads as kernel_threads
from minigrad_kernels.cuda import verified
from minigrad_kernels.workloads import Blank, Workload, workloads

from . import __version__


def processor() -> str:
    """The processor's model name, as the system gives it."""
    if sys.platform == "darwin":
        found = _output("sysctl", "-n", "machdep.cpu.brand_string")
        if found:
            return found
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """The logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int | None:
    """Bytes of main memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def installed(package: str) -> str | None:
    """The version of an installed distribution, found without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cupy() -> str | None:
    """The version of CuPy, whose distribution is named after the CUDA it is built for."""
    names = ("cupy", "cupy-cuda12x", "cupy-cuda13x")
    return next(filter(None, map(installed, names)), None)


def caches() -> dict[int, int]:
    """Bytes of the processor's data caches by level; empty where the system does not say."""
    found = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind, level, size = (
                (folder / name).read_text().strip() for name in ("type", "level", "size")
            )
            if kind != "Instruction":
                found[int(level)] = int(size.removesuffix("K")) * 1024
        except (OSError, ValueError):  # not told, or in other words
            continue
    return dict(sorted(found.items()))


def blas() -> str:
    """The linear algebra library that NumPy was built with."""
    built = _numpy_config("Build Dependencies").get("blas", {})
    return f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()


def vector_instructions() -> list[str]:
    """The processor's vector instructions that NumPy found and uses."""
    simd = _numpy_config("SIMD Extensions")
    return [*simd.get("baseline", []), *simd.get("found", [])]


def threads() -> dict[str, int]:
    """How many threads the libraries loaded so far use, where it can be asked."""
    counts: dict[str, int] = {}
    if find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_info

        for pool in threadpool_info():
            name = Path(pool["filepath"]).name.partition(".")[0].partition("-")[0]
            counts[name] = pool["num_threads"]
    for name in ("numba", "torch"):
        ask = getattr(sys.modules.get(name), "get_num_threads", None)
        if ask is not None:
            counts[name] = int(ask())
    return counts


def describe(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """All of the above, ready for JSON; `packages` are asked for their versions too."""
    wanted = ("numpy", "scipy", "numba", *packages)
    return {
        "processor": processor(),
        "vector_instructions": vector_instructions(),
        "cores": cores(),
        "memory_bytes": memory(),
        "cache_bytes": {f"L{level}": size for level, size in caches().items()},
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {p: v for p in wanted if (v := installed(p))},
        "blas": blas(),
        "threads": threads(),
    }


def backends() -> list[tuple[str, bool, str]]:
    """Each backend of the kernels: its name, whether it runs here, and what it is or why not."""
    return [
        (b.name, b.available, _described(b) if b.reason is None else f"not here: {b.reason}")
        for b in BACKENDS.values()
    ]


def _described(backend: Backend) -> str:
    count = sum(any(i.backend == backend.name for i in k.implementations) for k in KERNELS.values())
    return f"{backend.description}; {count or 'no'} kernels"


@dataclass(frozen=True)
class Choice:
    """What runs when a kernel is called as networks call it.

    Attributes:
        kernel: its name.
        size: the shapes of the call.
        runs: the implementation, as `minigrad_kernels.use` names it.
        why: what each implementation says that is usable here; or that there is none for Numba.
    """

    kernel: str
    size: str
    runs: str
    why: str


def choices() -> list[Choice]:
    """For each kernel what runs here, and why, for the first call that `workloads` has of it.

    Nothing is computed or compiled: the implementations are only asked.
    """
    first: dict[str, Workload] = {}
    for work in workloads(Blank()):
        first.setdefault(work.kernel, work)
    return [_choice(first[name]) for name in sorted(first)]


def _runs_by_itself(backend: Backend) -> bool:
    """Whether it can be used here, and need not be asked for."""
    return backend.available and backend.automatic


def _choice(work: Workload) -> Choice:
    reasons = KERNELS[work.kernel].reasons(*work.call.args, **work.call.options)
    runs = next(i.label for i, why in reasons if why == "runs")
    said = [
        "accepts this and is worth it" if why == "runs" else f"{i.label} {why}"
        for i, why in reasons
        if i.backend == "numba"
        or (i.backend != "reference" and _runs_by_itself(BACKENDS[i.backend]))
    ]
    if not any(i.backend == "numba" for i, _ in reasons):
        said.append("no numba implementation")
    return Choice(work.kernel, work.size, runs, "; ".join(said))


@dataclass(frozen=True)
class CudaKernel:
    """A kernel that is written in CUDA.

    Attributes:
        kernel: its name.
        implementations: the names of its implementations, the best one first.
        verified: where they have been verified.
    """

    kernel: str
    implementations: tuple[str, ...]
    verified: str


def cuda_kernels() -> list[CudaKernel]:
    """The kernels that have CUDA implementations, in alphabetical order."""
    known = verified.runs()
    found = []
    for name in sorted(KERNELS):
        ours = [i for i in KERNELS[name].implementations if i.backend == "cuda"]
        labels = [i.label for i in ours]
        if labels:
            states = {i.label: verified.of_kernel(name, i.label, known) for i in ours}
            if BACKENDS["cuda"].available:
                lacking = {i.label: f"not here ({i.reason})" for i in ours if i.reason is not None}
                states.update(lacking)
            several = [
                f"{', '.join(label for label in labels if states[label] == state)} {state}"
                for state in dict.fromkeys(states.values())
            ]
            state = "; ".join(several) if len(several) > 1 else states[labels[0]]
            found.append(CudaKernel(name, tuple(labels), state))
    return found


def verified_on() -> list[str]:
    """The GPUs on which the CUDA kernels have been verified, with counts and commits, in words."""
    return [str(run) for run in verified.runs()] or [verified.NOTHING]


def pool() -> list[tuple[str, str]]:
    """How the compiled kernels of the CPU run, as labels and words: their threads, their cache."""
    if not BACKENDS["numba"].available:
        return []
    from minigrad_kernels.cpu.cache import cache_directory

    try:
        where = str(cache_directory())
    except RuntimeError as error:  # there is no home directory
        where = f"none: {error}"
    threads = f"{kernel_threads.get_num_threads()}, Numba's pool ({kernel_threads.layer()})"
    return [("threads", threads), ("compiled", where)]


def summary() -> list[tuple[str, str]]:
    """What a person wants to know of this machine, as labels and words."""
    about = describe()
    size = about["memory_bytes"]
    versions = [f"{name} {v}" for name, v in about["versions"].items()]
    versions.append(f"cupy {cupy()}" if cupy() else "cupy not installed")
    pools = [f"{name} {count}" for name, count in about["threads"].items()]
    lines = [
        ("minigrad", __version__),
        ("python", f"{about['python']}, {about['system']}"),
        ("processor", f"{about['processor']}, {about['cores']} cores"),
        ("vectors", " ".join(about["vector_instructions"]) or "unknown"),
        ("memory", "unknown" if size is None else f"{size / 2**30:.1f} GiB"),
        ("packages", ", ".join(versions)),
        ("blas", about["blas"]),
    ]
    if pools:
        lines.append(("other pools", ", ".join(pools) + " threads"))
    lines += pool()
    cuda = BACKENDS["cuda"]
    lines.append(("gpu", gpu() if cuda.available else f"none: {cuda.reason}"))
    return lines


def gpu() -> str:
    """The name and memory of the GPU that CuPy uses."""
    import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    name = properties["name"].decode()
    capability = f"{properties['major']}.{properties['minor']}"
    size = properties["totalGlobalMem"] / 2**30
    return f"{name}, compute capability {capability}, {size:.1f} GiB"


def _numpy_config(section: str) -> dict[str, Any]:
    config: Any = np.show_config(mode="dicts")
    return dict((config or {}).get(section, {}))


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
