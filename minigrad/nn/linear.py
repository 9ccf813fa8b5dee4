"""Linear maps, lookups and changes of shape: Linear, Embedding, Identity, Flatten, Unflatten."""

from __future__ import annotations

from typing import Any

from ..arguments import integer
from ..modes import no_grad
from ..tensor import Tensor, as_tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter, empty, reset


class Identity(Module):
    """Returns what it gets; takes, and ignores, any arguments."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """`input` itself."""
        return input


class Linear(Module):
    """y = x Wᵀ + b, from (..., in_features) to (..., out_features).

    Attributes:
        weight: (out_features, in_features), uniform in ±1/√in_features at first.
        bias: (out_features,), likewise, or None.

    Raises:
        TypeError, ValueError: if a number of features is not an integer of at least 1.

    >>> from minigrad import nn
    >>> nn.Linear(3, 2)([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = integer(in_features, "Linear", "in_features", 1)
        self.out_features = integer(out_features, "Linear", "out_features", 1)
        like = {"device": device, "dtype": dtype}
        self.weight = empty("Linear", self.out_features, self.in_features, **like)
        self.bias = empty("Linear", self.out_features, **like) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        reset(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Its options."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of vectors, looked up by integers: (...) to (..., embedding_dim).

    Args:
        num_embeddings: how many vectors.
        embedding_dim: how long they are.
        padding_idx: a row that starts at zero and receives no gradient.
        device: where.
        dtype: of which type.

    Attributes:
        weight: (num_embeddings, embedding_dim), normally distributed at first.

    Raises:
        TypeError, ValueError: if a size is not an integer of at least 1.
        IndexError: if there is no row padding_idx.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = n = integer(num_embeddings, "Embedding", "num_embeddings", 1)
        self.embedding_dim = integer(embedding_dim, "Embedding", "embedding_dim", 1)
        if padding_idx is not None and not -n <= padding_idx < n:
            raise IndexError(f"Embedding: padding_idx {padding_idx} is out of range for {n} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % n
        self.weight = empty("Embedding", n, self.embedding_dim, device=device, dtype=dtype)
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None
    ) -> Embedding:
        """An embedding with the given table, (rows, length), not trained if `freeze`.

        Raises:
            ValueError: if the table has not two dimensions.
        """
        table = as_tensor(embeddings)
        if table.ndim != 2:
            raise ValueError(f"Embedding: the table must have 2 dimensions, got {table.shape}")
        rows, length = table.shape
        layer = cls(rows, length, padding_idx)
        layer.weight = Parameter(table, requires_grad=not freeze)
        return layer

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        """Integers (...) to vectors (..., embedding_dim)."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Its options."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Flatten(Module):
    """Makes one dimension of those from start_dim to end_dim; by default of all but the samples."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """(N, *) to (N, product of *) by default."""
        return as_tensor(input).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Its options."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Makes several dimensions of one: dimension `dim` gets the shape `unflattened_size`."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """(..., product of the new lengths, ...) to (..., *unflattened_size, ...)."""
        x = as_tensor(input)
        if not -x.ndim <= self.dim < x.ndim:
            raise IndexError(f"Unflatten: dim {self.dim} is out of range for shape {x.shape}")
        dim = self.dim % x.ndim
        return x.reshape(*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :])

    def extra_repr(self) -> str:
        """Its options."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
