"""Rules that are wrong where a checker may not look, and right ones that may look wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import gradcheck, replay
from minigrad.testing.strategies.layouts import LAYOUTS, column_major, contiguous, repeated

X = np.random.default_rng(3).normal(size=(3, 4))


def sine(wrong: Callable[[np.ndarray, np.ndarray], Any]) -> tuple[Any, Any]:
    """sin, with a rule that is multiplied by something which should be 1."""
    return np.sin, lambda g, x: g * np.cos(x) * wrong(g, x)


# Layouts


@pytest.mark.parametrize("lay", [f for f in (*LAYOUTS, repeated) if f is not contiguous])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_rule_that_is_wrong_for_one_layout(lay: Any, dtype: Any) -> None:
    x = lay(X.astype(dtype))
    assert gradcheck(sine(lambda g, x: 1), [x]).ok
    verdict = gradcheck(sine(lambda g, x: 1 if x.flags.c_contiguous else 2), [x])
    assert verdict.findings[0].fault == "factor"


def test_layouts_are_kept_whatever_the_type() -> None:
    seen = set()

    def forward(x: np.ndarray) -> np.ndarray:
        seen.add(x.strides)
        return 2 * x

    x = np.zeros((4, 6, 8), np.float32)[::-1, ::2, 1:5]
    x[...] = np.random.default_rng(0).normal(size=x.shape)
    assert gradcheck((forward, lambda g, x: 2 * g), [x]).ok
    assert {x.strides, tuple(2 * s for s in x.strides)} <= seen


def test_wide_gaps_are_not_copied() -> None:
    x = np.lib.stride_tricks.as_strided(np.ones(10**6), (3,), (8 * 499_999,))
    sizes = set()

    def forward(x: np.ndarray) -> np.ndarray:
        sizes.add(x.strides)
        return 2 * x

    assert gradcheck((forward, lambda g, x: 2 * g), [x]).ok
    assert sizes == {(8,)}


# Cotangents


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda g, x: np.minimum(1, 10 / (abs(g) + 1e-30)), "large cotangent"),
        (lambda g, x: np.where(abs(g) > 1e-6, 1, 0), "small cotangent"),
        (lambda g, x: 2 if (g == 1).all() else 1, "cotangent of ones"),
        (lambda g, x: 2 if (g < 0).all() else 1, "cotangent of minus ones"),
        (lambda g, x: 1 if g.flags.c_contiguous else 2, "layout"),
    ],
)
def test_a_rule_that_is_wrong_for_some_cotangents(wrong: Any, words: str) -> None:
    verdict = gradcheck(sine(wrong), [X])
    assert all(f.ok for f in verdict.findings)
    assert any(words in problem for problem in verdict.problems)


def test_a_clipped_gradient() -> None:
    verdict = gradcheck((lambda x: x**3, lambda g, x: np.clip(3 * g * x * x, -100, 100)), [X])
    assert "clipped" in str(verdict)


def test_a_rule_that_returns_the_same_memory_each_time() -> None:
    room = np.empty(X.shape)
    verdict = gradcheck((np.sin, lambda g, x: np.multiply(g, np.cos(x), out=room)), [X])
    assert any("an earlier one returned" in problem for problem in verdict.problems)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_single_precision_may_overflow_for_large_cotangents(dtype: Any) -> None:
    def forward(x: np.ndarray) -> np.ndarray:
        return (x.astype(dtype) * dtype(100)).astype(dtype)

    def vjp(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        return (g.astype(dtype) * dtype(100)).astype(dtype)

    assert gradcheck((forward, vjp), [column_major(X)]).ok


# Scales


def test_one_output_is_small_beside_another() -> None:
    pair = (lambda x: (np.sin(x), 1e-11 * np.cos(x)), lambda g, x: g[0] * np.cos(x))
    assert gradcheck(pair, [X[0]]).findings[0].status == "different"


def test_entries_of_very_different_size_are_each_compared() -> None:
    x = np.array([1e6, 1.0, 1e-6])
    assert gradcheck((lambda x: x * x, lambda g, x: 2 * g * x), [x]).ok
    wrong = gradcheck((lambda x: x * x, lambda g, x: g * x * [2, 2, 3]), [x]).findings[0]
    assert wrong.wrong == 1 and wrong.where.endswith("input 0[2]")


@pytest.mark.parametrize("x", [1e-300, 1e-100, 1e-12])
def test_inputs_much_smaller_than_any_step(x: float) -> None:
    assert gradcheck((np.log, lambda g, x: g / x), [np.array([x, 1.0])]).ok
    assert not gradcheck((np.log, lambda g, x: 1.01 * g / x), [np.array([x, 1.0])]).ok


# Noise


def test_noise_is_no_kink_that_a_rule_could_hide_in() -> None:
    def forward(x: np.ndarray) -> np.ndarray:
        return 1e8 + abs(np.tanh(x))

    def vjp(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 1.01 * g * np.sign(x) * (1 - np.tanh(x) ** 2)

    assert not gradcheck((forward, vjp), [np.array([0.3, -0.4, 1.1])]).ok


def normalized(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)


def normalized_back(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    y = normalized(x)
    centred = g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True)
    return centred / x.std(-1, keepdims=True)


def test_a_function_may_be_noisier_than_its_outputs_show() -> None:
    """Numbers around 1000 are subtracted from each other."""
    x = 1000 + np.random.default_rng(7).normal(size=(4, 16))
    verdict = gradcheck((normalized, normalized_back), [x])
    assert verdict.ok, str(verdict)
    assert not gradcheck((normalized, lambda g, x: 1.0001 * normalized_back(g, x)), [x]).ok


def test_a_variance_that_cancels() -> None:
    def forward(x: np.ndarray) -> np.ndarray:
        return np.asarray((x * x).mean() - x.mean() ** 2)

    x = 1e4 + X[0]
    assert gradcheck((forward, lambda g, x: g * 2 * (x - x.mean()) / x.size), [x]).ok
    assert not gradcheck((forward, lambda g, x: g * 2.01 * (x - x.mean()) / x.size), [x]).ok


# Bad input


@pytest.mark.parametrize(
    ("inputs", "words"),
    [(None, "got NoneType"), (3, "got int"), ("x", "got str"), ({"x": X}, "got dict")],
)
def test_inputs_that_are_no_list(inputs: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"inputs must be a list .*{words}"):
        gradcheck(sine(lambda g, x: 1), inputs)


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="output 0 is complex: return its real and its imaginary"):
        gradcheck((lambda x: np.exp(1j * x), lambda g, x: -g * np.sin(x)), [X])
    with pytest.raises(TypeError, match="real numbers, got complex numbers"):
        gradcheck(sine(lambda g, x: 1 + 0j), [X])


def test_a_rule_that_divides_by_zero_is_told_without_warnings() -> None:
    """Warnings are errors here."""
    x = np.array([0.0, 1.0])
    verdict = gradcheck((np.sqrt, lambda g, x: g / (2 * np.sqrt(x))), [x])
    assert not verdict.ok
    assert any("NaN or infinity" in problem for problem in verdict.problems)


@pytest.mark.parametrize("seed", range(5))
def test_gradients_that_cancel_at_zero(seed: int) -> None:
    """Zeros do not move in their last digits; the gradient is nothing but rounding."""

    def of_equal_scores(x: mg.Tensor) -> mg.Tensor:
        weight = (0.5, 1.0, 2.0, 0.3)
        scores = mg.ops.expand(x, 3, 4)
        return mg.ops.cross_entropy(scores, [3, -1, 2], weight, ignore_index=-1)

    verdict = gradcheck(of_equal_scores, [np.zeros((3, 1))], order=2, seed=seed)
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("seed", range(20))
def test_gradients_that_cancel_for_ones_only(seed: int) -> None:
    """The variance of equal numbers: its second derivatives are sums that come to zero."""
    x = np.random.default_rng(seed).normal(size=5)

    def of_equal_numbers(x: mg.Tensor) -> mg.Tensor:
        return mg.ops.var(mg.ops.broadcast_to(x[:1], (5,)), correction=2.5, keepdim=True)

    verdict = gradcheck(of_equal_numbers, [x], order=2)
    assert verdict.ok, str(verdict)


def test_replays_of_parametrized_tests_do_not_replace_each_other() -> None:
    paths = [replay.named(f"tests/test_a.py::test_b[{value}]") for value in ("c/x", "d/x", "../x")]
    assert [path.name for path in paths] == [
        "test_a-test_b-c-x.py",
        "test_a-test_b-d-x.py",
        "test_a-test_b-x.py",
    ]
    assert len({path.parent for path in paths}) == 1
