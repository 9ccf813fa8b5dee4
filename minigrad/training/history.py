"""History: what happened during training, number by number."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Epoch:
    """One pass over the training data.

    Attributes:
        number: counted from 1.
        steps: how many updates it made.
        train: "loss" and the metrics, averaged over the samples while the model was changing.
        validation: the same on the validation data after the epoch; None without any.
        seconds: how long it took, validation included.
    """

    number: int
    steps: int
    train: dict[str, float]
    validation: dict[str, float] | None
    seconds: float

    def __str__(self) -> str:
        parts = [f"{name} {value:.4g}" for name, value in self.train.items()]
        parts += [f"validation {name} {v:.4g}" for name, v in (self.validation or {}).items()]
        return f"epoch {self.number}: " + ", ".join(parts) + f" ({self.seconds:.1f} s)"


@dataclass
class History:
    """The loss at every step, and every epoch. Grows with each `fit` of its trainer.

    Attributes:
        losses: the loss of each step's batch, before its update.
        epochs: one entry per epoch.
    """

    losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    def column(self, name: str, validation: bool = False) -> list[float]:
        """One number per epoch: `"loss"` or a metric, of training or of validation.

        Raises:
            KeyError: if an epoch has no such number.
        """
        return [((e.validation or {}) if validation else e.train)[name] for e in self.epochs]

    def to_dict(self) -> dict[str, Any]:
        """Everything as dictionaries, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> History:
        """The inverse of `to_dict`."""
        return cls(list(data["losses"]), [Epoch(**epoch) for epoch in data["epochs"]])

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save` wrote."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
