"""Pooling in CUDA where the kernels' samples do not reach: which variant runs, and large work."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.cuda import running
from minigrad_kernels.cuda.lint.launches import launches

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=str(BACKENDS["cuda-on-cpu"].reason)
)

TWO = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
THREE = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}
MEAN = {"ceil_mode": False, "count_include_pad": False, "divisor_override": None}


def on_cuda(name: str, which: str = "cuda-on-cpu") -> Any:
    k = KERNELS[name]
    return next(i for i in k.implementations if (i.backend, i.name) == ("cuda-on-cpu", which)).run


def images(*shape: int, last: bool = False, dtype: str = "f4", seed: int = 0) -> np.ndarray:
    """Of round numbers, some of which are equal."""
    n, c, h, w = shape
    x = np.random.default_rng(seed).normal(size=(n, h, w, c) if last else shape)
    return x.round(1).astype(dtype).transpose(0, 3, 1, 2) if last else x.round(1).astype(dtype)


def launched(name: str, *args: Any, **options: Any) -> tuple[str, dict[str, str]]:
    """The file and the definitions of the one kernel that a call runs."""
    with launches() as found:
        on_cuda(name)(*args, **options)
    (key,) = found
    return key.file, dict(key.definitions)


# Which variant runs


@pytest.mark.parametrize(
    ("x", "geometry", "file", "width", "kernel"),
    [
        (images(1, 8, 4, 4, last=True), TWO, "pool.cu", "4", "2"),
        (images(1, 8, 4, 4, last=True, dtype="f2"), THREE, "pool.cu", "8", "3"),
        (images(1, 6, 4, 4, last=True), TWO, "pool.cu", "1", "2"),
        (images(1, 9, 4, 4, last=True)[:, 1:], TWO, "pool.cu", "4", "2"),  # copied
        (images(1, 2, 4, 8), TWO, "pool_rows.cu", "4", "2"),
        (images(1, 2, 3, 8), THREE, "pool_rows.cu", "4", "3"),
        (images(1, 2, 4, 8, dtype="f8"), THREE, "pool_rows.cu", "2", "3"),
        (images(1, 2, 4, 6), TWO, "pool.cu", "1", "2"),  # rows of one load and a half
        (images(1, 2, 4, 8), {**TWO, "stride": (2, 1)}, "pool.cu", "1", "0"),
        (images(8, 1, 1, 1), {**TWO, "kernel_size": (1, 1)}, "pool.cu", "1", "0"),
    ],
)
def test_variants(
    x: np.ndarray, geometry: dict[str, Any], file: str, width: str, kernel: str
) -> None:
    options = {**geometry, "dilation": (1, 1), "ceil_mode": False}
    name, definitions = launched("max_pool2d_positions", x, **options)
    assert (name, definitions["WIDTH"], definitions["KERNEL"]) == (file, width, kernel)
    name, definitions = launched("avg_pool2d", x, **geometry, **MEAN)
    assert (name, definitions["WIDTH"]) == (f"mean_{file}", width)


def test_memory_that_wide_loads_cannot_have() -> None:
    """An array may begin at any of its elements: at the second, every load goes alone."""
    memory = np.arange(65, dtype="f4")
    for first, width in ((0, "4"), (1, "1")):
        x = memory[first : first + 64].reshape(1, 4, 4, 4).transpose(0, 3, 1, 2)
        options = {**TWO, "dilation": (1, 1), "ceil_mode": False}
        start = x.__array_interface__["data"][0] % 16
        wanted = width if start == first * 4 else "1"
        assert launched("max_pool2d_positions", x, **options)[1]["WIDTH"] == wanted
        check_maximum(x, TWO)


@pytest.mark.parametrize(
    ("size", "last", "members", "width"),
    [
        ((8, 8), True, "1", "4"),
        ((9, 9), True, "32", "4"),
        ((2, 4), False, "1", "4"),
        ((3, 4), False, "32", "4"),
        ((3, 5), False, "32", "1"),
        ((64, 64), False, "256", "4"),
    ],
)
def test_threads_that_share_a_window(
    size: tuple[int, int], last: bool, members: str, width: str
) -> None:
    x = images(2, 4, *size, last=last)
    _, definitions = launched("adaptive_avg_pool2d", x, output_size=(1, 1))
    assert (definitions["MEMBERS"], definitions["WIDTH"]) == (members, width)
    check_mean("adaptive_avg_pool2d", x, output_size=(1, 1))


# Right results


def check_maximum(x: np.ndarray, geometry: dict[str, Any], ceil_mode: bool = False) -> None:
    """Maxima, positions and indices are those of the reference; the gradient nearly."""
    options = {**geometry, "dilation": (1, 1)}
    wanted, places = KERNELS["max_pool2d_positions"].reference(x, **options, ceil_mode=ceil_mode)
    for name in ("max_pool2d_positions", "max_pool2d"):
        got, where = on_cuda(name)(x, **options, ceil_mode=ceil_mode)
        np.testing.assert_array_equal(got, wanted)
        right = KERNELS[name].reference(x, **options, ceil_mode=ceil_mode)[1]
        np.testing.assert_array_equal(where, right)
    g = images(*wanted.shape, dtype=x.dtype.str, seed=1)
    options["input_size"] = x.shape[2:]
    gx = on_cuda("max_pool2d_positions_gradient")(g, places, **options)
    right = KERNELS["max_pool2d_positions_gradient"].reference(g.astype("f8"), places, **options)
    np.testing.assert_allclose(gx, right, rtol=0, atol=4 * np.finfo(x.dtype).eps * 4)


def check_mean(name: str, x: np.ndarray, **options: Any) -> None:
    """Means and their gradients are nearly those of the reference in double precision."""
    wanted = KERNELS[name].reference(x.astype("f8"), **options)
    check_near(on_cuda(name)(x, **options), wanted, x.dtype)
    options.pop("output_size", None)
    g = images(*wanted.shape, dtype=x.dtype.str, last=x.strides[1] < x.strides[3], seed=1)
    options["input_size"] = x.shape[2:]
    gradient = f"{name}_gradient"
    wanted = KERNELS[gradient].reference(g.astype("f8"), **options)
    check_near(on_cuda(gradient)(g, **options), wanted, x.dtype)


def check_near(got: np.ndarray, wanted: np.ndarray, dtype: Any) -> None:
    """As near as sums of a few thousand numbers that were added up in parts are."""
    assert got.dtype == dtype
    bound = 8 * float(np.finfo(dtype).eps) * max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_known_windows(dtype: str, last: bool) -> None:
    """Rows of whole loads and of odd ones, with a last row and column of windows that overhang."""
    for geometry, (h, w) in itertools.product((TWO, THREE), ((4, 16), (5, 8), (1, 2), (7, 9))):
        if min(h, w) + 2 * geometry["padding"][0] < geometry["kernel_size"][0]:
            continue
        for ceil_mode in (False, True):
            x = images(2, 8, h, w, last=last, dtype=dtype)
            check_maximum(x, geometry, ceil_mode)
            for count in (False, True):
                counting = {"ceil_mode": ceil_mode, "count_include_pad": count}
                check_mean("avg_pool2d", x, **geometry, **counting, divisor_override=None)
        check_mean("avg_pool2d", x, **geometry, **{**MEAN, "divisor_override": 3})


def test_the_first_of_equal_ones_and_of_nan_in_rows() -> None:
    x = np.zeros((1, 1, 4, 16), "f4")
    x[0, 0, 0, 4:8] = -np.inf
    x[0, 0, 1, 4:8] = -np.inf
    x[0, 0, 0, 9] = x[0, 0, 1, 8] = np.nan
    x[0, 0, 1, 10] = 1
    x[0, 0, 1, 11] = 1
    for geometry in (TWO, THREE):
        check_maximum(x, geometry)
    _, where = on_cuda("max_pool2d_positions")(x, **TWO, dilation=(1, 1), ceil_mode=False)
    assert where[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_adaptive_means(dtype: str, last: bool) -> None:
    """Windows of one pixel, that overlap, that a thread, a warp, or a block adds up."""
    for size, output_size in (
        ((3, 4), (3, 4)),
        ((2, 3), (5, 4)),
        ((7, 10), (3, 2)),
        ((20, 24), (2, 1)),
        ((66, 70), (1, 1)),
    ):
        x = images(2, 8, *size, last=last, dtype=dtype)
        check_mean("adaptive_avg_pool2d", x, output_size=output_size)


def test_no_windows() -> None:
    g = np.zeros((2, 3, 0, 2), "f4")
    out = np.full((2, 3, 4, 5), 7, "f4")
    assert on_cuda("adaptive_avg_pool2d_gradient")(g, input_size=(4, 5), out=out) is out
    assert (out == 0).all()


# Large work, made small


@pytest.fixture
def few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread has many items."""
    monkeypatch.setattr("minigrad_kernels.cuda.pool_images.MOST_BLOCKS", 2)


