"""Activation functions of single elements, each beside the kernel that carries a gradient back.

A `*_gradient` kernel takes the gradient `g` of the output first, then the input `x`, or the output
`y` where that says enough. NumPy's ufuncs find CuPy's loops by themselves, in less time than it
takes to ask whose the array is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .arrays import Array, array_module, deliver, special_functions
from .cuda.arrays import computable
from .layout import elementwise, large
from .registry import Arguments, Samples, arguments, imported, kernel, per_element


def drawn(count: int, *variants: dict[str, Any], scale: float = 3.0) -> Samples:
    """Samples of `count` arrays of one shape, in several layouts, with each of the options."""

    def samples(rng: np.random.Generator) -> Iterator[Arguments]:
        def draw(*shape: int, dtype: str = "f8", scale: float = scale) -> list[Array]:
            return [(rng.normal(size=shape) * scale).astype(dtype) for _ in range(count)]

        for options in variants or ({},):
            yield arguments(*draw(3, 5), **options)
            yield arguments(*draw(2, 131, dtype="f4"), **options)
            yield arguments(*(x[::2, ::-1] for x in draw(6, 7, dtype="f4")), **options)
            yield arguments(*(x.T for x in draw(5, 3)), **options)
            yield arguments(*draw(0, 4), **options)
            yield arguments(*draw(dtype="f4"), **options)
            yield arguments(*draw(9, dtype="f4", scale=1e4), **options)
        options = (*variants, {})[0]
        yield arguments(*draw(2 * 16384 + 5, dtype="f4"), **options)  # several chunks
        yield arguments(*(x.transpose(0, 3, 1, 2) for x in draw(2, 3, 4, 5, dtype="f4")), **options)
        ends = np.array([np.nan, np.inf if count == 1 else 200.0, 0.0, 1.0, -1.0, 30.0], "f4")
        yield arguments(*(np.roll(ends, i) for i in range(count)), **options)

    return samples


# Kinked at 0


@kernel(samples=drawn(1), cost=per_element(1))
def relu(x: Array, *, out: Array | None = None) -> Array:
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0, out=out)


@kernel(samples=drawn(2), cost=per_element(1))
def relu_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """`g` where the output y = relu(x) is not 0, else 0: whatever `g` is there, infinite or NaN."""
    return deliver(array_module(y).where(y <= 0, 0, g), out)


@kernel(samples=drawn(1, {"slope": 0.01}, {"slope": -0.5}), cost=per_element(2))
def leaky_relu(x: Array, *, slope: float, out: Array | None = None) -> Array:
    """x where it is positive, else slope * x."""
    return deliver(array_module(x).where(x > 0, x, x * slope), out)


@kernel(samples=drawn(2, {"slope": 0.01}, {"slope": -0.5}), cost=per_element(2))
def leaky_relu_gradient(g: Array, x: Array, *, slope: float, out: Array | None = None) -> Array:
    """`g` where x is positive, else slope * g."""
    return deliver(array_module(x).where(x > 0, g, g * slope), out)


@kernel(samples=drawn(1, {"alpha": 1.0}, {"alpha": 0.3}), cost=per_element(3))
def elu(x: Array, *, alpha: float, out: Array | None = None) -> Array:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    xp = array_module(x)
    return deliver(xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0))), out)


@kernel(samples=drawn(2, {"alpha": 1.0}, {"alpha": 0.3}), cost=per_element(4))
def elu_gradient(g: Array, x: Array, *, alpha: float, out: Array | None = None) -> Array:
    """`g` where x is positive, else g * alpha * exp(x)."""
    xp = array_module(x)
    return deliver(xp.where(x > 0, g, g * (alpha * xp.exp(xp.minimum(x, 0)))), out)


# S-shaped


@kernel(samples=drawn(1), cost=per_element(4))
def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """1 / (1 + exp(-x)); where exp overflows, its infinity gives the right limit, 0."""
    with np.errstate(over="ignore"):
        return np.divide(1, 1 + np.exp(-x), out=out)


@kernel(samples=drawn(2), cost=per_element(3))
def sigmoid_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """g * y * (1 - y), where y = sigmoid(x)."""
    return np.multiply(g, y * (1 - y), out=out)


@kernel(samples=drawn(1), cost=per_element(6))
def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(x, out=out)


@kernel(samples=drawn(2), cost=per_element(3))
def tanh_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """g * (1 - y**2), where y = tanh(x)."""
    return np.multiply(g, 1 - y * y, out=out)


# Smooth relatives of relu


@kernel(samples=drawn(1), cost=per_element(5))
def silu(x: Array, *, out: Array | None = None) -> Array:
    """x * sigmoid(x)."""
    return np.multiply(x, sigmoid.reference(x), out=out)


@kernel(samples=drawn(2), cost=per_element(8))
def silu_gradient(g: Array, x: Array, *, out: Array | None = None) -> Array:
    """g * s * (1 + x * (1 - s)), where s = sigmoid(x)."""
    s = sigmoid.reference(x)
    return np.multiply(g, s * (1 + x * (1 - s)), out=out)


SOFTPLUS = ({"beta": 1.0, "threshold": 20.0}, {"beta": 2.5, "threshold": 1.0})


@kernel(samples=drawn(1, *SOFTPLUS), cost=per_element(8))
def softplus(x: Array, *, beta: float, threshold: float, out: Array | None = None) -> Array:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x exceeds the threshold.

    log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)) cannot overflow.
    """
    xp = array_module(x)
    z = x * beta
    y = (xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z)))) / beta
    return deliver(xp.where(z > threshold, x, y), out)


