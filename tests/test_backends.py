"""Checks on each backend: where they run, what ran, and single precision."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import minigrad as mg
import minigrad_kernels as kernels
from minigrad.testing import backends, everything
from minigrad_kernels import BACKENDS, Kernel

X = np.array([[0.3, -1.7, 1.1], [0.2, 0.9, -0.4]])
HERE = [name for name in ("reference", "numba", "cuda-on-cpu") if BACKENDS[name].available]


def half(x: mg.Tensor) -> mg.Tensor:
    """x^2 with half its derivative."""
    return mg.record(half, x.data * x.data, (x, lambda g, x: g * x, x))


@pytest.mark.parametrize("backend", HERE)
def test_each_backend_computes_with_its_own_kernels(backend: str) -> None:
    verdict, ran = backends.check(backend, mg.softmax, [X, 1], order=2)
    assert verdict.ok, verdict
    assert {i.backend for i in ran.values()} == {backend}
    assert {label.partition(",")[0] for label in ran} >= {"softmax", "softmax_gradient"}
    assert not backends.check(backend, half, [X])[0].ok


def test_on_a_gpu_the_function_gets_tensors_there(cuda: Any) -> None:
    seen = []

    def softmax(x: mg.Tensor, dim: int) -> Any:
        seen.append(x.device)
        return [mg.softmax(x, dim), (x.sum(),)]

    assert backends.gradcheck_on("cuda", softmax, [X, 1], kind="smooth").ok
    assert set(seen) == {"cuda:0"}
    assert not backends.gradcheck_on("cuda", half, [X], kind="smooth").ok
    assert backends.single_precision("cuda", mg.softmax, [X.astype("f4"), 1])[0] == []
    if not hasattr(cuda, "__file__"):  # the stand-in
        assert backends.place("cuda") == "Stand-in"


def test_a_pair_of_numpy_functions_stays_on_the_cpu() -> None:
    pair = (np.sin, lambda v, x: v * np.cos(x))
    assert backends.gradcheck_on("reference", pair, [X]).ok
    with pytest.raises(ValueError, match="a pair of NumPy functions does not run on a GPU"):
        backends.on_device(pair)


def test_backends_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="no backend 'fast'; there are reference, numba"):
        backends.unavailable("fast")
    for name, backend in BACKENDS.items():
        reason = backends.unavailable(name)
        assert reason == backend.reason
        if reason is not None:
            with pytest.raises(RuntimeError, match="cannot be used here"):
                backends.gradcheck_on(name, mg.tanh, [X])
    for name in HERE:
        assert backends.place(name).split()[0] in ("NumPy", "Numba", "the")


def test_what_runs_is_observed_and_then_no_longer() -> None:
    before = Kernel.__call__
    with pytest.raises(ZeroDivisionError), backends.observed() as ran:
        kernels.softmax(X, axis=1)
        raise ZeroDivisionError
    assert list(ran) == ["softmax, reference"]
    assert Kernel.__call__ is before
    kernels.tanh(X)
    assert list(ran) == ["softmax, reference"]


def _single(change: Any) -> Any:
    """A function that is wrong in single precision only: what `change` makes of its result."""

    def f(x: mg.Tensor) -> mg.Tensor:
        y = x.data * x.data
        if x.data.dtype == np.float32:
            y = change(y)
        return mg.record(f, y, (x, lambda g, x: g * 2 * x, x))

    return f


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: np.round(y, 1), "float32: output 0 differs by .* from double"),
        (lambda y: np.where(y > 1, np.float32(np.inf), y), "output 0 is finite in other places"),
    ],
)
def test_what_is_wrong_in_single_precision_only(change: Any, words: str) -> None:
    problems, _ = backends.single_precision("reference", _single(change), [X])
    assert len(problems) == 1 and re.search(words, problems[0])
    verdict, _ = backends.check("reference", _single(change), [X], kind="smooth")
    assert not verdict.ok and problems[0] in str(verdict)
    assert backends.single_precision("reference", _single(lambda y: y), [X])[0] == []


def test_a_wrong_gradient_in_single_precision_only() -> None:
    def f(x: mg.Tensor) -> mg.Tensor:
        factor = 2 if x.data.dtype == np.float64 else 2.01
        return mg.record(f, x.data * x.data, (x, lambda g, x: g * factor * x, x))

    (problem,) = backends.single_precision("reference", f, [X])[0]
    assert problem.startswith("float32: the gradient of input 0 differs by ")


def test_an_operation_without_kernels_is_not_said_to_be_verified() -> None:
    assert everything.check_operation("exp", "numba").status == "no kernel"
    assert everything.check_operation("tanh", "numba").status == "right"
    assert everything.check_operation("exp", "reference").status == "right"
    assert everything.check_operation("allclose", "reference").status == "constant"
