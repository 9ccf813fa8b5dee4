"""The graph of a computation and the walk that carries gradients through it. Knows no arrays.

A `Node` says how a value came to be: by which operation, from which other nodes, and, for each of
them, by which rule a gradient passes back. `propagate` walks the nodes from the result to the
inputs. A node's turn comes when every node that used its value has had its turn, because only then
has its gradient received all its contributions; plain depth-first recursion would pass on
gradients that are not complete yet.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Rule = Callable[..., Any]
"""From the gradient of an operation's output, and what the edge keeps, that of one input."""


class _Output:
    def __repr__(self) -> str:
        return "OUTPUT"


OUTPUT: Any = _Output()
"""Stands, in an edge, for the operation's own output: a rule must never close over its own output,
since output -> node -> rule -> output would be a cycle that only the garbage collector can free."""


class Node:
    """How one value was computed.

    Attributes:
        operation: the function that computed it.
        edges: triples (node of an input, rule, what the rule keeps); None once the graph is freed.
        shape: the shape of the value, to which its gradient is summed.
        output: the value itself, where a rule keeps OUTPUT.
        time: how many in-place changes had happened, anywhere, when it was recorded.
        hooks: functions that see, and may replace, its gradient; None where there are none.
        line: where the user's code called the operation, as (code object, instruction).
        memory: for a view, a weak reference to the array whose memory it shows.
    """

    __slots__ = (
        "__weakref__",
        "edges",
        "hooks",
        "line",
        "memory",
        "operation",
        "output",
        "shape",
        "time",
    )

    operation: Callable[..., Any] | None
    edges: Any
    shape: tuple[int, ...]
    output: Any
    time: int
    hooks: list[Callable[[Any], Any]] | None
    line: tuple[Any, int] | None
    memory: Any

    @property
    def name(self) -> str:
        """The operation's name, for messages."""
        return getattr(self.operation, "__name__", "tensor")

    def kept(self) -> list[tuple[Node, tuple[Any, ...]]]:
        """What each edge keeps for backward, as (input's node, values)."""
        found = []
        for parent, _, kept in self.edges or ():
            values = () if kept is None else kept if kept.__class__ is tuple else (kept,)
            found.append((parent, tuple(self.output if k is OUTPUT else k for k in values)))
        return found

    def where(self) -> str:
        """`file:line` of the user's code that called the operation."""
        return place(self.line) if self.line is not None else "a line that was not recorded"

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.shape}>"


class Leaf(Node):
    """The node of a tensor that was given, not computed: its gradient goes to `tensor().grad`."""

    __slots__ = ("tensor",)
    tensor: Callable[[], Any]


class Clock:
    """Counts the in-place changes of the process: a node older than a change may be stale."""

    changes = 0


class Mode(threading.local):
    """What the current thread does with operations.

    `level` sums it up for the hot path: 0 not recording; 1 recording; 2 recording and watched.
    """

    recording = True
    observers: tuple[Observer, ...] = ()
    check_finite = False
    level = 1

    def set(self, **changes: Any) -> dict[str, Any]:
        """Change some of the settings; returns the earlier values, to be set back."""
        before = {name: getattr(self, name) for name in changes}
        for name, value in changes.items():
            setattr(self, name, value)
        watched = bool(self.observers) or self.check_finite
        self.level = 0 if not self.recording else 1 + watched
        return before


mode = Mode()


@contextmanager
def modified(**changes: Any) -> Iterator[None]:
    """Run the body with some of the thread's settings changed."""
    before = mode.set(**changes)
    try:
        yield
    finally:
        mode.set(**before)


class Observer:
    """Told of everything recorded and of every event of a backward pass. Override any method.

    Give one to `minigrad.observe`. Gradients are the engine's own arrays (tensors with
    `create_graph`): look, do not change.
    """

    def recorded(self, node: Node) -> None:
        """An operation was recorded: `node` tells name, inputs, shape, what it keeps, line."""

    def taken(self, node: Node, gradient: Any) -> None:
        """A node's turn in backward has come; its gradient is complete."""

    def called(self, node: Node, parent: Node, rule: Rule, contribution: Any) -> None:
        """A rule of `node` was called with its gradient and gave a contribution to `parent`."""

    def added(self, parent: Node, contribution: Any, total: Any) -> None:
        """A contribution was added to what `parent` had received; `total` is the sum so far."""

    def freed(self, node: Node) -> None:
        """A node has let go of its edges and of what it kept."""


_FOLDERS = [os.path.dirname(os.path.abspath(__file__)) + os.sep]


class _OurFiles(dict[str, bool]):
    """Whether a source file belongs to the library; found out once for each file."""

    def __missing__(self, file: str) -> bool:
        path = os.path.abspath(file)
        ours = self[file] = any(path.startswith(folder) for folder in _FOLDERS)
        return ours


_ours = _OurFiles()


