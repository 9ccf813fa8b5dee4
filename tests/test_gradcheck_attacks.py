"""Rules that are wrong where a checker may not look, and right ones that may look wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad.testing import gradcheck
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
