"""Two GPUs, for which the stand-in for CuPy stands: everything happens where the arrays are.

The first GPU is the current one, everything lies on the second. The stand-in refuses what is
computed elsewhere than its arrays are, and puts results on the current device, as CuPy does.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
import test_device
import test_other_arrays as one_gpu
from cupy_standin import installed, many, several_devices
from cupy_standin.kernels import cuda_kernels
from kernel_calls import check_equal, drawn
from test_on_gpu import on_emulator

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.ops.registry import Operation, Sample
from minigrad.tensor import wrap
from minigrad_kernels import BACKENDS, KERNELS, Arguments, Implementation, Kernel, registry
from minigrad_kernels.arrays import array_module

THERE = "cuda:1"


@pytest.fixture(scope="module", params=["definitions", "kernels"])
def gpus(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Two GPUs; CuPy's functions run there, or our kernels on the emulator."""
    with installed() as module, several_devices():
        if request.param == "definitions":
            with registry.use("reference"):
                yield module
        elif not BACKENDS["cuda-on-cpu"].available:
            pytest.skip(f"no emulator: {BACKENDS['cuda-on-cpu'].reason}")
        else:
            with cuda_kernels():
                yield module


@pytest.fixture
def definitions() -> Iterator[Any]:
    with installed() as module, several_devices(), registry.use("reference"):
        yield module


@pytest.fixture
def kernels() -> Iterator[Any]:
    if not BACKENDS["cuda-on-cpu"].available:
        pytest.skip(f"no emulator: {BACKENDS['cuda-on-cpu'].reason}")
    with installed() as module, several_devices(), cuda_kernels():
        yield module


@pytest.fixture(autouse=True)
def the_current_one_stays() -> Iterator[None]:
    yield
    assert cupy_standin.Device.current == 0


def moved(value: Any) -> Any:
    """The same with arrays on the second GPU in the places of NumPy's."""
    if isinstance(value, (np.ndarray, np.generic)):
        return Tensor(np.asarray(value), device=THERE).data
    return type(value)(map(moved, value)) if type(value) in (list, tuple) else value


def check_there(y: Any) -> None:
    assert isinstance(y, cupy_standin.ndarray) and y.data.device_id == 1


def check(got: Any, wanted: Any, ulps: float = 10_000) -> None:
    """Arrays on the second GPU with the numbers of NumPy's, as `cupy_standin.check_same`."""
    for y, z in zip(many(got), many(wanted), strict=True):
        check_there(y)
        size = max(1.0, float(np.abs(np.nan_to_num(z, posinf=0, neginf=0)).max(initial=0)))
        eps = np.finfo(z.dtype).eps if z.dtype.kind in "fc" else 0
        np.testing.assert_allclose(y.get(), z, rtol=0, atol=ulps * eps * size, equal_nan=True)


# Everything that is registered


@pytest.mark.parametrize(("k", "call"), one_gpu.KERNEL_CASES)
def test_definitions(k: Kernel, call: Arguments, definitions: Any) -> None:
    wanted = k.reference(*call.args, **call.options)
    check(k(*moved(call.args), **call.options), wanted)


@pytest.mark.parametrize(("op", "s"), one_gpu.CASES)
def test_operation(
    op: Operation, s: Sample, definitions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results and derivatives to second order are NumPy's, and on the GPU of the arrays."""
    monkeypatch.setattr(one_gpu, "moved", moved)
    cotangents: list[Any] = []
    got, wanted = (
        one_gpu.results(one_gpu.drawn(op, s, there), cotangents) for there in (True, False)
    )
    for y, z in zip(got, wanted, strict=True):
        check(y, z)


IMPLEMENTATIONS = [
    pytest.param(k, i, id=f"{k.name}-{i.name}")
    for k in KERNELS.values()
    for i in k.implementations
    if i.backend == "cuda" and on_emulator(k, i)
]


@pytest.mark.parametrize(("k", "i"), IMPLEMENTATIONS)
def test_kernel(k: Kernel, i: Implementation, kernels: Any) -> None:
    """A call of each, into new arrays and into given ones."""
    accepting = (c for c in drawn(k) if i.accepts is None or i.accepts(*c.args, **c.options))
    call = next(accepting)
    wanted = many(k.reference(*call.args, **call.options))
    options = {name: moved(value) for name, value in call.options.items()}
    got = many(i.run(*moved(call.args), **options))
    room = tuple(moved(np.full_like(y, 77)) for y in wanted)
    many(i.run(*moved(call.args), **options, out=room if len(wanted) > 1 else room[0]))
    for y, written, z in zip(got, room, wanted, strict=True):
        check_there(y)
        check_there(written)
        check_equal(k, call, y.get(), z, eps=i.eps)
        check_equal(k, call, written.get(), z, eps=i.eps)


# Networks


@pytest.mark.parametrize("optimizer", test_device.OPTIMIZERS)
def test_training(optimizer: str, gpus: Any) -> None:
    """Layers, losses, gradients, optimizers, random numbers: to the bit as on the first GPU."""
    first, _, wanted = test_device.trained("cuda:0", optimizer)
    there, update, losses = test_device.trained(THERE, optimizer)
    assert losses == wanted
    for p, q in zip(there.state_dict().values(), first.state_dict().values(), strict=True):
        assert (p.device, q.device) == (THERE, "cuda:0")
        np.testing.assert_array_equal(p.cpu().data, q.cpu().data)
    for p in there.parameters():
        assert p.grad is not None and p.grad.device == THERE
        assert {x.device for x in update.state[p].values() if isinstance(x, Tensor)} <= {THERE}


def test_a_step_that_is_captured(kernels: Any) -> None:
    """It is captured there, and replayed there."""
    losses = []
    for device in ("cuda:0", THERE):
        mg.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).to(device)
        optimizer = mg.optim.Adam(model.parameters(), lr=0.1)

        def step(x: Tensor, t: Tensor) -> Tensor:
            optimizer.zero_grad()  # noqa: B023 (called below)
            loss = nn.functional.cross_entropy(model(x), t)  # noqa: B023
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # noqa: B023
            optimizer.step()  # noqa: B023
            return loss

        x, t = mg.randn(6, 4, device=device), mg.arange(6, device=device) % 3
        replay = mg.cuda.capture(step, x, t)
        losses.append([replay(x, t).item() for _ in range(3)])
        assert {p.grad.device for p in model.parameters() if p.grad is not None} == {device}
    assert losses[0] == losses[1] and losses[0][0] > losses[0][2]


