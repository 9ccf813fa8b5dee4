"""The affine map of a layer, rows times a weight matrix, plus a bias; and its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, deliver_all, summing_type
from .cuda.c_types import C_NAMES
from .cuda.capability import TENSOR_CORES
from .layout import plain
from .matmul import BFLOAT16_EPS, TF32_EPS
from .registry import Arguments, Cost, arguments, imported, kernel, only_when_asked


def layers(rng: np.random.Generator) -> Iterator[Arguments]:
    """With and without a bias; batches of several dimensions; strided, odd and empty."""

    def draw(*shape: int, dtype: str = "f4") -> Array:
        return rng.normal(size=shape).astype(dtype)

    yield arguments(draw(3, 5), draw(4, 5), draw(4))
    yield arguments(draw(67, 129), draw(33, 129), None)
    yield arguments(draw(31, 17, dtype="f8"), draw(40, 17, dtype="f8"), draw(40, dtype="f8"))
    yield arguments(draw(5, 3).T, draw(5, 4).T, draw(8)[::2])
    yield arguments(draw(2, 7, 5), draw(3, 5), draw(3))
    yield arguments(draw(5), draw(3, 5), draw(3))
    yield arguments(draw(6, 5), draw(3, 5), draw())
    yield arguments(draw(0, 5), draw(3, 5), draw(3))
    yield arguments(draw(4, 0), draw(3, 0), draw(3))
    yield arguments(draw(3, 5), draw(4, 5), draw(4), relu=True)
    yield arguments(draw(13, 300), draw(33, 300), draw(33), relu=True)
    yield arguments(draw(2, 13, 7, dtype="f8"), draw(40, 7, dtype="f8"), None, relu=True)


def layer_cost(x: Array, w: Array, b: Array | None, *, relu: bool = False) -> Cost:
    """A multiply-add for every weight and row, an addition and a comparison for every output."""
    size = math.prod(x.shape[:-1]) * w.shape[0]
    flops = 2 * size * w.shape[1] + (0 if b is None else size) + (size if relu else 0)
    read = x.nbytes + w.nbytes + (0 if b is None else b.nbytes)
    return Cost(flops=flops, bytes=read + size * x.itemsize)


@kernel(samples=layers, cost=layer_cost)
def linear(
    x: Array, w: Array, b: Array | None, *, relu: bool = False, out: Array | None = None
) -> Array:
    """x (..., in) @ w (out, in) transposed, plus b (out,) or (): (..., out); max(., 0) if `relu`.

    NaN stays NaN.
    """
    rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = rows @ w.T
    if b is not None:
        y += b
    if relu:
        array_module(y).maximum(y, 0, out=y)
    return deliver(y.reshape(*x.shape[:-1], w.shape[0]), out)


def _accepts(x: Array, w: Array, b: Array | None, **_: Any) -> bool:
    return x.ndim > 0 and (plain(x, w) if b is None else b.ndim == 1 and plain(x, w, b))


@linear.on("numba", accepts=_accepts)
def _linear_numba() -> Any:
    from .cpu.linear import linear

    return linear


# In CUDA: the last one has precedence, the others run when they are asked for


def _computable(x: Array, w: Array, b: Array | None, **_: Any) -> bool:
    return (
        x.ndim > 0
        and x.dtype == w.dtype
        and x.dtype in C_NAMES
        and (b is None or (b.ndim == 1 and b.dtype == x.dtype))
    )


def _rounded(x: Array, w: Array, b: Array | None, **_: Any) -> bool:
    """Whether these are numbers that tensor cores round and multiply."""
    return _computable(x, w, b) and x.dtype == np.float32


for _name, _eps in (("bfloat16", BFLOAT16_EPS), ("tf32", TF32_EPS)):
    linear.on(
        "cuda",
        "cuda-on-cpu",
        name=_name,
        accepts=_rounded,
        worth=only_when_asked,
        eps=_eps,
        needs=TENSOR_CORES,
    )(imported("cuda.linear", f"{_name}_linear"))
linear.on("cuda", "cuda-on-cpu", accepts=_computable)(imported("cuda.linear", "linear"))


# Gradients


def gradient_samples(rng: np.random.Generator) -> Iterator[Arguments]:
    """Few rows and many; with and without a ReLU; single gradients; strided, odd and empty."""

    def draw(*shape: int, dtype: str = "f4") -> Array:
        return rng.normal(size=shape).astype(dtype)

    def layer(rows: tuple[int, ...], outputs: int, inputs: int, dtype: str = "f4") -> list[Array]:
        return [
            draw(*rows, outputs, dtype=dtype),
            draw(*rows, inputs, dtype=dtype),
            draw(outputs, inputs, dtype=dtype),
        ]

    g, x, w = layer((5,), 6, 7)
    y = np.maximum(draw(5, 6), 0)
    yield arguments(g, x, w)
    yield arguments(g, x, w, y)
    yield arguments(g[:2], x[:2], w, y[:2])
    yield arguments(g, x, None, y, wanted=(False, True, True))
    yield arguments(g, None, w, y, wanted=(True, False, False))
    yield arguments(g, None, None, y, wanted=(False, False, True))
    yield arguments(g, x, w, wanted=(True, True, False))
    yield arguments(*layer((300,), 13, 70), np.maximum(draw(300, 13), 0))
    yield arguments(*layer((67,), 33, 300, "f8"), np.maximum(draw(67, 33, dtype="f8"), 0))
    yield arguments(*layer((1,), 9, 1100), np.maximum(draw(1, 9), 0))
    yield arguments(*layer((40,), 2, 17), np.maximum(draw(40, 2), 0))
    yield arguments(draw(6, 5).T, draw(7, 5).T, draw(7, 6).T, draw(6, 5).T)
    yield arguments(*layer((2, 7), 3, 5), draw(2, 7, 3))
    yield arguments(*layer((), 3, 5), draw(3))
    yield arguments(*layer((0,), 3, 5))
    yield arguments(*layer((4,), 3, 0))
    yield arguments(*layer((4,), 0, 3))


def gradients_cost(
    g: Array,
    x: Array | None,
    w: Array | None,
    y: Array | None = None,
    *,
    wanted: tuple[bool, bool, bool] = (True, True, True),
) -> Cost:
    """A multiply-add for each product's weight and row, an addition for every bias and row."""
    read = [a for a in (g, x, w, y) if a is not None]
    inputs = max([a.shape[-1] for a in (x, w) if a is not None], default=0)
    outputs = g.shape[-1]
    rows = math.prod(g.shape[:-1])
    flops = 2 * g.size * inputs * (wanted[0] + wanted[1]) + g.size * (wanted[2] + (y is not None))
    written = rows * inputs * wanted[0] + outputs * inputs * wanted[1] + outputs * wanted[2]
    return Cost(flops=flops, bytes=sum(a.nbytes for a in read) + written * g.itemsize)


