"""The autopsy is checked: faults that were planted on purpose are named, each by its family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from minigrad import as_tensor, ops, record
from minigrad.graph import OUTPUT
from minigrad.testing import FAMILIES, Finding, gradcheck
from minigrad.testing.autopsy import TESTS

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


def diagnosed(fn: Any, inputs: list[np.ndarray], **options: Any) -> Finding:
    """The finding about the first wrong input."""
    verdict = gradcheck(fn, inputs, **options)
    assert not verdict.ok, str(verdict)
    wrong = [f for f in verdict.findings if not f.ok]
    assert wrong, str(verdict)
    assert f"{wrong[0].note}" in str(verdict)
    return wrong[0]


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


def one_hot(x: Any) -> Any:
    return np.arange(x.shape[-1]) == x.argmax(-1, keepdims=True)


def spoilt(array: np.ndarray, places: Any, factor: float = 1.5) -> np.ndarray:
    array = array.copy()
    array[places] *= factor
    return array


def added(array: np.ndarray, places: Any, what: float) -> np.ndarray:
    array = array.copy()
    array[places] += what
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

CASES = [
    pytest.param(family, case, id=f"{family} {i}")
    for family, cases in PLANTED.items()
    for i, case in enumerate(cases)
]


@pytest.mark.parametrize(("family", "case"), CASES)
def test_planted_faults_are_named(family: str, case: Case) -> None:
    finding = diagnosed(*case)
    assert finding.fault == family, f"{finding.fault}: {finding.note}"
    assert finding.note


# Second order


def unary(forward: Callable[..., Any], rule: Callable[..., Any], output: bool = False) -> Any:
    """An operation of tensors with this rule."""

    def operation(x: Any) -> Any:
        x = as_tensor(x)
        return record(operation, forward(x.data), (x, rule, OUTPUT if output else x))

    return operation


def constant(x: Any) -> Any:
    """Its numbers, detached: an array stays itself in the pass of arrays."""
    return x if isinstance(x, np.ndarray) else x.detach()


SECOND_ORDER: dict[str, Any] = {
    "all of it": unary(np.exp, lambda g, y: g * constant(y), output=True),
    "a factor": unary(lambda x: x**3, lambda g, x: g * 3 * constant(x) * x),
    "a square": unary(np.tanh, lambda g, y: g * (1 - constant(y) ** 2), output=True),
    "one term of two": unary(
        lambda x: x * np.sin(x), lambda g, x: g * (ops.sin(x) + x * ops.cos(constant(x)))
    ),
    "the normaliser": unary(
        lambda x: softmax(x),
        lambda g, y: y * (g - ops.sum(g * constant(y), -1, keepdim=True)),
        output=True,
    ),
}


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_values_detached_in_second_order(name: str) -> None:
    finding = diagnosed(SECOND_ORDER[name], [X], order=2)
    assert finding.order == 2
    assert finding.fault in ("detached", "factor"), f"{finding.fault}: {finding.note}"
    assert finding.fault == "detached" or name == "a factor"


# Any shape


@st.composite
def inputs(draw: Any, square: bool = False) -> np.ndarray:
    rows, columns = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, rows if square else columns))


@settings(max_examples=25)
@given(x=inputs(), factor=st.floats(0.1, 10).filter(lambda f: abs(f - 1) > 1e-3))
def test_any_factor(x: np.ndarray, factor: float) -> None:
    pair = (np.sin, lambda g, x: factor * g * np.cos(x))
    finding = diagnosed(pair, [x])
    assert finding.fault == "factor"
    assert f"{factor:.6g} times" in finding.note


@settings(max_examples=25)
@given(x=inputs(), axis=st.integers(0, 1), data=st.data())
def test_any_shift(x: np.ndarray, axis: int, data: st.DataObject) -> None:
    by = data.draw(st.integers(1, x.shape[axis] - 1))
    pair = (np.sin, lambda g, x: np.roll(g * np.cos(x), by, axis))
    finding = diagnosed(pair, [x])
    assert finding.fault == "shifted"
    near = {by, by - x.shape[axis]}  # once around
    assert any(f"shifted by {s} along axis {axis}" in finding.note for s in near)


@settings(max_examples=25)
@given(x=inputs(square=True))
def test_any_transposition(x: np.ndarray) -> None:
    pair = (np.exp, lambda g, x: (g * np.exp(x)).T)
    assert diagnosed(pair, [x]).fault == "transposed"


@settings(max_examples=25)
@given(x=inputs(), data=st.data())
def test_any_single_entry(x: np.ndarray, data: st.DataObject) -> None:
    place = tuple(data.draw(st.integers(0, n - 1)) for n in x.shape)
    pair = (lambda x: x @ x.T, lambda g, x: added((g + g.T) @ x, place, 0.01 * g.sum()))
    finding = diagnosed(pair, [x])
    assert finding.fault == "few entries"
    assert f"1 of {x.size} entries" in finding.note
    assert str(list(place)) in finding.note or "index" in finding.note, finding.note


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_noise_is_not_explained(seed: int) -> None:
    """A rule that is wrong in no particular way has no name."""
    rng = np.random.default_rng(seed)
    x, off = rng.normal(size=(3, 4)), rng.uniform(0.5, 1.5, (3, 4))
    assert diagnosed((np.sin, lambda g, x: g * np.cos(x) * off), [x]).fault == "unknown"


# The table


def test_every_family_is_planted_and_described() -> None:
    assert set(PLANTED) == set(FAMILIES)
    assert {family for family, _ in TESTS} < set(FAMILIES)
    assert all(len(cases) >= 2 for cases in PLANTED.values())


def test_a_function_that_refuses_what_the_autopsy_tries() -> None:
    def strict(a: Any, b: Any) -> Any:
        if b.shape != (4,):
            raise ValueError("b must have 4 entries")
        return a * b

    finding = diagnosed((strict, lambda g, a, b: (g * b, g[0] * a[0])), [X, ROW])
    assert finding.fault == "cotangent misused"  # all that can be seen: one row of g is used
    assert "index 0 of axis 0" in finding.note


def test_a_large_gradient_that_is_wrong_at_a_border_has_examples() -> None:
    """Too many entries to list, and no fault that is known."""

    def border(g: Any, x: Any) -> Any:
        return spoilt(g * np.cos(x), np.s_[:, -1], 0.9)

    finding = diagnosed((np.sin, border), [RNG.normal(size=(60, 50))])
    assert finding.fault == "unknown"
    assert "among others [" in finding.note and ", 49]" in finding.note, finding.note
