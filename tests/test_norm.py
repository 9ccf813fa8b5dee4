"""Batch and layer norm: values, running statistics, extremes. Gradients are tested centrally."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad_kernels import BACKENDS, KERNELS


@pytest.fixture
def rng():
    return np.random.default_rng(41)


def batch_norm_by_hand(x, w, b, eps):
    """One channel after the other, in float64; also the mean and both variances of each."""
    y = np.empty(x.shape)
    statistics = []
    for c in range(x.shape[1]):
        values = [float(v) for v in x[:, c].ravel()]
        n = len(values)
        mean = sum(values) / n
        squares = sum((v - mean) ** 2 for v in values)
        y[:, c] = (x[:, c] - mean) / np.sqrt(squares / n + eps) * w[c] + b[c]
        statistics.append((mean, squares / n, squares / (n - 1)))
    return y, np.array(statistics).T


def layer_norm_by_hand(x, dims, w, b, eps):
    y = np.empty(x.shape)
    for index in np.ndindex(x.shape[:-dims]):
        row = x[index]
        mean = row.sum() / row.size
        variance = ((row - mean) ** 2).sum() / row.size
        y[index] = (row - mean) / np.sqrt(variance + eps) * w + b
    return y


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (2, 3, 4, 5), (2, 1, 1, 1), (2, 2, 2, 1, 3)])
def test_batch_norm_in_training(rng, shape):
    x = rng.normal(size=shape) * 3 + 2
    w, b, running_mean, running_var = rng.uniform(0.5, 2, size=(4, shape[1]))
    wanted, (mean, _, unbiased) = batch_norm_by_hand(x, w, b, 1e-3)
    m, v = mg.tensor(running_mean), mg.tensor(running_var)
    y = ops.batch_norm(x, m, v, w, b, training=True, momentum=0.3, eps=1e-3)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(m.numpy(), 0.7 * running_mean + 0.3 * mean, rtol=1e-13)
    np.testing.assert_allclose(v.numpy(), 0.7 * running_var + 0.3 * unbiased, rtol=1e-13)


def test_batch_norm_in_evaluation(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    w, b, m, v = rng.uniform(0.5, 2, size=(4, 3))
    wanted = np.empty(x.shape)
    for c in range(3):
        wanted[:, c] = (x[:, c] - m[c]) / np.sqrt(v[c] + 1e-5) * w[c] + b[c]
    mean, var = mg.tensor(m), mg.tensor(v)
    np.testing.assert_allclose(ops.batch_norm(x, mean, var, w, b).numpy(), wanted, rtol=1e-12)
    assert mean.tolist() == m.tolist() and var.tolist() == v.tolist()
    plain = ops.batch_norm(x, mean, var).numpy()
    np.testing.assert_allclose(plain * w[:, None, None] + b[:, None, None], wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "dims"), [((5, 3), 1), ((4, 3, 6), 2), ((2, 3, 4), 3), ((7,), 1)]
)
def test_layer_norm(rng, shape, dims):
    x = rng.normal(size=shape) * 3 + 2
    w, b = rng.normal(size=(2, *shape[-dims:]))
    wanted = layer_norm_by_hand(x, dims, w, b, 1e-3)
    y = ops.layer_norm(x, shape[-dims:], w, b, 1e-3)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12, atol=1e-13)
    wanted = layer_norm_by_hand(x, dims, 1, 0, 1e-5)
    np.testing.assert_allclose(ops.layer_norm(x, shape[-dims:]).numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_small_types_far_from_zero(rng, dtype):
    """The mean is subtracted before squares are summed: a large mean costs no accuracy."""
    x = (rng.normal(size=(16, 3, 8)) + 200).astype(dtype)
    wanted, _ = batch_norm_by_hand(x.astype(np.float64), np.ones(3), np.zeros(3), 1e-5)
    y = ops.batch_norm(x, None, None, training=True).numpy()
    assert y.dtype == dtype
    # float16: the result, below 4, is rounded by 2**-10 at worst. float32: the mean, near 200, is
    # off by some 2**-17, and more in units of a deviation below 1; squaring first would lose 2e-3.
    atol = {np.float16: 2e-3, np.float32: 1e-4}[dtype]
    np.testing.assert_allclose(y, wanted, rtol=0, atol=atol)
    wanted = layer_norm_by_hand(x.astype(np.float64), 1, 1, 0, 1e-5)
    y = ops.layer_norm(x, 8).numpy()
    assert y.dtype == dtype
    np.testing.assert_allclose(y, wanted, rtol=0, atol=atol)


def test_running_variance_much_smaller_than_eps():
    """It is not recovered from 1 / sqrt(var + eps), which would lose it."""
    x = np.array([[1.0], [1.0001]], np.float32)
    m, v = mg.zeros(1), mg.zeros(1)
    ops.batch_norm(x, m, v, training=True, momentum=1.0)
    wanted = np.var(x.astype(np.float64), ddof=1)
    np.testing.assert_allclose(v.numpy(), wanted, rtol=2e-3)  # x itself is rounded to 6e-8 of 1e-4


def test_constant_groups_give_the_bias():
    b = mg.tensor([7.0, 8.0])
    y = ops.batch_norm(mg.ones(3, 2), None, None, None, b, training=True)
    assert y.tolist() == [[7.0, 8.0]] * 3
    assert ops.layer_norm(mg.ones(3, 2), 2, None, b).tolist() == [[7.0, 8.0]] * 3


def test_a_constant_group_without_eps_is_not_a_number_and_warns_nobody():
    assert np.isnan(ops.batch_norm(mg.ones(3, 1), None, None, training=True, eps=0).numpy()).all()
    assert np.isnan(ops.layer_norm(mg.ones(1, 3), 3, eps=0).numpy()).all()


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (ValueError, "weight has shape", {"weight": mg.ones(3)}),
        (TypeError, "weight is float64", {"weight": np.ones(2)}),
        (ValueError, "momentum", {"momentum": 1.5}),
        (ValueError, "eps", {"eps": float("nan")}),
        (ValueError, "running_var has shape", {"running_var": mg.ones(5)}),
        (ValueError, "running_var is not", {"running_var": mg.tensor([1, 1])}),
    ],
)
def test_refused_input_leaves_the_running_statistics(error, words, options):
    m = mg.zeros(2)
    options = {"running_mean": m, "running_var": mg.ones(2), **options}
    with pytest.raises(error, match=words):
        ops.batch_norm(mg.tensor([[1.0, 2.0], [3.0, 5.0]]), training=True, **options)
    assert m.tolist() == [0, 0]


def test_a_read_only_running_statistic_is_refused_before_the_other_changes():
    m, v = mg.zeros(2), mg.ones(1).expand(2)
    v.data.flags.writeable = False
    with pytest.raises(ValueError, match="running_var is not"):
        ops.batch_norm(mg.tensor([[1.0, 2.0], [3.0, 5.0]]), m, v, training=True)
    assert m.tolist() == [0, 0]


def test_training_between_an_evaluation_and_its_backward():
    """The running statistics of the evaluation are remembered, not those of the backward pass."""
    x = mg.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    w = mg.ones(2, requires_grad=True)
    m, v = mg.zeros(2), mg.ones(2)
    y = ops.batch_norm(x, m, v, w, eps=0)
    ops.batch_norm(x.detach(), m, v, training=True)
    y.backward(mg.ones(2, 2))
    assert x.grad.tolist() == [[1, 1], [1, 1]] and w.grad.tolist() == [4, 7]


def test_a_change_of_the_input_before_backward_is_noticed():
    x = mg.tensor([[1.0, 2.0], [3.0, 5.0]])
    w = mg.ones(2, requires_grad=True)
    y = ops.batch_norm(x, None, None, w, training=True)
    x += 1
    with pytest.raises(RuntimeError, match="batch_norm .* changed in place"):
        y.backward(mg.ones(2, 2))


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm"])
def test_gradients_computed_together_are_those_of_each_pass(rng, name):
    """A pass for the input alone leaves the others' gradients behind: they must not turn up later,
    with a cotangent that changed, nor twice."""
    x, w, b = (mg.tensor(rng.normal(size=s), requires_grad=True) for s in ((5, 4), (4,), (4,)))
    v = mg.tensor(rng.normal(size=(5, 4)))
    arguments = (None, None, w, b, True) if name == "batch_norm" else ((4,), w, b)
    y = getattr(ops, name)(x, *arguments)
    together = mg.grad(y, [x, w, b], v, retain_graph=True)
    alone = [mg.grad(y, [t], v, retain_graph=True)[0] for t in (w, b)]
    for one, other in zip(together[1:], alone, strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12)
        assert not np.may_share_memory(one.data, other.data)

    mg.grad(y, [x], v, retain_graph=True)
    v.mul_(2)
    for one, t in zip(together[1:], (w, b), strict=True):
        np.testing.assert_allclose(mg.grad(y, [t], v, retain_graph=True)[0].data, 2 * one.data)
    mg.grad(y, [x], v, retain_graph=True)
    first, second = (mg.grad(y, [w], v, retain_graph=True)[0] for _ in range(2))
    np.testing.assert_allclose(first.data, second.data, rtol=1e-12)
    assert not np.may_share_memory(first.data, second.data)


@pytest.mark.parametrize("last", [False, True])
def test_statistics_far_from_zero(rng, last):
    """In float32, of many numbers around 1000: rounded once or twice, nothing cancels."""
    x = (rng.normal(size=(8, 20, 24, 20)) + 1000).astype("f4")
    exact = x.astype("f8")
    mean, var = exact.mean((0, 2, 3)), exact.var((0, 2, 3))
    normal = (exact - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
    array = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x
    running = mg.tensor(np.zeros(20, "f4")), mg.tensor(np.zeros(20, "f4"))
    y = ops.batch_norm(mg.as_tensor(array), *running, training=True, momentum=1.0)
    # A mean near 1000 is rounded to multiples of 6e-5, and so is what is subtracted.
    np.testing.assert_allclose(y.data, normal, rtol=0, atol=2e-4)
    np.testing.assert_allclose(running[0].data, mean, rtol=2e-7)
    np.testing.assert_allclose(running[1].data, var * (3840 / 3839), rtol=1e-5)


ON_THE_CPU = [
    pytest.param(name, i, id=f"{name}-{i.label}")
    for name in ("layer_norm", "batch_norm")
    for i in KERNELS[name].implementations
    if "numpy" in BACKENDS[i.backend].arrays and BACKENDS[i.backend].available
]


@pytest.mark.parametrize("length", [5, 8, 130, 2000])  # lanes, teams, loads of one and several
@pytest.mark.parametrize(("name", "i"), ON_THE_CPU)
def test_a_variance_that_overflows(rng, name, i, length):
    """It is infinite, x^ is 0, and y the bias; no NaN. In float64 it does not overflow, and tells
    that a scaled x would have a result."""
    rows = (rng.uniform(-1, 1, (3, length)) * 1e20).astype("f4")
    x = rows if name == "layer_norm" else np.ascontiguousarray(rows.T)
    size = x.shape[1]
    weight, bias, g = np.full(size, 2, "f4"), np.arange(size, dtype="f4"), np.ones_like(x)
    with np.errstate(over="ignore"):
        y, mean, var = i.run(x, weight, bias, eps=1e-5)
        gradients = next(
            j for j in KERNELS[f"{name}_gradients"].implementations if j.label == i.label
        )
        dx, dw, db = gradients.run(g, x, weight, mean, var, eps=1e-5)
    np.testing.assert_array_equal(var, np.full(3, np.inf))
    np.testing.assert_array_equal(y, np.broadcast_to(bias, x.shape))
    np.testing.assert_allclose(mean, rows.astype("f8").mean(1), rtol=0, atol=1e20 * 1e-5)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    np.testing.assert_array_equal(dw, np.zeros(size))
    np.testing.assert_array_equal(db, np.full(size, len(x)))
    true, _, in_float64 = KERNELS[name].reference(x.astype("f8"), None, None, eps=1e-5)
    assert in_float64.min() > np.finfo(np.float32).max and 1 < np.abs(true).max() < 3
