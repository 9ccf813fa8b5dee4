"""NVIDIA's compiler and disassembler, without a driver: found, loaded, called.

They come as wheels (`pip install minigrad-engine[cuda-lint]`) or with a CUDA toolkit, whose folder
the variable CUDA_PATH or CUDA_HOME names. (NVIDIA, "NVRTC" and "CUDA Binary Utilities".)
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import CompileError
from ..nvidia import options, text
from ..source import Source

_WANTED = "install the extra cuda-lint, or name a CUDA toolkit in the variable CUDA_PATH"


# Where things are


@functools.cache
def _folders() -> tuple[Path, ...]:
    """Where CUDA may lie: the wheels' folders, then a toolkit's."""
    found: list[Path] = []
    spec = find_spec("nvidia")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        parts = (sorted(Path(place).glob(f"cu[0-9]*{end}"), reverse=True) for end in ("", "/*"))
        found += [*next(parts), *Path(place).glob("cuda_*")]
    named = [os.environ.get(name) for name in ("CUDA_PATH", "CUDA_HOME")]
    found += [Path(name) for name in named if name]
    return tuple(folder for folder in (*found, Path("/usr/local/cuda")) if folder.is_dir())


def _files(*patterns: str) -> Iterator[Path]:
    for folder in _folders():
        for pattern in patterns:
            yield from sorted(folder.glob(pattern), reverse=True)


def _library() -> Path | None:
    """NVRTC's library."""
    patterns = (
        ("bin/x64/nvrtc64_*_0.dll", "bin/nvrtc64_*_0.dll")
        if sys.platform == "win32"
        else ("lib/libnvrtc.so.[0-9]*", "lib64/libnvrtc.so.[0-9]*")
    )
    return next((path for path in _files(*patterns) if "alt" not in path.name), None)


def _headers() -> Path | None:
    """The folder of CUDA's headers."""
    found = next(_files("include/cuda_fp16.h"), None)
    return found and found.parent


def _disassembler() -> str | None:
    found = next(_files("bin/nvdisasm", "bin/nvdisasm.exe"), None)
    return str(found) if found else shutil.which("nvdisasm")


def reason() -> str | None:
    """Why machine code cannot be looked at here; None if it can."""
    for what, found in (
        ("the compiler NVRTC was", _library()),
        ("CUDA's headers were", _headers()),
        ("the disassembler nvdisasm was", _disassembler()),
    ):
        if found is None:
            return f"{what} not found: {_WANTED}"
    try:
        _nvrtc()
    except OSError as error:
        return f"the compiler NVRTC cannot be loaded: {error}"
    return None


# Compiling


@functools.cache
def _nvrtc() -> ctypes.CDLL:
    """The library, with its second part, which it looks for only among what is loaded.

    Raises:
        OSError: if it cannot be loaded.
    """
    library = _library()
    if library is None:
        raise OSError(f"not found: {_WANTED}")
    pattern = library.name.replace("nvrtc64", "nvrtc-builtins64").replace(
        "nvrtc.", "nvrtc-builtins."
    )
    for part in library.parent.glob(re.sub(r"\.so.*|_.*", "*", pattern)):
        if "alt" not in part.name:
            ctypes.CDLL(str(part), ctypes.RTLD_GLOBAL)
    loaded = ctypes.CDLL(str(library))
    loaded.nvrtcGetErrorString.restype = ctypes.c_char_p
    return loaded


def version() -> str:
    """Which compiler it is: "13.0"; other versions make other code."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compiled(source: Source, architecture: str) -> tuple[bytes, str]:
    """The machine code of a source, and what the assembler says of it; options are CuPy's.

    Raises:
        CompileError: with the compiler's words.
    """
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    name = source.path.name.encode()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text(source).encode(), name, 0, None, None)
    flags = [option for option in options(source) if not option.startswith("-arch=")]
    flags += [f"-arch={architecture}", "-ftz=true", f"-I{_headers()}"]
    flags.append("--ptxas-options=-v")
    try:
        given = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        failed = nvrtc.nvrtcCompileProgram(program, len(flags), given)
        log = _string(nvrtc, "ProgramLog", program).decode(errors="replace").rstrip("\0\n")
        if failed:
            why = nvrtc.nvrtcGetErrorString(failed).decode()
            raise CompileError(
                f"{source.label} does not compile for {architecture} ({why}):\n{log}"
            )
        return _string(nvrtc, "CUBIN", program), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _string(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, room)
    return room.raw


# Disassembling


def functions(cubin: bytes) -> dict[str, bytes]:
    """The code of each kernel in a file of machine code: its ELF sections `.text.<kernel>`."""
    (start,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", cubin, start + i * size) for i in range(count)]
    found = {}
    for name_at, _, _, _, offset, length in headers:
        name = cubin[headers[names][4] + name_at :].split(b"\0", 1)[0].decode()
        if name.startswith(".text."):
            found[name.removeprefix(".text.")] = cubin[offset : offset + length]
    return found


_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)


def instructions(codes: Sequence[bytes], architecture: str) -> list[list[str]]:
    """The names of the instructions of each piece of code: `["LDG.E.128", "FADD", ...]`.

    All in one run of the disassembler, which takes a third of a second however little it is given.

    Raises:
        RuntimeError: if it fails.
    """
    tool = _disassembler()
    if tool is None:
        raise RuntimeError(f"the disassembler nvdisasm was not found: {_WANTED}")
    with tempfile.TemporaryDirectory(prefix="minigrad-lint-") as folder:
        path = Path(folder) / "code"
        path.write_bytes(b"".join(codes))
        command = [tool, "-ndf", "-b", architecture.replace("sm_", "SM"), str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"nvdisasm failed: {run.stderr.strip()}")
    result: list[list[str]] = [[] for _ in codes]
    which, end = 0, len(codes[0]) if codes else 0
    for address, name in _INSTRUCTION.findall(run.stdout):
        while int(address, 16) >= end:
            which += 1
            end += len(codes[which])
        result[which].append(name)
    return result
