"""A second engine, as simple and slow as can be, for a second opinion about the first.

Every number of every tensor is a `Cell` that knows the cells it was computed from, and the slope by
each. The derivative of a result by a cell is the sum, over all paths between them, of the products
of the slopes: `sums` follows every path by itself, without an order, without sharing work. A `Node`
gathers the cells of one operation, and says what a backward pass needs of the memory that was there
when it was recorded; so that it is known which passes must be refused. Nothing here is taken from
the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Cell:
    """One number of a node: (cell, slope) for each number that it depends on directly."""

    __slots__ = ("edges", "node", "paths")

    def __init__(self, node: Node, edges: list[tuple[Cell, float]]) -> None:
        self.node, self.edges = node, edges
        self.paths = 1 + sum(cell.paths for cell, _ in edges)


@dataclass(eq=False)
class Node:
    """One recorded operation, or a leaf.

    Attributes:
        time: when it was recorded.
        parents: the nodes of its inputs; none for a leaf.
        kept: the memory that its rules read.
        shows: for a view, the memory that it shows.
        freed: whether a pass has used it up: "no", "yes", or "maybe" after a pass that failed.
        hooks: called with the complete gradient; what they return replaces it.
    """

    time: int
    parents: list[Node]
    kept: list[np.ndarray] = field(default_factory=list)
    shows: np.ndarray | None = None
    freed: str = "no"
    hooks: list[Callable[[np.ndarray], np.ndarray]] = field(default_factory=list)


@dataclass(eq=False)
class Value:
    """What a tensor should be: numbers in memory, and cells unless it is a constant."""

    data: np.ndarray
    cells: np.ndarray | None = None
    node: Node | None = None
    is_view: bool = False
    grad: np.ndarray | None = None

    @property
    def is_leaf(self) -> bool:
        """Whether it was given, and wants a gradient."""
        return self.node is not None and not self.node.parents


class Refused(Exception):
    """The operation or pass must be refused; nothing was changed."""


class Engine:
    """Computes values, and remembers what was changed in place, and when."""

    def __init__(self) -> None:
        self.now = 0
        self.changes: list[tuple[int, np.ndarray, bool]] = []

    def tick(self) -> int:
        """The next moment."""
        self.now += 1
        return self.now

    def leaf(self, data: np.ndarray) -> Value:
        """A value that wants a gradient."""
        node = Node(self.tick(), [])
        return Value(data, _cells(node, data.shape, lambda i: []), node)

    # Operations

    def unary(self, name: str, x: Value, record: bool = True) -> Value:
        """sin, which keeps its input, and tanh, which keeps its result."""
        y = np.asarray({"sin": np.sin, "tanh": np.tanh}[name](x.data))
        slope = np.cos(x.data) if name == "sin" else 1 - y * y
        return self._recorded(y, [(x, slope, [x.data if name == "sin" else y])], record)

    def binary(self, name: str, a: Value, b: Value, record: bool = True) -> Value:
        """add, sub and mul, with broadcasting."""
        y = np.asarray(
            {"add": np.add, "sub": np.subtract, "mul": np.multiply}[name](a.data, b.data)
        )
        one = np.ones(y.shape)
        if name == "mul":
            edges = [(a, b.data * one, [b.data]), (b, a.data * one, [a.data])]
        else:
            edges = [(a, one, []), (b, one if name == "add" else -one, [])]
        return self._recorded(y, edges, record)

    def matmul(self, a: Value, b: Value) -> Value:
        """The product of two matrices."""
        y = np.matmul(a.data, b.data)
        node = self._node([(a, None, [b.data]), (b, None, [a.data])])
        if node is None:
            return Value(y)

        def edges(at: tuple[int, ...]) -> list[tuple[Cell, float]]:
            i, j = at
            found = []
            for k in range(a.data.shape[1]):
                if a.cells is not None:
                    found.append((a.cells[i, k], b.data[k, j]))
                if b.cells is not None:
                    found.append((b.cells[k, j], a.data[i, k]))
            return found

        return Value(y, _cells(node, y.shape, edges), node)

    def sum(self, x: Value) -> Value:
        """The sum over the last dimension."""
        y = np.asarray(x.data.sum(-1))
        node = self._node([(x, None, [])])
        if node is None or x.cells is None:
            return Value(y)
        of = x.cells
        return Value(y, _cells(node, y.shape, lambda at: [(c, 1.0) for c in of[at]]), node)

    def view(self, x: Value, look: Callable[[np.ndarray], np.ndarray]) -> Value:
        """Another look at the same memory."""
        y = look(x.data)
        node = self._node([(x, None, [])])
        if node is None or x.cells is None:
            return Value(y, is_view=True)
        node.shows = y
        of = look(x.cells)
        return Value(y, _cells(node, y.shape, lambda at: [(of[at], 1.0)]), node, is_view=True)

    def detach(self, x: Value) -> Value:
        """A constant in the same memory."""
        return Value(x.data, is_view=x.is_view)

    # Changes in place

    def change(
        self, name: str, x: Value, other: Value, index: Any = None, record: bool = True
    ) -> None:
        """`x` becomes `x op other`, or `x[index]` becomes `other`.

        Raises:
            Refused: for a leaf or a recorded change of a view; or if the memory cannot be written.
        """
        in_graph = record and (x.node is not None or other.node is not None)
        if record and x.is_leaf:
            raise Refused("a leaf")
        if in_graph and x.is_view:
            raise Refused("a view")
        if not x.data.flags.writeable:
            raise Refused("read-only")
        before = Value(x.data.copy(), x.cells, x.node)
        if name == "set":
            result = self._replaced(before, index, other, record)
        else:
            # The operation gets `x` as it is where it is its own operand.
            result = self.binary(name, before, other, record)
        x.data[...] = result.data
        self.changes.append((self.tick(), x.data, result.node is not None))
        if result.node is not None:
            x.cells, x.node = result.cells, result.node

    def _replaced(self, x: Value, index: Any, other: Value, record: bool) -> Value:
        y = x.data.copy()
        y[index] = other.data
        node = self._node([(x, None, []), (other, None, [])]) if record else None
        if node is None:
            return Value(y)
        cells: Any = np.empty(y.shape, object)
        cells[...] = None if x.cells is None else x.cells
        # Object arrays without dimensions would be unpacked by the assignment below.
        cells[index] = None if other.cells is None else np.broadcast_to(other.cells, y[index].shape)
        of = [(cells[at], 1.0) if cells[at] is not None else None for at in np.ndindex(*y.shape)]
        edges = dict(zip(np.ndindex(*y.shape), of, strict=True))
        made = _cells(node, y.shape, lambda at: [edges[at]] if edges[at] is not None else [])  # type: ignore[list-item]
        return Value(y, made, node)

    def _node(self, edges: Iterable[tuple[Value, Any, list[np.ndarray]]]) -> Node | None:
        live = [(x.node, kept) for x, _, kept in edges if x.node is not None]
        if not live:
            return None
        kept = [array for _, arrays in live for array in arrays]
        return Node(self.tick(), [node for node, _ in live], kept)

    def _recorded(
        self, y: np.ndarray, edges: list[tuple[Value, np.ndarray, list[np.ndarray]]], record: bool
    ) -> Value:
        node = self._node(edges) if record else None
        if node is None:
            return Value(y)
        slopes = [
            (np.broadcast_to(x.cells, y.shape), np.broadcast_to(slope, y.shape))
            for x, slope, _ in edges
            if x.cells is not None
        ]
        return Value(
            y, _cells(node, y.shape, lambda at: [(c[at], float(s[at])) for c, s in slopes]), node
        )

    # Passes

    def visited(self, end: Node, wanted: list[Node] | None) -> tuple[set[Node], set[Node]]:
        """All nodes that a result depends on, and those that a pass takes a turn at."""
        below = _below(end)
        if wanted is None:
            return below, below
        return below, {end, *(n for n in below if any(w in _below(n) for w in wanted))}

    def reasons(self, end: Node, wanted: list[Node] | None) -> tuple[set[str], bool]:
        """Why a pass must be refused; and whether it may be, although there is no such reason."""
        below, turns = self.visited(end, wanted)
        found = {"already freed"} if any(n.freed == "yes" for n in below) else set()
        for node in turns:
            if node.freed != "yes" and self._is_stale(node):
                found.add("in place")
        return found, any(n.freed == "maybe" for n in below)

    def _is_stale(self, node: Node) -> bool:
        for time, memory, recorded in self.changes:
            if time > node.time:
                if any(np.may_share_memory(memory, kept) for kept in node.kept):
                    return True
                shows = node.shows if recorded else None
                if shows is not None and np.may_share_memory(memory, shows):
                    return True
        return False

    def use_up(self, end: Node, wanted: list[Node] | None, how: str) -> None:
        """What a pass that keeps no graph leaves behind."""
        for node in self.visited(end, wanted)[1]:
            if node.parents and node.freed != "yes":
                node.freed = how


def sums(y: Value, v: np.ndarray) -> dict[Cell, tuple[float, float]]:
    """For each cell the sum over all paths from the result, and that of the absolute terms.

    On its way a path is multiplied by what hooks do to the gradients of the nodes that it leaves.
    """
    found: dict[Cell, tuple[float, float]] = {}

    def follow(cell: Cell, term: float) -> None:
        total, size = found.get(cell, (0.0, 0.0))
        found[cell] = (total + term, size + abs(term))
        if cell.node.hooks:
            term = float(hooked(cell.node, np.asarray(term)))
        for parent, slope in cell.edges:
            follow(parent, term * slope)

    assert y.cells is not None
    for at in np.ndindex(*y.cells.shape):
        follow(y.cells[at], float(v[at]))
    return found


def hooked(node: Node, gradient: np.ndarray) -> np.ndarray:
    """A gradient after a node's hooks, which are linear."""
    for hook in node.hooks:
        gradient = hook(gradient)
    return gradient


def gathered(cells: np.ndarray, found: dict[Cell, tuple[float, float]]) -> tuple[Any, Any]:
    """Sums and sizes of these cells, as arrays; zeros where no path leads."""
    pairs = [found.get(cells[at], (0.0, 0.0)) for at in np.ndindex(*cells.shape)]
    total, size = np.array(pairs).reshape(-1, 2).T
    return total.reshape(cells.shape), size.reshape(cells.shape)


def _below(end: Node) -> set[Node]:
    seen, stack = {end}, [end]
    while stack:
        for parent in stack.pop().parents:
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return seen


def _cells(
    node: Node, shape: tuple[int, ...], edges: Callable[[tuple[int, ...]], list[tuple[Cell, float]]]
) -> np.ndarray:
    found = np.empty(shape, object)
    for at in np.ndindex(*shape):
        found[at] = Cell(node, edges(at))
    return found
