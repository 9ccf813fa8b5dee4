"""What there is to break: the rules that an operation's samples reach, and facts about each.

`gradients` computes all gradients of a sample, to second order, for random cotangents: what two
versions of a rule are told apart by, and how the rules are found in the first place.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...autograd import grad
from ...modes import enable_grad
from ...ops.elementwise import vanishing
from ...ops.registry import Operation, Sample
from ...tensor import Tensor, wrap
from ..calls import SEED, Call, draw
from .mutations import MUTATIONS, other
from .rules import Edge, intercepted, title

ROUNDS = 2  # pairs of random cotangents: one could hit a coincidence


@dataclass(frozen=True)
class Case:
    """One sample of an operation, drawn."""

    operation: Operation
    sample: Sample
    call: Call

    @property
    def size(self) -> int:
        """How many numbers go in: the fewer, the sooner it is checked."""
        return sum(a.size for a in self.call.arrays)

    def __str__(self) -> str:
        return f"{self.operation.name}({self.sample})"


def cases(operation: Operation) -> list[Case]:
    """The samples of an operation, drawn as everywhere in the tests."""
    return [Case(operation, s, draw(operation.function, s)) for s in operation.samples]


def gradients(case: Case) -> dict[int, list[np.ndarray]]:
    """All gradients of a sample for random cotangents, by order: 1, and 2 where it has one.

    Those of first order twice, from the ordinary pass and from the recorded one.
    """
    found: dict[int, list[np.ndarray]] = {1: [], 2: []}
    rng = np.random.default_rng(SEED)
    for _ in range(ROUNDS):
        with enable_grad(), np.errstate(all="ignore"):
            xs = [
                wrap(a.copy()).requires_grad_() if a.dtype.kind == "f" else wrap(a.copy())
                for a in case.call.arrays
            ]
            result = case.call(*xs)
            many = result if isinstance(result, (tuple, list)) else [result]
            ys = [y for y in many if isinstance(y, Tensor) and y.requires_grad]
            leaves = [x for x in xs if x.requires_grad]
            if not ys or not leaves:
                return found
            vs = [_cotangent(y, rng).requires_grad_() for y in ys]
            found[1] += _arrays(grad(ys, leaves, vs, retain_graph=True, allow_unused=True))
            first = grad(ys, leaves, vs, create_graph=True, allow_unused=True)
            found[1] += _arrays(first)
            if case.sample.orders < 2:
                continue
            gs = [g for g in first if g is not None and g.requires_grad]
            ws = [_cotangent(g, rng) for g in gs]
            if gs:
                found[2] += _arrays(grad(gs, [*leaves, *vs], ws, allow_unused=True))
    return found


def _cotangent(y: Tensor, rng: np.random.Generator) -> Tensor:
    v = rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1, 1], y.shape)
    return wrap(np.asarray(v, y.dtype))


def _arrays(found: Any) -> list[np.ndarray]:
    """Missing gradients are zeros of no shape: whether one is missing counts as well."""
    return [np.zeros(0) if g is None else np.array(g.data) for g in found]


def same(a: dict[int, list[np.ndarray]], b: dict[int, list[np.ndarray]]) -> int:
    """0 if all numbers are identical, else the first order in which they are not."""
    for order in (1, 2):
        x, y = _without_zeros(a[order]), _without_zeros(b[order])
        if len(x) != len(y) or not all(map(_identical, x, y)):
            return order
    return 0


def _without_zeros(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """A gradient that is missing is one that is zero."""
    return [np.zeros(0) if not a.any() else a for a in arrays]


def _identical(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True)


@dataclass
class Facts:
    """What the samples show of one rule.

    Attributes:
        rule: its title.
        operation: the name of the operation that recorded it.
        function: the rule, as it was last seen.
        samples: the numbers of the samples that record it, the smallest first.
        variants: for each mutation, the names of its variants that could change something.
        zero: whether every gradient that it gave was zero everywhere.
        twice: whether one of the samples is differentiated twice.
        alike: whether the next operand always had the very same rule, which keeps nothing.
        used: the places of the kept values that the gradient, as recorded, depends on.
    """

    rule: str
    operation: str
    function: Any
    samples: list[int] = field(default_factory=list)
    variants: dict[str, list[str]] = field(default_factory=dict)
    zero: bool = True
    twice: bool = False
    alike: bool = True
    used: set[int] = field(default_factory=set)

    def note(self, mutation: str, variants: Any) -> None:
        """Add variants that another call has shown to be possible."""
        known = self.variants.setdefault(mutation, [])
        known += [v for v in variants if v not in known]


def alike(edges: list[Edge], slot: int) -> bool:
    """Whether the next operand has the same rule, and neither keeps or closes over anything."""
    k = other(edges, slot)
    if k is None:
        return True
    a, b = edges[slot], edges[k]
    plain = all(e.kept is None and not getattr(e.function, "__closure__", None) for e in (a, b))
    return plain and a.function is b.function


def used(c: Any, g: Any, values: tuple[Any, ...]) -> set[int]:
    """The places of the values on which the tensor `c` depends by a path of differentiable steps.

    A step whose rule is `vanishing`, of which nothing comes back whatever happens, is none.
    """
    if not isinstance(c, Tensor) or c.node is None:
        return set()
    ends = {v.node: k for k, v in enumerate(values) if isinstance(v, Tensor) and v.node is not None}
    stop = {*ends, g.node} if isinstance(g, Tensor) else set(ends)
    found, seen, stack = set(), {c.node}, [c.node]
    while stack:
        node = stack.pop()
        if node in ends:
            found |= {k for k, v in enumerate(values) if getattr(v, "node", None) is node}
        if node in stop:
            continue
        for parent, rule, _ in node.edges or ():
            if parent not in seen and inspect.unwrap(rule) is not vanishing:
                seen.add(parent)
                stack.append(parent)
    return found


@contextmanager
def _told(case: Case) -> Iterator[None]:
    """Say where an error comes from.

    Raises:
        ValueError: for any error.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"mutate: {case} raises {type(error).__name__}: {error}") from error


