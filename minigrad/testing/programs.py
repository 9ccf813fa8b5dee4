"""Small random programs: what an engine must get right whatever the graph looks like.

A program is data: it can be run by any engine that has the functions it names, prints as code, is a
function that `gradcheck` accepts, and Hypothesis shrinks it to the shortest one that fails.

`programs` combines all registered operations of this library; `arithmetic_programs` nine functions
that every engine has, with simple derivatives, so that a result can be found in another way. Needs
hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import assume, strategies as st

from .. import ops
from ..modes import no_grad
from ..ops.registry import OPERATIONS, Drawn, Sample
from ..tensor import Tensor, as_tensor, wrap
from .calls import Call, draw as draw_call
from .strategies import Draw, Shape, shapes as drawn_shapes
from .strategies.shapes import at_least

LOW, HIGH = -2.0, 2.0
"""Between these lie the numbers that a program is meant to be run on."""


@dataclass(frozen=True)
class Step:
    """One operation: its name, and which earlier values it takes.

    A step of an arithmetic program is called with these values alone. A step with a registered
    operation is called as one of the operation's samples says, the values brought into the shapes
    and ranges of the sample's inputs by `fit`.

    Attributes:
        operation: its name.
        operands: the numbers of the values.
        sample: how a registered operation is called.
        call: the same with its arrays drawn; those of integers and booleans are constants.
        output: which of several results is the value.
    """

    operation: str
    operands: tuple[int, ...]
    sample: Sample | None = None
    call: Call | None = field(default=None, compare=False)
    output: int = 0

    def compute(self, values: Sequence[Any], function: Callable[..., Any]) -> Any:
        """The step's value, computed from the earlier values by this function."""
        taken = [values[i] for i in self.operands]
        if self.call is None or self.sample is None:
            return function(*taken)
        places, arguments = _places(self.sample), list(map(wrap, self.call.arrays))
        inputs = [place for place in places if place.how in ("real", "separated")]
        fitted = iter(
            [
                fit(x, place.shape, *bounds_of(self.operation, place))
                for x, place in zip(taken, inputs, strict=True)
            ]
        )
        for i, place in enumerate(places):
            if place in inputs:
                arguments[i] = next(fitted)
        return _real_outputs(replace(self.call, function=function)(*arguments))[self.output]

    def __str__(self) -> str:
        names = [f"v{i}" for i in self.operands]
        if self.call is None or self.sample is None:
            return f"{self.operation}({', '.join(names)})"
        return _call_as_code(self.operation, self.sample, self.call, names, self.output)


@dataclass(frozen=True, repr=False)
class Program:
    """Values are numbered: first the inputs, then the result of each step; the last is the result.

    Printed, it is a Python function, which needs the names `ops`, `np` and `fit`.

    Attributes:
        inputs: the shapes of the inputs.
        steps: the operations, in order.
        shapes: the shape of every value.
    """

    inputs: tuple[Shape, ...]
    steps: tuple[Step, ...]
    shapes: tuple[Shape, ...]

    def run(
        self, inputs: Sequence[Any], functions: Mapping[str, Callable[..., Any]] | None = None
    ) -> list[Any]:
        """All values, computed by these functions; None are the registered operations.

        Raises:
            ValueError: unless there is one input for each of the program's.
        """
        if len(inputs) != len(self.inputs):
            raise ValueError(f"program: wants {len(self.inputs)} inputs, got {len(inputs)}")
        values = list(inputs)
        for step in self.steps:
            given = functions is not None and step.operation in functions
            f = functions[step.operation] if given else OPERATIONS[step.operation].function  # type: ignore[index]
            values.append(step.compute(values, f))
        return values

    def __call__(self, *inputs: Any) -> Any:
        """The last value: the function that `gradcheck` may check."""
        return self.run([as_tensor(x) for x in inputs])[-1]

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        """Random inputs, between -2 and 2."""
        rng = np.random.default_rng(seed)
        return [np.asarray(rng.uniform(LOW, HIGH, shape)) for shape in self.inputs]

    @property
    def kind(self) -> str:
        """`piecewise` if one of its operations is, else `smooth`."""
        kinds = {OPERATIONS[s.operation].kind for s in self.steps if s.call is not None}
        return "piecewise" if "piecewise" in kinds else "smooth"

    @property
    def __name__(self) -> str:
        return "program"

    def __str__(self) -> str:
        names = ", ".join(f"v{i}" for i in range(len(self.inputs)))
        shapes = ", ".join(map(str, self.inputs))
        lines = [f"def program({names}):  # of shapes {shapes}"]
        for i, step in enumerate(self.steps, len(self.inputs)):
            lines.append(f"    v{i} = {step}")
        return "\n".join([*lines, f"    return v{len(self.shapes) - 1}"])

    def __repr__(self) -> str:
        return "\n" + str(self)


