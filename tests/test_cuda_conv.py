"""Convolutions in CUDA where the kernels' samples do not reach: every tile, parts, rounding."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from minigrad_kernels import BACKENDS, KERNELS, Implementation
from minigrad_kernels.cuda import conv_launch, conv_layout, running, winograd
from minigrad_kernels.cuda.conv import IN_REGISTERS
from minigrad_kernels.cuda.conv_launch import Method, Tile
from minigrad_kernels.cuda.conv_layout import gradient_taps, pixels
from minigrad_kernels.cuda.conv_tensor import ON_TENSOR_CORES
from minigrad_kernels.cuda.lint.launches import launches

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=str(BACKENDS["cuda-on-cpu"].reason)
)

FORWARD, TO_INPUT, TO_WEIGHTS = NAMES = (
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
)
EPS = {"f2": 2.0**-10, "f4": 2.0**-23, "f8": 2.0**-52}
SAME = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
ODD = {"stride": (2, 1), "padding": ((0, 1), (2, 0)), "dilation": (1, 2), "groups": 2}


class Call(NamedTuple):
    """A call of a kernel, and its result in float64."""

    name: str
    args: tuple[np.ndarray, ...]
    options: dict[str, Any]
    wanted: np.ndarray
    terms: int
    """Of the longest sum."""

    def check(self, got: np.ndarray, eps: float) -> None:
        """Errors grow with the root of the number of terms."""
        bound = 4 * eps * self.terms**0.5 * np.abs(self.wanted).max()
        np.testing.assert_allclose(got, self.wanted, rtol=0, atol=bound, err_msg=self.name)


def calls(
    x: tuple[int, ...],
    w: tuple[int, ...],
    dtype: str,
    options: dict[str, Any],
    draw: Callable[..., np.ndarray] | None = None,
) -> list[Call]:
    """A convolution of such images and filters, and both of its gradients."""
    rng = np.random.default_rng(3)
    draw = draw or (lambda size: rng.normal(size=size))
    image, filters, bias = (draw(shape).astype(dtype) for shape in (x, w, w[0]))

    def call(name: str, *args: np.ndarray, terms: int, **more: Any) -> Call:
        wide = [a.astype("f8") for a in args]
        wanted = KERNELS[name].reference(*wide, **options, **more)
        return Call(name, args, {**options, **more}, wanted, terms)

    forward = call(FORWARD, image, filters, bias, terms=filters[0].size)
    g = draw(forward.wanted.shape).astype(dtype)
    return [
        forward,
        call(TO_INPUT, g, filters, terms=filters[:, 0].size, input_size=x[2:]),
        call(TO_WEIGHTS, image, g, terms=g[:, 0].size, kernel_size=w[2:]),
    ]


def on_cuda(name: str, which: str = "cuda-on-cpu") -> Implementation:
    backend = "cuda-on-cpu"
    found = KERNELS[name].implementations
    return next(i for i in found if (i.backend, i.name) == (backend, which))


# Tiles

TILES = [
    pytest.param(method, dtype, tile, id=f"{method.file}-{dtype}-{tile.rows}x{tile.columns}")
    for method, dtype in (
        (IN_REGISTERS, "f4"),
        (IN_REGISTERS, "f8"),
        (ON_TENSOR_CORES, "f4"),
        (ON_TENSOR_CORES, "f2"),
    )
    for tile in method.tiles(np.dtype(dtype).itemsize)
]
NAMED = {("conv.cu", "f4"): "cuda-on-cpu", ("conv.cu", "f8"): "cuda-on-cpu"}
NAMED |= {("conv_tensor.cu", "f4"): "tf32", ("conv_tensor.cu", "f2"): "half"}


@pytest.fixture
def fresh_grids() -> Iterator[None]:
    """Tiles are chosen anew in the test, and after it."""
    conv_launch.grid.cache_clear()
    yield
    conv_launch.grid.cache_clear()


@pytest.mark.usefixtures("fresh_grids")
@pytest.mark.parametrize(("method", "dtype", "tile"), TILES)
def test_every_tile(
    method: Method, dtype: str, tile: Tile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole loads and several tiles each way; and groups whose last tile is not full."""
    monkeypatch.setattr(type(method), "tiles", lambda self, itemsize: (tile,))
    which = NAMED[method.file, dtype]
    eps = EPS["f2"] if which == "tf32" else EPS[dtype]
    for x, w, options in (
        ((3, 8, 9, 11), (136, 8, 3, 3), SAME),
        ((2, 16, 8, 7), (48, 8, 3, 2), ODD),
    ):
        for call in calls(x, w, dtype, options):
            got = on_cuda(call.name, which).run(*call.args, **call.options)
            assert got.dtype == dtype
            call.check(got, eps)


