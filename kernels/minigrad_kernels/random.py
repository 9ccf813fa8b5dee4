"""Random numbers from a counter: element i depends only on (seed, offset, i), on every device.

The generator is Philox-4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC11): ten rounds of multiplying and mixing turn a 128-bit counter and a 64-bit key into
four random 32-bit words. The key is the seed, and the counter of block b is offset + b, so there is
no state to carry along: any part of a stream can be computed alone, in parallel, or again.

The words of a stream are numbered: word 4b + j is the j-th of block b. An element of at most four
bytes takes one word, one of eight bytes takes two (the first is the lower half).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module
from .cuda.arrays import computable
from .layout import large, real
from .registry import Arguments, Cost, Samples, arguments, kernel

Make = Callable[[Any, Array], Array]  # (numpy or cupy, words of shape (blocks, 4)) -> elements

WORD = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85  # the golden ratio and sqrt(3) - 1: what the key grows by in a round

MANTISSA = {2: 11, 4: 24, 8: 53}  # random bits in a float of so many bytes
_BLOCKS_AT_ONCE = {"numpy": 1 << 13, "cupy": 1 << 22}  # NumPy's temporaries stay in the L2 cache


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, ...]:
    """The four words of Philox-4x32-10. All arrays are uint64 and hold 32-bit values."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0 = c0 * _MULTIPLIERS[0]
        p1 = c2 * _MULTIPLIERS[1]
        c0 = (p1 >> 32) ^ c1
        c0 ^= k0
        c2 = (p0 >> 32) ^ c3
        c2 ^= k1
        p1 &= WORD
        p0 &= WORD
        c1, c3 = p1, p0
        k0, k1 = (k0 + _WEYL[0]) & WORD, (k1 + _WEYL[1]) & WORD
    return c0, c1, c2, c3


