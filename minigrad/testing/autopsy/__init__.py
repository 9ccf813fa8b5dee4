"""On a mismatch: which known fault explains it?

The faults are tried from the simplest to the most complicated, each with the parameters that it
has: an axis, a factor, a distance, another point. The first that explains all but a hundredth of
the mismatch has the word: two numbers that happen to agree explain nothing, and what is explained
can be checked by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import faults, patterns, terms
from .evidence import Case

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

Test = Callable[[Case], str]

TESTS: tuple[tuple[str, Test], ...] = (
    ("ties", lambda c: terms.ties(c) if c.status == "outside" else ""),
    ("detached", faults.zero),
    ("cotangent ignored", faults.ignored),
    ("offset", faults.offset),
    ("cotangent misused", faults.bent),
    ("not linear", faults.not_linear),
    ("negated", faults.negated),
    ("factor", faults.factor),
    ("missing sum", faults.missing_sum),
    ("missing term", patterns.overwritten),
    ("few entries", lambda c: terms.few_entries(c, 0.1) or terms.few_outputs(c, 0.1)),
    ("other input", faults.other_input),
    ("broadcast", faults.broadcast),
    ("transposed", faults.transposed),
    ("shifted", faults.shifted),
    ("flipped", faults.flipped),
    ("transposed", faults.operand_transposed),
    ("shifted", patterns.displaced),
    ("extra sum", faults.extra_sum),
    ("cotangent misused", faults.part_of_cotangent),
    ("missing term", terms.missing_coupling),
    ("missing term", terms.missing_factor_derivative),
    ("stale value", terms.stale),
    ("stale value", terms.input_for_output),
    ("missing term", patterns.diagonal),
    ("missing term", terms.missing_plain),
    ("extra term", terms.extra_plain),
    ("permuted", faults.permuted),
    ("transposed", faults.jacobian_transposed),
    ("ties", terms.ties),
    ("few entries", lambda c: terms.few_entries(c, 0.5) or terms.few_outputs(c, 0.5)),
    ("few entries", lambda c: terms.few_entries(c, 0.95, alike=True)),
    ("missing term", patterns.masked),
    ("extra term", terms.extra_entries),
)
"""Families and their tests, the simplest first."""


CALLS, SECONDS = 10_000, 5.0
"""How often the function and its rule are called, at most, to find a name, and for how long."""


def explain(case: Case) -> tuple[str, str]:
    """The family of the fault that explains a mismatch best, and a sentence about it."""
    if not (np.isfinite(case.said).all() and np.isfinite(case.seen).all()):
        return "unknown", "the rule gives NaN or infinity"
    place = case.comparison.place
    with place.at_most(CALLS, SECONDS), np.errstate(all="ignore"):
        family, sentence = _explained(case)
        if family == "unknown" and place.is_late:
            limits = f"{SECONDS:g} seconds or {CALLS:,} calls"
            sentence += f"; the search for one was stopped after {limits}"
    return family, sentence


def _explained(case: Case) -> tuple[str, str]:
    place = case.comparison.place
    for family, test in TESTS:
        if place.is_late:
            return "unknown", terms.in_common(case)
        try:
            sentence = test(case)
        except Exception:  # the function may refuse what a test tries, or may not be called again
            sentence = ""
        if sentence:
            return family, f"looks like: {sentence}"
    family, sentence = terms.low_rank(case)
    if case.order > 1 and family != "extra term":
        lost = terms.lost_second_order(case)
        if lost:
            return "detached", f"looks like: {lost}"
    return (family, f"looks like: {sentence}") if family else ("unknown", terms.in_common(case))
