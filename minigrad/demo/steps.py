"""The demonstration, step by step; each step prints what it found."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from minigrad_kernels import BACKENDS

from .. import data, manual_seed, nn, ops, optim
from ..tensor import Tensor
from ..testing import Verdict, gradcheck
from ..training import Trainer
from .outcome import Outcome
from .timings import Timing, measure

WANTED = 0.97


class Missing(Exception):
    """A package that is needed is not installed; says which."""


def run(output: Path, epochs: int = 10, quick: bool = False, report: bool = True) -> Outcome:
    """Check gradients, train, time kernels, write `output/report.html`.

    Args:
        output: the folder of the report.
        epochs: passes over the training images.
        quick: one pass over a few images.
        report: whether to write it. It needs matplotlib and jinja2; without them, says so.

    Raises:
        Missing: if scikit-learn, whose images these are, is not installed.
        OSError: if the folder cannot be made; nothing was computed then.
    """
    start = time.perf_counter()
    images = _digits()
    path = _report_path(output) if report else None
    verdict = check_gradients()
    error = largest_error(verdict)
    print(f"\ngradients   {'right' if verdict.ok else 'WRONG'}: a small convolutional network "
          f"differs from finite differences by at most {error:.1e}")  # fmt: skip
    if not verdict.ok:
        print(verdict)
    print(f"\ntraining    {len(images.train)} images of digits, {len(images.test)} to test with")
    if BACKENDS["numba"].available:
        print("            kernels are compiled when first used: up to a minute, only once")
    sys.stdout.flush()
    trainer = train(images, epochs, quick)
    accuracies = trainer.history.column("accuracy", validation=True)
    chosen, truth, said = predictions(trainer, images)
    print("\nkernels")
    timings = measure(0.02 if quick else 0.2)
    print(table(timings))
    outcome = Outcome(
        verdict, error, trainer.model, trainer.history.losses, accuracies, chosen, truth, said,
        timings, time.perf_counter() - start, path,
    )  # fmt: skip
    if path is not None:
        from .report import write

        write(outcome, path)
    print("\n" + last_line(outcome))
    return outcome


def _report_path(output: Path) -> Path | None:
    """Where the report will be, in a folder that is there; None, with a word, if it cannot be."""
    lacking = [name for name in ("matplotlib", "jinja2") if not find_spec(name)]
    if lacking:
        print(f"\nno report: it needs {' and '.join(lacking)} "
              "(pip install 'minigrad-engine[report]')")  # fmt: skip
        return None
    output.mkdir(parents=True, exist_ok=True)
    return output / "report.html"


def last_line(outcome: Outcome) -> str:
    """Accuracy, largest gradient error and the report, in one sentence."""
    where = "no report" if outcome.report is None else f"report {outcome.report}"
    return (
        f"test accuracy {outcome.accuracy:.1%}, largest gradient error {outcome.error:.1e}, {where}"
    )


def _digits() -> data.Images:
    try:
        return data.load("digits")
    except ImportError as error:
        raise Missing(str(error)) from None


def check_gradients() -> Verdict:
    """Hold every gradient of a small convolutional network to finite differences, in float64."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, 3)

    def network(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Tensor:
        hidden = ops.max_pool2d(ops.relu(ops.conv2d(x, w1, b1, padding=1)), 2)  # (3, 4, 4, 4)
        return ops.cross_entropy(ops.linear(ops.reshape(hidden, (3, 64)), w2, b2), classes)

    shapes = [(3, 1, 8, 8), (4, 1, 3, 3), (4,), (10, 64), (10,)]
    return gradcheck(network, [rng.normal(size=s) / 2 for s in shapes], kind="piecewise")


def largest_error(verdict: Verdict) -> float:
    """The largest difference between a rule's number and the numerical one."""
    return max((abs(f.analytic - f.numeric) for f in verdict.findings), default=0.0)


def network() -> nn.Sequential:
    """Two blocks of convolution, normalisation, ReLU and pooling, then a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16),
        nn.ReLU(), nn.MaxPool2d(2),  # (N, 16, 4, 4)
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32),
        nn.ReLU(), nn.MaxPool2d(2),  # (N, 32, 2, 2)
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def train(images: data.Images, epochs: int, quick: bool) -> Trainer:
    """Train the network with Adam on cross-entropy, from a fixed seed."""
    manual_seed(0)
    model = network()
    pairs = data.Subset(images.train, range(256)) if quick else images.train
    batches = data.DataLoader(pairs, batch_size=64, shuffle=True, seed=0)
    test = data.DataLoader(images.test, batch_size=len(images.test))
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=3e-3))
    trainer.fit(batches, 1 if quick else epochs, validation=test)
    return trainer


def predictions(
    trainer: Trainer, images: data.Images, count: int = 24
) -> tuple[np.ndarray, list[int], list[int]]:
    """The first test images, and those that the network is least sure of, half of each.

    Returns:
        the images, the truth, what the network says.
    """
    scores = ops.softmax(trainer.predict(images.test_images), dim=1).numpy()
    doubtful = scores.max(axis=1).argsort()[: count // 2]
    others = [i for i in range(len(scores)) if i not in doubtful][: count - len(doubtful)]
    chosen = [*others, *doubtful.tolist()]
    truth = images.test_labels.numpy()[chosen]
    return (
        images.test_images.numpy()[chosen],
        truth.tolist(),
        scores.argmax(axis=1)[chosen].tolist(),
    )


def table(timings: Sequence[Timing]) -> str:
    """The timings in columns."""
    return "\n".join(
        f"  {t.kernel:<10}{t.shapes:<27}{t.where:<22}{t.seconds * 1e3:>9.3f} ms"
        f"{t.rate / 1e9:>9.1f} GFLOP/s{t.traffic / 1e9:>8.1f} GB/s"
        for t in timings
    )
