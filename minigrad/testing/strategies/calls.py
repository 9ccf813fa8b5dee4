"""Calls of registered operations: the shapes and options of their samples, any numbers.

A sample says on which numbers an operation is easy to differentiate. These calls also go where it
is not: on kinks and beside them, on ties, zeros, and towards the ends of the domain; never out of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ... import ops
from ...ops.registry import OPERATIONS, Drawn, Operation, Sample
from ...tensor import Tensor
from ..calls import Call, draw as draw_call
from .shapes import Draw

WAYS = ("random", "separated", "ties", "landmarks", "beside")
"""How the numbers of an input are chosen: at random; far apart; a few different ones, repeated;
numbers where something may happen (0, 1/2, 1, 2 of both signs, the operation's own constants); such
numbers moved by 1e-3 to 1e-12."""

# Samples stay well inside the domain. How far it really reaches:
_DOMAINS = {
    "sqrt": (1e-8, 2.0),
    "rsqrt": (1e-4, 2.0),
    "log": (1e-6, 2.0),
    "log2": (1e-6, 2.0),
    "log10": (1e-6, 2.0),
    "log1p": (-1 + 1e-6, 2.0),
    "asin": (-1 + 1e-6, 1 - 1e-6),
    "acos": (-1 + 1e-6, 1 - 1e-6),
}
# A jump has no derivative of any kind; random numbers stay off it.
_JUMPS = {
    "floor",
    "ceil",
    "round",
    "trunc",
    "sign",
    "remainder",
    "relu_gradient",
    "leaky_relu_gradient",
    "elu_gradient",
    "softplus_gradient",
}
# Not differentiable where all entries are equal, nearly singular where they nearly are.
_NEEDS_SPREAD = {"std"}


@dataclass(frozen=True)
class OperationCall:
    """One call of a registered operation, ready for `gradcheck(call, call.arrays, kind=call.kind)`.

    Attributes:
        operation: what is called.
        call: how, with which arrays.
        ways: how the numbers of each array were chosen, see `WAYS`; "" for integers and booleans.
        layouts: in which memory layout the operation meets each array.
        sample: whose shapes and options the call has.
    """

    operation: Operation
    call: Call
    ways: tuple[str, ...]
    layouts: tuple[str, ...]
    sample: Sample

    @property
    def arrays(self) -> list[np.ndarray]:
        """The arrays to call it with, row-major: it lays them out itself."""
        return self.call.arrays

    @property
    def kind(self) -> str:
        """What kind of function it is, one of `minigrad.ops.registry.KINDS`."""
        return self.operation.kind

    @property
    def __name__(self) -> str:
        return self.operation.name

    def __call__(self, *tensors: Any) -> Any:
        """Lay the tensors out in memory as drawn, by differentiable operations, and call."""
        laid = [
            _LAYOUTS[layout](x) if isinstance(x, Tensor) else x
            for x, layout in zip(tensors, self.layouts, strict=True)
        ]
        return self.call(*laid)

    def __str__(self) -> str:
        how = [f"{w}, {o}" for w, o in zip(self.ways, self.layouts, strict=True) if w]
        return f"{self.operation.name}({self.sample}) [{'; '.join(how)}]"


def operation_calls(
    operation: str | Operation | None = None, ways: tuple[str, ...] = WAYS
) -> st.SearchStrategy[OperationCall]:
    """Calls of one registered operation (its name or its entry), or of any of them.

    Samples without an input of floating-point type are left out, except those of operations that
    are constant.

    Args:
        operation: None draws one.
        ways: how numbers may be chosen, of `WAYS`; where one of them would leave the operation's
            domain or hit a jump of it, random numbers are drawn instead.

    Raises:
        KeyError: if no operation of that name is registered; ValueError: for an unknown way, or an
            operation that has no such sample.
    """
    for way in ways:
        if way not in WAYS:
            raise ValueError(f"operation_calls: way {way!r} is none of {', '.join(WAYS)}")
    if not ways:
        raise ValueError("operation_calls: wants at least one way to choose numbers")
    if operation is None:
        every = [op for op in OPERATIONS.values() if _usable(op)]
        return st.sampled_from(every).flatmap(lambda op: _calls(op, ways))
    if isinstance(operation, str):
        if operation not in OPERATIONS:
            raise KeyError(f"operation_calls: no operation {operation!r} is registered")
        operation = OPERATIONS[operation]
    if not _usable(operation):
        raise ValueError(
            f"operation_calls: no sample of {operation.name} has an input of floating-point type"
        )
    return _calls(operation, ways)


def _usable(operation: Operation) -> list[Sample]:
    if operation.kind == "constant":
        return list(operation.samples)
    return [s for s in operation.samples if any(_is_real(d) for d in _inputs(s))]


def _inputs(sample: Sample) -> list[Drawn]:
    """The arrays of a sample, in the order in which `calls.draw` draws them."""
    return list(_walk([*sample.args, *sample.options.values()], Drawn))


def _walk(argument: Any, kind: type) -> Iterator[Any]:
    if isinstance(argument, kind):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for a in argument:
            yield from _walk(a, kind)


def _is_real(drawn: Drawn) -> bool:
    return drawn.how in ("real", "separated")


@st.composite
def _calls(draw: Draw, operation: Operation, ways: tuple[str, ...]) -> OperationCall:
    sample = draw(st.sampled_from(_usable(operation)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    call = draw_call(operation.function, sample, rng)
    constants = [
        abs(float(c))
        for c in _walk([*sample.args, *sample.options.values()], float)
        if np.isfinite(c)
    ]
    chosen, laid = [], []
    for i, drawn in enumerate(_inputs(sample)):
        if not _is_real(drawn):
            chosen.append("")
            laid.append("contiguous")
            continue
        way = draw(st.sampled_from(ways))
        numbers = _Numbers(operation, sample, drawn, constants)
        call.arrays[i] = np.asarray(numbers.drawn(way, rng))
        chosen.append(way if way in numbers.allowed else "random")
        # A view refuses layouts that it would have to copy.
        some = ["contiguous"] if operation.name == "view" else list(_LAYOUTS)
        if operation.name in _NEEDS_SPREAD:
            some.remove("zero stride")
        laid.append(draw(st.sampled_from(some)))
    return OperationCall(operation, call, tuple(chosen), tuple(laid), sample)


class _Numbers:
    """The numbers of one input: where they may lie, and how they are chosen."""

    def __init__(
        self, operation: Operation, sample: Sample, drawn: Drawn, constants: list[float]
    ) -> None:
        self.shape = drawn.shape
        self.low, self.high = drawn.low, drawn.high
        if operation.name in _DOMAINS:
            self.low, self.high = _DOMAINS[operation.name]
        separated = drawn.how == "separated"
        # Smooth operations ask for separated numbers to stay off a pole at 0.
        self.off_zero = separated and operation.kind in ("analytic", "smooth")
        self.allowed: tuple[str, ...] = WAYS
        if operation.name in _JUMPS or operation.name in _NEEDS_SPREAD:
            self.allowed = ("random", "separated")
        elif operation.name == "norm" and _singular_norm(sample):
            self.allowed, self.off_zero = ("random", "separated"), True
        marks = {0.0, 0.5, 1.0, 2.0, *constants}
        inside = {s * m for m in marks for s in (-1, 1) if self.low <= s * m <= self.high}
        reached = sorted(inside - ({0.0} if self.off_zero else set())) or [self.low]
        self.marks = np.array(reached, np.float64)

    def drawn(self, way: str, rng: np.random.Generator) -> np.ndarray:
        n = int(np.prod(self.shape))
        if way not in self.allowed:
            way = "random"
        if way == "separated":
            x = self.low + (self.high - self.low) * (np.arange(n) + 0.381966) / max(n, 1)
            x = rng.permutation(x)
        elif way == "ties":
            x = rng.choice(rng.choice(self.marks, 2), n)
        elif way == "landmarks":
            x = rng.choice(self.marks, n)
        elif way == "beside":
            offset = 10.0 ** -rng.integers(3, 13, n) * rng.choice([-1.0, 1.0], n)
            x = np.clip(rng.choice(self.marks, n) + offset, self.low, self.high)
        else:
            x = rng.uniform(self.low, self.high, n)
        if self.off_zero:
            x = np.where(abs(x) < 0.05, np.copysign(0.05 + abs(x), x), x)
        return np.asarray(x.reshape(self.shape))


def _singular_norm(sample: Sample) -> bool:
    """Norms of order 1/2, -3/2, ... have no derivative at 0, the count of non-zeros jumps there."""
    orders = [a for a in sample.args[1:2] if isinstance(a, (int, float))]
    return any(p < 1 and np.isfinite(p) for p in orders)


# Layouts, by operations of the engine: gradients pass back through them


def _column_major(x: Tensor) -> Tensor:
    back = tuple(reversed(range(x.ndim)))
    return ops.permute(ops.contiguous(ops.permute(x, *back)), *back) if x.ndim > 1 else x


def _reversed(x: Tensor) -> Tensor:
    every = (slice(None, None, -1),) * x.ndim
    return ops.getitem(ops.contiguous(ops.getitem(x, every)), every) if x.ndim else x


def _gaps(x: Tensor) -> Tensor:
    # Its own numbers shifted stand between, so that whoever ignores the stride reads real numbers.
    return ops.getitem(ops.stack([x, x + 1.0], -1), (..., 0))


def _zero_stride(x: Tensor) -> Tensor:
    if not x.ndim or not x.numel():
        return x
    return ops.broadcast_to(ops.getitem(x, (..., slice(0, 1))), x.shape)


_LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "column-major": _column_major,
    "reversed": _reversed,
    "gaps": _gaps,
    "zero stride": _zero_stride,
}
