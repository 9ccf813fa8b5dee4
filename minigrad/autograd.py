"""Asking for gradients: `backward` and `grad`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module, is_array
from minigrad_kernels.layout import copied
from minigrad_kernels.memory import offer, owns

from . import dtypes, flat, graph
from .graph import OUTPUT, Leaf, Node
from .memory import changed, check_unchanged
from .ops.reduce import total
from .tensor import Tensor, as_tensor, together, wrap

FEW = 4096
"""Elements up to which NumPy's sum is precise enough, and done before another one has begun."""


def _count(x: Any) -> int:
    return sys.getrefcount(x)


def _count_passed() -> int:
    x = object()
    return _count(x)


_PASSED = _count_passed()
"""References to an object that only the caller's variable holds, as the function it is passed to
counts them."""


class _ArrayValues:
    """How `graph.propagate` treats gradients that are bare arrays: a first-order pass."""

    ndarray = np.ndarray
    differentiable = False

    @staticmethod
    def settle(c: Any, node: Node) -> Any:
        """What a rule returned, as an array."""
        return c.data if isinstance(c, Tensor) else _array(c, node)

    @staticmethod
    def fit(c: Any, shape: tuple[int, ...], node: Node) -> Any:
        """Undo broadcasting."""
        axes = _broadcast_axes(c.shape, shape, node)
        if c.size > FEW or c.dtype == dtypes.float16:
            return total(c, axes, True).reshape(shape)
        return c.sum(axis=axes, keepdims=True).reshape(shape)

    @staticmethod
    def own(c: Any, g: Any, part: Any) -> Any:
        """An array that nobody else holds: rules may pass on what they got, or a view of it."""
        if c is g:
            return copied(c)
        if not owns(c):
            return flat.unshared(c, part)
        known = _PASSED + (part is not None and c is part.grad)
        return copied(c) if sys.getrefcount(c) > known else c  # a rule may return what it kept

    @staticmethod
    def offer(*parts: Any) -> None:
        """Let kernels write the gradients of leaves straight to the memory set aside for them."""
        offer(*[None if part is None else part.vacant() for part in parts])

    @staticmethod
    def load(kept: tuple[Any, ...], node: Node) -> list[Any]:
        """What a rule gets of the several values that its edge keeps."""
        return [k if k is None else node.output if k is OUTPUT else k.data for k in kept]

    @staticmethod
    def hooked(g: Any, node: Node) -> Any:
        g = _run_hooks(wrap(g), node).data
        return copied(g) if node.__class__ is Leaf else g  # hooks may keep what they saw

    check_finite = staticmethod(lambda c, node: _check_finite(c, node))
    check_unchanged = staticmethod(check_unchanged)


class _TensorValues:
    """How `graph.propagate` treats gradients that are tensors: a pass that is itself recorded."""

    ndarray = Tensor
    differentiable = True
    offer = None

    @staticmethod
    def settle(c: Any, node: Node) -> Tensor:
        return c if isinstance(c, Tensor) else wrap(_array(c, node))

    @staticmethod
    def fit(c: Tensor, shape: tuple[int, ...], node: Node) -> Tensor:
        axes = _broadcast_axes(c.shape, shape, node)
        return c.sum(axes, keepdim=True).reshape(shape)

    @staticmethod
    def own(c: Tensor, g: Tensor, _: None) -> Tensor:
        shared = c is g or sys.getrefcount(c) > _PASSED or not owns(c.data)
        return wrap(copied(c.data), c.node) if shared else c

    @staticmethod
    def load(kept: tuple[Any, ...], node: Node) -> list[Any]:
        return [wrap(node.output, node) if k is OUTPUT else k for k in kept]

    @staticmethod
    def output(node: Node) -> Tensor:
        return wrap(node.output, node)

    @staticmethod
    def hooked(g: Tensor, node: Node) -> Tensor:
        g = _run_hooks(g, node)
        return wrap(copied(g.data), g.node) if node.__class__ is Leaf else g

    check_finite = staticmethod(lambda c, node: _check_finite(c.data, node))
    check_unchanged = staticmethod(check_unchanged)


def _broadcast_axes(shape: tuple[int, ...], wanted: tuple[int, ...], node: Node) -> tuple[int, ...]:
    """The axes over which a gradient of `shape` is summed to become one of shape `wanted`."""
    extra = len(shape) - len(wanted)
    if extra < 0 or any(n != w and w != 1 for n, w in zip(shape[extra:], wanted, strict=True)):
        raise ValueError(
            f"backward: a rule of {node.name} (called at {node.where()}) returned a gradient of "
            f"shape {shape} for an input of shape {wanted}"
        )
    repeated = (i + extra for i, w in enumerate(wanted) if w == 1 and shape[i + extra] != 1)
    return (*range(extra), *repeated)


