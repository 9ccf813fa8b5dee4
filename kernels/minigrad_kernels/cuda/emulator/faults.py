"""What a kernel did where the operating system would have ended the process, in words.

The library says which thread it was, and the address (fault.h), which is told as seen from the
nearest array. The line comes from a second compilation, with line numbers, which make no other
code: so that no other run pays for them.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CompileError, EmulatorError
from ..source import Signature, Source
from .build import HEADERS, library_with_lines

NULL_PAGES = 1 << 16
"""Bytes that no process has at address 0: who goes there had a null pointer, and an index."""

FAR = 1 << 35
"""Bytes from an array to which an int may lead as the index of a number of 16 bytes."""


NO_ADDRESS, WRITE = 0, 3
"""Of cuda_on_cpu::Access."""


class Fault(ctypes.Structure):
    """The fields of cuda_on_cpu::Fault, in fault.h."""

    _fields_ = (
        ("signal", ctypes.c_int),
        ("access", ctypes.c_int),
        ("address", ctypes.c_size_t),
        ("instruction", ctypes.c_size_t),
    )


def fault_error(
    source: Source, signature: Signature, values: list[Any], fault: Fault, message: str
) -> EmulatorError:
    """The error for a fault: who, what, where in memory, where in the source."""
    what = message.removeprefix(":0: ")
    if fault.access != NO_ADDRESS:
        what += _near(signature, values, fault.address, fault.access == WRITE)
        if fault.access == WRITE:
            what += ". Where there was memory, it may have damaged this process"
        what += ". `minigrad cuda-check` finds every access outside of an array"
    return EmulatorError(signature.name, what, *_place(source, fault.instruction))


def _near(signature: Signature, values: list[Any], address: int, written: bool) -> str:
    """Where an address lies, as seen from the nearest array: `, 4 bytes behind the end of ...`."""
    found = []
    for parameter, value in zip(signature.parameters, values, strict=True):
        if not parameter.pointer or (written and parameter.constant):
            continue
        if not isinstance(value, np.ndarray):
            if address < NULL_PAGES:
                return f": parameter `{parameter}` is a null pointer"
            continue
        begin = value.__array_interface__["data"][0]
        end = begin + value.nbytes
        before = address < begin
        distance = begin - address if before else address - end
        side = "before the beginning" if before else "behind the end"
        found.append((distance, f", {distance:,} bytes {side} of `{parameter}`, the nearest array"))
    distance, words = min(found, default=(FAR, ""))
    return words if 0 <= distance < FAR else ""


def _place(source: Source, instruction: int) -> tuple[str, int]:
    """File and line of an instruction; empty and 0 where that cannot be found out."""
    tool = shutil.which("addr2line")
    if not instruction or not tool:
        return "", 0
    with tempfile.TemporaryDirectory(prefix="minigrad-lines-") as folder:
        try:
            path = library_with_lines(source, Path(folder) / "lines.so")
            command = [tool, "-i", "-e", str(path), hex(instruction)]
            told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except (CompileError, OSError):
            return "", 0
    for place in told.splitlines():  # the innermost of functions that were inlined comes first
        file, _, line = place.split(" ")[0].rpartition(":")
        if line.isdecimal() and not Path(file).resolve().is_relative_to(HEADERS.resolve()):
            return file, int(line)
    return "", 0
