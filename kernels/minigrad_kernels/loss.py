"""Losses: how far predictions are from targets, sample by sample or in total."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .activation import many_exponentials
from .arrays import Array, array_module, deliver, deliver_all
from .cuda.channels import known
from .layout import elementwise, large, plain
from .registry import Arguments, Cost, Samples, arguments, imported, kernel, per_element

# Cross-entropy of class numbers


def _scores(rng: np.random.Generator) -> Iterator[tuple[Array, Array, Array]]:
    """Scores, target classes (some skipped), and how much each sample counts."""

    def draw(*shape: int, dtype: str = "f4", scale: float = 1.0) -> tuple[Array, Array, Array]:
        x = (rng.normal(size=shape) * scale).astype(dtype)
        target = rng.integers(-1, shape[-1], shape[:-1])
        return x, target, rng.uniform(0.1, 1, shape[:-1]).astype(dtype)

    yield draw(5, 3, dtype="f8")
    yield draw(64, 10)
    yield draw(7, 131, scale=50)
    yield draw(9, scale=1e4)
    yield draw(2, 3, 4, 5, dtype="f8")
    yield draw(0, 4)
    x, target, scale = draw(4, 6)
    yield x[::2, ::-1], target[::2], scale[::2]
    yield np.moveaxis(rng.normal(size=(2, 5, 3)), 1, -1), *draw(2, 3, 5, dtype="f8")[1:]
    yield draw(70, 515)  # several groups of rows
    x, target, scale = draw(6, 4)
    x[0, 1], x[1, 2], x[2, 3] = np.nan, -np.inf, np.inf
    x[3] = 3
    yield x, target, scale


def scored(rng: np.random.Generator) -> Iterator[Arguments]:
    """Calls of `cross_entropy`."""
    for sample in _scores(rng):
        yield arguments(*sample)


def scored_gradients(rng: np.random.Generator) -> Iterator[Arguments]:
    """Calls of `cross_entropy_gradient`: the gradient of each loss, and of their sum."""
    for x, target, scale in _scores(rng):
        _, top, total = cross_entropy.reference(x, target, scale)
        for shape in (target.shape, ()):
            g = rng.normal(size=shape).astype(x.dtype)
            yield arguments(g, x, target, scale, top, total)


def _scores_cost(x: Array, target: Array, scale: Array) -> Cost:
    """A maximum, a difference, an exponential and a sum over the scores."""
    return Cost(flops=4 * x.size, bytes=x.nbytes + target.nbytes + 4 * scale.nbytes)


def _scores_gradient_cost(g: Array, x: Array, target: Array, *stats: Array) -> Cost:
    """Two differences, an exponential and a product for each score."""
    read = g.nbytes + x.nbytes + target.nbytes + sum(s.nbytes for s in stats)
    return Cost(flops=4 * x.size, bytes=read + x.nbytes)


@kernel(samples=scored, cost=_scores_cost)
def cross_entropy(
    x: Array, target: Array, scale: Array, *, out: tuple[Array, Array, Array] | None = None
) -> tuple[Array, Array, Array]:
    """-scale * log_softmax(x)[target] of each sample; 0 where the target is negative.

    Args:
        x: scores (..., C).
        target: class numbers (...) below C; samples with a negative one are skipped.
        scale: what each sample counts (...).
        out: where to write the results.

    Returns:
        the losses, and for the gradient the largest score `top` and `total`, the logarithm of
        sum(exp(x - top)), all of shape (...). Kept apart, since their sum would be rounded to the
        precision of the scores, and the losses with it.
    """
    xp = array_module(x)
    if x.size:
        top = x.max(axis=-1)
    else:
        top = xp.zeros(x.shape[:-1], x.dtype)
    with np.errstate(invalid="ignore"):  # -inf less -inf, and 0 times inf, are NaN as they should
        total = xp.log(xp.exp(x - top[..., None]).sum(axis=-1)) if x.size else top.copy()
        losses = xp.where(target < 0, 0, total - (_picked(xp, x, target) - top)) * scale
    return deliver_all((losses, top, total), out)


def _picked(xp: Any, x: Array, target: Array) -> Array:
    """The score (...) of each sample's target; of class 0 where it is skipped."""
    if not x.size:
        return xp.zeros(x.shape[:-1], x.dtype)
    return xp.take_along_axis(x, xp.maximum(target, 0)[..., None], axis=-1)[..., 0]


