"""`record`: how the result of an operation gets its place in the graph."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module

from . import dtypes
from .graph import OUTPUT, Clock, Joint, Node, Rule, mode, tell_recorded, user_line
from .tensor import Tensor, as_tensor, ndarray, together, wrap

_new_tensor = Tensor.__new__
_new_node = Node.__new__
tick = Clock.tick

Edge = tuple[Node, Any, Any]


def record(operation: Any, output: Any, *edges: tuple[Tensor, Rule, Any]) -> Tensor:
    """A tensor around `output`, an array, that remembers by which operation it came to be.

    An edge is a triple (input, rule, kept). The rule is the input's vector-Jacobian product: called
    as `rule(g)`, `rule(g, kept)` or, if `kept` is a tuple, `rule(g, *kept)`, with the gradient `g`
    of the output, it returns the gradient of the input. `kept` is None, a tensor, `OUTPUT` (the
    operation's own result), or a tuple of these. What a rule needs of the numbers it must get in
    this way, since the engine checks that they were not overwritten, and frees them; it may close
    over shapes and options, but never over a tensor.

    Broadcasting is undone by the engine: a rule may return a gradient of the output's shape for an
    input that was repeated along some dimensions.

    In a first-order backward pass a rule is called with bare arrays, with `create_graph` with
    tensors, so that it is differentiated in turn. Written with operators and the functions of
    `minigrad.ops`, which take both, it need not know which.

    >>> import numpy as np, minigrad as mg
    >>> def cube(x):
    ...     x = mg.as_tensor(x)
    ...     return mg.record(cube, x.data**3, (x, lambda g, x: g * 3 * x * x, x))
    >>> x = mg.tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    tensor(12.)
    """
    if output.__class__ is not ndarray:
        output = array_module(output).asarray(output)
    result = _new_tensor(Tensor)
    result.data = output
    result.grad = result.node = None
    level = mode.level
    if level:
        live = []
        keeps = keeps_output = False
        for x, rule, kept in edges:
            parent = x.node
            if parent is not None:
                live.append((parent, rule, kept))
                if kept is not None:
                    keeps = True
                    if kept is OUTPUT or (kept.__class__ is tuple and _contains_output(kept)):
                        keeps_output = True
        if live:
            # Only what keeps something can be made stale, so only that needs its line.
            result.node = _node(operation, live, output, keeps or level > 1)
            if keeps_output:
                result.node.output = output
            if level > 1:
                tell_recorded(result.node)
    return result


def record_pair(
    operation: Any,
    output: Any,
    a: Tensor,
    rule_a: Rule,
    kept_a: Tensor | None,
    b: Tensor,
    rule_b: Rule,
    kept_b: Tensor | None,
) -> Tensor:
    """As `record` with two edges, laid flat: faster, for operations that are all overhead."""
    if output.__class__ is not ndarray:
        output = array_module(output).asarray(output)
    result = _new_tensor(Tensor)
    result.data = output
    result.grad = result.node = None
    level = mode.level
    if level:
        parent_a, parent_b = a.node, b.node
        if parent_b is None:
            if parent_a is None:
                return result
            edges: tuple[Edge, ...] = ((parent_a, rule_a, kept_a),)
        elif parent_a is None:
            edges = ((parent_b, rule_b, kept_b),)
        else:
            edges = ((parent_a, rule_a, kept_a), (parent_b, rule_b, kept_b))
        # What `_node` does, written out: the call would take a twentieth of the time.
        result.node = node = _new_node(Node)
        node.operation = operation
        node.edges = edges
        node.shape = output.shape
        node.output = node.hooks = None
        node.turn = tick()
        keeps = kept_a is not None or kept_b is not None
        node.line = user_line(2) if keeps or level > 1 else None
        if level > 1:
            tell_recorded(node)
    return result


def record_jointly(
    operation: Any, output: Any, inputs: tuple[Tensor, ...], rule: Rule, kept: tuple[Any, ...]
) -> Tensor:
    """As `record`, for inputs whose gradients are best computed together, by one rule.

    It is called once in a pass, as `rule(g, *kept, wanted)`: `wanted` is a tuple that says of each
    input whether its gradient is asked for. It returns a tuple of the gradients of these inputs, in
    their order. In `kept`, None may stand for what the gradients of this call will not need, such
    as a factor of a constant.

    >>> import numpy as np, minigrad as mg
    >>> def product_rule(g, x, y, wanted):
    ...     return tuple(g * other for other, want in zip((y, x), wanted) if want)
    >>> def product(x, y):
    ...     return mg.record_jointly(product, x.data * y.data, (x, y), product_rule, (x, y))
    >>> x, y = (mg.tensor(n, requires_grad=True) for n in (2.0, 3.0))
    >>> product(x, y).backward()
    >>> x.grad, y.grad
    (tensor(3.), tensor(2.))
    """
    result = wrap(output)
    if mode.level:
        joint = Joint(rule, tuple([x.node for x in inputs]))
        live = [(parent, joint, kept) for parent in joint.parents if parent is not None]
        if live:
            result.node = _node(operation, live, output, True)
            if _contains_output(kept):
                result.node.output = output
            if mode.level > 1:
                tell_recorded(result.node)
    return result


def _node(operation: Any, edges: Any, output: Any, with_line: bool) -> Node:
    node = _new_node(Node)
    node.operation = operation
    node.edges = edges
    node.shape = output.shape
    node.output = node.hooks = None
    node.turn = tick()
    node.line = user_line(3) if with_line else None
    return node


def _contains_output(kept: tuple[Any, ...]) -> bool:
    # `in` would compare tensors with ==, and a generator takes longer.
    for k in kept:  # noqa: SIM110
        if k is OUTPUT:
            return True
    return False


def record_view(operation: Any, output: Any, *edges: tuple[Tensor, Rule, Any]) -> Tensor:
    """As `record`, for an output that shows its input's memory: changes in place are watched."""
    result = record(operation, output, *edges)
    if result.node is not None:
        result.node.memory = weakref.ref(result.data)
    return result


def operands(a: Any, b: Any, operation: str = "operation") -> tuple[Tensor, Tensor]:
    """Two operands of one type: a Python number takes the other's, tensors are promoted.

    Raises:
        TypeError: if they are on different devices, or hold no numbers.
        ValueError: if an integer is too large, or negative, for the tensor's type.
    """
    if isinstance(b, _NUMBERS) and not isinstance(a, _NUMBERS):
        return _beside_number(as_tensor(a), b, operation)
    if isinstance(a, _NUMBERS) and not isinstance(b, _NUMBERS):
        b, a = _beside_number(as_tensor(b), a, operation)
        return a, b
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and _on_cpu(a, b)):
        a, b = together(operation, a, b)
    if a.data.dtype is not b.data.dtype:
        common = dtypes.promote(a.dtype, b.dtype, not a.ndim, not b.ndim)
        a, b = a.to(common), b.to(common)
    return a, b


