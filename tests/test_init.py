"""Initial numbers of parameters: scales, structure, reproducibility, bad input."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import init
from minigrad.random import Generator


def weight(*shape):
    return mg.zeros(*shape, requires_grad=True)


@pytest.mark.parametrize(
    ("function", "options", "std"),
    [
        (init.xavier_uniform_, {}, math.sqrt(2 / (18 * 8 + 18 * 40))),
        (init.xavier_normal_, {"gain": 3.0}, 3 * math.sqrt(2 / (18 * 8 + 18 * 40))),
        (init.kaiming_uniform_, {}, math.sqrt(2 / (18 * 8))),
        (init.kaiming_uniform_, {"a": math.sqrt(5)}, math.sqrt(1 / 3 / (18 * 8))),
        (init.kaiming_normal_, {"mode": "fan_out"}, math.sqrt(2 / (18 * 40))),
        (init.kaiming_normal_, {"nonlinearity": "tanh"}, 5 / 3 / math.sqrt(18 * 8)),
        (init.uniform_, {"a": -1.0, "b": 3.0}, 4 / math.sqrt(12)),
        (init.normal_, {"std": 0.2}, 0.2),
    ],
)
def test_standard_deviation(function, options, std):
    w = weight(40, 8, 3, 6)  # fan_in 8 x 18, fan_out 40 x 18
    assert function(w, **options, generator=Generator(51)) is w
    x = w.detach().numpy()
    uniform = "uniform" in function.__name__
    kurtosis = 1.8 if uniform else 3.0
    assert abs(x.std() / std - 1) < 4 * math.sqrt((kurtosis - 1) / 4 / x.size)
    mean = 1.0 if function is init.uniform_ else 0.0
    assert abs(x.mean() - mean) < 4 * std / math.sqrt(x.size)
    if uniform:
        assert np.abs(x - mean).max() <= math.sqrt(3) * std * (1 + 1e-6)
        assert np.abs(x - mean).max() > math.sqrt(3) * std * 0.99
    assert w.is_leaf and w.requires_grad


def test_the_same_seed_gives_the_same_weights():
    first = init.kaiming_uniform_(weight(3, 4), generator=Generator(52)).tolist()
    assert init.kaiming_uniform_(weight(3, 4), generator=Generator(52)).tolist() == first
    mg.manual_seed(53)
    second = init.xavier_normal_(weight(3, 4)).tolist()
    mg.manual_seed(53)
    assert init.xavier_normal_(weight(3, 4)).tolist() == second


def test_constants():
    assert init.ones_(weight(2)).tolist() == [1, 1]
    assert init.zeros_(mg.ones(2)).tolist() == [0, 0]
    assert init.constant_(weight(1, 2), 2.5).tolist() == [[2.5, 2.5]]
    assert init.eye_(weight(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 2, 3), (3, 3)])
def test_orthogonal(shape):
    w = init.orthogonal_(mg.zeros(*shape, dtype=np.float64), gain=2.0, generator=Generator(54))
    m = w.numpy().reshape(shape[0], -1)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-13)


def test_gains():
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 0.5) == math.sqrt(2 / 1.25)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / 1.0001)


def test_a_kept_weight_that_is_initialised_again_is_noticed():
    w = weight(2, 2)
    y = w * w
    init.ones_(w)
    with pytest.raises(RuntimeError, match="changed in place by constant_"):
        y.backward(mg.ones(2, 2))


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, "xavier_uniform_: wants .* 2 dim", lambda w: init.xavier_uniform_(w[0])),
        (ValueError, "kaiming_normal_: wants .* 2 dim", lambda w: init.kaiming_normal_(w[0])),
        (ValueError, "orthogonal_: wants .* 2 dim", lambda w: init.orthogonal_(w[0])),
        (ValueError, "eye_: wants .* 2 dim", lambda w: init.eye_(w[0])),
        (ValueError, "mode must be", lambda w: init.kaiming_uniform_(w, mode="fan")),
        (ValueError, "no nonlinearity 'x'", lambda w: init.kaiming_uniform_(w, nonlinearity="x")),
        (ValueError, "slope must be finite", lambda w: init.kaiming_normal_(w, a=math.nan)),
        (ValueError, "a = 2.* above b = 1", lambda w: init.uniform_(w, 2.0, 1.0)),
        (ValueError, "b must be finite", lambda w: init.uniform_(w, 0.0, math.inf)),
        (ValueError, "std must not be negative", lambda w: init.normal_(w, 0.0, -1.0)),
        (ValueError, "mean must be finite", lambda w: init.normal_(w, math.nan)),
        (ValueError, "gain", lambda w: init.orthogonal_(w, math.nan)),
        (TypeError, "wants a tensor, got list", lambda w: init.zeros_([1.0])),
        (TypeError, "got int64", lambda w: init.normal_(mg.tensor([1, 2]))),
    ],
)
def test_bad_input_is_refused(error, words, call):
    w = mg.zeros(2, 3)
    with pytest.raises(error, match=words):
        call(w)
    assert not w.numpy().any()