def _array(c: Any, node: Node) -> Any:
    if is_array(c):
        return c
    array = np.asarray(c)
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"backward: a rule of {node.name} (called at {node.where()}) returned "
            f"{type(c).__name__}, wanted an array or a tensor"
        )
    return array


def _run_hooks(g: Tensor, node: Node) -> Tensor:
    for hook in list(node.hooks or ()):
        replaced = hook(g)
        if replaced is not None:
            g = _replacement(replaced, g, node)
    return g


def _replacement(replaced: Any, g: Tensor, node: Node) -> Tensor:
    """What a hook returned, in place of the gradient `g`."""
    try:
        new = as_tensor(replaced)
    except TypeError:
        raise TypeError(
            f"hook on {node.name}: returned {type(replaced).__name__}, wanted a tensor or None"
        ) from None
    new = together(f"hook on {node.name}", g, replaced)[1]
    if new.shape != node.shape:
        raise ValueError(
            f"hook on {node.name}: returned shape {new.shape} for a gradient of shape {node.shape}"
        )
    if dtypes.category(new.dtype) > dtypes.category(g.dtype):
        raise TypeError(f"hook on {node.name}: returned {new.dtype} for a gradient of {g.dtype}")
    return new.to(g.dtype)


def _check_finite(c: Any, node: Node) -> None:
    if not array_module(c).isfinite(c).all():
        kind = "NaN" if array_module(c).isnan(c).any() else "infinite"
        raise FloatingPointError(
            f"backward: the gradient rule of {node.name}, called at {node.where()}, returned "
            f"{kind} values"
        )


def _seed(y: Any, gradient: Any, caller: str) -> tuple[Node, Tensor]:
    if not isinstance(y, Tensor):
        raise TypeError(f"{caller}: outputs must be tensors, got {type(y).__name__}")
    if y.node is None:
        raise ValueError(
            f"{caller}: the output of shape {y.shape} does not depend on any tensor that requires "
            "a gradient (or was computed under no_grad)"
        )
    if gradient is None:
        if y.data.size != 1:
            raise ValueError(
                f"{caller}: an output of shape {y.shape} needs a gradient to start from; pass "
                "`gradient` of the same shape, or reduce it to one number"
            )
        return y.node, wrap(array_module(y.data).ones(y.shape, y.dtype))
    gradient = together(caller, y, gradient)[1]
    if gradient.shape != y.shape:
        raise ValueError(f"{caller}: the gradient has shape {gradient.shape}, the output {y.shape}")
    if dtypes.category(gradient.dtype) > dtypes.category(y.dtype):
        raise TypeError(f"{caller}: the gradient is {gradient.dtype}, the output {y.dtype}")
    return y.node, gradient if gradient.dtype is y.dtype else gradient.to(y.dtype)


