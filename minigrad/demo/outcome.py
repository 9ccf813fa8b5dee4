"""What the demonstration found: the report's contents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import nn
from ..testing import Verdict
from .timings import Timing


@dataclass(frozen=True)
class Outcome:
    """What the demonstration found.

    Attributes:
        verdict: on the gradients of a small network.
        error: the largest difference from finite differences.
        model: the trained network.
        losses: the loss of each step.
        accuracies: the share of test images that were right, after each epoch.
        images: some test images, (N, 1, 8, 8), with their `truth` and what the model `said`.
        timings: of some kernels.
        seconds: how long all of it took.
        report: the report's file; None without one.
    """

    verdict: Verdict
    error: float
    model: nn.Module
    losses: list[float]
    accuracies: list[float]
    images: np.ndarray
    truth: list[int]
    said: list[int]
    timings: list[Timing]
    seconds: float
    report: Path | None

    @property
    def accuracy(self) -> float:
        """The share of test images that are right in the end."""
        return self.accuracies[-1]
