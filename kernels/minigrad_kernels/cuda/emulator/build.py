"""Compiling CUDA sources for the CPU, and keeping what was compiled.

The machine's C++ compiler makes a shared library of each source, which is kept in the user's cache
under the name of a digest of all that it depends on. Processes that start at once compile the same
library, and each finds a whole one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path

from ... import user_cache
from .. import standard
from ..errors import CompileError
from ..source import INCLUDE, Source

HEADERS = Path(__file__).parent / "include"

FLAGS = (
    *("-std=c++17", "-march=native", "-fPIC", "-pthread"),
    "-fvisibility=hidden",  # the emulator's variables are each library's own
    "-fno-exceptions",  # CUDA has none
    "-fno-strict-aliasing",  # kernels read float* as float4*
    "-ffp-contract=fast",  # multiply and add in one, as on a GPU
    *("-Wno-unknown-pragmas", "-Wno-attributes"),  # nvcc knows others
    *("-Werror=vla", "-Werror=register"),  # what it does not take
)
SANITIZERS = {
    "": ("-O1",),
    "address": ("-Og", "-g", "-fsanitize=address", "-fsanitize-recover=address"),
    "thread": ("-Og", "-g", "-fsanitize=thread"),
}
"""The flags of each. Kernels of tests are small: what a higher level saves in running them it costs
several times in compiling them. (Under a sanitizer -O0 compiles hardly faster than -Og, and runs
much slower.)"""

SANITIZE = "MINIGRAD_CUDA_ON_CPU_SANITIZE"
"""The environment variable that asks for one of them; `check` sets it in the process it starts."""

DEBUG = "MINIGRAD_CUDA_ON_CPU_DEBUG"
"""The environment variable that asks for libraries to step through with a debugger: none of their
variables is optimised away."""

PORTABLE = "MINIGRAD_CUDA_ON_CPU_PORTABLE"
"""The environment variable that asks for what other processors and compilers do: fibers switched by
the system, halves converted bit by bit."""

_DYNAMIC = re.compile(
    r"\bextern\s+__shared__\s+((?:__align__\s*\(\s*\d+\s*\)|alignas\s*\(\s*\d+\s*\))\s*)?"
    r"([\w:\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;"
)


# The compiler


def compiler() -> list[str] | None:
    """The command of the C++ compiler: that in the variable CXX, or the first that is there."""
    try:
        chosen = shlex.split(os.environ.get("CXX", ""))
    except ValueError:  # a quotation that does not end: nothing can have that name
        return None
    for command in [chosen] if chosen else [["g++"], ["clang++"], ["c++"]]:
        if shutil.which(command[0]):
            return command
    return None


def reason() -> str | None:
    """Why sources cannot be compiled for this CPU; None if they can."""
    if os.name != "posix":
        return "the emulator needs a POSIX system (on Windows: the subsystem for Linux)"
    if compiler() is None:
        chosen = os.environ.get("CXX")
        if chosen:
            return f"the C++ compiler {chosen!r}, which the variable CXX names, was not found"
        return "no C++ compiler was found: install g++ or clang++, or name one in the variable CXX"
    return None


@functools.cache
def _identity(command: tuple[str, ...]) -> str:
    """What the compiler says it is, and what CPU it compiles for."""
    try:
        run = subprocess.run(
            [*command, "-march=native", "-x", "c++", "-E", "-v", os.devnull],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
    except OSError as error:  # it is said again when a source is compiled
        return str(error)
    return run.stderr


def is_clang() -> bool:
    """Whether the compiler is clang++, under whatever name."""
    return "clang version" in _identity(tuple(compiler() or ()))


def flags() -> tuple[str, ...]:
    """The compiler's flags, with what the environment asks for.

    Raises:
        ValueError: if it asks for a sanitizer that there is not.
    """
    sanitizer = os.environ.get(SANITIZE, "")
    if sanitizer not in SANITIZERS:
        raise ValueError(f"{SANITIZE} must be one of {', '.join(SANITIZERS)}, not {sanitizer!r}")
    debug = ("-O0", "-g") if os.environ.get(DEBUG) else ()
    portable = ("-DCUDA_ON_CPU_PORTABLE",) if os.environ.get(PORTABLE) else ()
    return (*FLAGS, *SANITIZERS[sanitizer], *debug, *portable)


# The cache


def cache_directory() -> Path:
    """Where libraries are kept: beside the kernels that Numba compiled.

    Raises:
        RuntimeError: if the user has no home directory.
    """
    return user_cache.directory("cuda-on-cpu")


@functools.cache
def _temporary_directory() -> Path:
    """A directory for this process alone, which goes with it."""
    directory = tempfile.TemporaryDirectory(prefix="minigrad-cuda-on-cpu-")
    _kept_directories.append(directory)
    return Path(directory.name)


_kept_directories: list[tempfile.TemporaryDirectory[str]] = []


def _directory() -> Path:
    """Where to keep libraries; where that cannot be written, a directory of this process."""
    try:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f"probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError) as error:
        _warn(str(error))
        return _temporary_directory()
    return directory


@functools.cache
def _warn(why: str) -> None:
    """Say once that libraries cannot be kept."""
    warnings.warn(
        f"minigrad cannot keep compiled CUDA sources ({why}), so every process compiles them anew; "
        "set MINIGRAD_CACHE_DIR to a directory that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


# Compiling


def translation_unit(source: Source) -> str:
    """What the C++ compiler compiles: the file, in a namespace, and a launcher for each kernel.

    The unnamed namespace keeps what two files both call `reduce` apart. Messages give lines of the
    file: what is replaced in it stays on its line.

    Raises:
        CompileError: for what a GPU has not; see `standard.check`.
    """
    standard.check(source)
    own = _DYNAMIC.sub(_dynamic_shared, source.own_text)
    launchers = "".join(f"CUDA_ON_CPU_LAUNCHER({name})\n" for name in source.kernels)
    return (
        '#include "cuda_on_cpu.h"\n'
        f"{source.prelude}"
        f'namespace {{\n#line 1 "{source.path}"\n{own}\n}}\n'
        f'#line 1 "launchers of {source.path.name}"\n{launchers}'
    )


def _dynamic_shared(declaration: re.Match[str]) -> str:
    """`extern __shared__ float x[];` is where the emulator's dynamic shared memory begins."""
    kind, name = declaration[2].strip(), declaration[3]
    lines = "\n" * declaration[0].count("\n")
    memory = f"reinterpret_cast<{kind}*>(cuda_on_cpu::dynamic_shared)"
    return f"static {kind}* const {name} = {memory};{lines}"