def _run(
    outputs: Sequence[Tensor],
    gradients: Sequence[Any] | None,
    caller: str,
    retain_graph: bool | None,
    create_graph: bool,
    wanted: list[Node] | None = None,
    beyond_wanted: bool = True,
) -> dict[Node, Any]:
    """Check and seed a pass, and run it: the gradient of each leaf, or of each wanted node."""
    if gradients is None and isinstance(outputs, (list, tuple)):
        gradients = [None] * len(outputs)
    for name, given in (("outputs", outputs), ("gradients", gradients)):
        if not isinstance(given, (list, tuple)):
            raise TypeError(
                f"{caller}: {name} must be a list or tuple of tensors, got {type(given).__name__}"
            )
    assert gradients is not None
    if len(gradients) != len(outputs):
        raise ValueError(f"{caller}: {len(outputs)} outputs but {len(gradients)} gradients")
    seeds: dict[Node, Any] = {}
    for y, gradient in zip(outputs, gradients, strict=True):
        node, g = _seed(y, gradient, caller)
        if isinstance(node, Leaf) or (wanted is not None and node in wanted):
            g = g.clone() if create_graph else wrap(copied(g.data))  # it becomes a result
        value = g if create_graph else g.data
        if node in seeds:
            value = seeds[node] + value
            if not create_graph:
                value = array_module(g.data).asarray(value)  # NumPy may give a number
        seeds[node] = value
    values: Any = _TensorValues if create_graph else _ArrayValues
    retain = create_graph if retain_graph is None else retain_graph
    before = graph.mode.set(recording=create_graph)
    try:
        return graph.propagate(seeds, values, retain, wanted, beyond_wanted)
    finally:
        graph.mode.set(**before)
        offer()  # a rule may have raised


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add to `grad` of every leaf the derivative of the sum of the tensors times their gradients.

    Args:
        tensors: one tensor or several.
        grad_tensors: the cotangent of each, of the same shape; None is 1, for one-element tensors.
        retain_graph: keep the graph for another pass; None keeps it with `create_graph` only.
        create_graph: record the pass itself, so that the gradients can be differentiated.

    Raises:
        ValueError: if a tensor depends on nothing that requires a gradient, or has more than one
            element and no gradient, or a gradient of another shape.
        RuntimeError: if the graph was freed, or a kept tensor was changed in place. In all cases
            before any `grad` is changed.
    """
    if isinstance(tensors, Tensor):
        tensors, grad_tensors = [tensors], [grad_tensors]

    found = _run(tensors, grad_tensors, "backward", retain_graph, create_graph)
    triples: list[Any] = [(leaf.tensor(), leaf, g) for leaf, g in found.items()]  # type: ignore[attr-defined]
    del found  # nobody else shall hold the gradients
    with _accumulating:
        for x, _, g in triples:
            if x is not None:
                _check_accumulation(x, g)
        for x, leaf, g in triples:
            if x is not None:
                _accumulate(x, g, leaf.place)


_accumulating = threading.RLock()  # two passes may reach one leaf at the same time


def _check_accumulation(x: Tensor, g: Any) -> None:
    """Refuse what could not be added to `x.grad`, or only with a part of it lost."""
    if g.dtype.kind == "c":
        raise TypeError(f"backward: a rule gave a gradient of {g.dtype} for a leaf of {x.dtype}")
    grad: Any = x.grad
    if grad is None:
        return
    if not isinstance(grad, Tensor):
        raise TypeError(f"backward: `grad` of a leaf must be a tensor, got {type(grad).__name__}")
    if grad.shape != g.shape:
        raise ValueError(
            f"backward: `grad` of a leaf has shape {grad.shape}, its gradient {g.shape}"
        )
    if not grad.is_floating_point():
        raise TypeError(f"backward: `grad` of a leaf holds {grad.dtype}, its gradient {g.dtype}")


def _accumulate(x: Tensor, g: Any, place: Any) -> None:
    """Add a gradient to `x.grad`: an array, or a tensor that is itself part of a graph."""
    if isinstance(g, Tensor):
        x.grad = g if x.grad is None else x.grad + g
    elif x.grad is None:
        if g.dtype is not x.data.dtype:
            g = g.astype(x.dtype)
        part = None if place is None else place()
        x.grad = wrap(g if part is None else part.placed(g))
    elif x.grad.node is None:
        x.grad.data += g
        changed(x.grad.data, "backward")
    else:
        x.grad = wrap(array_module(g).asarray(x.grad.data + g))  # NumPy may give a number


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The derivatives of the outputs' weighted sum with respect to each input; `grad` is untouched.

    Args:
        outputs: one tensor or several.
        inputs: the tensors to differentiate by, leaves or not.
        grad_outputs: the cotangent of each output; None is 1, for one-element outputs.
        retain_graph: keep the graph for another pass; None keeps it with `create_graph` only.
        create_graph: record the pass itself, so that the gradients can be differentiated.
        allow_unused: give None for an input that the outputs do not depend on.

    Raises:
        ValueError: as `backward`; or if an input requires no gradient, or is unused.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (slope,) = mg.grad(x**3, x, create_graph=True)
    >>> mg.grad(slope, x)
    (tensor(18.),)
    """
    if isinstance(outputs, Tensor):
        outputs = [outputs]
        grad_outputs = None if grad_outputs is None else [grad_outputs]
        if grad_outputs and isinstance(grad_outputs[0], (list, tuple)):
            (grad_outputs,) = grad_outputs
    if not isinstance(inputs, Iterable):
        raise TypeError(f"grad: inputs must be one tensor or several, got {type(inputs).__name__}")
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: inputs must be tensors, input {i} is {type(x).__name__}")
        if x.node is None:
            raise ValueError(f"grad: input {i} of shape {x.shape} does not require a gradient")
    if not inputs:
        raise ValueError("grad: no inputs to differentiate by")
    nodes: list[Any] = [x.node for x in inputs]
    found = _run(outputs, grad_outputs, "grad", retain_graph, create_graph, nodes)
    results: list[Tensor | None] = []
    taken: set[Node] = set()
    for i, (x, node) in enumerate(zip(inputs, nodes, strict=True)):
        g = found[node]
        if g is None:
            if not allow_unused:
                raise ValueError(
                    f"grad: the outputs do not depend on input {i} of shape {x.shape}; pass "
                    "allow_unused=True to get None for it"
                )
            results.append(None)
            continue
        g = g if create_graph else wrap(g if g.dtype is x.dtype else g.astype(x.dtype))
        results.append(g.clone() if node in taken else g)
        taken.add(node)
    return tuple(results)


# For functions that look into the graph


def gradients_of_nodes(
    y: Tensor, cotangent: Any, nodes: list[Node], create_graph: bool
) -> list[Any]:
    """The gradient of each node, None where `y` does not depend on it.

    The graph is kept. The nodes are treated as leaves: going on from there, and calling their
    hooks, is left to the pass of which this is one step.
    """
    if y.node is None:
        return [None] * len(nodes)
    found = _run([y], [cotangent], "checkpoint", True, create_graph, nodes, beyond_wanted=False)
    return [found[node] for node in nodes]