class Survey:
    """The rules of an operation, and what else its samples record.

    Attributes:
        cases: its samples, drawn.
        rules: facts about each rule that the operation itself records, or that is recorded by an
            operation which is not registered, and so has no samples of its own.
        others: the names of the registered operations that it is composed of.
    """

    def __init__(self, operation: Operation, registered: Callable[[str], bool]) -> None:
        self.operation = operation
        self.registered = registered
        self.cases = cases(operation)
        self.rules: dict[str, Facts] = {}
        self.others: list[str] = []
        for i, case in enumerate(self.cases):
            self._at = i
            if case.call.differentiable:
                with intercepted(self._see), _told(case):
                    gradients(case)
        for facts in self.rules.values():
            facts.twice = any(self.cases[i].sample.orders > 1 for i in facts.samples)
            facts.samples.sort(key=lambda i: self.cases[i].size)

    def _see(self, operation: Any, edges: list[Edge]) -> list[Edge]:
        name = operation.__name__
        if name != self.operation.name and self.registered(name):
            if name not in self.others and edges:
                self.others.append(name)
            return edges
        return [
            self._watched(operation, edges, slot) if e.alive else e for slot, e in enumerate(edges)
        ]

    def _watched(self, operation: Any, edges: list[Edge], slot: int) -> Edge:
        """The edge, with a rule that tells what it returned."""
        e = edges[slot]
        name = title(operation, slot, e.function)
        facts = self.rules.setdefault(name, Facts(name, operation.__name__, e.function))
        if self._at not in facts.samples:
            facts.samples.append(self._at)
        for kind, mutation in MUTATIONS.items():
            if mutation.by_shape is None:
                facts.note(kind, mutation.variants(edges, slot))
        facts.alike = facts.alike and alike(edges, slot)

        @functools.wraps(e.rule)
        def rule(g: Any, *values: Any) -> Any:
            c = e.rule(g, *values)
            array = c.data if isinstance(c, Tensor) else np.asarray(c)
            facts.zero &= not array.any()
            for kind, mutation in MUTATIONS.items():
                if mutation.by_shape is not None and mutation.by_shape(array.shape, e.input.shape):
                    facts.note(kind, ("",))
            facts.used |= used(c, g, values)
            return c

        return Edge(e.input, rule, e.kept, e.function, e.rule_of)
