"""What is registered as a kernel is tested because it is: every implementation on its samples."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from kernel_calls import arrays_of, changed_arrays, check_equal, drawn, results, strided
from on_gpu import runner

from minigrad_kernels import BACKENDS, KERNELS, Arguments, Implementation, Kernel, arguments, kernel
from minigrad_kernels.registry import Cost

SAMPLES = {name: drawn(k) for name, k in KERNELS.items()}
CASES = [
    pytest.param(k, a, id=f"{name}-{i}")
    for name, k in KERNELS.items()
    for i, a in enumerate(SAMPLES[name])
]


# The references


@pytest.mark.parametrize(("k", "call"), CASES)
def test_reference(k: Kernel, call: Arguments) -> None:
    """It runs, leaves its inputs alone, repeats itself if it says so, and keeps float32."""
    before = [a.copy() for a in arrays_of(call)]
    first = k.reference(*call.args, **call.options)
    for a, b in zip(arrays_of(call), before, strict=True):
        np.testing.assert_array_equal(a, b)
    for y in results(first):
        assert isinstance(y, np.ndarray)
    second = k.reference(*call.args, **call.options)
    if k.implementations[-1].deterministic:
        for y, z in zip(results(first), results(second), strict=True):
            np.testing.assert_array_equal(y, z)
    reals = {a.dtype for a in arrays_of(call) if a.dtype.kind == "f"}
    if len(reals) == 1:
        assert {y.dtype for y in results(first) if y.dtype.kind == "f"} <= reals


@pytest.mark.parametrize(("k", "call"), CASES)
def test_reference_writes_into_out(k: Kernel, call: Arguments) -> None:
    """Whatever lies in `out` is overwritten, and `out` itself is returned."""
    wanted = k.reference(*call.args, **call.options)
    several = isinstance(wanted, (tuple, list))
    for layout in (np.asarray, strided):
        room = [layout(np.full_like(y, 77, order="C")) for y in results(wanted)]
        out = tuple(room) if several else room[0]
        got = k.reference(*call.args, **call.options, out=out)
        for y, o in zip(got if several else (got,), room, strict=True):
            assert y is o, "the array given as `out` is not what was returned"
        check_equal(k, call, got, wanted)


@pytest.mark.parametrize(("k", "call"), CASES)
def test_reference_takes_any_layout(k: Kernel, call: Arguments) -> None:
    """Gaps, negative strides and Fortran's order change nothing but the order of sums."""
    wanted = k.reference(*call.args, **call.options)
    for layout in (strided, lambda a: np.asfortranarray(a) if a.ndim else a):
        other = changed_arrays(call, layout)
        check_equal(k, call, k.reference(*other.args, **other.options), wanted)


# Random numbers of another precision are other numbers.
NOT_RANDOM = [case for case in CASES if "seed" not in case.values[1].options]


@pytest.mark.parametrize(("k", "call"), NOT_RANDOM)
def test_reference_in_float32(k: Kernel, call: Arguments) -> None:
    """Single precision in, single precision out, and the same numbers but for its rounding."""
    narrow = changed_arrays(call, lambda a: a.astype("f4") if a.dtype.kind == "f" else a)
    wide = changed_arrays(narrow, lambda a: a.astype("f8") if a.dtype.kind == "f" else a)
    got = results(k.reference(*narrow.args, **narrow.options))
    wanted = results(k.reference(*wide.args, **wide.options))
    for y, z in zip(got, wanted, strict=True):
        if y.dtype.kind == "f":
            assert y.dtype == np.float32
            # 1,000 units in the last place: functions may cancel, sums of the samples are short.
            np.testing.assert_allclose(
                y, z, rtol=0, atol=1.2e-4 * max(1.0, np.abs(z).max(initial=0.0)), equal_nan=True
            )


@pytest.mark.parametrize(("k", "call"), CASES)
def test_cost(k: Kernel, call: Arguments) -> None:
    """The declared cost is finite, and positive where there is something to compute."""
    cost = k.cost(*call.args, **call.options)
    assert np.isfinite(cost.flops) and cost.flops >= 0
    assert np.isfinite(cost.bytes) and cost.bytes >= 0
    if all(a.size for a in arrays_of(call)):
        smallest = min([a.nbytes for a in arrays_of(call)], default=1)
        assert cost.bytes >= smallest, "less than its smallest input"


