"""Elementwise functions, softmax and dropout as modules: F's functions with their options held."""

from __future__ import annotations

from ..arguments import number
from ..inplace import inplace as change
from ..tensor import Tensor
from . import functional as F
from .module import Module


class ReLU(Module):
    """max(x, 0). With `inplace` the input itself is overwritten."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return change(input, F.relu) if self.inplace else F.relu(input)

    def extra_repr(self) -> str:
        """Its options."""
        return "inplace=True" * self.inplace


class LeakyReLU(Module):
    """x where positive, else negative_slope * x. With `inplace` the input itself is overwritten."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        if self.inplace:
            return change(input, F.leaky_relu, self.negative_slope)
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Its options."""
        return f"negative_slope={self.negative_slope}" + ", inplace=True" * self.inplace


class ELU(Module):
    """x where positive, else alpha * (exp(x) - 1). With `inplace` the input is overwritten."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return change(input, F.elu, self.alpha) if self.inplace else F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        """Its options."""
        return f"alpha={self.alpha}" + ", inplace=True" * self.inplace


class SiLU(Module):
    """x * sigmoid(x). With `inplace` the input itself is overwritten."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return change(input, F.silu) if self.inplace else F.silu(input)

    def extra_repr(self) -> str:
        """Its options."""
        return "inplace=True" * self.inplace


class GELU(Module):
    """x * Φ(x), Φ the normal distribution function; approximate="tanh" is a cheaper formula."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Its options."""
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x exceeds threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Its options."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return F.sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return F.tanh(input)


class Softmax(Module):
    """exp(x), divided by its sum along `dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays."""
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Its options."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of softmax along `dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays."""
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Its options."""
        return f"dim={self.dim}"


class Dropout(Module):
    """In training, zeroes each element with probability p and divides the others by 1 - p.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014).

    Raises:
        TypeError, ValueError: if p is not a number in [0, 1].
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = number(p, "Dropout", "p", 0, 1)
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise; in evaluation the input itself."""
        if self.inplace and self.training:
            return change(input, F.dropout, self.p, True)
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        """Its options."""
        return f"p={self.p}" + ", inplace=True" * self.inplace
