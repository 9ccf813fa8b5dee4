"""Tensors, modules and optimizers on a GPU, for which the stand-in for CuPy stands."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cupy_standin import check_same, moved

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.tensor import wrap
from minigrad_kernels import BACKENDS, gpus

pytestmark = pytest.mark.usefixtures("cupy")


def on_device(data: Any, requires_grad: bool = False) -> Tensor:
    return Tensor(moved(np.asarray(data)), requires_grad=requires_grad)


def test_there_and_back() -> None:
    x = mg.tensor([[1.5, 2.0]], requires_grad=True)
    y = x.to("cuda")
    assert (x.device, y.device) == ("cpu", "cuda:0")
    assert repr(y.detach()) == "tensor([[1.5, 2. ]], device='cuda:0')"
    assert y.cpu().device == "cpu"
    assert y.to("cuda:0") is y
    (y * y).sum().backward()
    assert type(x.grad.data) is np.ndarray
    np.testing.assert_array_equal(x.grad.data, [[3.0, 4.0]])


def test_what_leaves_the_device_is_asked_for() -> None:
    x = on_device([1.5, 2.0])
    assert (x[0].item(), x.tolist(), float(x[1]), len(x)) == (1.5, [1.5, 2.0], 2.0, 2)
    assert mg.tensor([x[0], 3.0]).tolist() == [1.5, 3.0]
    assert 2.0 in x
    with pytest.raises(TypeError, match=r"numpy: the tensor is on cuda:0; call cpu\(\) first"):
        x.numpy()
    with pytest.raises(TypeError, match="cuda:0"):
        np.asarray(x)


def test_there_is_one_gpu() -> None:
    for wrong in (
        lambda: mg.zeros(2).to("cuda:1"),
        lambda: mg.zeros(2).cuda(1),
        lambda: mg.zeros(2, device="cuda:1"),
        lambda: mg.rand(2, device="cuda:1"),
        lambda: mg.tensor([1.0], device="cuda:1"),
        lambda: nn.Linear(2, 3).cuda(1),
    ):
        with pytest.raises(RuntimeError, match="there is no cuda:1; this machine has 1 GPU$"):
            wrong()


def test_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS["cuda"].__dict__, "reason", "the driver is missing")
    assert not mg.cuda.is_available() and mg.cuda.device_count() == 0
    assert mg.cuda.reason() == "the driver is missing"
    for wants_one in (mg.cuda.synchronize, mg.cuda.get_device_name):
        with pytest.raises(RuntimeError, match="there is no GPU: the driver is missing"):
            wants_one()
        with pytest.raises(ValueError, match="wants a GPU's number or name, got 'cpu'"):
            wants_one("cpu")


def test_where_there_is_one(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS["cuda"].__dict__, "reason", None)
    waited: list[int] = []
    device = lambda number: SimpleNamespace(synchronize=lambda: waited.append(number))  # noqa: E731
    monkeypatch.setattr(standin.cuda, "Device", device)
    properties = lambda number: {"name": b"GPU %d" % number}  # noqa: E731
    monkeypatch.setattr(standin.cuda.runtime, "getDeviceProperties", properties)
    assert mg.cuda.is_available() and mg.cuda.device_count() == 1
    assert mg.cuda.get_device_name("cuda:1") == "GPU 1"
    mg.cuda.synchronize()
    assert waited == [0]


# Moving


def test_cuda_and_cpu_are_methods_as_in_pytorch() -> None:
    x = mg.tensor([1.5, 2.0])
    assert not x.is_cuda
    for y in (x.cuda(), x.cuda(0), x.cuda("cuda"), x.cuda("cuda:0"), Tensor(x, device="cuda")):
        assert y.is_cuda and y.device == "cuda:0" and y.cuda() is y
        assert y.cpu().tolist() == [1.5, 2.0]
    with pytest.raises(ValueError, match="cuda: wants a GPU's number or name, got 'cpu'"):
        x.cuda("cpu")
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    weight = model[0].weight
    assert model.cuda() is model and model[0].weight is weight
    assert {t.device for t in model.state_dict().values()} == {"cuda:0"}
    assert {t.device for t in model.cpu().state_dict().values()} == {"cpu"}


def test_made_of_anything() -> None:
    """A list, an array of either kind, a tensor: copied, and on the device that was named."""
    array = np.array([1.0, 2.0], "f4")
    there = mg.tensor(array, device="cuda")
    for data in ([1.0, 2.0], array, mg.tensor(array), there, there.data):
        x = mg.tensor(data, device="cuda:0", requires_grad=True)
        assert x.device == "cuda:0" and x.is_leaf and x.requires_grad
        assert x.cpu().tolist() == [1.0, 2.0]
        assert x.data.data.ptr != there.data.data.ptr
    assert mg.tensor(there, device="cpu").device == "cpu"
    assert mg.tensor(there).device == "cuda:0"
    assert Tensor(there, device="cuda").data is there.data


def test_a_layer_and_its_input_are_on_one_device() -> None:
    for layer, x in (
        (nn.Linear(3, 2), mg.zeros(4, 3)),
        (nn.Conv2d(1, 2, 3), mg.zeros(2, 1, 5, 5)),
        (nn.BatchNorm1d(3), mg.zeros(4, 3)),
        (nn.LayerNorm(3), mg.zeros(4, 3)),
        (nn.Embedding(3, 2), mg.zeros(4, dtype=mg.int64)),
    ):
        with pytest.raises(TypeError, match="cpu and cuda:0"):
            layer(x.cuda())
        with pytest.raises(TypeError, match="cpu and cuda:0"):
            layer.cuda()(x)
        assert layer(x.cuda()).device == "cuda:0"


def test_two_gpus_are_two_devices(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    places = property(lambda x: SimpleNamespace(id=x.ndim))
    monkeypatch.setattr(standin.ndarray, "device", places)
    x, y = on_device([1.0, 2.0]), on_device([[1.0, 2.0]])
    for combine in (
        lambda: mg.stack([x, y]),
        lambda: mg.pow(x, y),
        lambda: mg.masked_fill(x, y > 0, 1.0),
    ):
        with pytest.raises(TypeError, match="cuda:1 and cuda:2"):
            combine()


def test_channels_stay_last_on_the_way() -> None:
    images = np.zeros((2, 5, 7, 3), "f4").transpose(0, 3, 1, 2)
    there = Tensor(images).cuda()
    assert there.data.strides == there.cpu().data.strides == images.strides
    turned = on_device(np.arange(6.0).reshape(2, 3))[:, ::2].T
    check_same(turned.cpu().cuda().data, turned.data.get())


def test_a_gpu_without_room(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError("Out of memory allocating 1,024 bytes")

    x = on_device([1.0])
    monkeypatch.setattr(standin, "array", full)
    monkeypatch.setattr(standin, "empty", full)
    for wrong in (lambda: mg.zeros(2, 3).cuda(), lambda: mg.zeros(2, 3, device="cuda")):
        with pytest.raises(MemoryError, match="to: no room for 24 bytes on cuda:0: Out of memory"):
            wrong()
    assert (x + 1).cpu().tolist() == [2.0]


@pytest.mark.parametrize("number", [True, 2, 0.5])
def test_numbers_and_lists_are_everywhere(number: float) -> None:
    x = on_device(np.array([[1.0, 2.0], [3.0, 4.0]], "f4"))
    for y in (x + number, number - x, mg.where(x > number, number, x), x + [1.0, number]):
        assert (y.device, y.dtype) == ("cuda:0", np.dtype("f4"))


@pytest.mark.parametrize("index", [[0, 2, 2], [True, False, True], ([0, 2, 0],)], ids=str)
def test_index_on_either_device(index: Any) -> None:
    """An index may lie in main memory, whatever the tensor; but not on a GPU beside the CPU."""
    numbers = np.arange(6.0).reshape(3, 2)
    wanted = numbers[index]
    for i in (index, mg.tensor(np.array(index[0] if isinstance(index, tuple) else index))):
        check_same(on_device(numbers)[i].data, wanted)
    there = on_device(np.array(index[0] if isinstance(index, tuple) else index))
    check_same(on_device(numbers)[there].data, wanted)
    with pytest.raises(TypeError, match="getitem: the input is on cpu, the index on cuda:0"):
        Tensor(numbers)[there]
    with pytest.raises(TypeError, match="getitem_adjoint: the input is on cpu, the index on cuda"):
        mg.ops.getitem_adjoint(Tensor(wanted), there, (3, 2))


def test_the_last_of_several_values_stays() -> None:
    """Also where the device writes in any order, and of the type of the tensor."""
    x, index, values = np.zeros((3, 2)), [2, 0, 2], np.arange(6.0).reshape(3, 2)
    wanted = x.copy()
    wanted[index] = values
    y = on_device(x)
    y[index] = on_device(values)
    check_same(y.data, wanted)
    y = on_device(np.zeros((3, 2), "i8"))
    y[index] = on_device(values.astype("i4"))
    check_same(y.data, wanted.astype("i8"))
    y[[]] = 7
    check_same(y.data, wanted.astype("i8"))


@pytest.mark.parametrize("dtype", ["i8", "i4", "u1", "?", "c16", "f2"])
def test_every_type_is_added_up(dtype: str) -> None:
    index, values = np.array([1, 0, 1, 1]), np.array([3, 1, -2, -4]).astype(dtype)
    for to in (np.asarray, moved):
        y = mg.ops.getitem_adjoint(wrap(to(values)), wrap(to(index)), (3,)).data
        y = y.get() if to is moved else y
        assert y.dtype == np.dtype(dtype)
        wanted = np.zeros(3, dtype)
        np.add.at(wanted, index, values)
        np.testing.assert_array_equal(y, wanted)


def test_one_row_of_an_embedding_does_not_spoil_the_others() -> None:
    weight = on_device(np.zeros((3, 2)), requires_grad=True)
    g = on_device([[np.inf, np.nan], [1e-9, 1.0], [1e9, 1.0], [1.0, 1.0]])
    mg.nn.functional.embedding(on_device([0, 1, 2, 2]), weight).backward(g)
    wanted = [[np.inf, np.nan], [1e-9, 1.0], [1e9 + 1, 2.0]]
    np.testing.assert_array_equal(weight.grad.data.get(), wanted)


# Changes in place


def test_a_change_through_a_view_is_seen() -> None:
    x = on_device(np.ones((2, 3)), requires_grad=True)
    kept = x * 1
    y = kept * kept
    with mg.no_grad():
        kept[0].add_(1)
    with pytest.raises(RuntimeError, match="mul .* was changed in place by add_"):
        y.sum().backward()


def test_a_change_elsewhere_in_the_memory_is_harmless() -> None:
    memory = on_device(np.ones((2, 3)))
    x = memory[0].detach().requires_grad_()
    y = x * x
    with mg.no_grad():
        memory[1].add_(1)
    y.sum().backward()
    check_same(x.grad.data, np.full(3, 2.0))


def test_repeated_elements_are_not_written() -> None:
    """NumPy makes such views read-only, CuPy does not."""
    with pytest.raises(ValueError, match="add_: the tensor's memory is read-only"):
        on_device(np.ones(3)).expand(2, 3).add_(1)
    assert on_device(np.ones((0, 3))).add_(1).shape == (0, 3)


# Making tensors


MAKERS = {
    "zeros": lambda d: mg.zeros(2, 3, device=d),
    "ones": lambda d: mg.ones(2, 3, device=d),
    "full": lambda d: mg.full((2, 3), 0.5, device=d),
    "full_like": lambda d: mg.full_like(mg.zeros(2, device=d), 0.5),
    "zeros_like": lambda d: mg.zeros_like(mg.ones(2, device=d)),
    "arange": lambda d: mg.arange(5, device=d),
    "linspace": lambda d: mg.linspace(0, 1, 5, device=d),
    "eye": lambda d: mg.eye(2, 3, device=d),
    "one_hot": lambda d: mg.one_hot(mg.arange(3, device=d), 4),
    "meshgrid": lambda d: mg.meshgrid(mg.arange(3, device=d), mg.arange(2, device=d))[0],
    "rand": lambda d: mg.rand(3, 5, device=d),
    "randn": lambda d: mg.randn(3, 5, device=d),
    "rand_like": lambda d: mg.rand_like(mg.zeros(3, 5, device=d)),
    "randn_like": lambda d: mg.randn_like(mg.zeros(3, 5, device=d)),
    "normal": lambda d: mg.normal(mg.zeros(3, device=d), mg.ones(3, device=d)),
    "randint": lambda d: mg.randint(-3, 9, (2, 3), device=d),
    "randperm": lambda d: mg.randperm(9, device=d),
    "bernoulli": lambda d: mg.bernoulli(mg.full((9,), 0.5, device=d)),
    "dropout": lambda d: nn.functional.dropout(mg.ones(9, device=d)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_made_on_the_device(name: str) -> None:
    """The same numbers there, random ones too."""
    made = []
    for device in ("cuda", "cpu"):
        mg.manual_seed(5)
        made.append(MAKERS[name](device).data)
    check_same(*made)


INITIALISERS = (
    "uniform_ normal_ zeros_ ones_ eye_ orthogonal_ xavier_uniform_ xavier_normal_ "
    "kaiming_uniform_ kaiming_normal_"
)


@pytest.mark.parametrize("name", str.split(INITIALISERS))
def test_initialised_on_the_device(name: str) -> None:
    made = []
    for device in ("cuda", "cpu"):
        mg.manual_seed(5)
        made.append(getattr(nn.init, name)(mg.zeros(3, 4, device=device)).data)
    check_same(*made)


# Training


def convolutional() -> nn.Module:
    mg.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(36),
        nn.Dropout(0.3),
        nn.Linear(36, 3),
    ).double()


OPTIMIZERS = {
    "SGD": lambda p: mg.optim.SGD(p, lr=0.1),
    "Nesterov": lambda p: mg.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: mg.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: mg.optim.AdamW(p, lr=0.01),
}


def trained(device: str, optimizer: str, steps: int = 3) -> tuple[nn.Module, Any, list[float]]:
    """A network after some steps, its optimizer, and its losses."""
    rng = np.random.default_rng(8)
    x = Tensor(rng.normal(size=(5, 1, 6, 6))).to(device)
    target = Tensor(rng.integers(0, 3, 5)).to(device)
    model = convolutional().to(device)
    update = OPTIMIZERS[optimizer](model.parameters())
    mg.manual_seed(4)
    losses = []
    for _ in range(steps):
        update.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target, label_smoothing=0.1)
        loss.backward()
        update.step()
        losses.append(loss.item())
    return model, update, losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_the_same_there(optimizer: str) -> None:
    here, _, wanted = trained("cpu", optimizer)
    there, _, losses = trained("cuda", optimizer)
    np.testing.assert_allclose(losses, wanted, rtol=1e-10)
    for p, q in zip(there.state_dict().values(), here.state_dict().values(), strict=True):
        check_same(p.data, q.data, ulps=1e6)  # the steps of Adam magnify rounding errors
    for p in there.parameters():
        assert p.grad.device == "cuda:0"


def test_arrays_as_they_are_with_several_gpus(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their class does as CuPy's own, also where there is one GPU. (tests/test_several_gpus.py has
    all that is done with them, on the stand-in.)"""
    _, _, wanted = trained("cuda", "Adam")
    monkeypatch.setattr(gpus, "several", lambda _: True)
    model, _, losses = trained("cuda", "Adam")
    np.testing.assert_allclose(losses, wanted, rtol=1e-10)
    for p in model.parameters():
        for x in (p, p.grad, (p * 2 + 1)[None], mg.cat([p, p]), mg.zeros_like(p).abs()):
            assert x is not None and isinstance(x.data, cupy.ndarray)
            assert type(x.data) is gpus.resident_class(cupy)


