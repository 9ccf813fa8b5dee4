"""The kernel registry: which implementation runs, why, and what it refuses."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np
import pytest

import minigrad_kernels
from minigrad.ops.registry import OPERATIONS, Drawn, differentiable, real, sample
from minigrad_kernels import BACKENDS, KERNELS, Backend, Cost, Kernel, arguments, kernel, use


def _samples(rng: np.random.Generator) -> Any:
    yield arguments(rng.normal(size=3))


@pytest.fixture
def double() -> Any:
    """A kernel that says which implementation computed it, in what it returns."""

    @kernel(samples=_samples, cost=lambda x: Cost(x.size, 2 * x.nbytes))
    def doubled(x: Any, *, out: Any = None) -> Any:
        """2 x"""
        return "reference"

    @doubled.on("numba", accepts=lambda x: x.ndim == 1, worth=lambda x: x.size > 3)
    def _() -> Any:
        return lambda x, out=None: "numba"

    @doubled.on("cuda-on-cpu", name="naive")
    def _() -> Any:
        return lambda x, out=None: "naive"

    yield doubled
    del KERNELS["doubled"]


def test_the_first_that_accepts_and_is_worth_it_runs(double: Kernel) -> None:
    assert double(np.ones(4)) == "numba"
    assert double(np.ones(3)) == "reference"
    assert double(np.ones((4, 4))) == "reference"


def test_use_forces_and_does_not_ask_what_it_is_worth(double: Kernel) -> None:
    x = np.ones(2)
    with use("numba"):
        assert double(x) == "numba"
        assert double(np.ones((2, 2))) == "reference", "not accepted: the last resort"
        with use("reference"):
            assert double(np.ones(9)) == "reference"
        assert double(x) == "numba"
    assert double(x) == "reference"


def test_use_one_rung_and_several_wishes(double: Kernel, monkeypatch: Any) -> None:
    always = Backend("cuda-on-cpu", ("numpy",), lambda: None, automatic=False, description="")
    monkeypatch.setitem(BACKENDS, "cuda-on-cpu", always)
    with use("cuda-on-cpu:naive"):
        assert double(np.ones(4)) == "naive"
    with use("numba", "cuda-on-cpu"):
        assert double(np.ones(1)) == "numba"
        assert double(np.ones((2, 2))) == "naive"
    assert double(np.ones((2, 2))) == "reference", "not automatic"


def test_use_is_of_one_thread(double: Kernel) -> None:
    seen = []
    with use("reference"):
        thread = threading.Thread(target=lambda: seen.append(double(np.ones(4))))
        thread.start()
        thread.join()
        assert double(np.ones(4)) == "reference"
    assert seen == ["numba"]


def test_use_is_undone_by_an_error(double: Kernel) -> None:
    with pytest.raises(ZeroDivisionError), use("reference"):
        raise ZeroDivisionError
    assert double(np.ones(4)) == "numba"


def test_use_refuses_what_does_not_exist(double: Kernel, monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="no backend 'fast'"), use("fast"):
        pass
    with pytest.raises(ValueError, match="no kernel has an implementation 'numba:fastest'"):  # noqa: SIM117
        with use("numba:fastest"):
            pass
    broken = Backend("cuda", ("cupy",), lambda: "the driver is missing", True, "")
    monkeypatch.setitem(BACKENDS, "cuda", broken)
    with pytest.raises(RuntimeError, match="the driver is missing"), use("cuda"):
        pass


def test_an_error_in_an_implementation_is_not_hidden(double: Kernel) -> None:
    @double.on("numba", name="broken")
    def _() -> Any:
        def run(x: Any, out: Any = None) -> Any:
            raise FloatingPointError("planted")

        return run

    with pytest.raises(FloatingPointError, match="planted"):
        double(np.ones(4))


def test_explain(double: Kernel) -> None:
    text = double.explain(np.ones(4))
    assert text.splitlines()[0] == "doubled: numba"
    assert "numba: runs" in text
    assert "reference: would do, but comes later" in text
    assert "naive: runs only when asked for" in text or "is not usable here" in text
    assert "is not worth it" in double.explain(np.ones(2))
    assert "does not accept" in double.explain(np.ones((2, 2)))
    with use("reference"):
        assert double.explain(np.ones(4)).splitlines()[0] == "doubled: reference"
        assert "was not asked for" in double.explain(np.ones(4))


def test_explain_names_the_implementation_and_each_only_once(double: Kernel) -> None:
    @double.on("numba", name="other")
    def _() -> Any:
        return lambda x, out=None: 2 * x

    with use("numba:other", "numba"):
        text = double.explain(np.ones(4))
    assert text.splitlines()[0] == "doubled: numba:other"
    assert text.count("numba:other:") == 1
    assert "numba: would do" in text


def test_registering_refuses(double: Kernel) -> None:
    with pytest.raises(ValueError, match="no backend 'fast'"):
        double.on("fast")
    with pytest.raises(ValueError, match="already has an implementation 'numba'"):
        double.on("numba")


def test_arguments_must_be_arrays(double: Kernel) -> None:
    with pytest.raises(TypeError, match="NumPy or CuPy arrays, not list"):
        double([1.0, 2.0])


def test_every_kernel_pickles_by_name() -> None:
    for k in KERNELS.values():
        module = __import__(k.__module__, fromlist=[k.name])
        assert getattr(module, k.name) is k
        assert pickle.loads(pickle.dumps(k)) is k


def test_every_kernel_is_public() -> None:
    missing = [n for n, k in KERNELS.items() if getattr(minigrad_kernels, n, None) is not k]
    assert not missing


# The list of operations


def test_operations_need_samples_and_a_known_kind() -> None:
    with pytest.raises(ValueError, match="has no samples"):

        @differentiable([], kind="smooth")
        def nothing(x: Any) -> Any:
            return x

    with pytest.raises(ValueError, match="'odd' is none of linear"):
        differentiable([sample(real())], kind="odd")
    assert "nothing" not in OPERATIONS


def test_separated_numbers_are_separated(rng: np.random.Generator) -> None:
    for shape in ((), (1,), (7,), (3, 4), (2, 0)):
        x = Drawn(shape, -2.0, 2.0, "separated").draw(rng)
        assert x.shape == shape
        flat = np.sort(x.ravel())
        assert (np.diff(flat) > 1e-2).all()
        assert (abs(flat) > 1e-2).all(), f"a kink at 0 is too near for {shape}"