@kernel(samples=drawn(2, *SOFTPLUS), cost=per_element(6))
def softplus_gradient(
    g: Array, x: Array, *, beta: float, threshold: float, out: Array | None = None
) -> Array:
    """g * sigmoid(beta * x), and g itself where beta * x exceeds the threshold."""
    z = x * beta
    return deliver(array_module(x).where(z > threshold, g, g * sigmoid.reference(z)), out)


GELU = ({"approximate": "none"}, {"approximate": "tanh"})


@kernel(samples=drawn(1, *GELU), cost=per_element(12))
def gelu(x: Array, *, approximate: str, out: Array | None = None) -> Array:
    """x * P(Z < x) for a standard normal Z, or its approximation by a tanh.

    Source: Hendrycks, Gimpel, Gaussian error linear units, 2016.
    """
    xp = array_module(x)
    if approximate == "tanh":
        u, _, _ = _tanh_argument(xp, x)
        return xp.multiply(x, sigmoid.reference(2 * u), out=out)
    return xp.multiply(x, _normal_below(x), out=out)


@kernel(samples=drawn(2, *GELU), cost=per_element(20))
def gelu_gradient(g: Array, x: Array, *, approximate: str, out: Array | None = None) -> Array:
    """g times the derivative of gelu at x."""
    xp = array_module(x)
    if approximate == "tanh":
        u, slope, x = _tanh_argument(xp, x)
        s = sigmoid.reference(2 * u)
        return xp.multiply(g, s + 2 * x * s * (1 - s) * slope, out=out)
    z = xp.clip(x, -40, 40)  # beyond, the density is 0 in every type, and z * z must not overflow
    density = xp.exp(-0.5 * z * z) * (1 / math.sqrt(2 * math.pi))
    return xp.multiply(g, _normal_below(x) + z * density, out=out)


def _tanh_argument(xp: ModuleType, x: Array) -> tuple[Array, Array, Array]:
    """The tanh's argument u, its slope, and x within [-40, 40]: beyond, (1 + tanh u) / 2 is 0 or 1.

    That is sigmoid(2 * u), without the cancellation of 1 and tanh u.
    """
    x = xp.clip(x, -40, 40)
    square = x * x
    factor = math.sqrt(2 / math.pi)
    return factor * x * (1 + 0.044715 * square), factor * (1 + 3 * 0.044715 * square), x


def _normal_below(x: Array) -> Array:
    """P(Z < x) for a standard normal Z: (1 + erf(x / sqrt 2)) / 2 without its cancellation."""
    return special_functions(x).ndtr(x).astype(x.dtype, copy=False)


# Compiled: each of them has the same name there

SMALL_EXPONENTIALS = 512
"""Elements up to which NumPy is done with an exponential before a compiled kernel has begun."""


def many_exponentials(*arrays: Array, **_: object) -> bool:
    """Whether a kernel that computes an exponential for each element is worth calling."""
    return arrays[0].size > SMALL_EXPONENTIALS


def _alike(*arrays: Array, **_: object) -> bool:
    return computable(*arrays)


_cheap = (relu, relu_gradient, leaky_relu, leaky_relu_gradient, sigmoid_gradient, tanh_gradient)
_costly = (
    *(elu, elu_gradient, sigmoid, tanh, silu, silu_gradient),
    *(softplus, softplus_gradient, gelu, gelu_gradient),
)
for _kernel in (*_cheap, *_costly):
    _worth = large if _kernel in _cheap else many_exponentials
    _kernel.on("numba", accepts=elementwise, worth=_worth)(imported("cpu.activation", _kernel.name))
    _kernel.on("cuda", "cuda-on-cpu", accepts=_alike)(imported("cuda.activation", _kernel.name))
