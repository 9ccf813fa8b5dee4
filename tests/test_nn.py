"""Every layer and every loss: what they compute, and which arguments they refuse."""

import copy
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


def arrays(module):
    return {name: t.data.copy() for name, t in module.state_dict().items()}


# Layers


rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(2, 4, 6, 5)).astype(np.float32)
ROWS = rng.normal(size=(3, 4)).astype(np.float32)

LAYERS = [  # a layer, an input, what it computes
    (nn.Linear(4, 3), ROWS, lambda m, x: x @ m.weight.T + m.bias),
    (nn.Linear(4, 3, bias=False), ROWS, lambda m, x: x @ m.weight.T),
    (nn.Identity(1, two=3), ROWS, lambda m, x: x),
    (nn.Flatten(), IMAGES, lambda m, x: x.reshape(2, -1)),
    (nn.Unflatten(-1, (2, 2)), ROWS, lambda m, x: x.reshape(3, 2, 2)),
    (nn.Embedding(5, 3), np.array([[0, 4], [2, 2]]), lambda m, x: m.weight[x]),
    (
        nn.Conv1d(4, 6, 3, 2, 1, groups=2),
        IMAGES[:, :, 0],
        lambda m, x: F.conv1d(x, m.weight, m.bias, stride=2, padding=1, groups=2),
    ),
    (
        nn.Conv2d(4, 6, (3, 1), padding="same", dilation=2, bias=False),
        IMAGES,
        lambda m, x: F.conv2d(x, m.weight, padding="same", dilation=2),
    ),
    (
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2),
        IMAGES,
        lambda m, x: F.conv_transpose2d(
            x, m.weight, m.bias, stride=2, padding=1, output_padding=1, groups=2
        ),
    ),
    (
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        IMAGES,
        lambda m, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    ),
    (
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
        IMAGES,
        lambda m, x: F.avg_pool2d(x, 2, padding=1, count_include_pad=False),
    ),
    (nn.AdaptiveAvgPool2d((2, None)), IMAGES, lambda m, x: F.adaptive_avg_pool2d(x, (2, 5))),
    (nn.ReLU(), ROWS, lambda m, x: F.relu(x)),
    (nn.LeakyReLU(0.3), ROWS, lambda m, x: F.leaky_relu(x, 0.3)),
    (nn.ELU(0.7), ROWS, lambda m, x: F.elu(x, 0.7)),
    (nn.GELU("tanh"), ROWS, lambda m, x: F.gelu(x, approximate="tanh")),
    (nn.SiLU(), ROWS, lambda m, x: x * F.sigmoid(x)),
    (nn.Softplus(2.0), ROWS, lambda m, x: F.softplus(x, 2.0)),
    (nn.Sigmoid(), ROWS, lambda m, x: F.sigmoid(x)),
    (nn.Tanh(), ROWS, lambda m, x: F.tanh(x)),
    (nn.Softmax(1), ROWS, lambda m, x: F.softmax(x, 1)),
    (nn.LogSoftmax(dim=0), ROWS, lambda m, x: F.softmax(x, 0).log()),
    (nn.Dropout(0.4).eval(), ROWS, lambda m, x: x),
    (nn.LayerNorm((6, 5), eps=0.1), IMAGES, lambda m, x: F.layer_norm(x, (6, 5), eps=0.1)),
    (nn.LayerNorm(4, bias=False), ROWS, lambda m, x: F.layer_norm(x, (4,))),
]


@pytest.mark.parametrize("layer, x, wanted", LAYERS, ids=[repr(case[0]) for case in LAYERS])
def test_layer_computes_its_function(layer, x, wanted):
    x = mg.tensor(x)
    y = layer(x)
    assert isinstance(y, mg.Tensor) and y.dtype == np.float32
    np.testing.assert_allclose(y.data, wanted(layer, x).data, rtol=1e-5, atol=1e-6)
    parameters = list(layer.parameters())
    assert y.requires_grad == bool(parameters)
    if parameters:
        y.sum().backward()
        assert all(p.grad.shape == p.shape for p in parameters)


