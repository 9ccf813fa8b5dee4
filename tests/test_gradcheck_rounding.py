"""Where little is left of a derivative the checker says so, and calls no right rule wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import Verdict, gradcheck
from minigrad.testing.checker.functions import as_function
from minigrad.testing.checker.oracles import Line
from minigrad.testing.checker.place import ExhaustedError, Place
from minigrad.testing.checker.taylor import Study

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5))


def accused(verdict: Verdict) -> bool:
    """Does it say that something is wrong, beside that nothing can be said?"""
    unclear = all(f.ok or f.status == "unclear" for f in verdict.findings)
    return not unclear or bool(verdict.problems)


# Ties that do not show along single entries


def shares(g: Any, x: np.ndarray) -> np.ndarray:
    middle = x == np.median(x)
    return np.asarray(g * middle / middle.sum())


def middle_of_the_order(g: Any, x: np.ndarray) -> np.ndarray:
    d = np.zeros_like(x)
    d[np.argsort(x, kind="stable")[x.size // 2]] = g
    return d


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "x", [[1, 1, 1], [2, 2, 2, 2, 2], [0, 1, 2, 2, 2, 3, 4], [0] * 9, [1, 3, 3, 3, 0], [1, 2, 2]]
)
def test_the_median_of_ties(x: list[int], seed: int) -> None:
    """If any one of three equal numbers moves, their median stays, but not if all do."""
    point = np.array(x, float)
    for rule in (shares, middle_of_the_order):
        verdict = gradcheck((np.median, rule), [point], seed=seed)
        assert verdict.ok, str(verdict)
    for factor in (0.0, 1.1, 2.0):
        wrong = gradcheck((np.median, lambda g, x, f=factor: f * shares(g, x)), [point], seed=seed)
        assert not wrong.ok, str(wrong)


# Kinks beside the point


@pytest.mark.parametrize("at", [1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-12])
def test_a_kink_beside_the_point_excuses_nothing(at: float) -> None:
    x = np.array([at, 1.0, -2.0])
    assert gradcheck((np.abs, lambda g, x: g * np.sign(x)), [x]).ok
    for slope in (0.0, -1.0, 0.5):
        rule = np.array([slope, 1.0, -1.0])
        verdict = gradcheck((np.abs, lambda g, x, r=rule: g * r), [x])
        assert not verdict.ok, str(verdict)


@pytest.mark.parametrize("beside", [1e-3, 1e-5, 1e-7])
def test_a_kink_beside_a_large_number(beside: float) -> None:
    x = np.array([1 + beside, 1 - beside, 3.0])
    pair = (lambda x: np.maximum(x, 1), lambda g, x: g * (x > 1))
    assert not accused(gradcheck(pair, [x]))
    assert not gradcheck((pair[0], lambda g, x: g * (x < 1)), [x]).ok


# Large numbers whose differences are small


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("mean", [1e4, 1e6, 1e8])
def test_normalizations_of_large_numbers(mean: float, order: int) -> None:
    f = mg.nn.functional
    for function in (
        lambda x: f.layer_norm(x, 5),
        lambda x: f.batch_norm(x, None, None, training=True),
        lambda x: x - mg.mean(x, -1, keepdim=True),
    ):
        for x in (X + mean, X * mean):
            verdict = gradcheck(function, [x], order=order)
            assert not accused(verdict), str(verdict)


@pytest.mark.parametrize("mean", [1e4, 1e6])
def test_a_wrong_normalization_of_large_numbers(mean: float) -> None:
    def forward(x: np.ndarray) -> np.ndarray:
        return np.asarray((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True))

    def rule(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        y = forward(x)
        centred = g - g.mean(1, keepdims=True) - y * (g * y).mean(1, keepdims=True)
        return np.asarray(1.01 * centred / x.std(1, keepdims=True))

    assert gradcheck((forward, rule), [X + mean]).findings[0].status == "different"


# Equations that are all but singular


def conditioned(condition: float, n: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    return [u * np.logspace(0, -np.log10(condition), n) @ v, rng.normal(size=n)]


def solution(factor: float) -> Any:
    def rule(g: np.ndarray, a: np.ndarray, b: np.ndarray) -> Any:
        by_b = np.linalg.solve(a.T, g)
        return -factor * np.outer(by_b, np.linalg.solve(a, b)), by_b

    return np.linalg.solve, rule


@pytest.mark.parametrize("condition", [1e3, 1e6, 1e9, 1e11, 1e12, 1e13, 1e14])
@pytest.mark.parametrize("seed", range(3))
def test_solutions_of_equations(condition: float, seed: int) -> None:
    inputs = conditioned(condition, 3 + seed % 2, seed)
    right = gradcheck(solution(1.0), inputs)
    assert not accused(right), str(right)
    assert right.ok or condition > 1e6
    wrong = gradcheck(solution(1.01), inputs)
    assert not wrong.ok, str(wrong)
    assert wrong.findings[0].status == "different" or condition > 1e6


# Very small numbers


@pytest.mark.parametrize("size", [1e-100, 1e-150, 1e-160, 1e-200, 1e-300, 1e-308])
@pytest.mark.parametrize(
    ("forward", "rule"),
    [
        (lambda x: 3 * x, lambda x: 3 + 0 * x),
        (lambda x: x * x, lambda x: 2 * x),
        (np.sin, np.cos),
        (np.log, lambda x: 1 / x),
        (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
        (np.abs, np.sign),
        (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
    ],
)
def test_very_small_inputs(forward: Any, rule: Any, size: float) -> None:
    x = size * np.array([[1.5, 1.0, 0.7], [2.0, 1.2, 3.0]])
    verdict = gradcheck((forward, lambda g, x: g * rule(x)), [x])
    assert not accused(verdict), str(verdict)
    assert not gradcheck((forward, lambda g, x: 1.01 * g * rule(x)), [x]).ok


@pytest.mark.parametrize("size", [1e-150, 1e-200, 1e-300, 1e-310])
def test_very_small_outputs(size: float) -> None:
    right = gradcheck((lambda x: size * np.sin(x), lambda g, x: size * g * np.cos(x)), [X])
    assert not accused(right), str(right)
    wrong = gradcheck((lambda x: size * np.sin(x), lambda g, x: 1.01 * size * g * np.cos(x)), [X])
    assert not wrong.ok or size < 1e-300  # below, 1 % of it is the smallest of all numbers


# Single precision


def sine(factor: float, dtype: Any) -> Any:
    """sin, with a rule that is off by a factor for numbers of one type."""

    def rule(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.asarray(g * np.cos(x) * (x.dtype.type(factor) if x.dtype == dtype else 1))

    return np.sin, rule


@pytest.mark.parametrize("factor", [1.01, 0.99, 1.005, -1.0])
def test_a_rule_that_is_wrong_in_single_precision_alone(factor: float) -> None:
    x = X.astype(np.float32)
    verdict = gradcheck(sine(factor, np.float32), [x])
    assert not verdict.ok and all(f.ok for f in verdict.findings)
    assert "with inputs of float32: the gradient by input 0 is" in str(verdict)
    assert gradcheck(sine(factor, np.float32), [X]).ok  # nobody asked for single precision


def test_the_verdict_says_in_which_precision_it_was_found() -> None:
    single = gradcheck(sine(1.0, np.float32), [X.astype(np.float32)])
    assert single.ok
    assert single.precision.startswith("checked in float64; in float32 gradients differ by at most")
    assert single.precision in str(single)
    assert gradcheck(sine(1.0, np.float32), [X]).precision == ""
    pair = (lambda x: np.sin(x.astype(np.float32)), lambda g, x: g * np.cos(x.astype(np.float32)))
    lower = gradcheck(pair, [X])
    assert lower.ok and "given float64, the function returns float32" in str(lower)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_sums_that_are_rounded_in_a_low_precision_are_not_wrong(dtype: Any) -> None:
    x = (100 + np.random.default_rng(1).normal(size=(3, 700))).astype(dtype)

    def rule(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.asarray(g[:, None] * 2 * (x - x.mean(1, keepdims=True)) / x.dtype.type(700))

    verdict = gradcheck((lambda x: x.var(1), rule), [x])
    assert verdict.ok, str(verdict)


# Slow functions


def test_the_search_for_a_name_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large function, wrong in no particular way: whatever it costs, it is called so often."""
    monkeypatch.setattr("minigrad.testing.autopsy.CALLS", 20)
    calls = [0]

    def forward(x: np.ndarray) -> np.ndarray:
        calls[0] += 1
        return np.asarray(np.cbrt(x) * np.arange(1.0, 1501.0))

    def rule(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        off = 1 + 0.1 * np.sin(17 * np.arange(1500))
        return np.asarray(g * off * np.arange(1.0, 1501.0) / (3 * np.cbrt(x) ** 2))

    verdict = gradcheck((forward, rule), [np.linspace(1, 2, 1500)])
    (finding,) = verdict.findings
    assert finding.status == "different" and finding.fault == "unknown"
    assert "the search for one was stopped after 5 seconds or 20 calls" in finding.note
    assert calls[0] < 2500


def test_limits_of_calls() -> None:
    place = Place(as_function(mg.tanh, [X]), np.random.default_rng(0))
    with place.at_most(2, 60.0):
        place.values([X])
        with place.at_most(5, 60.0), pytest.raises(ExhaustedError):  # the outer limit holds, too
            place.values([X])
            place.values([X])
        assert place.is_late
    place.values([X])
    with place.at_most(5, 0.0), pytest.raises(ExhaustedError):
        place.values([X])
    assert place.calls == 3 and not place.is_late


@pytest.mark.parametrize("seed", range(2))
def test_kinks_of_the_first_derivative_at_the_point_and_beside_it(seed: int) -> None:
    """Differences of 1, where the loss changes its branch, and of very nearly 1."""
    x = np.array([[-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]])
    y = np.array([[0.0, 1e-07, 1e-12], [1e-10, 1e-7, 0.0]])
    verdict = gradcheck(lambda x, y: mg.ops.huber_loss(x, y), [x, y], order=2, seed=seed)
    assert verdict.ok, str(verdict)


def test_a_remainder_below_the_rounding_of_what_cancels_says_nothing() -> None:
    a = 1 + 1e-11  # of x a - x, steps below 1e-5 leave nothing but the rounding of x a
    line = Line(lambda arrays: [arrays[0] * a - arrays[0]], [np.array([1.999])], [np.ones(1)])
    here = np.array([1.999 * a - 1.999])

    def study(shaken: float) -> Study:
        eps = float(np.finfo("f8").eps)
        return Study(line, np.ones(1), here, a - 1, a - 1, eps, np.array([shaken]))

    assert study(0.0).says_wrong
    assert not study(4e-16).says_wrong
