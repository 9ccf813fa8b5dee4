"""The checker is checked: wrong rules that were planted on purpose are caught, right ones pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad import as_tensor, ops, record
from minigrad.graph import OUTPUT
from minigrad.tensor import wrap
from minigrad.testing import Verdict, assert_gradients, gradcheck

RNG = np.random.default_rng(3)
X = RNG.uniform(0.5, 1.5, (3, 4)) * RNG.choice([-1.0, 1.0], (3, 4))
SQUARE = RNG.normal(size=(4, 4))
OTHER = RNG.normal(size=(4, 4))
ROW = RNG.normal(size=4)


def unary(forward: Callable[..., Any], rule: Callable[..., Any], kept: str = "input") -> Any:
    """An operation of one input with this rule, which gets (g, input), (g, output) or (g)."""

    def operation(x: Any) -> Any:
        x = as_tensor(x)
        keeps = {"input": x, "output": OUTPUT, "nothing": None}[kept]
        return record(operation, forward(x.data), (x, rule, keeps))

    return operation


def binary(forward: Callable[..., Any], rule_a: Any, rule_b: Any) -> Any:
    """An operation of two inputs; each rule gets (g, a, b)."""

    def operation(a: Any, b: Any) -> Any:
        a, b = as_tensor(a), as_tensor(b)
        return record(operation, forward(a.data, b.data), (a, rule_a, (a, b)), (b, rule_b, (a, b)))

    return operation


def matmul(rule_a: Any = None, rule_b: Any = None) -> Any:
    """A matrix product with these rules in place of the right ones."""
    return binary(
        np.matmul,
        rule_a or (lambda g, a, b: ops.matmul(g, ops.transpose(b, 0, 1))),
        rule_b or (lambda g, a, b: ops.matmul(ops.transpose(a, 0, 1), g)),
    )


def cube(rule: Any) -> Any:
    return unary(lambda x: x**3, rule)


# Right rules: (function, inputs, kind)

RIGHT = {
    "cube": (cube(lambda g, x: g * 3 * x * x), [X], "analytic"),
    "cube, differences": (cube(lambda g, x: g * 3 * x * x), [X], "smooth"),
    "exp keeps its output": (unary(np.exp, lambda g, y: g * y, "output"), [X], "analytic"),
    "matmul": (matmul(), [SQUARE, OTHER], "bilinear"),
    "matmul, differences": (matmul(), [SQUARE, OTHER], "smooth"),
    "sum": (ops.sum, [X], "linear"),
    "broadcast product": (ops.mul, [X, ROW], "bilinear"),
    "relu away from 0": (ops.relu, [X], "piecewise"),
    "shared": (lambda x: x * x + x, [X], "analytic"),
    "several outputs": (lambda x: (ops.exp(x), [x * 2, ops.sum(x)]), [X], "analytic"),
    "returns its input": (lambda x: x, [X], "linear"),
    "an unused input": (lambda x, y: x * 2, [X, ROW], "linear"),
    "0-dimensional": (ops.exp, [np.array(0.3)], "analytic"),
    "empty": (ops.exp, [np.zeros((0, 3))], "analytic"),
    "tiny derivatives": (lambda x: ops.exp(x - 200.0), [X], "smooth"),
    "small beside a large value": (lambda x: ops.exp(x) * 1e-3 + 10.0, [X], "smooth"),
    "near a singularity": (ops.log, [np.array([1e-3, 1e-5, 2.0])], "smooth"),
    "zero": (unary(np.floor, lambda g: g * 0.0, "nothing"), [X + 0.3], "piecewise"),
    "large": (cube(lambda g, x: g * 3 * x * x), [RNG.normal(size=(20, 30))], "analytic"),
    "large matmul": (matmul(), [RNG.normal(size=(20, 30)), RNG.normal(size=(30, 25))], "bilinear"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_rules_pass(name: str) -> None:
    function, inputs, kind = RIGHT[name]
    verdict = gradcheck(function, inputs, order=2, kind=kind)
    assert verdict.ok, str(verdict)
    assert "right" in str(verdict)


# Wrong rules


def _softmax(x: Any) -> Any:
    e = np.exp(x - x.max())
    return e / e.sum()


def _one_entry_wrong(g: Any, x: Any) -> Any:
    spoilt = np.ones(x.shape)
    spoilt.reshape(-1)[-1] = 1.001
    return g * 3 * x * x * spoilt


def _changes_its_cotangent(g: Any, x: Any) -> Any:
    result = g * 3 * x * x
    array = g if isinstance(g, np.ndarray) else g.data
    array *= 2
    return result


def _detached_square(g: Any, x: Any) -> Any:
    """Right numbers, but its own derivative is lost."""
    return (
        g * wrap(3 * x.data * x.data)
        if hasattr(x, "data") and hasattr(x, "node")
        else g * 3 * x * x
    )


def _forgets_second_use() -> Any:
    """x * sin(x) whose rule takes sin(x) for a constant."""
    return unary(lambda x: x * np.sin(x), lambda g, x: g * ops.sin(x))


def _state() -> Any:
    kept: list[Any] = []

    def rule(g: Any) -> Any:
        return g * 3 * kept[0] ** 2

    def operation(x: Any) -> Any:
        x = as_tensor(x)
        kept[:] = kept[:1] or [x.data.copy() * 1.01]
        return record(operation, x.data**3, (x, rule, None))

    return operation


def _counts_calls() -> Any:
    calls: list[int] = []

    def rule(g: Any, x: Any) -> Any:
        calls.append(1)
        return g * 3 * x * x * (1.0 if len(calls) == 1 else 1.01)

    return cube(rule)


def _quadratic_in_g(g: Any, x: Any) -> Any:
    return g * g * 3 * x * x


def _sums_over_rows() -> Any:
    """x times the sum over the rows of x, whose rule takes that sum for x itself."""
    return unary(
        lambda x: x.sum(0, keepdims=True) * np.ones_like(x),
        lambda g: ops.add(g, 0.0),
        "nothing",
    )


WRONG = {
    "negated": (cube(lambda g, x: -g * 3 * x * x), [X]),
    "factor 2": (cube(lambda g, x: g * 6 * x * x), [X]),
    "0.1 % off": (cube(lambda g, x: g * 3.003 * x * x), [X]),
    "1e-7 off, as by rounding to float32": (cube(lambda g, x: g * (3 + 3e-7) * x * x), [X]),
    "transposed": (matmul(lambda g, a, b: ops.matmul(g, b)), [SQUARE, OTHER]),
    "result transposed": (
        unary(lambda x: 2 * x.T, lambda g: 2 * g, "nothing"),
        [SQUARE],
    ),
    "missing sum over an axis": (_sums_over_rows(), [X]),
    "cotangent ignored": (cube(lambda g, x: 3 * x * x), [X]),
    "cotangent's sign only": (cube(lambda g, x: ops.sign(g) * 3 * x * x), [X]),
    "not linear in the cotangent": (cube(_quadratic_in_g), [X]),
    "swapped operands": (
        binary(np.multiply, lambda g, a, b: g * a, lambda g, a, b: g * b),
        [SQUARE, OTHER],
    ),
    "the other input's gradient": (
        matmul(
            lambda g, a, b: ops.matmul(ops.transpose(a, 0, 1), g),
            lambda g, a, b: ops.matmul(g, ops.transpose(b, 0, 1)),
        ),
        [SQUARE, OTHER],
    ),
    "one entry 0.1 % off": (cube(_one_entry_wrong), [X]),
    "one entry of 10,000 off": (cube(_one_entry_wrong), [RNG.uniform(0.5, 1.5, (100, 100))]),
    "coupling term of softmax forgotten": (
        unary(_softmax, lambda g, y: g * y, "output"),
        [ROW],
    ),
    "mean taken for a constant": (
        unary(lambda x: x - x.mean(), lambda g: ops.add(g, 0.0), "nothing"),
        [X],
    ),
    "a term of the product rule missing": (_forgets_second_use(), [X]),
    "stale value": (_state(), [X]),
    "second pass differs": (_counts_calls(), [X]),
    "shifted by one": (
        unary(lambda x: np.roll(x, 1), lambda g: ops.roll(g, 1), "nothing"),
        [ROW],
    ),
    "zero": (cube(lambda g, x: g * 0.0), [X]),
    "no gradient at all": (lambda x: wrap(as_tensor(x).data ** 3), [X]),
    "only some outputs": (lambda x: (x * 2, wrap(as_tensor(x).data * 3)), [X]),
    "constant added": (cube(lambda g, x: g * 3 * x * x + 1e-3), [X]),
    "rounded to float32": (cube(lambda g, x: ops.to(g * 3 * x * x, np.float32)), [X]),
    "changes its cotangent": (cube(_changes_its_cotangent), [X]),
    "returns what it keeps": (
        unary(lambda x: 0.5 * x * x * np.sign(x) * 0 + x**2 / 2, lambda g, x: x),
        [X],
    ),
}


@pytest.mark.parametrize("kind", ["smooth", "analytic"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules_are_caught(name: str, kind: str) -> None:
    function, inputs = WRONG[name]
    verdict = gradcheck(function, inputs, kind=kind)
    assert not verdict.ok, str(verdict)
    assert "WRONG" in str(verdict)


SECOND = {
    "kept value detached": cube(_detached_square),
    "recorded rule differs": cube(
        lambda g, x: (
            g * 3 * x * x if isinstance(g, np.ndarray) else g * 3.0 * x * x + 0 * g * x - x * g
        )
    ),
    "gradient of the gradient negated": unary(
        lambda x: x**3,
        lambda g, x: binary(
            lambda g, x: 3 * g * x * x,
            lambda h, g, x: 3 * h * x * x,
            lambda h, g, x: -6 * h * g * x,
        )(g, x),
    ),
}


@pytest.mark.parametrize("name", SECOND)
def test_errors_of_second_order_are_caught(name: str) -> None:
    verdict = gradcheck(SECOND[name], [X], order=2)
    assert not verdict.ok, str(verdict)
    assert all(f.ok for f in verdict.findings if f.order == 1)


# What it declares about itself


@pytest.mark.parametrize(
    ("function", "inputs", "kind", "words"),
    [
        (cube(lambda g, x: g * 3 * x * x), [X], "linear", "not linear in its inputs together"),
        (ops.mul, [X, X + 1], "linear", "not linear in its inputs together"),
        (cube(lambda g, x: g * 3 * x * x), [X], "bilinear", "not linear in input 0"),
        (
            (np.abs, lambda g, x: g * np.sign(x)),
            [X],
            "analytic",
            "complex numbers give another derivative",
        ),
        (
            unary(np.cbrt, lambda g, y: g * (1 / 3) / (y * y), "output"),
            [X],
            "analytic",
            "does not compute with complex numbers",
        ),
    ],
)
def test_a_wrong_kind_is_a_problem(function: Any, inputs: Any, kind: str, words: str) -> None:
    verdict = gradcheck(function, inputs, kind=kind)
    assert not verdict.ok
    assert words in str(verdict)


def test_constants() -> None:
    assert gradcheck(lambda x: wrap(x.data > 0), [X], kind="constant").ok
    verdict = gradcheck(lambda x: x * 2, [X], kind="constant")
    assert not verdict.ok
    assert "requires a gradient" in str(verdict)


# Broken promises other than wrong numbers


def _in_place(x: Any) -> Any:
    y = ops.mul(x, 2.0)
    x.data += 1e-9
    return y


def test_a_function_that_changes_its_inputs_is_reported() -> None:
    verdict = gradcheck(_in_place, [X])
    assert not verdict.ok
    assert "changes its inputs" in str(verdict)


def test_a_rule_that_takes_arrays_only_is_reported() -> None:
    verdict = gradcheck(unary(np.sin, lambda g, x: g * np.cos(x)), [X], order=2)
    assert not verdict.ok
    (problem,) = verdict.problems
    assert "rules get tensors, raises ValueError: numpy: the tensor requires" in problem
    (finding,) = verdict.findings  # the ordinary pass was compared all the same
    assert finding.order == 1 and finding.ok


def test_a_random_function_is_reported() -> None:
    rng = np.random.default_rng(0)
    verdict = gradcheck(lambda x: x * float(rng.uniform()), [X])
    assert not verdict.ok
    assert "random" in str(verdict) and "CANNOT BE CHECKED" in str(verdict)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_reported(bad: float) -> None:
    verdict = gradcheck(lambda x: x * 2, [np.array([1.0, bad])])
    assert not verdict.ok
    assert "output 0 holds NaN or infinity" in str(verdict)
    assert verdict.unusable and "WRONG" not in str(verdict)


def test_a_gradient_that_is_not_finite_is_wrong() -> None:
    verdict = gradcheck(cube(lambda g, x: g * 3 * x * x * np.nan), [X])
    assert not verdict.ok


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, "none of the inputs", lambda: gradcheck(ops.exp, [np.arange(3)])),
        (ValueError, "none of the inputs", lambda: gradcheck(ops.exp, [])),
        (ValueError, "kind 'odd'", lambda: gradcheck(ops.exp, [X], kind="odd")),
        (ValueError, "order must be 1 or more", lambda: gradcheck(ops.exp, [X], order=0)),
        (
            TypeError,
            "must return a tensor or several, got float$",
            lambda: gradcheck(lambda x: 3.0, [X]),
        ),
        (
            TypeError,
            "got ndarray; functions of arrays are checked in pairs",
            lambda: gradcheck(lambda x: np.sin(x.data), [X]),
        ),
        (ValueError, "write 1.0 instead of 1", lambda: gradcheck(ops.sin, [1, np.arange(3)])),
        (TypeError, "floating-point", lambda: gradcheck(lambda x: wrap(x.data > 0), [X])),
        (ZeroDivisionError, "division", lambda: gradcheck(lambda x: x * (1 // 0), [X])),
    ],
)
def test_calls_that_cannot_be_checked_raise(error: type[Exception], words: str, call: Any) -> None:
    with pytest.raises(error, match=words):
        call()


# The text


def test_the_text_names_input_entry_and_numbers() -> None:
    wrong = binary(np.multiply, lambda g, a, b: g * b, lambda g, a, b: g * a * 2)
    verdict = gradcheck(wrong, [SQUARE, OTHER], kind="bilinear")
    assert isinstance(verdict, Verdict)
    first, second = verdict.findings
    assert first.ok and not second.ok
    assert second.label == "input 1"
    assert second.wrong == 16
    text = str(verdict)
    assert "input 1 of shape (4, 4): DIFFERENT" in text
    assert "16 of 256 are wrong" in text
    assert "d output 0[" in text and "/ d input 1[" in text
    assert "every wrong entry is 2 times what it should be" in text


def test_assert_gradients() -> None:
    assert_gradients(ops.exp, [X], order=2, kind="analytic")
    with pytest.raises(AssertionError, match="the rule gives zero there"):
        assert_gradients(cube(lambda g, x: g * 0.0), [X])


def test_a_single_array_and_integers_among_the_inputs() -> None:
    assert gradcheck(ops.exp, X).ok
    assert gradcheck(lambda x, i: x[i] * 2, [X, np.array([0, 2, 2])], kind="linear", order=2).ok
    assert gradcheck(lambda x, dim, keepdim: ops.sum(x, dim, keepdim), [X, 1, True], order=2).ok


def test_inputs_are_left_alone() -> None:
    x = X.copy()
    x.flags.writeable = False
    assert gradcheck(ops.exp, [x], order=2).ok
    t = as_tensor(X).requires_grad_()
    assert gradcheck(ops.exp, [t]).ok
    assert t.grad is None
