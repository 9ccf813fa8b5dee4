"""Parameters side by side in a GPU's memory: few launches, and nobody sees a difference.

On the stand-in where there is no GPU. What is alike on all devices is tested in test_flat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest

import minigrad as mg
from minigrad import Tensor, flat, nn, optim
from minigrad.optim import Optimizer
from minigrad_kernels import memory
from minigrad_kernels.cuda.launch import KernelFunction

pytestmark = pytest.mark.usefixtures("cuda")

Make = Callable[[Any], Optimizer]
MAKERS: dict[str, tuple[str, Make]] = {
    "sgd": ("descend", lambda ps: optim.SGD(ps, lr=0.1)),
    "momentum": ("descend_with_momentum", lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9)),
    "adam": ("adam", lambda ps: optim.Adam(ps, lr=0.1, weight_decay=0.1)),
    "adamw": ("amsgrad", lambda ps: optim.AdamW(ps, lr=0.1, amsgrad=True)),
}
SHAPES = [(5, 3), (3,), (), (40, 17), (1, 1)]


@contextmanager
def launches() -> Iterator[Counter[str]]:
    """Counts launches of our kernels by name."""
    counts: Counter[str] = Counter()
    launch = KernelFunction.__call__

    def counted(self: KernelFunction, *args: Any, **options: Any) -> None:
        counts[self.name] += 1
        launch(self, *args, **options)

    with mock.patch.object(KernelFunction, "__call__", counted):
        yield counts


def make(shapes: Any = SHAPES, dtype: str = "f4") -> list[Tensor]:
    rng = np.random.default_rng(3)
    arrays = [np.asarray(rng.normal(size=s), dtype) for s in shapes]
    return [mg.tensor(a, device="cuda", requires_grad=True) for a in arrays]


def backward(params: list[Tensor], factor: float = 1.0) -> None:
    for p in params:
        (p * p * p * factor).sum().backward()


def train(optimizer: Optimizer, params: list[Tensor], steps: int = 3) -> None:
    for i in range(steps):
        optimizer.zero_grad()
        backward(params, 1.0 + i)
        optimizer.step()


def numbers(params: list[Tensor]) -> list[np.ndarray]:
    return [p.detach().cpu().numpy() for p in params]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(map(np.array_equal, numbers(a), numbers(b)))


@pytest.mark.parametrize("name", MAKERS)
def test_a_step_is_one_launch_and_has_the_bits_of_many(name: str) -> None:
    kernel, maker = MAKERS[name]
    params, apart = make(), make()
    holders = [p.detach() for p in apart]  # seen by somebody: they cannot be moved
    optimizer, of_each = maker(params), maker(apart)
    for ps, each, wanted in ((params, optimizer, 1), (apart, of_each, len(SHAPES))):
        train(each, ps)
        each.zero_grad()
        backward(ps)
        with launches() as counts:
            each.step()
        assert counts == {kernel: wanted}
    assert same(params, apart)
    del holders


def test_a_model_is_one_launch_too() -> None:
    """The gradients of its layers come to lie beside each other, by kernels or by copies."""
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 150), nn.Linear(150, 3)
    model = nn.Sequential(*layers).cuda()
    optimizer = optim.Adam(model.parameters())
    x = mg.tensor(np.random.default_rng(0).normal(size=(9, 1, 8, 8)).astype("f4"), device="cuda")
    (model(x) ** 2).sum().backward()
    weight: Any = layers[3].weight
    assert weight.grad.data.nbytes > flat.SMALL  # not copied: the kernel wrote it there
    with launches() as counts:
        optimizer.step()
    assert counts == {"adam": 1}


def test_types_and_devices_lie_apart() -> None:
    params = [*make(), *make(dtype="f8"), mg.ones(3, requires_grad=True)]
    wanted = [*make(), *make(dtype="f8"), mg.ones(3, requires_grad=True)]
    optimizers = [optim.SGD(ps, lr=0.1) for ps in (params, wanted)]
    with launches() as counts:
        train(optimizers[0], params, 1)
    assert counts["descend"] == 2
    for p in wanted:
        train(optim.SGD([p], lr=0.1), [p], 1)
    assert same(params, wanted)


def test_clipping_is_four_launches() -> None:
    params, apart = make(), make()
    holders = [p.detach() for p in apart]
    optimizer = optim.SGD(params, lr=0.1)  # lays them side by side
    for ps in (params, apart):
        backward(ps)
    nn.utils.clip_grad_norm_(params, 1e9)  # its tables are there now
    with launches() as counts:
        norm = nn.utils.clip_grad_norm_(params, 0.5)
    assert counts == {"sum_squares": 1, "norms": 1, "clip_factor": 1, "scale_by": 1}
    assert norm.device == "cuda:0"
    other = nn.utils.clip_grad_norm_(apart, 0.5)
    assert norm.item() == other.item()
    assert same([p.grad for p in params], [p.grad for p in apart])  # type: ignore[misc]
    exact = np.sqrt(sum((n.astype("f8") ** 2).sum() for n in numbers([p.grad for p in params])))  # type: ignore[misc]
    assert exact == pytest.approx(0.5, rel=1e-5)
    del holders, optimizer


def test_parts_begin_where_wide_loads_may() -> None:
    params = make()
    optimizer: Any = optim.Adam(params)
    train(optimizer, params, 1)
    (whole,) = optimizer._plans[0].flats
    for part in whole.parts:
        for array in (part.data, part.grad, *part.kept.values()):
            assert array.data.ptr % 16 == 0
        assert (part.data.data.ptr - whole.data.data.ptr) % 64 == 0
    assert np.isfinite(whole.data.get()).all()  # gaps are computed with


def test_a_held_gradient_never_changes() -> None:
    params = make()
    optimizer = optim.SGD(params, lr=0.1)
    backward(params)
    held = [p.grad for p in params]
    view: Any = params[3].grad
    view = view.data[1:, ::2]
    before, before_view = numbers(held), view.get()  # type: ignore[arg-type]
    optimizer.zero_grad()
    backward(params, 7.0)
    optimizer.step()
    assert all(map(np.array_equal, numbers(held), before))  # type: ignore[arg-type]
    del held
    optimizer.zero_grad()
    backward(params, 3.0)
    np.testing.assert_array_equal(view.get(), before_view)  # the view alone keeps it, too


def test_what_somebody_sees_is_not_moved(cuda: Any) -> None:
    """A view, a tensor with the same array, and an array made of its address."""
    params = make([(4,)] * 4)
    seen: list[Any] = [params[0].data[1:], params[1].detach()]
    seen.append(cuda.ndarray((4,), "f4", memptr=params[2].data.data))
    optimizer: Any = optim.SGD(params, lr=1.0)
    places = [place is not None for place in optimizer._plans[0].places]
    assert places == [False, False, False, True]
    for p in params:
        p.grad = mg.ones(4, device="cuda")
    optimizer.step()
    now = numbers(params)
    np.testing.assert_array_equal(seen[0].get(), now[0][1:])
    assert seen[1].tolist() == now[1].tolist()
    np.testing.assert_array_equal(seen[2].get(), now[2])


def test_a_step_is_noticed_by_graphs_that_keep_the_parameters() -> None:
    params = make()
    optimizer = optim.SGD(params, lr=0.1)
    losses = [(p * p).sum() for p in params[:2]]
    optimizer.zero_grad()
    backward(params[1:])
    optimizer.step()
    losses[0].backward()  # its parameter was not among those that were updated
    with pytest.raises(RuntimeError, match=r"changed in place by SGD\.step at .*test_flat_on_gpu"):
        losses[1].backward()


def test_states_are_taken_in_and_belong_to_the_user() -> None:
    params = make()
    first = optim.Adam(params, lr=0.1)
    train(first, params)
    second = optim.Adam(params, lr=0.1)
    second.load_state_dict(first.state_dict())
    held = second.state[params[0]]["exp_avg"]
    train(second, params)
    assert held is second.state[params[0]]["exp_avg"]
    other = make()
    train(optim.Adam(other, lr=0.1), other)
    assert second.state[params[0]]["step"] == 6
    optimizer = optim.Adam(other, lr=0.1)
    optimizer.load_state_dict({**first.state_dict()})
    train(optimizer, other)
    assert same(params, other)


def test_an_offered_place_goes_to_arrays_of_its_kind(cuda: Any) -> None:
    from minigrad_kernels.cuda.arrays import empty

    place = cuda.empty((3, 4), "f4")
    memory.offer(place)
    try:
        assert type(memory.empty((3, 4), np.float32)) is np.ndarray
        assert type(empty(np.empty(1, "f4"), (3, 4))) is np.ndarray
        assert empty(place, (4, 3)) is not place
        assert empty(place, (3, 4), np.float64) is not place
        assert empty(place, (3, 4)) is place
        assert empty(place, (3, 4)) is not place
    finally:
        memory.offer()
