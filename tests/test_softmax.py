"""Softmax, log-softmax, linear layers and embeddings: against SciPy, and loops written out."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes
from scipy import special

import minigrad as mg
from minigrad import ops
from minigrad_kernels import KERNELS

PAIRS = [(ops.softmax, special.softmax), (ops.log_softmax, special.log_softmax)]
BOTH = pytest.mark.parametrize(("function", "reference"), PAIRS, ids=["softmax", "log_softmax"])


@BOTH
@given(array_shapes(min_dims=1, max_dims=4, max_side=5), st.data())
def test_values_are_scipys(function, reference, shape, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    scale = data.draw(st.sampled_from([1.0, 30.0, 1e4]))
    x = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=shape) * scale
    wanted = reference(x, axis=dim)
    np.testing.assert_allclose(function(x, dim).data, wanted, rtol=1e-12, atol=1e-12)
    strided = np.repeat(x, 2, axis=-1)[..., ::2]
    np.testing.assert_array_equal(function(strided, dim).data, function(x, dim).data)


@BOTH
def test_the_type_stays(function, reference, rng):
    for dtype in (np.float16, np.float32, np.float64):
        x = mg.tensor(rng.normal(size=(3, 4)).astype(dtype), requires_grad=True)
        y = function(x, 1)
        assert y.dtype == dtype
        assert mg.grad(y, x, np.ones((3, 4), dtype))[0].dtype == dtype


def test_a_single_number_and_nothing():
    assert ops.softmax(3.0, 0).item() == 1
    assert ops.log_softmax(3.0, -1).item() == 0
    for function in (ops.softmax, ops.log_softmax):
        assert function(np.zeros((0, 3)), 1).shape == (0, 3)
        assert function(np.zeros((3, 0)), 1).shape == (3, 0)


def test_infinite_scores():
    inf = np.inf
    x = np.array([[0, -inf, 0], [-inf, -inf, -inf], [inf, 0, 0]])
    np.testing.assert_allclose(ops.softmax(x, 1).data, [[0.5, 0, 0.5], [np.nan] * 3, [np.nan] * 3])
    half = np.log(0.5)
    np.testing.assert_allclose(ops.log_softmax(x[:1], 1).data, [[half, -inf, half]])
    t = mg.tensor(x[0], requires_grad=True)
    (g,) = mg.grad(ops.log_softmax(t, 0), t, np.array([1.0, 0, 0]))
    np.testing.assert_allclose(g.data, [0.5, 0, -0.5])


@pytest.mark.parametrize("dim", [0, 1])
def test_float16_is_summed_in_float32(dim):
    x = np.zeros((4096, 4096), np.float16)[: 4096 if dim == 0 else 2, : 4096 if dim else 2]
    assert (ops.softmax(x, dim).numpy() == np.float16(1 / 4096)).all()
    y = ops.log_softmax(x, dim).numpy()
    np.testing.assert_allclose(y, -np.log(4096), rtol=1e-3)  # float16's precision
    g = np.ones_like(x)
    sums = ops.softmax_gradient(g, g, dim), ops.log_softmax_gradient(g, np.zeros_like(x), dim)
    for found in sums:
        np.testing.assert_allclose(found.numpy(), -4095, rtol=1e-3)


def test_a_shift_of_the_scores_changes_nothing_even_in_float32(rng):
    x = rng.integers(-3, 4, (5, 7)).astype("f4")  # exact beside 1e4
    for function in (ops.softmax, ops.log_softmax):
        np.testing.assert_array_equal(function(x + np.float32(1e4), 1).data, function(x, 1).data)


def test_gradients_against_the_jacobian_written_out(rng):
    x = mg.tensor(rng.normal(size=5), requires_grad=True)
    c = rng.normal(size=5)
    p = special.softmax(x.data)
    wanted = np.zeros(5)
    for i in range(5):
        for j in range(5):
            wanted[j] += c[i] * p[i] * ((i == j) - p[j])
    np.testing.assert_allclose(mg.grad(ops.softmax(x, 0), x, c)[0].data, wanted, rtol=1e-12)
    wanted = np.array([sum(c[i] * ((i == j) - p[j]) for i in range(5)) for j in range(5)])
    np.testing.assert_allclose(mg.grad(ops.log_softmax(x, 0), x, c)[0].data, wanted, rtol=1e-12)


# Linear


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_and_its_gradients_against_loops(batch, with_bias, rng):
    x, w, b = rng.normal(size=(*batch, 3)), rng.normal(size=(2, 3)), rng.normal(size=2)
    c = rng.normal(size=(*batch, 2))
    y, gx, gw, gb = np.zeros_like(c), np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    for n in np.ndindex(batch):
        for o in range(2):
            y[n][o] = b[o] * with_bias
            gb[o] += c[n][o]
            for i in range(3):
                y[n][o] += x[n][i] * w[o, i]
                gx[n][i] += c[n][o] * w[o, i]
                gw[o, i] += c[n][o] * x[n][i]
    inputs = [mg.tensor(a, requires_grad=True) for a in ((x, w, b) if with_bias else (x, w))]
    result = ops.linear(*inputs)
    np.testing.assert_allclose(result.data, y, rtol=1e-12, atol=1e-14)
    for found, wanted in zip(mg.grad(result, inputs, c), (gx, gw, gb), strict=False):
        np.testing.assert_allclose(found.data, wanted, rtol=1e-12, atol=1e-14)


def test_linear_mixes_types_as_arithmetic_does():
    x, w = mg.ones(2, 3), mg.ones(4, 3)
    assert ops.linear(x, w, mg.zeros(4, dtype=mg.float64)).dtype == mg.float64
    assert ops.linear(x, w.double()).dtype == mg.float64
    assert ops.linear(x, w, mg.zeros(4)).dtype == mg.float32


def test_linear_leaves_its_inputs_alone(rng):
    x, w, b = (rng.normal(size=s) for s in ((2, 3), (4, 3), (4,)))
    before = [a.copy() for a in (x, w, b)]
    ops.linear(x, w, b)
    for a, was in zip((x, w, b), before, strict=True):
        np.testing.assert_array_equal(a, was)


# Embedding


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 2)])
@pytest.mark.parametrize("padding", [None, 1, -1])
def test_embedding_and_its_gradient_against_loops(shape, padding, rng):
    index = rng.integers(0, 4, shape)
    table = mg.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    y = ops.embedding(index, table, padding)
    c = rng.normal(size=(*shape, 3))
    wanted = np.zeros((4, 3))
    for n in np.ndindex(shape):
        np.testing.assert_array_equal(y.data[n], table.data[index[n]])
        if padding is None or index[n] != padding % 4:
            wanted[index[n]] += c[n]
    (g,) = mg.grad(y, table, c)
    np.testing.assert_allclose(g.data, wanted, rtol=1e-13)


def test_the_gradient_of_an_embedding_is_the_same_in_every_run(rng):
    index = rng.integers(0, 3, 10_000)
    g = rng.normal(size=(10_000, 2)).astype("f4")
    kernel = KERNELS["embedding_gradient"]
    first = kernel(g, index, rows=3, skip=None)
    np.testing.assert_array_equal(kernel(g, index, rows=3, skip=None), first)
    exact = np.stack([g[index == k].sum(axis=0, dtype="f8") for k in range(3)])
    np.testing.assert_allclose(first, exact, atol=2e-3)  # 3,000 numbers of about 1 in float32


def test_embedding_takes_indices_of_any_integer_type():
    table = mg.tensor([[1.0], [2.0], [3.0]])
    for dtype in (np.uint8, np.int8, np.int32, np.int64):
        assert ops.embedding(np.array([2, 0], dtype), table).tolist() == [[3], [1]]
