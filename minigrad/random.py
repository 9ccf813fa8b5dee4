"""Random tensors, from a seeded counter-based generator: the same numbers on every device.

See `minigrad_kernels.random` for the algorithm. A `Generator` is a seed and a place in its stream;
each function below takes the next stretch of the stream of the given, or the default, generator.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

import minigrad_kernels as kernels
from minigrad_kernels.arrays import array_module
from minigrad_kernels.random import blocks_taken

from . import dtypes
from .arguments import integer, lengths_of
from .device import capture, empty_on
from .tensor import Tensor, TensorLike, as_tensor, wrap


class Generator:
    """A stream of random numbers: a seed, and how much of its stream was used. Safe across threads.

    Args:
        seed: an integer of 64 bits; None takes one from the operating system.

    >>> g = Generator(7)
    >>> a, b = rand(3, generator=g), rand(3, generator=g)
    >>> bool((rand(3, generator=g.manual_seed(7)) == a).all()), bool((a == b).any())
    (True, False)
    """

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self._seed = self._offset = 0
        if seed is None:
            self.seed()
        else:
            self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start at the beginning of the stream of `seed`.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it has more than 64 bits.
        """
        seed = integer(seed, "manual_seed", "seed")
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"manual_seed: wants a seed of 64 bits, got {seed}")
        with self._lock:
            self._seed, self._offset = seed % 2**64, 0
        return self

    def seed(self) -> int:
        """Start a stream that the operating system chooses; returns its seed."""
        seed = int.from_bytes(os.urandom(8), "little") >> 1
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed that was set last."""
        return self._seed

    def get_state(self) -> tuple[int, int]:
        """Its seed, and how many 128-bit blocks of the stream were used."""
        with self._lock:
            return self._seed, self._offset

    def set_state(self, state: tuple[int, int]) -> Generator:
        """Go on from a place that `get_state` returned.

        Raises:
            TypeError, ValueError: if it is no pair of integers in range.
        """
        try:
            seed, offset = state
        except (TypeError, ValueError):
            raise ValueError(f"set_state: wants a pair (seed, offset), got {state!r}") from None
        seed = integer(seed, "set_state", "seed")
        offset = integer(offset, "set_state", "offset")
        if not (0 <= seed < 2**64 and 0 <= offset < 2**64):
            raise ValueError(f"set_state: wants two integers in [0, 2**64), got {state!r}")
        with self._lock:
            self._seed, self._offset = seed, offset
        return self

    def take(self, blocks: int) -> tuple[int, int]:
        """Use up the next blocks of the stream; returns (seed, offset of the first of them).

        Raises:
            RuntimeError: where work is captured in a graph, which would repeat the same numbers.
        """
        if capture.active:
            raise RuntimeError(
                "random numbers cannot be captured in a CUDA graph: every replay would repeat them "
                "(dropout among others; see minigrad.cuda.capture)"
            )
        with self._lock:
            offset = self._offset
            self._offset = (offset + blocks) % 2**64
            return self._seed, offset

    def __reduce__(self) -> Any:
        return _restored, self.get_state()

    def __repr__(self) -> str:
        return f"<Generator seed={self._seed} offset={self._offset}>"


def _restored(seed: int, offset: int) -> Generator:
    return Generator(0).set_state((seed, offset))


default_generator = Generator()
"""Where numbers come from when no generator is given. Its first seed differs in every process."""


def manual_seed(seed: int) -> Generator:
    """Make everything random that follows reproducible: seed the default generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> tuple[int, int]:
    """The state of the default generator."""
    return default_generator.get_state()


def set_rng_state(state: tuple[int, int]) -> None:
    """Go on from a state of the default generator."""
    default_generator.set_state(state)


# Arrays of random numbers


def _floating(name: str, dtype: Any) -> np.dtype[Any]:
    found = dtypes.get_default_dtype() if dtype is None else np.dtype(dtype)
    if not dtypes.is_floating(found) or found.itemsize > 8:
        raise TypeError(f"{name}: wants a floating-point dtype, got {found}")
    return found


def fill(array: Any, kernel: Any, generator: Generator | None) -> Any:
    """Overwrite `array` with the next numbers of a random kernel; returns it.

    Raises:
        TypeError: if `generator` is not one.
    """
    if generator is None:
        generator = default_generator
    elif not isinstance(generator, Generator):
        raise TypeError(f"generator: wants a Generator, got {type(generator).__name__}")
    seed, offset = generator.take(blocks_taken(array.size, array.dtype.itemsize))
    return kernel(array, seed=seed, offset=offset, out=array)


# Random tensors


def rand(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1).

    Raises:
        TypeError: if `dtype` is not a floating-point type or a length not an integer.
        ValueError: if a length is negative.

    >>> rand(2, 3, generator=Generator(0)).shape
    (2, 3)
    """
    array = empty_on(lengths_of(size, "rand"), _floating("rand", dtype), device)
    return Tensor(fill(array, kernels.random_uniform, generator), None, requires_grad)


def randn(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Standard normal numbers. Raises as `rand`."""
    array = empty_on(lengths_of(size, "randn"), _floating("randn", dtype), device)
    return Tensor(fill(array, kernels.random_normal, generator), None, requires_grad)