def fit(x: Any, shape: Shape, low: float | None = None, high: float | None = None) -> Tensor:
    """Bring a value into a shape and between two bounds, differentiably, whatever it is.

    Its elements, in order, fill the shape; they start again from the first if there are too few. An
    arc tangent moves them between the bounds: smooth, and never so flat that gradients vanish.

    Raises:
        ValueError: for a value without elements.
    """
    x = as_tensor(x)
    if x.shape != shape:
        if not x.numel():
            raise ValueError(f"fit: a value of shape {x.shape} has nothing to fill {shape} with")
        flat = ops.reshape(x, (-1,))
        x = ops.reshape(ops.getitem(flat, np.arange(int(np.prod(shape))) % x.numel()), shape)
    if low is not None and high is not None:
        x = ops.add(ops.mul(ops.atan(x), (high - low) / np.pi), (low + high) / 2)
    return x


def bounds_of(operation: str, place: Drawn) -> tuple[float, float]:
    """Between which numbers an input may lie. The smooth are kept off 0, where they have poles."""
    separated = place.how == "separated" and OPERATIONS[operation].kind != "piecewise"
    if (separated or operation == "norm") and place.low < 0 < place.high:
        return 0.3, place.high
    return place.low, place.high


# Programs of registered operations

# The standard deviation of equal numbers has no derivative, and programs repeat numbers.
_LEFT_OUT = {"std"}


def programs(
    max_ops: int = 8,
    max_inputs: int = 3,
    min_ops: int = 1,
    operations: Sequence[str] | None = None,
) -> st.SearchStrategy[Program]:
    """Random graphs over the registered operations; they shrink to the smallest that fails.

    Values are shared, one value is used twice by one step, shapes change, results are left unused.
    Steps are calls of the operations' samples (see `Step`), so that every operation takes part
    that has a sample with inputs and results of floating-point type, none of them empty.

    Args:
        max_ops: the largest number of steps.
        max_inputs: the largest number of inputs.
        min_ops: the smallest number of steps.
        operations: the names of those to choose from; None is all of them.

    Raises:
        TypeError, ValueError: for numbers that are not 1 <= min_ops <= max_ops, 1 <= max_inputs;
            KeyError: for an unknown operation; ValueError: for one that cannot take part.
    """
    _check_sizes("programs", max_ops, max_inputs, min_ops)
    unknown = sorted(set(operations or ()) - set(OPERATIONS))
    if unknown:
        raise KeyError(f"programs: no operation {', '.join(unknown)} is registered")
    usable = {name: _usable(name) for name in (OPERATIONS if operations is None else operations)}
    for name, samples in usable.items():
        if operations is not None and not samples:
            raise ValueError(f"programs: no sample of {name} can be part of a program")
    names = tuple(name for name, samples in usable.items() if samples)
    if not names:
        raise ValueError("programs: wants at least one operation")
    return _programs(names, max_ops, max_inputs, min_ops)


@st.composite
def _programs(
    draw: Draw, names: tuple[str, ...], max_ops: int, max_inputs: int, min_ops: int
) -> Program:
    inputs = draw(st.lists(drawn_shapes(max_dims=2, max_side=3), min_size=1, max_size=max_inputs))
    steps: list[Step] = []
    rng = np.random.default_rng(0)
    values: list[Any] = [wrap(np.asarray(rng.uniform(LOW, HIGH, shape))) for shape in inputs]
    for _ in range(draw(st.integers(min_ops, max_ops))):
        name = draw(st.sampled_from(names))
        sample = draw(st.sampled_from(_usable(name)))
        call = draw_call(
            OPERATIONS[name].function, sample, np.random.default_rng(draw(st.integers(0, 99)))
        )
        latest = len(values) - 1
        count = sum(place.how in ("real", "separated") for place in _places(sample))
        operands = tuple(latest - draw(st.integers(0, latest)) for _ in range(count))
        step = Step(name, operands, sample, call)
        with no_grad():
            step, value = _with_output(draw, step, values)
        steps.append(step)
        values.append(value)
    return Program(tuple(inputs), tuple(steps), tuple(v.shape for v in values))


