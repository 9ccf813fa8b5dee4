"""Pooling against loops written out, and its gradients as adjoints."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minigrad as mg
import minigrad_kernels as kernels
from minigrad import ops

two = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731


def windows_along(size, kernel, stride, padding, dilation, ceil_mode):
    """For each window, its elements, counted on the input: negative, and `size` on, are padding."""
    last = size + padding - (dilation * (kernel - 1) + 1)  # where the last one may begin
    if ceil_mode:  # the last that does not fit may overhang, if it begins on the input
        last = min(last + stride - 1, size - 1)
    starts = range(-padding, last + 1, stride)
    return [[start + k * dilation for k in range(kernel)] for start in starts]


@st.composite
def cases(draw, dilations):
    """Images, with ties, in some layout, and a geometry."""
    kernel = draw(two(1, 4))
    dilation = draw(two(1, dilations))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    ceil_mode = draw(st.booleans())
    stride = draw(two(1, 4))
    # An image of at least the dilation's size meets every window; see test_padding_alone.
    size = tuple(
        max(d, d * (k - 1) + 1 - 2 * p) + extra
        for k, d, p, extra in zip(kernel, dilation, padding, draw(two(0, 5)), strict=True)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size))
    x = x.round() if draw(st.booleans()) else x
    layout = draw(st.sampled_from(["rows", "channels last", "columns"]))
    if layout == "channels last":
        x = x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    elif layout == "columns":
        x = np.asfortranarray(x)
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    places = [
        windows_along(*along, ceil_mode)
        for along in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    return x, options, dilation, places, rng


def pixels(rows, columns, size):
    """The pixels of one window, row by row, without padding."""
    return [(i, j) for i in rows for j in columns if 0 <= i < size[0] and 0 <= j < size[1]]


# The maximum


@given(cases(dilations=3))
def test_max_pool2d_takes_the_first_maximum_of_each_window(case):
    x, options, dilation, (along_rows, along_columns), _ = case
    values, indices = ops.max_pool2d(x, **options, dilation=dilation, return_indices=True)
    assert values.shape == (*x.shape[:2], len(along_rows), len(along_columns))
    assert indices.dtype == mg.int64
    for n, c, i, j in np.ndindex(values.shape):
        inside = pixels(along_rows[i], along_columns[j], x.shape[2:])
        best = max(inside, key=lambda at: x[(n, c, *at)])  # the first of equal ones
        assert values.data[n, c, i, j] == x[(n, c, *best)]
        assert indices.data[n, c, i, j] == best[0] * x.shape[3] + best[1]


@given(cases(dilations=2))
def test_the_gradient_goes_to_the_maxima(case):
    x, options, dilation, _, rng = case
    leaf = mg.tensor(x, requires_grad=True)
    values, indices = ops.max_pool2d(leaf, **options, dilation=dilation, return_indices=True)
    g = rng.normal(size=values.shape)
    values.backward(mg.tensor(g))
    expected = np.zeros((*x.shape[:2], x.shape[2] * x.shape[3]))
    for n, c, i, j in np.ndindex(g.shape):
        expected[n, c, indices.data[n, c, i, j]] += g[n, c, i, j]
    expected = expected.reshape(x.shape)
    np.testing.assert_allclose(leaf.grad.data, expected, rtol=1e-12, atol=1e-12)
    if len(x):
        back = ops.max_pool2d_gradient(g, indices, x.shape[2:])
        np.testing.assert_array_equal(back.data, leaf.grad.data)
        np.testing.assert_array_equal(ops.max_pool2d_gather(x, indices).data, values.data)


def test_nan_and_infinity():
    nan, inf = math.nan, math.inf
    x = np.array([[1.0, nan, -inf, -inf], [nan, 2.0, -inf, -inf], [inf, inf, 3.0, nan]])
    values, indices = ops.max_pool2d(x[None], 2, 1, 1, return_indices=True)
    lowest = -inf  # padding is as low, yet never taken
    np.testing.assert_array_equal(
        values.data[0],
        [
            [1.0, nan, nan, lowest, lowest],
            [nan, nan, nan, lowest, lowest],
            [nan, nan, inf, nan, nan],
            [inf, inf, inf, nan, nan],
        ],
    )
    np.testing.assert_array_equal(
        indices.data[0],
        [[0, 1, 1, 2, 3], [4, 1, 1, 2, 3], [4, 4, 9, 11, 11], [8, 8, 9, 11, 11]],
    )


def test_a_constant_image_sends_its_gradient_to_the_corners():
    x = mg.tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    ops.max_pool2d(x, 2).sum().backward()
    expected = np.zeros((4, 4))
    expected[::2, ::2] = 1
    np.testing.assert_array_equal(x.grad.data[0, 0], expected)


def test_padding_alone_is_no_window():
    # The only window covers columns -1 and 1; the image has column 0.
    with pytest.raises(ValueError, match="nothing but padding"):
        ops.max_pool2d(np.zeros((1, 1, 4, 1)), (1, 2), 1, (0, 1), (1, 2))
    # On two columns the windows are -1 and 1, 0 and 2.
    y, where = ops.max_pool2d(np.array([[[5.0, 4.0]]]), (1, 2), 1, (0, 1), (1, 2), False, True)
    np.testing.assert_array_equal(y.data, [[[4.0, 5.0]]])
    np.testing.assert_array_equal(where.data, [[[1, 0]]])


def test_a_window_of_more_elements_than_a_byte_counts(rng):
    x = rng.permutation(20 * 20).reshape(1, 1, 20, 20).astype("f4")
    values, indices = ops.max_pool2d(x, 20, return_indices=True)
    assert values.item() == 399 and indices.item() == x.argmax()


def test_several_blocks_of_images(rng, monkeypatch):
    x = rng.normal(size=(5, 2, 4, 4))
    whole = ops.max_pool2d(x, 2, return_indices=True)
    monkeypatch.setattr("minigrad_kernels.windows.BLOCK_BYTES", 2 * x[0].nbytes)
    parts = ops.max_pool2d(x, 2, return_indices=True)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


# Means


@given(cases(dilations=1), st.booleans(), st.none() | st.sampled_from([-2, 1, 5]))
def test_avg_pool2d_is_the_mean_of_each_window(case, count_include_pad, divisor_override):
    x, options, _, (along_rows, along_columns), rng = case
    leaf = mg.tensor(x, requires_grad=True)
    counting = {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
    y = ops.avg_pool2d(leaf, **options, **counting)
    g = rng.normal(size=y.shape)
    y.backward(mg.tensor(g))
    expected, gradient = np.zeros(y.shape), np.zeros(x.shape)
    assert y.shape[2:] == (len(along_rows), len(along_columns))
    ends = [n + p for n, p in zip(x.shape[2:], options["padding"], strict=True)]
    for i, j in np.ndindex(y.shape[2:]):
        inside = pixels(along_rows[i], along_columns[j], x.shape[2:])
        padded = [
            (a, b) for a in along_rows[i] for b in along_columns[j] if a < ends[0] and b < ends[1]
        ]
        divisor = divisor_override or (len(padded) if count_include_pad else len(inside))
        for a, b in inside:
            expected[:, :, i, j] += x[:, :, a, b] / divisor
            gradient[:, :, a, b] += g[:, :, i, j] / divisor
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(leaf.grad.data, gradient, rtol=1e-12, atol=1e-12)


@given(two(1, 9), two(1, 9), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_adaptive_avg_pool2d_covers_the_image_evenly(size, output_size, images, seed):
    rng = np.random.default_rng(seed)
    x = mg.tensor(rng.normal(size=(images, 2, *size)), requires_grad=True)
    y = ops.adaptive_avg_pool2d(x, output_size)
    g = rng.normal(size=y.shape)
    y.backward(mg.tensor(g))
    expected, gradient = np.zeros(y.shape), np.zeros(x.shape)
    for i, j in np.ndindex(output_size):
        rows, columns = (
            slice(math.floor(k * n / m), math.ceil((k + 1) * n / m))
            for k, n, m in zip((i, j), size, output_size, strict=True)
        )
        window = x.data[:, :, rows, columns]
        expected[:, :, i, j] = window.mean((2, 3))
        gradient[:, :, rows, columns] += g[:, :, i, j, None, None] / math.prod(window.shape[2:])
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(x.grad.data, gradient, rtol=1e-12, atol=1e-12)


def test_adaptive_sizes_can_be_left_as_they_are(rng):
    x = rng.normal(size=(2, 3, 4, 6))
    np.testing.assert_allclose(
        ops.adaptive_avg_pool2d(x, (None, 2)).data, x.reshape(2, 3, 4, 2, 3).mean(-1)
    )
    np.testing.assert_array_equal(ops.adaptive_avg_pool2d(x, None).data, x)
    np.testing.assert_allclose(ops.adaptive_avg_pool2d(x, 1).data[..., 0, 0], x.mean((2, 3)))


# All


POOLINGS = {
    "max": lambda x: ops.max_pool2d(x, 2, 1, 1),
    "avg": lambda x: ops.avg_pool2d(x, (3, 2), ceil_mode=True),
    "adaptive": lambda x: ops.adaptive_avg_pool2d(x, (3, 2)),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_one_image_is_a_batch_of_one(rng, name):
    x = rng.normal(size=(3, 5, 6))
    np.testing.assert_array_equal(POOLINGS[name](x).data, POOLINGS[name](x[None]).data[0])


@pytest.mark.parametrize("name", POOLINGS)
def test_one_bad_pixel_spoils_only_its_windows(rng, name):
    x = rng.normal(size=(1, 1, 6, 6))
    clean = POOLINGS[name](x).data.copy()
    x[0, 0, 0, 0] = math.inf
    spoiled = POOLINGS[name](x).data
    assert spoiled[0, 0, 0, 0] == math.inf
    np.testing.assert_array_equal(spoiled[0, 0, -1], clean[0, 0, -1])


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_types_and_channels_last_are_kept(rng, name, dtype):
    x = rng.normal(size=(2, 6, 6, 3)).astype(dtype).transpose(0, 3, 1, 2)
    y = POOLINGS[name](x).data
    assert y.dtype == np.dtype(dtype)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_half_precision_is_summed_in_single():
    # 4096 + 1 is not a half-precision number: summed in half precision, the ones would be lost.
    x = np.ones((1, 1, 1, 4097), "f2")
    x[..., 0] = 4096
    assert ops.avg_pool2d(x, (1, 4097), divisor_override=1).item() == 8192
    assert kernels.adaptive_avg_pool2d(x, output_size=(1, 1)).item() == np.float16(8192 / 4097)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (
            lambda a: kernels.max_pool2d_gradient(a, a[..., :1].astype(int), input_size=(4, 4)),
            "fit",
        ),
        (lambda a: kernels.max_pool2d_gather(a, np.zeros((1, 3, 1, 1), int)), "fit"),
        (lambda a: kernels.adaptive_avg_pool2d(a, output_size=(1, 1), out=a), "out has shape"),
        (
            lambda a: kernels.avg_pool2d_gradient(
                a,
                input_size=(5, 5),
                kernel_size=(2, 2),
                stride=(1, 1),
                padding=(0, 0),
                ceil_mode=False,
                count_include_pad=True,
                divisor_override=None,
            ),
            "fit",
        ),
        (
            lambda a: kernels.max_pool2d(
                a,
                kernel_size=(5, 5),
                stride=(1, 1),
                padding=(0, 0),
                dilation=(1, 1),
                ceil_mode=False,
            ),
            "larger",
        ),
    ],
)
def test_kernels_refuse_shapes_that_do_not_fit(call, error):
    with pytest.raises(ValueError, match=error):
        call(np.zeros((1, 2, 3, 3)))
