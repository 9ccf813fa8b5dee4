"""Normalisation: BatchNorm1d, BatchNorm2d, LayerNorm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import integer, integers, number
from ..inplace import write
from ..tensor import Tensor, as_tensor, wrap
from . import functional as F, init
from .module import Module
from .parameter import Parameter, empty


class _BatchNorm(Module):
    """Batch normalisation of inputs (N, C, ...) whose number of dimensions is in `ndims`."""

    ndims: tuple[int, ...]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        self.num_features = integer(num_features, layer, "num_features", 1)
        self.eps = number(eps, layer, "eps", 0)
        self.momentum = None if momentum is None else number(momentum, layer, "momentum", 0, 1)
        self.affine = affine
        self.track_running_stats = track_running_stats
        like = {"device": device, "dtype": dtype}
        self.weight = empty(layer, self.num_features, **like) if affine else None
        self.bias = empty(layer, self.num_features, **like) if affine else None
        mean = variance = count = None
        if track_running_stats:
            mean = empty(layer, self.num_features, **like).detach()
            variance = empty(layer, self.num_features, **like).detach()
            count = wrap(np.zeros((), np.int64)).to(device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", variance)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1."""
        for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            buffer = getattr(self, name)
            if buffer is not None:
                write(buffer, value, "reset_running_stats")

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and no running statistics."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...), normalised per channel.

        Raises:
            ValueError: if the number of dimensions or of channels does not fit.
        """
        input = as_tensor(input)
        if input.ndim not in self.ndims:
            wanted = " or ".join(map(str, self.ndims))
            raise ValueError(
                f"{type(self).__name__}: wants an input of {wanted} dimensions, got {input.shape}"
            )
        batches = self.num_batches_tracked if self.training else None
        momentum = self.momentum
        if momentum is None:  # the plain average over all batches so far
            momentum = 0.0 if batches is None else 1.0 / (batches.item() + 1)
        output = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )
        if batches is not None:
            write(batches, batches.data + 1, "batch_norm")
        return output

    def extra_repr(self) -> str:
        """Its options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); see `BatchNorm2d`."""

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W): y = weight * (x - mean) / √(var + eps) + bias.

    In training, mean and (biased) variance are those of the batch, per channel, and the running
    statistics move towards them: running = (1 - momentum) * running + momentum * batch, with the
    unbiased variance. In evaluation the running statistics take their place.

    Ioffe and Szegedy, "Batch normalization" (2015).

    Args:
        num_features: channels C.
        eps: keeps the division finite.
        momentum: see above; None averages over all batches equally.
        affine: whether there is a weight (1 at first) and a bias (0).
        track_running_stats: False uses the batch's statistics in evaluation too.
        device: where.
        dtype: of which type.

    Raises:
        TypeError, ValueError: if num_features is not an integer of at least 1, or eps or momentum
            is out of range.
    """

    ndims = (4,)


class LayerNorm(Module):
    """y = weight * (x - mean) / √(var + eps) + bias, over the last dimensions of each sample.

    Ba, Kiros and Hinton, "Layer normalization" (2016).

    Args:
        normalized_shape: the lengths of the dimensions over which mean and (biased) variance are
            taken; one number is the last dimension.
        eps: keeps the division finite.
        elementwise_affine: whether there is a weight (1 at first), of that shape.
        bias: whether there is a bias (0 at first) too.
        device: where.
        dtype: of which type.

    Raises:
        TypeError, ValueError: if a length is not an integer of at least 1, or eps is negative.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        n = len(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else 1
        self.normalized_shape = integers(normalized_shape, n, "LayerNorm", "normalized_shape")
        if not n:
            raise ValueError("LayerNorm: normalized_shape must have at least one dimension")
        self.eps = number(eps, "LayerNorm", "eps", 0, math.inf)
        self.elementwise_affine = elementwise_affine
        like = {"device": device, "dtype": dtype}
        shape = self.normalized_shape
        self.weight = empty("LayerNorm", *shape, **like) if elementwise_affine else None
        self.bias = empty("LayerNorm", *shape, **like) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., *normalized_shape); the shape stays."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Its options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