@pytest.mark.parametrize("name", KERNELS)
def test_samples(name: str) -> None:
    """Samples reach both precisions, odd layouts, and do not repeat one shape only."""
    calls = SAMPLES[name]
    assert calls, "no samples"
    assert KERNELS[name].__doc__, "no docstring: what is computed?"
    found = list(itertools.chain.from_iterable(arrays_of(c) for c in calls))
    if any(a.dtype.kind == "f" for a in found):
        assert {np.dtype("f4"), np.dtype("f8")} <= {a.dtype for a in found}


# The other implementations


def tried(k: Kernel, i: Implementation) -> int:
    """Compare an implementation with the reference on the samples it accepts; returns how many."""
    accepted = 0
    for call in drawn(k):
        if i.accepts is not None and not i.accepts(*call.args, **call.options):
            continue
        accepted += 1
        wanted = k.reference(*call.args, **call.options)
        before = [a.copy() for a in arrays_of(call)]
        check_equal(k, call, runner(i)(*call.args, **call.options), wanted, eps=i.eps)
        for a, b in zip(arrays_of(call), before, strict=True):
            np.testing.assert_array_equal(a, b)
        room = [np.full_like(y, 77) for y in results(wanted)]
        several = isinstance(wanted, (tuple, list))
        got = runner(i)(*call.args, **call.options, out=tuple(room) if several else room[0])
        assert all(y is o for y, o in zip(got if several else (got,), room, strict=True))
        check_equal(k, call, got, wanted, eps=i.eps)
        if i.deterministic:
            for y, z in zip(
                results(runner(i)(*call.args, **call.options)), results(got), strict=True
            ):
                np.testing.assert_array_equal(y, z)
    return accepted


@pytest.mark.parametrize("k", KERNELS.values(), ids=KERNELS)
def test_implementations_agree_with_the_reference(k: Kernel) -> None:
    """Those of the backends that are usable here; none may refuse every sample."""
    for i in k.implementations[:-1]:
        if BACKENDS[i.backend].available:
            assert tried(k, i), f"{i.backend}:{i.name} accepts none of the samples of {k.name}"


# The test itself is tested, with implementations that are wrong


def _samples(rng: np.random.Generator) -> Any:
    yield arguments(rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))


@pytest.fixture
def total() -> Any:
    @kernel(samples=_samples, cost=lambda x, y: Cost(x.size, 3 * x.nbytes))
    def total_of_two(x: Any, y: Any, *, out: Any = None) -> Any:
        """x + y"""
        return np.add(x, y, out=out)

    yield total_of_two
    del KERNELS["total_of_two"]


def _planted(run: Any, **options: Any) -> Implementation:
    return Implementation("numba", "planted", lambda: run, **options)


def test_a_right_implementation_passes(total: Kernel) -> None:
    right = _planted(lambda x, y, out=None: np.add(y, x, out=out))
    assert tried(total, right) == 1


def _modifies(x: Any, y: Any, out: Any = None) -> Any:
    result = np.add(x, y, out=out)
    x += 1e-3
    return result


@pytest.mark.parametrize(
    "run",
    [
        lambda x, y, out=None: np.add(x, y * 1.001, out=out),
        lambda x, y, out=None: (x + y).astype("f4"),
        lambda x, y, out=None: x + y,
        lambda x, y, out=None: np.add(x, y, out=out)[:2],
        lambda x, y, out=None: out if out is not None else x + y,
        _modifies,
    ],
    ids=["off by 0.1 %", "dtype", "ignores out", "shape", "out not written", "changes its input"],
)
def test_a_wrong_implementation_is_caught(total: Kernel, run: Any) -> None:
    with pytest.raises((AssertionError, ValueError)):
        tried(total, _planted(run))


def test_an_implementation_that_accepts_nothing_is_caught(total: Kernel) -> None:
    @total.on("numba", accepts=lambda x, y: False)
    def _() -> Any:
        return lambda x, y, out=None: np.add(x, y, out=out)

    with pytest.raises(AssertionError, match="numba:numba accepts none of the samples of total"):
        test_implementations_agree_with_the_reference(total)
