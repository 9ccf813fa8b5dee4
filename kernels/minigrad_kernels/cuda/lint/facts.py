"""What the machine code of a kernel is like; kept on disk, since compiling takes its time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ... import user_cache
from ..nvidia import options, text
from ..source import Source
from . import toolkit

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
"""Turing, the oldest that the newest CUDA knows; Ampere, with asynchronous copies; Hopper."""


def architectures(source: Source) -> tuple[str, ...]:
    """What a source is compiled for: all of them, or the one that it says it is for."""
    return ARCHITECTURES if source.only is None else (source.only,)


@dataclass(frozen=True)
class Facts:
    """Of one kernel on one architecture.

    Attributes:
        registers: of a thread.
        stack: bytes of a thread's own memory, which is slow: arrays that are indexed by variables.
        spills: bytes that are stored because there are not enough registers, and loaded again.
        shared: bytes of shared memory, without the dynamic.
        instructions: how often each occurs.
        waiting: whether the assembler lets products of warpgroups wait where the source does not.
    """

    registers: int
    stack: int
    spills: int
    shared: int
    instructions: dict[str, int]
    waiting: bool = False

    def count(self, pattern: str) -> int:
        """How many instructions have this name and these modifiers, in any order, among others.

        >>> Facts(9, 0, 0, 0, {"LDG.E.128.CONSTANT": 2, "LDG.E": 1}).count("LDG.128")
        2
        """
        name, *wanted = pattern.split(".")
        total = 0
        for instruction, count in self.instructions.items():
            first, *modifiers = instruction.split(".")
            total += count if first == name and set(wanted) <= set(modifiers) else 0
        return total


def facts(sources: Sequence[Source], architecture: str) -> list[dict[str, Facts]]:
    """Of all kernels in each of the sources, by name: from the disk, or compiled now.

    Raises:
        CompileError: if a source does not compile; RuntimeError: if there is no disassembler.
    """
    paths = [_directory() / f"{_digest(source, architecture)}.json" for source in sources]
    known = [_read(path) for path in paths]
    missing = [i for i, found in enumerate(known) if found is None]
    for i, found in zip(missing, _made([sources[i] for i in missing], architecture), strict=True):
        known[i] = found
        _write(paths[i], found)
    return [found for found in known if found is not None]


# Finding them out


def _made(sources: Sequence[Source], architecture: str) -> list[dict[str, Facts]]:
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(lambda s: toolkit.compiled(s, architecture), sources))
    codes = [toolkit.functions(cubin) for cubin, _ in results]
    flat = [code for functions in codes for code in functions.values()]
    found = iter(toolkit.instructions(flat, architecture) if flat else [])
    made = []
    for (_, log), functions in zip(results, codes, strict=True):
        counted = {name: Counter(next(found)) for name in functions}
        waiting = set(_WAITING.findall(log))
        made.append({name: _facts(n, counted[name], name in waiting) for name, n in _numbers(log)})
    return made


_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>[^']+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads\s+"
    r"ptxas info\s+: Used (?P<registers>\d+) registers(?P<more>[^\n]*)",
    re.DOTALL,
)


_WAITING = re.compile(
    r"\(C75\d+\)[^\n]*(?:injected|serialized)[^\n]* in (?:the )?function '([^']+)'"
)
"""What the assembler says where products of warpgroups wait that the source does not let wait."""


def _numbers(log: str) -> list[tuple[str, dict[str, int]]]:
    """What the assembler says of each kernel."""
    found = []
    for entry in _ENTRY.finditer(log):
        shared = re.search(r"(\d+) bytes smem", entry["more"])
        numbers = {key: int(entry[key]) for key in ("stack", "stores", "loads", "registers")}
        found.append((entry["name"], {**numbers, "shared": int(shared[1]) if shared else 0}))
    return found


def _facts(numbers: dict[str, int], instructions: Counter[str], waiting: bool) -> Facts:
    return Facts(
        registers=numbers["registers"],
        stack=numbers["stack"],
        spills=numbers["stores"] + numbers["loads"],
        shared=numbers["shared"],
        instructions=dict(instructions),
        waiting=waiting,
    )


# Keeping them


def _directory() -> Path:
    return user_cache.directory("cuda-lint")


def _digest(source: Source, architecture: str) -> str:
    """Of all that the code depends on."""
    parts = (text(source), *options(source)[:-1], source.digest, architecture, toolkit.version())
    folders = f"-I{source.path.parent}"  # where the sources lie changes nothing
    whole = "\0".join(part for part in parts if not part.startswith(("-I", folders)))
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Facts] | None:
    """The facts in a file; None if there is no such file, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        path.touch()  # in use
        return {name: Facts(**numbers) for name, numbers in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _write(path: Path, found: dict[str, Facts]) -> None:
    """Keep facts, if that can be."""
    written = {name: dataclasses.asdict(f) for name, f in found.items()}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        user_cache.delete_unused(path.parent.glob("*.json*"))
        with user_cache.arriving(path) as partial:
            partial.write_text(json.dumps(written), encoding="utf-8")
