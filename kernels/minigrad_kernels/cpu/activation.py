"""Activation functions and their gradients on the CPU: one pass over memory each."""

from __future__ import annotations

from numba import prange

from ..arrays import Array
from .compiled import chunks, compiled, span
from .elementwise import elementwise


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
