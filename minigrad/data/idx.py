"""The IDX file format, in which MNIST and its relatives are published: one array per file."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of a file -> the type of its numbers, big-endian."""

_BLOCK = 1 << 20


def read_idx(path: str | Path, sha256: str | None = None) -> np.ndarray:
    """Read an IDX file, plain or compressed by gzip.

    The format: two zero bytes, a byte for the type, a byte for the number of dimensions n, then n
    big-endian 32-bit lengths, then the numbers in row-major order. At no time more memory is used
    than the file holds bytes, whatever lengths it states.

    Args:
        path: the file.
        sha256: checksum of the uncompressed bytes; None skips the check.

    Returns:
        an array in the machine's byte order, which can be written to.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no IDX file, shorter or longer than it states, damaged, or has another
            checksum.
    """
    path = Path(path)
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            if not packed:
                return _parse(file, path, sha256)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(unpacked, path, sha256)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"read_idx: {path}: damaged gzip file: {error}") from None


def _parse(stream: IO[bytes] | gzip.GzipFile, path: Path, sha256: str | None) -> np.ndarray:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or not 1 <= start[3] <= 32:
        wanted = ", ".join(f"{code:02x}" for code in TYPES)
        raise ValueError(
            f"read_idx: {path}: starts with bytes {start.hex(' ') or 'none'}; an IDX file starts "
            f"with 00 00, a type ({wanted}) and a number of dimensions from 1 to 32"
        )
    lengths = stream.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ValueError(
            f"read_idx: {path}: truncated: {len(lengths)} of the {4 * start[3]} bytes of its shape"
        )
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    dtype = np.dtype(TYPES[start[2]])
    wanted_bytes = math.prod(shape) * dtype.itemsize  # Python's integers: cannot overflow
    numbers = _read_up_to(stream, wanted_bytes + 1)
    if len(numbers) != wanted_bytes:
        had = f"only {len(numbers)}" if len(numbers) < wanted_bytes else "more"
        raise ValueError(
            f"read_idx: {path}: shape {shape} of {dtype.name} takes {wanted_bytes} bytes, the file "
            f"has {had}"
        )
    if sha256 is not None:
        found = hashlib.sha256(start + lengths)
        found.update(numbers)
        if found.hexdigest() != sha256:
            raise ValueError(
                f"read_idx: {path}: its uncompressed bytes have SHA-256 {found.hexdigest()}, "
                f"wanted {sha256}: not the published file"
            )
    array: np.ndarray = np.frombuffer(numbers, dtype)
    try:
        array = array.reshape(shape)
    except ValueError:  # a length of 0 beside ones that no array can have
        raise ValueError(f"read_idx: {path}: no array can have its shape {shape}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(stream: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """At most `size` bytes, block by block, so that a stated size allocates nothing."""
    found = bytearray()
    while len(found) < size:
        block = stream.read(min(_BLOCK, size - len(found)))
        if not block:
            break
        found += block
    return found
