"""Modules: what they hold, their state, modes, hooks and text; and every layer."""

import copy
import math
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


class Net(nn.Module):
    """Nested, with a shared parameter, a module used twice, buffers, and None here and there."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.scale = nn.Parameter([1.0, 2.0, 3.0])
        self.block = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU())
        self.again = self.first
        self.block[0].weight = self.first.weight
        self.register_buffer("mean", mg.tensor([1, 2, 3]))
        self.register_buffer("scratch", mg.tensor([0.5]), persistent=False)
        self.register_parameter("nothing", None)
        self.plain = mg.tensor([1.0])

    def forward(self, x):
        return self.again(self.block(self.first(x))) * self.scale


def arrays(module):
    return {name: t.data.copy() for name, t in module.state_dict().items()}


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


# What a module holds


def test_parameters_buffers_and_modules_are_found_once():
    net = Net()
    names = [name for name, _ in net.named_parameters()]
    assert names == ["scale", "first.weight", "first.bias"]
    assert list(map(id, net.parameters())) == [id(p) for _, p in net.named_parameters()]
    every = [name for name, _ in net.named_parameters(remove_duplicate=False)]
    assert every == [
        *("scale", "first.weight", "first.bias", "block.0.weight"),
        *("again.weight", "again.bias"),
    ]
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert [name for name, _ in net.named_buffers()] == ["mean", "scratch"]
    assert [name for name, _ in net.named_children()] == ["first", "block"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "block", "block.0", "block.1"]
    assert len(list(net.buffers())) == 2 and len(list(net.children())) == 2


def test_a_parameter_is_a_leaf_tensor():
    p = nn.Parameter(np.ones(3))
    assert p.requires_grad and p.is_leaf and p.dtype == np.float64
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    assert nn.Parameter(mg.tensor([2.0]) * 3).is_leaf
    assert repr(p).startswith("Parameter containing:\ntensor([1., 1., 1.], dtype=float64")
    (p * p).sum().backward()
    assert p.grad.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(TypeError, match=r"requires_grad: .* int64"):
        nn.Parameter([1, 2])


def test_attributes_of_a_module_keep_their_kind():
    net = Net()
    net.scale = nn.Parameter([4.0])
    net.first = None
    net.mean = mg.tensor([7])
    assert "mean" in dict(net.named_buffers()) and net.mean.item() == 7
    for name, value, kind in [
        ("scale", mg.tensor([1.0]), "Parameter"),
        ("block", mg.tensor([1.0]), "Module"),
        ("mean", 3, "buffer, a Tensor"),
    ]:
        with pytest.raises(TypeError, match=rf"Net.{name}: is a {kind};"):
            setattr(net, name, value)
    del net.scale, net.mean
    assert not hasattr(net, "scale") and "mean" not in net.state_dict()
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'weights'"):
        _ = net.weights


def test_registering_refuses_names_and_values_that_do_not_fit():
    net = Net()
    for call, error, words in [
        (lambda: net.register_parameter("p", mg.tensor([1.0])), TypeError, "'p' must be a Param"),
        (lambda: net.register_parameter("", None), ValueError, "the name '' is empty"),
        (lambda: net.register_parameter("forward", nn.Parameter(1.0)), ValueError, "already has"),
        (lambda: net.register_buffer("b", nn.Parameter(1.0)), TypeError, "'b' must be a Tensor"),
        (lambda: net.register_buffer("scale", mg.tensor(1.0)), ValueError, "already has"),
        (lambda: net.register_buffer(3, mg.tensor(1.0)), TypeError, "name must be a string"),
        (lambda: net.register_module("a.b", nn.ReLU()), ValueError, "'a.b' is empty or contains"),
        (lambda: net.register_module("m", math.sin), TypeError, "'m' must be a Module"),
        (lambda: setattr(net, "me", nn.Sequential(net)), ValueError, "part of itself"),
    ]:
        before = list(net.__dict__)
        with pytest.raises(error, match=words):
            call()
        assert list(net.__dict__) == before


def test_a_subclass_may_forget_super_init():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1)

        def forward(self, x):
            return self.layer(x)

    assert len(list(Forgetful().parameters())) == 2
    assert Forgetful()([[1.0, 2.0]]).shape == (1, 1)
    with pytest.raises(NotImplementedError, match="Module: the module does not define forward"):
        nn.Module()(1)


# State


def test_state_dict_has_every_name_and_shares_memory():
    net = Net()
    state = net.state_dict()
    assert list(state) == [
        *("scale", "mean", "first.weight", "first.bias", "block.0.weight"),
        *("again.weight", "again.bias"),
    ]
    assert not any(t.requires_grad for t in state.values())
    state["scale"].data[0] = 9
    assert net.scale.tolist() == [9.0, 2.0, 3.0]
    assert next(iter(net.state_dict(prefix="net"))) == "net.scale"


def test_loading_a_state_copies_it():
    a, b = Net(), Net()
    weight = b.first.weight
    assert b.load_state_dict(arrays(a)) == ([], [])
    same(arrays(a), arrays(b))
    assert b.first.weight is weight and weight.data is not a.first.weight.data
    as_float64 = {name: x.astype(np.float64) for name, x in arrays(a).items() if name != "mean"}
    keys = b.load_state_dict({**as_float64, "more": np.ones(1)}, strict=False)
    assert keys.missing_keys == ["mean"] and keys.unexpected_keys == ["more"]
    assert b.scale.dtype == np.float32


def test_a_state_that_does_not_fit_changes_nothing():
    net, other = Net(), Net()
    before = arrays(net)
    state = arrays(other)
    state["scale"] += 1
    state["first.bias"] = np.zeros(4, np.float32)
    state["mean"] = np.array([0.5, 1, 1])
    del state["first.weight"]
    state["extra"] = np.ones(1)
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    for words in (
        "load_state_dict: the state does not fit Net",
        "first.bias: has shape (3,), the state has (4,)",
        "mean: holds int64, the state has float64",
        "missing: first.weight",
        "unexpected: extra",
    ):
        assert words in text
    with pytest.raises(ValueError, match=r"first\.bias: has shape"):
        net.load_state_dict(state, strict=False)
    with pytest.raises(TypeError, match="load_state_dict: wants a mapping"):
        net.load_state_dict([1])
    same(arrays(net), before)


def test_loading_a_state_between_forward_and_backward_is_noticed():
    net = nn.Linear(2, 2)
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    loss = net(x).sum()
    net.load_state_dict(arrays(nn.Linear(2, 2)))
    with pytest.raises(RuntimeError, match="changed in place by load_state_dict"):
        loss.backward()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent_and_keep_what_is_shared(duplicate):
    net = Net()
    net.scale.requires_grad_(False)
    twin = duplicate(net.eval())
    same(arrays(net), arrays(twin))
    assert twin.again is twin.first and twin.block[0].weight is twin.first.weight
    assert not twin.training and not twin.scale.requires_grad
    assert [n for n, _ in twin.named_parameters()] == [n for n, _ in net.named_parameters()]
    assert all(isinstance(p, nn.Parameter) for p in twin.parameters())
    twin.first.weight.data[...] = 0
    assert (net.first.weight.data != 0).any()
    x = mg.tensor([[1.0, 2.0, 3.0]])
    twin(x).sum().backward()
    assert twin.first.bias.grad is not None and net.first.bias.grad is None


# Modes and types


def test_train_and_eval_reach_every_module():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.block.train()
    assert net.block[1].training and not net.first.training
    with pytest.raises(TypeError, match="train: mode must be True or False, got 'yes'"):
        net.train("yes")


def test_zero_grad_and_requires_grad():
    net = Net()
    net(mg.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all((p.grad.data == 0).all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(mg.tensor([[1.0, 2.0, 3.0]])).requires_grad
    assert all(p.requires_grad for p in net.requires_grad_().parameters())


def test_to_converts_floating_point_tensors_only():
    net = Net()
    weight = net.first.weight
    net(mg.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    assert net.double() is net and net.first.weight is weight and weight is net.block[0].weight
    assert weight.dtype == weight.grad.dtype == net.scratch.dtype == np.float64
    assert net.mean.dtype == np.int64
    net(mg.tensor([[1.0, 2.0, 3.0]], dtype=np.float64)).sum().backward()
    assert net.half().scale.dtype == np.float16 and net.float().scale.dtype == np.float32
    assert net.to("cpu", mg.float64).scale.dtype == np.float64
    assert net.to(dtype=np.float32, device="cpu").scale.dtype == np.float32
    with pytest.raises(TypeError, match=r"Module\.to: wants a floating-point type, got int64"):
        net.to(np.int64)
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        net.to("tpu")
    assert net.scale.dtype == np.float32


def test_apply_goes_from_the_leaves_to_the_root():
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]


# Hooks and text


def test_forward_hooks_see_and_replace():
    layer = nn.Identity()
    seen = []
    pre = layer.register_forward_pre_hook(lambda m, args: seen.append(args))
    post = layer.register_forward_hook(lambda m, args, y: seen.append((args, y)))
    assert layer(3) == 3 and seen == [(3,), ((3,), 3)]
    double = layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
    less = layer.register_forward_hook(lambda m, args, y: y - 1)
    assert layer(3) == 5
    double.remove()
    assert layer(3) == 2
    for handle in (pre, post, less, less):
        handle.remove()
    seen.clear()
    assert layer(3) == 3 and not seen


def test_repr_shows_the_tree():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same", bias=False),
        nn.Sequential(nn.BatchNorm2d(4), nn.LeakyReLU(0.2)),
        nn.MaxPool2d(2),
    )
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding='same', bias=False)\n"
        "  (1): Sequential(\n"
        "    (0): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)\n"
        "    (1): LeakyReLU(negative_slope=0.2)\n"
        "  )\n"
        "  (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)\n"
        ")"
    )


# Containers


def test_sequential_is_a_row_of_modules():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(net) == 3 and isinstance(net[-1], nn.Linear) and net[-1] is net[2]
    assert [type(m).__name__ for m in net[:2]] == ["Linear", "ReLU"] and net[1:][0] is net[1]
    net[1] = nn.Tanh()
    net.append(nn.Sigmoid())
    del net[0]
    assert [name for name, _ in net.named_children()] == ["0", "1", "2"]
    assert [type(m).__name__ for m in net] == ["Tanh", "Linear", "Sigmoid"]
    named = nn.Sequential({"lift": nn.Linear(1, 2), "act": nn.Tanh()})
    assert list(named.state_dict()) == ["lift.weight", "lift.bias"] and named[1] is named.act
    with pytest.raises(IndexError, match="Sequential: index 2 is out of range for 2 modules"):
        named[2]
    with pytest.raises(TypeError, match=r"Sequential: wants modules, got function \(nn.ReLU"):
        nn.Sequential(lambda x: x)


def test_lists_and_dictionaries_of_modules_are_found():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.row = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
            self.table = nn.ModuleDict({"a": nn.Linear(1, 1)})

    both = Both()
    both.row.extend([nn.Linear(1, 1)])
    both.table["b"] = nn.Tanh()
    assert [name for name, _ in both.named_parameters()] == [
        *("row.0.weight", "row.0.bias", "row.2.weight", "row.2.bias"),
        *("table.a.weight", "table.a.bias"),
    ]
    assert list(both.table) == ["a", "b"] and "b" in both.table and len(both.table) == 2
    assert [key for key, _ in both.table.items()] == both.table.keys()
    del both.table["a"]
    with pytest.raises(KeyError, match="a"):
        both.table["a"]
    with pytest.raises(NotImplementedError, match="ModuleList: the module does not define forward"):
        both.row(1)


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
    same(arrays(layer), before)
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
    same(arrays(layer), before)


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
    same(arrays(build()), first)
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