_NUMBERS = (float, int, bool)


def _on_cpu(a: Tensor, b: Tensor) -> bool:
    return a.data.__class__ is ndarray and b.data.__class__ is ndarray


def _beside_number(x: Tensor, number: float, operation: str) -> tuple[Tensor, Tensor]:
    """A tensor and a Python number of its type, unless the number's kind is higher."""
    dtype = x.data.dtype
    if dtype.kind not in "fc":
        if isinstance(number, float):
            dtype = dtypes.get_default_dtype()
        elif dtype.kind == "b" and not isinstance(number, bool):
            dtype = dtypes.int64
        x = x.to(dtype)
    try:
        if x.data.__class__ is ndarray and number:  # 0.0 and -0.0 are the same key, but not equal
            return x, _constant(number, dtype)
        value = np.asarray(number, dtype)  # refuses what does not fit
        if x.data.__class__ is ndarray:
            return x, wrap(value)
        return x, wrap(array_module(x.data).full((), value.item(), dtype))  # no copy to the GPU
    except OverflowError:
        raise ValueError(f"{operation}: the number {number} does not fit into {dtype}") from None


@functools.lru_cache(256)
def _constant(number: float, dtype: np.dtype[Any]) -> Tensor:
    """A read-only tensor without dimensions; programs use the same few numbers again and again."""
    array = np.array(number, dtype)
    array.flags.writeable = False
    return wrap(array)
