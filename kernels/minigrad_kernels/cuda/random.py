"""Random numbers in CUDA: the launch code of random.cu."""

from __future__ import annotations

import numpy as np

from ..arrays import Array, deliver
from .arrays import aligned, ceil_divide, result
from .elementwise import THREADS, blocks, elementwise_kernel
from .launch import KernelFunction
from .source import kernel


def random_bits(like: Array, *, seed: int, offset: int, out: Array | None = None) -> Array:
    """Random integers over the whole range of `like`, uint32 or uint64."""
    y = result(out, (like,), like.shape, like.dtype)
    words = y.reshape(-1).view(np.uint32)
    run = kernel("random.cu", "random_bits", T="float", REAL="float")
    _launch(run, words, 4, seed, offset)
    return y if y is out else deliver(y, out)


def random_uniform(like: Array, *, seed: int, offset: int, out: Array | None = None) -> Array:
    """Random multiples of 2**-24 (float32), 2**-53 (float64) or 2**-11 (float16) in [0, 1)."""
    return _numbers("random_uniform", like, seed, offset, out)


def random_normal(like: Array, *, seed: int, offset: int, out: Array | None = None) -> Array:
    """Standard normal numbers, by the formula of Box and Muller, of float16 in float32."""
    return _numbers("random_normal", like, seed, offset, out)


def _numbers(name: str, like: Array, seed: int, offset: int, out: Array | None) -> Array:
    y = result(out, (like,), like.shape, like.dtype)
    in_block = 2 if like.dtype.itemsize == 8 else 4
    _launch(elementwise_kernel("random.cu", name, y), y.reshape(-1), in_block, seed, offset)
    return y if y is out else deliver(y, out)


def _launch(run: KernelFunction, y: Array, in_block: int, seed: int, offset: int) -> None:
    """Fill y, whose numbers are `in_block` of a block of words each."""
    if not y.size:
        return
    whole = y.size // in_block if aligned(in_block, in_block, y) else 0
    grid = blocks(ceil_divide(y.size, in_block))
    run(grid, THREADS, y, seed % 2**64, offset % 2**64, y.size, whole)
