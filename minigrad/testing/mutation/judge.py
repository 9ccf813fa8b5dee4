"""Judging one broken rule: does a test notice? If not, is there a proof that nothing is to notice?

The first judge is `minigrad.testing.gradcheck` on the samples of the operation whose gradients the
mutation changes; the second, for what passes that, are the tests. A mutant
counts as equivalent only if all gradients of all samples, to second order, are identical to the
last bit *and* there is a reason for it in how the rule is built; without a reason it survived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...ops.elementwise import vanishing
from ..checker.gradcheck import gradcheck
from .mutations import MUTATIONS, SECOND_ORDER, unread
from .rules import Edge, intercepted, title
from .survey import Case, Facts, Survey, gradients, same

STATUSES = ("killed", "survived", "equivalent", "not applicable", "timeout")


@dataclass(frozen=True)
class Mutant:
    """One rule, broken in one way.

    Attributes:
        operation: the operation in whose samples it was found.
        rule: the rule's title, such as `div[1] lambda:162`: operation, input, name and line.
        mutation: one of `MUTATIONS`, or for the engine what is changed.
        variant: which of several, such as the number of the kept value, or the variable's name.
    """

    operation: str
    rule: str
    mutation: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.mutation}" + (f" ({self.variant})" if self.variant else "")


@dataclass(frozen=True)
class Result:
    """What became of a mutant.

    Attributes:
        mutant: which.
        status: one of `STATUSES`.
        how: by what it was killed; why it is equivalent or does not apply; what it passed.
        seconds: how long it took.
    """

    mutant: Mutant
    status: str
    how: str
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the mutant's fields and the others side by side."""
        own = asdict(self)
        return {**own.pop("mutant"), **own}


def mutated(rule: str, mutation: str, variant: str = "") -> AbstractContextManager[None]:
    """A context in which a rule is broken, to see what a survivor looks like.

    Args:
        rule: its title, as `minigrad mutate` prints it.
        mutation: one of `MUTATIONS`.
        variant: which of several.

    Raises:
        ValueError: for a mutation that there is not.

    >>> import minigrad as mg
    >>> from minigrad.testing.mutation import mutated, rules
    >>> x = mg.tensor(0.0, requires_grad=True)
    >>> with mutated(rules("exp")[0], "doubled"):
    ...     mg.exp(x).backward()
    >>> x.grad
    tensor(2.)
    """
    if mutation not in MUTATIONS:
        raise ValueError(f"mutated: mutation {mutation!r} is none of {', '.join(MUTATIONS)}")
    broken = MUTATIONS[mutation].broken
    return intercepted(replacing(rule, lambda edges, slot: broken(edges, slot, variant)))


def replacing(
    rule: str, new: Callable[[list[Edge], int], Edge]
) -> Callable[[Any, list[Edge]], list[Edge]]:
    """What `intercepted` is to do so that the edges with this rule are replaced."""
    name = rule.partition("[")[0]

    def change(operation: Any, edges: list[Edge]) -> list[Edge]:
        if operation.__name__ != name:
            return edges
        return [
            new(edges, slot) if e.alive and title(operation, slot, e.function) == rule else e
            for slot, e in enumerate(edges)
        ]

    return change


def mutants(survey: Survey) -> Iterator[Mutant | Result]:
    """Every mutant of the rules that were found; those that do not apply are results already."""
    operation = survey.operation.name
    for facts in survey.rules.values():
        for kind, mutation in MUTATIONS.items():
            needs = "" if facts.twice or kind not in SECOND_ORDER else "a second order"
            variants = facts.variants.get(kind, [])
            for variant in variants if not needs else ():
                yield Mutant(operation, facts.rule, kind, variant)
            if needs or not variants:
                mutant = Mutant(operation, facts.rule, kind)
                yield Result(mutant, "not applicable", f"wants {needs or mutation.needs}")


