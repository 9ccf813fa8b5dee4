"""The graph of a computation and the walk that carries gradients through it. Knows no arrays.

A `Node` says how a value came to be: by which operation, from which other nodes, and, for each of
them, by which rule a gradient passes back. `propagate` walks the nodes from the result to the
inputs. A node may have its turn only when every node that used its value has had its own, because
only then has its gradient received all its contributions; plain depth-first recursion would pass on
gradients that are not complete yet. Whoever used a value is younger than the value, so it is enough
to take, among the nodes that have received something, always the youngest.
"""

from __future__ import annotations

import heapq
import itertools
import operator
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
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


class Joint:
    """One rule for all inputs of an operation, which finds their gradients together.

    It is the rule of each of the operation's edges, and what it keeps is kept by each of them.

    Attributes:
        rule: called once in a pass: see `minigrad.recording.record_jointly`.
        parents: the node of each input; None for a constant.
        alive: for each input, whether it has a node.
    """

    __slots__ = ("alive", "parents", "rule")

    def __init__(self, rule: Rule, parents: tuple[Node | None, ...]) -> None:
        self.rule, self.parents = rule, parents
        self.alive = tuple([parent is not None for parent in parents])

    def contributions(
        self,
        g: Any,
        kept: tuple[Any, ...],
        node: Node,
        values: Any,
        leading: set[Node] | None,
        offer: Any,
    ) -> list[Any]:
        """The gradients of the wanted inputs, as `propagate` wants them: to be popped in turn."""
        wanted = self.alive
        if leading is not None:
            wanted = tuple([parent in leading for parent in self.parents])
        if offer is not None:
            places = [p.place for p in self.parents if p.__class__ is Leaf]
            offer(*[place() for place in places if place is not None])
        found = self.rule(g, *values.load(kept, node), wanted)
        if offer is not None:
            offer()
        if not isinstance(found, (tuple, list)) or len(found) != sum(wanted):
            what = len(found) if isinstance(found, (tuple, list)) else type(found).__name__
            raise ValueError(
                f"backward: the rule of {node.name} (called at {node.where()}) returned {what}, "
                f"wanted a tuple of {sum(wanted)} gradients"
            )
        return list(reversed(found))


class Node:
    """How one value was computed.

    Attributes:
        operation: the function that computed it.
        edges: triples (node of an input, rule, what the rule keeps); None once the graph is freed.
        shape: the shape of the value, to which its gradient is summed.
        output: the value itself, where a rule keeps OUTPUT.
        turn: its place in the order of backward passes: numbers count downwards, so that the
            youngest node has the smallest.
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
        "turn",
    )

    operation: Callable[..., Any] | None
    edges: Any
    shape: tuple[int, ...]
    output: Any
    turn: int
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
            present = (self.output if k is OUTPUT else k for k in values if k is not None)
            found.append((parent, tuple(present)))
        return found

    def check_not_freed(self) -> None:
        """Refuse a node that a backward pass has already used up.

        Raises:
            RuntimeError: naming the operation and its line.
        """
        if self.edges is None:
            raise RuntimeError(
                f"backward: the graph of {self.name} (called at {self.where()}) was already freed "
                "by an earlier backward; pass retain_graph=True to that one to go through it again"
            )

    def where(self) -> str:
        """`file:line` of the user's code that called the operation.

        Known for operations that keep something; for all of them while somebody watches.
        """
        if self.line is None:
            return "a line that only `observe` and `detect_anomaly` record"
        return place(self.line)

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.shape}>"


class Leaf(Node):
    """The node of a tensor that was given, not computed: its gradient goes to `tensor().grad`.

    Attributes:
        tensor: a weak reference to the tensor.
        place: a weak reference to the memory set aside for the gradient (see `minigrad.flat`), or
            None.
    """

    __slots__ = ("place", "tensor")
    tensor: Callable[[], Any]
    place: Callable[[], Any] | None


class Clock:
    """Numbers nodes and in-place changes, downwards: who has the smaller number came later."""

    tick = itertools.count(-1, -1).__next__
    latest_change = 0


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
        before = {}
        for name, value in changes.items():
            before[name] = getattr(self, name)
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


_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep


class _OurFiles(dict[str, bool]):
    """Whether a source file belongs to the library; found out once for each file."""

    def __missing__(self, file: str) -> bool:
        ours = self[file] = os.path.abspath(file).startswith(_FOLDER)
        return ours


our_files = _OurFiles()


def user_line(depth: int) -> tuple[Any, int] | None:
    """The innermost line outside the library, from the caller's `depth`-th caller outwards."""
    try:
        frame: Any = sys._getframe(depth + 1)
        while our_files[frame.f_code.co_filename]:
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


def reachable(ends: Iterable[Node], stop: Collection[Node] = ()) -> set[Node]:
    """Every node that the ends depend on, themselves included, not going beyond those in `stop`.

    Raises:
        RuntimeError: if part of the graph was freed by an earlier backward.
    """
    seen = set(ends)
    stack = [node for node in seen if node not in stop]
    while stack:
        node = stack.pop()
        edges = node.edges
        if edges is None:
            node.check_not_freed()
        for parent, _, _ in edges:
            if parent not in seen:
                seen.add(parent)
                if parent not in stop:
                    stack.append(parent)
    return seen