@pytest.mark.parametrize(
    "layer", [nn.ReLU(True), nn.LeakyReLU(0.2, True), nn.ELU(inplace=True), nn.SiLU(inplace=True)]
)
def test_activations_in_place_overwrite_their_input(layer):
    apart = copy.deepcopy(layer)
    apart.inplace = False
    x = mg.tensor(ROWS)
    y = layer(x)
    assert y is x and (y.data == apart(mg.tensor(ROWS)).data).all()
    assert "inplace=True" in repr(layer)
    w = mg.tensor(ROWS, requires_grad=True)
    v = mg.tensor(ROWS, requires_grad=True)
    (layer(w * 2) ** 2).sum().backward()
    (apart(v * 2) ** 2).sum().backward()
    np.testing.assert_array_equal(w.grad.data, v.grad.data)


def test_dropout_in_training():
    mg.manual_seed(3)
    x = mg.tensor(np.ones(1000))
    y = nn.Dropout(0.25)(x).data
    assert set(y) == {0.0, 1 / 0.75} and 0.2 < (y == 0).mean() < 0.3
    z = x + 0
    layer = nn.Dropout(0.25, inplace=True)
    assert layer(z) is z and (z.data == 0).any()
    assert layer.eval()(x) is x or (layer(x).data == x.data).all()
    assert (nn.Dropout(1.0)(x).data == 0).all()


LOSSES = [
    (nn.MSELoss(), ROWS, ROWS[::-1], lambda x, t: ((x - t) ** 2).mean()),
    (nn.L1Loss(reduction="sum"), ROWS, ROWS[::-1], lambda x, t: abs(x - t).sum()),
    (
        nn.SmoothL1Loss(beta=0.5),
        ROWS,
        ROWS[::-1],
        lambda x, t: np.where(abs(x - t) < 0.5, (x - t) ** 2, abs(x - t) - 0.25).mean(),
    ),
    (
        nn.HuberLoss(delta=0.5),
        ROWS,
        ROWS[::-1],
        lambda x, t: np.where(abs(x - t) < 0.5, (x - t) ** 2 / 2, 0.5 * abs(x - t) - 0.125).mean(),
    ),
    (
        nn.BCELoss(),
        abs(ROWS) / 4,
        ROWS > 0,
        lambda x, t: -np.where(t, np.log(x), np.log(1 - x)).mean(),
    ),
    (
        nn.BCEWithLogitsLoss(pos_weight=[1.0, 2.0, 3.0, 4.0]),
        ROWS,
        ROWS[::-1] > 0,
        lambda x, t: np.where(t, [1, 2, 3, 4] * np.log1p(np.exp(-x)), np.log1p(np.exp(x))).mean(),
    ),
    (
        nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0, 4.0]),
        ROWS,
        np.array([1, 0, 3]),
        lambda x, t: ((t + 1) * (np.log(np.exp(x).sum(1)) - x[[0, 1, 2], t])).sum() / 7,
    ),
    (
        nn.NLLLoss(ignore_index=0, reduction="none"),
        ROWS,
        np.array([1, 0, 3]),
        lambda x, t: -x[[0, 1, 2], t] * (t != 0),
    ),
    (
        nn.KLDivLoss("batchmean"),
        ROWS,
        abs(ROWS),
        lambda x, t: (t * (np.log(t) - x)).sum() / 3,
    ),
]


@pytest.mark.parametrize("layer, x, target, wanted", LOSSES, ids=[repr(c[0]) for c in LOSSES])
def test_loss_computes_its_formula(layer, x, target, wanted):
    t = target.astype(np.float32) if target.dtype == bool else target
    y = layer(mg.tensor(x, requires_grad=True), mg.tensor(t))
    expected = wanted(x.astype(np.float64), target)
    np.testing.assert_allclose(y.data, expected, rtol=1e-5)
    y.sum().backward()


def test_weights_of_a_loss_are_buffers():
    layer = nn.CrossEntropyLoss(weight=[1.0, 2.0])
    assert layer.double().weight.dtype == np.float64 and not list(layer.parameters())
    assert nn.CrossEntropyLoss().state_dict() == {}


# Batch norm


