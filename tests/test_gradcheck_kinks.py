"""At kinks, ties and hard points the checker errs on neither side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from minigrad import as_tensor, ops
from minigrad.testing import gradcheck
from minigrad.testing.strategies import separated, tied

RNG = np.random.default_rng(8)
X = RNG.uniform(0.5, 1.5, (3, 4)) * RNG.choice([-1.0, 1.0], (3, 4))
Y = RNG.normal(size=(4, 2))
CORNERS = np.array([0.0, 1.0, -2.0, 0.5])
TIED = np.array([1.0, 3.0, 3.0, -2.0])
EQUAL = np.array([TIED, [2.0, 2.0, 2.0, 2.0]])

# Rules that are right or wrong: (forward, vjp), input


def relu(slope: float) -> Any:
    """With this slope at 0."""
    return lambda x: np.maximum(x, 0), lambda g, x: g * ((x > 0) + slope * (x == 0))


def absolute(slope: float) -> Any:
    """With this slope at 0."""
    return np.abs, lambda g, x: g * (np.sign(x) + slope * (x == 0))


def maximum(share: Any) -> Any:
    """With this share of the gradient for each entry, a function of which entries are tied."""
    return np.max, lambda g, x: g * share(x == x.max())


INSIDE = {
    "relu at 0": (relu(0.0), CORNERS),
    "relu at 0, slope 1": (relu(1.0), CORNERS),
    "abs at 0": (absolute(0.0), CORNERS),
    "ties share": (maximum(lambda tied: tied / tied.sum()), TIED),
    "the first tie takes all": (maximum(lambda tied: np.eye(4)[tied.argmax()]), TIED),
}
OUTSIDE = {
    "relu at 0, slope 2": (relu(2.0), CORNERS),
    "abs at 0, slope -1.5": (absolute(-1.5), CORNERS),
    "each tie takes all": (maximum(lambda tied: 1.0 * tied), TIED),
    "no tie takes anything": (maximum(lambda tied: tied * (tied.sum() == 1.0)), TIED),
    "a slope from far away": (
        (np.sort, lambda g, x: g * np.array([1.0, 1.5, 0.5, 1.0])),
        np.full(4, 2.0),
    ),
    "wrong beside the tie": (maximum(lambda tied: tied / 2.0 + 0.01), TIED),
}


@pytest.mark.parametrize("kind", ["auto", "piecewise"])
@pytest.mark.parametrize("name", INSIDE)
def test_gradients_inside_the_subdifferential_pass(name: str, kind: str) -> None:
    function, x = INSIDE[name]
    verdict = gradcheck(function, [x], kind=kind)
    assert verdict.ok, str(verdict)
    # In the middle between the slopes is what a central difference gives, too.
    middle = name in ("abs at 0", "ties share")
    assert verdict.findings[0].status == ("equal" if middle else "kink")
    assert middle or "at a kink, inside the subdifferential" in str(verdict)


@pytest.mark.parametrize("kind", ["auto", "piecewise"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_gradients_outside_the_subdifferential_are_caught(name: str, kind: str) -> None:
    function, x = OUTSIDE[name]
    verdict = gradcheck(function, [x], kind=kind)
    assert not verdict.ok, str(verdict)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), off=st.floats(1e-5, 1.0))
def test_a_slope_outside_the_subdifferential_is_never_right(seed: int, off: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.where(rng.uniform(size=4) < 0.5, 0.0, rng.normal(size=4))
    x[0] = 0.0
    verdict = gradcheck(relu(1 + off), [x])
    assert not verdict.ok or off < 2e-4, str(verdict)  # slopes at a kink are known to 1e-4


def test_noise_is_not_a_pass() -> None:
    """A function computed in float32 whose slope drowns in rounding cannot be vouched for."""

    def noisy(x: np.ndarray) -> np.ndarray:
        return (x.astype("f4") + np.float32(1e6)).astype("f8")

    verdict = gradcheck((noisy, lambda g, x: 1.0 * g), [X])
    assert not verdict.ok and not verdict.problems


# Registered operations


@pytest.mark.parametrize("kind", ["auto", "piecewise"])
@pytest.mark.parametrize(
    ("function", "x"),
    [
        (ops.relu, CORNERS),
        (ops.leaky_relu, CORNERS),
        (ops.elu, CORNERS),
        (ops.abs, CORNERS),
        (lambda x: ops.abs(x) * 2 + x, CORNERS),
        (lambda x: ops.clip(x, -2.0, 0.5), CORNERS),
        (lambda x: ops.where(x.data > 0, x, x * 2), CORNERS),
        (lambda x: ops.maximum(x, x * x), CORNERS),
        (lambda x: ops.relu(x) * ops.relu(-x), CORNERS),
        (lambda x: ops.l1_loss(x, CORNERS), CORNERS),
        (lambda x: ops.amax(x, 1), EQUAL),
        (lambda x: ops.amin(x), EQUAL),
        (lambda x: ops.max(x, 1), EQUAL),
        (lambda x: ops.minimum(x, EQUAL), EQUAL),
        (lambda x: ops.sort(x, -1), EQUAL),
        (lambda x: ops.topk(x, 2), EQUAL),
        (lambda x: ops.max_pool2d(x, 2), np.ones((1, 1, 4, 4))),
        (lambda x: ops.max_pool2d(x, 2, stride=1), np.ones((1, 1, 3, 3))),
        (lambda x: ops.max_pool2d(ops.relu(x), 2), -np.ones((1, 1, 4, 4))),
        (ops.norm, np.zeros(3)),
        (ops.prod, CORNERS),
        (ops.sqrt, np.array([1e-7, 1e-3, 1.0])),
        (ops.sqrt, np.array([1e-12, 1.0])),
        (ops.rsqrt, np.array([1e-6, 1.0])),
        (ops.log, np.array([1e-9, 3.0])),
    ],
)
def test_no_false_alarm_at_corners(function: Any, x: np.ndarray, kind: str) -> None:
    verdict = gradcheck(function, [x], kind=kind)
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: ops.exp(x - 200.0), X),
        (lambda x: ops.exp(x) * 1e-3 + 10.0, X),
        (lambda x: ops.to(ops.exp(ops.to(x, np.float32)), np.float32), X),
        (lambda x: ops.sin(ops.to(x, np.float32)), X * 3),
        (lambda x: ops.softmax(ops.to(x, np.float32), 1), X),
        (lambda x: ops.relu(ops.to(x, np.float32)), CORNERS),
        (lambda x: ops.matmul(ops.to(x, np.float32), ops.to(as_tensor(Y), np.float32)), X),
        (ops.floor, CORNERS + 0.3),
    ],
)
def test_no_false_alarm_at_hard_points(function: Any, x: np.ndarray) -> None:
    verdict = gradcheck(function, [x])
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("kind", ["auto", "piecewise"])
@settings(max_examples=30)
@given(data=st.data())
def test_no_false_alarm_with_ties_and_without(kind: str, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(3,), (2, 3), (1, 1, 4, 4)]))
    x = data.draw(data.draw(st.sampled_from([tied, separated]))(shape))
    function = data.draw(
        st.sampled_from(
            [
                lambda x: ops.amax(x, -1),
                lambda x: ops.relu(x - 1.0),
                lambda x: ops.max_pool2d(ops.reshape(x, (1, 1, -1, x.shape[-1])), (1, 2)),
                lambda x: ops.maximum(x, 1.0) * x,
                lambda x: ops.clip(x, 0.0, 1.0) + ops.abs(x),
                lambda x: ops.where(x.data > 0.5, ops.exp(x), x * x),
                lambda x: ops.sort(x, -1)[0],
            ]
        )
    )
    verdict = gradcheck(function, [x], kind=kind)
    assert verdict.ok, str(verdict)
