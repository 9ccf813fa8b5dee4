"""CUDA kernels that reduce, on the emulator: sums, norms, losses, and the ladders.

What every implementation is tested on stands elsewhere; here is what only these can get wrong:
outputs that several blocks share, rows beyond what registers hold, means far from zero, halves,
memory that does not begin where a wide load may, other orders of threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS, KERNELS, use
from minigrad_kernels.cuda import channels, layer_norm, norm, reduce, running
from minigrad_kernels.layer_norm import layer_norm_gradients
from minigrad_kernels.loss import cross_entropy, mse_loss
from minigrad_kernels.norm import batch_norm, batch_norm_gradients
from minigrad_kernels.reduce import sums
from minigrad_kernels.softmax import softmax

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=str(BACKENDS["cuda-on-cpu"].reason)
)


@pytest.fixture(autouse=True)
def on_the_emulator() -> Iterator[None]:
    with use("cuda-on-cpu"):
        yield


def close(got: Any, wanted: Any, units: float, dtype: str = "f4") -> None:
    """As close as so many units in the last place of the largest number."""
    got, wanted = np.asarray(got, "f8"), np.asarray(wanted, "f8")
    bound = units * float(np.finfo(dtype).eps) * np.abs(wanted).max()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=bound)


# Sums


@pytest.mark.parametrize("shape", [(3, 2, 4, 3, 2), (2, 3, 1, 5, 4)])
def test_sums_over_any_axes(shape: tuple[int, ...]) -> None:
    """Also those that take several passes: kept axes and others in turn."""
    x = np.random.default_rng(1).normal(size=shape)
    for count in range(1, x.ndim + 1):
        for axes in itertools.combinations(range(x.ndim), count):
            got = reduce.sums(x, axes=axes, keepdims=False)
            close(got, x.sum(axes), 32, "f8")


def test_several_blocks_share_a_sum() -> None:
    """Rows, columns and channels between both, long enough to be cut, each in its own way."""
    rng = np.random.default_rng(2)
    for shape, axes in (((3, 9001), 1), ((4003, 9), 0), ((40, 3, 1200), (0, 2)), ((2, 2999, 3), 1)):
        x = rng.normal(size=shape).astype("f4")
        found = axes if isinstance(axes, tuple) else (axes,)
        close(sums(x, axes=found, keepdims=True), x.sum(axes, dtype="f8", keepdims=True), 64)
    assert channels.plan((1, 1, 3, 9001), x).parts > 1
    assert channels.plan((1, 4003, 9, 1), x).parts > 1
    assert channels.plan((1, 40, 3, 1200), x).parts > 1


def test_sums_of_halves_are_in_float() -> None:
    """3000 ones and a bit are more than half precision could count."""
    x = np.full((2, 3000), 1.0, "f2")
    x[1] = 0.01
    got = sums(x, axes=(1,), keepdims=False)
    assert got.dtype == np.float16
    close(got, x.astype("f8").sum(1), 1, "f2")


def test_the_order_of_threads_changes_nothing() -> None:
    """Whoever comes first: the same bits."""
    x = np.random.default_rng(3).normal(size=(5, 3001)).astype("f4")
    calls = [
        lambda: sums(x, axes=(0, 1), keepdims=False),
        lambda: sums(x, axes=(0,), keepdims=False),
        lambda: batch_norm(x.reshape(3001, 5), None, None, eps=0.1)[1],
        lambda: mse_loss(x, x[::-1], reduction="mean"),
    ]
    for call in calls:
        found = []
        for order in ("forward", "reverse", "random"):
            with running(order, seed=5):
                found.append(call().tobytes())
        assert found[0] == found[1] == found[2]


# Norms


@pytest.mark.parametrize("layout", ["planes", "channels last", "channels first"])
def test_several_blocks_share_a_channel(layout: str) -> None:
    """Statistics and gradients of few channels with many numbers, far from zero."""
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(6, 3, 80, 80)) + 1000).astype("f4")
    g = rng.normal(size=x.shape).astype("f4")
    weight = rng.normal(size=3).astype("f4")
    if layout != "planes":
        order = (0, 2, 3, 1) if layout == "channels last" else (1, 0, 2, 3)
        back = np.argsort(order)
        x, g = (np.ascontiguousarray(a.transpose(order)).transpose(back) for a in (x, g))
    assert channels.plan(norm._Memory.of(x).whole, x).parts > 1
    y, mean, var = batch_norm(x, weight, None, eps=1e-5)
    assert y.strides == x.strides, "the result lies as the input does"
    wide = x.astype("f8")
    close(mean, wide.mean((0, 2, 3)), 2)
    close(var, wide.var((0, 2, 3)), 64)
    wanted = batch_norm.reference(wide, weight.astype("f8"), None, eps=1e-5)[0]
    close(y, wanted, 1024)  # the mean is rounded at 1000, y is about 1
    got = batch_norm_gradients(g, x, weight, mean, var, eps=1e-5)
    args = [a.astype("f8") for a in (g, x, weight, mean, var)]
    for a, b in zip(got, batch_norm_gradients.reference(*args, eps=1e-5), strict=True):
        close(a, b, 512)


@pytest.mark.parametrize("length", [700, 1028, 5000])
def test_gradients_of_rows_of_any_length(length: int) -> None:
    """In one pass where registers hold the row, else one kernel after the other."""
    rng = np.random.default_rng(6)
    g, x = rng.normal(size=(2, 9, length)).astype("f4")
    weight = rng.normal(size=length).astype("f4")
    _, mean, var = layer_norm.layer_norm(x, None, None, eps=1e-5)
    got = layer_norm_gradients(g, x, weight, mean, var, eps=1e-5)
    args = [a.astype("f8") for a in (g, x, weight, mean, var)]
    for a, b in zip(got, layer_norm_gradients.reference(*args, eps=1e-5), strict=True):
        close(a, b, 64)


def test_norms_of_halves() -> None:
    """Mean and variance are in float, and so is everything between input and result."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(4, 16, 3, 8)).astype("f2")
    weight, bias = rng.normal(size=(2, 16)).astype("f2")
    for image in (x, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        got = batch_norm(image, weight, bias, eps=1e-3)
        wanted = batch_norm.reference(*(a.astype("f8") for a in (x, weight, bias)), eps=1e-3)
        assert [a.dtype for a in got] == [np.float16, np.float32, np.float32]
        close(got[0], wanted[0], 1, "f2")
        close(got[2], wanted[2], 16)


def test_norms_write_into_memory_that_cannot_be_loaded_widely() -> None:
    """An `out` that begins four bytes behind a multiple of 16."""
    x = np.random.default_rng(8).normal(size=(2, 4, 4, 4)).astype("f4")
    out = np.empty(x.size + 1, "f4")[1:].reshape(x.shape)
    y, _, _ = batch_norm(x, None, None, eps=1e-5, out=(out, *np.empty((2, 4), "f4")))
    assert y is out
    close(y, batch_norm.reference(x.astype("f8"), None, None, eps=1e-5)[0], 16)


# Losses


def test_a_class_that_there_is_not() -> None:
    x = np.zeros((3, 4), "f4")
    with pytest.raises(IndexError, match="target holds class 4, there are 4 classes"):
        cross_entropy(x, np.array([0, 4, -1]), np.ones(3, "f4"))


@pytest.mark.parametrize("classes", [8, 200, 3000])
def test_rows_of_nothing_but_minus_infinity(classes: int) -> None:
    """For each team: the largest score is what it is, not where the search began."""
    x = np.full((2, classes), -np.inf, "f4")
    x[1, 5] = 2
    target, scale = np.array([1, 5]), np.ones(2, "f4")
    losses, top, _ = cross_entropy(x, target, scale)
    np.testing.assert_array_equal(losses, [np.nan, 0])
    np.testing.assert_array_equal(top, [-np.inf, 2])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_mean_of_squares_over_several_blocks(dtype: str) -> None:
    """With numbers left over behind the last wide load."""
    x, t = np.random.default_rng(9).normal(size=(2, 70003)).astype(dtype)
    got = mse_loss(x, t, reduction="mean")
    assert got.dtype == np.dtype(dtype)
    close(got, np.mean((x.astype("f8") - t.astype("f8")) ** 2), 64, dtype)


# Ladders

RUNGS = [
    (k.name, i.name)
    for k in (KERNELS["softmax"], KERNELS["sums"])
    for i in k.implementations
    if i.backend == "cuda-on-cpu" and i.name != "cuda-on-cpu"
]


@pytest.mark.parametrize(("kernel", "rung"), RUNGS)
def test_rungs_run_only_when_asked_for(kernel: str, rung: str) -> None:
    k = KERNELS[kernel]
    x = np.random.default_rng(10).normal(size=(3000,)).astype("f4")
    options = {"axis": 0} if kernel == "softmax" else {"axes": (0,), "keepdims": False}
    with use("cuda-on-cpu"):
        assert k.explain(x, **options).startswith(f"{kernel}: cuda-on-cpu\n")
    with use(f"cuda-on-cpu:{rung}"):
        assert k.explain(x, **options).startswith(f"{kernel}: cuda-on-cpu:{rung}\n")
        close(k(x, **options), k.reference(x.astype("f8"), **options), 256)


@pytest.mark.parametrize("rung", [rung for kernel, rung in RUNGS if kernel == "softmax"])
@pytest.mark.parametrize("length", [1000, 1001, 4096, 9000])
def test_softmax_of_long_rows(rung: str, length: int) -> None:
    """More rows than blocks of the rungs that take several; rows that some do not take."""
    count = 1100 if length == 1000 and rung == "7-async-copies" else 3
    x = np.random.default_rng(11).normal(size=(count, length)).astype("f4") * 5
    implementation = next(i for i in KERNELS["softmax"].implementations if i.name == rung)
    taken = implementation.accepts is None or implementation.accepts(x, axis=1)
    assert taken or length == 9000 or (rung == "7-async-copies" and length == 4096)
    if taken:
        wanted = softmax.reference(x.astype("f8"), axis=1)
        # One thread that adds a row number by number: errors of sums grow with the root of terms.
        close(implementation.run(x, axis=1), wanted, 8 * length**0.5)


@pytest.mark.parametrize("rung", [rung for kernel, rung in RUNGS if kernel == "sums"])
def test_sums_of_several_blocks(rung: str) -> None:
    """And of memory that cannot be loaded widely, with numbers left over."""
    implementation = next(i for i in KERNELS["sums"].implementations if i.name == rung)
    for dtype in ("f4", "f8"):
        x = np.random.default_rng(12).uniform(size=70004).astype(dtype)
        for part in (x, x[1:], x[:-3]):
            got = implementation.run(part, axes=(0,), keepdims=True)
            assert got.shape == (1,)
            close(got, [part.sum(dtype="f8")], 512, dtype)


@pytest.mark.parametrize("length", [2**32 - 2**14, 2**32 - 1, 2**40])
def test_rows_that_32_bits_do_not_count(length: int) -> None:
    """A thread's last step would lead to the row's beginning again, for ever."""
    long = np.broadcast_to(np.float16(0), (1, length))
    fitting = long[:, : 2**32 - 2**14 - 1]
    for name, args, options in (
        ("softmax", (long,), {"axis": 1}),
        ("log_softmax_gradient", (long, long), {"axis": -1}),
        ("layer_norm", (long, None, None), {"eps": 1e-5}),
        ("sums", (long,), {"axes": (1,), "keepdims": False}),
    ):
        takes = next(i for i in KERNELS[name].implementations if i.label == "cuda-on-cpu").accepts
        assert not takes(*args, **options)
        assert takes(*(fitting if a is long else a for a in args), **options)


@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_of_nothing_that_lies_column_by_column(keepdims: bool) -> None:
    x = np.empty((3, 0), "f4").T
    with use("cuda-on-cpu"):
        y = sums(x, axes=(1,), keepdims=keepdims)
    assert y.shape == x.sum(1, keepdims=keepdims).shape
