"""Scaling gradients by a factor that stays on the GPU: nobody has to wait for it.

The norms of the gradients, and scaling by a number of Python's, are in `optimizer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver_all
from .cuda.arrays import computable
from .optimizer import layouts
from .registry import Arguments, Cost, arguments, kernel


def scale_by_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """Both types, several chunks, strides, nothing; a factor of the wider type."""
    for (x,) in layouts(rng, 1):
        yield arguments(x, np.asarray(0.3, x.dtype))
    yield arguments(rng.uniform(size=9).astype("f4"), np.asarray(0.7))


@kernel(samples=scale_by_samples, cost=lambda x, _: Cost(float(x.size), 2.0 * x.nbytes))
def scale_by(x: Array, factor: Array, *, out: Array | None = None) -> Array:
    """x times the one number in an array (), which nobody has to read from the GPU."""
    xp = array_module(x)
    by = factor.astype(x.dtype, copy=False)
    return xp.multiply(x, by, out=xp.empty_like(x) if out is None else out)


@scale_by.on("cuda", "cuda-on-cpu", accepts=lambda x, _, **__: computable(x))
def _scale_by_cuda() -> Any:
    from .cuda.optimizer import scale_by

    return scale_by


def clip_factor_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """Norms above and below the limit, of both types; one, many and none; infinity and NaN."""
    for limit in (0.5, 100.0):
        yield arguments(rng.uniform(size=7).astype("f4"), limit=limit)
        yield arguments(rng.uniform(size=300), limit=limit)
    yield arguments(rng.uniform(size=1).astype("f4"), limit=0.0)
    yield arguments(np.zeros(0, "f4"), limit=1.0)
    yield arguments(np.array([1, np.inf], "f4"), limit=1.0)
    yield arguments(np.array([1, np.nan], "f4"), limit=1.0)


@kernel(samples=clip_factor_samples, cost=lambda x, **_: Cost(2.0 * x.size, float(x.nbytes)))
def clip_factor(norms: Array, *, limit: float, out: Any = None) -> tuple[Array, Array]:
    """The norm of all parts from the norms of each, and what to scale them by.

    norm = sqrt(sum(norms**2)), summed in float64; factor = limit / (norm + 1e-6), and not above 1.
    Both are arrays () of the norms' type, but at least float32.
    """
    xp = array_module(norms)
    norm = xp.sqrt(xp.square(norms.astype(np.float64)).sum())
    factor = xp.minimum(limit / (norm + 1e-6), 1.0)
    dtype = np.result_type(norms.dtype, np.float32)
    return deliver_all((xp.asarray(norm, dtype), xp.asarray(factor, dtype)), out)


@clip_factor.on("cuda", "cuda-on-cpu", accepts=lambda norms, **_: computable(norms))
def _clip_factor_cuda() -> Any:
    from .cuda.optimizer import clip_factor

    return clip_factor
