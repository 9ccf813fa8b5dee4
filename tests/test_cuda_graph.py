"""Steps that are captured in a CUDA graph and replayed; on the stand-in where there is no GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.nn import functional as F

pytestmark = pytest.mark.usefixtures("cuda")


def network() -> nn.Module:
    mg.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.LayerNorm(4),
        nn.Linear(4, 3),
    )


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(8)
    return [
        (
            mg.tensor(rng.normal(size=(5, 1, 6, 6)).astype("f4"), device="cuda"),
            mg.tensor(rng.integers(0, 3, 5), device="cuda"),
        )
        for _ in range(count)
    ]


class Training:
    """A network with its optimizer, and the step that is captured."""

    def __init__(self) -> None:
        self.model = network().cuda()
        self.optimizer = mg.optim.Adam(self.model.parameters(), lr=0.01)

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), target)
        loss.backward()
        return loss

    def numbers(self) -> list[np.ndarray]:
        return [t.cpu().numpy() for t in self.model.state_dict().values()]


def test_replays_train_as_the_step_itself() -> None:
    """Losses, parameters and running statistics are the same; also if gradients are dropped."""
    eager, replayed = Training(), Training()
    given = batches(5)
    for _ in range(2):
        eager.step(*given[0])  # as the captured one warms up
    replay = mg.cuda.capture(replayed.step, *given[0])
    for x, target in given:
        wanted = eager.step(x, target).item()
        eager.optimizer.step()
        loss = replay(x, target)
        replayed.optimizer.step()
        replayed.optimizer.zero_grad()
        np.testing.assert_allclose(loss.item(), wanted, rtol=1e-4)
    for got, wanted in zip(replayed.numbers(), eager.numbers(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def test_capturing_computes_nothing_and_a_replay_does() -> None:
    x = mg.tensor([1.0, 2.0], device="cuda")
    total = mg.zeros(2, device="cuda")

    def step(x: Tensor) -> tuple[Tensor, None, Tensor]:
        with mg.no_grad():
            total.add_(x)
        return x * 3 + 1, None, x.sum()

    replay = mg.cuda.capture(step, x, warm_up=0)
    assert total.tolist() == [0.0, 0.0]
    first, nothing, _ = replay(x)
    assert first.tolist() == [4.0, 7.0] and nothing is None
    again, _, sums = replay(mg.tensor([5.0, 7.0], device="cuda"))
    assert again is first and first.tolist() == [16.0, 22.0] and sums.item() == 12.0
    assert total.tolist() == [6.0, 9.0]


def test_a_class_that_there_is_not_makes_nan() -> None:
    """The check would have to read the classes; they are not there yet."""
    x = mg.tensor(np.zeros((3, 4), "f4"), device="cuda")
    target = mg.tensor([0, 1, 3], device="cuda")
    replay = mg.cuda.capture(lambda x, t: F.cross_entropy(x, t, reduction="none"), x, target)
    assert np.isfinite(replay(x, target).tolist()).all()
    for wrong in (4, -1):
        losses = replay(x, mg.tensor([0, wrong, 3], device="cuda")).tolist()
        assert np.isnan(losses).tolist() == [False, True, False]
    skipped = replay(x, mg.tensor([0, -100, 3], device="cuda")).tolist()
    assert skipped[1] == 0 and min(skipped[0], skipped[2]) > 1


WRONG = {
    "reads a number": (RuntimeError, "reads a number", lambda x: x.sum().item() * x),
    "decides": (RuntimeError, "reads a number", lambda x: x if x.sum() > 0 else -x),
    "copies from main memory": (
        RuntimeError,
        "copies from main memory",
        lambda x: x + mg.tensor([1.0, 2.0], device="cuda"),
    ),
    "waits": (RuntimeError, "reads a number", lambda x: mg.masked_select(x, x > 0)),
    "draws": (RuntimeError, "random numbers cannot be captured", lambda x: F.dropout(x, 0.5)),
    "returns a list": (TypeError, "the step returned a list", lambda x: [x]),
    "its own error": (ZeroDivisionError, "division", lambda x: x * (1 / 0)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_captured(name: str) -> None:
    """It is said what, and the engine goes on as before."""
    error, words, step = WRONG[name]
    x = mg.tensor([1.0, 2.0], device="cuda")
    with pytest.raises(error, match=words):
        mg.cuda.capture(step, x, warm_up=0)
    assert (x * 2).tolist() == [2.0, 4.0]
    assert F.dropout(x, 0.5).shape == (2,)
    assert mg.cuda.capture(lambda x: x * 2, x)(x).tolist() == [2.0, 4.0]


def test_libraries_that_cannot_be_captured(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> Any:
        raise NotImplementedError("calling cuBLAS API during stream capture")

    x = mg.tensor([1.0, 2.0], device="cuda")
    with pytest.raises(RuntimeError, match="a library that CuPy cannot capture .*cuBLAS"):
        mg.cuda.capture(refuses, x, warm_up=0)


def test_inputs_are_checked() -> None:
    x = mg.tensor([1.0, 2.0], device="cuda")
    for examples, words in (
        ((), "wants an example"),
        ((mg.tensor([1.0]),), "example 0 is on cpu; wants a tensor on a GPU"),
        ((x, 2.0), "example 1 is a float"),
    ):
        with pytest.raises(TypeError, match=words):
            mg.cuda.capture(lambda *_: None, *examples)
    replay = mg.cuda.capture(lambda x: x * 2, x)
    with pytest.raises(TypeError, match="wants 1 tensors, got 2"):
        replay(x, x)
    with pytest.raises(TypeError, match="input 0 is float32 on cpu, the example was .* on cuda:0"):
        replay(x.cpu())
    with pytest.raises(TypeError, match="input 0 is float64 on cuda:0"):
        replay(x.double())
    with pytest.raises(TypeError, match="input 0 is a list"):
        replay([1.0, 2.0])
    with pytest.raises(ValueError, match=r"input 0 has shape \(1,\), the example \(2,\)"):
        replay(x[:1])