def library(source: Source) -> Path:
    """The source as a shared library, from the cache or compiled now.

    Raises:
        CompileError: if it does not compile, with the compiler's message; or there is no compiler.
    """
    why = reason()
    if why:
        raise CompileError(f"{source.label} cannot be compiled: {why}")
    unit = translation_unit(source)
    directory = _directory()
    path = directory / f"{source.path.stem}-{_digest(unit, source.digest)}.so"
    if path.exists():
        path.touch()  # in use
        return path
    user_cache.delete_unused((*directory.glob("*.so*"), *directory.glob("headers-*/*")))
    headers = _compiled_headers(directory)
    try:
        _compile_library(source, unit, headers, path)
    except CompileError as error:
        if not any(words in str(error) for words in DAMAGED_HEADERS):
            raise
        shutil.rmtree(headers, ignore_errors=True)
        _compile_library(source, unit, headers, path)
    return path


def library_with_lines(source: Source, path: Path) -> Path:
    """The same machine code, with the lines of the source: compiled anew, to this path.

    Raises:
        CompileError: if it does not compile any more.
    """
    unit = translation_unit(source)
    _compile(source.label, unit, ["-g1", "-gdwarf-4", *_options(source, HEADERS)], path)
    return path


def _compile_library(source: Source, unit: str, headers: Path, path: Path) -> None:
    with user_cache.arriving(path) as partial:
        _compile(source.label, unit, _options(source, headers), partial)


def _options(source: Source, headers: Path) -> list[str]:
    folders = [headers, HEADERS, source.path.parent, INCLUDE]
    return ["-shared", *(f"-I{folder}" for folder in folders), "-x", "c++", "-"]


COMPILED_HEADERS = "cuda_on_cpu.h.gch"
DAMAGED_HEADERS = ("precompiled header", "PCH", "internal compiler error")
"""What g++ says where the headers that it kept are damaged, or were cut off."""


def _compiled_headers(directory: Path) -> Path:
    """A folder with the emulator's headers as g++ keeps them when it has read them.

    It takes `cuda_on_cpu.h.gch` for `cuda_on_cpu.h` from the first folder that has either, if the
    flags are the same. Reading the headers anew takes half of the time of most sources. (clang++
    would only take it by another name, and reads the headers.)
    """
    folder = directory / f"headers-{_digest()}"
    path = folder / COMPILED_HEADERS
    if path.exists():
        path.touch()  # in use
    elif "gcc version" in _identity(tuple(compiler() or ())):
        folder.mkdir(exist_ok=True)
        header = str(HEADERS / "cuda_on_cpu.h")
        with (
            suppress(CompileError),
            user_cache.arriving(path) as partial,
        ):  # said when a source includes it
            _compile("the emulator", "", ["-x", "c++-header", header], partial)
    return folder


def _digest(*texts: str) -> str:
    """Tells a library from any other: of these texts, and of what all of them depend on."""
    command = tuple(compiler() or ())
    digest = hashlib.sha256()
    for part in (*texts, _headers(), *command, *flags(), _identity(command)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


@functools.cache
def _headers() -> str:
    """Where the emulator's own headers lie, which debuggers tell, and their text."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(HEADERS.rglob("*.h")))
    return f"{HEADERS}\0{''.join(texts)}"


def _compile(label: str, unit: str, options: list[str], path: Path) -> None:
    command = [*(compiler() or ()), *flags(), "-o", str(path), *options]
    try:
        run = subprocess.run(
            command, input=unit, capture_output=True, text=True, check=False, env=_environment()
        )
    except OSError as error:
        raise CompileError(f"{label} cannot be compiled: {error}") from None
    said = run.stderr.strip()
    if run.returncode or not path.exists():
        said = said or f"{command[0]} ended with status {run.returncode}, without a word"
        raise CompileError(f"{label} does not compile:\n{said}{standard.advice(said)}")


def _environment() -> dict[str, str]:
    """Without what was loaded before Python: a sanitizer would watch the compiler, too."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