def blocks_taken(size: int, itemsize: int) -> int:
    """How many 128-bit blocks of a stream `size` elements of `itemsize` bytes use up."""
    per_block = 2 if itemsize == 8 else 4
    return -(-size // per_block)


def _words(xp: Any, seed: int, first: int, blocks: int) -> Array:
    """Blocks first, first + 1, ... of the seed's stream, as uint32 of shape (blocks, 4)."""
    index = xp.arange(blocks, dtype=xp.uint64)
    index += xp.uint64(first % 2**64)  # wraps around
    zero = xp.zeros(blocks, dtype=xp.uint64)
    key = (seed & WORD, seed >> 32 & WORD)
    words = xp.empty((blocks, 4), dtype=xp.uint32)
    for j, word in enumerate(philox((index & WORD, index >> 32, zero, zero), key)):
        words[:, j] = word
    return words


def _fill(like: Array, out: Array | None, seed: int, offset: int, make: Make) -> Array:
    """`make(xp, words)` for every element, in pieces; elements are numbered in row-major order."""
    xp = array_module(like)
    if out is None:
        out = xp.empty(like.shape, like.dtype)
    row_major = out.flags.c_contiguous and out.dtype == like.dtype
    flat = out.reshape(-1) if row_major else xp.empty(out.size, like.dtype)
    per_block = 2 if like.dtype.itemsize == 8 else 4
    step = _BLOCKS_AT_ONCE[xp.__name__] * per_block
    for start in range(0, flat.size, step):
        part = flat[start : start + step]
        blocks = blocks_taken(part.size, like.dtype.itemsize)
        words = _words(xp, seed, offset + start // per_block, blocks)
        part[...] = make(xp, words).reshape(-1)[: part.size]
    if not row_major:
        out[...] = flat.reshape(out.shape)
    return out


def _uniform(dtype: Any) -> Make:
    """Multiples of 2**-bits in [0, 1), from the highest bits of each element's words."""
    bits = MANTISSA[dtype.itemsize]
    width = 64 if dtype.itemsize == 8 else 32

    def make(xp: Any, words: Array) -> Array:
        if width == 64:  # little-endian: the first of two words is the lower half
            words = words.view(xp.uint64)
        u = (words >> (width - bits)).astype(dtype)
        u *= dtype.type(0.5**bits)
        return u

    return make


def _check_floating(name: str, like: Array) -> None:
    if like.dtype.kind != "f" or like.dtype.itemsize not in MANTISSA:
        raise TypeError(f"{name}: wants float16, float32 or float64, got {like.dtype}")


def cost(like: Array, **_: Any) -> Cost:
    """Nothing is read; about 25 integer operations make a 32-bit word."""
    words = 2 if like.dtype.itemsize == 8 else 1
    return Cost(flops=25.0 * words * like.size, bytes=float(like.nbytes))


def _streams(*dtypes: str) -> Samples:
    def samples(rng: np.random.Generator) -> Iterator[Arguments]:
        for dtype in dtypes:
            seed = int(rng.integers(2**63))
            yield arguments(np.zeros(7, dtype), seed=seed, offset=0)
            yield arguments(np.zeros((3, 11), dtype).T, seed=seed, offset=2**32 - 3)
            yield arguments(np.zeros(40_000, dtype)[::2], seed=2**64 - 1, offset=2**64 - 2)
            yield arguments(np.zeros((0, 4), dtype), seed=0, offset=0)
            yield arguments(np.zeros((), dtype), seed=1, offset=5)

    return samples


@kernel(samples=_streams("u4", "u8"), cost=cost)
def random_bits(like: Array, *, seed: int, offset: int, out: Any = None) -> Array:
    """Random integers over the whole range of `like`, uint32 or uint64.

    Only the shape, type and device of `like` matter; it may be `out` itself.
    """
    if like.dtype.kind != "u" or like.dtype.itemsize not in (4, 8):
        raise TypeError(f"random_bits: wants uint32 or uint64, got {like.dtype}")
    dtype = like.dtype
    return _fill(like, out, seed, offset, lambda xp, words: words.view(dtype))


def _words_of_integers(like: Array, **_: object) -> bool:
    return like.dtype in (np.dtype(np.uint32), np.dtype(np.uint64))


def _floating(like: Array, **_: object) -> bool:
    return computable(like)


@random_bits.on("numba", accepts=_words_of_integers, worth=large)
def _random_bits_numba() -> Any:
    from .cpu.random import random_bits

    return random_bits


@random_bits.on("cuda", "cuda-on-cpu", accepts=_words_of_integers)
def _random_bits_cuda() -> Any:
    from .cuda.random import random_bits

    return random_bits


@kernel(samples=_streams("f4", "f8", "f2"), cost=cost)
def random_uniform(like: Array, *, seed: int, offset: int, out: Any = None) -> Array:
    """Random multiples of 2**-24 (float32), 2**-53 (float64) or 2**-11 (float16) in [0, 1).

    Only the shape, type and device of `like` matter; it may be `out` itself.
    """
    _check_floating("random_uniform", like)
    return _fill(like, out, seed, offset, _uniform(like.dtype))


@random_uniform.on("numba", accepts=real, worth=large)
def _random_uniform_numba() -> Any:
    from .cpu.random import random_uniform

    return random_uniform


@random_uniform.on("cuda", "cuda-on-cpu", accepts=_floating)
def _random_uniform_cuda() -> Any:
    from .cuda.random import random_uniform

    return random_uniform


def box_muller(xp: Any, pairs: Array) -> Array:
    """Normal numbers (M, 2) from uniform ones."""
    u, v = pairs.T
    r = xp.sqrt(-2 * xp.log(1 - u))
    angle = 2 * np.pi * v
    z = xp.empty((u.size, 2), u.dtype)
    xp.multiply(r, xp.cos(angle), out=z[:, 0])
    xp.multiply(r, xp.sin(angle), out=z[:, 1])
    return z


# Implementations differ in their sine, cosine and logarithm, each by a few units in the last place.
@kernel(samples=_streams("f4", "f8", "f2"), cost=cost, tolerance=32.0)
def random_normal(like: Array, *, seed: int, offset: int, out: Any = None) -> Array:
    """Standard normal numbers, by the formula of Box and Muller (1958).

    Two uniform numbers u, v of the same stream become two normal ones: r cos(2 pi v) and
    r sin(2 pi v) with r = sqrt(-2 log(1 - u)). Computed in float32 for float16. Only the shape,
    type and device of `like` matter; it may be `out` itself.
    """
    _check_floating("random_normal", like)
    uniform = _uniform(like.dtype if like.dtype.itemsize > 2 else np.dtype(np.float32))

    def make(xp: Any, words: Array) -> Array:
        return box_muller(xp, uniform(xp, words).reshape(-1, 2))

    return _fill(like, out, seed, offset, make)


@random_normal.on("numba", accepts=real, worth=large)
def _random_normal_numba() -> Any:
    from .cpu.random import random_normal

    return random_normal


@random_normal.on("cuda", "cuda-on-cpu", accepts=_floating)
def _random_normal_cuda() -> Any:
    from .cuda.random import random_normal

    return random_normal
