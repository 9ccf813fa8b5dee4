"""Activation functions and their gradients on the CPU: one pass over memory each."""

from __future__ import annotations

import math

import numba
from numba import prange

from ..arrays import Array
from .compiled import chunks, compiled, span
from .elementwise import elementwise
from .math import (
    bell,
    exp,
    exp_of_negative,
    expm1,
    log1p,
    normal_below,
    sigmoid as logistic,
    tanh as tangent,
)

# Kinked at 0


@compiled
def _relu(x, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            b[i] = x.dtype.type(0) if xi <= 0 else xi


def relu(x: Array, *, out: Array | None = None) -> Array:
    """max(x, 0)."""
    return elementwise(_relu, out, x)


@compiled
def _relu_gradient(g, y, gx):
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], y[part], gx[part]
        for i in range(a.size):
            gi = a[i]
            c[i] = g.dtype.type(0) if b[i] <= 0 else gi


def relu_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """`g` where y is not 0."""
    return elementwise(_relu_gradient, out, g, y)


@compiled
def _leaky_relu(x, slope, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            low = xi * slope
            b[i] = xi if xi > 0 else low


def leaky_relu(x: Array, *, slope: float, out: Array | None = None) -> Array:
    """x where it is positive, else slope * x."""
    return elementwise(_leaky_relu, out, x, options=(x.dtype.type(slope),))


@compiled
def _leaky_relu_gradient(g, x, slope, gx):
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], x[part], gx[part]
        for i in range(a.size):
            gi, xi = a[i], b[i]
            low = gi * slope
            c[i] = gi if xi > 0 else low


def leaky_relu_gradient(g: Array, x: Array, *, slope: float, out: Array | None = None) -> Array:
    """`g` where x is positive, else slope * g."""
    return elementwise(_leaky_relu_gradient, out, g, x, options=(x.dtype.type(slope),))


@compiled
def _elu(x, alpha, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            low = alpha * expm1(xi)
            b[i] = xi if xi > 0 else low


def elu(x: Array, *, alpha: float, out: Array | None = None) -> Array:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    return elementwise(_elu, out, x, options=(x.dtype.type(alpha),))


@compiled
def _elu_gradient(g, x, alpha, gx):
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], x[part], gx[part]
        for i in range(a.size):
            gi, xi = a[i], b[i]
            low = gi * (alpha * exp(xi))
            c[i] = gi if xi > 0 else low


def elu_gradient(g: Array, x: Array, *, alpha: float, out: Array | None = None) -> Array:
    """`g` where x is positive, else g * alpha * exp(x)."""
    return elementwise(_elu_gradient, out, g, x, options=(x.dtype.type(alpha),))


# S-shaped


@compiled
def _sigmoid(x, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            b[i] = logistic(xi)


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """1 / (1 + exp(-x))."""
    return elementwise(_sigmoid, out, x)


@compiled
def _sigmoid_gradient(g, y, gx):
    one = g.dtype.type(1)
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], y[part], gx[part]
        for i in range(a.size):
            gi, yi = a[i], b[i]
            c[i] = gi * (yi * (one - yi))


def sigmoid_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """g * y * (1 - y)."""
    return elementwise(_sigmoid_gradient, out, g, y)


