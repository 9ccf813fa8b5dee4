"""On a mismatch: which known fault explains it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .probes import Probes

if TYPE_CHECKING:
    from .compare import Comparison

FAMILIES = {
    "negated": "the sign is wrong",
    "factor": "every entry is off by the same factor",
    "transposed": "two axes are exchanged",
    "missing sum": "a sum over an axis was left out",
    "extra sum": "it is summed over an axis that should be kept",
    "broadcast": "broadcasting is not undone, or over the wrong axis or part",
    "cotangent ignored": "it does not depend on the cotangent",
    "cotangent misused": "only part of the cotangent is used: its sum, mean, sign, diagonal, ...",
    "other input": "it is the gradient of another input",
    "shifted": "it is moved along an axis",
    "flipped": "an axis runs backwards",
    "permuted": "its entries are in another order",
    "missing term": "a term of the derivative is left out, such as one through a mean",
    "extra term": "a term too many",
    "detached": "it is zero, or a value that depends on the input was taken for a constant",
    "stale value": "it is right at another point: a saved value was replaced",
    "few entries": "only some entries are wrong",
    "ties": "it is wrong only at ties and kinks",
    "offset": "something that does not depend on the cotangent is added",
    "not linear": "it does not depend linearly on the cotangent",
    "unknown": "no known fault explains it",
}
"""The kinds of faults that are told apart, with what each means."""


@dataclass
class Evidence:
    """One mismatch, and what it takes to look into it.

    Attributes:
        comparison: of which it is part.
        k: which input.
        start: where this input's entries start in a gradient by all inputs.
        columns: the directions.
        said: V^T J U by the rule.
        seen: V^T J U by the oracle.
        allowed: by how much they may differ.
        wrong: where they differ by more.
        status: of the finding.
    """

    comparison: Comparison
    k: int
    start: int
    columns: Probes
    said: np.ndarray
    seen: np.ndarray
    allowed: np.ndarray
    wrong: np.ndarray
    status: str


def explain(evidence: Evidence) -> tuple[str, str]:
    """The family of the fault that explains a mismatch, and a sentence about it."""
    a, b = evidence.said[evidence.wrong], evidence.seen[evidence.wrong]
    if a.size and not a.any():
        return "detached", "the rule gives zero there"
    if a.size and (abs(b) > 1e-6 * abs(a).max()).all():
        ratio = a / b
        if np.ptp(ratio) < 1e-4 * abs(ratio).max():
            family = "negated" if abs(ratio.mean() + 1) < 1e-6 else "factor"
            return family, f"every wrong entry is {ratio.mean():.6g} times what it should be"
    return "unknown", ""
