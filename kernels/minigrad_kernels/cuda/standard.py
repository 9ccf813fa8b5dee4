"""The standard headers of C and C++, of which NVIDIA's run-time compiler NVRTC has none.

Textbooks' kernels begin with `#include <stdio.h>`, and have INFINITY or uint32_t. The emulator's
compiler has all of that. NVRTC gets `standard.cuh` in place of the headers: what can be used in
kernels. Headers of which a GPU has nothing are refused by both.
"""

from __future__ import annotations

import functools
import re

from .errors import CompileError
from .source import INCLUDE, Source

_NAMES = ("assert", "float", "limits", "math", "stddef", "stdint", "stdio", "stdlib", "string")
PROVIDED = frozenset(
    [f"{name}.h" for name in _NAMES] + [f"c{name}" for name in _NAMES] + ["algorithm", "limits"]
)
"""The headers for which NVRTC gets ours, or in place of which it knows the names itself."""

_INCLUDE = re.compile(
    r"^[ \t]*#[ \t]*include[ \t]*<(\w+(?:\.h)?)>[ \t]*(?=//|/\*|\r?$)", re.MULTILINE
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_DEFINED = re.compile(r"^(?:#define|using) (\w+)", re.MULTILINE)
_INITIALISED = re.compile(r"\b__shared__\b[^;{}=]*(?:\{[^{}]*\}[^;{}=]*)?=")

_ADVICE = (
    (
        r"'(__(?:shfl(?:_up|_down|_xor)?|ballot|any|all))' was not declared",
        r"\1 is gone since Volta: \1_sync takes the lanes that come there, 0xffffffff for all",
    ),
    (
        r"'(?:__)?half2?'.*(?:was not declared|does not name a type|has not been declared)",
        "half and its functions come with #include <cuda_fp16.h>",
    ),
    (
        r"'(?:__)?nv_bfloat162?'.*(?:was not declared|does not name a type|has not been declared)",
        "bfloat16 and its functions come with #include <cuda_bf16.h>",
    ),
    (
        r"(cooperative_groups/\S+?|mma|cuComplex|curand\w*|cub/\S+?|cuda/\S+?)(?:\.cuh?|\.h)?: No",
        r"the emulator has no \1; minigrad.cuh has sums of warps and blocks, mma.cuh products of "
        "tensor cores, and philox.cuh random numbers",
    ),
    (
        r"(?s)(?:impossible constraint in 'asm'|Error: (?:no such instruction|junk|operand|bad))",
        "inline PTX compiles for a GPU alone: with #ifdef CUDA_ON_CPU, the emulator gets C++ in "
        "its place",
    ),
)


@functools.cache
def _standard() -> tuple[str, frozenset[str]]:
    """The text of standard.cuh, and the names that ask for it."""
    text = (INCLUDE / "standard.cuh").read_text(encoding="utf-8")
    return text, frozenset(_DEFINED.findall(text)) | {"std"}


def prelude(source: Source) -> str:
    """What stands before a source for NVRTC, by the names that it uses: our header, or nothing."""
    text, names = _standard()
    used = _COMMENT.sub(" ", "".join(source.files.values()))
    return text if names & set(re.findall(r"[A-Za-z_]\w*", used)) else ""


def without_headers(text: str) -> str:
    """The text without the lines that include a header in place of which there is ours."""
    return _INCLUDE.sub(lambda line: "" if line[1] in PROVIDED else line[0], text)


def check(source: Source) -> None:
    """Refuse what the machine's compiler takes, and NVIDIA's does not.

    Raises:
        CompileError: for a header of C++ of which a GPU has nothing; for shared memory with an
            initializer.
    """
    for path, text in source.files.items():
        for header in _INCLUDE.findall(text):
            if "." not in header and header not in PROVIDED:
                raise CompileError(
                    f"{path}: #include <{header}>: NVIDIA's compiler NVRTC has no library of C++. "
                    f"What there is for kernels: {', '.join(sorted(PROVIDED))}"
                )
    clean = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), source.own_text)
    wrong = _INITIALISED.search(clean)
    if wrong:
        line = clean.count("\n", 0, wrong.end()) + 1
        raise CompileError(
            f"{source.path}:{line}: shared memory cannot have an initializer: let threads write "
            "it, and __syncthreads() before others read it"
        )


def advice(said: str) -> str:
    """What to do about the errors of a C++ compiler; nothing for those that are clear enough."""
    plain = re.sub("[\u2018\u2019]", "'", said)  # g++ has other quotation marks
    found = (
        match.expand(words) for pattern, words in _ADVICE if (match := re.search(pattern, plain))
    )
    return "".join(f"\n({words})" for words in dict.fromkeys(found))