def check_fit(
    g: Array, x: Array | None, w: Array | None, y: Array | None, wanted: tuple[bool, bool, bool]
) -> None:
    """Refuse arguments of `linear_gradients` whose shapes do not fit.

    Raises:
        ValueError: if they do not, or something is missing.
    """
    by_x, by_w, _ = wanted
    if (
        (y is not None and y.shape != g.shape)
        or (by_x and (w is None or w.ndim != 2 or w.shape[0] != g.shape[-1]))
        or (by_w and (x is None or x.shape[:-1] != g.shape[:-1]))
        or (by_x and by_w and x.shape[-1] != w.shape[1])  # type: ignore[union-attr]
    ):
        arrays = ("g", g), ("x", x), ("w", w), ("y", y)
        shapes = ", ".join(f"{name} {None if a is None else a.shape}" for name, a in arrays)
        raise ValueError(f"linear_gradients: {shapes} do not fit")


@kernel(samples=gradient_samples, cost=gradients_cost)
def linear_gradients(
    g: Array,
    x: Array | None,
    w: Array | None,
    y: Array | None = None,
    *,
    wanted: tuple[bool, bool, bool] = (True, True, True),
    out: Any = None,
) -> tuple[Array, ...]:
    """The gradients of x, w and b in `linear`, for a gradient g (..., out) of its result.

    With y, the result of `linear` with `relu`, g counts as 0 where y is not positive, whatever it
    is there. Then they are g @ w (..., in), the sum over all rows of g^T x (out, in), and that of
    g (out,).

    Args:
        g: (..., out).
        x: (..., in); None if the gradient of w is not wanted.
        w: (out, in); None if the gradient of x is not wanted.
        y: (..., out), or None.
        wanted: which of the three are computed.

    Returns:
        those that are wanted, in this order.

    Raises:
        ValueError: if shapes do not fit, or something is missing.
    """
    check_fit(g, x, w, y, wanted)
    xp = array_module(g)
    if y is not None:
        g = xp.where(y <= 0, 0, g)
    rows = g.reshape(math.prod(g.shape[:-1]), g.shape[-1])
    found = []
    if wanted[0]:
        found.append((rows @ w).reshape(*g.shape[:-1], w.shape[1]))  # type: ignore[union-attr]
    if wanted[1]:
        found.append(rows.T @ x.reshape(len(rows), x.shape[-1]))  # type: ignore[union-attr]
    if wanted[2]:
        found.append(rows.sum(axis=0, dtype=summing_type(g)).astype(g.dtype, copy=False))
    return deliver_all(tuple(found), out)


def _gradients_accept(
    g: Array, x: Array | None, w: Array | None, y: Array | None = None, **_: Any
) -> bool:
    x, w, y = (g if x is None else x), (g if w is None else w), (g if y is None else y)
    return g.ndim > 0 and plain(g, x, w, y)


@linear_gradients.on("numba", accepts=_gradients_accept)
def _linear_gradients_numba() -> Any:
    from .cpu.linear import linear_gradients

    return linear_gradients


def _gradients_computable(
    g: Array, x: Array | None, w: Array | None, y: Array | None = None, **_: Any
) -> bool:
    return (
        g.ndim > 0
        and g.dtype in C_NAMES
        and all(a is None or a.dtype == g.dtype for a in (x, w, y))
    )


def _gradients_rounded(
    g: Array, x: Array | None, w: Array | None, y: Array | None = None, **_: Any
) -> bool:
    return _gradients_computable(g, x, w, y) and g.dtype == np.float32


for _name, _eps in (("bfloat16", BFLOAT16_EPS), ("tf32", TF32_EPS)):
    linear_gradients.on(
        "cuda",
        "cuda-on-cpu",
        name=_name,
        accepts=_gradients_rounded,
        worth=only_when_asked,
        eps=_eps,
        needs=TENSOR_CORES,
    )(imported("cuda.linear_gradients", f"{_name}_linear_gradients"))
linear_gradients.on("cuda", "cuda-on-cpu", accepts=_gradients_computable)(
    imported("cuda.linear_gradients", "linear_gradients")
)
