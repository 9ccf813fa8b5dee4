"""Twenty more faults, chosen and labelled before the autopsy was asked what it calls them.

Each draws its numbers from a generator, so that a name which holds for one draw by luck is seen.
The first eleven are of the two kinds that look most like others: values that overwrite each other
where they should add up, and gradients that land in a neighbouring window. For these the autopsy
got tests of its own; before, it named 13 of the 20 in all of five draws. `held_out_faults` came
after that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from planted_faults import conv, softmax

Draw = Callable[[np.random.Generator], tuple[tuple[Any, Any], list[np.ndarray]]]


class Unseen(NamedTuple):
    """A fault, the family that it belongs to, and problems that have it."""

    name: str
    family: str
    draw: Draw


UNSEEN: list[Unseen] = []


def unseen(family: str) -> Callable[[Draw], Draw]:
    """File the decorated function."""

    def file(draw: Draw) -> Draw:
        UNSEEN.append(Unseen(draw.__name__, family, draw))
        return draw

    return file


def put(shape: Any, where: Any, what: Any) -> Any:
    """Zeros with something assigned, where it should be added."""
    d = np.zeros(shape)
    d[where] = what
    return d


# Overwritten where it should be added up


@unseen("missing term")
def taps_that_overwrite(rng: Any) -> Any:
    """A convolution: each entry of the kernel writes its share over that of the one before."""
    w = rng.uniform(0.5, 2, 3)

    def rule(g: Any, x: Any) -> Any:
        d = np.zeros_like(x)
        for i in range(w.size):
            d[i : i + g.size] = w[i] * g
        return d

    return (lambda x: conv(x, w), rule), [rng.normal(size=9)]


@unseen("missing term")
def indices_that_repeat(rng: Any) -> Any:
    """A vector's entries, some of them picked twice."""
    idx = rng.permutation([0, 1, 1, 3, 4, 4, 4, 6])
    return (lambda x: x[idx], lambda g, x: put(x.shape, idx, g)), [rng.normal(size=7)]


@unseen("missing term")
def overlapping_pools(rng: Any) -> Any:
    """Max-pooling by windows of three that overlap: one entry is the largest of several."""

    def best(x: Any) -> Any:
        return np.lib.stride_tricks.sliding_window_view(x, 3).argmax(1) + np.arange(x.size - 2)

    x = rng.permutation(np.arange(10.0))
    x[4] = 20  # the largest of three windows
    return (lambda x: x[best(x)], lambda g, x: put(x.shape, best(x), g)), [x]


@unseen("missing term")
def weighted_rows(rng: Any) -> Any:
    """`d[rows] += ...`, which NumPy buffers: a row that is there twice is added once."""
    rows, weights = rng.permutation([0, 3, 3, 1, 2]), rng.uniform(0.5, 2, (5, 1))

    def rule(g: Any, x: Any) -> Any:
        d = np.zeros_like(x)
        d[rows] += weights * g
        return d

    return (lambda x: weights * x[rows], rule), [rng.normal(size=(4, 3))]


@unseen("missing term")
def running_sum(rng: Any) -> Any:
    """A running sum, whose rule returns the cotangent: each entry's own place alone."""
    return (np.cumsum, lambda g, x: g * 1.0), [rng.normal(size=7)]


@unseen("missing term")
def residual(rng: Any) -> Any:
    """x + tanh(x): the branch's gradient overwrites that of the skip connection."""
    return (
        (lambda x: x + np.tanh(x), lambda g, x: g * (1 - np.tanh(x) ** 2)),
        [rng.normal(size=(3, 4))],
    )


# In the window beside


@unseen("shifted")
def average_pool(rng: Any) -> Any:
    """Means of 2 x 2 pixels: the gradient lies one window to the right, the last one's is lost."""

    def forward(x: Any) -> Any:
        n, h, w = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4))

    def rule(g: Any, x: Any) -> Any:
        d = np.repeat(np.repeat(g, 2, 1), 2, 2) / 4
        return np.concatenate([np.zeros_like(d[..., :2]), d[..., :-2]], 2)

    return (forward, rule), [rng.normal(size=(2, 4, 6))]


@unseen("shifted")
def beside_the_largest(rng: Any) -> Any:
    """Max-pooling by three: the place within the window is counted from one, and wraps."""

    def rule(g: Any, x: Any) -> Any:
        windows = x.reshape(-1, 3)
        d = np.zeros_like(windows)
        d[np.arange(len(d)), (windows.argmax(1) + 1) % 3] = g
        return d.reshape(x.shape)

    return (lambda x: x.reshape(-1, 3).max(1), rule), [rng.permutation(np.arange(27.0))]