def test_batch_norm_follows_its_batches():
    layer = nn.BatchNorm2d(4)
    x = IMAGES.astype(np.float64)
    y = layer(mg.tensor(IMAGES))
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    wanted = (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
    np.testing.assert_allclose(y.data, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.running_mean.data, 0.1 * mean, rtol=1e-4, atol=1e-7)
    unbiased = x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_var.data, 0.9 + 0.1 * unbiased, rtol=1e-5)
    assert layer.num_batches_tracked.item() == 1
    before = arrays(layer)
    z = layer.eval()(mg.tensor(IMAGES))
    np.testing.assert_equal(arrays(layer), before)
    running = before["running_mean"][:, None, None], before["running_var"][:, None, None]
    wanted = (x - running[0]) / np.sqrt(running[1] + 1e-5)
    np.testing.assert_allclose(z.data, wanted, rtol=1e-4, atol=1e-5)
    layer.reset_running_stats()
    assert layer.running_var.tolist() == [1.0] * 4 and layer.num_batches_tracked.item() == 0


def test_batch_norm_without_momentum_averages_equally():
    layer = nn.BatchNorm1d(4, momentum=None)
    batches = [ROWS, ROWS * 2 + 1, ROWS - 3]
    for batch in batches:
        layer(mg.tensor(batch))
    wanted = np.mean([batch.mean(0) for batch in batches], axis=0)
    np.testing.assert_allclose(layer.running_mean.data, wanted, rtol=1e-5, atol=1e-6)
    wanted = np.mean([batch.var(0, ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(layer.running_var.data, wanted, rtol=1e-5)


def test_batch_norm_without_statistics_uses_the_batch_in_evaluation():
    layer = nn.BatchNorm1d(4, affine=False, track_running_stats=False).eval()
    assert not layer.state_dict()
    y = layer(mg.tensor(ROWS)).data
    np.testing.assert_allclose(y.mean(0), np.zeros(4), atol=1e-6)


def test_a_refused_batch_leaves_the_statistics_alone():
    layer = nn.BatchNorm2d(4)
    before = arrays(layer)
    for shape in [(2, 4), (2, 4, 3), (2, 3, 2, 2), (1, 4, 1, 1)]:
        with pytest.raises(ValueError, match=r"BatchNorm2d|batch_norm"):
            layer(mg.tensor(np.ones(shape, np.float32)))
    np.testing.assert_equal(arrays(layer), before)


# Initial values and constructor arguments


@pytest.mark.parametrize(
    "layer, fan_in",
    [
        (nn.Linear(400, 300), 400),
        (nn.Conv1d(40, 50, 5), 200),
        (nn.Conv2d(16, 64, 5, groups=2), 200),
        (nn.ConvTranspose2d(32, 16, 4), 256),
    ],
)
def test_initial_weights_are_uniform_in_the_root_of_the_fan_in(layer, fan_in):
    bound = 1 / math.sqrt(fan_in)
    for p in layer.parameters():
        assert abs(p.data).max() <= bound
    w = layer.weight.data
    assert abs(w).max() > 0.99 * bound
    assert abs(w.std() / (bound / math.sqrt(3)) - 1) < 0.05
    assert abs(w.mean()) < 5 * w.std() / math.sqrt(w.size)


def test_initial_values_depend_on_the_seed_only():
    def build():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 4), nn.Embedding(5, 2, 1))

    mg.manual_seed(5)
    first = arrays(build())
    mg.manual_seed(5)
    np.testing.assert_equal(arrays(build()), first)
    mg.manual_seed(6)
    assert (arrays(build())["1.weight"] != first["1.weight"]).any()
    assert first["2.weight"][1].tolist() == [0.0, 0.0]
    assert nn.Linear(2, 2, dtype=np.float64, device="cpu").weight.dtype == np.float64


def test_embedding_of_a_given_table():
    table = np.arange(6.0).reshape(3, 2)
    layer = nn.Embedding.from_pretrained(table)
    assert layer([2, 0]).tolist() == table[[2, 0]].tolist() and not layer.weight.requires_grad
    with pytest.raises(ValueError, match=r"table must have 2 dimensions, got \(3,\)"):
        nn.Embedding.from_pretrained([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "build, error, words",
    [
        (lambda: nn.Linear(0, 3), ValueError, "Linear: in_features must be at least 1, got 0"),
        (
            lambda: nn.Linear(3, 2.0),
            TypeError,
            r"Linear: out_features must be an integer, got 2\.0",
        ),
        (lambda: nn.Linear(3, 2, dtype=int), TypeError, "Linear: dtype must be a floating-point"),
        (lambda: nn.Embedding(3, 2, 3), IndexError, "padding_idx 3 is out of range for 3 rows"),
        (lambda: nn.Conv2d(-1, 4, 3), ValueError, "Conv2d: in_channels must be at least 1, got -1"),
        (lambda: nn.Conv2d(3, 4, (3, 0)), ValueError, "Conv2d: kernel_size must be at least 1"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, "kernel_size has 3 numbers, wants 1 or 2"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), ValueError, "Conv2d: stride must be at least 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), ValueError, "Conv2d: padding must be at least 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), ValueError, "'same' or 'valid', got 'full'"),
        (lambda: nn.Conv2d(3, 4, 3, 2, "same"), ValueError, "padding='same' needs stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be a multiple of gr"),
        (lambda: nn.Conv1d(4, 3, 3, groups=2), ValueError, "Conv1d: out_channels must be a mult"),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, 2, output_padding=2),
            ValueError,
            "output_padding must be smaller than stride or dilation",
        ),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "MaxPool2d: padding must be at most half"),
        (lambda: nn.MaxPool2d(2, 0), ValueError, "MaxPool2d: stride must be at least 1, got 0"),
        (lambda: nn.MaxPool2d(2, dilation=0), ValueError, "MaxPool2d: dilation must be at least"),
        (lambda: nn.AvgPool2d(0), ValueError, "AvgPool2d: kernel_size must be at least 1, got 0"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), ValueError, "divisor_override must be at le"),
        (lambda: nn.AdaptiveAvgPool2d((0, None)), ValueError, "output_size must be at least 1"),
        (lambda: nn.GELU("erf"), ValueError, "GELU: approximate must be 'none' or 'tanh'"),
        (lambda: nn.Dropout(1.5), ValueError, r"Dropout: p must be in \[0, 1\], got 1.5"),
        (lambda: nn.Dropout(math.nan), ValueError, "Dropout: p must be in"),
        (lambda: nn.Dropout("a"), TypeError, "Dropout: p must be a number, got 'a'"),
        (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features must be at least 1"),
        (lambda: nn.BatchNorm1d(2, eps=-1), ValueError, "BatchNorm1d: eps must be in"),
        (lambda: nn.LayerNorm(()), ValueError, "LayerNorm: normalized_shape must have at least"),
        (lambda: nn.LayerNorm((2, -1)), ValueError, "normalized_shape must be at least 1, got -1"),
        (lambda: nn.MSELoss("avg"), ValueError, "MSELoss: reduction must be one of mean, sum, no"),
        (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "SmoothL1Loss: beta must be in"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), ValueError, "label_smoothing must be in"),
    ],
)
def test_bad_constructor_arguments_are_refused(build, error, words):
    with pytest.raises(error, match=words):
        build()