@pytest.mark.usefixtures("fresh_grids")
@pytest.mark.parametrize("which", ["cuda-on-cpu", "tf32"])
def test_sums_in_parts(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of a sum are added in order, with the bias once."""
    monkeypatch.setattr(conv_launch, "LEAST_STEPS", 1)
    added: list[int] = []
    for name in ("add_parts", "add_filter_parts"):
        add = getattr(conv_launch, name)
        spy = lambda parts, *rest, add=add: (added.append(len(parts)), add(parts, *rest))  # noqa: E731
        monkeypatch.setattr(conv_launch, name, spy)
    for call in calls((2, 20, 6, 7), (12, 20, 3, 3), "f4", SAME):
        got = on_cuda(call.name, which).run(*call.args, **call.options)
        call.check(got, EPS["f2"] if which == "tf32" else EPS["f4"])
        for order in ("reverse", "random"):
            with running(order):
                again = on_cuda(call.name, which).run(*call.args, **call.options)
            np.testing.assert_array_equal(got, again)
        assert added.pop() > 1


def test_small_products_have_small_tiles_and_large_ones_large() -> None:
    small, *_ = conv_launch.grid(IN_REGISTERS, 60, 8, 1, 4, 4, 1)
    large, blocks, parts = conv_launch.grid(IN_REGISTERS, 10**6, 256, 1, 72, 4, 64)
    assert small.rows == small.columns == 32
    assert (large.rows, large.columns) == (128, 64) and parts == 1
    assert blocks == -(-(10**6) // 128) * 4


# Rounding


def tf32_numbers(size: Any) -> np.ndarray:
    """Numbers of 11 bits, which TF32 holds."""
    return np.random.default_rng(5).integers(-1023, 1024, size=size) / 256


@pytest.mark.parametrize("channels", [8, 7])
@pytest.mark.parametrize("which", ["tf32", "5-tensor-cores"])
def test_tensor_cores_do_not_round_what_they_can_hold(which: str, channels: int) -> None:
    """The products are exact then, and sums those of float32, in copies of 16 bytes and of 4."""
    for call in calls((2, channels, 6, 9), (20, channels, 3, 3), "f4", SAME, tf32_numbers):
        if which == "tf32" or call.name == FORWARD:
            got = on_cuda(call.name, which).run(*call.args, **call.options)
            call.check(got, EPS["f4"])


@pytest.mark.parametrize("which", ["tf32", "5-tensor-cores"])
def test_operands_are_rounded_to_the_nearest(which: str) -> None:
    """1 + 0.75 ulp is 1 + 1 ulp, on either side of a product; cut off it would be 1."""
    ulp = np.float32(2.0**-10)
    one, more = np.ones((1, 1, 1, 1), "f4"), np.full((1, 1, 1, 1), 1 + 0.75 * ulp, "f4")
    options = {**SAME, "padding": ((0, 0), (0, 0))}
    size = {"input_size": (1, 1)}, {"kernel_size": (1, 1)}
    names = [(FORWARD, {}), (TO_INPUT, size[0]), (TO_WEIGHTS, size[1])]
    for (name, extra), args in itertools.product(
        names if which == "tf32" else names[:1], ((one, more), (more, one))
    ):
        assert on_cuda(name, which).run(*args, **options, **extra).item() == 1 + ulp


def test_half_is_summed_in_float() -> None:
    """4096 + 1 is 4096 in half, so that a sum in half would stay there."""
    x, w = np.ones((1, 16, 5, 5), "f2"), np.ones((8, 16, 5, 5), "f2")
    x[0, 0, 0, 0] = 4096
    options = {**SAME, "padding": ((0, 0), (0, 0))}
    for which in ("half", "cuda-on-cpu"):
        y = on_cuda(FORWARD, which).run(x, w, **options)
        np.testing.assert_array_equal(y, np.full((1, 8, 1, 1), 4096 + 399, "f2"))


# The gradient of the input where weights are infinite


@pytest.mark.usefixtures("fresh_grids")
@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("which", ["cuda-on-cpu", "tf32", "winograd"])
def test_taps_outside_of_the_image_are_left_out(
    which: str, parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinite weight makes those pixels infinite that a window's tap has, no others NaN."""
    if parts:
        monkeypatch.setattr(conv_launch, "LEAST_STEPS", 1)
    call = calls((2, 12, 5, 6), (20, 12, 3, 3), "f4", SAME)[1]
    g, w = call.args
    w[3, 2, 0, 0] = np.inf
    wanted = KERNELS[TO_INPUT].reference(g, w, **call.options)
    got = on_cuda(TO_INPUT, which).run(g, w, **call.options)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
    assert np.isfinite(got[:, 2]).any() and not np.isfinite(got[:, 2]).all()
    finite = np.isfinite(wanted)
    np.testing.assert_allclose(got[finite], wanted[finite], rtol=0, atol=0.1)


# Winograd's method


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_winograd_in_blocks_of_images(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (winograd.MOST_TRANSFORMED, 1):
        monkeypatch.setattr(winograd, "MOST_TRANSFORMED", limit)
        for call in calls((3, 5, 9, 6), (7, 5, 3, 3), dtype, SAME):
            got = on_cuda(call.name, "winograd").run(*call.args, **call.options)
            call.check(got, 4 * EPS[dtype])  # the transforms round, too


def test_winograd_computes_again_what_overflows() -> None:
    """Transforms of numbers whose sums are finite may be infinite."""
    x = np.zeros((1, 1, 6, 6), "f4")
    x[0, 0, 1, 1] = x[0, 0, 3, 3] = 3e38
    w = np.full((1, 1, 3, 3), 0.5, "f4")
    wanted = KERNELS[FORWARD].reference(x.astype("f8"), w, **SAME)
    got = on_cuda(FORWARD, "winograd").run(x, w, **SAME)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


# Which implementation runs, and which variant


def blank(*shape: int, dtype: str = "f4") -> np.ndarray:
    """An array of any size that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


@pytest.mark.parametrize(
    ("x", "w", "groups", "runs"),
    [
        (blank(64, 64, 32, 32), blank(64, 64, 3, 3), 1, "winograd"),
        (blank(64, 32, 32, 32), blank(64, 32, 3, 3), 1, "cuda-on-cpu"),
        (blank(2, 64, 32, 32), blank(64, 64, 3, 3), 1, "cuda-on-cpu"),
        (blank(64, 64, 32, 32), blank(64, 64, 1, 3), 1, "cuda-on-cpu"),
        (blank(64, 64, 32, 32), blank(64, 1, 3, 3), 64, "depthwise"),
        (blank(64, 64, 32, 32), blank(128, 1, 3, 3), 64, "cuda-on-cpu"),
        (blank(2, 16, 9, 9, dtype="f2"), blank(9, 16, 3, 3, dtype="f2"), 1, "half"),
        (blank(2, 12, 9, 9, dtype="f2"), blank(9, 12, 3, 3, dtype="f2"), 1, "cuda-on-cpu"),
        (blank(2, 16, 9, 9, dtype="f2"), blank(8, 4, 3, 3, dtype="f2"), 4, "cuda-on-cpu"),
        (blank(2**11, 1, 2**10, 2**10), blank(1, 1, 3, 3), 2, None),  # too many pixels
        (blank(2, 16, 9, 9), blank(9, 16, 3, 3, dtype="f8"), 1, None),
        (blank(0, 16, 9, 9), blank(9, 16, 3, 3), 1, None),
    ],
)
def test_what_runs(x: np.ndarray, w: np.ndarray, groups: int, runs: str | None) -> None:
    """The first that accepts the arguments and is worth it; the ladder and TF32 never are."""
    candidates = [i for i in KERNELS[FORWARD].implementations if i.backend == "cuda-on-cpu"]
    willing = [i.name for i in candidates if i.refusal(x, w, **{**SAME, "groups": groups}) is None]
    assert willing[:1] == ([runs] if runs else [])


@pytest.mark.parametrize(
    ("which", "channels", "name", "value"),
    [
        ("cuda-on-cpu", 8, "WIDTH", "4"),
        ("cuda-on-cpu", 6, "WIDTH", "1"),
        ("tf32", 8, "COPY", "16"),
        ("tf32", 6, "COPY", "4"),
        ("4-registers", 8, "WIDTH", "4"),
        ("4-registers", 6, "WIDTH", "1"),
    ],
)
def test_loads_are_as_wide_as_groups_allow(
    which: str, channels: int, name: str, value: str
) -> None:
    with launches() as found:
        x, w = np.zeros((1, 2 * channels, 4, 4), "f4"), np.zeros((6, channels, 3, 3), "f4")
        on_cuda(FORWARD, which).run(x, w, **{**SAME, "groups": 2})
    (definitions,) = (
        dict(key.definitions) for key in found if not key.file.startswith("conv_layout")
    )
    assert definitions[name] == value


@pytest.mark.parametrize("which", ["4-registers", "5-tensor-cores", "3-tiles"])
def test_rungs_in_whole_loads(which: str) -> None:
    for x, w, options in (
        ((3, 8, 9, 11), (70, 8, 3, 3), SAME),
        ((2, 16, 8, 7), (48, 8, 3, 2), ODD),
    ):
        call = calls(x, w, "f4", options)[0]
        got = on_cuda(FORWARD, which).run(*call.args, **call.options)
        call.check(got, EPS["f2"] if which == "5-tensor-cores" else EPS["f4"])


def test_depthwise_with_many_taps_and_channels() -> None:
    """More taps than a thread sums, more channels than a block has, in loads of 4 and of 1."""
    for channels in (132, 131):
        options = {**SAME, "groups": channels, "padding": ((2, 2), (1, 3))}
        for call in calls((2, channels, 7, 9), (channels, 1, 5, 4), "f4", options):
            call.check(on_cuda(call.name, "depthwise").run(*call.args, **call.options), EPS["f4"])


@pytest.mark.parametrize("name", NAMES)
def test_more_pixels_than_kernels_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding makes them of few, or a stride. No kernel runs, whose counters would overflow."""
    size, options = (5, 4), {**SAME, "padding": ((9, 9), (9, 9))}
    if name == TO_INPUT:
        size, options = (21, 20), {**SAME, "stride": (7, 7)}
    monkeypatch.setattr(conv_layout, "MOST_PIXELS", 300)
    tried = set()
    for groups, filters in ((1, 8), (3, 3)):
        options["groups"] = groups
        found = calls((1, 3, *size), (filters, 3 // groups, 3, 3), "f4", options)
        call = found[NAMES.index(name)]
        for i in KERNELS[name].implementations:
            if i.backend == "cuda-on-cpu" and i.accepts(*call.args, **call.options):
                tried.add(i.name)
                with pytest.raises(ValueError, match="1 images of 21 x 20 pixels; at most 300"):
                    i.run(*call.args, **call.options)
    assert tried >= {"cuda-on-cpu", "tf32", "depthwise"}


def test_the_gradient_of_images_without_pixels() -> None:
    """Their windows see nothing but padding. Every method gives an empty gradient."""
    rng = np.random.default_rng(2)
    g, options = rng.normal(size=(2, 3, 1, 2)).astype("f4"), {"stride": (7, 7), "dilation": (1, 1)}
    for channels, groups in ((1, 3), (2, 1)):
        w = rng.normal(size=(3, channels, 3, 3)).astype("f4")
        options |= {"padding": ((0, 0), (5, 5)), "input_size": (5, 0), "groups": groups}
        methods = [i for i in KERNELS[TO_INPUT].implementations if i.backend == "cuda-on-cpu"]
        tried = [i for i in methods if i.accepts is None or i.accepts(g, w, **options)]
        assert "depthwise" in {i.name for i in tried} or groups == 1
        for i in tried:
            assert i.run(g, w, **options).shape == (2, channels * groups, 5, 0)


# Layouts and geometry


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_pixels_are_channels_last_and_aligned(dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 70, 5, 9)).astype(dtype)
    room = np.zeros(x.size + 1, dtype)
    room[1:] = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1)
    shifted = room[1:].reshape(2, 5, 9, 70).transpose(0, 3, 1, 2)
    for images in (x, shifted, x[:, ::-1][:, ::-1], np.asfortranarray(x)):
        got = pixels(images)
        assert got.flags.c_contiguous and got.ctypes.data % 16 == 0
        np.testing.assert_array_equal(got, x.transpose(0, 2, 3, 1))
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    assert np.shares_memory(pixels(last.transpose(0, 3, 1, 2)), last)


def test_gradients_along_an_axis_have_every_pixel_and_tap_once() -> None:
    """Window p has tap k on pixel stride p + dilation k - before: no other, and each of these."""
    for size, kernel, stride, before, dilation in itertools.product(
        (1, 4, 7), (1, 3), (1, 2, 3, 4), (-1, 0, 2), (1, 2, 3)
    ):
        windows = 5
        wanted = {
            (q, k, p)
            for p, k in itertools.product(range(windows), range(kernel))
            if 0 <= (q := stride * p + dilation * k - before) < size
        }
        found = [
            (axis.first + axis.step * i, first + step * tap, p)
            for axis, first, step in gradient_taps(size, kernel, stride, before, dilation, windows)
            for i, tap in itertools.product(range(axis.windows), range(axis.taps))
            if 0 <= (p := i + axis.shift + axis.pace * tap) < windows
        ]
        assert len(found) == len(set(found)) and set(found) == wanted
