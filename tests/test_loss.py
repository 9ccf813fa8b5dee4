"""Losses against loops written out, at the ends of the range, and what they refuse."""

import itertools
import math

import numpy as np
import pytest
from scipy import special

import minigrad as mg
from minigrad import ops

REDUCTIONS = ("none", "sum", "mean")


def reduced(losses, reduction, n=None):
    losses = np.asarray(losses)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / (losses.size if n is None else n)


# Cross-entropy


def cross_entropy_in_loops(x, target, weight, ignore_index, reduction, smoothing):
    """Sample by sample, place by place: x (N, C, d), target (N, d)."""
    N, C, D = x.shape
    w = np.ones(C) if weight is None else weight
    losses, total = np.zeros((N, D)), 0.0
    for n, d in itertools.product(range(N), range(D)):
        t = target[n, d]
        if t == ignore_index:
            continue
        log_p = x[n, :, d] - special.logsumexp(x[n, :, d])
        losses[n, d] = -(1 - smoothing) * w[t] * log_p[t]
        for c in range(C):
            losses[n, d] -= smoothing / C * w[c] * log_p[c]
        total += w[t]
    return reduced(losses, reduction, total)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignore_index", [-100, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_class_numbers(smoothing, reduction, ignore_index, weighted, rng):
    x = rng.normal(size=(4, 5, 3)) * 3
    target = rng.integers(0, 5, (4, 3))
    target[0, 0] = ignore_index
    w = rng.uniform(0.2, 2, 5) if weighted else None
    wanted = cross_entropy_in_loops(x, target, w, ignore_index, reduction, smoothing)
    found = ops.cross_entropy(x, target, w, ignore_index, reduction, smoothing)
    np.testing.assert_allclose(found.data, wanted, rtol=1e-12)
    flat = np.moveaxis(x, 1, -1).reshape(-1, 5)
    found = ops.cross_entropy(flat, target.ravel(), w, ignore_index, reduction, smoothing)
    np.testing.assert_allclose(found.data, np.ravel(wanted).reshape(found.shape), rtol=1e-12)
    if not smoothing:
        log_p = special.log_softmax(x, axis=1)
        found = ops.nll_loss(log_p, target, w, ignore_index, reduction)
        np.testing.assert_allclose(found.data, wanted, rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities(smoothing, reduction, weighted, rng):
    x, q = rng.normal(size=(3, 4, 2)), rng.dirichlet(np.ones(4), (3, 2)).transpose(0, 2, 1)
    w = rng.uniform(0.2, 2, 4) if weighted else None
    losses = np.zeros((3, 2))
    for n, d in itertools.product(range(3), range(2)):
        log_p = special.log_softmax(x[n, :, d])
        for c in range(4):
            share = q[n, c, d] * (1 - smoothing) + smoothing / 4
            losses[n, d] -= share * log_p[c] * (w[c] if weighted else 1)
    found = ops.cross_entropy(x, q, w, reduction=reduction, label_smoothing=smoothing)
    np.testing.assert_allclose(found.data, reduced(losses, reduction), rtol=1e-12)


def test_probabilities_of_one_class_are_its_number(rng):
    x, t = mg.tensor(rng.normal(size=(5, 4)), requires_grad=True), rng.integers(0, 4, 5)
    by_number = ops.cross_entropy(x, t, label_smoothing=0.1)
    by_probability = ops.cross_entropy(x, np.eye(4)[t], label_smoothing=0.1)
    assert by_number.item() == pytest.approx(by_probability.item(), rel=1e-13)
    a, b = (mg.grad(y, x)[0].data for y in (by_number, by_probability))
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_one_sample_without_a_batch(rng):
    x = rng.normal(size=4)
    found = ops.cross_entropy(x, 2)
    assert found.shape == ()
    assert found.item() == pytest.approx(special.logsumexp(x) - x[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_huge_scores_give_finite_losses_and_gradients(dtype, smoothing):
    x = mg.tensor(np.array([[1e4, -1e4], [-1e4, 1e4]], dtype), requires_grad=True)
    y = ops.cross_entropy(x, [0, 0], reduction="none", label_smoothing=smoothing)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.data, [1e4 * smoothing, 2e4 - 1e4 * smoothing], rtol=1e-6)
    (g,) = mg.grad(y, x, np.ones(2, dtype), create_graph=True)
    half = smoothing / 2
    wanted = [[half, -half], [half - 1, 1 - half]]
    np.testing.assert_allclose(g.data, wanted, rtol=1e-6, atol=1e-7)
    (again,) = mg.grad(g, x, np.ones((2, 2), dtype))
    np.testing.assert_array_equal(again.data, np.zeros((2, 2)))


def test_a_common_shift_of_the_scores_costs_no_precision():
    x = np.array([[0.0, 1.0, 2.0]], "f4")
    near, far = ops.cross_entropy(x, [1]), ops.cross_entropy(x + np.float32(1e4), [1])
    assert near.item() == far.item()


def test_impossible_classes_cost_infinitely_or_nothing():
    x = mg.tensor([[0.0, -np.inf]], requires_grad=True)
    assert ops.cross_entropy(x, [1]).item() == np.inf
    y = ops.cross_entropy(x, [0])
    assert y.item() == 0
    assert mg.grad(y, x)[0].tolist() == [[0, 0]]


@pytest.mark.parametrize("loss", [ops.cross_entropy, ops.nll_loss])
def test_skipped_samples_count_for_nothing_even_if_nan(loss):
    x = mg.tensor([[0.0, 1.0], [np.nan, np.nan], [-np.inf, 0.0]], requires_grad=True)
    y = loss(x, [1, -100, -100], reduction="sum")
    assert np.isfinite(y.item())
    assert np.isfinite(mg.grad(y, x)[0].data).all()
    assert mg.grad(loss(x, [1, -100, -100], reduction="sum"), x)[0].tolist()[1] == [0, 0]


@pytest.mark.parametrize("loss", [ops.cross_entropy, ops.nll_loss])
def test_the_mean_of_nothing_is_nan_and_its_sum_zero(loss):
    for x, target in ((np.zeros((2, 3)), [-100, -100]), (np.zeros((0, 3)), np.zeros(0, int))):
        assert math.isnan(loss(x, target).item())
        assert loss(x, target, reduction="sum").item() == 0


def test_the_gradient_is_softmax_minus_one_for_the_class(rng):
    x = mg.tensor(rng.normal(size=(6, 4)), requires_grad=True)
    t = rng.integers(0, 4, 6)
    (g,) = mg.grad(ops.cross_entropy(x, t), x)
    wanted = special.softmax(x.data, axis=1)
    for n in range(6):
        wanted[n, t[n]] -= 1
    np.testing.assert_allclose(g.data, wanted / 6, rtol=1e-12)


def test_the_hessian_of_cross_entropy_is_that_of_logsumexp(rng):
    x = mg.tensor(rng.normal(size=5), requires_grad=True)
    (g,) = mg.grad(ops.cross_entropy(x, 3), x, create_graph=True)
    p = special.softmax(x.data)
    rows = [mg.grad(g[i], x, retain_graph=True)[0].data for i in range(5)]
    np.testing.assert_allclose(rows, np.diag(p) - np.outer(p, p), rtol=1e-12, atol=1e-15)


def test_targets_of_any_integer_type():
    x = np.eye(3)
    wanted = ops.cross_entropy(x, np.arange(3)).item()
    for dtype in (np.uint8, np.int8, np.int32, np.uint64):
        assert ops.cross_entropy(x, np.arange(3).astype(dtype)).item() == wanted


def test_weights_of_classes_are_as_precise_as_the_scores(rng):
    x, weights = mg.tensor(rng.normal(size=(3, 4))), [0.1, 0.7, 0.3, 0.9]
    assert x.dtype == np.float64
    got = ops.cross_entropy(x, [0, 1, 2], weights)
    assert got.item() == ops.cross_entropy(x, [0, 1, 2], np.array(weights)).item()


def test_weights_of_classes_cannot_be_learnt():
    w = mg.tensor([1.0, 1.0], requires_grad=True)
    for loss in (ops.cross_entropy, ops.nll_loss):
        with pytest.raises(ValueError, match="weight must not require a gradient"):
            loss([[0.0, 1.0]], [0], w)


# Differences


def smooth_l1(d, beta):
    return d * d / (2 * beta) if abs(d) < beta else abs(d) - beta / 2


def huber(d, delta):
    return d * d / 2 if abs(d) < delta else delta * (abs(d) - delta / 2)


DIFFERENCES = [
    (ops.mse_loss, {}, lambda d: d * d),
    (ops.l1_loss, {}, abs),
    (ops.smooth_l1_loss, {}, lambda d: smooth_l1(d, 1.0)),
    (ops.smooth_l1_loss, {"beta": 0.3}, lambda d: smooth_l1(d, 0.3)),
    (ops.smooth_l1_loss, {"beta": 0}, abs),
    (ops.huber_loss, {}, lambda d: huber(d, 1.0)),
    (ops.huber_loss, {"delta": 2.5}, lambda d: huber(d, 2.5)),
]
NAMES = [f"{f.__name__}{o or ''}" for f, o, _ in DIFFERENCES]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("loss", "options", "formula"), DIFFERENCES, ids=NAMES)
def test_losses_of_differences(loss, options, formula, reduction, rng):
    x, t = rng.normal(size=(4, 5)) * 2, rng.normal(size=(4, 5)) * 2
    losses = np.array([formula(d) for d in (x - t).ravel()]).reshape(4, 5)
    found = loss(x, t, reduction=reduction, **options)
    np.testing.assert_allclose(found.data, reduced(losses, reduction), rtol=1e-13)


@pytest.mark.parametrize(("loss", "options", "formula"), DIFFERENCES, ids=NAMES)
def test_where_input_and_target_agree_the_gradient_is_zero(loss, options, formula):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert mg.grad(loss(x, [1.0, 2.0], **options), x)[0].tolist() == [0, 0]


@pytest.mark.parametrize(("loss", "options", "formula"), DIFFERENCES, ids=NAMES)
def test_types_and_empty_input(loss, options, formula):
    for dtype in (np.float16, np.float32, np.float64):
        assert loss(np.ones(3, dtype), np.zeros(3, dtype), **options).dtype == dtype
    empty = np.zeros((0, 3))
    assert math.isnan(loss(empty, empty, **options).item())
    assert loss(empty, empty, reduction="sum", **options).item() == 0


def test_smooth_l1_does_not_overflow_and_is_curved_at_zero():
    far = ops.smooth_l1_loss(np.array([1e38, -1e38], "f4"), np.zeros(2, "f4"), reduction="none")
    np.testing.assert_allclose(far.data, [1e38, 1e38], rtol=1e-6)
    x = mg.tensor(0.0, dtype=mg.float64, requires_grad=True)
    (slope,) = mg.grad(ops.smooth_l1_loss(x, 0.0, beta=0.5), x, create_graph=True)
    assert mg.grad(slope, x)[0].item() == 2  # 1 / beta


def test_integer_targets_become_floats():
    assert ops.mse_loss([1.5, 2.0], [1, 2]).item() == 0.125


# Probabilities


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy(reduction, weighted, rng):
    p, t = rng.uniform(0, 1, (4, 3)), rng.uniform(0, 1, (4, 3))
    w = rng.uniform(0.5, 2, 3) if weighted else None
    losses = np.zeros((4, 3))
    for i, j in np.ndindex(4, 3):
        losses[i, j] = -t[i, j] * math.log(p[i, j]) - (1 - t[i, j]) * math.log(1 - p[i, j])
        losses[i, j] *= w[j] if weighted else 1
    found = ops.binary_cross_entropy(p, t, w, reduction)
    np.testing.assert_allclose(found.data, reduced(losses, reduction), rtol=1e-12)


def test_binary_cross_entropy_at_0_and_1_is_cut_off():
    p = mg.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    y = ops.binary_cross_entropy(p, [0.0, 0.0, 1.0, 1.0], reduction="none")
    assert y.tolist() == [0, 100, 100, 0]
    (g,) = mg.grad(y, p, np.ones(4))
    np.testing.assert_allclose(g.data, [0, 1e12, -1e12, 0], rtol=1e-6)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_binary_cross_entropy_wants_probabilities(wrong):
    with pytest.raises(ValueError, match="between 0 and 1, got"):
        ops.binary_cross_entropy([0.5, wrong], [0.0, 1.0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy_with_logits(reduction, weighted, rng):
    x, t = rng.normal(size=(4, 3)) * 3, rng.uniform(0, 1, (4, 3))
    pos = rng.uniform(0.5, 3, 3) if weighted else None
    p = special.expit(x)
    losses = -t * np.log(p) * (pos if weighted else 1) - (1 - t) * np.log(special.expit(-x))
    found = ops.binary_cross_entropy_with_logits(x, t, reduction=reduction, pos_weight=pos)
    np.testing.assert_allclose(found.data, reduced(losses, reduction), rtol=1e-12)


def test_binary_cross_entropy_with_logits_far_from_zero():
    x = mg.tensor([-1e4, -1e4, 1e4, 1e4, 50.0], requires_grad=True)
    t = [0.0, 1.0, 0.0, 1.0, 1.0]
    y = ops.binary_cross_entropy_with_logits(x, t, reduction="none")
    tail = math.exp(-50)  # not rounded to 0 even in float32
    np.testing.assert_allclose(y.data, [0, 1e4, 1e4, 0, tail], rtol=1e-5)
    (g,) = mg.grad(y, x, np.ones(5))
    np.testing.assert_allclose(g.data, [0, -1, 1, 0, -tail], rtol=1e-5)


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_kl_div(reduction, log_target, rng):
    x, q = np.log(rng.dirichlet(np.ones(4), 3)), rng.dirichlet(np.ones(4), 3)
    losses = special.rel_entr(q, np.exp(x))
    wanted = losses.sum() / 3 if reduction == "batchmean" else reduced(losses, reduction)
    found = ops.kl_div(x, np.log(q) if log_target else q, reduction, log_target)
    np.testing.assert_allclose(found.data, wanted, rtol=1e-12)


def test_kl_div_of_a_probability_of_zero_is_zero():
    x = mg.tensor([-1.0, -2.0], requires_grad=True)
    t = mg.tensor([0.0, 1.0], requires_grad=True)
    y = ops.kl_div(x, t, reduction="none")
    assert y.tolist() == [0, 2]
    assert all(np.isfinite(g.data).all() for g in mg.grad(y, (x, t), np.ones(2)))


def test_nothing_is_changed_by_a_loss(rng):
    x, t = rng.normal(size=(4, 3)).astype("f4"), rng.integers(0, 3, 4)
    before, targets = x.copy(), t.copy()
    a = mg.tensor(x, requires_grad=True)
    ops.cross_entropy(a, t, ignore_index=0).backward()
    ops.mse_loss(a, np.zeros_like(x)).backward()
    np.testing.assert_array_equal(a.data, before)
    np.testing.assert_array_equal(t, targets)


def test_the_mean_over_no_samples_is_nan_without_a_warning():
    nothing = mg.zeros(0, 3)
    assert ops.kl_div(nothing, nothing, reduction="batchmean").isnan()
