"""How much of a rule's numbers is rounding: measured, by moving the inputs in their last digits.

Where large terms cancel, as in the gradient of a normalization of equal numbers, a right rule
returns rounding instead of zero, and nothing in its inputs and outputs tells how much that may be.
But rounding changes with the last digits, and a mistake does not: so the rule is asked again beside
the point, and what comes out differently by itself is not held against it.
"""

from __future__ import annotations

import numpy as np

from .functions import Arrays, Function, Pullback
from .oracles import flat

SAMPLES = 6  # points beside the point
TIMES = 30.0  # the largest of so few samples may be that much smaller than what rounding can do
CANCELLED = 1e-6  # rounding that is less beside the largest number leaves most of its digits
DOUBLE = 1e-8  # of the largest number: what changes by more was rounded to single precision
# Of the largest number around. What changes by more is no rounding in double precision, but a rule
# that computes in a lower one, or a kink.
SMALL = 1e-9


def beside(point: Arrays, eps: float) -> list[tuple[Arrays, float]]:
    """Points that differ from this one in their last digits; and a factor for the cotangents.

    Where nothing depends on the last digits of the inputs, other cotangents are rounded otherwise.
    """
    rng = np.random.default_rng(0)
    return [
        (
            [np.asarray(x * (1 + eps * rng.integers(-4, 5, x.shape))) for x in point],
            float(rng.uniform(0.7, 1.4)),
        )
        for _ in range(SAMPLES)
    ]


def implied(allowed: np.ndarray, rows: np.ndarray, eps: float) -> float:
    """How large numbers must have been to leave so much rounding in these, where they cancelled.

    0 where rounding is small beside the largest of them: nothing has cancelled.
    """
    largest = float(abs(rows[np.isfinite(rows)]).max(initial=0.0))
    found = float(allowed.max(initial=0.0))
    return found / (TIMES * eps) if found > CANCELLED * largest else 0.0


def of_pass(function: Function, cotangents: Arrays, eps: float) -> np.ndarray:
    """The rounding of a backward pass, for each number of all gradients."""
    here = flat(function.record(function.point).pull(cotangents))
    with np.errstate(all="ignore"):
        found = [
            abs(flat(function.record(p).pull([np.asarray(c * v) for v in cotangents])) / c - here)
            for p, c in beside(function.point, eps)
        ]
    return allowance(function, here, np.max(found, axis=0))


def allowance(function: Function, rows: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """What is allowed for rounding, if the rule's numbers changed so much beside the point."""
    size = max([abs(x).max(initial=0.0) for x in function.point], default=0.0)
    # At 0, where a gradient may be rounding and nothing else, that of the cotangents, about 1.
    largest = max(abs(rows[np.isfinite(rows)]).max(initial=0.0), size or 1.0)
    return np.where(changes <= DOUBLE * largest, TIMES * changes, 0.0)


def scale(function: Function, outputs: np.ndarray) -> float:
    """The size of the numbers that a function's outputs are rounded like.

    That of the outputs; of a gradient also that of its terms, which may have cancelled: they are
    like the cotangent times the function, over the input.
    """
    found = float(abs(outputs).max(initial=0.0))
    if isinstance(function, Pullback):
        n = len(function.of.point)
        values = abs(flat(function.of.values(function.of.point))).max(initial=0.0)
        size = abs(flat(function.point[:n])).max(initial=0.0)
        v = abs(flat(function.point[n:])).max(initial=0.0)
        found = max(found, float(v * values / max(1.0, size)))
    return found
