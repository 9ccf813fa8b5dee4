"""Faults that were planted in gradient rules on purpose, by family, for tests of the autopsy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

RNG = np.random.default_rng(5)
X = RNG.uniform(0.5, 1.5, (3, 4)) * RNG.choice([-1.0, 1.0], (3, 4))
POSITIVE = RNG.uniform(0.5, 2.0, (3, 4))
SQUARE = RNG.normal(size=(4, 4))
OTHER = RNG.normal(size=(4, 4))
ROW = RNG.normal(size=4)
LONG = RNG.normal(size=9)
IMAGE = RNG.normal(size=(2, 2, 5, 5))
TIED = np.array([1.0, 3.0, 3.0, -2.0, 0.5])
LARGE = RNG.normal(size=(60, 50))

Case = tuple[Any, list[np.ndarray]]


def tanh(rule: Callable[..., Any]) -> Any:
    return np.tanh, lambda g, x: rule(g, x, np.tanh(x))


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x: Any) -> Any:
    return np.log(softmax(x))


def standardised(x: Any, axis: Any = 0) -> Any:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-2)


def normed_backward(g: Any, x: Any, axis: Any, mean: bool, variance: bool) -> Any:
    y = standardised(x, axis)
    d = g.copy()
    if mean:
        d -= g.mean(axis, keepdims=True)
    if variance:
        d -= y * (g * y).mean(axis, keepdims=True)
    return d / np.sqrt(x.var(axis, keepdims=True) + 1e-2)


def conv(x: Any, w: Any) -> Any:
    """A valid cross-correlation of the last axis, one channel."""
    n = w.shape[-1]
    return sum(w[i] * x[..., i : x.shape[-1] - n + 1 + i] for i in range(n))


def conv_input(g: Any, w: Any, size: int) -> Any:
    full = np.zeros((*g.shape[:-1], size))
    for i in range(w.shape[-1]):
        full[..., i : i + g.shape[-1]] += w[i] * g
    return full


def same_conv(x: Any, w: Any) -> Any:
    """With zero padding, so that the output is as long as the input."""
    n = w.shape[-1] // 2
    return conv(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(n, n)]), w)


def matmul_vjp(a_rule: Any = None, b_rule: Any = None) -> Any:
    right_a, right_b = lambda g, a, b: g @ b.T, lambda g, a, b: a.T @ g
    return np.matmul, lambda g, a, b: ((a_rule or right_a)(g, a, b), (b_rule or right_b)(g, a, b))


def max_rows(x: Any) -> Any:
    return x.max(1)


def spoilt(array: np.ndarray, places: Any, factor: float = 1.5) -> np.ndarray:
    array = array.copy()
    array[places] *= factor
    return array


KERNEL = np.array([0.5, -1.0, 2.0])

PLANTED: dict[str, list[Case]] = {
    "negated": [
        (tanh(lambda g, x, y: -g * (1 - y * y)), [X]),
        (matmul_vjp(lambda g, a, b: -g @ b.T), [X, SQUARE]),
        ((np.subtract, lambda g, a, b: (g, g)), [X, X * 2]),
        ((np.sin, lambda g, x: -g * np.cos(x)), [LARGE]),
    ],
    "factor": [
        (tanh(lambda g, x, y: 2 * g * (1 - y * y)), [X]),
        ((lambda x: x.mean(0), lambda g, x: np.broadcast_to(g, x.shape) * 1.0), [X]),
        ((lambda x: x**3, lambda g, x: g * x * x), [X]),
        (matmul_vjp(None, lambda g, a, b: a.T @ g / a.shape[0]), [X, SQUARE]),
        ((np.exp, lambda g, x: 1.001 * g * np.exp(x)), [LARGE]),
    ],
    "transposed": [
        (matmul_vjp(lambda g, a, b: g @ b), [SQUARE, OTHER]),
        (matmul_vjp(None, lambda g, a, b: a @ g), [SQUARE, OTHER]),
        ((lambda x: x.T * 2.0, lambda g, x: g * 2.0), [SQUARE]),
        (tanh(lambda g, x, y: (g * (1 - y * y)).T), [SQUARE]),
        ((lambda x: OTHER @ x.ravel()[:4], lambda g, x: OTHER @ g), [ROW]),
    ],
    "missing sum": [
        ((lambda x: x.sum(0, keepdims=True) * np.ones_like(x), lambda g, x: g * 1.0), [X]),
        (
            (
                lambda x: x.mean(1, keepdims=True) * ROW,
                lambda g, x: np.broadcast_to(g * ROW, x.shape) * 1.0,
            ),
            [X],
        ),
        ((lambda x: np.cumsum(x) * 0 + x.sum(), lambda g, x: g * 1.0), [ROW]),
    ],
    "extra sum": [
        ((lambda x: x * 3.0, lambda g, x: np.zeros_like(x) + 3 * g.sum(0)), [X]),
        ((np.add, lambda g, a, b: (g * 1.0, g.sum() + 0 * b)), [X, X * 2]),
        (tanh(lambda g, x, y: 0 * x + (g * (1 - y * y)).sum(1, keepdims=True)), [X]),
    ],
    "broadcast": [
        ((np.add, lambda g, a, b: (g * 1.0, g[0] * 1.0)), [X, ROW]),
        ((np.multiply, lambda g, a, b: (g * b, (g * a).sum(1))), [SQUARE, ROW]),
        ((np.multiply, lambda g, a, b: (g * b, (g * a)[-1:])), [X, X[:1] + 1]),
        ((np.add, lambda g, a, b: (g * 1.0, g * 1.0)), [X, ROW]),
        ((np.multiply, lambda g, a, b: (g * b, g * a)), [X, np.array([[2.0]])]),
    ],
    "cotangent ignored": [
        (tanh(lambda g, x, y: 1 - y * y), [X]),
        ((lambda x: x.sum(1), lambda g, x: np.ones_like(x)), [X]),
        (matmul_vjp(lambda g, a, b: np.ones_like(g) @ b.T), [X, SQUARE]),
        ((np.sin, lambda g, x: np.cos(x)), [LARGE]),
    ],
    "cotangent misused": [
        (tanh(lambda g, x, y: g.sum() * (1 - y * y)), [X]),
        (tanh(lambda g, x, y: np.sign(g) * (1 - y * y)), [X]),
        (tanh(lambda g, x, y: abs(g) * (1 - y * y)), [X]),
        (matmul_vjp(lambda g, a, b: (np.eye(4) * g) @ b.T), [SQUARE, OTHER]),
        (tanh(lambda g, x, y: g.mean(0, keepdims=True) * (1 - y * y)), [X]),
        ((lambda x: x[:, None] * ROW, lambda g, x: (g * ROW)[:, 0] * 1.0), [LONG]),
    ],
    "other input": [
        ((np.multiply, lambda g, a, b: (g * a, g * b)), [SQUARE, OTHER]),
        (matmul_vjp(lambda g, a, b: a.T @ g, lambda g, a, b: g @ b.T), [SQUARE, OTHER]),
        ((lambda a, b: a / b, lambda g, a, b: (-g * a / b**2, g / b)), [X, POSITIVE]),
        ((lambda a, b: np.sin(a) * b, lambda g, a, b: (g * np.sin(a), g * np.sin(a))), [X, 2 * X]),
    ],
    "shifted": [
        ((lambda x: np.roll(x, 1), lambda g, x: np.roll(g, 1)), [LONG]),
        ((lambda x: conv(x, KERNEL), lambda g, x: np.roll(conv_input(g, KERNEL, 9), 1)), [LONG]),
        (tanh(lambda g, x, y: np.roll(g * (1 - y * y), 1, axis=1)), [X]),
        (
            (
                lambda x: np.concatenate([x[1:], x[:1] * 0]),
                lambda g, x: np.concatenate([g[:-1], g[:1] * 0]),
            ),
            [LONG],
        ),
        (
            (
                lambda x: np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2))),
                lambda g, x: g[:, :, 1:-3, 1:-3].copy(),
            ),
            [IMAGE[:, :, :3, :3]],
        ),
        (tanh(lambda g, x, y: np.roll(g * (1 - y * y), (-2, -2), (0, 1))), [SQUARE]),
    ],
    "flipped": [
        ((lambda x: same_conv(x, KERNEL), lambda g, x: same_conv(g, KERNEL)), [LONG]),
        ((lambda x: x[::-1] * 2.0, lambda g, x: g * 2.0), [LONG]),
        (tanh(lambda g, x, y: (g * (1 - y * y))[:, ::-1].copy()), [X]),
    ],
    "permuted": [
        (
            (lambda x: x[[2, 4, 3, 1, 0]] * 2.0, lambda g, x: g[[2, 4, 3, 1, 0]] * 2.0),
            [LONG[:5]],
        ),
        ((np.sin, lambda g, x: (g * np.cos(x))[[3, 7, 1, 0, 5, 8, 2, 6, 4]]), [LONG]),
        (
            (
                lambda x: np.stack([x[:, 0::2], x[:, 1::2]]) * 1.0,
                lambda g, x: np.concatenate([g[0], g[1]], 1),
            ),
            [RNG.normal(size=(2, 6))],
        ),
    ],
    "missing term": [
        ((softmax, lambda g, x: g * softmax(x)), [X]),
        ((log_softmax, lambda g, x: g * 1.0), [X]),
        ((standardised, lambda g, x: normed_backward(g, x, 0, False, True)), [X]),
        ((standardised, lambda g, x: normed_backward(g, x, 0, True, False)), [X]),
        ((standardised, lambda g, x: normed_backward(g, x, 0, False, False)), [X]),
        ((lambda x: x - x.mean(), lambda g, x: g * 1.0), [X]),
        ((lambda x: x / np.sqrt((x * x).sum()), lambda g, x: g / np.sqrt((x * x).sum())), [LONG]),
        ((lambda x: x * np.sin(x), lambda g, x: g * np.sin(x)), [X]),
        (
            (
                lambda x: softmax(x),
                lambda g, x: g * softmax(x) * (1 - softmax(x)),
            ),
            [X],
        ),
    ],
    "extra term": [
        (tanh(lambda g, x, y: g * (1 - y * y) - y * (g * y).sum()), [LONG]),
        ((np.exp, lambda g, x: g * np.exp(x) + 0.1 * g.sum(0)), [X]),
        ((np.sin, lambda g, x: g * np.cos(x) + 0.3 * np.roll(g, 1) * x), [LONG]),
    ],
    "detached": [
        (tanh(lambda g, x, y: g * 0.0), [X]),
        ((np.multiply, lambda g, a, b: (g * b, None)), [X, X + 1]),
        (matmul_vjp(lambda g, a, b: 0 * a), [X, SQUARE]),
    ],
    "stale value": [
        ((np.sin, lambda g, x: g * np.cos(np.sin(x))), [X]),
        ((lambda x: x**3, lambda g, x: g * 3 * (x**3) ** 2), [X]),
        (tanh(lambda g, x, y: g * (1 - x * x)), [RNG.uniform(0.3, 2, (3, 4))]),
        ((np.exp, lambda g, x: g * x), [POSITIVE]),
        (
            (
                lambda a, b: np.sin(a) * np.cos(b),
                lambda g, a, b: (g * np.cos(b) * np.cos(b), -g * np.sin(a) * np.sin(b)),
            ),
            [X, POSITIVE],
        ),
    ],
    "few entries": [
        ((np.sin, lambda g, x: spoilt(g * np.cos(x), (0, 2))), [X]),
        (tanh(lambda g, x, y: spoilt(g * (1 - y * y), np.s_[-1, :])), [X]),
        ((lambda x: conv(x, KERNEL), lambda g, x: spoilt(conv_input(g, KERNEL, 9), -1)), [LONG]),
        ((np.sin, lambda g, x: spoilt(g * np.cos(x), (31, 17), 1.001)), [LARGE]),
        (
            (lambda x: np.maximum(x, 0.01 * x), lambda g, x: g * np.where(x > 0, 1, 0.1)),
            [X],
        ),
    ],
    "ties": [
        ((np.max, lambda g, x: g * (x == x.max())), [TIED]),
        ((lambda x: np.maximum(x, 0), lambda g, x: g * ((x > 0) + 2.0 * (x == 0))), [TIED - 0.5]),
        ((np.abs, lambda g, x: g * (np.sign(x) - 1.5 * (x == 0))), [TIED - 1]),
        (
            (max_rows, lambda g, x: g[:, None] * (x == x.max(1, keepdims=True))),
            [np.array([[1.0, 2.0, 2.0], [3.0, 1.0, 0.5]])],
        ),
        (
            (max_rows, lambda g, x: g[:, None] * (x == x.max(1, keepdims=True))),
            [np.array([[2.0, 0, 2, 1, 2], [1, 1, 0, 0, 1], [0, 2, 2, 0, 1], [2, 1, 0, 1, 0]])],
        ),
    ],
    "offset": [
        (tanh(lambda g, x, y: g * (1 - y * y) + 1e-3), [X]),
        ((lambda x: x.sum(1), lambda g, x: g[:, None] + 0 * x + x), [X]),
        (matmul_vjp(None, lambda g, a, b: a.T @ g + 0.01 * b), [X, SQUARE]),
    ],
    "not linear": [
        (tanh(lambda g, x, y: g * (1 - y * y) * abs(g.sum())), [X]),
        ((np.sin, lambda g, x: np.cos(x) * np.tanh(g)), [X]),
        ((np.sin, lambda g, x: np.cos(x) * g / np.sqrt((g * g).sum() + 1e-30)), [X]),
    ],
    "unknown": [
        ((np.sin, lambda g, x: g * np.cos(x) * (1 + 0.1 * np.sin(17 * np.arange(9)))), [LONG]),
        ((np.sin, lambda g, x: g * np.exp(-0.3 * x * x)), [X]),
    ],
}
