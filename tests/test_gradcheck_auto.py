"""The checker finds out by itself what a function is, and errs on neither side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad import as_tensor, ops, record
from minigrad.testing import gradcheck
from minigrad.testing.calls import draw

RNG = np.random.default_rng(8)
X = RNG.uniform(0.5, 1.5, (3, 4)) * RNG.choice([-1.0, 1.0], (3, 4))
Y = RNG.normal(size=(4, 2))
CORNERS = np.array([0.0, 1.0, -2.0, 0.5])
EQUAL = np.array([[1.0, 3.0, 3.0, -2.0], [2.0, 2.0, 2.0, 2.0]])

LINEAR, COMPLEX, CENTRAL = "differences with step 1", "complex step", "central differences"


# Which oracle


@pytest.mark.parametrize(
    ("function", "inputs", "oracles"),
    [
        (lambda x: x * 3.0 - ops.sum(x), [X], [LINEAR]),
        (lambda x, y: ops.matmul(x, y), [X, Y], [LINEAR, LINEAR]),
        (lambda x, y: ops.exp(x) @ y, [X, Y], [COMPLEX, LINEAR]),
        (lambda x: ops.exp(x) * x, [X], [COMPLEX]),
        (lambda x: ops.logsumexp(x, 0), [X], [COMPLEX]),
        (lambda x: ops.norm(x) * 2.0, [X], [CENTRAL]),  # the size of a complex number is real
        (ops.abs, [X], [CENTRAL]),
        (ops.relu, [CORNERS], [CENTRAL]),
        (lambda x: ops.exp(x) * x, [RNG.normal(size=(60, 50))], [CENTRAL]),  # complex is slow
        ((np.sin, lambda g, x: g * np.cos(x)), [X], [COMPLEX]),
        ((np.cbrt, lambda g, x: g / (3 * np.cbrt(x) ** 2)), [X], [CENTRAL]),
        ((np.matmul, lambda g, a, b: (g @ b.T, a.T @ g)), [X, Y], [LINEAR, LINEAR]),
    ],
)
def test_the_oracle_follows_from_the_function(
    function: Any, inputs: list[np.ndarray], oracles: list[str]
) -> None:
    verdict = gradcheck(function, inputs)
    assert verdict.ok, str(verdict)
    assert [f.oracle for f in verdict.findings] == oracles
    assert all(f.oracle in str(verdict) for f in verdict.findings)


def test_second_order_is_linear_in_the_cotangent() -> None:
    verdict = gradcheck(ops.exp, [X], order=2)
    assert verdict.ok, str(verdict)
    assert [f.oracle for f in verdict.findings] == [COMPLEX, CENTRAL, LINEAR]


def test_a_registered_operation_has_the_kind_it_declares() -> None:
    """Its declared kind is tried first; a smooth one is not tried with complex numbers."""
    sample = ops.registry.OPERATIONS["sigmoid"].samples[0]
    call = draw(ops.sigmoid, sample, np.random.default_rng(1))
    for function, inputs in ((ops.sigmoid, [X]), (call, call.arrays)):
        kind = ops.registry.OPERATIONS["sigmoid"].kind
        (finding,) = gradcheck(function, inputs).findings
        assert finding.oracle == (COMPLEX if kind == "analytic" else CENTRAL)


# A wrong choice must neither alarm nor pass


def op(forward: Callable[..., Any], rule: Callable[..., Any]) -> Any:
    def operation(x: Any) -> Any:
        x = as_tensor(x)
        return record(operation, forward(x.data), (x, rule, x))

    return operation


def numbers(x: Any) -> np.ndarray:
    return x if isinstance(x, np.ndarray) else np.asarray(x.data)


def bent(x: np.ndarray) -> np.ndarray:
    """Slope 1 around 0, slope 1/2 on the whole between -1 and 1: steps of 1 mislead."""
    return np.clip(x, -0.5, 0.5)


LOOKS_LINEAR = {  # function, its derivative, the derivative that a step of 1 sees
    "clip": (bent, lambda x: 1.0 * (abs(x) < 0.5), lambda x: np.full(x.shape, 0.5)),
    "sawtooth": (
        lambda x: x + np.sin(2 * np.pi * x) / 6,
        lambda x: 1 + np.cos(2 * np.pi * x) * np.pi / 3,
        lambda x: np.ones(x.shape),
    ),
    "real part": (
        lambda x: np.real(x) ** 2 + 0.0,
        lambda x: 2.0 * np.real(x),
        lambda x: np.zeros(x.shape),  # what a complex step sees
    ),
    "conjugate": (
        lambda x: x * np.conj(x) + x,
        lambda x: 2 * x + 1,
        lambda x: np.ones(x.shape),
    ),
}


@pytest.mark.parametrize("name", LOOKS_LINEAR)
@pytest.mark.parametrize("x", [np.zeros(4), np.full(4, 0.25), RNG.uniform(-0.4, 0.4, 4)])
def test_misleading_functions(name: str, x: np.ndarray) -> None:
    forward, right, misled = LOOKS_LINEAR[name]
    verdict = gradcheck(op(forward, lambda g, x: g * right(numbers(x))), [x])
    assert verdict.ok, str(verdict)
    if not np.allclose(right(x), misled(x)):
        verdict = gradcheck(op(forward, lambda g, x: g * misled(numbers(x))), [x])
        assert not verdict.ok, str(verdict)


def test_a_function_that_refuses_large_steps_and_complex_numbers() -> None:
    def guarded(x: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(x) or (x < 0).any() or (x > 1).any():
            raise ValueError("wants real numbers between 0 and 1")
        return 3 * x

    verdict = gradcheck((guarded, lambda g, x: 3 * g), [np.array([0.4, 0.6])])
    assert verdict.ok, str(verdict)
    assert verdict.findings[0].oracle == CENTRAL
