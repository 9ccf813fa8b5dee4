"""The functions that compiled loops call: against float64, over all float32 that matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from scipy import special

from minigrad_kernels.cpu import math as functions

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, -0.0, -1, 1, 1e30, -1e30, 3e38, -3e38], "f4")
TINY = np.geomspace(1e-30, 0.5, 50_000).astype("f4")
SMALL = np.concatenate([TINY, -TINY])
POSITIVE = np.arange(1, 0x7F800000, 9973, dtype=np.uint32).view("f4")  # evenly among float32


def between(low: float, high: float) -> np.ndarray:
    return np.concatenate([np.linspace(low, high, 500_000).astype("f4"), SMALL])


# The function, its definition in float64, arguments, and its largest error in units of the last
# place, as measured, rounded up.
CASES = [
    ("exp", np.exp, between(-86.6, 89.5), 1.6),
    ("exp_of_negative", np.exp, np.concatenate([between(-86.6, 0), TINY * 170]), 1.6),
    ("expm1", np.expm1, between(-120, 89.5), 1.6),
    ("tanh", np.tanh, between(-30, 30), 2.6),
    ("sigmoid", special.expit, between(-86, 120), 2.6),
    ("log", np.log, POSITIVE, 1.0),
    ("log1p", np.log1p, np.concatenate([POSITIVE[POSITIVE > 1e-37], SMALL, -1 + TINY]), 1.6),
    ("bell", lambda x: np.exp(-0.5 * x * x), between(-13, 13), 1.6),
    ("normal_below", special.ndtr, between(-13, 13), 6.0),
]
NAMES = [case[0] for case in CASES]


def loop(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """A compiled loop that calls the function."""
    function = getattr(functions, name)

    @numba.njit(error_model="numpy")
    def run(x: Any, y: Any) -> None:
        for i in range(x.size):
            y[i] = function(x[i])

    def apply(x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        run(x, y)
        return y

    return apply


@pytest.mark.parametrize(("name", "definition", "x", "units"), CASES, ids=NAMES)
def test_float32(name: str, definition: Any, x: np.ndarray, units: float) -> None:
    apply = loop(name)
    with np.errstate(all="ignore"):
        wanted = definition(x.astype("f8"))
        rounded = wanted.astype("f4")
        got = apply(x)
        last_place = np.spacing(np.abs(rounded)).astype("f8")
        error = np.abs(got.astype("f8") - wanted) / last_place
        error[np.isinf(rounded) & (got == rounded)] = 0
        assert np.nanargmax(error) >= 0 and not np.isnan(error).any()
        worst = int(error.argmax())
        assert error[worst] <= units, (x[worst], got[worst], wanted[worst])
        special = SPECIAL[~(SPECIAL > 1)] if name == "exp_of_negative" else SPECIAL
        np.testing.assert_allclose(
            apply(special), definition(special.astype("f8")).astype("f4"), rtol=6e-7, atol=0
        )


@pytest.mark.parametrize(("name", "definition", "x", "units"), CASES, ids=NAMES)
def test_float64(name: str, definition: Any, x: np.ndarray, units: float) -> None:
    """The C library's: a few units in the last place, of twice as many digits."""
    x = np.concatenate([x[::50], SPECIAL]).astype("f8")
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(loop(name)(x), definition(x), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["exp", "exp_of_negative"])
def test_exp_of_very_negative_numbers_is_zero(name: str) -> None:
    x = np.linspace(-200, -87.7, 10_000).astype("f4")
    np.testing.assert_array_equal(loop(name)(x), 0)


def test_tanh_is_odd_to_the_bit() -> None:
    x = between(-12, 12)
    apply = loop("tanh")
    np.testing.assert_array_equal(apply(-x).view("i4"), (-apply(x)).view("i4"))


@pytest.mark.parametrize("name", NAMES)
def test_loops_are_vectorised(name: str) -> None:
    """A function that is called for each element, or branches, would cost ten times as much."""
    function = getattr(functions, name)

    @numba.njit("void(float32[::1], float32[::1])", error_model="numpy")
    def run(x: Any, y: Any) -> None:
        for i in range(x.size):
            y[i] = function(x[i])

    code = next(iter(run.inspect_llvm().values()))
    assert " x float> " in code, "no operation on vectors of float32"
