"""Random numbers on the CPU: Philox-4x32-10, the same bits as the reference.

Blocks are independent, so a vector register works on several at once. A group of blocks is
computed into a small buffer, word j of all of them side by side, and then laid out as numbers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import prange

from ..arrays import Array, check_out, deliver
from ..memory import empty
from ..random import MANTISSA, box_muller
from .compiled import chunks, compiled, span

GROUP = 256
"""Blocks computed at once: their 4 KiB of words stay in the L1 cache."""

GROUPS = 16  # that make a task

_PAIRS = 1 << 13  # normal numbers at once: NumPy's temporaries stay in the L2 cache

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@numba.njit
def philox(seed, first, words):
    """Write blocks first, first + 1, ... of the seed's stream to the rows of words (4, GROUP)."""
    a, b, c, d = words[0], words[1], words[2], words[3]
    for i in range(GROUP):
        index = first + np.uint64(i)
        c0, c1, c2, c3 = index & _LOW, index >> _HALF, np.uint64(0), np.uint64(0)
        k0, k1 = seed & _LOW, seed >> _HALF
        for _ in range(10):
            p0, p1 = c0 * _M0, c2 * _M1
            c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        a[i], b[i] = np.uint32(c0), np.uint32(c1)
        c[i], d[i] = np.uint32(c2), np.uint32(c3)


@numba.njit
def lay_out(words, y):
    """Write words (4, GROUP), or the first y.size of them, to y in the stream's order."""
    a, b, c, d = words[0], words[1], words[2], words[3]
    whole = y.size // 4
    for i in range(whole):
        k = np.uint64(4) * np.uint64(i)
        y[k] = a[i]
        y[k + np.uint64(1)] = b[i]
        y[k + np.uint64(2)] = c[i]
        y[k + np.uint64(3)] = d[i]
    for k in range(4 * whole, y.size):
        y[k] = words[k % 4, whole]


@compiled
def _words(seed, offset, y):
    """Words of the stream, from block `offset` on, to y (uint32)."""
    size = 4 * GROUP
    tasks = (y.size + size * GROUPS - 1) // (size * GROUPS)
    for task in prange(tasks):
        words = np.empty((4, GROUP), np.uint32)
        for group in range(task * GROUPS, (task + 1) * GROUPS):
            part = y[group * size : min((group + 1) * size, y.size)]
            if part.size == 0:
                break
            philox(seed, offset + np.uint64(group * GROUP), words)
            lay_out(words, part)


@compiled
def _uniform(words, shift, unit, y):
    """The highest bits of each word, times the unit."""
    for chunk in prange(chunks(y.size)):
        part = span(chunk, y.size)
        a, b = words[part], y[part]
        for i in range(b.size):
            b[i] = y.dtype.type(a[i] >> shift) * unit


def stream_start(seed: int, offset: int) -> tuple[np.uint64, np.uint64]:
    """Seed and number of the first block, as compiled code takes them."""
    return np.uint64(seed % 2**64), np.uint64(offset % 2**64)


def _stream(size: int, itemsize: int, seed: int, offset: int) -> Array:
    """Words for `size` numbers, one for numbers of at most 4 bytes, two (as uint64) for others."""
    words = empty(size * (2 if itemsize == 8 else 1), np.uint32)
    _words.suited(words.size)(*stream_start(seed, offset), words)
    return words.view(np.uint64) if itemsize == 8 else words


def random_bits(like: Array, *, seed: int, offset: int, out: Any = None) -> Array:
    """Random integers over the whole range of `like`, uint32 or uint64."""
    check_out(out, like.shape)
    words = _stream(like.size, like.dtype.itemsize, seed, offset)
    return deliver(words.reshape(like.shape), out)


def _uniform_numbers(size: int, dtype: Any, seed: int, offset: int) -> Array:
    bits = MANTISSA[dtype.itemsize]
    words = _stream(size, dtype.itemsize, seed, offset)
    u = empty(size, dtype)
    shift = words.dtype.type(8 * dtype.itemsize - bits)
    _uniform.suited(size)(words, shift, dtype.type(0.5**bits), u)
    return u


def random_uniform(like: Array, *, seed: int, offset: int, out: Any = None) -> Array:
    """Random multiples of the type's unit in [0, 1)."""
    check_out(out, like.shape)
    return deliver(_uniform_numbers(like.size, like.dtype, seed, offset).reshape(like.shape), out)


def random_normal(like: Array, *, seed: int, offset: int, out: Any = None) -> Array:
    """Standard normal numbers, by the formula of Box and Muller.

    Its functions are NumPy's: an element is the same, to the last bit, whether it is one of few,
    which the reference computes, or of many.
    """
    check_out(out, like.shape)
    size = like.size + like.size % 2
    u = _uniform_numbers(size, like.dtype, seed, offset).reshape(-1, 2)
    for start in range(0, len(u), _PAIRS):
        u[start : start + _PAIRS] = box_muller(np, u[start : start + _PAIRS])
    return deliver(u.reshape(-1)[: like.size].reshape(like.shape), out)
