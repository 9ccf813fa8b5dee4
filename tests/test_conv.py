"""Convolutions against loops written out and SciPy, and their gradients as adjoints."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, strategies as st

import minigrad as mg
import minigrad_kernels as kernels
from minigrad import ops


def channels_last(x):
    """The same numbers, the channels together in memory."""
    return np.moveaxis(np.moveaxis(x, -3, -1).copy(), -1, -3)


LAYOUTS = {
    "rows": np.ascontiguousarray,
    "channels last": channels_last,
    "columns": np.asfortranarray,
    "reversed": lambda x: x[..., ::-1].copy()[..., ::-1],
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


@st.composite
def geometries(draw):
    """Images, filters and bias, and options for conv2d, that fit together."""
    groups = draw(st.integers(1, 3))
    channels, filters = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    two = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    kernel, stride, dilation = draw(two(1, 3)), draw(two(1, 3)), draw(two(1, 3))
    padding = draw(st.tuples(two(0, 2), two(0, 2)))
    size = tuple(
        max(1, d * (k - 1) + 1 - sum(p)) + extra
        for k, d, p, extra in zip(kernel, dilation, padding, draw(two(0, 4)), strict=True)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(draw(st.integers(0, 3)), channels, *size))
    w = rng.normal(size=(filters, channels // groups, *kernel))
    x, w = (LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](a) for a in (x, w))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, w, rng.normal(size=filters), options


def by_loops(x, w, bias, stride, padding, dilation, groups):
    """Convolution, one output number after the other."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    filters, per_group, kh, kw = w.shape
    rows = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((len(x), filters, rows, columns))
    for n, o, i, j in np.ndindex(y.shape):
        first = o // (filters // groups) * per_group
        y[n, o, i, j] = bias[o]
        for c, a, b in np.ndindex(per_group, kh, kw):
            pixel = x[
                n, first + c, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]
            ]
            y[n, o, i, j] += pixel * w[o, c, a, b]
    return y


@given(geometries())
def test_conv2d_is_the_sum_over_the_window(case):
    x, w, bias, options = case
    y = ops.conv2d(x, w, bias, **options)
    np.testing.assert_allclose(y.data, by_loops(x, w, bias, **options), rtol=1e-12, atol=1e-12)


