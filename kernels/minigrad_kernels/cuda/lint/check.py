"""Holding machine code to what is expected of it, and to what every kernel must keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..source import Source
from .expectations import Expected, expected, number
from .facts import Facts, architectures, facts
from .launches import Launched, recorded

REGISTERS = 65536
"""Of a multiprocessor, on all of the architectures. A block that needs more does not start."""

STATIC_SHARED = 48 * 1024
SHARED = {"sm_75": 64 * 1024, "sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_90a": 227 * 1024}
"""Bytes of shared memory that a block may have, dynamic included."""

_DOUBLE = ("DADD", "DMUL", "DFMA", "DSETP")
_LOCAL = ("LDL", "STL")


def check_file(name: str) -> list[str]:
    """What is wrong with the machine code of a .cu file, in all that its launch code launches.

    Raises:
        CompileError: if it does not compile.
        ValueError: for an expectation that cannot be understood.
    """
    launched = {key: source for key, source in recorded().items() if key.file == name}
    return check(launched)


def check(launched: Mapping[Launched, Source]) -> list[str]:
    """What is wrong, in words, with these kernels on all architectures; raises as `check_file`."""
    problems: list[str] = []
    for architecture, key, source, of_kernel in machine_code(launched):
        wanted = expected(source, key.kernel, architecture)
        where = f"{source.label}: {key.kernel} on {architecture}"
        problems += [f"{where}: {words}" for words in _wrong(of_kernel, wanted, key, architecture)]
    return list(dict.fromkeys(problems))


def machine_code(
    launched: Mapping[Launched, Source],
) -> Iterator[tuple[str, Launched, Source, Facts]]:
    """What is launched, with its machine code, on each architecture that it is compiled for.

    Raises:
        CompileError: if it does not compile.
    """
    sources = {source.digest: source for source in launched.values()}.values()
    for architecture in dict.fromkeys(a for s in sources for a in architectures(s)):
        there = [s for s in sources if architecture in architectures(s)]
        by_digest = dict(zip((s.digest for s in there), facts(there, architecture), strict=True))
        for key, source in launched.items():
            if source.digest in by_digest:
                yield architecture, key, source, by_digest[source.digest][key.kernel]


def _wrong(f: Facts, wanted: Expected, key: Launched, architecture: str) -> Iterator[str]:
    """What is wrong with one kernel; nothing, where it is not launched."""
    if number(architecture) < number(wanted.needs):
        return
    if f.spills:
        yield f"spills {f.spills} bytes of registers"
    if f.stack > wanted.stack:
        yield f"{f.stack} bytes of stack, {wanted.stack} are allowed"
    if not wanted.stack and any(map(f.count, _LOCAL)):
        yield "reads or writes local memory"
    if not wanted.double and any(map(f.count, _DOUBLE)):
        yield "computes in double precision, which no definition names"
    if f.registers > wanted.registers:
        yield f"{f.registers} registers, {wanted.registers} are expected at most"
    if f.waiting:
        yield "products of warpgroups wait where the source does not let them wait"
    for instruction in wanted.instructions:
        if not f.count(instruction):
            yield f"has no instruction {instruction}"
    yield from _too_large(f, key, architecture)


def _too_large(f: Facts, key: Launched, architecture: str) -> Iterator[str]:
    """Why a block of so many threads does not start."""
    warps = -(-key.threads // 32)
    taken = warps * -(-f.registers * 32 // 256) * 256  # a warp gets them in units of 256
    if taken > REGISTERS:
        yield f"{f.registers} registers for {key.threads} threads: a block cannot start"
    if f.shared > STATIC_SHARED:
        yield f"{f.shared} bytes of static shared memory, at most {STATIC_SHARED}"
    if f.shared + key.shared > SHARED[architecture]:
        total = f.shared + key.shared
        yield f"{total} bytes of shared memory, at most {SHARED[architecture]}"