@pytest.mark.parametrize(("source", "target"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_states_are_loaded_from_another_device(source: str, target: str) -> None:
    model, optimizer, _ = trained(source, "Adam")
    other, update, _ = trained(target, "Adam", steps=1)
    other.load_state_dict(model.state_dict())
    update.load_state_dict(optimizer.state_dict())
    for p, q in zip(other.parameters(), model.parameters(), strict=True):
        assert p.device == mg.zeros(1, device=target).device
        np.testing.assert_array_equal(p.cpu().detach().data, q.cpu().detach().data)
        for kept, saved in zip(update.state[p].values(), optimizer.state[q].values(), strict=True):
            if isinstance(kept, Tensor):
                assert kept.device == p.device
                np.testing.assert_array_equal(kept.cpu().data, saved.cpu().data)


def test_a_module_is_made_there() -> None:
    layer = nn.BatchNorm2d(2, device="cuda")
    assert {t.device for t in layer.state_dict().values()} == {"cuda:0"}
    assert copy.deepcopy(layer).weight.device == "cuda:0"


# Transforms and modes

TRANSFORMS = {
    "vjp": lambda f, x: mg.vjp(f, x, [1.0, 2.0])[1],
    "jvp": lambda f, x: mg.jvp(f, x, [1.0, 2.0])[1],
    "hvp": lambda f, x: mg.hvp(lambda x: f(x).sum(), x, [1.0, 2.0])[1],
    "jacobian": lambda f, x: mg.jacobian(f, x),
    "hessian": lambda f, x: mg.hessian(lambda x: f(x).sum(), x),
    "checkpoint": lambda f, x: mg.grad(mg.checkpoint(f, x).sum(), x)[0],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform(name: str) -> None:
    made = []
    for to in (on_device, Tensor):
        x = to(np.array([0.5, 2.0])).requires_grad_()
        made.append(TRANSFORMS[name](lambda x: mg.exp(x) * x.flip(0), x).data)
    check_same(*made)


def test_anomalies_are_found_there() -> None:
    x = on_device([0.0, 1.0], requires_grad=True)
    with mg.detect_anomaly(), pytest.raises(FloatingPointError, match="sqrt.*infinite"):
        mg.sqrt(x).sum().backward()


def test_hooks_stay_on_the_device() -> None:
    x = on_device([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: Tensor(np.ones(2)))
    with pytest.raises(TypeError, match="hook on mul: .* cpu and cuda:0"):
        y.sum().backward()
