"""DataLoader: a dataset, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..arguments import integer
from ..random import Generator, randperm
from ..tensor import Tensor, tensor, to_array, wrap


class DataLoader:
    """Iterate over a dataset in batches; each iteration is one pass over all samples.

    Args:
        dataset: has a length and samples by number, and perhaps `take` (see `Dataset`).
        batch_size: samples per batch; the last batch of a pass may be smaller.
        shuffle: a new random order in every pass.
        collate_fn: makes a batch of a list of samples; None is `default_collate`.
        drop_last: leave out the last batch if it is smaller.
        generator: where the order comes from; None is the one of `minigrad.manual_seed`.
        seed: instead of a generator: the same seed gives the same orders, pass by pass.

    Raises:
        TypeError: if batch_size is no integer, or the dataset has no length.
        ValueError: if batch_size is not positive, or both generator and seed are given.

    >>> from minigrad.data import TensorDataset
    >>> numbers = TensorDataset([0, 1, 2, 3, 4])
    >>> [batch.tolist() for batch, in DataLoader(numbers, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> None:
        self.batch_size = integer(batch_size, "DataLoader", "batch_size", 1)
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                "DataLoader: the dataset must have a length and samples by number, "
                f"{type(dataset).__name__} has not"
            )
        if generator is not None and seed is not None:
            raise ValueError("DataLoader: give a generator or a seed, not both")
        self.dataset = dataset
        self.shuffle = shuffle
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.generator = generator if seed is None else Generator(seed)

    def __len__(self) -> int:
        batches = len(self.dataset) / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.dataset)
        order = randperm(n, generator=self.generator).data if self.shuffle else np.arange(n)
        for batch in range(len(self)):
            yield self._batch(order[batch * self.batch_size : (batch + 1) * self.batch_size])

    def _batch(self, indices: np.ndarray) -> Any:
        if self.collate_fn is None and hasattr(self.dataset, "take"):
            return self.dataset.take(indices)
        samples = [self.dataset[i] for i in indices.tolist()]
        return (self.collate_fn or default_collate)(samples)


def default_collate(samples: list[Any]) -> Any:
    """Make a batch of samples: tensors, arrays and numbers are stacked along a new first dimension,
    tuples, lists and dictionaries are gone into, other things are put in a list.

    Raises:
        ValueError: if there are no samples, or their shapes, lengths or keys differ.
    """
    if not samples:
        raise ValueError("default_collate: no samples")
    first = samples[0]
    if isinstance(first, Tensor):
        return ops.stack(samples)
    if isinstance(first, (np.ndarray, np.generic)):
        shapes = {np.shape(sample) for sample in samples}
        if len(shapes) > 1:
            raise ValueError(f"default_collate: arrays of different shapes: {sorted(shapes)}")
        return wrap(to_array(np.stack(samples)))
    if isinstance(first, (bool, int, float)):
        return tensor(samples)
    if isinstance(first, Mapping):
        if any(sample.keys() != first.keys() for sample in samples):
            raise ValueError("default_collate: dictionaries with different keys")
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, Sequence) and not isinstance(first, (str, bytes)):
        if any(len(sample) != len(first) for sample in samples):
            raise ValueError("default_collate: tuples or lists of different lengths")
        parts = [default_collate(list(part)) for part in zip(*samples, strict=True)]
        return parts if isinstance(first, list) else tuple(parts)
    return list(samples)