@pytest.mark.parametrize("name", test_device.MAKERS)
def test_made(name: str, gpus: Any) -> None:
    made = []
    for device in (THERE, "cpu"):
        mg.manual_seed(5)
        made.append(test_device.MAKERS[name](device).data)
    check(*made)


# From one to the other


def test_between_gpus(gpus: Any) -> None:
    """A gradient goes back to where its leaf is."""
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, device=THERE)
    y = (x.T * 2).to("cuda:0")
    assert y.device == "cuda:0" and y.tolist() == [[2.0, 6.0], [4.0, 8.0]]
    (y * y).sum().to(THERE).backward()
    assert x.grad is not None and x.grad.device == THERE
    assert x.grad.tolist() == [[8.0, 16.0], [24.0, 32.0]]
    assert mg.zeros(0, 3, device="cuda:0").to(THERE).device == THERE


def test_two_gpus_are_not_mixed(gpus: Any) -> None:
    x, y = mg.ones(2, device="cuda:0"), mg.ones(1, 2, device=THERE)
    for combine in (
        lambda: x + y,
        lambda: mg.stack([x, y]),
        lambda: mg.pow(x, y),
        lambda: mg.masked_fill(x, y > 0, 1.0),
        lambda: x[mg.tensor([0], device=THERE)],
        lambda: nn.functional.linear(y, mg.ones(3, 2, device="cuda:0")),
        lambda: nn.functional.embedding(mg.tensor([0], device="cuda:0"), y),
    ):
        with pytest.raises(TypeError, match="cuda:0(,| and).* cuda:1"):
            combine()


@pytest.mark.parametrize("optimizer", [mg.optim.SGD, mg.optim.Adam])
def test_a_gradient_on_another_gpu_is_refused(optimizer: Any, gpus: Any) -> None:
    """Before any parameter is changed; and with the right one the step is done."""
    p, q = (nn.Parameter(mg.ones(3, device=THERE)) for _ in range(2))
    p.grad, q.grad = mg.ones(3, device=THERE), mg.ones(3, device="cuda:0")
    update = optimizer([p, q], lr=0.5)
    with pytest.raises(ValueError, match="gradient .* on cuda:0 for a parameter .* on cuda:1"):
        update.step()
    assert p.tolist() == q.tolist() == [1.0, 1.0, 1.0]
    q.grad = q.grad.to(THERE)
    update.step()
    assert p.tolist() == q.tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_no_launch_takes_arrays_of_two(kernels: Any) -> None:
    run = next(i for i in KERNELS["relu_gradient"].implementations if i.backend == "cuda").run
    with pytest.raises(ValueError, match=r"is on cuda:0, .* on cuda:1: a kernel takes arrays of"):
        run(mg.ones(3, device=THERE).data, mg.ones(3, device="cuda:0").data)


@pytest.mark.parametrize("current", [0, 1])
def test_whichever_is_the_current_one(current: int, gpus: Any) -> None:
    for device in ("cuda:0", THERE):
        with gpus.cuda.Device(current):
            x = mg.tensor([1.0, 2.0], requires_grad=True, device=device)
            nn.functional.softmax(x * x + 1, 0)[1].backward()
            assert x.grad is not None and x.grad.device == device
            assert cupy_standin.Device.current == current


def test_arrays_of_cupys(definitions: Any) -> None:
    """Also one that was made elsewhere, as CuPy makes it, is computed with where it is."""
    with definitions.cuda.Device(1):
        arrays = [definitions.asarray(np.arange(3.0)) for _ in range(3)]
    x = Tensor(arrays[0], requires_grad=True)
    y = mg.record(lambda: None, arrays[1], (x, lambda g: g, None)) * 2
    loss = (y + wrap(arrays[2]) + x).sum()
    loss.backward()
    assert x.grad is not None and x.grad.device == THERE and x.grad.tolist() == [3.0, 3.0, 3.0]
    assert isinstance(x.data, definitions.ndarray) and type(x.data).__name__ == "ndarray"


def test_copies(definitions: Any) -> None:
    x = mg.ones(2, 3, device=THERE)
    assert copy.deepcopy(x).device == x.clone().device == mg.tensor(x).device == THERE
    with definitions.cuda.Device(1):
        loaded = pickle.loads(pickle.dumps(x))
    assert (loaded + 1).device == THERE
    x += 1
    x[0] = 5
    assert x.tolist() == [[5.0, 5.0, 5.0], [2.0, 2.0, 2.0]]


def test_there_is_no_third(definitions: Any) -> None:
    with pytest.raises(RuntimeError, match="there is no cuda:2; this machine has 2 GPUs$"):
        mg.zeros(2).to("cuda:2")


def test_one_gpu_has_arrays_of_cupys_own() -> None:
    """And its functions: nothing is between."""
    with installed() as standin, several_devices(1), registry.use("reference"):
        x = mg.ones(3, device="cuda")
        assert type((x + 1).data) is standin.ndarray
        assert array_module(x.data) is standin
