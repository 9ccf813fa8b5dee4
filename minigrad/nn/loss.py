"""Losses as modules: F's functions with their options held."""

from __future__ import annotations

from typing import Any

from ..arguments import number
from ..tensor import Tensor, as_tensor
from . import functional as F
from .module import Module


class _Loss(Module):
    """A loss: `reduction` says whether it returns the mean, the sum, or every element ("none")."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in self.reductions:
            raise ValueError(
                f"{type(self).__name__}: reduction must be one of {', '.join(self.reductions)}, "
                f"got {reduction!r}"
            )
        self.reduction = reduction

    def _hold(self, name: str, weight: Any) -> None:
        """Keep a constant, such as the weights of classes, as a buffer that `to` moves."""
        self.register_buffer(name, None if weight is None else as_tensor(weight).detach())

    def extra_repr(self) -> str:
        """Its options."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """The mean of (input - target)²."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Both of one shape."""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """The mean of |input - target|."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Both of one shape."""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """d² / (2 beta) where |d| < beta, else |d| - beta / 2, with d = input - target."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = number(beta, "SmoothL1Loss", "beta", 0)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Both of one shape."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """d² / 2 where |d| < delta, else delta * (|d| - delta / 2), with d = input - target."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = number(delta, "HuberLoss", "delta", 0)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Both of one shape."""
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class BCELoss(_Loss):
    """-(t log p + (1 - t) log(1 - p)) for probabilities p; logarithms are at least -100."""

    weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._hold("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Both of one shape, with numbers from 0 to 1."""
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`BCELoss` of sigmoid(input), without its rounding; `pos_weight` weighs the positive term."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self._hold("weight", weight)
        self._hold("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Both of one shape; the targets from 0 to 1."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class CrossEntropyLoss(_Loss):
    """-log softmax(input)[target]: for logits (N, C, ...) and class indices (N, ...).

    Args:
        weight: of each class, (C,).
        ignore_index: targets of this value do not count.
        reduction: "mean" (over the weights of the targets), "sum" or "none".
        label_smoothing: mix the targets with the uniform distribution, from 0 to 1.

    Targets may also be probabilities of the input's shape.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self._hold("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = number(label_smoothing, "CrossEntropyLoss", "label_smoothing", 0, 1)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, ...) and class indices (N, ...), or probabilities of the same shape."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """-input[target]: as `CrossEntropyLoss`, for inputs that are logarithms of probabilities."""

    weight: Tensor | None

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self._hold("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities (N, C, ...) and class indices (N, ...)."""
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class KLDivLoss(_Loss):
    """target * (log target - input), for inputs that are logarithms of probabilities.

    "batchmean" is the definition: the sum, divided by the number of samples. `log_target` says that
    the targets are logarithms too.
    """

    reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Both of one shape."""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
