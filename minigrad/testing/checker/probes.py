"""Directions along which a Jacobian is looked at: every entry, or a sketch of random ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Arrays = list[np.ndarray]

RANDOM, SINGLE = 4, 6  # how many random and single-entry probes a large array gets


@dataclass
class Probes:
    """Directions in the space of an array, as columns, and what to call them.

    Attributes:
        matrix: one column for each direction; None is the identity.
        names: one for each direction.
    """

    matrix: np.ndarray | None
    names: list[str]

    def of(self, k: int, size: int) -> np.ndarray:
        """The direction number k, flat."""
        if self.matrix is not None:
            return self.matrix[:, k]
        unit = np.zeros(size)
        unit[k] = 1.0
        return unit


def entries(label: str, shape: tuple[int, ...]) -> list[str]:
    """`label[i, j]` for every entry, in memory order."""
    if not shape:
        return [label]
    return [f"{label}[{', '.join(map(str, i))}]" for i in np.ndindex(*shape)]


def probes(arrays: Arrays, labels: list[str], full: int, rng: np.random.Generator) -> Probes:
    """All entries of the arrays if there are at most `full`, else a sketch."""
    size = sum(a.size for a in arrays)
    if size <= full:
        names = [
            n for a, label in zip(arrays, labels, strict=True) for n in entries(label, a.shape)
        ]
        return Probes(None, names)
    single = rng.choice(size, min(SINGLE, size), replace=False)
    matrix = np.zeros((size, RANDOM + single.size))
    matrix[:, :RANDOM] = dense(rng, (size, RANDOM))
    matrix[single, RANDOM + np.arange(single.size)] = 1.0
    what = labels[0] if len(labels) == 1 else "the outputs"
    names = [f"random combination {i} of {what}" for i in range(RANDOM)]
    return Probes(matrix, [*names, *(f"entry {i} of {what}" for i in single)])


def dense(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers of either sign, none small: nothing hides behind a tiny weight.

    One at least is negative. Unit vectors are not, and a rule that takes the absolute value of its
    cotangent is right for those.
    """
    found = np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))
    if found.size and (found > 0).all():
        found.flat[0] *= -1
    return found


def split(vector: np.ndarray, like: Arrays) -> Arrays:
    """A flat vector cut into arrays of these shapes."""
    cuts = np.cumsum([a.size for a in like])[:-1]
    return [p.reshape(a.shape) for p, a in zip(np.split(vector, cuts), like, strict=True)]