@unseen("shifted")
def every_second(rng: Any) -> Any:
    """Every second entry is taken, the others get the gradient."""
    return (
        (lambda x: 3 * x[:, ::2], lambda g, x: put(x.shape, np.s_[:, 1::2], 3 * g)),
        [rng.normal(size=(2, 8))],
    )


@unseen("shifted")
def doubled_pixels(rng: Any) -> Any:
    """Each entry twice: the pairs of the cotangent begin one place too late."""

    def rule(g: Any, x: Any) -> Any:
        return np.roll(g, -1).reshape(-1, 2).sum(1)

    return (lambda x: np.repeat(x, 2), rule), [rng.normal(size=6)]


@unseen("shifted")
def next_row(rng: Any) -> Any:
    """An embedding whose words are counted from one in the rule, not in the function."""
    rows = rng.permutation([0, 1, 1, 4, 2])

    def rule(g: Any, x: Any) -> Any:
        d = np.zeros_like(x)
        np.add.at(d, (rows + 1) % len(x), g)
        return d

    return (lambda x: x[rows], rule), [rng.normal(size=(6, 3))]


# Other kinds


@unseen("stale value")
def square_root(rng: Any) -> Any:
    """1 / 2y, with the input in the place of the output."""
    return (np.sqrt, lambda g, x: g / (2 * x)), [rng.uniform(0.5, 3, (3, 4))]


@unseen("other input")
def chosen(rng: Any) -> Any:
    """`where`: both gradients are right, each for the other branch."""
    mask = rng.permutation(np.arange(12) % 2 == 0).reshape(3, 4)
    return (
        (lambda a, b: np.where(mask, a, b), lambda g, a, b: (g * ~mask, g * mask)),
        [rng.normal(size=(3, 4)), rng.normal(size=(3, 4))],
    )


@unseen("missing term")
def unit_rows(rng: Any) -> Any:
    """Rows of length one: the length is held constant."""

    def length(x: Any) -> Any:
        return np.sqrt((x * x).sum(1, keepdims=True))

    return (lambda x: x / length(x), lambda g, x: g / length(x)), [rng.normal(size=(3, 4))]


@unseen("cotangent misused")
def summed_cotangent(rng: Any) -> Any:
    """The logarithm of sums of exponentials: all rows get the sum of all cotangents."""

    def forward(x: Any) -> Any:
        return np.log(np.exp(x).sum(1))

    return (forward, lambda g, x: g.sum() * softmax(x)), [rng.normal(size=(4, 3))]


@unseen("extra sum")
def summed_rows(rng: Any) -> Any:
    """x s, with s of one row: the gradient of x is summed like that of s, and repeated."""

    def rule(g: Any, x: Any, s: Any) -> Any:
        return np.repeat((g * s).sum(0, keepdims=True), len(x), 0), (g * x).sum(0, keepdims=True)

    return (np.multiply, rule), [rng.normal(size=(3, 4)), rng.normal(size=(1, 4))]


@unseen("few entries")
def lower_bound(rng: Any) -> Any:
    """Clipping from both sides: the rule knows the upper bound alone."""
    x = np.linspace(-1.3, 1.4, 12)
    return (
        (lambda x: np.clip(x, -1, 1), lambda g, x: g * (x < 1)),
        [rng.permutation(x).reshape(3, 4)],
    )


@unseen("transposed")
def similarity(rng: Any) -> Any:
    """a b^T: the gradient of b is that of a product without the transposition."""
    return (
        (lambda a, b: a @ b.T, lambda g, a, b: (g @ b, a.T @ g)),
        [rng.normal(size=(4, 4)), rng.normal(size=(4, 4))],
    )


@unseen("flipped")
def sum_from_the_wrong_end(rng: Any) -> Any:
    """A running sum along rows, whose gradient runs from the last entry to the first."""
    return (
        (lambda x: np.cumsum(x, 1), lambda g, x: np.cumsum(g, 1)),
        [rng.normal(size=(2, 5))],
    )


@unseen("permuted")
def heads(rng: Any) -> Any:
    """Two heads of three columns, put first: the rule goes the same way, and not back."""

    def split(x: Any) -> Any:
        return x.reshape(4, 2, 3).transpose(1, 0, 2).reshape(4, 6)

    return (split, lambda g, x: split(g)), [rng.normal(size=(4, 6))]
