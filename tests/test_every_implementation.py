"""Every implementation of every kernel where memory, numbers or threads are not the usual ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from kernel_calls import arrays_of, changed_arrays, check_equal, drawn, is_array, results, strided
from on_gpu import runner

from minigrad_kernels import (
    BACKENDS,
    KERNELS,
    Arguments,
    Implementation,
    Kernel,
    arguments,
    get_num_threads,
    kernel,
    layout,
    set_num_threads,
)
from minigrad_kernels.registry import Cost

IMPLEMENTATIONS = [
    pytest.param(k, i, id=f"{k.name}-{i.backend}-{i.name}")
    for k in KERNELS.values()
    for i in k.implementations
    if i.backend != "reference" and i.reason is None
]
each = pytest.mark.parametrize(("k", "i"), IMPLEMENTATIONS)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """NaN and infinities are among the inputs here: what becomes of them is compared."""
    with np.errstate(all="ignore"):
        yield


def accepted(i: Implementation, calls: Iterator[Arguments]) -> Iterator[Arguments]:
    """Those of the calls that the implementation accepts."""
    for call in calls:
        if i.accepts is None or i.accepts(*call.args, **call.options):
            yield call


def check_same(k: Kernel, i: Implementation, call: Arguments, **options: Any) -> None:
    """The implementation agrees with the reference, and leaves its inputs alone."""
    wanted = k.reference(*call.args, **call.options)
    before = [a.copy() for a in arrays_of(call)]
    check_equal(k, call, runner(i)(*call.args, **call.options), wanted, eps=i.eps, **options)
    for a, b in zip(arrays_of(call), before, strict=True):
        np.testing.assert_array_equal(a, b)


# Layouts


def fortran(x: np.ndarray) -> np.ndarray:
    return np.asfortranarray(x) if x.ndim else x


def channels_last(x: np.ndarray) -> np.ndarray:
    """The second axis last in memory, as in images that convolutions made."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 2 else x


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def misaligned(x: np.ndarray) -> np.ndarray:
    """The same numbers, beginning one byte behind where numbers of their type should."""
    room = np.empty(x.nbytes + 1, np.uint8)
    view = room[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def repeated(x: np.ndarray) -> np.ndarray:
    """A view without memory of its own: one row, or number, that stands for all."""
    return np.broadcast_to(x[:1], x.shape) if x.ndim and x.shape[0] else x


def every_second(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """`change` the first array, the third, ..., so that layouts differ within a call."""
    turn = itertools.cycle((True, False))
    return lambda x: change(x) if next(turn) else x


LAYOUTS: dict[str, Callable[[], Callable[[np.ndarray], np.ndarray]]] = {
    "strided": lambda: strided,
    "reversed": lambda: lambda x: x[..., ::-1].copy()[..., ::-1] if x.ndim else x,
    "fortran": lambda: fortran,
    "channels-last": lambda: channels_last,
    "mixed strided": lambda: every_second(strided),
    "mixed fortran": lambda: every_second(fortran),
    "mixed channels-last": lambda: every_second(channels_last),
    "misaligned": lambda: misaligned,
}


def check_layouts(k: Kernel, i: Implementation) -> None:
    calls = drawn(k)
    for call in calls:
        for change in LAYOUTS.values():
            for variant in accepted(i, iter([changed_arrays(call, change())])):
                check_same(k, i, variant)
    # Numba compiles everything anew for read-only arrays: one call of each kernel is enough.
    for call in itertools.islice(accepted(i, iter(calls)), 1):
        check_same(k, i, changed_arrays(call, read_only))


@each
def test_layouts(k: Kernel, i: Implementation) -> None:
    """Gaps, negative strides, orders of axes, memory that is read-only or misaligned."""
    check_layouts(k, i)


@each
def test_an_input_without_memory_of_its_own(k: Kernel, i: Implementation) -> None:
    """Every row of the first array is the first row, which lies in memory once.

    Differences between rows are zero then, but for rounding errors of the size of the rows, which a
    normalisation divides by the root of its eps: 1e-5, and a standard deviation of 0.
    """
    for call in drawn(k):
        if call.args and is_array(call.args[0]):
            args = (repeated(call.args[0]), *call.args[1:])
            reals = [a for a in arrays_of(call) if a.dtype.kind == "f"]
            least = max((float(np.abs(a).max(initial=0.0)) for a in reals), default=0.0)
            for variant in accepted(i, iter([Arguments(args, call.options)])):
                check_same(k, i, variant, least=least / 1e-5**0.5)


# Numbers


def as_type(call: Arguments, dtype: str) -> Arguments:
    return changed_arrays(call, lambda a: a.astype(dtype) if a.dtype.kind == "f" else a)


def with_non_finite(call: Arguments, rng: np.random.Generator) -> Arguments:
    """A few NaN and infinities in every array of real numbers."""

    def sprinkle(x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f" or not x.size:
            return x
        x = x.copy()
        x.reshape(-1)[rng.integers(x.size, size=3)] = [np.nan, np.inf, -np.inf]
        return x

    return changed_arrays(call, sprinkle)


def large(i: Implementation) -> Iterator[Arguments]:
    """For functions of single elements: several chunks, the last one not full."""
    if i.accepts is not layout.elementwise:
        return
    k = next(k for k in KERNELS.values() if i in k.implementations)
    call = drawn(k)[0]
    for dtype in ("f4", "f8"):
        yield as_type(changed_arrays(call, lambda a: np.resize(a, (3, 16411))), dtype)


def check_numbers(k: Kernel, i: Implementation) -> None:
    rng = np.random.default_rng(11)
    for call in itertools.chain(drawn(k), large(i)):
        for variant in (as_type(call, "f4"), as_type(call, "f8")):
            for typed in accepted(i, iter([variant])):
                check_same(k, i, typed)
            for odd in accepted(i, iter([with_non_finite(variant, rng)])):
                check_same(k, i, odd, non_finite=True)


@each
def test_numbers(k: Kernel, i: Implementation) -> None:
    """Both precisions; NaN and infinities come out where the reference has them."""
    check_numbers(k, i)


# Threads


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Sets the number of threads; even the smallest work is done on all of them."""
    if BACKENDS["numba"].available:
        from minigrad_kernels.cpu import compiled, matmul

        monkeypatch.setattr(compiled, "ALONE", 0)
        monkeypatch.setattr(matmul, "FOR_ONE_THREAD", 0)
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)


@each
def test_the_same_bits_on_any_number_of_threads(
    k: Kernel, i: Implementation, threads: Callable[[int], None]
) -> None:
    for call in accepted(i, itertools.chain(drawn(k), large(i))):
        found = []
        for count in (1, 2, 2):
            threads(count)
            found.append([y.tobytes() for y in results(runner(i)(*call.args, **call.options))])
        if i.deterministic:
            assert found[0] == found[1] == found[2]


# Arrays to write into


def given(i: Implementation, call: Arguments, room: list[np.ndarray], several: bool) -> Any:
    return runner(i)(*call.args, **call.options, out=tuple(room) if several else room[0])


def refuses(
    i: Implementation, call: Arguments, room: list[np.ndarray], several: bool, why: str
) -> None:
    """It raises, and has written nothing."""
    before = [r.copy() for r in room]
    with pytest.raises((ValueError, TypeError)):
        given(i, call, room, several)
        pytest.fail(f"no error for an `out` that is {why}")
    for r, b in zip(room, before, strict=True):
        np.testing.assert_array_equal(r, b, f"written before the error: `out` is {why}")


def check_out(k: Kernel, i: Implementation) -> None:
    """Results arrive in any layout; wrong arrays are refused before anything is written."""
    for call in accepted(i, iter(drawn(k))):
        wanted = k.reference(*call.args, **call.options)
        several = isinstance(wanted, (tuple, list))

        def room(wanted: Any = wanted) -> list[np.ndarray]:
            return [np.full_like(y, 77, order="C") for y in results(wanted)]

        for change in (strided, fortran, channels_last, misaligned):
            made = [change(r) for r in room()]
            got = given(i, call, made, several)
            assert all(y is o for y, o in zip(got if several else (got,), made, strict=True))
            check_equal(k, call, got, wanted, eps=i.eps)
        for place in range(len(room())):
            fresh = room()
            fresh[place] = read_only(fresh[place])
            refuses(i, call, fresh, several, f"read-only ({place})")
            for shape in wrong_shapes(room()[place].shape):
                fresh = room()
                fresh[place] = np.full(shape, 77, fresh[place].dtype)
                refuses(i, call, fresh, several, f"of another shape ({place})")
        if several:
            refuses(i, call, room()[:-1], several, "one array short")


def wrong_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Longer by one, with an axis more, and one that NumPy would fill by repeating the result."""
    longer = (*shape[:-1], shape[-1] + 1) if shape else (2,)
    return [longer, (*shape, 2), (2, *shape)]


@each
def test_out(k: Kernel, i: Implementation) -> None:
    check_out(k, i)


def overlapping(a: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of an array equal to `a` and one of that shape, which share memory."""
    size = int(np.prod(shape))
    if a.shape == shape:
        same = a.copy()
        yield same, same
        if a.ndim:
            same = a.copy()
            yield same, same[::-1]
    for a_at, out_at in ((0, 1), (1, 0)):
        buffer = np.zeros(max(a.size, size) + 1, a.dtype)
        moved = buffer[a_at : a_at + a.size].reshape(a.shape)
        moved[...] = a
        yield moved, buffer[out_at : out_at + size].reshape(shape)


def replaced(call: Arguments, old: np.ndarray, new: np.ndarray) -> Arguments:
    return changed_arrays(call, lambda x: new if x is old else x.copy())


def check_overlap(k: Kernel, i: Implementation) -> None:
    """An `out` that shares memory with an input: right results, or an error and no change."""
    for call in drawn(k):
        wanted = k.reference(*call.args, **call.options)
        several = isinstance(wanted, (tuple, list))
        shapes = results(wanted)
        for a, place in itertools.product(arrays_of(call), range(len(shapes))):
            if a.dtype != shapes[place].dtype or not a.size:
                continue
            for moved, out in overlapping(a, shapes[place].shape):
                variant = replaced(call, a, moved)
                if i.accepts is not None and not i.accepts(*variant.args, **variant.options):
                    continue
                room = [np.full_like(y, 77, order="C") for y in shapes]
                room[place] = out
                before = [x.copy() for x in (*room, *arrays_of(variant))]
                try:
                    got = given(i, variant, room, several)
                except ValueError:
                    for x, b in zip((*room, *arrays_of(variant)), before, strict=True):
                        np.testing.assert_array_equal(x, b)
                    continue
                check_equal(k, call, got, wanted, eps=i.eps)
                for x, b in zip(arrays_of(variant), before[len(room) :], strict=True):
                    if x is not moved:
                        np.testing.assert_array_equal(x, b)


@each
def test_out_that_overlaps_an_input(k: Kernel, i: Implementation) -> None:
    check_overlap(k, i)


# The test itself is tested, with implementations that are wrong


def _samples(rng: np.random.Generator) -> Any:
    yield arguments(rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))


@pytest.fixture
def total() -> Any:
    @kernel(samples=_samples, cost=lambda x, y: Cost(x.size, 3 * x.nbytes))
    def sum_of_two(x: Any, y: Any, *, out: Any = None) -> Any:
        """x + y"""
        return np.add(x, y, out=out)

    yield sum_of_two
    del KERNELS["sum_of_two"]


def _through_memory(x: Any, y: Any, out: Any = None) -> Any:
    """Right for C-contiguous arrays only."""
    x, y = (np.lib.stride_tricks.as_strided(a, (12,), (a.itemsize,)) for a in (x, y))
    return np.add(x, y).reshape(3, 4)


def _one_by_one(x: Any, y: Any, out: Any = None) -> Any:
    """Writes before it has read everything, and without looking at shapes."""
    out = np.empty(x.shape) if out is None else out
    for j in np.ndindex(x.shape):
        out[j] = x[j] + y[j]
    return out


@pytest.mark.parametrize(
    ("check", "run"),
    [
        (check_layouts, _through_memory),
        (check_numbers, lambda x, y, out=None: np.nan_to_num(x) + y),
        (check_numbers, lambda x, y, out=None: (x.astype("f4") + y).astype(x.dtype)),
        (check_out, _one_by_one),
        (check_overlap, _one_by_one),
    ],
    ids=["assumes a layout", "loses NaN", "loses digits", "trusts out", "overlap"],
)
def test_a_wrong_implementation_is_caught(total: Kernel, check: Any, run: Any) -> None:
    right = Implementation("numba", "planted", lambda: _right)
    check(total, right)
    with pytest.raises((AssertionError, pytest.fail.Exception, IndexError)):
        check(total, Implementation("numba", "planted", lambda: run))


def _right(x: Any, y: Any, out: Any = None) -> Any:
    if out is not None and out.shape != x.shape:
        raise ValueError("shape")
    return np.add(y, x, out=out)
