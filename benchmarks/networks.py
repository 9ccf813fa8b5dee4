"""The networks that are trained, as lists of layers, so that every library builds the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Conv:
    """A 3x3 convolution with padding 1 and a bias."""

    channels_in: int
    channels_out: int


@dataclass(frozen=True)
class Linear:
    """A matrix product and a bias."""

    features_in: int
    features_out: int


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True)
class Pool:
    """The maximum of each 2x2 square."""


@dataclass(frozen=True)
class Flatten:
    """One row of numbers for each image."""


Layer = Conv | Linear | Relu | Pool | Flatten

IMAGES: tuple[Layer, ...] = (
    Conv(3, 64), Relu(), Pool(),
    Conv(64, 128), Relu(), Pool(),
    Flatten(), Linear(128 * 8 * 8, 1024), Relu(), Linear(1024, 10),
)  # fmt: skip
"""For 3x32x32 images in 10 classes; 8.5 million parameters."""

PERCEPTRON: tuple[Layer, ...] = (Linear(784, 128), Relu(), Linear(128, 64), Relu(), Linear(64, 10))
"""For 784 features in 10 classes; 109,386 parameters."""


def weights(network: Sequence[Layer], seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 weights under the names of a `Sequential`'s state: `0.weight`, `0.bias`, ...

    Kaiming's bound sqrt(6 / fan_in) for the weights, small random biases.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for i, layer in enumerate(network):
        shape = _shape(layer)
        if shape:
            bound = math.sqrt(6 / math.prod(shape[1:]))
            found[f"{i}.weight"] = rng.uniform(-bound, bound, shape).astype(np.float32)
            found[f"{i}.bias"] = rng.uniform(-0.1, 0.1, shape[0]).astype(np.float32)
    return found


def _shape(layer: Layer) -> tuple[int, ...]:
    if isinstance(layer, Conv):
        return (layer.channels_out, layer.channels_in, 3, 3)
    if isinstance(layer, Linear):
        return (layer.features_out, layer.features_in)
    return ()


def batch(network: Sequence[Layer], size: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs and classes."""
    rng = np.random.default_rng(seed)
    shape = (size, 784) if network is PERCEPTRON else (size, 3, 32, 32)
    return rng.normal(size=shape).astype(np.float32), rng.integers(0, 10, size)
