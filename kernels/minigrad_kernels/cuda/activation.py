"""Activation functions in CUDA: the launch code of activation.cu.

What each computes stands at its reference in `minigrad_kernels.activation`.
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array
from .elementwise import mapped


def _map(name: str, out: Array | None, *inputs: Array, numbers: tuple[Any, ...] = ()) -> Array:
    return mapped("activation.cu", name, inputs, *numbers, out=out)


def relu(x: Array, *, out: Array | None = None) -> Array:
    """max(x, 0); NaN stays NaN."""
    return _map("relu", out, x)


def relu_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """`g` where the output y = relu(x) is not 0, else 0."""
    return _map("relu_gradient", out, g, y)


def leaky_relu(x: Array, *, slope: float, out: Array | None = None) -> Array:
    """x where it is positive, else slope * x."""
    return _map("leaky_relu", out, x, numbers=(slope,))


def leaky_relu_gradient(g: Array, x: Array, *, slope: float, out: Array | None = None) -> Array:
    """`g` where x is positive, else slope * g."""
    return _map("leaky_relu_gradient", out, g, x, numbers=(slope,))


def elu(x: Array, *, alpha: float, out: Array | None = None) -> Array:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    return _map("elu", out, x, numbers=(alpha,))


def elu_gradient(g: Array, x: Array, *, alpha: float, out: Array | None = None) -> Array:
    """`g` where x is positive, else g * alpha * exp(x)."""
    return _map("elu_gradient", out, g, x, numbers=(alpha,))


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """1 / (1 + exp(-x))."""
    return _map("sigmoid", out, x)


def sigmoid_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """g * y * (1 - y), where y = sigmoid(x)."""
    return _map("sigmoid_gradient", out, g, y)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent."""
    return _map("hyperbolic_tangent", out, x)


def tanh_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """g * (1 - y**2), where y = tanh(x)."""
    return _map("hyperbolic_tangent_gradient", out, g, y)


def silu(x: Array, *, out: Array | None = None) -> Array:
    """x * sigmoid(x)."""
    return _map("silu", out, x)


def silu_gradient(g: Array, x: Array, *, out: Array | None = None) -> Array:
    """g times the derivative of silu at x."""
    return _map("silu_gradient", out, g, x)


def softplus(x: Array, *, beta: float, threshold: float, out: Array | None = None) -> Array:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x exceeds the threshold."""
    return _map("softplus", out, x, numbers=(beta, threshold))


def softplus_gradient(
    g: Array, x: Array, *, beta: float, threshold: float, out: Array | None = None
) -> Array:
    """g * sigmoid(beta * x), and g itself where beta * x exceeds the threshold."""
    return _map("softplus_gradient", out, g, x, numbers=(beta, threshold))


def gelu(x: Array, *, approximate: str, out: Array | None = None) -> Array:
    """x * P(Z < x) for a standard normal Z, or its approximation by a tanh."""
    return _map("gelu_by_tanh" if approximate == "tanh" else "gelu", out, x)


def gelu_gradient(g: Array, x: Array, *, approximate: str, out: Array | None = None) -> Array:
    """g times the derivative of gelu at x."""
    name = "gelu_by_tanh_gradient" if approximate == "tanh" else "gelu_gradient"
    return _map(name, out, g, x)