def _with_output(draw: Draw, step: Step, values: list[Any]) -> tuple[Step, Any]:
    """The step with one of its results chosen, one that is not empty; and that result."""
    found: list[Any] = []

    def remember(*args: Any, **options: Any) -> Any:
        result = OPERATIONS[step.operation].function(*args, **options)
        found.extend(_real_outputs(result))
        return result if found else wrap(np.zeros(()))

    step.compute(values, remember)
    filled = [i for i, y in enumerate(found) if y.numel()]
    assume(filled)  # a drawn mask may select nothing
    output = draw(st.sampled_from(filled))
    return replace(step, output=output), found[output]


def _usable(name: str) -> list[Sample]:
    """The samples of an operation that can be steps."""
    operation = OPERATIONS[name]
    if operation.kind == "constant" or name in _LEFT_OUT:
        return []
    found = []
    for sample in operation.samples:
        places = _places(sample)
        real = [place for place in places if place.how in ("real", "separated")]
        if real and all(int(np.prod(place.shape)) for place in places):
            found.append(sample)
    return found


def _places(sample: Sample) -> list[Drawn]:
    """The inputs of a sample, in the order of its arguments."""
    found: list[Drawn] = []

    def walk(argument: Any) -> None:
        if isinstance(argument, Drawn):
            found.append(argument)
        elif type(argument) in (list, tuple):
            for a in argument:
                walk(a)

    walk(sample.args)
    walk(tuple(sample.options.values()))
    return found


def _real_outputs(result: Any) -> list[Tensor]:
    many = result if isinstance(result, (tuple, list)) else [result]
    return [y for y in many if isinstance(y, Tensor) and y.dtype.kind in "fc"]


# As code


def _call_as_code(name: str, sample: Sample, call: Call, operands: list[str], output: int) -> str:
    arrays, names = iter(call.arrays), iter(operands)

    def shown(argument: Any) -> str:
        if isinstance(argument, Drawn):
            array = next(arrays)
            if argument.how not in ("real", "separated"):
                return f"np.array({array.tolist()})"
            low, high = bounds_of(name, argument)
            return f"fit({next(names)}, {argument.shape}, {low}, {high})"
        if type(argument) in (list, tuple):
            inner = ", ".join(map(shown, argument))
            if type(argument) is list:
                return f"[{inner}]"
            return f"({inner},)" if len(argument) == 1 else f"({inner})"
        if isinstance(argument, np.ndarray):
            return f"np.array({argument.tolist()})"
        if isinstance(argument, type):
            return f"np.{argument.__name__}"
        if isinstance(argument, float) and not np.isfinite(argument):
            return f"float('{argument}')"
        return repr(argument)

    parts = [shown(a) for a in sample.args] + [f"{k}={shown(v)}" for k, v in sample.options.items()]
    function = (
        f"ops.{name}" if hasattr(ops, name) else f"ops.registry.OPERATIONS[{name!r}].function"
    )
    text = f"{function}({', '.join(parts)})"
    several = isinstance(_result(call), (tuple, list))
    return f"{text}[{output}]" if several else text


def _result(call: Call) -> Any:
    with no_grad(), np.errstate(all="ignore"):
        return call(*map(wrap, call.arrays))


# Programs of nine functions

UNARY = ("sin", "tanh", "neg")  # none of them grows, so that no depth overflows
REDUCING = ("sum", "sum_last")
BINARY = ("add", "sub", "mul")


def arithmetic_programs(
    max_ops: int = 8, max_inputs: int = 3, min_ops: int = 1
) -> st.SearchStrategy[Program]:
    """Random graphs of sin, tanh, neg, sum, sum_last, add, sub, mul and matmul.

    `sum_last` sums over the last dimension, if there is one. Run them by
    `program.run(inputs, functions)` with a function for each of these names, of any framework.

    Raises:
        TypeError, ValueError: for numbers that are not 1 <= min_ops <= max_ops, 1 <= max_inputs.
    """
    _check_sizes("arithmetic_programs", max_ops, max_inputs, min_ops)
    return _arithmetic_programs(max_ops, max_inputs, min_ops)


def _check_sizes(name: str, max_ops: int, max_inputs: int, min_ops: int) -> None:
    at_least(name, "min_ops", min_ops, 1)
    at_least(name, "max_ops", max_ops, min_ops)
    at_least(name, "max_inputs", max_inputs, 1)


@st.composite
def _arithmetic_programs(draw: Draw, max_ops: int, max_inputs: int, min_ops: int) -> Program:
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
