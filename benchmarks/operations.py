"""Single operations of networks, forward and backward, written once for all libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Program = Callable[..., Any]
"""`program(F, *inputs, *constants)`: `F` offers the functions of torch.nn.functional."""


@dataclass(frozen=True)
class Operation:
    """What is computed: a function of arrays, and its gradients.

    Attributes:
        name: says what and how large.
        program: the function.
        inputs: arrays whose gradients are wanted.
        constants: further arrays.
        cotangent: the gradient of the result; None where the result is a number.
        bytes: what forward and backward must read and write at least, all intermediate results
            that need not be kept left out.
    """

    name: str
    program: Program
    inputs: tuple[np.ndarray, ...]
    constants: tuple[np.ndarray, ...] = ()
    cotangent: np.ndarray | None = None
    bytes: float = 0.0

    @property
    def of_images(self) -> bool:
        """Whether there are layouts to choose from: N, C, H, W, or channels last."""
        return self.inputs[0].ndim == 4

    def layouts(self) -> list[tuple[str, tuple[np.ndarray, ...], np.ndarray | None]]:
        """(suffix of a name, inputs, cotangent) for each layout of images in memory.

        Filters are kept as images are.
        """
        found = [("", self.inputs, self.cotangent)]
        if self.of_images:
            g = None if self.cotangent is None else channels_last(self.cotangent)
            found.append((" (channels-last)", tuple(map(channels_last, self.inputs)), g))
        return found


def channels_last(x: np.ndarray) -> np.ndarray:
    """The same images (N, C, H, W) with channels as neighbours in memory; others as they are."""
    if x.ndim != 4:
        return x
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