def test_unflatten_refuses_a_dimension_that_is_not_there():
    with pytest.raises(IndexError, match=r"Unflatten: dim 2 is out of range for shape \(3, 4\)"):
        nn.Unflatten(2, (2, 2))(mg.tensor(ROWS))


def test_every_public_module_is_documented_and_printable():
    for name, cls in vars(nn).items():
        if isinstance(cls, type):
            assert cls.__doc__, name


# ReLU and max-pooling in a row


@pytest.mark.parametrize("padding", [0, 1])
def test_relu_after_max_pooling_changes_nothing(padding):
    """Negative, equal, zero and non-finite numbers: the same results and gradients, to the bit."""
    values = np.random.default_rng(3).integers(-3, 3, size=(2, 3, 6, 8)).astype(np.float32)
    values[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    g = np.random.default_rng(4).normal(size=(2, 3, 3 + padding, 4 + padding)).astype(np.float32)
    results = []
    for swapped in (True, False):
        x = mg.tensor(values, requires_grad=True)
        relu, pool = nn.ReLU(), nn.MaxPool2d(2, padding=padding)
        y = nn.Sequential(relu, pool)(x) if swapped else pool(relu(x))
        y.backward(mg.tensor(g))
        results.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_modules_with_hooks_keep_their_order():
    seen = []
    relu = nn.ReLU()
    relu.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    nn.Sequential(relu, nn.MaxPool2d(2))(mg.tensor(IMAGES))
    assert seen == [IMAGES.shape]
