"""A GPU that is full at any moment of a training step: an error, and nothing is half done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

MAKERS = ("array", "empty", "empty_like", "zeros")
"""CuPy's functions that take memory."""

OPTIMIZERS = {
    "Adam": lambda p: mg.optim.Adam(p, lr=0.01),
    "SGD": lambda p: mg.optim.SGD(p, lr=0.1, momentum=0.9),
}


class Full:
    """A GPU whose memory is full from the n-th allocation on, once."""

    def __init__(self, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.limit = 0, -1
        for name in MAKERS:
            monkeypatch.setattr(cupy, name, self.counted(getattr(cupy, name)))

    def counted(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **options: Any) -> Any:
            self.asked += 1
            if self.asked == self.limit:
                raise MemoryError("Out of memory allocating 1,024 bytes")
            return make(*args, **options)

        return made

    def at(self, limit: int) -> None:
        """Count anew, and be full at this allocation."""
        self.asked, self.limit = 0, limit


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_without_memory_changes_no_parameter_and_can_be_done_again(
    name: str, cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x = mg.tensor(rng.normal(size=(5, 1, 6, 6)).astype("f4")).cuda()
    target = mg.tensor(np.array([0, 1, 2, 0, 1])).cuda()

    def trained() -> tuple[Callable[[], None], Callable[[], list[np.ndarray]]]:
        """A step, of which one is done, and what gives the parameters."""
        mg.manual_seed(3)
        model = nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 3)),
        ).cuda()
        optimizer = OPTIMIZERS[name](model.parameters())

        def step() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()

        step()
        return step, lambda: [p.detach().cpu().data for p in model.parameters()]

    full = Full(cuda, monkeypatch)
    step, parameters = trained()
    full.at(-1)
    step()
    allocations, wanted = full.asked, parameters()
    assert allocations > 5
    for limit in range(1, allocations + 1, 2):
        full.at(-1)
        step, parameters = trained()
        before = parameters()
        full.at(limit)
        with pytest.raises(MemoryError, match="Out of memory"):
            step()
        for p, q in zip(parameters(), before, strict=True):
            np.testing.assert_array_equal(p, q, f"changed, though allocation {limit} failed")
        step()
        for p, q in zip(parameters(), wanted, strict=True):
            # 100 units in the last place: what CuPy adds up itself, it may add in another order
            np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)
