"""Progress: a tqdm bar over all steps of a training, or plain lines where tqdm is missing."""

from __future__ import annotations

import time
from typing import Any

from .history import Epoch


class Progress:
    """Shows how far a training is. A context; `step` and `epoch` are called as it goes on.

    Args:
        data: the batches of an epoch; where they have a length the bar knows the end.
        epochs: how many epochs there will be.
        show: False shows nothing.
    """

    def __init__(self, data: Any, epochs: int, show: bool) -> None:
        self.show = show
        self.bar: Any = None
        self._shown = 0.0
        if not show:
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        steps = len(data) * epochs if hasattr(data, "__len__") else None
        self.bar = tqdm(total=steps, unit="step", dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self, epoch: int, scores: dict[str, float]) -> None:
        """One more step was made; `scores` are the means of this epoch so far."""
        if self.bar is None:
            return
        self.bar.update()
        now = time.monotonic()
        if now - self._shown > 0.1:  # writing text at every step would cost more than small steps
            self._shown = now
            self._describe(epoch, scores)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch has ended."""
        if self.bar is not None:
            self._describe(epoch.number, epoch.train)
            self.bar.write(str(epoch))
        elif self.show:
            print(epoch, flush=True)

    def _describe(self, epoch: int, scores: dict[str, float]) -> None:
        self.bar.set_description(f"epoch {epoch}", refresh=False)
        self.bar.set_postfix({k: f"{v:.4g}" for k, v in scores.items()}, refresh=False)