def _scores_fit(x: Array, target: Array, scale: Array, **_: object) -> bool:
    """Whether compiled kernels, which trust shapes, take these arrays of one real type and class
    numbers."""
    return (
        x.size > 0
        and x.shape[:-1] == target.shape == scale.shape
        and x.ndim > 0
        and target.dtype == np.int64
        and target.flags.aligned
        and plain(x, scale)
    )


def _scores_gradient_fit(
    g: Array, x: Array, target: Array, scale: Array, *stats: Array, **_: object
) -> bool:
    """The same for the gradient, `g` and what `cross_entropy` returned."""
    if (g.ndim and g.shape != target.shape) or any(a.shape != target.shape for a in stats):
        return False
    return _scores_fit(x, target, scale) and plain(x, g, *stats)


def _cuda_scores(x: Array, target: Array, scale: Array, **_: object) -> bool:
    """Whether CUDA kernels take these arrays of one real type and class numbers."""
    return (
        x.size > 0
        and x.ndim > 0
        and x.shape[:-1] == target.shape == scale.shape
        and target.dtype == np.int64
        and known(x)
        and scale.dtype == x.dtype
    )


def _cuda_scores_gradient(
    g: Array, x: Array, target: Array, scale: Array, *stats: Array, **_: object
) -> bool:
    """The same for the gradient, `g` and what `cross_entropy` returned."""
    if (g.ndim and g.shape != target.shape) or any(a.shape != target.shape for a in stats):
        return False
    return _cuda_scores(x, target, scale) and all(a.dtype == x.dtype for a in (g, *stats))


# Compiled, they are faster for any size: NumPy takes a dozen calls.


@cross_entropy.on("numba", accepts=_scores_fit)
def _cross_entropy_numba() -> Any:
    from .cpu.loss import cross_entropy

    return cross_entropy


@kernel(samples=scored_gradients, cost=_scores_gradient_cost)
def cross_entropy_gradient(
    g: Array,
    x: Array,
    target: Array,
    scale: Array,
    top: Array,
    total: Array,
    *,
    out: Array | None = None,
) -> Array:
    """(softmax(x) - onehot(target)) * g * scale: (..., C); 0 for the samples that are skipped.

    `g` is of the losses' shape, or one number for all; `top` and `total` are what `cross_entropy`
    returned.
    """
    xp = array_module(x)
    with np.errstate(invalid="ignore"):  # inf less inf is NaN as it should
        y = x - top[..., None]
    y -= total[..., None]
    xp.exp(y, out=y)
    y -= xp.arange(x.shape[-1]) == target[..., None]
    y *= (g * scale)[..., None]
    xp.copyto(y, 0, where=(target < 0)[..., None])
    return deliver(y, out)


@cross_entropy_gradient.on("numba", accepts=_scores_gradient_fit)
def _cross_entropy_gradient_numba() -> Any:
    from .cpu.loss import cross_entropy_gradient

    return cross_entropy_gradient


# Differences


def compared(*variants: dict[str, Any], low: float = -3.0, high: float = 3.0) -> Samples:
    """Samples of predictions in [low, high] and targets in [0, 1], in several layouts."""

    def samples(rng: np.random.Generator) -> Iterator[Arguments]:
        def draw(*shape: int, dtype: str = "f4") -> tuple[Array, Array]:
            x = rng.uniform(low, high, shape).astype(dtype)
            return x, rng.uniform(0, 1, shape).astype(dtype)

        for options in variants or ({},):
            yield arguments(*draw(3, 5, dtype="f8"), **options)
            yield arguments(*draw(2, 131), **options)
            yield arguments(*(x[::2, ::-1] for x in draw(6, 7)), **options)
            yield arguments(*(x.T for x in draw(5, 3, dtype="f8")), **options)
            yield arguments(*draw(), **options)
            x, t = draw(4, 5)
            yield arguments(np.round(x), np.round(t), **options)
            yield arguments(*draw(2 * 16384 + 5), **options)  # several chunks
            if options.get("reduction") != "mean":  # there is no mean of nothing to compare
                yield arguments(*draw(0, 4), **options)

    return samples


REDUCTIONS = ({"reduction": "none"}, {"reduction": "sum"}, {"reduction": "mean"})


def _difference_cost(x: Array, t: Array, *, reduction: str) -> Cost:
    """A difference, a square and, in sums, an addition for each element."""
    written = x.nbytes if reduction == "none" else x.itemsize
    flops = (2 if reduction == "none" else 3) * x.size
    return Cost(flops=flops, bytes=x.nbytes + t.nbytes + written)


