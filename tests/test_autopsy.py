"""The autopsy is checked: faults that were planted on purpose are named, each by its family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from held_out_faults import HELD_OUT
from hypothesis import given, settings, strategies as st
from planted_faults import LARGE, PLANTED, ROW, Case, X, softmax, spoilt
from unseen_faults import UNSEEN, Unseen

from minigrad import as_tensor, ops, record
from minigrad.graph import OUTPUT
from minigrad.testing import FAMILIES, Finding, gradcheck
from minigrad.testing.autopsy import TESTS


def diagnosed(fn: Any, inputs: list[np.ndarray], **options: Any) -> Finding:
    """The finding about the first wrong input."""
    verdict = gradcheck(fn, inputs, **options)
    assert not verdict.ok, str(verdict)
    wrong = [f for f in verdict.findings if not f.ok]
    assert wrong, str(verdict)
    assert f"{wrong[0].note}" in str(verdict)
    return wrong[0]


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


@pytest.mark.parametrize("fault", [*UNSEEN, *HELD_OUT], ids=lambda fault: fault.name)
def test_faults_labelled_beforehand_are_named(fault: Unseen) -> None:
    for seed in range(2):
        finding = diagnosed(*fault.draw(np.random.default_rng(seed)))
        assert finding.fault == fault.family, f"{finding.fault}: {finding.note}"


@pytest.mark.parametrize(
    ("rows", "which"), [([0, 1, 1, 3], "only the last counts"), ([1, 1, 1, 1], "are not used")]
)
def test_overwritten_or_not_used(rows: list[int], which: str) -> None:
    """Where all rows are one and the same, its last use is a slice of the cotangent as well."""

    def rule(g: Any, x: Any) -> Any:
        d = np.zeros_like(x)
        d[rows] = g
        return d

    finding = diagnosed((lambda x: x[rows], rule), [X[:, :3].repeat(2, 0)])
    assert which in finding.note
    assert "overwr" in finding.note


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

    def rule(g: Any, x: Any) -> Any:
        gradient = (g + g.T) @ x
        gradient[place] += 0.01 * g.sum()
        return gradient

    pair = (lambda x: x @ x.T, rule)
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

    finding = diagnosed((np.sin, border), [LARGE])
    assert finding.fault == "unknown"
    assert "among others [" in finding.note and ", 49]" in finding.note, finding.note
