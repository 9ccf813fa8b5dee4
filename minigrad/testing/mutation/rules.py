"""Rules, found and replaced where operations are recorded: no source file is touched.

An operation hands its rules to `record`, `record_pair`, `record_view` or `record_jointly`. Inside
`intercepted`, every module's reference to these goes through a function of the caller's, which sees
the operation with all its edges and may put others in their place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ... import recording
from ...tensor import Tensor

Change = Callable[[Any, "list[Edge]"], "list[Edge]"]


@dataclass(frozen=True)
class Edge:
    """One input of a recorded operation, and how its gradient is found.

    Attributes:
        input: the tensor.
        rule: called as `rule(g, *values)`, with the gradient of the output and what the edge keeps.
        kept: what the edge keeps: None, a tensor, OUTPUT, or a tuple of these.
        function: what its author wrote: the rule itself, or the joint rule of all inputs.
        rule_of: makes a rule of this edge from another such function.
    """

    input: Tensor
    rule: Callable[..., Any]
    kept: Any
    function: Any
    rule_of: Callable[[Any], Callable[..., Any]]

    @property
    def alive(self) -> bool:
        """Whether the input wants a gradient."""
        return self.input.node is not None

    def apart(self) -> Edge:
        """The same edge, but with a rule of its own where it shared one with other inputs."""
        return replace(self)

    @property
    def values(self) -> tuple[Any, ...]:
        """What the edge keeps, as a tuple."""
        if self.kept is None:
            return ()
        return self.kept if isinstance(self.kept, tuple) else (self.kept,)


def _itself(function: Any) -> Any:
    return function


def edge(x: Tensor, rule: Any, kept: Any) -> Edge:
    """An edge as `record` takes it."""
    return Edge(x, rule, kept, rule, _itself)


def title(operation: Any, slot: int, function: Any) -> str:
    """What a rule is called: `div[1] lambda:162`, its operation, input, name and line."""
    name = getattr(function, "__qualname__", type(function).__name__)
    name = name.rpartition("<locals>.")[2].replace("<lambda>", "lambda")
    code = getattr(function, "__code__", None)
    line = f":{code.co_firstlineno}" if code is not None else ""
    return f"{operation.__name__}[{slot}] {name}{line}"


@contextmanager
def intercepted(change: Change) -> Iterator[None]:
    """Let `change(operation, edges)` decide about the edges of everything recorded in the body.

    It returns as many edges as it was given, with the same inputs.
    """
    wrappers = {
        id(recording.record): _plain(change),
        id(recording.record_pair): _pair(change),
        id(recording.record_jointly): _jointly(change),
    }
    places = [
        (module, name, value)
        for module in list(sys.modules.values())
        for name, value in list(getattr(module, "__dict__", {}).items())
        if id(value) in wrappers and not getattr(module, "__name__", "").startswith(__package__)
    ]
    for module, name, value in places:
        setattr(module, name, wrappers[id(value)])
    try:
        yield
    finally:
        for module, name, value in places:
            setattr(module, name, value)


def _plain(change: Change) -> Callable[..., Tensor]:
    original = recording.record

    def record(operation: Any, output: Any, *edges: tuple[Tensor, Any, Any]) -> Tensor:
        changed = change(operation, [edge(*e) for e in edges])
        return original(operation, output, *[(e.input, e.rule, e.kept) for e in changed])

    return record


def _pair(change: Change) -> Callable[..., Tensor]:
    original = recording.record_pair

    def record_pair(operation: Any, output: Any, *flat: Any) -> Tensor:
        a, b = change(operation, [edge(*flat[:3]), edge(*flat[3:])])
        return original(operation, output, a.input, a.rule, a.kept, b.input, b.rule, b.kept)

    return record_pair


def _jointly(change: Change) -> Callable[..., Tensor]:
    original = recording.record_jointly

    def record_jointly(
        operation: Any, output: Any, inputs: Sequence[Tensor], rule: Any, kept: tuple[Any, ...]
    ) -> Tensor:
        edges = []
        for i, x in enumerate(inputs):
            alone = _alone(i, len(inputs))
            edges.append(Edge(x, alone(rule), kept, rule, alone))
        changed = change(operation, list(edges))
        new = {i: b.rule for i, (a, b) in enumerate(zip(edges, changed, strict=True)) if a is not b}
        return original(operation, output, tuple(inputs), _replaced(rule, new), kept)

    return record_jointly


def _alone(slot: int, count: int) -> Callable[[Any], Callable[..., Any]]:
    """From a joint rule, that of one input."""
    only = tuple(i == slot for i in range(count))

    def alone(rule: Any) -> Callable[..., Any]:
        return lambda g, *values: rule(g, *values, only)[0]

    return alone


def _replaced(rule: Any, new: dict[int, Callable[..., Any]]) -> Any:
    """A joint rule with the gradients of some inputs found by other rules."""
    if not new:
        return rule

    def joint(g: Any, *rest: Any) -> tuple[Any, ...]:
        *values, wanted = rest
        found = list(rule(g, *values, wanted))
        places = [i for i, want in enumerate(wanted) if want]
        for i, replacement in new.items():
            if wanted[i]:
                found[places.index(i)] = replacement(g, *values)
        return tuple(found)

    return joint
