"""Operations of networks through the CUDA kernels, on the emulator: results and gradients."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
import minigrad_kernels as kernels
from minigrad import nn
from minigrad.ops.registry import OPERATIONS, Operation, Sample
from minigrad.testing.backends import check
from minigrad.testing.calls import draw

BACKEND = "cuda-on-cpu"

pytestmark = pytest.mark.skipif(
    not kernels.BACKENDS[BACKEND].available,
    reason=f"{BACKEND}: {kernels.BACKENDS[BACKEND].reason}",
)

CASES = [
    pytest.param(op, s, id=f"{name}({s})")
    for name, op in OPERATIONS.items()
    for s in op.samples
    if op.kind != "constant" and hasattr(sys.modules[op.function.__module__], "kernels")
]
"""Samples of the operations whose files call kernels."""


@pytest.mark.parametrize(("op", "s"), CASES)
def test_gradients(op: Operation, s: Sample) -> None:
    """In float64, as often as the sample can be differentiated; and in float32, which some kernels
    know only, against the reference."""
    call = draw(op.function, s)
    if not call.differentiable:
        pytest.skip("nothing to differentiate")
    verdict, _ = check(BACKEND, call, call.arrays, order=s.orders, kind=op.kind)
    assert verdict.ok, f"{op.name}({s})\n{verdict}"


def _trained(backend: str) -> tuple[list[float], list[np.ndarray]]:
    """Losses and parameters of a small network with one layer of each kind, after three steps."""
    rng = np.random.default_rng(3)
    mg.manual_seed(4)
    model = nn.Sequential(
        # No bias before a batch norm: its gradient is 0, and Adam would follow the rounding.
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.LayerNorm(8), nn.Dropout(0.25), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5),
    )  # fmt: skip
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-2)
    images = mg.tensor(rng.normal(size=(6, 3, 12, 12)).astype("f4"))
    classes = mg.tensor(rng.integers(0, 5, 6))
    losses = []
    with kernels.use(backend):
        for _ in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), classes)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
    return losses, [p.data.copy() for p in model.parameters()]


def test_training_gives_the_numbers_of_the_reference() -> None:
    losses, parameters = _trained(BACKEND)
    wanted, reference = _trained("reference")
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    for p, q in zip(parameters, reference, strict=True):
        # Adam divides by the root of a mean of squares: where that is tiny, rounding decides.
        np.testing.assert_allclose(p, q, atol=2e-4)