def check_everything(last: bool) -> None:
    x = images(3, 8, 9, 16, last=last)
    for geometry in (TWO, THREE, {**THREE, "stride": (1, 2)}):
        check_maximum(x, geometry)
        check_mean("avg_pool2d", x, **geometry, **MEAN)
    for output_size in ((1, 1), (2, 3)):
        check_mean("adaptive_avg_pool2d", x, output_size=output_size)
    check_indices(last)


def check_indices(last: bool) -> None:
    """Several outputs go to one pixel, within the reach of a warp and further apart."""
    rng = np.random.default_rng(3)
    indices = rng.integers(0, 15, (2, 12, 7, 9))
    g, x = images(2, 12, 7, 9, last=last), images(2, 12, 3, 5, last=last)
    indices = np.asarray(indices, order="C")
    if last:
        indices = indices.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    wanted = KERNELS["max_pool2d_gather"].reference(x, indices)
    np.testing.assert_array_equal(on_cuda("max_pool2d_gather")(x, indices), wanted)
    wanted = KERNELS["max_pool2d_gradient"].reference(g.astype("f8"), indices, input_size=(3, 5))
    for which in ("cuda-on-cpu", "atomic"):
        got = on_cuda("max_pool2d_gradient", which)(g, indices, input_size=(3, 5))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)  # sums of about 4 numbers to 3


