"""Twenty mistakes that people make in gradients, each in a rule that is otherwise right.

A rule is a vector-Jacobian product in plain NumPy, `vjp(g, *inputs)`, so that every checker can be
asked about the same numbers. Beside each wrong rule stands the right one, which no checker may
complain about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # of NumPy
Vjp = Callable[..., Any]


@dataclass(frozen=True)
class Problem:
    """A function, its gradient right and wrong, and a point to check them at.

    Attributes:
        forward: `forward(*inputs)` gives an array.
        right: `right(g, *inputs)` gives the gradient of each input, as a tuple.
        wrong: the same with the fault in it.
        inputs: arrays of float64.
    """

    forward: Callable[..., Array]
    right: Vjp
    wrong: Vjp
    inputs: list[Array]


@dataclass(frozen=True)
class Twice:
    """A function of one input whose rule needs its own output, for second derivatives.

    Attributes:
        forward: `forward(x)` on arrays, giving y.
        rule: `rule(g, y)`, with operators only: any library's tensors will do. It is right where y
            is differentiated too, and wrong, in second order alone, where y was kept as a constant.
        inputs: arrays of float64.
    """

    forward: Callable[[Array], Array]
    rule: Callable[[Any, Any], Any]
    inputs: list[Array]


@dataclass(frozen=True)
class Fault:
    """A mistake, in words, and problems that have it.

    Attributes:
        name: short.
        family: which of `minigrad.testing.FAMILIES` it belongs to.
        what: what is wrong, in a sentence.
        draw: a problem with random numbers.
    """

    name: str
    family: str
    what: str
    draw: Callable[[np.random.Generator], Problem | Twice]

    @property
    def order(self) -> int:
        """Which derivative is wrong."""
        return 2 if isinstance(self.draw(np.random.default_rng(0)), Twice) else 1


FAULTS: list[Fault] = []
"""All of them."""


def fault(name: str, family: str, what: str) -> Callable[[Any], Any]:
    """File the decorated function, which draws problems, as a fault."""

    def file(draw: Callable[[np.random.Generator], Problem | Twice]) -> Any:
        FAULTS.append(Fault(name, family, what, draw))
        return draw

    return file


def real(rng: np.random.Generator, *shape: int) -> Array:
    return rng.uniform(-2, 2, shape)


def separated(rng: np.random.Generator, *shape: int) -> Array:
    """A shuffled grid: no two numbers are close to each other, none is close to zero."""
    n = int(np.prod(shape))
    return rng.permutation((np.arange(n) + 0.382) * 4 / n - 2).reshape(shape)


# Few places are wrong


@fault(
    "one entry in 10,000",
    "few entries",
    "log-cosh loss: the rule works in blocks of 33 entries and leaves out the last, partial block",
)
def last_block(rng: np.random.Generator) -> Problem:
    def wrong(g: Array, x: Array) -> tuple[Array, ...]:
        dx = g * np.tanh(x)
        dx.reshape(-1)[x.size // 33 * 33 :] = 0
        return (dx,)

    return Problem(
        lambda x: np.log(np.cosh(x)).sum(),
        lambda g, x: (g * np.tanh(x),),
        wrong,
        [real(rng, 100, 100)],
    )


@fault(
    "ties",
    "ties",
    "maximum along a row: every entry that equals it receives the whole gradient, not its share",
)
def max_of_equals(rng: np.random.Generator) -> Problem:
    def largest(x: Array) -> Array:
        return x == x.max(1, keepdims=True)

    def right(g: Array, x: Array) -> tuple[Array, ...]:
        return (g[:, None] * largest(x) / largest(x).sum(1, keepdims=True),)

    return Problem(
        lambda x: x.max(1),
        right,
        lambda g, x: (g[:, None] * largest(x),),
        [rng.integers(0, 3, (4, 5)).astype(float)],
    )


@fault(
    "broadcast inputs",
    "broadcast",
    "rows scaled by a column (n, 1): the gradient of the column is summed over the wrong axis",
)
def scaled_rows(rng: np.random.Generator) -> Problem:
    def right(g: Array, x: Array, s: Array) -> tuple[Array, ...]:
        return g * s, (g * x).sum(1, keepdims=True) if s.shape[1] == 1 else g * x

    def wrong(g: Array, x: Array, s: Array) -> tuple[Array, ...]:
        return g * s, (g * x).sum(0).reshape(s.shape) if s.shape[1] == 1 else g * x

    return Problem(lambda x, s: x * s, right, wrong, [real(rng, 4, 4), real(rng, 4, 1)])


@fault(
    "repeated rows",
    "missing term",
    "embedding: the gradients of a row that is looked up twice overwrite each other, and do not "
    "add up",
)
def embedding(rng: np.random.Generator) -> Problem:
    rows = np.array([[0, 2, 2], [4, 0, 1]])[:, rng.permutation(3)]

    def right(g: Array, table: Array) -> tuple[Array, ...]:
        d = np.zeros_like(table)
        np.add.at(d, rows, g)
        return (d,)

    def wrong(g: Array, table: Array) -> tuple[Array, ...]:
        d = np.zeros_like(table)
        d[rows] = g
        return (d,)

    return Problem(lambda table: table[rows], right, wrong, [real(rng, 5, 3)])


# Wrong numbers


@fault(
    "0.1 %",
    "factor",
    "variance of 1001 numbers: the forward pass divides by n - 1, the rule by n",
)
def variance(rng: np.random.Generator) -> Problem:
    def rule(g: Array, x: Array, n: int) -> tuple[Array, ...]:
        return (g * 2 * (x - x.mean()) / n,)

    return Problem(
        lambda x: x.var(ddof=1),
        lambda g, x: rule(g, x, x.size - 1),
        lambda g, x: rule(g, x, x.size),
        [real(rng, 1001)],
    )


@fault(
    "mean over the batch", "factor", "cross-entropy: the gradient is not divided by the batch size"
)
def cross_entropy(rng: np.random.Generator) -> Problem:
    labels = rng.integers(0, 4, 6)
    chosen = (np.arange(6), labels)

    def forward(x: Array) -> Array:
        return (np.log(np.exp(x).sum(1)) - x[chosen]).mean()

    def wrong(g: Array, x: Array) -> tuple[Array, ...]:
        d = softmax(x)
        d[chosen] -= 1
        return (g * d,)

    return Problem(forward, lambda g, x: (wrong(g, x)[0] / len(x),), wrong, [real(rng, 6, 4)])


@fault(
    "dropout's scale",
    "factor",
    "dropout: what is kept is divided by 0.8 on the way forward, its gradient is not",
)
def dropout(rng: np.random.Generator) -> Problem:
    kept = rng.random((4, 6)) < 0.8
    return Problem(
        lambda x: x * kept / 0.8,
        lambda g, x: (g * kept / 0.8,),
        lambda g, x: (g * kept,),
        [real(rng, 4, 6)],
    )


@fault("sign", "negated", "log-sum-exp: the gradient has the wrong sign")
def log_sum_exp(rng: np.random.Generator) -> Problem:
    return Problem(
        lambda x: np.log(np.exp(x).sum(1)),
        lambda g, x: (g[:, None] * softmax(x),),
        lambda g, x: (-g[:, None] * softmax(x),),
        [real(rng, 4, 5)],
    )


@fault("stale value", "stale value", "sigmoid: g * y * (1 - y), with the input where y belongs")
def sigmoid(rng: np.random.Generator) -> Problem:
    def forward(x: Array) -> Array:
        return 1 / (1 + np.exp(-x))

    return Problem(
        forward,
        lambda g, x: (g * forward(x) * (1 - forward(x)),),
        lambda g, x: (g * x * (1 - x),),
        [real(rng, 3, 4)],
    )


# Something is missing


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@fault("coupling", "missing term", "softmax: as if every probability depended on its score alone")
def coupling(rng: np.random.Generator) -> Problem:
    def right(g: Array, x: Array) -> tuple[Array, ...]:
        y = softmax(x)
        return (y * (g - (g * y).sum(1, keepdims=True)),)

    def wrong(g: Array, x: Array) -> tuple[Array, ...]:
        y = softmax(x)
        return (g * y * (1 - y),)

    return Problem(softmax, right, wrong, [real(rng, 4, 5)])


def _normalised(x: Array, axis: int) -> tuple[Array, Array]:
    """What batch norm and layer norm share: (x - mean) / deviation, and the deviation."""
    deviation = np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    return (x - x.mean(axis, keepdims=True)) / deviation, deviation


def _norm(axis: int, wrong: Callable[[Array, Array, Array], Array], inputs: list[Array]) -> Problem:
    """A normalisation with scale and shift; `wrong(g, z, deviation)` is the faulty gradient."""

    def right_x(g: Array, z: Array, deviation: Array) -> Array:
        mean = g.mean(axis, keepdims=True)
        return (g - mean - z * (g * z).mean(axis, keepdims=True)) / deviation

    def vjp(rule: Callable[[Array, Array, Array], Array]) -> Vjp:
        def gradients(g: Array, x: Array, scale: Array, shift: Array) -> tuple[Array, ...]:
            z, deviation = _normalised(x, axis)
            return rule(g * scale, z, deviation), (g * z).sum(0), g.sum(0)

        return gradients

    def forward(x: Array, scale: Array, shift: Array) -> Array:
        return _normalised(x, axis)[0] * scale + shift

    return Problem(forward, vjp(right_x), vjp(wrong), inputs)


@fault("constant mean", "missing term", "batch norm: the mean is treated as a constant")
def batch_norm(rng: np.random.Generator) -> Problem:
    return _norm(
        0,
        lambda g, z, deviation: (g - z * (g * z).mean(0)) / deviation,
        [real(rng, 8, 3), real(rng, 3), real(rng, 3)],
    )


@fault("constant variance", "missing term", "layer norm: the variance is treated as a constant")
def layer_norm(rng: np.random.Generator) -> Problem:
    return _norm(
        1,
        lambda g, z, deviation: (g - g.mean(1, keepdims=True)) / deviation,
        [real(rng, 4, 6), real(rng, 6), real(rng, 6)],
    )


@fault(
    "second order",
    "detached",
    "tanh: g * (1 - y²) with y kept as a constant: the gradient is right, its own gradient is not",
)
def tanh(rng: np.random.Generator) -> Twice:
    return Twice(np.tanh, lambda g, y: g * (1 - y * y), [real(rng, 3, 4)])


# Gradients for the wrong place


@fault("cotangent", "cotangent ignored", "sum along rows: the gradient is one, whatever came in")
def row_sums(rng: np.random.Generator) -> Problem:
    return Problem(
        lambda x: x.sum(1),
        lambda g, x: (g[:, None] * np.ones_like(x),),
        lambda g, x: (np.ones_like(x),),
        [real(rng, 3, 4)],
    )


@fault("other input", "other input", "hypot: the gradients of the two inputs are swapped")
def hypot(rng: np.random.Generator) -> Problem:
    return Problem(
        np.hypot,
        lambda g, x, y: (g * x / np.hypot(x, y), g * y / np.hypot(x, y)),
        lambda g, x, y: (g * y / np.hypot(x, y), g * x / np.hypot(x, y)),
        [real(rng, 3, 4), real(rng, 3, 4)],
    )


@fault("transposed", "transposed", "matrix product: the gradient of the second factor, transposed")
def matmul(rng: np.random.Generator) -> Problem:
    return Problem(
        np.matmul,
        lambda g, x, w: (g @ w.T, x.T @ g),
        lambda g, x, w: (g @ w.T, g.T @ x),
        [real(rng, 4, 4), real(rng, 4, 4)],
    )
