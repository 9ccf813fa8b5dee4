"""Pairs of array functions, broken promises, bad input, Taylor remainders, plots."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import as_tensor, ops, record
from minigrad.tensor import wrap
from minigrad.testing import FAMILIES, assert_gradients, gradcheck

RNG = np.random.default_rng(12)
X = RNG.uniform(0.5, 1.5, (3, 4)) * RNG.choice([-1.0, 1.0], (3, 4))
Y = RNG.normal(size=(4, 2))
SIN = (np.sin, lambda g, x: g * np.cos(x))


def op(forward: Any, rule: Any) -> Any:
    def operation(x: Any) -> Any:
        x = as_tensor(x)
        return record(operation, forward(x.data), (x, rule, x))

    return operation


# Pairs


def test_pairs_with_several_inputs_and_outputs() -> None:
    def forward(x: Any, k: Any, y: Any, scale: Any) -> Any:
        return np.sin(x[k]) * scale, np.arange(3), x @ y

    def vjp(g: Any, x: Any, k: Any, y: Any, scale: Any) -> Any:
        first, integers, second = g
        assert integers.shape == (3,) and not integers.any()
        by_x = second @ y.T
        np.add.at(by_x, k, first * np.cos(x[k]) * scale)
        return by_x, None, x.T @ second, None

    verdict = gradcheck((forward, vjp), [X, np.array([0, 2, 2]), Y, 3])
    assert verdict.ok, str(verdict)
    assert [f.label for f in verdict.findings] == ["input 0", "input 2"]
    assert verdict.name == "forward"
    assert_gradients((forward, vjp), [mg.tensor(X), np.array([0, 2, 2]), Y, 3])


def test_pairs_that_compute_in_single_precision() -> None:
    def forward(x: Any) -> Any:
        return np.exp(np.asarray(x, np.float32))

    def vjp(g: Any, x: Any) -> Any:
        assert g.dtype == np.float32
        return g * np.exp(np.asarray(x, np.float32))

    assert gradcheck((forward, vjp), [X]).ok
    assert not gradcheck((forward, lambda g, x: 1.1 * vjp(g, x)), [X]).ok


@pytest.mark.parametrize("none", [True, False])
def test_none_stands_for_a_gradient_of_zero(none: bool) -> None:
    pair = (lambda x, y: 2 * x, lambda g, x, y: (2 * g, None if none else 0 * y))
    assert gradcheck(pair, [X, Y]).ok
    assert not gradcheck((np.add, lambda g, x, y: (g * 1.0, None)), [X, X + 1]).ok


def test_a_pair_may_return_its_cotangent() -> None:
    assert gradcheck((lambda x: x + 1, lambda g, x: g), [X]).ok
    assert gradcheck((np.add, lambda g, x, y: (g, g)), [X, X + 1]).ok


@pytest.mark.parametrize("rule", [lambda g, x, y: (g, g.sum(1)), lambda g, x, y: (g, g.mean())])
def test_a_gradient_of_a_shape_that_nothing_mends(rule: Any) -> None:
    verdict = gradcheck((np.add, rule), [np.ones((4, 3)), np.arange(3.0)])
    good, bad = verdict.findings
    assert good.ok and not bad.ok and bad.fault == "unknown"
    assert "its input (3,)" in bad.note and "the rule says" not in str(bad)


def _writes_to_input(g: Any, x: Any) -> Any:
    x += 1e-9
    return g * np.cos(x)


def _writes_to_cotangent(g: Any, x: Any) -> Any:
    g *= 2.0
    return g * np.cos(x) / 2


def _remembers() -> Any:
    latest: list[Any] = [None]

    def forward(x: Any) -> Any:
        latest[0] = x.copy()
        return x**3

    return forward, lambda g, x: g * 3 * latest[0] ** 2


def _counts() -> Any:
    calls: list[int] = []

    def forward(x: Any) -> Any:
        calls.append(1)
        return x * (1 + 0.001 * (len(calls) > 12))

    return forward, lambda g, x: g * 1.0


BROKEN = {
    "the inputs are changed": (np.sin, _writes_to_input),
    "backward changes the cotangent": (np.sin, _writes_to_cotangent),
    "shares its memory with an input": (lambda x: (x * x).sum() / 2, lambda g, x: x),
    "its gradient float16 (3, 4)": (np.sin, lambda g, x: (g * np.cos(x)).astype(np.float16)),
    "a zero cotangent gives a gradient of input 0": (np.sin, lambda g, x: np.cos(x)),
    "not linear in its cotangent": (np.sin, lambda g, x: abs(g) * np.cos(x)),
    "uses a value of the latest call": _remembers(),
    "depends on a state that its calls change": _counts(),
    "input 0 is float64 (3, 4), its gradient float64 (4, 3)": (
        np.sin,
        lambda g, x: (g * np.cos(x)).T,
    ),
    "holds NaN or infinity": (np.sin, lambda g, x: g * np.nan),
}


@pytest.mark.parametrize("words", BROKEN)
def test_broken_promises_of_pairs(words: str) -> None:
    verdict = gradcheck(BROKEN[words], [X])
    assert not verdict.ok
    assert words in str(verdict), str(verdict)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, "order 2 needs a function of tensors", lambda: gradcheck(SIN, X, order=2)),
        (TypeError, "a pair must be two functions", lambda: gradcheck((np.sin,), X)),
        (TypeError, "a pair must be two functions", lambda: gradcheck((np.sin, 3), X)),
        (TypeError, "fn must be a function of tensors or a pair", lambda: gradcheck(3, X)),
        (ValueError, "gradient for each of 1 inputs", lambda: gradcheck((np.sin, np.divmod), X)),
        (TypeError, "vjp must return arrays", lambda: gradcheck((np.sin, lambda g, x: "g"), X)),
        (TypeError, "forward must return an array", lambda: gradcheck((str, SIN[1]), X)),
        (TypeError, "no array of floating-point", lambda: gradcheck((np.argmax, SIN[1]), X)),
        (ValueError, "none of the inputs", lambda: gradcheck(SIN, np.arange(3))),
        (ValueError, "kind 'odd' is none of auto, ", lambda: gradcheck(SIN, X, kind="odd")),
        (ValueError, "order must be", lambda: gradcheck(SIN, X, order=True)),
        (ValueError, "seed must be", lambda: gradcheck(SIN, X, seed=-1)),
        (ValueError, "full must be", lambda: gradcheck(SIN, X, full=2.5)),
    ],
)  # fmt: skip
def test_calls_that_cannot_be_checked_raise(error: Any, words: str, call: Any) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        call()


def test_constant_pairs() -> None:
    assert gradcheck((np.floor, lambda g, x: None), [X], kind="constant").ok
    verdict = gradcheck((np.floor, lambda g, x: g), [X], kind="constant")
    assert "the gradient by input 0 is not zero" in str(verdict)


# Functions of tensors


def test_forward_mode_must_agree() -> None:
    """Right numbers in both passes, but in the recorded one the cotangent is cut off."""
    verdict = gradcheck(
        op(np.sin, lambda g, x: wrap(np.asarray(as_tensor(g).data)) * ops.cos(x)), X
    )
    assert "forward mode disagrees with backward" in str(verdict)
    assert not verdict.ok
    assert all(f.ok for f in verdict.findings)


def test_inputs_that_are_not_differentiated_must_not_change_either() -> None:
    def shifts(x: Any, i: Any) -> Any:
        i.data[...] += 1
        return x * 2.0

    assert "the function changes its inputs" in str(gradcheck(shifts, [X, np.arange(3)]))


def test_an_error_of_the_function_says_where_it_was_raised() -> None:
    def picky(x: Any) -> Any:
        if (x.data > 1.0).any():
            raise ArithmeticError("above 1")
        return x * x

    for x, where in ((np.array([2.0]), "at the point"), (np.array([1.0]), "beside the point")):
        with pytest.raises(ArithmeticError, match="above 1") as caught:
            gradcheck(picky, [x])
        if sys.version_info >= (3, 11):
            (note,) = caught.value.__notes__
            assert where in note and "float64 (1,)" in note


class TestOwnTypes:
    """Inputs of single precision: computed in double, and once as they are."""

    def test_right(self) -> None:
        x = X.astype(np.float32)
        assert gradcheck(lambda x, y: mg.tanh(x @ y), [x, Y.astype(np.float32)], order=2).ok
        assert gradcheck(lambda x: ops.exp(x - 200.0), [x]).ok  # underflows in single precision
        assert gradcheck(lambda x: ops.sum(x + 1e6) - 1e6, [x]).ok  # is all rounding
        assert gradcheck(lambda x: ops.sin(x * 1e6), [x]).ok  # depends on the last digits
        assert gradcheck(lambda x: ops.exp(x + 100.0), [x]).ok  # overflows
        assert gradcheck(SIN, [x.astype(np.float16)]).ok

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            (lambda g, x: g * np.cos(x.astype(np.float64)), "its gradient float64"),
            (lambda g, x: g * np.cos(x) * (1 + (x.dtype == np.float32)), "off that in float64"),
            (lambda g, x: g * np.cos(x) * (x**40 / x**40), "holds NaN or infinity, in float64"),
        ],
    )
    def test_wrong(self, rule: Any, words: str) -> None:
        x = np.array([0.02, 1.0, 15.0], np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            verdict = gradcheck((np.sin, rule), [x])
        assert not verdict.ok
        assert "with inputs of float32: " in str(verdict) and words in str(verdict), str(verdict)

    def test_twice_as_much_in_half_precision(self) -> None:
        rule = lambda g, x: g * np.cos(x) * (1 + (x.dtype == np.float16))  # noqa: E731
        verdict = gradcheck((np.sin, rule), [X.astype(np.float16)])
        assert not verdict.ok and "off that in float64" in str(verdict)

    def test_raises(self) -> None:
        def fussy(x: Any) -> Any:
            if x.dtype == np.float32:
                raise ValueError("wants double precision")
            return x * x

        verdict = gradcheck(fussy, [X.astype(np.float32)])
        assert "with inputs of float32: raises ValueError: wants double" in str(verdict)


def test_tensors_on_a_gpu(cupy: Any) -> None:
    x, y = mg.tensor(X, device="cuda"), mg.tensor(Y, device="cuda")
    seen: set[str] = set()

    def function(x: Any, y: Any) -> Any:
        seen.add(x.device)
        return mg.tanh(x @ y) * 2.0

    verdict = gradcheck(function, [x, y], order=2)
    assert verdict.ok, str(verdict)
    assert seen == {"cuda:0"}

    def leaves(x: Any) -> Any:
        return record(leaves, x.data * 2.0, (x, lambda g: _on_cpu(g) * 2.0, None))

    assert "input 0 is on cuda:0, its gradient on cpu" in str(gradcheck(leaves, [x]))


def _on_cpu(g: Any) -> Any:
    return as_tensor(g).cpu() if isinstance(g, mg.Tensor) else wrap(g).cpu().data


# The text


@pytest.mark.parametrize(
    ("function", "inputs", "words"),
    [
        (lambda x: ops.sum(ops.softmax(x, 1)), [X], "the outputs do not change with this input"),
        (lambda x: x * x, [np.zeros(3)], "all derivatives are zero here"),
        (lambda x: x * 0.0, [X], "the outputs do not change with this input"),
        (ops.exp, [np.zeros((0, 3))], "nothing was compared: input or outputs are empty"),
    ],
)
def test_a_vacuous_check_says_so(function: Any, inputs: Any, words: str) -> None:
    verdict = gradcheck(function, inputs)
    assert verdict.ok and verdict.vacuous
    assert "VACUOUS" in str(verdict) and words in str(verdict), str(verdict)


@pytest.mark.parametrize("full", [0, 160])
def test_an_empty_input_beside_others(full: int) -> None:
    """Also where the outputs are many, and seen by random combinations."""
    verdict = gradcheck(lambda x, y: ops.cat([x, y]) ** 2, [X, np.zeros((0, 4))], full=full)
    assert verdict.ok and not verdict.vacuous, str(verdict)
    assert verdict.findings[1].compared == 0


def test_a_check_that_compares_something_is_not_vacuous() -> None:
    verdict = gradcheck(lambda x, y: x * 2.0, [X, Y])
    assert not verdict.vacuous and "VACUOUS" not in str(verdict)
    assert [f.vacuous for f in verdict.findings] == [False, True]


def test_families_are_told_in_words() -> None:
    (finding,) = gradcheck((np.sin, lambda g, x: -g * np.cos(x)), [X]).findings
    assert finding.fault in FAMILIES
    assert gradcheck(SIN, [X]).findings[0].fault == ""


def test_a_verdict_can_be_pickled() -> None:
    verdict = gradcheck((np.sin, lambda g, x: 2 * g * np.cos(x)), [X])
    again = pickle.loads(pickle.dumps(verdict))
    assert again == verdict and not again.ok
    assert np.isnan(again.findings[0].slope)
    with pytest.raises(ValueError, match="was pickled"):
        again.plot()


# Taylor remainders


@pytest.mark.parametrize(
    ("function", "x", "wanted"),
    [
        (SIN, X, 2.0),
        ((np.sin, lambda g, x: 1.01 * g * np.cos(x)), X, 1.0),
        ((lambda x: x**3, lambda g, x: 3 * g * x * x), np.zeros(2), 3.0),
        ((np.abs, lambda g, x: g * np.sign(x)), np.zeros(2), 1.0),
    ],
)
def test_the_slope_of_the_remainder(function: Any, x: np.ndarray, wanted: float) -> None:
    verdict = gradcheck(function, [x])
    assert abs(verdict.findings[0].slope - wanted) < 0.1
    assert (f"h^{verdict.findings[0].slope:.2f}" in str(verdict)) is not verdict.ok


def test_a_linear_function_has_no_remainder() -> None:
    assert np.isnan(gradcheck((lambda x: 2 * x, lambda g, x: 2 * g), [X]).findings[0].slope)


def test_the_noise_is_measured() -> None:
    def noisy(x: np.ndarray) -> np.ndarray:
        return np.sin(x) + 1e-6 * np.modf(4e4 * np.sin(1e15 * x))[0]

    study = gradcheck((noisy, SIN[1]), [X]).findings[0].study
    assert study is not None
    assert 1e-7 < study.noise < 1e-5


@pytest.mark.parametrize("off", [0.0, 1e-2, 1e-3])
def test_a_remainder_decides_where_differences_cannot(off: float) -> None:
    """So close to the edge of its domain that every central step leaves it."""
    pair = (np.sqrt, lambda g, x: (0.5 + off) * g / np.sqrt(x))
    with np.errstate(invalid="ignore"):
        verdict = gradcheck(pair, [np.array([1e-12, 1.0])])
        alone = gradcheck(pair, [np.array([1e-12])])
    assert verdict.ok == alone.ok == (off == 0.0), str(verdict)
    if verdict.ok:
        assert verdict.findings[0].oracle == "Taylor remainder"


# Plots


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib, which is not installed")
    verdict = gradcheck(lambda x, y: ops.exp(x) @ y, [X, Y], order=2)
    figure = verdict.plot(tmp_path / "verdict.png")
    assert (tmp_path / "verdict.png").stat().st_size > 10_000
    assert len([a for a in figure.axes if a.get_visible()]) == len(verdict.findings) == 5
    assert "right" in figure.get_suptitle()


def test_the_curves_show_the_fault() -> None:
    from minigrad.testing.checker.plot import curves

    right = gradcheck(SIN, [X]).findings[0].study
    wrong = gradcheck((np.sin, lambda g, x: 1.01 * g * np.cos(x)), [X]).findings[0].study
    assert right is not None and wrong is not None
    for study, error in ((right, 0.0), (wrong, abs(wrong.said - wrong.seen))):
        found = curves(study)
        best = found["oracle"].argmin()
        assert found["oracle"][best] < 1e-8
        assert abs(found["rule"][best] - error) < 1e-8
        steep = (found["step"] > 1e-3) & (found["step"] < 0.1)
        assert np.allclose(found["oracle"][steep], found["guide"][steep], rtol=0.05)


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        gradcheck(SIN, [X]).plot()