def rand_like(
    input: TensorLike,
    dtype: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1), of the input's shape, type and device. Raises as `rand`."""
    return _like("rand_like", kernels.random_uniform, input, dtype, requires_grad, generator)


def randn_like(
    input: TensorLike,
    dtype: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Standard normal numbers, of the input's shape, type and device. Raises as `rand`."""
    return _like("randn_like", kernels.random_normal, input, dtype, requires_grad, generator)


def _like(
    name: str,
    kernel: Any,
    input: TensorLike,
    dtype: Any,
    requires_grad: bool,
    generator: Generator | None,
) -> Tensor:
    x = as_tensor(input).data
    dtype = _floating(name, x.dtype if dtype is None else dtype)
    array = array_module(x).empty(x.shape, dtype)
    return Tensor(fill(array, kernel, generator), None, requires_grad)


def normal(
    mean: TensorLike = 0.0,
    std: TensorLike = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normal numbers of the given mean and standard deviation: constants, not differentiable.

    Args:
        mean: a number or a tensor.
        std: a number or a tensor, not negative; it broadcasts with `mean`.
        size: the shape, where mean and std are numbers.
        dtype: by default that of the tensors, or the default type.
        generator: where the numbers come from.

    Raises:
        ValueError: if a standard deviation is negative or NaN, or the shapes do not fit.
    """
    tensors = [x for x in (mean, std) if not isinstance(x, (int, float))]
    if tensors and size is not None:
        raise ValueError("normal: size is given by the tensors; leave it out")
    mean, std = as_tensor(mean).detach(), as_tensor(std).detach()
    if not bool((std.data >= 0).all()):
        raise ValueError("normal: std must not be negative or NaN")
    if dtype is None and tensors:
        found = as_tensor(tensors[0]).dtype
        dtype = found if dtypes.is_floating(found) else None
    dtype = _floating("normal", dtype)
    try:
        shape = np.broadcast_shapes(mean.shape, std.shape)
    except ValueError:
        raise ValueError(
            f"normal: mean {mean.shape} and std {std.shape} do not broadcast"
        ) from None
    if size is not None:
        shape = lengths_of((size,) if isinstance(size, int) else tuple(size), "normal")
    z = fill(
        array_module(mean.data, std.data).empty(shape, dtype), kernels.random_normal, generator
    )
    z *= std.data
    z += mean.data
    return wrap(z)


def randint(
    low: int,
    high: int | None = None,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers in [low, high): `randint(high, size=...)` starts at 0. int64 by default.

    They are 64 random bits modulo the number of choices; no choice is favoured by more than that
    number over 2**64.

    Raises:
        TypeError: if a bound is not an integer, or `dtype` is not a type of number.
        ValueError: if there is nothing to choose from, or `dtype` cannot hold the numbers.

    >>> randint(0, 6, (2, 2)).dtype
    dtype('int64')
    """
    if size is None and isinstance(high, (tuple, list)):
        low, high, size = 0, low, high
    if high is None:
        low, high = 0, low
    low, high = integer(low, "randint", "low"), integer(high, "randint", "high")
    if size is None:
        raise TypeError("randint: the size is missing")
    shape = lengths_of((size,) if isinstance(size, int) else tuple(size), "randint")
    wanted = dtypes.int64 if dtype is None else np.dtype(dtype)
    dtypes.category(wanted)
    if not low < high:
        raise ValueError(f"randint: there are no integers in [{low}, {high})")
    if wanted.kind in "iu" and not (
        np.iinfo(wanted).min <= low and high - 1 <= np.iinfo(wanted).max
    ):
        raise ValueError(f"randint: {wanted} does not hold all of [{low}, {high})")
    if not (low >= -(2**63) and high <= 2**63):
        raise ValueError(f"randint: [{low}, {high}) is wider than int64")
    x = fill(empty_on(shape, np.uint64, device), kernels.random_bits, generator)
    if high - low < 2**64:
        x %= np.uint64(high - low)
    x += np.uint64(low % 2**64)  # two's complement: wraps around to negative numbers
    return wrap(x.view(np.int64).astype(wanted, copy=False))


def randperm(
    n: int, *, dtype: Any = None, device: Any = None, generator: Generator | None = None
) -> Tensor:
    """The integers below n in random order, int64 by default.

    Each gets 64 random bits, by which they are sorted.

    Raises:
        TypeError: if n is not an integer; ValueError: if it is negative.

    >>> sorted(randperm(5).tolist())
    [0, 1, 2, 3, 4]
    """
    n = integer(n, "randperm", "n", 0)
    keys = fill(empty_on((n,), np.uint64, device), kernels.random_bits, generator)
    wanted = dtypes.int64 if dtype is None else np.dtype(dtype)
    return wrap(keys.argsort(kind="stable").astype(wanted, copy=False))


def bernoulli(input: TensorLike, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that `input` says, elementwise, else 0; of its shape and type.

    Raises:
        ValueError: if a probability is not in [0, 1]; TypeError: if they are not real numbers.
    """
    p = as_tensor(input).data
    _floating("bernoulli", p.dtype)
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError("bernoulli: probabilities must lie in [0, 1]")
    u = fill(array_module(p).empty(p.shape, p.dtype), kernels.random_uniform, generator)
    return wrap(array_module(p).asarray(u < p, p.dtype))
