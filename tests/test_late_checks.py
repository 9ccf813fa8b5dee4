"""Classes and indices on a GPU: a call waits for nothing, and what is wrong is said later.

On the stand-in where there is no GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Tensor, device, nn
from minigrad.nn import functional as F

pytestmark = pytest.mark.usefixtures("cuda")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    yield
    left, device._waiting.checks = device._waiting.checks, []
    assert not left


def scores(device: str = "cuda") -> Tensor:
    rng = np.random.default_rng(3)
    return mg.tensor(rng.normal(size=(3, 4)).astype("f4"), device=device, requires_grad=True)


def classes(*numbers: int, dtype: str = "i8") -> Tensor:
    return mg.tensor(np.array(numbers, dtype), device="cuda")


def table(device: str = "cuda") -> Tensor:
    return mg.tensor(np.arange(8.0, dtype="f4").reshape(4, 2), device=device, requires_grad=True)


def with_rows(t: Tensor) -> Tensor:
    """Numbers that were written to the rows t of a tensor."""
    x, values = table(t.device) * 1, scores(t.device)[:, :2]
    x[t] = values
    return x


def with_rows_in_place(t: Tensor) -> Tensor:
    """As `with_rows`, where nothing is recorded; then something that is."""
    x = table(t.device).detach().clone()
    x[:, t] = mg.ones(4, 3, device=t.device)
    return x * table(t.device)


OUT = "index {{}} is out of bounds for dimension {} with size {}"

CALLS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "cross_entropy": (
        lambda t: F.cross_entropy(scores(t.device), t),
        "cross_entropy: target holds class {}, there are 4 classes",
    ),
    "cross_entropy of each": (
        lambda t: F.cross_entropy(scores(t.device), t, reduction="none"),
        "cross_entropy: target holds class {}, there are 4 classes",
    ),
    "embedding": (
        lambda t: F.embedding(t, table(t.device)),
        "embedding: input holds index {}, weight has 4 rows",
    ),
    "gather": (
        lambda t: mg.gather(scores(t.device), 1, t.unsqueeze(1)),
        "gather: " + OUT.format(1, 4),
    ),
    "scatter_add": (
        lambda t: mg.scatter_add(
            scores(t.device), -1, t.unsqueeze(0), table(t.device)[:3].T.contiguous()
        ),
        "scatter_add: " + OUT.format(1, 4),
    ),
    "index_select": (
        lambda t: mg.index_select(scores(t.device), 1, t),
        "index_select: " + OUT.format(1, 4),
    ),
    "take_along_dim": (
        lambda t: mg.take_along_dim(table(t.device), t.unsqueeze(1), 0),
        "take_along_dim: " + OUT.format(0, 4),
    ),
    "getitem": (lambda t: table(t.device)[t], "getitem: " + OUT.format(0, 4)),
    "getitem along two dimensions": (
        lambda t: table(t.device)[t, mg.tensor([0, 1, 1], device=t.device)],
        "getitem: " + OUT.format(0, 4),
    ),
    "getitem_adjoint": (
        lambda t: mg.ops.getitem_adjoint(scores(t.device)[:, :2], t, (4, 2)),
        "getitem_adjoint: " + OUT.format(0, 4),
    ),
    "setitem": (with_rows, "setitem: " + OUT.format(0, 4)),
    "max_pool2d_gather": (
        lambda t: mg.ops.max_pool2d_gather(table(t.device).reshape(1, 2, 2, 2), _planes(t)),
        "max_pool2d_gather: indices go from .*{}.* but there are 4 pixels",
    ),
    "max_pool2d_gradient": (
        lambda t: mg.ops.max_pool2d_gradient(
            scores(t.device)[:2, :3].reshape(1, 2, 1, 3), _planes(t), 2
        ),
        "max_pool2d_gradient: indices go from .*{}.* but there are 4 pixels",
    ),
}

FROM_THE_END = {name for name in CALLS if "item" in name}
"""Calls whose indices may be negative."""


def _planes(t: Tensor) -> Tensor:
    return mg.stack([t, t]).reshape(1, 2, 1, 3)


@pytest.fixture
def no_reading(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on nothing can be read from the stand-in's device."""

    def begin() -> None:
        def refuse(*_: Any) -> Any:
            raise AssertionError("it was read from the GPU")

        if cuda.ndarray.__init__.__module__.startswith("cupy_standin"):
            for name in ("get", "item", "tolist", "__bool__", "__int__"):
                monkeypatch.setattr(cuda.ndarray, name, refuse)

    return begin


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["i8", "i4", "u1"])
def test_nothing_is_read(name: str, dtype: str, no_reading: Callable[[], None]) -> None:
    call, _ = CALLS[name]
    t = classes(0, 3, 2, dtype=dtype)
    call(t).sum().backward()  # kernels are compiled, which may take copies
    before = len(device._waiting.checks)
    no_reading()
    call(t).sum().backward()
    assert len(device._waiting.checks) == 2 * before > 0
    device._waiting.checks = []


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrong", [4, -1, 2**40, -(2**40)])
@pytest.mark.parametrize("read", ["item", "tolist", "cpu", "bool", "synchronize"])
def test_what_is_wrong_is_said_when_something_is_read(name: str, wrong: int, read: str) -> None:
    call, words = CALLS[name]
    if name in FROM_THE_END and wrong == -1:
        wrong = -5
    result = call(classes(0, wrong, 3)).sum()
    with pytest.raises(IndexError, match=words.format(wrong)):
        if read == "synchronize":
            mg.cuda.synchronize()
        elif read == "bool":
            bool(result > 0)
        else:
            getattr(result, read)()
    assert result.cpu().shape == ()  # said once
    assert call(classes(0, 2, 3)).sum().item() == pytest.approx(_on_cpu(name))