@compiled
def _tanh(x, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            b[i] = tangent(xi)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent."""
    return elementwise(_tanh, out, x)


@compiled
def _tanh_gradient(g, y, gx):
    one = g.dtype.type(1)
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], y[part], gx[part]
        for i in range(a.size):
            gi, yi = a[i], b[i]
            c[i] = gi * (one - yi * yi)


def tanh_gradient(g: Array, y: Array, *, out: Array | None = None) -> Array:
    """g * (1 - y**2)."""
    return elementwise(_tanh_gradient, out, g, y)


# Smooth relatives of relu


@compiled
def _silu(x, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            b[i] = xi * logistic(xi)


def silu(x: Array, *, out: Array | None = None) -> Array:
    """x * sigmoid(x)."""
    return elementwise(_silu, out, x)


@compiled
def _silu_gradient(g, x, gx):
    one = g.dtype.type(1)
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], x[part], gx[part]
        for i in range(a.size):
            gi, xi = a[i], b[i]
            s = logistic(xi)
            c[i] = gi * (s * (one + xi * (one - s)))


def silu_gradient(g: Array, x: Array, *, out: Array | None = None) -> Array:
    """g * s * (1 + x * (1 - s)), where s = sigmoid(x)."""
    return elementwise(_silu_gradient, out, g, x)


@compiled
def _softplus(x, beta, threshold, y):
    zero = x.dtype.type(0)
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            z = xi * beta
            positive = zero if z <= zero else z
            smooth = (positive + log1p(exp_of_negative(-abs(z)))) / beta
            b[i] = xi if z > threshold else smooth


def softplus(x: Array, *, beta: float, threshold: float, out: Array | None = None) -> Array:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x exceeds the threshold."""
    return elementwise(_softplus, out, x, options=(x.dtype.type(beta), x.dtype.type(threshold)))


@compiled
def _softplus_gradient(g, x, beta, threshold, gx):
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], x[part], gx[part]
        for i in range(a.size):
            gi, xi = a[i], b[i]
            z = xi * beta
            smooth = gi * logistic(z)
            c[i] = gi if z > threshold else smooth


def softplus_gradient(
    g: Array, x: Array, *, beta: float, threshold: float, out: Array | None = None
) -> Array:
    """g * sigmoid(beta * x), and g itself where beta * x exceeds the threshold."""
    return elementwise(
        _softplus_gradient, out, g, x, options=(x.dtype.type(beta), x.dtype.type(threshold))
    )


FAR = 40  # beyond, the distribution is 0 or 1 in every type, and powers of x must not overflow
FACTOR = math.sqrt(2 / math.pi)
CUBIC = 0.044715
DENSITY = 1 / math.sqrt(2 * math.pi)


@numba.njit
def _within(x, far):
    """x, but not beyond `far` on either side; NaN stays."""
    x = far if x > far else x
    return -far if x < -far else x


@compiled
def _gelu(x, y):
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            b[i] = xi * normal_below(xi)


@compiled
def _gelu_tanh(x, y):
    dt = x.dtype.type
    far, cubic, factor, one = dt(FAR), dt(CUBIC), dt(2 * FACTOR), dt(1)
    for chunk in prange(chunks(x.size)):
        part = span(chunk, x.size)
        a, b = x[part], y[part]
        for i in range(a.size):
            xi = a[i]
            z = _within(xi, far)
            b[i] = xi * logistic(factor * z * (one + cubic * (z * z)))


def gelu(x: Array, *, approximate: str, out: Array | None = None) -> Array:
    """x * P(Z < x) for a standard normal Z, or its approximation by a tanh."""
    return elementwise(_gelu_tanh if approximate == "tanh" else _gelu, out, x)


@compiled
def _gelu_gradient(g, x, gx):
    dt = g.dtype.type
    far, density = dt(FAR), dt(DENSITY)
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], x[part], gx[part]
        for i in range(a.size):
            gi, xi = a[i], b[i]
            c[i] = gi * (normal_below(xi) + _within(xi, far) * (bell(xi) * density))


@compiled
def _gelu_tanh_gradient(g, x, gx):
    dt = g.dtype.type
    far, cubic, factor, one, three = dt(FAR), dt(CUBIC), dt(2 * FACTOR), dt(1), dt(3)
    for chunk in prange(chunks(g.size)):
        part = span(chunk, g.size)
        a, b, c = g[part], x[part], gx[part]
        for i in range(a.size):
            gi = a[i]
            z = _within(b[i], far)
            bend = cubic * (z * z)
            s = logistic(factor * z * (one + bend))
            slope = factor * (one + three * bend)
            c[i] = gi * (s + z * (s * (one - s)) * slope)


def gelu_gradient(g: Array, x: Array, *, approximate: str, out: Array | None = None) -> Array:
    """g times the derivative of gelu at x."""
    run = _gelu_tanh_gradient if approximate == "tanh" else _gelu_gradient
    return elementwise(run, out, g, x)
