"""The known ways to break a rule. Each turns an edge of a recorded operation into a wrong one.

They are the mistakes that people make: a sign, a factor, an operand taken for the other, a
cotangent that is not used, a sum over broadcast axes that is forgotten, a value that is out of
date, an index that is off by one, a value treated as a constant, which only second derivatives
show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...recording import record
from ...tensor import Tensor, wrap
from .closures import changed, numbers
from .rules import Edge

Array = Any
Shape = tuple[int, ...]
Step = Callable[[Array], Array]
Linear = tuple[Step, Step]
"""A linear map of arrays, and its adjoint."""


@dataclass(frozen=True)
class Mutation:
    """One way to break a rule.

    Attributes:
        meaning: what it does, in a line.
        variants: given the edges of a call and which of them is broken, the names of the variants
            that change something there; a single empty name if there are no variants.
        broken: the broken edge, for one of these variants; where it cannot be applied, the edge.
        needs: what a rule must have for it, said where no call has it.
        by_shape: for mutations of what the rule returns, the linear map for a gradient of one shape
            and an input of another; None where it would change nothing.
    """

    meaning: str
    variants: Callable[[Sequence[Edge], int], Sequence[str]]
    broken: Callable[[Sequence[Edge], int, str], Edge]
    needs: str
    by_shape: Callable[[Shape, Shape], Linear | None] | None = None


def mapped(c: Any, forward: Step, adjoint: Step) -> Any:
    """A linear map of a gradient, be it an array, or a tensor that is differentiated in turn."""
    if isinstance(c, Tensor):
        y = forward(c.data)
        return record(mapped, y, (c, lambda g: mapped(g, adjoint, forward), None))
    return np.asarray(forward(np.asarray(c)))


# The gradient that the rule returns is changed by a linear map, which may depend on its shape.


def _after(meaning: str, needs: str, choose: Callable[[Shape, Shape], Linear | None]) -> Mutation:
    """A mutation of what the rule returns; `choose(shape, shape of the input)` gives the map."""

    def broken(edges: Sequence[Edge], slot: int, _: str) -> Edge:
        e = edges[slot]
        wanted = e.input.shape

        def rule(g: Any, *values: Any) -> Any:
            c = e.rule(g, *values)
            both = choose(np.shape(c.data if isinstance(c, Tensor) else c), wanted)
            return c if both is None else mapped(c, *both)

        return dataclasses.replace(e, rule=rule)

    return Mutation(meaning, _one, broken, needs, choose)


def _one(edges: Sequence[Edge], slot: int) -> Sequence[str]:
    return ("",)


def _scaled(factor: float) -> Callable[[Shape, Shape], Linear]:
    def times(a: Array) -> Array:
        return a * a.dtype.type(factor)  # a number without dimensions keeps its type

    return lambda shape, wanted: (times, times)


def _zeroed(shape: Shape, wanted: Shape) -> Linear:
    return np.zeros_like, np.zeros_like


def _rolled(axis: int) -> Linear:
    return (lambda a: np.roll(a, 1, axis)), (lambda a: np.roll(a, -1, axis))


def _long(shape: Shape, wanted: Shape) -> list[int]:
    """The axes longer than 1 that are not summed afterwards: the order of a sum does not matter."""
    extra = len(shape) - len(wanted)
    stays = [extra < 0 or (i >= extra and wanted[i - extra] > 1) for i in range(len(shape))]
    return [i for i, n in enumerate(shape) if n > 1 and stays[i]]


def _shifted(shape: Shape, wanted: Shape) -> Linear | None:
    axes = _long(shape, wanted)
    return _rolled(axes[-1]) if axes else None


def _other_axis(shape: Shape, wanted: Shape) -> Linear | None:
    axes = _long(shape, wanted)
    return _rolled(axes[0]) if len(axes) > 1 else None


def _transposed(shape: Shape, wanted: Shape) -> Linear | None:
    if len(_long(shape, wanted)) < 2:
        return None
    return (lambda a: a.T.reshape(shape)), (lambda a: a.reshape(shape[::-1]).T)


def _last_entry(shape: Shape, wanted: Shape) -> Linear | None:
    # Zeroing it would often change nothing: it may be zero already, as in a maximum's gradient.
    if not _long(shape, wanted):
        return None

    def summed(a: Array) -> Array:
        a = a.copy()
        a[(-1,) * a.ndim] = a.sum()
        return a

    def back(a: Array) -> Array:
        last = a[(-1,) * a.ndim]
        a = a + last
        a[(-1,) * a.ndim] = last
        return a

    return summed, back


def _first_copy(shape: Shape, wanted: Shape) -> Linear | None:
    """One of the copies that broadcasting made, instead of their sum."""
    extra = len(shape) - len(wanted)
    if shape == wanted or extra < 0:
        return None
    index = (0,) * extra + tuple(slice(0, 1) if w == 1 else slice(None) for w in wanted)

    def first(a: Array) -> Array:
        return a[index].copy()

    def back(a: Array) -> Array:
        whole = np.zeros(shape, a.dtype)
        whole[index] = a
        return whole

    return first, back


# What the rule is given is changed.


def _ignoring(edges: Sequence[Edge], slot: int, _: str) -> Edge:
    e = edges[slot]

    def rule(g: Any, *values: Any) -> Any:
        ones = np.ones_like(g.data if isinstance(g, Tensor) else g)
        return e.rule(wrap(ones) if isinstance(g, Tensor) else ones, *values)

    return dataclasses.replace(e, rule=rule)


def _each_kept(edges: Sequence[Edge], slot: int) -> Sequence[str]:
    return [str(k) for k, value in enumerate(edges[slot].values) if value is not None]


def _with_value(edges: Sequence[Edge], slot: int, variant: str, change: Step) -> Edge:
    """The rule gets another value in the place that the variant names."""
    e, k = edges[slot], int(variant)

    def rule(g: Any, *values: Any) -> Any:
        if k >= len(values) or values[k] is None:
            return e.rule(g, *values)
        return e.rule(g, *values[:k], change(values[k]), *values[k + 1 :])

    return dataclasses.replace(e, rule=rule)


def _stale(edges: Sequence[Edge], slot: int, variant: str) -> Edge:
    def earlier(value: Any) -> Any:
        array = value.data if isinstance(value, Tensor) else value
        if array.size > 1:
            back = (lambda a: _turned(a, 1)), (lambda a: _turned(a, -1))
        elif array.dtype.kind == "f":
            back = (lambda a: a * a.dtype.type(1.5)), (lambda a: a * a.dtype.type(1.5))
        else:
            return value
        if array.dtype.kind == "f":
            return mapped(value, *back)
        return wrap(back[0](array)) if isinstance(value, Tensor) else back[0](array)

    return _with_value(edges, slot, variant, earlier)


def _turned(a: Array, by: int) -> Array:
    """The entries one place further on: those of truth values, which are alike, the others."""
    return ~a if a.dtype.kind == "b" else np.roll(a, by)


def _constant(edges: Sequence[Edge], slot: int, variant: str) -> Edge:
    def detached(value: Any) -> Any:
        return wrap(value.data) if isinstance(value, Tensor) else value

    return _with_value(edges, slot, variant, detached)


def _differentiable_kept(edges: Sequence[Edge], slot: int) -> Sequence[str]:
    """The places of what is kept and is itself differentiable: inputs, and the output."""
    alive = any(e.alive for e in edges)
    return [
        str(k)
        for k, v in enumerate(edges[slot].values)
        if (v.node is not None if isinstance(v, Tensor) else v is not None and alive)
    ]


def _cut(edges: Sequence[Edge], slot: int, _: str) -> Edge:
    """The numbers are right, but the recorded pass does not know how they came to be."""
    e = edges[slot]

    def rule(g: Any, *values: Any) -> Any:
        c = e.rule(g, *values)
        return wrap(c.data) if isinstance(c, Tensor) else c

    return dataclasses.replace(e, rule=rule)


# The rule is another one.


def other(edges: Sequence[Edge], slot: int) -> int | None:
    """The next operand that also wants a gradient."""
    for step in range(1, len(edges)):
        k = (slot + step) % len(edges)
        if edges[k].alive:
            return k
    return None


def _has_other(edges: Sequence[Edge], slot: int) -> Sequence[str]:
    return () if other(edges, slot) is None else ("",)


def _swapped(edges: Sequence[Edge], slot: int, _: str) -> Edge:
    k = other(edges, slot)
    if k is None:
        return edges[slot]
    return dataclasses.replace(edges[slot], rule=edges[k].rule, kept=edges[k].kept)


class Unread:
    """Stands for a value that nothing may look at: whatever is done with it raises an error.

    Of an array the shape and the type may be asked for: no mutation changes these.
    """

    def __init__(self, value: Any) -> None:
        for name in ("shape", "ndim", "dtype", "device"):
            if hasattr(value, name):
                setattr(self, name, getattr(value, name))

    def __bool__(self) -> bool:
        raise TypeError("a value that must not be read")

    def __eq__(self, other: object) -> bool:
        raise TypeError("a value that must not be read")

    __hash__ = None  # type: ignore[assignment]


def unread(edges: Sequence[Edge], slot: int, mutation: str, variant: str) -> Edge:
    """The edge whose rule cannot read what the mutation `stale` or `geometry` would change.

    To a joint rule, None says that what other inputs need is not there.
    """
    e = edges[slot]
    if mutation == "stale":
        joint = e.rule is not e.function
        return _with_value(edges, slot, variant, lambda v: None if joint else Unread(v))
    if variant not in numbers(e.function):
        return e
    blind = changed(e.function, variant, Unread)
    return dataclasses.replace(e, rule=e.rule_of(blind))


def _closed_over(edges: Sequence[Edge], slot: int) -> Sequence[str]:
    return numbers(edges[slot].function)


def _off_by_one(edges: Sequence[Edge], slot: int, variant: str) -> Edge:
    e = edges[slot]
    if variant not in numbers(e.function):
        return e
    return dataclasses.replace(e, rule=e.rule_of(changed(e.function, variant)))


MUTATIONS: dict[str, Mutation] = {
    "negated": _after("the gradient has the other sign", "", _scaled(-1.0)),
    "doubled": _after("the gradient is twice as large", "", _scaled(2.0)),
    "off by 0.1 %": _after("the gradient is a thousandth too large", "", _scaled(1.001)),
    "detached": _after("the gradient is zero", "", _zeroed),
    "one entry": _after(
        "the last entry of the gradient is the sum of all", "an axis longer than 1", _last_entry
    ),
    "shifted": _after("rolled by one along the last axis", "an axis longer than 1", _shifted),
    "other axis": _after("rolled along the first axis", "two axes longer than 1", _other_axis),
    "transposed": _after("the axes are reversed", "two axes longer than 1", _transposed),
    "no unbroadcast": _after(
        "one of the copies that broadcasting made, not their sum",
        "a gradient larger than the input, to be summed",
        _first_copy,
    ),
    "cotangent ignored": Mutation("computed for a cotangent of ones", _one, _ignoring, ""),
    "swapped": Mutation(
        "the rule of the next operand", _has_other, _swapped, "another differentiable operand"
    ),
    "stale": Mutation(
        "what is kept is moved on by one entry", _each_kept, _stale, "something that it keeps"
    ),
    "geometry": Mutation(
        "a number that the rule closes over, an axis, a shape, an option, is off by one",
        _closed_over,
        _off_by_one,
        "a number that it closes over",
    ),
    "kept constant": Mutation(
        "what is kept counts as a constant: wrong in second order only",
        _differentiable_kept,
        _constant,
        "something differentiable that it keeps",
    ),
    "cut": Mutation(
        "the gradient is not recorded: wrong in second order only", _one, _cut, "a second order"
    ),
}
"""Every way to break a rule, by name."""

SECOND_ORDER = ("kept constant", "cut")
"""Those that change no first derivative."""