def user_line() -> tuple[Any, int] | None:
    """The line of code outside the library that called the operation which calls `record`.

    To be called by `record` itself: the search starts at the operation's caller.
    """
    try:
        frame: Any = sys._getframe(3)
        while _ours[frame.f_code.co_filename]:
            frame = frame.f_back
    except (AttributeError, ValueError):  # the stack ends before a line of the user's
        return None
    return frame.f_code, frame.f_lasti


def place(line: tuple[Any, int] | None) -> str:
    """`file:line` of a (code object, instruction) pair."""
    if line is None:
        return "an unknown line"
    code, instruction = line
    number = code.co_firstlineno
    for start, end, at in code.co_lines():
        if start <= instruction < end and at is not None:
            number = at
    return f"{code.co_filename}:{number}"


def count_uses(ends: Iterable[Node]) -> dict[Node, int]:
    """Every node that the ends depend on, with the number of edges that lead to it from the others.

    Raises:
        RuntimeError: if part of the graph was freed by an earlier backward.
    """
    uses = dict.fromkeys(ends, 0)
    stack = list(uses)
    while stack:
        node = stack.pop()
        try:
            for parent, _, _ in node.edges:
                if parent in uses:
                    uses[parent] += 1
                else:
                    uses[parent] = 1
                    stack.append(parent)
        except TypeError:
            raise RuntimeError(
                f"backward: the graph of {node.name} (called at {node.where()}) was already freed "
                "by an earlier backward; pass retain_graph=True to that one to go through it again"
            ) from None
    return uses


def count_uses_towards(ends: Iterable[Node], wanted: Iterable[Node]) -> dict[Node, int]:
    """As `count_uses`, but only for the nodes through which a wanted node is reached."""
    ends = list(ends)
    order = consumers_first(ends)
    needed = set(wanted)
    for node in reversed(order):
        if any(parent in needed for parent, _, _ in node.edges):
            needed.add(node)
    uses = {node: 0 for node in order if node in needed}
    for node in uses:
        for parent, _, _ in node.edges:
            if parent in uses:
                uses[parent] += 1
    return uses


def consumers_first(ends: Iterable[Node]) -> list[Node]:
    """Every node that the ends depend on, each after all the nodes that use it."""
    ends = list(ends)
    uses = count_uses(ends)
    ready = [node for node in dict.fromkeys(ends) if not uses[node]]
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for parent, _, _ in node.edges:
            uses[parent] -= 1
            if not uses[parent]:
                ready.append(parent)
    return order


def propagate(
    seeds: dict[Node, Any],
    uses: dict[Node, int],
    values: Any,
    arrive: Callable[[Node, Any], None],
    differentiable: bool,
    retain: bool,
    wanted: frozenset[Node] = frozenset(),
) -> None:
    """Carry gradients from the seeds' nodes to all nodes in `uses`, consumers first.

    Args:
        seeds: the gradient given for each end.
        uses: the nodes to visit, with the edges that lead to each; it is used up.
        values: what to do with gradients of this kind; see `minigrad.autograd`.
        arrive: called with each leaf, and each wanted node, and its complete gradient.
        differentiable: whether rules get tensors, and so are recorded in turn, or bare arrays.
        retain: whether the graph stays, for another pass.
    """
    ndarray, settle, fit, own = values.ndarray, values.settle, values.fit, values.own
    watched = bool(mode.observers) or mode.check_finite
    pending = {node: g for node, g in seeds.items() if uses.get(node)}
    ready = [(node, g) for node, g in seeds.items() if uses.get(node) == 0]
    while ready:
        node, g = ready.pop()
        if node.hooks is not None:
            g = values.hooked(g, node)
        if watched:
            _tell("taken", node, g)
        edges = node.edges
        if not edges or (wanted and node in wanted):
            arrive(node, g)
        for parent, rule, kept in edges:
            try:
                left = uses[parent]
            except KeyError:  # leads to nothing that is wanted
                continue
            if kept is None:
                c = rule(g)
            elif kept is OUTPUT:
                c = rule(g, values.output(node) if differentiable else node.output)
            elif kept.__class__ is tuple:
                c = rule(g, *values.load(kept, node))
            else:
                c = rule(g, kept if differentiable else kept.data)
            if c.__class__ is not ndarray:
                c = settle(c)
            if c.shape != parent.shape:
                c = fit(c, parent.shape, node)
            if not parent.edges or (wanted and parent in wanted):
                c = own(c, g)
            if watched:
                if mode.check_finite:
                    values.check(c, node)
                _tell("called", node, parent, rule, c)
            if parent in pending:
                contribution, c = c, pending.pop(parent) + c
                if watched:
                    _tell("added", parent, contribution, c)
            if left == 1:
                ready.append((parent, c))
            else:
                uses[parent] = left - 1
                pending[parent] = c
        if edges and not retain:
            node.edges = node.output = None
            if watched:
                _tell("freed", node)


def _tell(event: str, *details: Any) -> None:
    for observer in mode.observers:
        getattr(observer, event)(*details)
