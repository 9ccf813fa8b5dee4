"""The engine against one that sums over all paths, step by step, whatever a user may do to it.

Hypothesis invents programs of operations, views, changes in place, hooks, detached and unrecorded
values, passes that keep the graph or use it up; `path_summing.Engine` does the same, and knows what
must come out or be refused. After every step all numbers and all gradients are compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import path_summing
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from path_summing import Node, Refused, Value, gathered, hooked, sums

from minigrad import Tensor, autograd, no_grad, ops
from minigrad.tensor import wrap

MOST_PATHS = 300  # of one result: following them all takes a millisecond
LARGEST = 50.0  # what grows beyond is not recorded, so that errors stay those of rounding

SHAPES = [(2,), (2, 2), (2,), (), (1, 2)]
LOOKS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "transposed": (lambda t: t.T, lambda a: a.T),
    "first": (lambda t: t[:1], lambda a: a[:1]),
    "reversed": (lambda t: t[::-1], lambda a: a[::-1]),
    "unsqueezed": (lambda t: ops.unsqueeze(t, 0), lambda a: a[None]),
    "every other": (lambda t: t[..., ::2], lambda a: a[..., ::2]),
    "repeated": (
        lambda t: ops.broadcast_to(t, (2, *t.shape)),
        lambda a: np.broadcast_to(a, (2, *a.shape)),
    ),
}
INDICES = [slice(None), slice(0, 1), (Ellipsis, 0), (Ellipsis, slice(None, None, 2))]

# A value, counted from the latest: more often one of the latest, so that graphs hang together.
places = st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 7, 9, 12, 15])
numbers = st.integers(0, 2**16).map(np.random.default_rng)


class EngineMachine(RuleBasedStateMachine):
    """Tensors, and what they should be."""

    def __init__(self) -> None:
        super().__init__()
        self.naive = path_summing.Engine()
        self.pairs: list[tuple[Tensor, Value]] = []
        self.handles: list[tuple[Any, Node, Any]] = []
        self.seen: list[tuple[Node, int, list[np.ndarray]]] = []

    def at(self, place: int) -> tuple[Tensor, Value]:
        """The value that many places before the latest."""
        return self.pairs[-1 - place % len(self.pairs)]

    def end(self, place: int) -> tuple[Tensor, Value]:
        """The same among the values that were computed, if there are any and it is not the 15th."""
        computed = [(t, x) for t, x in self.pairs if x.node is not None and not x.is_leaf]
        return computed[-1 - place % len(computed)] if computed and place < 15 else self.at(place)

    def add(self, make: Callable[[], Tensor], value: Value) -> None:
        """Keep a new value and the tensor that should be it, unless it is too much of anything."""
        paths = 0 if value.cells is None else sum(c.paths for c in value.cells.flat)
        if paths <= MOST_PATHS and abs(value.data).max(initial=0.0) <= LARGEST:
            self.pairs.append((make(), value))

    # Values

    @initialize(rng=numbers, shape=st.sampled_from(SHAPES))
    def begin(self, rng: Any, shape: Any) -> None:
        self.given(rng, shape, "watched leaf")
        self.given(rng, shape, "leaf")
        self.compute("add", 0, 1, True)

    @rule(
        rng=numbers,
        shape=st.sampled_from(SHAPES),
        kind=st.sampled_from(["leaf", "leaf", "watched leaf", "constant"]),
    )
    def given(self, rng: Any, shape: Any, kind: str) -> None:
        data = np.asarray(rng.uniform(-1.5, 1.5, shape))
        t = wrap(data.copy()).requires_grad_(kind != "constant")
        self.add(lambda: t, Value(data) if kind == "constant" else self.naive.leaf(data))
        if kind == "watched leaf":
            self.hook("look", 0)

    @rule(
        name=st.sampled_from(["add", "mul", "twice", "sub", "matmul", "sin", "tanh", "sum"]),
        i=places,
        j=places,
        record=st.sampled_from([True, True, True, False]),
    )
    def compute(self, name: str, i: int, j: int, record: bool) -> None:
        (s, a), (t, b) = self.at(i), self.at(j)
        with contextlib.nullcontext() if record else no_grad():
            if name in ("add", "mul", "sub") and _fits(a.data.shape, b.data.shape):
                self.add(lambda: getattr(ops, name)(s, t), self.naive.binary(name, a, b, record))
            elif name in ("sin", "tanh"):
                self.add(lambda: getattr(ops, name)(s), self.naive.unary(name, a, record))
            elif name == "sum" and record and a.data.ndim:
                self.add(lambda: s.sum(-1), self.naive.sum(a))
            elif name == "matmul" and record and _multiply(a.data.shape, b.data.shape):
                self.add(lambda: s @ t, self.naive.matmul(a, b))
            elif name == "twice":  # one value at two depths
                self.compute("tanh", i, i, record)
                self.compute("add", 0, 1 + i, record)

    @rule(name=st.sampled_from([*LOOKS, "detached"]), i=places)
    def view(self, name: str, i: int) -> None:
        t, x = self.at(i)
        if name == "detached":
            self.add(t.detach, self.naive.detach(x))
        elif 0 < x.data.ndim < 3:
            of_tensor, of_array = LOOKS[name]
            self.add(lambda: of_tensor(t), self.naive.view(x, of_array))

    # Changes in place

    @rule(
        name=st.sampled_from(["mul", "add", "sub", "set"]),
        i=places,
        j=places,
        index=st.sampled_from(INDICES),
        record=st.booleans(),
    )
    def change(self, name: str, i: int, j: int, index: Any, record: bool) -> None:
        (t, x), (u, other) = self.at(i), self.at(j)
        if not x.data.ndim:  # constants without dimensions are kept as numbers
            return
        target = x.data[index].shape if name == "set" else x.data.shape
        if (
            not _fits(target, other.data.shape)
            or np.broadcast_shapes(target, other.data.shape) != target
        ):
            return
        if name != "set" and abs(x.data).max() * abs(other.data).max() > LARGEST:
            return
        if name == "set" and np.may_share_memory(x.data, other.data):
            return  # copying within one memory depends on the order
        refused: Any
        try:
            if record and x.node is None and other.node is not None and self.has_constant_view(t):
                raise Refused("a constant whose views would not know")
            self.naive.change(name, x, other, index, record)
        except Refused:
            refused = _refused("leaf", "view", "read-only")
        else:
            refused = contextlib.nullcontext()
        with contextlib.nullcontext() if record else no_grad(), refused:
            _change(t, name, u, index)

    def has_constant_view(self, t: Tensor) -> bool:
        """Whether a constant shows a part of what belongs to `t`."""
        return any(s.node is None and s.data.base is t.data for s, _ in self.pairs)

    @rule(
        use=st.sampled_from(["mul", *LOOKS]),
        i=places,
        j=places,
        name=st.sampled_from(["mul", "add", "set"]),
        index=st.sampled_from(INDICES),
        record=st.booleans(),
    )
    def use_and_change(self, use: str, i: int, j: int, name: str, index: Any, record: bool) -> None:
        """What a rule keeps, or what is seen through a view, is overwritten; then it is needed."""
        before = len(self.pairs)
        self.compute("sin", i, i, True)
        if use == "mul":
            self.compute("mul", 0, 0, True)
        else:
            self.view(use, 0)
        if len(self.pairs) == before + 2:
            self.change(name, 1, j, index, record)
            self.backward_once(0, np.random.default_rng(i), True)

    # Hooks

    @rule(what=st.sampled_from(["look", "halve", "turn", "remove"]), i=places)
    def hook(self, what: str, i: int) -> None:
        """A hook that looks, one that replaces the gradient; or one of those is taken away."""
        t, x = self.at(i)
        if what == "remove":
            self.remove_hook(i)
        elif x.node is None:
            return
        elif what == "look":
            log: list[np.ndarray] = []
            t.register_hook(lambda g: log.append(g.data.copy()))
            self.seen.append((x.node, len(x.node.hooks), log))
        else:
            factor = {"halve": 0.5, "turn": -2.0}[what]
            x.node.hooks.append(lambda g: g * factor)
            handle = t.register_hook(lambda g: g * factor)
            self.handles.append((handle, x.node, x.node.hooks[-1]))

    def remove_hook(self, k: int) -> None:
        if self.handles:
            handle, node, hook = self.handles.pop(-1 - k % len(self.handles))
            at = node.hooks.index(hook)
            handle.remove()
            node.hooks.pop(at)
            self.seen = [(n, c - (n is node and c > at), log) for n, c, log in self.seen]

    # Passes

    @rule(i=places, rng=numbers, times=st.integers(1, 2), retain=st.booleans())
    def backward(self, i: int, rng: Any, times: int, retain: bool) -> None:
        for k in range(times):
            self.backward_once(i, rng, retain or k < times - 1)

    def backward_once(self, i: int, rng: Any, retain: bool) -> None:
        t, y = self.end(i)
        if y.node is None:
            with _refused("does not depend"):
                t.backward(wrap(np.ones(t.shape)))
            return
        v = np.asarray(rng.uniform(0.5, 1.5, y.data.shape) * rng.choice([-1, 1]))
        seed = wrap(v.copy())
        before = [None if s.grad is None else s.grad.data.copy() for s, _ in self.pairs]
        passed = self.tried(y.node, None, retain, lambda: t.backward(seed, retain_graph=retain))
        np.testing.assert_array_equal(seed.data, v)
        owned = [seed.data, *(s.grad.data for s, _ in self.unique_leaves() if s.grad is not None)]
        for k, array in enumerate(owned):
            assert not any(np.may_share_memory(array, other) for other in owned[:k])
        if not passed:
            for (s, _), old in zip(self.pairs, before, strict=True):
                np.testing.assert_equal(None if s.grad is None else s.grad.data, old)
            return
        found = sums(y, v)
        reached = path_summing._below(y.node)
        for s, x in self.unique_leaves():
            if x.node in reached:
                total, size = gathered(x.cells, found)
                total = hooked(x.node, total)
                x.grad = total if x.grad is None else x.grad + total
                assert s.grad is not None and s.grad.shape == x.data.shape
                allowed = 1e-12 * (abs(x.grad) + hooked_size(x.node, size)) + 1e-300
                assert (abs(s.grad.data - x.grad) <= allowed).all(), (s.grad, x.grad)
                x.grad = s.grad.data.copy()  # compared; rounding shall not add up
        self.check_seen(reached, found)

    @rule(
        i=places,
        js=st.lists(places, min_size=1, max_size=3),
        rng=numbers,
        retain=st.booleans(),
        create=st.booleans(),
    )
    def grad(self, i: int, js: list[int], rng: Any, retain: bool, create: bool) -> None:
        t, y = self.end(i)
        by = [(s, x) for s, x in map(self.at, js) if x.node is not None]
        if y.node is None or not by:
            return
        v = np.asarray(rng.uniform(0.5, 1.5, y.data.shape) * rng.choice([-1, 1]))
        wanted: Any = [x.node for _, x in by]
        result: list[Any] = []

        def run() -> None:
            result.extend(
                autograd.grad(t, [s for s, _ in by], wrap(v.copy()), retain, create, True)
            )

        if not self.tried(y.node, wanted, retain, run):
            return
        found = sums(y, v)
        reached, turns = self.naive.visited(y.node, wanted)
        for (_, x), g in zip(by, result, strict=True):
            if x.node not in reached:
                assert g is None
                continue
            total, size = gathered(x.cells, found)
            allowed = 1e-12 * hooked_size(x.node, size) + 1e-300
            assert (abs(g.data - hooked(x.node, total)) <= allowed).all(), (g, total)
        leaves = {n for n in turns if not n.parents}
        self.check_seen((turns - leaves) | (leaves & {y.node, *wanted}), found)

    def tried(self, end: Node, wanted: Any, retain: bool, run: Callable[[], None]) -> bool:
        """Run a pass, which is to be refused where the naive engine says so."""
        for _, _, log in self.seen:
            log.clear()
        reasons, uncertain = self.naive.reasons(end, wanted)
        error = None
        try:
            run()
        except RuntimeError as caught:
            error = caught
        if error is None:
            assert not reasons, f"the pass should have been refused: {reasons}"
        else:
            allowed = reasons | ({"already freed"} if uncertain else set())
            assert any(words in str(error) for words in allowed), (error, reasons)
        if not retain and end.parents:
            self.naive.use_up(end, wanted, "yes" if error is None else "maybe")
        return error is None

    def check_seen(self, visited: set[Node], found: Any) -> None:
        """Hooks are called once, with the complete gradient, after those before them."""
        cells = {x.node: x.cells for _, x in self.pairs if x.node is not None}
        for node, before, log in self.seen:
            assert len(log) == (node in visited), "a hook is called once in a pass"
            if log and node in cells:  # else a change in place has put another node in its place
                total, size = gathered(cells[node], found)
                for hook in node.hooks[:before]:
                    total, size = hook(total), abs(hook(size))
                assert (abs(log[0] - total) <= 1e-12 * size + 1e-300).all(), (log, total)

    @rule(i=places)
    def forget_gradient(self, i: int) -> None:
        t, x = self.at(i)
        t.grad = x.grad = None

    def unique_leaves(self) -> list[tuple[Tensor, Value]]:
        """The leaves; every value is kept once."""
        return [(t, x) for t, x in self.pairs if x.is_leaf]

    @invariant()
    def numbers_agree(self) -> None:
        for t, x in self.pairs:
            assert t.shape == x.data.shape
            assert (abs(t.data - x.data) <= 1e-12 * (1 + abs(x.data))).all(), (t, x.data)
            assert t.requires_grad == (x.node is not None)
            if x.grad is None:
                assert t.grad is None
            else:
                assert t.grad is not None and (t.grad.data == x.grad).all()


@contextlib.contextmanager
def _refused(*words: str) -> Iterator[None]:
    """As `pytest.raises`, with an AssertionError for what is not refused."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        assert any(word in str(error) for word in words), error
    else:
        raise AssertionError(f"should have been refused: {words}")


def hooked_size(node: Node, size: np.ndarray) -> np.ndarray:
    """What the hooks make of the size of an error."""
    return np.asarray(abs(hooked(node, size)))


def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _multiply(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return len(a) == len(b) == 2 and a[1] == b[0]


def _change(t: Tensor, name: str, other: Tensor, index: Any) -> None:
    if name == "set":
        t[index] = other
    else:
        getattr(t, f"{name}_")(other)