def _on_cpu(name: str) -> float:
    call, _ = CALLS[name]
    return float(call(mg.tensor([0, 2, 3])).sum().item())


def test_in_place_without_recording(no_reading: Callable[[], None]) -> None:
    t = classes(0, 1, 1)
    with_rows_in_place(t)
    no_reading()
    with_rows_in_place(t)
    device._waiting.checks = []


def test_probabilities(no_reading: Callable[[], None]) -> None:
    t = mg.tensor([0.0, 1.0, 1.0], device="cuda")
    p, wrong = (
        mg.tensor(x, device="cuda", requires_grad=True) for x in ([0.0, 0.2, 1.0], [0, 2.0, 1])
    )
    F.binary_cross_entropy(p, t).backward()
    with pytest.raises(ValueError, match="binary_cross_entropy: input wants numbers between 0 and"):
        F.binary_cross_entropy(wrong, t).item()
    no_reading()
    F.binary_cross_entropy(p, t).backward()
    assert len(device._waiting.checks) == 1
    device._waiting.checks = []


def test_indices_from_main_memory_are_looked_at_there(no_reading: Callable[[], None]) -> None:
    """At once, and without the GPU."""
    x = table()
    no_reading()
    for index in ([0, 4], mg.tensor([0, 4]), np.array([0, -5]), ([0, 1], [0, 2])):
        with pytest.raises(IndexError, match=r"getitem: index (4|-5|2) is out of bounds for dim"):
            x[index]
        with pytest.raises(IndexError, match="setitem: index .* is out of bounds"):
            x.detach()[index] = 1.0
    assert x[[0, 3]].shape == (2, 2)
    assert not device._waiting.checks


@pytest.mark.parametrize(
    "call",
    [
        lambda nothing, t: nothing[t],
        lambda nothing, t: mg.gather(nothing, 0, t.unsqueeze(1)),
        lambda nothing, t: mg.index_select(nothing, 0, t),
        lambda nothing, t: F.embedding(t, nothing),
        lambda nothing, t: nothing.__setitem__(t, 1.0),
    ],
)
def test_no_index_picks_from_nothing(call: Callable[[Tensor, Tensor], Any]) -> None:
    """That is said at once: nothing could be computed meanwhile."""
    with pytest.raises(IndexError, match="with size 0|weight has 0 rows"):
        call(mg.zeros(0, 2, device="cuda"), classes(0, 1))
    call(mg.zeros(0, 2, device="cuda"), classes())  # no index is right