@pytest.mark.parametrize("last", [False, True])
def test_more_items_than_threads(last: bool, few_blocks: None) -> None:
    check_everything(last)


@pytest.mark.parametrize("last", [False, True])
def test_indices_of_64_bits(last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for arrays of 2^31 elements."""
    monkeypatch.setattr("minigrad_kernels.cuda.pool_images.LONGEST", 1)
    check_everything(last)


@pytest.mark.parametrize("last", [False, True])
def test_the_same_bits_in_any_order_of_threads(last: bool) -> None:
    rng = np.random.default_rng(5)
    g = rng.normal(size=(2, 40, 6, 7)).astype("f4")
    indices = rng.integers(0, 12, g.shape)
    x = images(2, 40, 20, 20, last=last)
    found = []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with running(order, seed):
            gx = on_cuda("max_pool2d_gradient")(g, indices, input_size=(3, 4))
            y = on_cuda("adaptive_avg_pool2d")(x, output_size=(1, 1))
        found.append(gx.tobytes() + y.tobytes())
    assert len(set(found)) == 1


# Bad input


@pytest.mark.parametrize("index", [-1, 20])
def test_an_index_out_of_range(index: int) -> None:
    x, indices = np.ones((2, 3, 4, 5), "f4"), np.zeros((2, 3, 2, 2), np.int64)
    indices[1, 2, 0, 1] = index
    out = np.full((2, 3, 2, 2), 7, "f4")
    with pytest.raises(IndexError, match="max_pool2d_gather: an index is out of the range"):
        on_cuda("max_pool2d_gather")(x, indices, out=out)
    assert (out == 7).all()
    out = np.full((2, 3, 4, 5), 7, "f4")
    for which in ("cuda-on-cpu", "atomic"):
        with pytest.raises(IndexError, match="max_pool2d_gradient: an index is out of the range"):
            on_cuda("max_pool2d_gradient", which)(
                np.ones(indices.shape, "f4"), indices, input_size=(4, 5), out=out
            )
        assert (out == 7).all()


def test_what_does_not_fit() -> None:
    x = np.ones((1, 2, 4, 4), "f4")
    places = np.zeros((1, 2, 2, 2), np.uint8)
    options = {**TWO, "dilation": (1, 1)}
    with pytest.raises(ValueError, match="does not fit positions"):
        on_cuda("max_pool2d_positions_gradient")(x, places, input_size=(4, 4), **options)
    with pytest.raises(ValueError, match="does not fit indices"):
        on_cuda("max_pool2d_gradient")(x, places, input_size=(4, 4))
    with pytest.raises(ValueError, match="does not fit indices"):
        on_cuda("max_pool2d_gather")(x, places[:, :1])
    with pytest.raises(ValueError, match="their windows are"):
        on_cuda("avg_pool2d_gradient")(x, input_size=(4, 4), **TWO, **MEAN)
    with pytest.raises(ValueError, match="larger than the padded input"):
        on_cuda("max_pool2d")(x[..., :1], **options, ceil_mode=False)


def accepts(name: str, *args: Any, **options: Any) -> bool:
    k = KERNELS[name]
    (i,) = [i for i in k.implementations if i.name == "cuda-on-cpu"]
    return i.accepts is not None and i.accepts(*args, **options)


def test_what_goes_to_the_reference() -> None:
    """Other types, and geometries whose numbers 32 bits do not hold."""
    x = np.ones((1, 2, 4, 4), "f4")
    options: dict[str, Any] = {**TWO, "dilation": (1, 1), "ceil_mode": False}
    assert accepts("max_pool2d", x, **options)
    assert not accepts("max_pool2d", x.astype("i4"), **options)
    assert not accepts("max_pool2d", x, **{**options, "padding": (2**30, 1)})
    assert not accepts("max_pool2d", x, **{**options, "dilation": (2**16, 2**16)})
    assert accepts("avg_pool2d", x, **TWO, **MEAN)
    assert not accepts("avg_pool2d", x, **TWO, **{**MEAN, "divisor_override": 2**63})
    assert accepts("adaptive_avg_pool2d", x, output_size=(1, 1))
    assert not accepts("adaptive_avg_pool2d", x, output_size=(2**30, 1))
    wide = np.zeros((1, 2, 2, 2), np.int64)
    assert not accepts(
        "max_pool2d_positions_gradient", x[..., :2, :2], wide, input_size=(4, 4), **TWO,
        dilation=(1, 1),
    )  # fmt: skip
