"""CUDA kernels of single elements, of random numbers, optimizers and tables, on the emulator.

What every implementation is tested on stands elsewhere; here is what only these can get wrong:
memory that does not begin where a wide load may, several steps of a grid, halves, other orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import (
    BACKENDS,
    KERNELS,
    activation,
    dropout,
    embedding,
    embedding_gradient,
    norms,
    random_bits,
    random_normal,
    random_uniform,
    use,
)
from minigrad_kernels.cuda import elementwise, kernel, optimizer, running
from minigrad_kernels.optimizer import adam_step, sgd_step

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=str(BACKENDS["cuda-on-cpu"].reason)
)


@pytest.fixture(autouse=True)
def on_the_emulator() -> Iterator[None]:
    with use("cuda-on-cpu"):
        yield


@pytest.fixture(params=[1, 4096], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many blocks a grid has at most: with one, every thread takes several steps."""
    monkeypatch.setattr(elementwise, "MOST_BLOCKS", request.param)
    return request.param


def shifted(x: np.ndarray) -> np.ndarray:
    """The same numbers, beginning one number behind where a wide load may."""
    room = np.empty(x.size + 64, x.dtype)
    start = -(room.ctypes.data // x.itemsize) % 16 + 1
    view = room[start : start + x.size].reshape(x.shape)
    view[...] = x
    assert view.ctypes.data % 16 and view.flags.c_contiguous
    return view


# Activations

FUNCTIONS: dict[str, dict[str, Any]] = {
    "relu": {},
    "leaky_relu": {"slope": 0.01},
    "elu": {"alpha": 0.5},
    "sigmoid": {},
    "tanh": {},
    "silu": {},
    "softplus": {"beta": 2.0, "threshold": 20.0},
    "gelu": {"approximate": "none"},
}


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("size", [1, 7, 8, 3000])
def test_wide_loads_change_no_bit(
    dtype: str, size: int, blocks: int, rng: np.random.Generator
) -> None:
    x, g = (rng.normal(size=size).astype(dtype) for _ in range(2))
    wanted = activation.gelu_gradient(g, x, approximate="tanh")
    for one, other in ((shifted(g), x), (g, shifted(x)), (shifted(g), shifted(x))):
        got = activation.gelu_gradient(one, other, approximate="tanh")
        np.testing.assert_array_equal(got, wanted)
    out = shifted(np.empty_like(x))
    assert activation.gelu_gradient(g, x, approximate="tanh", out=out) is out
    np.testing.assert_array_equal(out, wanted)
    same = x.copy()
    np.testing.assert_array_equal(activation.silu(same, out=same), activation.silu(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_halves_are_computed_in_float(name: str, rng: np.random.Generator) -> None:
    """And rounded once: to one unit in the last place what float32 gives."""
    options = FUNCTIONS[name]
    x, g = (3 * rng.normal(size=(2, 500))).astype("f2")
    k, gradient = KERNELS[name], KERNELS[f"{name}_gradient"]
    for run, args in ((k, (x,)), (gradient, (g, x))):
        got = run(*args, **options)
        wanted = run.reference(*(a.astype("f4") for a in args), **options)
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, wanted, rtol=2**-10, atol=2**-24)


def test_channels_stay_last(rng: np.random.Generator) -> None:
    x, g = (rng.normal(size=(2, 5, 6, 3)).astype("f4").transpose(0, 3, 1, 2) for _ in range(2))
    for gradient in (g, np.ascontiguousarray(g)):
        y = activation.sigmoid_gradient(gradient, x)
        np.testing.assert_allclose(y, g * x * (1 - x), rtol=1e-5, atol=1e-6)
    assert activation.silu(x).strides == x.strides
    out = np.empty_like(x)
    assert activation.silu(x, out=out) is out
    np.testing.assert_array_equal(out, activation.silu(x))


# Random numbers

STREAM = {"seed": 2**63 + 12345, "offset": 2**64 - 2}


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 2050])
@pytest.mark.parametrize("dtype", ["u4", "u8", "f2", "f4", "f8"])
def test_the_same_bits_as_the_reference(dtype: str, size: int, blocks: int) -> None:
    k = random_bits if dtype[0] == "u" else random_uniform
    like = np.zeros(size, dtype)
    wanted = k.reference(like, **STREAM)
    np.testing.assert_array_equal(k(like, **STREAM), wanted)
    out = shifted(like)
    assert k(like, **STREAM, out=out) is out
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_normal_numbers_where_wide_stores_are_not_possible(dtype: str, blocks: int) -> None:
    like = np.zeros(1027, dtype)
    wanted = random_normal(like, **STREAM)
    np.testing.assert_array_equal(random_normal(like, **STREAM, out=shifted(like)), wanted)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(wanted, random_normal.reference(like, **STREAM), atol=32 * eps)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("size", [1, 6, 4100])