@kernel(samples=compared(*REDUCTIONS), cost=_difference_cost)
def mse_loss(x: Array, t: Array, *, reduction: str, out: Array | None = None) -> Array:
    """(x - t)**2, each ("none") or all together ("sum", "mean"); the mean of nothing is NaN."""
    d = x - t
    d *= d
    if reduction == "none":
        return deliver(d, out)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = d.sum(dtype=np.result_type(d.dtype, np.float32))
        y = (y / d.dtype.type(d.size) if reduction == "mean" else y).astype(d.dtype)
    return deliver(y, out)


@mse_loss.on("numba", accepts=elementwise, worth=large)
def _mse_loss_numba() -> Any:
    from .cpu.loss import mse_loss

    return mse_loss


# Binary cross-entropy


@kernel(samples=compared(low=0.0, high=1.0), cost=per_element(8))
def binary_cross_entropy(p: Array, t: Array, *, out: Array | None = None) -> Array:
    """-(t * log(p) + (1 - t) * log(1 - p)), the logarithms not below -100."""
    xp = array_module(p)
    with np.errstate(divide="ignore"):
        yes, no = xp.maximum(xp.log(p), -100), xp.maximum(xp.log1p(-p), -100)
    return xp.negative(t * yes + (1 - t) * no, out=out)


@binary_cross_entropy.on("numba", accepts=elementwise, worth=many_exponentials)
def _binary_cross_entropy_numba() -> Any:
    from .cpu.loss import binary_cross_entropy

    return binary_cross_entropy


def logits(rng: np.random.Generator) -> Iterator[Arguments]:
    """As `compared`, without and with a weight, of one number or one for each column."""
    for call in compared()(rng):
        x, t = call.args
        yield arguments(x, t, None)
        yield arguments(x, t, rng.uniform(0.5, 2, x.shape[-1:]).astype(x.dtype))


def _logits_cost(x: Array, t: Array, w: Array | None) -> Cost:
    """An exponential, a logarithm and ten simple operations for each element."""
    read = x.nbytes + t.nbytes + (0 if w is None else w.nbytes)
    return Cost(flops=12 * x.size, bytes=read + x.nbytes)


@kernel(samples=logits, cost=_logits_cost)
def binary_cross_entropy_with_logits(
    x: Array, t: Array, w: Array | None, *, out: Array | None = None
) -> Array:
    """w * t * softplus(-x) + (1 - t) * softplus(x): no difference that could cancel.

    softplus(x) = max(x, 0) + log(1 + exp(-|x|)). `w` broadcasts to the others; None is 1.
    """
    xp = array_module(x)
    rest = xp.log1p(xp.exp(-xp.abs(x)))
    positive = xp.maximum(x, 0)
    yes = t * (positive - x + rest)
    return xp.add(yes if w is None else yes * w, (1 - t) * (positive + rest), out=out)


def _logits_fit(x: Array, t: Array, w: Array | None, **_: object) -> bool:
    """Whether a compiled kernel takes them; the weight is broadcast first."""
    return elementwise(x, t) and (w is None or (plain(x, w) and w.ndim <= x.ndim))


@binary_cross_entropy_with_logits.on("numba", accepts=_logits_fit, worth=many_exponentials)
def _binary_cross_entropy_with_logits_numba() -> Any:
    from .cpu.loss import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits


# On the GPU; each of them has the same name there


def _pairs(x: Array, t: Array, *_: object, **__: object) -> bool:
    return x.size > 0 and x.shape == t.shape and x.dtype == t.dtype and known(x)


def _weighted_pairs(x: Array, t: Array, w: Array | None, **_: object) -> bool:
    if not _pairs(x, t) or w is None:
        return _pairs(x, t)
    shape = (1,) * (x.ndim - w.ndim) + w.shape
    fits = len(shape) == x.ndim and all(
        n in (1, wanted) for n, wanted in zip(shape, x.shape, strict=True)
    )
    return fits and w.dtype == x.dtype


for _kernel, _accepts in (
    (cross_entropy, _cuda_scores),
    (cross_entropy_gradient, _cuda_scores_gradient),
    (mse_loss, _pairs),
    (binary_cross_entropy, _pairs),
    (binary_cross_entropy_with_logits, _weighted_pairs),
):
    _kernel.on("cuda", "cuda-on-cpu", accepts=_accepts)(imported("cuda.loss", _kernel.name))
