"""The Hypothesis strategies draw what they promise; operations are right on what they draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from minigrad import Tensor, ops
from minigrad.testing import gradcheck, strategies as draws

few = settings(max_examples=15)  # each example is a Jacobian; the geometries are small

SHAPES = draws.shapes(max_dims=3, max_side=4, min_side=0)


@given(draws.broadcastable(3))
def test_broadcastable_shapes_broadcast(shapes: Any) -> None:
    assert len(shapes) == 3
    np.broadcast_shapes(*shapes)


@given(SHAPES, st.data())
def test_layouts_keep_the_numbers(shape: Any, data: Any) -> None:
    x = data.draw(draws.arrays(shape))
    for layout in draws.LAYOUTS:
        y = layout(x)
        np.testing.assert_array_equal(x, y)
        assert y.shape == x.shape
        assert not np.shares_memory(x, y)


def test_layouts_are_what_they_say() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert draws.column_major(x).flags.f_contiguous
    assert draws.reversed_strides(x).strides == (-24, -8)
    assert draws.gaps(x).strides == (48, 16)
    assert draws.repeated(x).strides[-1] == 0
    np.testing.assert_array_equal(draws.repeated(x), [[0, 0, 0], [3, 3, 3]])


@given(draws.shapes(max_dims=2, max_side=6), st.data())
def test_values_are_separated_tied_or_not_small(shape: Any, data: Any) -> None:
    x = np.sort(data.draw(draws.separated(shape)), axis=None)
    assert (np.diff(x) > 0.05).all() and (abs(x) > 0.01).all()
    tied = data.draw(draws.tied(shape, values=2))
    assert set(np.unique(tied)) <= {0.0, 1.0}
    v = data.draw(draws.cotangents(shape, dtype=np.float32))
    assert v.dtype == np.float32
    assert (abs(v) >= 0.5).all() and (abs(v) <= 1.5).all()


@given(st.integers(1, 40), st.data())
def test_block_edges(block: int, data: Any) -> None:
    size = data.draw(draws.block_edges(block))
    edges = {0, 1, block - 1, block, block + 1, 2 * block + 1}
    assert size in edges or (size > block + 1 and all(size % d for d in range(2, size)))


@given(draws.tensors())
def test_tensors_require_gradients(x: Any) -> None:
    assert isinstance(x, Tensor)
    assert x.requires_grad and x.dtype == np.float64


@given(draws.tensors((2, 3), np.float32, draws.separated, draws.gaps))
def test_tensors_as_asked_for(x: Any) -> None:
    assert x.shape == (2, 3) and x.dtype == np.float32
    assert len(np.unique(x.data)) == 6 and not x.is_contiguous()


@given(draws.conv2d_problems())
def test_convolution_problems_have_an_output(p: Any) -> None:
    for i in range(2):
        span = (p.kernel[i] - 1) * p.dilation[i] + 1
        assert p.x[2 + i] + 2 * p.padding[i] >= span
    assert p.x[1] % p.groups == 0 and p.weight[0] % p.groups == 0


@given(draws.pool2d_problems())
def test_pooling_problems_have_an_output_and_little_padding(p: Any) -> None:
    for i in range(2):
        assert p.x[2 + i] + 2 * p.padding[i] >= (p.kernel[i] - 1) * p.dilation[i] + 1
        assert 2 * p.padding[i] <= p.kernel[i]


# Operations on drawn problems, to second order


def check(function: Any, arrays: list[np.ndarray], kind: str) -> None:
    verdict = gradcheck(function, arrays, order=2, kind=kind)
    assert verdict.ok, str(verdict)


@few
@given(draws.matmul_problems(max_side=3), st.data())
def test_matmul_of_any_shapes(p: Any, data: Any) -> None:
    a, b = data.draw(draws.arrays(p.a)), data.draw(draws.arrays(p.b))
    np.testing.assert_allclose(ops.matmul(a, b).data, np.matmul(a, b), rtol=1e-13, atol=1e-13)
    check(ops.matmul, [a, b], "bilinear")


@few
@given(draws.conv2d_problems(max_kernel=2, max_extra=2), st.data())
def test_conv2d_of_any_geometry(p: Any, data: Any) -> None:
    x, w = data.draw(draws.arrays(p.x)), data.draw(draws.arrays(p.weight))
    check(
        lambda x, w: ops.conv2d(x, w, None, p.stride, p.padding, p.dilation, p.groups),
        [x, w],
        "bilinear",
    )


@few
@given(draws.pool2d_problems(max_extra=2), st.booleans(), st.data())
def test_pooling_of_any_geometry(p: Any, ceil_mode: bool, data: Any) -> None:
    x = data.draw(draws.separated(p.x))
    check(
        lambda x: ops.max_pool2d(x, p.kernel, p.stride, p.padding, p.dilation, ceil_mode),
        [x],
        "piecewise",
    )
    check(lambda x: ops.avg_pool2d(x, p.kernel, p.stride, p.padding, ceil_mode), [x], "linear")


@few
@given(draws.broadcastable(2), st.sampled_from(["add", "sub", "mul", "div"]), st.data())
def test_arithmetic_broadcasts(shapes: Any, name: str, data: Any) -> None:
    a = data.draw(draws.arrays(shapes[0]))
    b = data.draw(draws.arrays(shapes[1], low=0.5))
    kinds = {"add": "linear", "sub": "linear", "mul": "bilinear", "div": "analytic"}
    check(getattr(ops, name), [a, b], kinds[name])


def test_drawn_geometries_tell_dilation_from_none() -> None:
    """A convolution that ignores its dilation is found out by some drawn problem."""

    @settings(max_examples=300)  # no Jacobians here
    @given(draws.conv2d_problems(max_kernel=2, max_extra=2), st.integers(0, 100))
    def spoilt(p: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=p.x), rng.normal(size=p.weight)
        right = ops.conv2d(x, w, None, p.stride, p.padding, p.dilation, p.groups)
        wrong = ops.conv2d(x, w, None, p.stride, p.padding, 1, p.groups)
        assert right.shape == wrong.shape and np.allclose(right.data, wrong.data)

    with pytest.raises(AssertionError):
        spoilt()
