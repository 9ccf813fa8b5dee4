"""Reductions and scans: values, types, edges. All gradients: see test_every_operation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import ops

REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "amax": np.max,
    "amin": np.min,
    "all": np.all,
    "any": np.any,
    "logsumexp": lambda x, axis, keepdims: np.asarray(
        scipy.special.logsumexp(x, axis=axis, keepdims=keepdims)
    ),
    "var": lambda x, axis, keepdims: np.var(x, axis, ddof=0, keepdims=keepdims),
    "std": lambda x, axis, keepdims: np.std(x, axis, ddof=0, keepdims=keepdims),
    "norm": lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis, keepdims=keepdims)),
}
INFINITY = math.inf


def leaf(data, dtype=np.float64):
    return mg.tensor(np.asarray(data, dtype), requires_grad=True)


def gradient(function, data, cotangent=None):
    x = leaf(data)
    y = function(x)
    return mg.grad(y, x, np.ones(y.shape) if cotangent is None else np.asarray(cotangent))[0]


def second_derivatives(function, data):
    """The matrix of second derivatives of a function to one number of a vector."""
    x = leaf(data)
    (g,) = mg.grad(function(x), x, create_graph=True)
    rows = [mg.grad(g[i], x, retain_graph=True)[0].tolist() for i in range(len(data))]
    return np.array(rows)


@st.composite
def reductions(draw, **shapes):
    """An array, some of its axes, and whether they stay."""
    shape = draw(hnp.array_shapes(max_dims=4, max_side=4, **shapes))
    x = np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape)
    axes = draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    dim = tuple(a - x.ndim if draw(st.booleans()) else a for a in axes)
    return x, draw(st.sampled_from([None, dim, dim[0]])), draw(st.booleans())


@given(case=reductions())
@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_is_numpys(name, case):
    x, dim, keepdim = case
    options = {"correction": 0} if name in ("var", "std") else {}
    y = getattr(mg, name)(x, dim=dim, keepdim=keepdim, **options)
    wanted = REDUCTIONS[name](x, axis=dim, keepdims=keepdim)
    assert y.shape == wanted.shape
    assert y.dtype == wanted.dtype
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod"])
def test_sums_and_products_of_integers_and_booleans_are_int64(name):
    options = {"dim": 0} if name.startswith("cum") else {}
    for x in (np.array([100, 2, 1], np.int8), np.array([True, True, False])):
        y = getattr(mg, name)(x, **options)
        assert y.dtype == np.int64
        assert y.tolist() == getattr(np, name)(x.astype(np.int64)).tolist()


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "norm", "prod", "amax", "cumsum"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_type_stays(name, dtype):
    options = {"dim": 0} if name == "cumsum" else {}
    assert getattr(mg, name)(np.ones(3, dtype), **options).dtype == dtype


@pytest.mark.parametrize(
    "name", ["sum", "mean", "prod", "cumsum", "cumprod", "softmax", "log_softmax"]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_a_type_can_be_asked_for(name, dtype):
    options = {} if name in ("sum", "mean", "prod") else {"dim": 0}
    x, function = mg.tensor([1, 2, 3]), getattr(mg, name)
    if dtype == np.int32 and name in ("mean", "softmax", "log_softmax"):
        with pytest.raises(TypeError, match="wants floating-point numbers, got int32"):
            function(x, **options, dtype=dtype)
        return
    y = function(x, **options, dtype=dtype)
    assert y.dtype == dtype
    assert y.tolist() == function(x.to(dtype), **options).tolist()
    assert y.tolist() == getattr(x, name)(**options, dtype=dtype).tolist()
    if dtype == np.float64:
        t = mg.tensor([1.0, 2.0], requires_grad=True)
        function(t, **options, dtype=dtype).sum().backward()
        assert t.grad.dtype == np.float32


def test_float16_is_summed_in_float32():
    x = np.ones((4096, 1), np.float16)
    assert mg.sum(x, 0).item() == 4096.0  # float16 counts to 2048, then 2048 + 1 = 2048
    assert mg.mean(x, 0).item() == 1.0
    assert mg.norm(x, dim=0).item() == 64.0


def test_numbers_of_float16_may_have_squares_that_it_cannot_hold():
    for scale in (100.0, 1e-4):  # squares of 300 and of 3e-4 are infinite and 0
        x = np.array([3.0, 4.0], np.float16) * np.float16(scale)
        for p in (2, 3):
            wanted = np.linalg.norm(x.astype("f8"), p)
            assert mg.norm(x, p).item() == pytest.approx(wanted, rel=1e-3)  # float16's precision
        wanted = np.std(x.astype("f8"), ddof=1)
        assert mg.std(x).item() == pytest.approx(wanted, rel=1e-3)
        t = mg.tensor(x, requires_grad=True)
        mg.norm(t).backward()
        np.testing.assert_allclose(t.grad.numpy(), [0.6, 0.8], rtol=2e-3)  # two roundings


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_running_sums_and_products_do_not_gather_errors(dtype, rng):
    n = 5000 if dtype == np.float16 else 200_000
    x = rng.uniform(0.5, 1.5, n).astype(dtype)
    for name, numbers in (("cumsum", x), ("cumprod", x[:200])):
        wanted = getattr(np, name)(numbers.astype("f8"))
        # One rounding, of half an eps; one by one in the type they would come to tens and more.
        np.testing.assert_allclose(
            getattr(mg, name)(numbers, 0).numpy(), wanted, rtol=np.finfo(dtype).eps
        )


def test_no_dims_are_all_dims():
    assert mg.sum([[1.0, 2.0]], dim=()).item() == 3.0
    assert mg.mean([[1.0, 2.0]], dim=[]).item() == 1.5


def test_numbers_have_the_dims_0_and_minus_1():
    for dim in (0, -1):
        assert mg.sum(3.0, dim).item() == 3.0
        assert mg.max(mg.tensor(3.0), dim).indices.item() == 0
        assert mg.argmax(3.0, dim).item() == 0
        assert mg.cumsum(3.0, dim).item() == 3.0
        with pytest.raises(IndexError, match="sum: dim is 1, but a tensor with 0 dimensions"):
            mg.sum(3.0, 1)


# Empty


def test_reductions_of_nothing():
    x = mg.zeros(2, 0)
    assert mg.sum(x, 1).tolist() == [0.0, 0.0]
    assert mg.prod(x, 1).tolist() == [1.0, 1.0]
    assert mg.all(x, 1).tolist() == [True, True]
    assert mg.any(x, 1).tolist() == [False, False]
    assert mg.logsumexp(x, 1).tolist() == [-INFINITY, -INFINITY]
    assert mg.norm(x, dim=1).tolist() == [0.0, 0.0]
    assert np.isnan(mg.mean(x, 1).numpy()).all()
    assert np.isnan(mg.var(x, 1).numpy()).all()
    assert mg.cumsum(x, 1).shape == mg.cumprod(x, 1).shape == (2, 0)
    assert mg.sum(x, 0).shape == mg.amax(x, 0).shape == mg.argmax(x, 0).shape == (0,)
    assert mg.max(x, 0).values.shape == (0,)


@pytest.mark.parametrize("function", [mg.amax, mg.amin, mg.max, mg.min, mg.argmax, mg.argmin])
def test_nothing_has_no_largest_element(function):
    with pytest.raises(ValueError, match=r"shape \(2, 0\) has no elements along dim \(1,\)"):
        function(mg.zeros(2, 0), 1)
    with pytest.raises(ValueError, match="no elements"):
        function(mg.zeros(2, 0))


# Largest and smallest


@given(case=reductions(min_dims=1))
def test_max_and_min_with_an_index(case):
    x, _, keepdim = case
    x = np.round(x)  # ties
    for dim in range(-x.ndim, x.ndim):
        for function, best, place in ((mg.max, np.max, np.argmax), (mg.min, np.min, np.argmin)):
            values, indices = function(x, dim, keepdim)
            np.testing.assert_array_equal(values.numpy(), best(x, dim, keepdims=keepdim))
            np.testing.assert_array_equal(indices.numpy(), place(x, dim, keepdims=keepdim))
            assert indices.dtype == np.int64


def test_who_gets_the_gradient_of_a_tie():
    x = [[1.0, 7.0, 7.0], [2.0, 2.0, 2.0]]
    share = [[0.0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(gradient(lambda x: x.amax(1), x).numpy(), share)
    assert gradient(lambda x: x.max(), x).tolist() == [[0, 0.5, 0.5], [0, 0, 0]]
    assert gradient(lambda x: x.max(1).values, x).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert gradient(lambda x: x.min(0)[0], x).tolist() == [[1, 0, 0], [0, 1, 1]]


def test_max_of_two_tensors_is_maximum():
    a, b = mg.tensor([1.0, 5.0]), mg.tensor([3.0, 4.0])
    assert mg.max(a, b).tolist() == [3.0, 5.0]
    assert mg.min(a, b).tolist() == [1.0, 4.0]


def test_nan_is_the_largest_and_the_smallest_and_gets_the_gradient():
    x = [1.0, math.nan, 3.0]
    for function, place in ((mg.max, mg.argmax), (mg.min, mg.argmin)):
        assert math.isnan(function(x).item())
        assert place(x).item() == function(x, 0).indices.item() == 1
        assert gradient(function, x).tolist() == [0.0, 1.0, 0.0]


def test_argmax_without_dim_counts_in_row_major_order():
    x = [[1, 9, 3], [4, 5, 9]]
    assert mg.argmax(x).item() == 1
    assert mg.argmin(x, keepdim=True).tolist() == [[0]]


# Variance


def test_correction():
    x = [1.0, 2.0, 4.0, 9.0]
    assert mg.var(x).item() == pytest.approx(np.var(x, ddof=1))
    assert mg.std(x, correction=0).item() == pytest.approx(np.std(x))
    assert mg.var(x, correction=2.5).item() == pytest.approx(np.var(x) * 4 / 1.5)
    assert math.isnan(mg.var([1.0]).item())
    assert mg.var([1.0, 2.0], correction=2).item() == INFINITY


def test_the_standard_deviation_of_equals_has_the_gradient_zero():
    assert gradient(mg.std, [2.0, 2.0, 2.0]).tolist() == [0.0, 0.0, 0.0]
    assert not second_derivatives(mg.std, [2.0, 2.0, 2.0]).any()


# Norms


@pytest.mark.parametrize("p", [1, 2, 3, 0.5, -1.5, INFINITY, -INFINITY, 0])
@given(case=reductions())
def test_norms_are_numpys(p, case):
    x, _, keepdim = case
    wanted = np.linalg.norm(x, p, axis=-1, keepdims=keepdim) if x.size else None
    y = mg.norm(x, p, dim=-1, keepdim=keepdim)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3, 0.5, -1.5, 0, "fro"])
def test_norms_have_the_gradient_zero_at_zero(p):
    assert mg.norm([0.0, 0.0], p).item() == 0.0
    assert gradient(lambda x: mg.norm(x, p), [0.0, 0.0]).tolist() == [0.0, 0.0]


def test_a_norm_does_not_divide_by_elements_that_are_zero():
    assert gradient(lambda x: mg.norm(x, 0.5), [0.0, 4.0]).tolist() == [0.0, 1.0]
    np.testing.assert_allclose(gradient(mg.norm, [0.0, 3.0, 4.0]).numpy(), [0, 0.6, 0.8])


# The logarithm of a sum of exponentials


def test_logsumexp_at_the_ends_of_the_range():
    x = [[1e4, 1e4], [-1e4, -1e4], [-INFINITY, -INFINITY], [INFINITY, 0.0], [-INFINITY, 2.0]]
    y = mg.logsumexp(mg.tensor(np.array(x)), 1)
    log2 = math.log(2)
    np.testing.assert_allclose(
        y.numpy(), [1e4 + log2, -1e4 + log2, -INFINITY, INFINITY, 2.0], rtol=1e-15
    )
    g = gradient(lambda x: mg.logsumexp(x, 1), [*x[:3], x[4]])
    np.testing.assert_allclose(g.numpy(), [[0.5, 0.5], [0.5, 0.5], [0, 0], [0, 1]])


# Products, which must be right where elements are zero


def product_of(x, i):
    return math.prod(x[:i] + x[i + 1 :])


@pytest.mark.parametrize("x", [[2.0, 3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 3.0, 0.0], [0.0] * 3])
def test_the_gradient_of_a_product_is_the_product_of_the_others(x):
    assert gradient(mg.prod, x).tolist() == [product_of(x, i) for i in range(3)]
    wanted = np.zeros((3, 3))
    for i, j in itertools.permutations(range(3), 2):
        wanted[i, j] = x[3 - i - j]
    np.testing.assert_array_equal(second_derivatives(mg.prod, x), wanted)


@pytest.mark.parametrize("x", [[2.0, 3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 3.0, 0.0]])
def test_the_gradient_of_running_products(x):
    g = [1.0, 10.0, 100.0]
    wanted = [sum(g[t] * product_of(x[: t + 1], i) for t in range(i, 3)) for i in range(3)]
    assert gradient(lambda x: mg.cumprod(x, 0), x, g).tolist() == wanted


def test_a_product_over_several_dims():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    g = gradient(lambda x: mg.prod(x, (0, 2)), x)
    np.testing.assert_allclose(g.numpy(), np.prod(x, (0, 2), keepdims=True) / x)


# Scans


@given(case=reductions(min_dims=1))
def test_scans_are_numpys(case):
    x, _, _ = case
    for dim in range(-x.ndim, x.ndim):
        np.testing.assert_array_equal(mg.cumsum(x, dim).numpy(), np.cumsum(x, dim))
        np.testing.assert_array_equal(mg.cumprod(x, dim).numpy(), np.cumprod(x, dim))


@given(n=st.integers(0, 40), seed=st.integers(0, 99))
def test_a_recurrence_is_a_loop(n, seed):
    a, x = np.random.default_rng(seed).uniform(-1.5, 1.5, (2, 3, n))
    y, h = np.zeros((3, n)), np.zeros(3)
    for t in range(n):
        h = y[:, t] = a[:, t] * h + x[:, t]
    np.testing.assert_allclose(ops.recurrence(a, x, 1).numpy(), y, rtol=1e-9, atol=1e-9)


def test_shift():
    x = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert ops.shift(x, 1).tolist() == [[0.0, 1.0, 2.0], [0.0, 4.0, 5.0]]
    assert ops.shift(x, 0, 9).tolist() == [[9.0, 9.0, 9.0], [1.0, 2.0, 3.0]]
    assert ops.shift(mg.zeros(0), 0, 9).shape == (0,)


# Memory


def test_the_gradient_of_a_sum_is_a_view_until_it_is_kept():
    x = leaf(np.ones((3, 4)))
    (g,) = mg.grad(x.sum(), x)
    assert g.data.flags.owndata  # nobody else's memory: it can be changed in place
    g.add_(1)
    assert (g == 2).all()
