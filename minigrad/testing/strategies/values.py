"""Numbers to fill arrays with: random, far apart, tied, extreme; cotangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .shapes import Draw, Shape, at_least, checked_shape


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Generators of random numbers, of which only the seed is drawn."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def arrays(
    shape: Shape,
    low: float = -2.0,
    high: float = 2.0,
    dtype: Any = np.float64,
    device: str = "cpu",
) -> st.SearchStrategy[np.ndarray]:
    """Uniform random numbers in [low, high], all different for all that matters.

    Args:
        shape: of the arrays.
        low: the smallest number.
        high: the largest number.
        dtype: a floating-point type.
        device: on which they are to be used. Numbers that it takes for zero are drawn as zeros, so
            that the CPU computes with the same ones.

    Raises:
        ValueError: unless low < high and both are finite; TypeError: for another type of numbers.
    """
    shape, kind = checked_shape("arrays", shape), _floating("arrays", dtype)
    _range("arrays", low, high)
    flush = flushes_subnormals(device, kind)
    return _arrays(shape, low, high, kind, flush)


@st.composite
def _arrays(
    draw: Draw, shape: Shape, low: float, high: float, dtype: np.dtype[Any], flush: bool
) -> np.ndarray:
    x = np.asarray(draw(generators()).uniform(low, high, shape)).astype(dtype)
    if flush:
        x[abs(x) < np.finfo(dtype).tiny] = 0
    return x


def separated(
    shape: Shape,
    gap: float | None = None,
    low: float = -2.0,
    high: float = 2.0,
    dtype: Any = np.float64,
    avoid: Sequence[float] = (0.0,),
) -> st.SearchStrategy[np.ndarray]:
    """Numbers in random order of which no two are close, and none is close to a kink.

    Any two are at least `gap` apart, after rounding to `dtype`, and at least half of that from
    every number in `avoid`. Without a gap they lie on a grid, as far apart as the range allows, at
    the golden section of each of its cells, which misses 0 and most round numbers; `avoid` is
    ignored.

    Raises:
        ValueError: if so many numbers do not fit into [low, high] with that gap.
    """
    shape, kind = checked_shape("separated", shape), _floating("separated", dtype)
    _range("separated", low, high)
    n = int(np.prod(shape))
    if gap is None:
        grid = low + (high - low) * (np.arange(n) + 0.381966) / max(n, 1)
        return _shuffled(grid, shape, kind)
    if not 0 < gap < np.inf:
        raise ValueError(f"separated: the gap must be a positive number, got {gap}")
    points = sorted(p for p in avoid if low - gap < p < high + gap)
    # Each number is rounded by at most half a unit in its last place.
    safe = gap + 2 * float(np.finfo(kind).eps) * max(abs(low), abs(high))
    room = (high - low) - safe * (max(n - 1, 0) + len(points))
    if room < 0:
        raise ValueError(
            f"separated: {n} numbers that are {gap} apart, {len(points)} numbers avoided, do not "
            f"fit between {low} and {high}"
        )
    return _spread(shape, safe, low, room, tuple(points), kind)


@st.composite
def _shuffled(draw: Draw, grid: np.ndarray, shape: Shape, dtype: np.dtype[Any]) -> np.ndarray:
    return np.asarray(draw(generators()).permutation(grid).reshape(shape)).astype(dtype)


@st.composite
def _spread(
    draw: Draw,
    shape: Shape,
    gap: float,
    low: float,
    room: float,
    points: tuple[float, ...],
    dtype: np.dtype[Any],
) -> np.ndarray:
    """Random places in the room that the gaps leave, then the gaps put between them."""
    rng = draw(generators())
    n = int(np.prod(shape))
    x = low + np.sort(rng.uniform(0, room, n)) + gap * np.arange(n)
    for p in points:
        x[x > p - gap / 2] += gap
    return np.asarray(rng.permutation(x).reshape(shape)).astype(dtype)


def tied(shape: Shape, values: int = 2, dtype: Any = np.float64) -> st.SearchStrategy[np.ndarray]:
    """Ties on purpose: of the numbers 0, 1, ..., values - 1 only.

    At least two entries are equal, if there are two.

    Raises:
        TypeError, ValueError: unless `values` is an integer of at least 1.
    """
    shape = checked_shape("tied", shape)
    at_least("tied", "values", values, 1)
    return _tied(shape, values, np.dtype(dtype))


@st.composite
def _tied(draw: Draw, shape: Shape, values: int, dtype: np.dtype[Any]) -> np.ndarray:
    rng = draw(generators())
    x = rng.integers(0, values, shape).astype(dtype)
    if x.size > 1 and len(np.unique(x)) == x.size:
        one, other = rng.choice(x.size, 2, replace=False)
        x.flat[one] = x.flat[other]
    return np.asarray(x)


def cotangents(shape: Shape, dtype: Any = np.float64) -> st.SearchStrategy[np.ndarray]:
    """Random numbers of either sign, 0.5 to 1.5 in size: no entry's gradient is weighted away."""
    shape, kind = checked_shape("cotangents", shape), _floating("cotangents", dtype)
    return _cotangents(shape, kind)


@st.composite
def _cotangents(draw: Draw, shape: Shape, dtype: np.dtype[Any]) -> np.ndarray:
    rng = draw(generators())
    x = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    return np.asarray(x).astype(dtype)


def extremes(
    shape: Shape,
    dtype: Any = np.float64,
    device: str = "cpu",
    subnormals: bool | None = None,
) -> st.SearchStrategy[np.ndarray]:
    """Numbers at the ends of a floating-point type: zeros of both signs, tiny, huge, near 1.

    Args:
        shape: of the arrays.
        dtype: a floating-point type.
        device: on which they are to be used.
        subnormals: whether to draw some; None asks the device. Set it to False for other
            frameworks that flush them to zero (XLA does so in some of its CPU kernels).
    """
    shape, kind = checked_shape("extremes", shape), _floating("extremes", dtype)
    flush = flushes_subnormals(device, kind)
    info: Any = np.finfo(kind)
    sizes = [0.0, info.tiny, info.eps, 1 - info.epsneg, 1.0, 1 + info.eps, info.max]
    if subnormals or (subnormals is None and not flush):
        sizes += [info.smallest_subnormal, info.tiny / 4, info.tiny - info.smallest_subnormal]
    return _picked(shape, np.array(sizes, kind))


@st.composite
def _picked(draw: Draw, shape: Shape, sizes: np.ndarray) -> np.ndarray:
    rng = draw(generators())
    signs = rng.choice([-1.0, 1.0], shape)
    return np.asarray(np.copysign(rng.choice(sizes, shape), signs.astype(sizes.dtype)))


def flushes_subnormals(device: str, dtype: Any = np.float32) -> bool:
    """Whether kernels on this device take subnormal numbers of this type for zero.

    On GPUs they do in single precision: CuPy compiles with `--ftz=true`, which concerns no other
    type. On the CPU, also in the emulator of CUDA kernels, they do not.

    Raises:
        ValueError: for a device that is not known.
    """
    if device.split(":")[0] not in ("cpu", "cuda", "cuda-on-cpu"):
        raise ValueError(f"device {device!r} is none of cpu, cuda, cuda:0, ..., cuda-on-cpu")
    return device.startswith("cuda") and device != "cuda-on-cpu" and np.dtype(dtype) == np.float32


def _floating(name: str, dtype: Any) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind.kind != "f":
        raise TypeError(f"{name}: dtype must be a floating-point type, got {kind}")
    return kind


def _range(name: str, low: float, high: float) -> None:
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"{name}: wants finite low < high, got {low} and {high}")
