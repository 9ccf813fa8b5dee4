"""Modules: what they hold, their state, modes, hooks and text."""

import copy
import math
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


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
    np.testing.assert_equal(arrays(a), arrays(b))
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
    np.testing.assert_equal(arrays(net), before)


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
    np.testing.assert_equal(arrays(net), arrays(twin))
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
