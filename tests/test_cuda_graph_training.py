"""Training steps captured whole, the optimizer's with them; on the stand-in where there is no GPU.

Replays must have the bits of the same steps done one after the other.
"""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Tensor, nn, optim
from minigrad.nn import functional as F
from minigrad.optim import Optimizer

pytestmark = pytest.mark.usefixtures("cuda")

Make = Callable[[Any], Optimizer]
MAKERS: dict[str, Make] = {
    "sgd": lambda params: optim.SGD(params, lr=0.1, weight_decay=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.3),
    "nesterov": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda params: optim.Adam(params, lr=0.1, weight_decay=0.1),
    "adamw": lambda params: optim.AdamW(params, lr=0.1, maximize=True),
    "amsgrad": lambda params: optim.Adam(params, lr=0.1, amsgrad=True),
}


class Training:
    """A network, its optimizer, and a whole step."""

    def __init__(self, make: Make, clip: float | None = None) -> None:
        mg.manual_seed(3)
        layers = nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3)
        self.model = nn.Sequential(*layers).cuda()
        self.optimizer = make(self.model.parameters())
        self.clip = clip

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), target)
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return loss

    def numbers(self) -> list[np.ndarray]:
        return [t.cpu().numpy() for t in self.model.state_dict().values()]


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(8)
    return [
        (
            mg.tensor(rng.normal(size=(7, 6)).astype("f4"), device="cuda"),
            mg.tensor(rng.integers(0, 3, 7), device="cuda"),
        )
        for _ in range(count)
    ]


def both(make: Make, **options: Any) -> tuple[Training, Training, Callable[..., Any]]:
    """The same training twice, after two steps, the second one captured; and its replay."""
    eager, captured = Training(make, **options), Training(make, **options)
    first = batches(1)[0]
    for _ in range(2):
        eager.step(*first)
    return eager, captured, mg.cuda.capture(captured.step, *first)


def same(eager: Training, captured: Training) -> bool:
    return all(map(np.array_equal, eager.numbers(), captured.numbers()))


def states(optimizer: Optimizer) -> list[Any]:
    """All that is remembered, as plain numbers."""
    return [
        {name: v.tolist() if isinstance(v, Tensor) else v for name, v in state.items()}
        for state in optimizer.state_dict()["state"].values()
    ]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_replays_have_the_bits_of_steps(make: Make) -> None:
    """Losses, parameters, state and count of steps, while the learning rate changes."""
    eager, captured, replay = both(make)
    assert same(eager, captured)  # capturing itself does nothing
    for x, target in batches(4):
        assert replay(x, target).item() == eager.step(x, target).item()
        assert same(eager, captured)
        for training in (eager, captured):
            training.optimizer.param_groups[0]["lr"] *= 0.7
    assert states(captured.optimizer) == states(eager.optimizer)


@pytest.mark.parametrize("clip", [0.01, 100.0, 0.0])
def test_a_step_that_clips_gradients(clip: float) -> None:
    eager, captured, replay = both(MAKERS["adam"], clip=clip)
    for x, target in batches(3):
        assert replay(x, target).item() == eager.step(x, target).item()
    assert same(eager, captured)


def test_clipping_needs_no_call_before() -> None:
    """What it copies to the GPU is copied beside the graph, and stays with it."""
    x = mg.tensor(np.arange(1.0, 24.0, dtype="f4"), device="cuda", requires_grad=True)

    def step(c: Tensor) -> Tensor:
        x.grad = None
        (x * c).sum().backward()
        return nn.utils.clip_grad_norm_(x, 1.0)

    c = mg.tensor([3.0], device="cuda")
    replay = mg.cuda.capture(step, c, warm_up=0)
    from minigrad_kernels.cuda import optimizer

    optimizer._chunks.cache_clear()
    for factor in (3.0, 0.01):
        norm = replay(mg.tensor([factor], device="cuda")).item()
        assert norm == pytest.approx(factor * np.sqrt(23), rel=1e-6)
        assert x.grad is not None
        wanted = np.full(23, factor * min(1, 1 / norm), "f4")
        np.testing.assert_allclose(x.grad.cpu().numpy(), wanted, rtol=1e-5)