def leading_to(
    wanted: Collection[Node], ends: Iterable[Node], stop: Collection[Node] = ()
) -> set[Node] | None:
    """The nodes between the ends and the wanted ones: those that depend on a wanted one, or are.

    None stands for all nodes, where every leaf is wanted.
    """
    nodes = reachable(ends, stop)
    for node in nodes:
        if node.__class__ is Leaf and node not in wanted:
            break
    else:
        return None
    leading = set(wanted)
    for node in sorted(nodes, key=_turn, reverse=True):  # the oldest first
        if node in stop:
            continue
        for parent, _, _ in node.edges:
            if parent in leading:
                leading.add(node)
                break
    return leading


_turn = operator.attrgetter("turn")


def used_from_before(end: Node, start: int) -> list[Node]:
    """The nodes older than the moment `start` that the younger ones below `end` use directly."""
    older: dict[Node, None] = {}
    seen = {end}
    stack = [end]
    while stack:
        for parent, _, _ in stack.pop().edges:
            if parent.turn > start:
                older[parent] = None
            elif parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return list(older)


def propagate(
    seeds: dict[Node, Any],
    values: Any,
    retain: bool,
    wanted: Collection[Node] | None = None,
    beyond_wanted: bool = True,
) -> dict[Node, Any]:
    """Carry gradients from the seeds' nodes back to the leaves, or to the wanted nodes only.

    Args:
        seeds: the gradient given for each end.
        values: how gradients of this kind are treated, and whether rules get tensors, and so are
            recorded in turn, or bare arrays; see `minigrad.autograd`.
        retain: whether the graph stays, for another pass.
        wanted: the nodes whose gradients are asked for; None is all leaves.
        beyond_wanted: whether wanted nodes pass their gradients on, towards other wanted ones; else
            they are treated as the leaves of another graph, and their hooks are left alone.

    Returns:
        the complete gradients of the leaves, or of the wanted nodes that were reached.

    Raises:
        RuntimeError: if part of the graph was freed, or something that it keeps was overwritten.
    """
    ndarray, settle, fit, own = values.ndarray, values.settle, values.fit, values.own
    differentiable = values.differentiable
    heappush, heappop = heapq.heappush, heapq.heappop
    watched = bool(mode.observers) or mode.check_finite
    offer: Any = values.offer if wanted is None else None
    found: dict[Node, Any] = dict.fromkeys(wanted or ())
    leading = None if wanted is None else leading_to(found, seeds, () if beyond_wanted else found)
    latest_change = Clock.latest_change
    pending = dict(seeds)
    queue = [(node.turn, node) for node in seeds if node.__class__ is not Leaf]
    heapq.heapify(queue)
    while queue:
        node = heappop(queue)[1]
        g = pending.pop(node)
        if not beyond_wanted and node in found:
            found[node] = g
            continue
        if node.hooks is not None:
            g = values.hooked(g, node)
        if watched:
            _tell("taken", node, g)
        if found and node in found:
            found[node] = g
        edges = node.edges
        if edges is None:
            node.check_not_freed()
        if node.turn > latest_change:
            values.check_unchanged(node)
        shared: Any = None
        for parent, rule, kept in edges:
            if leading is not None and parent not in leading:
                continue
            is_leaf = parent.__class__ is Leaf
            place = parent.place if is_leaf and offer is not None else None
            if place is not None and rule.__class__ is not Joint:
                offer(place())
            if kept is None:
                c = rule(g)
            elif kept is OUTPUT:
                c = rule(g, values.output(node) if differentiable else node.output)
            elif kept.__class__ is not tuple:
                c = rule(g, kept if differentiable else kept.data)
            elif rule.__class__ is not Joint:
                c = rule(g, *values.load(kept, node))
            else:
                if shared is None:
                    shared = rule.contributions(g, kept, node, values, leading, offer)
                c = shared.pop()
            if place is not None and rule.__class__ is not Joint:
                offer()
            if c.__class__ is not ndarray:
                c = settle(c, node)
            if c.shape != parent.shape:
                c = fit(c, parent.shape, node)
            if watched:
                if mode.check_finite:
                    values.check_finite(c, node)
                called = rule.rule if rule.__class__ is Joint else rule
                _tell("called", node, parent, called, c)
            if parent in pending:
                contribution, c = c, pending[parent] + c
                if c.__class__ is not ndarray:  # NumPy gives a number for 0-dimensional arrays
                    c = settle(c, node)
                pending[parent] = c
                if watched:
                    _tell("added", parent, contribution, c)
                continue
            if is_leaf or (found and parent in found):
                c = own(c, g, None if place is None else place())
            pending[parent] = c
            if not is_leaf:
                heappush(queue, (parent.turn, parent))
        if not retain:
            node.edges = node.output = None
            if watched:
                _tell("freed", node)
    # What is still pending are the leaves.
    for leaf, g in pending.items():
        if leaf.hooks is not None and beyond_wanted:
            g = values.hooked(g, leaf)
        if watched:
            _tell("taken", leaf, g)
        if leading is None or leaf in found:
            found[leaf] = g
    return found


def tell_recorded(node: Node) -> None:
    """Tell the thread's observers of a new node."""
    _tell("recorded", node)


def _tell(event: str, *details: Any) -> None:
    for observer in mode.observers:
        getattr(observer, event)(*details)
