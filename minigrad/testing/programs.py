"""Small random programs: what an engine must get right whatever the graph looks like.

A program is data, so that it can be run by any engine that has the functions it names, and so that
Hypothesis can shrink it to the shortest one that fails. Needs hypothesis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from .strategies import Draw, Shape

UNARY = ("sin", "tanh", "neg")  # none of them grows, so that no depth overflows
REDUCING = ("sum", "sum_last")
BINARY = ("add", "sub", "mul")


@dataclass(frozen=True)
class Step:
    """One operation: its name, and which earlier values it takes."""

    operation: str
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """Values are numbered: first the inputs, then the result of each step; the last is the result.

    Attributes:
        inputs: the shapes of the inputs.
        steps: the operations, in order.
        shapes: the shape of every value.
    """

    inputs: tuple[Shape, ...]
    steps: tuple[Step, ...]
    shapes: tuple[Shape, ...]

    def run(self, inputs: Sequence[Any], functions: Mapping[str, Any]) -> list[Any]:
        """All values, computed by these functions."""
        values = list(inputs)
        for step in self.steps:
            values.append(functions[step.operation](*(values[i] for i in step.operands)))
        return values

    def __str__(self) -> str:
        lines = [f"v{i} = input of shape {shape}" for i, shape in enumerate(self.inputs)]
        for i, step in enumerate(self.steps, len(self.inputs)):
            lines.append(f"v{i} = {step.operation}({', '.join(f'v{k}' for k in step.operands)})")
        return "\n".join(lines)


@st.composite
def programs(draw: Draw, max_ops: int = 8, max_inputs: int = 3, min_ops: int = 1) -> Program:
    """Random graphs: shared values, one value used twice by one step, broadcasting, reductions."""
    n = draw(st.integers(1, 3))
    kinds = st.sampled_from([(), (n,), (1, n), (n, 1), (n, n)])  # all fit, many can be multiplied
    inputs = tuple(draw(st.lists(kinds, min_size=1, max_size=max_inputs)))
    shapes = list(inputs)
    steps: list[Step] = []
    for _ in range(draw(st.integers(min_ops, max_ops))):
        i = draw(st.integers(0, len(shapes) - 1))
        partners = {name: _partners(name, shapes, i) for name in (*BINARY, "matmul")}
        binary = [name for name, found in partners.items() if found]  # most of the time these
        name = draw(st.sampled_from([*binary, *binary, *UNARY, *REDUCING]))
        others = (draw(st.sampled_from(partners[name])),) if name in partners else ()
        steps.append(Step(name, (i, *others)))
        shapes.append(_result_shape(name, *(shapes[k] for k in (i, *others))))
    return Program(inputs, tuple(steps), tuple(shapes))


def _partners(name: str, shapes: Sequence[Shape], i: int) -> list[int]:
    """The values that can be the second operand of an operation on value i."""
    if name == "matmul":
        if len(shapes[i]) != 2:
            return []
        return [k for k, s in enumerate(shapes) if len(s) == 2 and s[0] == shapes[i][1]]
    return [k for k, s in enumerate(shapes) if _broadcast(s, shapes[i]) is not None]


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    """The shape that two shapes broadcast to, or None."""
    n = max(len(a), len(b))
    a, b = (1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b
    if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
        return None
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


def _result_shape(name: str, a: Shape, b: Shape = ()) -> Shape:
    if name == "matmul":
        return (a[0], b[1])
    if name == "sum":
        return ()
    if name == "sum_last":
        return a[:-1]
    return (_broadcast(a, b) or ()) if name in BINARY else a
