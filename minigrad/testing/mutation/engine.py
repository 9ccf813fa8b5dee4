"""Mutants of the engine itself: one line of a function is replaced, in its compiled code.

They are judged by the tests of the engine, which follow every path of random graphs by themselves.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

TESTS = (
    "test_autograd.py",
    "test_engine_random_programs.py",
    "test_joint_rules.py",
    "test_inplace.py",
    "test_every_operation.py",
)
"""The files of tests that should notice, the quickest first."""


@dataclass(frozen=True)
class EngineMutant:
    """A replacement of one piece of the engine's source.

    Attributes:
        meaning: what goes wrong.
        place: the function, as `module:function` or `module:class.function`.
        old: what stands there, exactly once.
        new: what stands there instead.
        first: the file of `TESTS` that is most likely to notice, and is run first.
    """

    meaning: str
    place: str
    old: str
    new: str
    first: str = TESTS[0]

    def function(self) -> FunctionType:
        """The function to be changed."""
        module, _, path = self.place.partition(":")
        found: Any = importlib.import_module(f"minigrad.{module}")
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
        function: FunctionType = getattr(found, "__func__", found)
        return function

    def code(self) -> CodeType:
        """What the function would do with the replacement.

        Raises:
            ValueError: if the piece does not stand there exactly once: the list is out of date.
        """
        function = self.function()
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise ValueError(
                f"mutate: {self.place} holds {source.count(self.old)} times what is to be replaced "
                f"there: {self.old!r}"
            )
        space: dict[str, Any] = {}
        file = function.__code__.co_filename
        exec(  # the source is the library's own
            compile(source.replace(self.old, self.new), file, "exec", dont_inherit=True),
            dict(function.__globals__),
            space,
        )
        changed = space[function.__name__]
        code: CodeType = getattr(changed, "__func__", changed).__code__
        return code


@contextmanager
def damaged(name: str) -> Iterator[None]:
    """A context in which the engine has one of the faults `ENGINE`.

    Raises:
        ValueError: for a fault that is not in the list.
    """
    if name not in ENGINE:
        raise ValueError(f"mutate: the engine has no mutant {name!r}, only {', '.join(ENGINE)}")
    mutant = ENGINE[name]
    function = mutant.function()
    before = function.__code__
    function.__code__ = mutant.code()
    try:
        yield
    finally:
        function.__code__ = before


_SUM = "contribution, c = c, pending[parent] + c"
_PUSH = "heappush(queue, (parent.turn, parent))"

ENGINE: dict[str, EngineMutant] = {
    "overwritten": EngineMutant(
        "the last contribution to a node replaces the earlier ones",
        "graph:propagate",
        _SUM,
        "contribution, c = c, c",
    ),
    "first only": EngineMutant(
        "later contributions to a node are lost",
        "graph:propagate",
        _SUM,
        "contribution, c = c, pending[parent]",
    ),
    "counted twice": EngineMutant(
        "a further contribution to a shared node is added twice",
        "graph:propagate",
        _SUM,
        "contribution, c = c, pending[parent] + c + c",
    ),
    "oldest first": EngineMutant(
        "nodes have their turn before their gradient is complete",
        "graph:propagate",
        _PUSH,
        "heappush(queue, (-parent.turn, parent))",
    ),
    "hooks skipped": EngineMutant(
        "hooks of intermediate values are not called",
        "graph:propagate",
        "if node.hooks is not None:",
        "if False:",
    ),
    "leaf hooks skipped": EngineMutant(
        "hooks of leaves are not called",
        "graph:propagate",
        "if leaf.hooks is not None and beyond_wanted:",
        "if False:",
    ),
    "hook's answer lost": EngineMutant(
        "a hook cannot replace a gradient",
        "autograd:_run_hooks",
        "g = _replacement(replaced, g, node)",
        "_replacement(replaced, g, node)",
    ),
    "never freed": EngineMutant(
        "the graph stays although nobody asked for it",
        "graph:propagate",
        "if not retain:",
        "if False:",
    ),
    "always freed": EngineMutant(
        "retain_graph is ignored", "graph:propagate", "if not retain:", "if True:"
    ),
    "change not noticed": EngineMutant(
        "what a rule keeps may have been overwritten",
        "graph:propagate",
        "if node.turn > latest_change:",
        "if False:",
        first="test_inplace.py",
    ),
    "shared memory": EngineMutant(
        "a leaf's gradient may be memory that somebody else holds",
        "autograd:_ArrayValues.own",
        "if c is g:\n        return copied(c)\n    if not owns(c):",
        "return c\n    if not owns(c):",
    ),
    "joint order": EngineMutant(
        "the gradients of a joint rule go to the wrong inputs",
        "graph:Joint.contributions",
        "list(reversed(found))",
        "list(found)",
        first="test_joint_rules.py",
    ),
    "wrong ones wanted": EngineMutant(
        "a joint rule is asked for gradients that nobody wants",
        "graph:Joint.contributions",
        "wanted = tuple([parent in leading for parent in self.parents])",
        "pass",
        first="test_joint_rules.py",
    ),
    "first copy": EngineMutant(
        "of the copies that broadcasting made one is taken, not the sum",
        "autograd:_ArrayValues.fit",
        "c.sum(axis=axes, keepdims=True)",
        "c[tuple(slice(0, 1) if i in axes else slice(None) for i in range(c.ndim))]",
    ),
    "first copy, recorded": EngineMutant(
        "the same in a recorded pass",
        "autograd:_TensorValues.fit",
        "c.sum(axes, keepdim=True)",
        "c[tuple(slice(0, 1) if i in axes else slice(None) for i in range(c.ndim))]",
        first="test_every_operation.py",
    ),
    "new axes only": EngineMutant(
        "broadcasting is undone along new dimensions only",
        "autograd:_broadcast_axes",
        "return (*range(extra), *repeated)",
        "return tuple(range(extra))",
    ),
    "seed lost": EngineMutant(
        "of two cotangents of one output the last counts",
        "autograd:_run",
        "value = seeds[node] + value",
        "pass",
        first="test_every_operation.py",
    ),
    "recording left on": EngineMutant(
        "after a pass the thread does not record as before",
        "autograd:_run",
        "graph.mode.set(**before)",
        "pass",
    ),
    "leaf overwritten": EngineMutant(
        "a second backward replaces `grad` instead of adding to it",
        "autograd:_accumulate",
        "x.grad.data += g",
        "x.grad.data[...] = g",
    ),
    "leaf added twice": EngineMutant(
        "a second backward adds its gradient twice",
        "autograd:_accumulate",
        "x.grad.data += g",
        "x.grad.data += g + g",
    ),
    "one result twice": EngineMutant(
        "an input given twice gets one gradient object twice",
        "autograd:grad",
        "g.clone() if node in taken else g",
        "g",
    ),
    "leaves only": EngineMutant(
        "the gradient of a wanted value in the middle is not passed on to wanted ones before it",
        "graph:leading_to",
        "if parent in leading:",
        "if parent in wanted:",
        first="test_engine_random_programs.py",
    ),
}
"""The engine's mutants, by name."""