def test_every_option_may_change_between_replays() -> None:
    eager, captured, replay = both(MAKERS["amsgrad"])
    changes = {"betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 0.2, "maximize": True}
    for (name, value), batch in zip(changes.items(), batches(4), strict=True):
        for training in (eager, captured):
            training.optimizer.param_groups[0][name] = value
        assert replay(*batch).item() == eager.step(*batch).item()
    assert same(eager, captured)
    eager, captured, replay = both(MAKERS["momentum"])
    for name, value in {"dampening": 0.0, "nesterov": True, "momentum": 0.3}.items():
        for training in (eager, captured):
            training.optimizer.param_groups[0][name] = value
        replay(*batches(1)[0])
        eager.step(*batches(1)[0])
        assert same(eager, captured)


def test_replays_and_steps_in_turn() -> None:
    """Both count on: a last batch of another size is a step that is not captured."""
    eager, captured, replay = both(MAKERS["adam"])
    for i, (x, target) in enumerate(batches(5)):
        if i % 2:
            x, target = x[:3], target[:3]
            captured.step(x, target)
        else:
            replay(x, target)
        eager.step(x, target)
        assert same(eager, captured)


def test_groups_and_parameters_that_lie_elsewhere() -> None:
    """Two groups of their own rates; a parameter that somebody sees is stepped alone."""
    held: list[Tensor] = []

    def make(params: Any) -> Optimizer:
        params = list(params)
        held.extend(p.detach() for p in params[1:2])
        groups = [{"params": params[:3]}, {"params": params[3:], "lr": 0.5}]
        return optim.Adam(groups, lr=0.01)

    eager, captured, replay = both(make)
    for batch in batches(3):
        assert replay(*batch).item() == eager.step(*batch).item()
        for training in (eager, captured):
            training.optimizer.param_groups[1]["lr"] *= 0.5
    assert same(eager, captured)


def test_two_optimizers_and_two_steps_in_one_graph() -> None:
    def trained(capturing: bool) -> tuple[list[float], int]:
        p = mg.tensor([1.0, 2.0], device="cuda", requires_grad=True)
        q = mg.tensor([3.0], device="cuda", requires_grad=True)
        first, second = optim.Adam([p], lr=0.1), optim.SGD([q], lr=0.1)

        def step(x: Tensor) -> None:
            for _ in range(2):
                for each in (first, second):
                    each.zero_grad()
                ((p * x).sum() * q * q).sum().backward()
                first.step()
            second.step()

        x = mg.tensor([0.5, 0.25], device="cuda")
        step(x)
        run = mg.cuda.capture(step, x, warm_up=0) if capturing else step
        for _ in range(3):
            run(x)
        return p.tolist() + q.tolist(), first.state[p]["step"]

    assert trained(True) == trained(False)
    assert trained(True)[1] == 8


def test_two_graphs_of_one_model() -> None:
    """As for batches of two sizes: each has gradients of its own."""
    eager, captured, replay = both(MAKERS["adam"])
    x, target = batches(1)[0]
    other = mg.cuda.capture(captured.step, x[:3], target[:3], warm_up=1)
    eager.step(x[:3], target[:3])
    for i, (x, target) in enumerate(batches(6)):
        if i % 3:
            other(x[:3], target[:3]), eager.step(x[:3], target[:3])
        else:
            replay(x, target), eager.step(x, target)
        assert same(eager, captured)


def test_what_a_graph_uses_stays_with_it() -> None:
    eager, captured, replay = both(MAKERS["adam"])
    model = weakref.ref(captured.model)
    del captured
    assert model() is not None
    assert replay(*batches(1)[0]).item() == eager.step(*batches(1)[0]).item()
    del replay
    gc.collect()
    assert model() is None


def test_a_saved_state_goes_on_elsewhere() -> None:
    """After replays, in an optimizer of its own, and in another graph."""
    eager, captured, replay = both(MAKERS["adam"])
    for batch in batches(2):
        replay(*batch), eager.step(*batch)
    other = Training(MAKERS["adam"])
    other.model.load_state_dict(captured.model.state_dict())
    other.optimizer.load_state_dict(captured.optimizer.state_dict())
    assert other.optimizer.state_dict()["state"][0]["step"] == 4
    again = mg.cuda.capture(other.step, *batches(1)[0], warm_up=0)
    for batch in batches(2):
        again(*batch), eager.step(*batch)
    assert same(eager, other) and states(eager.optimizer) == states(other.optimizer)


def test_a_change_of_parameters_is_noticed_by_graphs_that_keep_them() -> None:
    _, captured, replay = both(MAKERS["adam"])
    x, target = batches(1)[0]
    loss = F.cross_entropy(captured.model(x), target)
    replay(x, target)
    with pytest.raises(RuntimeError, match=r"changed in place by Adam\.step at .*test_cuda_graph"):
        loss.backward()


# What is refused


def _load(training: Training) -> None:
    training.optimizer.load_state_dict(training.optimizer.state_dict())


def _replace(training: Training) -> None:
    p = next(training.model.parameters())
    p.data = p.data.copy()


def _step_some(training: Training) -> None:
    training.optimizer.zero_grad()
    p = next(training.model.parameters())
    (p * p).sum().backward()
    training.optimizer.step()


def _add(training: Training) -> None:
    training.optimizer.param_groups[0]["params"].append(mg.ones(3, device="cuda"))


def _option(name: str, value: Any) -> Callable[[Training], None]:
    return lambda training: training.optimizer.param_groups[0].update({name: value})


CHANGES = {
    "another state": (RuntimeError, "have another state .* capture the training", _load),
    "another array": (RuntimeError, "has another array; capture", _replace),
    "a step of some": (RuntimeError, "have another state", _step_some),
    "parameters": (RuntimeError, "its groups have other parameters", _add),
    "groups": (RuntimeError, "other parameters", lambda t: t.optimizer.param_groups.clear()),
    "what is remembered": (RuntimeError, "options want another state", _option("amsgrad", True)),
    "an option out of range": (ValueError, "lr must be .* got -1", _option("lr", -1)),
    "no number": (TypeError, "lr must be a number", _option("lr", "fast")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_replay_that_would_not_be_the_step_is_refused(name: str) -> None:
    """Before anything is launched or counted; and what was captured anew is right."""
    error, words, change = CHANGES[name]
    _, captured, replay = both(MAKERS["adam"])
    change(captured)
    before, counts = captured.numbers(), copy.deepcopy(list(captured.optimizer.state.values()))
    with pytest.raises(error, match=words):
        replay(*batches(1)[0])
    assert all(map(np.array_equal, before, captured.numbers()))
    for now, then in zip(captured.optimizer.state.values(), counts, strict=True):
        assert now["step"] == then["step"] and now["exp_avg"].tolist() == then["exp_avg"].tolist()


class Own(Optimizer):
    """A user's, of which nothing is known."""

    def update(self, p: Tensor, state: dict[str, Any], options: dict[str, Any]) -> None:
        assert p.grad is not None
        p.data -= options["lr"] * p.grad.data


class OwnAdam(optim.Adam):
    """One that does something else with a parameter."""

    def update(self, p: Tensor, state: dict[str, Any], options: dict[str, Any]) -> None:
        super().update(p, state, options)


class OwnFormula(optim.SGD):
    """One that computes something else for all of them."""

    def compute(self, arrays: tuple[Any, ...], phase: bool, settings: dict[str, Any]) -> None:
        super().compute(arrays, phase, {**settings, "lr": settings["lr"] / 2})


UNCAPTURABLE: dict[str, tuple[str, Make, int]] = {
    "a user's": (r"Own\.step: cannot be captured", lambda ps: Own(ps, {"lr": 0.1}), 1),
    "a user's Adam": (r"OwnAdam\.step: cannot be captured", OwnAdam, 1),
    "a user's SGD": (r"OwnFormula\.step: cannot be captured", OwnFormula, 1),
    "no state yet": (r"Adam\.step: .* no state yet; a step must be done", optim.Adam, 0),
}


@pytest.mark.parametrize("name", UNCAPTURABLE)
def test_steps_that_cannot_be_captured(name: str) -> None:
    """It is said why, and the engine goes on."""
    words, make, warm_up = UNCAPTURABLE[name]
    training = Training(make)
    before = training.numbers()
    with pytest.raises(RuntimeError, match=words):
        mg.cuda.capture(training.step, *batches(1)[0], warm_up=warm_up)
    if not warm_up:
        assert all(map(np.array_equal, before, training.numbers()))
    training.step(*batches(1)[0])
    assert all(np.isfinite(x).all() for x in training.numbers())


@pytest.mark.parametrize(("dtype", "device"), [("float16", "cuda"), ("float32", "cpu")])
def test_parameters_that_cannot_be_captured(dtype: str, device: str) -> None:
    p = mg.ones(3, dtype=getattr(mg, dtype), device=device, requires_grad=True)
    p.grad = mg.ones(3, dtype=getattr(mg, dtype), device=device)
    optimizer = optim.SGD([p], lr=0.5)

    def step(x: Tensor) -> Tensor:
        optimizer.step()
        return x * 2

    words = "on cpu, which is no GPU" if device == "cpu" else "type float16; wants float32"
    with pytest.raises(RuntimeError, match=words):
        mg.cuda.capture(step, mg.ones(2, device="cuda"), warm_up=0)
    assert p.tolist() == [1, 1, 1]
