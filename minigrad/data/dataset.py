"""Datasets: samples by number. A whole batch is taken at once where the dataset knows how."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..random import Generator, randperm
from ..tensor import Tensor, TensorLike, as_tensor, wrap


class Dataset:
    """Something with a length and samples by number: define `__len__` and `__getitem__`.

    A dataset that can fetch many samples faster than one by one may also define
    `take(indices)`: given an array of sample numbers it returns the finished batch.
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: the dataset does not define __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: the dataset does not define __len__")


class TensorDataset(Dataset):
    """Tensors whose first dimension counts the samples; sample i is the tuple of their rows i.

    >>> pairs = TensorDataset([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    >>> pairs[1]
    (tensor([3., 4.]), tensor(1))

    Raises:
        ValueError: without tensors, or if one has no dimensions or they differ in length.
    """

    def __init__(self, *tensors: TensorLike) -> None:
        if not tensors:
            raise ValueError("TensorDataset: wants at least one tensor")
        self.tensors = tuple(as_tensor(t).detach() for t in tensors)
        shapes = [t.shape for t in self.tensors]
        if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
            raise ValueError(
                "TensorDataset: the tensors must have first dimensions of one length, got shapes "
                + ", ".join(map(str, shapes))
            )

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def take(self, indices: np.ndarray) -> tuple[Tensor, ...]:
        """The samples of these numbers, in their order, as a copy."""
        return tuple(wrap(t.data.take(indices, axis=0)) for t in self.tensors)


class Subset(Dataset):
    """Some samples of a dataset, in the order of `indices`.

    Raises:
        IndexError: if the dataset has no such sample.
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        numbers = np.asarray(indices)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise TypeError(
                f"Subset: indices must be a sequence of integers, got {numbers.dtype} of shape "
                f"{numbers.shape}"
            )
        n = len(dataset)
        outside = numbers[(numbers < -n) | (numbers >= n)]
        if outside.size:
            raise IndexError(f"Subset: index {outside[0]} is out of range for {n} samples")
        self.dataset = dataset
        self.indices = numbers.astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    @property
    def take(self) -> Callable[[np.ndarray], Any]:
        """The dataset's own `take`, if it has one."""
        take = self.dataset.take  # without one: AttributeError, so that hasattr says no
        return lambda indices: take(self.indices[indices])


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset]:
    """Split a dataset at random into disjoint subsets.

    Args:
        dataset: what to split.
        lengths: the length of each subset, or fractions that add up to 1; what rounding them down
            leaves over goes one by one to the first subsets.
        generator: where the randomness comes from; None is the one of `minigrad.manual_seed`.

    Raises:
        ValueError: if a length is negative or they do not add up.
    """
    n = len(dataset)
    if any(not length >= 0 for length in lengths):
        raise ValueError(f"random_split: lengths must not be negative, got {list(lengths)}")
    total = sum(lengths)
    if any(isinstance(length, float) for length in lengths) and math.isclose(total, 1):
        sizes = [math.floor(n * fraction) for fraction in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    elif total == n and all(int(length) == length for length in lengths):
        sizes = [int(length) for length in lengths]
    else:
        raise ValueError(
            f"random_split: lengths must add up to {n}, the number of samples, or be fractions "
            f"that add up to 1; got {list(lengths)}"
        )
    order = randperm(n, generator=generator).data
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