def test_dropout_keeps_what_the_reference_keeps(
    dtype: str, size: int, blocks: int, rng: np.random.Generator
) -> None:
    x = rng.normal(size=size).astype(dtype)
    x[0] = np.inf  # times 0 it would be NaN
    for p in (0.0, 0.3, 0.999):
        wanted = dropout.reference(x, p=p, **STREAM)
        for source in (x, shifted(x)):
            np.testing.assert_array_equal(dropout(source, p=p, **STREAM), wanted)
        same = x.copy()
        np.testing.assert_array_equal(dropout(same, p=p, **STREAM, out=same), wanted)


# Optimizers

ADAM = {
    "lr": 1e-2,
    "beta1": 0.9,
    "beta2": 0.99,
    "eps": 1e-8,
    "weight_decay": 0.1,
    "decoupled": False,
    "maximize": False,
    "step": 3,
}
SGD = {"lr": 0.1, "dampening": 0.0, "weight_decay": 0.0, "maximize": False}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("count", [4, 5], ids=["adam", "amsgrad"])
@pytest.mark.parametrize("move", [np.copy, shifted])
def test_adam_in_place(
    dtype: str, count: int, move: Any, blocks: int, rng: np.random.Generator
) -> None:
    given = [rng.uniform(size=3001).astype(dtype) for _ in range(count)]
    wanted = adam_step.reference(*given, **ADAM)
    p, g, *state = (move(x) for x in given)
    got = adam_step(p, g, *state, **ADAM, out=(p, *state))
    for y, place, z in zip(got, (p, *state), wanted, strict=True):
        assert y is place
        np.testing.assert_allclose(y, z, rtol=0, atol=8 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(g, given[1])


def test_nan_stays_the_largest_square() -> None:
    p = np.ones(5, "f4")
    g = np.array([np.nan, 1, 1, 1, 1], "f4")
    zero, top = np.zeros(5, "f4"), np.full(5, 9, "f4")
    *_, largest = adam_step(p, g, zero, zero, top, **{**ADAM, "weight_decay": 0.0})
    np.testing.assert_array_equal(largest, [np.nan, 9, 9, 9, 9])


def test_no_penalty_spreads_nothing() -> None:
    p, g = np.array([np.inf, np.nan, 1], "f4"), np.array([1, 2, 3], "f4")
    options = {**SGD, "momentum": 0.5, "nesterov": False}
    _, buffer = sgd_step(p, g, np.ones(3, "f4"), **options)
    np.testing.assert_allclose(buffer, 0.5 + g)


def test_too_few_places_are_refused() -> None:
    p, g, b = (np.ones(3, "f4") for _ in range(3))
    with pytest.raises(ValueError, match="out has 1 arrays, there are 2 results"):
        sgd_step(p, g, b, **SGD, momentum=0.5, nesterov=True, out=(p,))
    assert (p == 1).all()


def test_a_norm_has_the_same_bits_wherever_its_numbers_lie(rng: np.random.Generator) -> None:
    length = 2 * optimizer.CHUNK + 77
    for dtype in ("f8", "f4", "f2"):
        part = rng.normal(size=length).astype(dtype)
        found = set()
        for before in (0, 1, 2, 3, 8):
            x = np.concatenate([np.ones(before, dtype), part, np.ones(5, dtype)])
            spans = np.array([[0, before], [before, before + length], [4, 4]])
            first, norm, none = norms(x, spans)
            found.add(norm.tobytes())
            assert none == 0 and first**2 == pytest.approx(before, rel=1e-2)
        assert len(found) == 1
        wanted = np.linalg.norm(part.astype("f8"))
        np.testing.assert_allclose(norm, wanted, rtol=np.finfo(dtype).eps)


def test_spans_are_cut_as_slices_are() -> None:
    x = np.arange(10.0)
    spans = np.array([[8, 99], [-3, 9], [7, 2]])
    wanted = [np.linalg.norm(x[a:b]) for a, b in spans.tolist()]
    np.testing.assert_allclose(norms(x, spans), wanted)


# Tables


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("width", [1, 16, 300, 264])
@pytest.mark.parametrize("kind", ["i8", "i4", "u1", "u8"])
def test_rows_of_any_width(dtype: str, width: int, kind: str, rng: np.random.Generator) -> None:
    table = rng.normal(size=(50, width)).astype(dtype)
    index = rng.integers(0, 50, (9, 3)).astype(kind)
    np.testing.assert_array_equal(embedding(index, table), table[index])
    np.testing.assert_array_equal(embedding(index, shifted(table)), table[index])
    if kind[0] == "i":
        np.testing.assert_array_equal(embedding(index - 50, table), table[index])


def test_an_index_out_of_range_is_an_error_on_the_host() -> None:
    table, g = np.ones((4, 3), "f4"), np.ones((2, 3), "f4")
    for wrong in (4, -5):
        index = np.array([0, wrong])
        with pytest.raises(IndexError, match=f"embedding: index {wrong} is out of range for 4"):
            embedding(index, table)
        with pytest.raises(IndexError, match=f"gradient: index {wrong} is out of range for 4"):
            embedding_gradient(g, index, rows=4, skip=None)


@pytest.mark.parametrize("name", ["cuda-on-cpu", "cuda-on-cpu:atomic"])
def test_an_index_out_of_range_reads_and_writes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, from which indices are not read back."""
    from minigrad_kernels.cuda import embedding as launching

    monkeypatch.setattr(launching, "_places", lambda index, rows, name: index)
    index = np.array([2, 4, -5, -1, 2**40])
    table = np.arange(12, dtype="f4").reshape(4, 3)
    y = embedding(index, table)
    np.testing.assert_array_equal(y[[0, 3]], table[[2, 3]])
    assert np.isnan(y[[1, 2, 4]]).all()
    g = np.arange(15, dtype="f4").reshape(5, 3)
    with use(name):
        total = embedding_gradient(g, index, rows=4, skip=None)
    np.testing.assert_array_equal(total, [[0] * 3, [0] * 3, g[0], g[3]])


def indices(case: str, count: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    if case == "one row":
        return np.full(count, rows - 1)
    if case == "sorted":
        return np.sort(rng.integers(0, rows, count))
    often = np.where(rng.uniform(size=count) < 0.7, 3, rng.integers(0, rows, count))
    return often if case == "one row often" else rng.integers(-rows, rows, count)


@pytest.mark.parametrize("count", [1, 31, 33, 512, 513, 1700])
@pytest.mark.parametrize("case", ["any", "one row", "one row often", "sorted"])
@pytest.mark.parametrize(("dtype", "width"), [("f4", 8), ("f8", 3), ("f2", 40)])
def test_gradients_of_many_indices(
    count: int, case: str, dtype: str, width: int, rng: np.random.Generator
) -> None:
    """Several sorted runs, pieces that end in the middle of a row, rows of many pieces."""
    rows = 37
    index = indices(case, count, rows, rng)
    g = rng.normal(size=(count, width)).astype(dtype)
    wanted = np.zeros((rows, width))
    np.add.at(wanted, index, g.astype("f8"))
    wanted[5] = 0
    got = embedding_gradient(g, index, rows=rows, skip=5)
    eps = np.finfo("f4" if dtype == "f2" else dtype).eps
    bound = 8 * eps * np.sqrt(count) * max(1, np.abs(wanted).max())
    rounded = np.finfo(dtype).eps * np.abs(wanted) / 2
    assert (np.abs(got - wanted) <= bound + rounded).all()
    np.testing.assert_array_equal(got[np.setdiff1d(np.arange(rows), index % rows)], 0)
    for order in ("reverse", "random"):
        with running(order):
            again = embedding_gradient(g, index, rows=rows, skip=5)
        assert again.tobytes() == got.tobytes()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_atomic_additions(dtype: str, rng: np.random.Generator) -> None:
    index, g = indices("one row often", 700, 11, rng), rng.normal(size=(700, 20)).astype(dtype)
    wanted = embedding_gradient.reference(g, index, rows=11, skip=-1)
    with use("cuda-on-cpu:atomic"), running("random"):
        got = embedding_gradient(g, index, rows=11, skip=-1)
    bound = 8 * np.finfo(dtype).eps * np.sqrt(700) * np.abs(wanted).max()
    np.testing.assert_allclose(got, wanted, atol=bound)
    assert (
        "cuda-on-cpu:atomic"
        not in embedding_gradient.explain(g, index, rows=11, skip=-1).split("\n")[0]
    )


def test_a_nan_stays_in_its_row() -> None:
    g = np.ones((40, 4), "f4")
    g[7] = np.nan
    total = embedding_gradient(g, np.arange(40) % 3, rows=4, skip=None)
    np.testing.assert_array_equal(np.isnan(total).any(axis=1), [False, True, False, False])


def test_a_lane_needs_no_room_behind_a_row() -> None:
    """A row of 5 packs has 8 lanes; the last row ends where its array does."""
    table = np.arange(60, dtype="f4").reshape(3, 20)
    run = kernel("embedding.cu", "embedding", T="float", REAL="float", WIDTH=4, INDEX="int")
    y = np.full((2, 20), 7, "f4")
    run((1, 1), (8, 32), table, np.array([2, 2], "i4"), y, 3, 1, 5)
    np.testing.assert_array_equal(y, [table[2], np.full(20, 7)])
