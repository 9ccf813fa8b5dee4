"""Trainer: the loop that trains a network, with a progress bar and a record of what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..arguments import integer
from ..modes import no_grad
from ..nn import Module, functional as F
from ..ops import cat
from ..tensor import Tensor, as_tensor
from .history import Epoch, History
from .progress import Progress

Loss = Callable[[Tensor, Tensor], Tensor]
Metric = Callable[[Tensor, Tensor], float]


def accuracy(output: Tensor, target: Tensor) -> float:
    """The share of samples whose largest output is at their target.

    Args:
        output: (N, C, ...): a number for each class.
        target: (N, ...): class indices.

    Raises:
        ValueError: if the shapes do not fit together.

    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    y, t = as_tensor(output).data, as_tensor(target).data
    if y.ndim < 2 or y.shape[:1] + y.shape[2:] != t.shape:
        raise ValueError(
            f"accuracy: wants outputs (N, C, ...) and class indices (N, ...), got shapes {y.shape} "
            f"and {t.shape}"
        )
    return float((y.argmax(axis=1) == t).mean())


class Trainer:
    """Trains a model with an optimizer on batches of pairs (input, target).

    Args:
        model: a module.
        optimizer: what updates its parameters.
        loss: a function, or module, of the model's output and the target; returns one number, the
            mean over the batch.
        metrics: more such functions, by name, to be recorded beside the loss. None is `accuracy`
            where targets are class indices (integers, with one dimension less than the outputs).

    Attributes:
        history: what happened so far.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> model = nn.Linear(1, 1)
    >>> trainer = Trainer(model, mg.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    >>> line = [(mg.tensor([[0.0], [1.0]]), mg.tensor([[1.0], [3.0]]))]
    >>> trainer.fit(line, epochs=300, progress=False).losses[-1] < 1e-6
    True
    """

    def __init__(
        self,
        model: Module,
        optimizer: Any,
        loss: Loss = F.cross_entropy,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"Trainer: model must be a Module, got {type(model).__name__}")
        if not callable(loss):
            raise TypeError(f"Trainer: loss must be a function, got {type(loss).__name__}")
        if metrics is not None and "loss" in metrics:
            raise ValueError("Trainer: no metric can be called 'loss', which is always recorded")
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.metrics = metrics
        self.history = History()

    def fit(
        self,
        train: Iterable[Any],
        epochs: int = 1,
        validation: Iterable[Any] | None = None,
        progress: bool = True,
    ) -> History:
        """Train for some epochs.

        Args:
            train: batches (input, target), to be gone through once per epoch.
            epochs: how often.
            validation: batches to evaluate the model on after each epoch.
            progress: show a bar (with the package tqdm, else a line per epoch).

        Returns:
            the history, of this and earlier calls.

        Raises:
            FloatingPointError: at the first step whose loss is NaN or infinite; the parameters are
                those from before the step.
            TypeError, ValueError: if epochs is not an integer of at least 1, a batch is no pair,
                the loss is not one number, or there are no batches.
        """
        count = integer(epochs, "fit", "epochs", 1)
        with Progress(train, count, show=progress) as bar:
            for _ in range(count):
                self._epoch(train, validation, bar)
        return self.history

    def _epoch(self, train: Iterable[Any], validation: Iterable[Any] | None, bar: Progress) -> None:
        start = time.perf_counter()
        number = len(self.history.epochs) + 1
        means = Means()
        steps = 0
        self.model.train()
        for batch in train:
            x, target = _pair("fit", batch)
            output, loss = self.step(x, target)
            means.add(self._scores(output, target, loss), len(target))
            steps += 1
            bar.step(number, means.values)
        if not steps:
            raise ValueError(f"fit: the training data had no batches in epoch {number}")
        scores = None if validation is None else self.evaluate(validation)
        seconds = time.perf_counter() - start
        self.history.epochs.append(Epoch(number, steps, means.values, scores, seconds))
        bar.epoch(self.history.epochs[-1])

    def step(self, x: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """One update: forward, backward, and a step of the optimizer. Returns output and loss.

        Raises:
            FloatingPointError: if the loss is NaN or infinite; nothing was updated then.
            ValueError: if the loss is not one number.
        """
        self.optimizer.zero_grad()
        output = self.model(x)
        loss = self.loss(output, target)
        value = _one_number(loss)
        if not math.isfinite(value):
            number = len(self.history.losses) + 1
            raise FloatingPointError(
                f"step {number}: the loss is {value}; the parameters are those from before the "
                "step. Is the learning rate too high, or an input not finite? detect_anomaly() can "
                "find the operation"
            )
        loss.backward()
        self.optimizer.step()
        self.history.losses.append(value)
        return output, value

    def evaluate(self, data: Iterable[Any]) -> dict[str, float]:
        """The loss and the metrics, averaged over all samples, in evaluation mode.

        Args:
            data: batches (input, target).

        Returns:
            "loss" and the metrics by name.

        Raises:
            TypeError, ValueError: if a batch is no pair, or there are no batches.
        """
        means = Means()
        with evaluating(self.model), no_grad():
            for batch in data:
                x, target = _pair("evaluate", batch)
                output = self.model(x)
                value = _one_number(self.loss(output, target))
                means.add(self._scores(output, target, value), len(target))
        if not means.count:
            raise ValueError("evaluate: the data had no batches")
        return means.values

    def predict(self, data: Iterable[Any]) -> Tensor:
        """The model's outputs in evaluation mode, for all batches together.

        Args:
            data: one tensor of inputs; or batches: inputs, or tuples that begin with inputs.

        Raises:
            ValueError: if there are no batches.
        """
        batches = [data] if isinstance(data, Tensor) else data
        with evaluating(self.model), no_grad():
            outputs = [
                self.model(batch[0] if isinstance(batch, (tuple, list)) else batch)
                for batch in batches
            ]
        if not outputs:
            raise ValueError("predict: the data had no batches")
        return cat(outputs) if len(outputs) > 1 else outputs[0]

    def _scores(self, output: Tensor, target: Tensor, loss: float) -> dict[str, float]:
        metrics = self.metrics
        if metrics is None:
            classes = target.dtype.kind in "iu" and output.ndim == target.ndim + 1
            metrics = {"accuracy": accuracy} if classes else {}
        with no_grad():
            found = {name: float(metric(output, target)) for name, metric in metrics.items()}
        return {"loss": loss, **found}


class Means:
    """Averages of several numbers over samples that come in batches."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, float] = {}

    def add(self, scores: Mapping[str, float], count: int) -> None:
        """Add the means over a batch of `count` samples."""
        self.count += count
        for name, value in scores.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * count

    @property
    def values(self) -> dict[str, float]:
        """The means so far."""
        return {name: total / self.count for name, total in self._sums.items()}


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Run the body with the model in evaluation mode; then each module is as it was before."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _pair(caller: str, batch: Any) -> tuple[Any, Tensor]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        what = type(batch).__name__
        if isinstance(batch, (tuple, list)):
            what += f" of {len(batch)}"
        raise TypeError(f"{caller}: wants batches that are pairs (input, target), got a {what}")
    target = as_tensor(batch[1])
    if not target.ndim or not len(target):
        raise ValueError(f"{caller}: a batch has no samples; its targets have shape {target.shape}")
    return batch[0], target


def _one_number(loss: Any) -> float:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"Trainer: the loss must be a tensor with one number, got {what}")
    return float(loss.item())