@given(geometries(), st.integers(0, 2**32 - 1))
def test_the_gradients_are_the_adjoints(case, seed):
    x, w, bias, options = case
    leaves = [mg.tensor(a, requires_grad=True) for a in (x, w, bias)]
    y = ops.conv2d(*leaves, **options)
    rng = np.random.default_rng(seed)
    g, dx, dw = (rng.normal(size=a.shape) for a in (y, x, w))
    y.backward(mg.tensor(g))
    gx, gw, gb = (leaf.grad.data for leaf in leaves)
    zero = np.zeros_like(bias)
    moved_x, moved_w = by_loops(dx, w, zero, **options), by_loops(x, dw, zero, **options)
    np.testing.assert_allclose((dx * gx).sum(), (moved_x * g).sum(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((dw * gw).sum(), (moved_w * g).sum(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gb, g.sum((0, 2, 3)), rtol=1e-12, atol=1e-12)
    if len(x):  # the functions that users can call say the same
        again = (
            ops.conv2d_input_gradient(g, w, x.shape[2:], **options),
            ops.conv2d_weight_gradient(x, g, w.shape[2:], **options),
        )
        for expected, found in zip((gx, gw), again, strict=True):
            np.testing.assert_allclose(found.data, expected, rtol=1e-12, atol=1e-12)


@given(geometries())
def test_every_layout_and_out_give_the_same_numbers(case):
    x, w, _, options = case
    g = kernels.conv2d(x, w, **options)
    calls = [
        (kernels.conv2d, x, w, options),
        (kernels.conv2d_input_gradient, g, w, {"input_size": x.shape[2:], **options}),
        (kernels.conv2d_weight_gradient, x, g, {"kernel_size": w.shape[2:], **options}),
    ]
    for kernel, a, b, settings in calls:
        expected = kernel(np.ascontiguousarray(a), np.ascontiguousarray(b), **settings)
        for change in LAYOUTS.values():
            out = change(np.full(expected.shape, 7.0))
            assert kernel(change(a), change(b), **settings, out=out) is out
            # BLAS adds up in another order where a matrix is transposed.
            np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)


def test_scipy_agrees(rng):
    x, w = rng.normal(size=(2, 3, 9, 8)), rng.normal(size=(4, 3, 3, 2))
    for padding, mode in [(0, "valid"), ((2, 1), "full")]:
        expected = [
            [sum(map(lambda a, b: scipy.signal.correlate(a, b, mode), image, f)) for f in w]
            for image in x
        ]
        y = ops.conv2d(x, w, padding=padding)
        np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)
    # The transposed convolution of one pixel after the other is the full convolution.
    v = w.transpose(1, 0, 2, 3)
    expected = [[sum(map(scipy.signal.convolve, image, v[:, o])) for o in range(4)] for image in x]
    np.testing.assert_allclose(ops.conv_transpose2d(x, v).data, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 4), (5, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_keeps_the_size_and_puts_the_odd_zero_at_the_end(rng, kernel, dilation):
    x, w = rng.normal(size=(2, 1, 7, 6)), rng.normal(size=(1, 1, *kernel))
    y = ops.conv2d(x, w, padding="same", dilation=dilation)
    totals = [dilation * (k - 1) for k in kernel]
    padding = tuple((total // 2, (total + 1) // 2) for total in totals)
    steps = (dilation, dilation)
    assert y.shape == x.shape
    np.testing.assert_allclose(
        y.data, by_loops(x, w, [0.0], (1, 1), padding, steps, 1), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_array_equal(
        ops.conv2d(x, w[..., :2], padding="valid").data, ops.conv2d(x, w[..., :2]).data
    )


@st.composite
def transposed(draw):
    """Input, weight, bias and options of a transposed convolution."""
    _, w, _, options = draw(geometries())
    stride, dilation = options["stride"], options["dilation"]
    extra = tuple(
        draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    g = rng.normal(size=(2, len(w), *rng.integers(1, 5, 2)))
    padding = tuple(
        draw(st.integers(0, min(2, ((n - 1) * s + d * (k - 1)) // 2)))
        for n, s, d, k in zip(g.shape[2:], stride, dilation, w.shape[2:], strict=True)
    )
    options.update(padding=padding, output_padding=extra)
    return g, w, rng.normal(size=w.shape[1] * options["groups"]), options


@given(transposed())
def test_conv_transpose2d_adds_a_kernel_for_each_pixel(case):
    x, w, bias, options = case
    (sh, sw), (ph, pw), (dh, dw), (eh, ew), groups = (
        options[k] for k in ("stride", "padding", "dilation", "output_padding", "groups")
    )
    channels, each, kh, kw = w.shape
    height = (x.shape[2] - 1) * sh + dh * (kh - 1) + 1 + eh
    width = (x.shape[3] - 1) * sw + dw * (kw - 1) + 1 + ew
    whole = np.zeros((len(x), each * groups, height, width))
    for c, i, j, o, a, b in np.ndindex(channels, *x.shape[2:], each, kh, kw):
        target = c // (channels // groups) * each + o
        whole[:, target, i * sh + a * dh, j * sw + b * dw] += x[:, c, i, j] * w[c, o, a, b]
    expected = whole[:, :, ph : height - ph, pw : width - pw] + bias[:, None, None]
    y = ops.conv_transpose2d(x, w, bias, **options)
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)
    one = ops.conv_transpose2d(x[0], w, bias, **options)
    np.testing.assert_allclose(one.data, expected[0], rtol=1e-12, atol=1e-12)


@given(geometries())
def test_conv1d_is_conv2d_on_images_of_one_row(case):
    x, w, bias, options = case
    x, w = x[:, :, 0], w[:, :, 0]
    options = {k: v if k == "groups" else v[1] for k, v in options.items()}
    options["padding"] = options["padding"][0]
    padded = x.shape[2] + 2 * options["padding"]
    if padded <= options["dilation"] * (w.shape[2] - 1):
        with pytest.raises(ValueError, match="conv1d: a window of"):
            ops.conv1d(x, w, bias, **options)
        return
    expected = by_loops(
        x[:, :, None],
        w[:, :, None],
        bias,
        (1, options["stride"]),
        ((0, 0), (options["padding"],) * 2),
        (1, options["dilation"]),
        options["groups"],
    )
    y = ops.conv1d(x, w, bias, **options)
    np.testing.assert_allclose(y.data, expected[:, :, 0], rtol=1e-12, atol=1e-12)


def test_one_image_is_a_batch_of_one(rng):
    x, w, b = rng.normal(size=(3, 5, 6)), rng.normal(size=(4, 3, 2, 3)), rng.normal(size=4)
    y = ops.conv2d(x, w, b, 2, 1)
    np.testing.assert_array_equal(y.data, ops.conv2d(x[None], w, b, 2, 1).data[0])
    g = rng.normal(size=y.shape)
    np.testing.assert_array_equal(
        ops.conv2d_input_gradient(g, w, (5, 6), 2, 1).data,
        ops.conv2d_input_gradient(g[None], w, (5, 6), 2, 1).data[0],
    )
    np.testing.assert_array_equal(
        ops.conv2d_weight_gradient(x, g, (2, 3), 2, 1).data,
        ops.conv2d_weight_gradient(x[None], g[None], (2, 3), 2, 1).data,
    )
    np.testing.assert_array_equal(
        ops.conv1d(x[:, 0], w[:, :, 0], b).data, ops.conv1d(x[None, :, 0], w[:, :, 0], b).data[0]
    )


def test_types_are_promoted_and_kept(rng):
    x, w = rng.normal(size=(1, 2, 4, 4)), rng.normal(size=(3, 2, 3, 3))
    single = ops.conv2d(x.astype("f4"), w.astype("f4"))
    assert single.dtype == mg.float32
    assert ops.conv2d(x.astype("f4"), w).dtype == mg.float64
    assert ops.conv2d(x.astype("f4"), w.astype("f4"), np.zeros(3)).dtype == mg.float64
    assert ops.conv2d(np.ones((1, 2, 4, 4), "i8"), w.astype("f4")).dtype == mg.float32


def test_half_precision_is_summed_in_single():
    # 4096 + 1 is not a half-precision number: summed in half precision, the ones would be lost.
    x = np.ones((1, 4097, 1, 1), "f2")
    x[0, 0] = 4096
    w = np.ones((1, 4097, 1, 1), "f2")
    options = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    y = kernels.conv2d(x, w, **options)
    assert y.dtype == np.float16 and y[0, 0, 0, 0] == 8192
    gw = kernels.conv2d_weight_gradient(
        x.transpose(1, 0, 2, 3), w.transpose(1, 0, 2, 3), kernel_size=(1, 1), **options
    )
    assert gw.dtype == np.float16 and gw[0, 0, 0, 0] == 8192
    gx = kernels.conv2d_input_gradient(x, w.transpose(1, 0, 2, 3), input_size=(1, 1), **options)
    assert gx.dtype == np.float16 and gx[0, 0, 0, 0] == 8192


def test_a_batch_of_several_blocks(rng, monkeypatch):
    x, w = rng.normal(size=(5, 2, 4, 4)), rng.normal(size=(4, 1, 3, 3))
    g = rng.normal(size=(5, 4, 4, 4))
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 2}

    def results():
        return (
            kernels.conv2d(x, w, **options),
            kernels.conv2d_input_gradient(g, w, input_size=(4, 4), **options),
            kernels.conv2d_weight_gradient(x, g, kernel_size=(3, 3), **options),
        )

    whole = results()
    per_image = 4 * 4 * 9 * 2 * 8
    monkeypatch.setattr("minigrad_kernels.windows.BLOCK_BYTES", 2 * per_image)  # 2 + 2 + 1 images
    for a, b in zip(whole, results(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "args", "options"),
    [
        ("conv2d", [(1, 3, 5, 5), (8, 4, 3, 3)], {}),
        ("conv2d", [(1, 4, 2, 5), (8, 4, 3, 3)], {}),
        ("conv2d_input_gradient", [(1, 8, 3, 3), (8, 4, 3, 3)], {"input_size": (6, 5)}),
        ("conv2d_input_gradient", [(1, 7, 3, 3), (8, 4, 3, 3)], {"input_size": (5, 5)}),
        ("conv2d_weight_gradient", [(1, 4, 5, 5), (1, 8, 3, 2)], {"kernel_size": (3, 3)}),
        ("conv2d_weight_gradient", [(2, 4, 5, 5), (1, 8, 3, 3)], {"kernel_size": (3, 3)}),
    ],
)
def test_kernels_refuse_shapes_that_do_not_fit(kernel, args, options):
    geometry = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    with pytest.raises(ValueError, match="fit|larger"):
        getattr(kernels, kernel)(*map(np.zeros, args), **geometry, **options)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("stride", (0, 1)),
        ("stride", (1, -1)),
        ("dilation", (-1, 1)),
        ("dilation", (1, 0)),
        ("groups", 0),
        ("groups", -1),
    ],
)
def test_kernels_refuse_numbers_less_than_1(option, wrong, dtype):
    """Compiled kernels would read beyond the image."""
    x = np.zeros((1, 16, 5, 5), dtype)
    w = np.zeros((16, 16, 3, 3), dtype)
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    options[option] = wrong
    for kernel, args, more in [
        (kernels.conv2d, (x, w), {}),
        (kernels.conv2d_input_gradient, (x, w), {"input_size": (5, 5)}),
        (kernels.conv2d_weight_gradient, (x, x), {"kernel_size": (3, 3)}),
    ]:
        with pytest.raises(ValueError, match="groups|less than 1"):
            kernel(*args, **options, **more)


@pytest.mark.parametrize("backend", ["numba", "numba:direct", "numba:winograd"])
@pytest.mark.parametrize(("channels", "filters", "images"), [(0, 16, 1), (16, 0, 1), (16, 16, 0)])
def test_no_channels_filters_or_images(channels, filters, images, backend):
    x, g = (np.ones((images, n, 5, 5), "f4") for n in (channels, filters))
    w = np.ones((filters, channels, 3, 3), "f4")
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    with kernels.use(backend):
        y = kernels.conv2d(x, w, np.full(filters, 2, "f4"), **options)
        gx = kernels.conv2d_input_gradient(g, w, input_size=(5, 5), **options)
        gw = kernels.conv2d_weight_gradient(x, g, kernel_size=(3, 3), **options)
    assert y.shape == g.shape and (y == 2).all()
    assert gx.shape == x.shape and not gx.any()
    assert gw.shape == w.shape and not gw.any()


def test_padding_may_be_lists(rng):
    x, w = (rng.normal(size=shape).astype("f4") for shape in ((1, 16, 5, 5), (16, 16, 3, 3)))
    options = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
    as_lists, as_tuples = (
        kernels.conv2d(x, w, padding=padding, **options)
        for padding in ([[1, 1], [1, 0]], ((1, 1), (1, 0)))
    )
    np.testing.assert_array_equal(as_lists, as_tuples)


def test_kernels_refuse_an_out_of_another_shape():
    options = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    with pytest.raises(ValueError, match="out has shape"):
        kernels.conv2d(
            np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 2, 2)), **options, out=np.zeros((2, 1, 2, 2))
        )


def test_results_of_convolutions_keep_channels_together(rng):
    y = ops.conv2d(rng.normal(size=(2, 3, 6, 6)), rng.normal(size=(5, 3, 3, 3)))
    assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(("backend", "limit"), [("numba:winograd", 2e-5), ("numba:direct", 5e-6)])
def test_error_of_a_convolution_of_256_channels(rng, backend, limit):
    """Standard normal numbers in float32; relative to the largest number of the result."""
    x, w = (rng.normal(size=shape).astype("f4") for shape in ((2, 256, 14, 14), (32, 256, 3, 3)))
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    with kernels.use(backend):
        y = kernels.conv2d(x, w, **options)
    exact = kernels.conv2d.reference(x.astype("f8"), w.astype("f8"), **options)
    error = np.abs(y - exact).max() / np.abs(exact).max()
    assert 0 < error <= limit


def test_which_method_runs(rng):
    """Winograd's for large 3×3 convolutions, unless another is asked for."""
    x, w = (rng.normal(size=shape).astype("f4") for shape in ((32, 16, 16, 16), (16, 16, 3, 3)))
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    assert kernels.conv2d.explain(x, w, **options).startswith("conv2d: numba:winograd")
    assert kernels.conv2d.explain(x[:1], w, **options).startswith("conv2d: numba:direct")
    with kernels.use("numba:direct"):
        assert kernels.conv2d.explain(x, w, **options).startswith("conv2d: numba:direct")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("images", "channels", "filters"), [(26, 5, 19), (25, 17, 3), (40, 3, 70)])
def test_filters_gradient_summed_in_parts(rng, images, channels, filters, dtype):
    """So many tiles that Winograd's method cuts them in parts, not all of the same size."""
    x = rng.normal(size=(images, channels, 9, 10)).astype(dtype)
    g = rng.normal(size=(images, filters, 9, 10)).astype(dtype)
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    with kernels.use("numba:winograd"):
        gw = kernels.conv2d_weight_gradient(x, g, kernel_size=(3, 3), **options)
        before = kernels.get_num_threads()
        kernels.set_num_threads(1)
        try:
            alone = kernels.conv2d_weight_gradient(x, g, kernel_size=(3, 3), **options)
        finally:
            kernels.set_num_threads(before)
    exact = kernels.conv2d_weight_gradient.reference(
        x.astype("f8"), g.astype("f8"), kernel_size=(3, 3), **options
    )
    limit = 2e-5 if dtype == "f4" else 1e-13
    assert np.abs(gw - exact).max() / np.abs(exact).max() <= limit
    np.testing.assert_array_equal(gw, alone)