class Judge:
    """Judges the mutants of one operation.

    Args:
        survey: its rules and samples.
        tests: called with a mutant that gradcheck did not kill, runs other tests: returns what
            failed, or "" if nothing did.
        ask_gradcheck: whether gradcheck is a judge.
    """

    def __init__(
        self,
        survey: Survey,
        tests: Callable[[Mutant], str] | None = None,
        ask_gradcheck: bool = True,
    ) -> None:
        self.survey = survey
        self.tests = tests
        self.ask_gradcheck = ask_gradcheck
        self._before: dict[tuple[int, str], dict[int, list[np.ndarray]]] = {}
        self._sound: dict[tuple[int, int], str] = {}

    def __call__(self, mutant: Mutant) -> Result:
        """Try to kill it."""
        start = time.perf_counter()
        facts = self.survey.rules[mutant.rule]
        status, how = self._verdict(mutant, facts)
        return Result(mutant, status, how, time.perf_counter() - start)

    def _verdict(self, mutant: Mutant, facts: Facts) -> tuple[str, str]:
        differs = False
        for i in facts.samples:
            case = self.survey.cases[i]
            order = self._changed(i, mutant)
            if not order:
                continue
            differs = True
            for level in range(order, case.sample.orders + 1) if self.ask_gradcheck else ():
                with mutated(mutant.rule, mutant.mutation, mutant.variant):
                    noticed = verdict_on(case, level)
                if noticed:
                    self._check_sound(i, level)
                    return "killed", noticed
        reason = "" if differs else self._equivalence(mutant, facts)
        if reason:
            return "equivalent", f"all gradients are identical: {reason}"
        failed = self.tests(mutant) if self.tests is not None else ""
        if failed:
            return "killed", failed
        seen = "changes gradients" if differs else "changes no gradient of any sample"
        nobody = "no test notices" if self.tests is not None else "gradcheck does not notice"
        return "survived", f"{seen}, and {nobody}"

    def _changed(self, i: int, mutant: Mutant) -> int:
        """The first order in which a sample's gradients are other ones; 0 if none are."""
        case, key = self.survey.cases[i], (i, mutant.rule)
        if key not in self._before:
            # A joint rule rounds differently if it is called for each input by itself.
            with intercepted(replacing(mutant.rule, lambda edges, slot: edges[slot].apart())):
                self._before[key] = gradients(case)
        try:
            with mutated(mutant.rule, mutant.mutation, mutant.variant):
                return same(self._before[key], gradients(case))
        except Exception:  # whatever a broken rule leads to
            return 1

    def _equivalence(self, mutant: Mutant, facts: Facts) -> str:
        """Why a mutant that changes no number of any sample cannot change any; "" if unknown."""
        if facts.zero and mutant.mutation not in ("swapped", "geometry") and vanishes(facts):
            return "the rule gives zeros, by `vanishing`"
        if mutant.mutation == "swapped" and facts.alike:
            return "both operands have this same rule, which keeps nothing"
        if mutant.mutation == "kept constant" and int(mutant.variant) not in facts.used:
            return "nothing differentiable leads from the gradient to what is kept"
        if mutant.mutation in ("stale", "geometry") and self._unread(mutant, facts):
            return "the rule never reads this value: it works with one that cannot be read"
        return ""

    def _unread(self, mutant: Mutant, facts: Facts) -> bool:
        """Whether all samples work, with the same gradients, when the value cannot be read."""
        kind, variant = mutant.mutation, mutant.variant
        blind = replacing(mutant.rule, lambda edges, slot: unread(edges, slot, kind, variant))
        with intercepted(blind):
            for i in facts.samples:
                try:
                    if same(self._before[i, mutant.rule], gradients(self.survey.cases[i])):
                        return False
                except Exception:  # it was read
                    return False
        return True

    def _check_sound(self, i: int, order: int) -> None:
        """A check that fails for rules as they are cannot have noticed anything.

        Raises:
            ValueError: if it does.
        """
        case = self.survey.cases[i]
        if (i, order) not in self._sound:
            self._sound[i, order] = verdict_on(case, order)
        if self._sound[i, order]:
            raise ValueError(
                f"mutate: {case} fails without any mutation, mend it first: {self._sound[i, order]}"
            )


def vanishes(facts: Facts) -> bool:
    """Whether a rule is `vanishing`, or calls it: that the samples give zeros is not enough."""
    code = getattr(facts.function, "__code__", None)
    return facts.function is vanishing or (code is not None and "vanishing" in code.co_names)


def verdict_on(case: Case, order: int) -> str:
    """What gradcheck finds wrong with a sample, in a line; "" if nothing."""
    with np.errstate(all="ignore"):
        try:
            verdict = gradcheck(case.call, case.call.arrays, order=order, kind=case.operation.kind)
        except Exception as error:
            return f"gradcheck of {case}: {type(error).__name__}: {error}".split("\n")[0]
    if verdict.ok:
        return ""
    wrong = [f for f in verdict.findings if not f.ok]
    what = f"order {wrong[0].order}, {wrong[0].label}" if wrong else verdict.problems[0]
    return f"gradcheck of {case}: {what}"
