"""What is expected of a kernel's machine code, as it is written in the comment above the kernel.

One clause a line; in the comment at the head of a file it is for all its kernels::

    // expect: LDG.128 STG.128 if WIDTH > 1     instructions, with modifiers, that must be there
    // expect: HMMA LDSM from sm_80             on these architectures and newer ones
    // expect: registers <= 128                 of a thread
    // allow: stack <= 32                       bytes of a thread's own memory; else there is none
    // allow: double                            arithmetic in a type that no definition names
    // needs: sm_80                             it is not launched on older architectures
    // needs: sm_90a                            nor compiled for any other: for a whole file

A condition, `if NAME > NUMBER` or `if NAME == WORD`, is about the definitions; several are joined
by `and`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..source import Source

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(r"__global__[^;{}]*?\b(\w+)\s*\([^()]*\)\s*\{")
_CLAUSE = re.compile(r"^\s*//\s*(expect|allow|needs):\s*(.*?)\s*$")
_LIMIT = re.compile(r"(registers|stack) <= (\d+)")
_CONDITION = re.compile(r"(\w+) (==|!=|<=|>=|<|>) (\w+)")
_INSTRUCTIONS = re.compile(r"[A-Z][A-Z0-9]+(\.\w+)*( [A-Z][A-Z0-9]+(\.\w+)*)*")
_ARCHITECTURE = re.compile(r"sm_(\d+)a?")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass
class Expected:
    """What holds for one kernel with certain definitions on one architecture.

    Attributes:
        instructions: those that must be there, as `Facts.count` understands them.
        registers: how many a thread may have.
        stack: how many bytes a thread may have for itself.
        double: whether it may compute in double precision.
        needs: the oldest architecture that it is launched on.
    """

    instructions: list[str] = field(default_factory=list)
    registers: int = 255
    stack: int = 0
    double: bool = False
    needs: str = "sm_75"


def expected(source: Source, kernel: str, architecture: str) -> Expected:
    """What is written above a kernel, and at the head of its file.

    Raises:
        ValueError: for a clause that cannot be understood, or stands where it is for no kernel.
    """
    found = Expected(double="double" in source.definitions.values())
    for line, kernels, kind, words in _clauses(source):
        if kernel in kernels:
            try:
                _apply(found, kind, words, source.definitions, architecture)
            except ValueError as error:
                raise ValueError(f"{source.path.name}:{line}: {error}") from None
    return found


def _clauses(source: Source) -> list[tuple[int, set[str], str, str]]:
    """Each clause of a file: its line, the kernels it is for, its kind and its words."""
    lines = source.own_text.split("\n")
    starts = _kernel_lines(source)
    found = []
    for i, text in enumerate(lines):
        clause = _CLAUSE.match(text)
        if not clause:
            continue
        end = i
        while end < len(lines) and lines[end].lstrip().startswith("//"):
            end += 1
        at_head = all(line.lstrip().startswith("//") for line in lines[:i])
        kernels = set(starts.values()) if at_head else {starts[end]} if end in starts else set()
        if not kernels:
            raise ValueError(f"{source.path.name}:{i + 1}: this stands above no kernel: {text}")
        found.append((i + 1, kernels, clause[1], clause[2]))
    return found


def _kernel_lines(source: Source) -> dict[int, str]:
    """Where the kernels' declarations begin (line, from 0), and their names."""
    text = _COMMENT.sub(lambda c: re.sub(r"[^\n]", " ", c[0]), source.own_text)
    found = {}
    for kernel in _KERNEL.finditer(text):
        name = source.definitions.get(kernel[1], kernel[1])
        found[text.count("\n", 0, kernel.start())] = name
    return found


def _apply(
    found: Expected, kind: str, words: str, definitions: Mapping[str, str], architecture: str
) -> None:
    words, _, condition = words.partition(" if ")
    words, _, oldest = words.partition(" from ")
    holds = not condition or all(_holds(c, definitions) for c in condition.split(" and "))
    if not holds or (oldest and number(architecture) < number(oldest)):
        return
    limit = _LIMIT.fullmatch(words)
    if kind == "needs" and _ARCHITECTURE.fullmatch(words):
        found.needs = words
    elif kind == "allow" and words == "double":
        found.double = True
    elif limit and (limit[1] == "stack") == (kind == "allow") and kind != "needs":
        setattr(found, limit[1], int(limit[2]))
    elif kind == "expect" and _INSTRUCTIONS.fullmatch(words):
        found.instructions += words.split()
    else:
        raise ValueError(f"cannot understand `{kind}: {words}`")


def number(architecture: str) -> int:
    """75 of "sm_75", and 90 of "sm_90a".

    Raises:
        ValueError: if it is no architecture.
    """
    found = _ARCHITECTURE.fullmatch(architecture)
    if found is None:
        raise ValueError(f"no architecture {architecture!r}")
    return int(found[1])


def _holds(condition: str, definitions: Mapping[str, str]) -> bool:
    parts = _CONDITION.fullmatch(condition.strip())
    if parts is None:
        raise ValueError(f"cannot understand the condition `{condition}`")
    name, sign, wanted = parts.groups()
    if name not in definitions:
        raise ValueError(f"{name} is not among the definitions: {', '.join(definitions)}")
    value = definitions[name]
    if value.isdigit() and wanted.isdigit():
        return _OPERATORS[sign](int(value), int(wanted))
    if sign not in ("==", "!="):
        raise ValueError(f"{name} is {value}, no number, in `{condition}`")
    return _OPERATORS[sign](value, wanted)