def test_the_largest_integers_are_not_negative() -> None:
    t = mg.tensor(np.array([0, 2**64 - 1], "u8"), device="cuda")
    for pick in (lambda: table()[t], lambda: F.embedding(t, table())):
        with pytest.raises(IndexError, match=f"index {2**63 - 1}\\b"):
            pick().tolist()


def test_the_first_of_many() -> None:
    F.cross_entropy(scores(), classes(0, 1, 2))
    F.cross_entropy(scores(), classes(0, 1, 9))
    loss = F.cross_entropy(scores(), classes(0, 1, 8))
    with pytest.raises(IndexError, match="class 9"):
        loss.item()
    loss.item()


def test_targets_that_are_skipped() -> None:
    """They are no mistake, and count nothing; all others have the numbers of the CPU."""
    weight = mg.tensor([0.5, 1.0, 2.0, 0.3])
    for numbers, ignore in (((0, -100, 3), -100), ((2, -7, -7), -7), ((1, 2, 1), 1)):
        for reduction in ("mean", "sum", "none"):
            for w in (None, weight):
                x, y = scores(), scores().detach().cpu().requires_grad_()
                t, u = classes(*numbers), mg.tensor(list(numbers))
                options: dict[str, Any] = {"ignore_index": ignore, "reduction": reduction}
                a = F.cross_entropy(x, t, None if w is None else w.cuda(), **options)
                b = F.cross_entropy(y, u, w, **options)
                np.testing.assert_allclose(a.tolist(), b.tolist(), rtol=1e-5)
                a.sum().backward()
                b.sum().backward()
                assert x.grad is not None and y.grad is not None
                np.testing.assert_allclose(x.grad.cpu().numpy(), y.grad.numpy(), atol=1e-6)
    with pytest.raises(IndexError, match="class -100"):
        F.cross_entropy(scores(), classes(-100, 0, 0), ignore_index=-7).item()
    assert np.isnan(F.cross_entropy(scores(), classes(-100, -100, -100)).item())


@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"ignore_index": 2}])
def test_some_calls_look_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(IndexError, match="holds class 4"):
        F.cross_entropy(scores(), classes(0, 4, 1), **options)
    with pytest.raises(IndexError, match="holds class 4"):
        F.nll_loss(scores(), classes(0, 4, 1))


def test_they_are_looked_at_after_many() -> None:
    for _ in range(device.MOST_WAITING - 1):
        device.check_later(classes(0).data, None, lambda *_: None)
    device.check_later(classes(7).data, None, lambda low, high: IndexError(f"{low}, {high}"))
    with pytest.raises(IndexError, match="7, 7"):
        device.check_later(classes(0).data, None, lambda *_: None)


def test_another_threads_are_not_ones_own() -> None:
    F.cross_entropy(scores(), classes(0, 1, 9))
    failures: list[Exception] = []

    def work() -> None:
        try:
            scores().tolist()
        except IndexError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures
    with pytest.raises(IndexError, match="class 9"):
        scores().tolist()


def test_a_wrong_class_is_said_before_a_step_is_captured() -> None:
    """The warm-up's are looked at; those of replays make the loss NaN."""

    def step(x: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(x, t)

    x = scores().detach()
    with pytest.raises(IndexError, match="class 4"):
        mg.cuda.capture(step, x, classes(0, 4, 1))
    replay = mg.cuda.capture(step, x, classes(0, 3, 1))
    assert np.isfinite(replay(x, classes(0, 3, 1)).item())
    assert np.isnan(replay(x, classes(0, -1, 1)).item())


def test_an_embedding_module() -> None:
    layer = nn.Embedding(5, 3).cuda()
    y = layer(classes(1, 5))
    with pytest.raises(IndexError, match="input holds index 5, weight has 5 rows"):
        y.tolist()
    assert np.isnan(y.tolist()[1]).all()
