"""Functions of functions: derivatives of a function of tensors, by its inputs.

Named and called as in `torch.autograd.functional`: `inputs` is one tensor or a tuple of them, and
what comes back has the same structure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from minigrad_kernels.arrays import array_module

from . import autograd, ops, random
from .arguments import integer
from .graph import Clock, Leaf, mode, modified, used_from_before
from .recording import record
from .tensor import Tensor, as_tensor, together, wrap

TensorFunction = Callable[..., Any]


def value_and_grad(
    function: TensorFunction, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the value of `function` and its gradient by some of its arguments.

    Args:
        function: returns a tensor of one element, or with `has_aux` a pair (that, anything).
        argnums: the position of the argument to differentiate by, or several.
        has_aux: whether `function` returns something beside its value.

    >>> import minigrad as mg
    >>> value_and_grad(lambda x: (x * x).sum())(mg.tensor([1.0, 2.0]))
    (tensor(5.), tensor([2., 4.]))
    """
    positions = tuple(
        integer(i, "value_and_grad", "argnums")
        for i in (argnums if isinstance(argnums, (tuple, list)) else (argnums,))
    )

    def value_and_gradient(*args: Any, **options: Any) -> Any:
        for i in positions:
            if not -len(args) <= i < len(args):
                raise ValueError(f"value_and_grad: argnums names {i}, there are {len(args)} args")
        replaced = list(args)
        with modified(recording=True):
            for i in positions:
                replaced[i] = as_tensor(args[i]).detach().requires_grad_()
            result = function(*replaced, **options)
        value, aux = result if has_aux else (result, None)
        if not isinstance(value, Tensor):
            raise TypeError(f"value_and_grad: the function returned {type(value).__name__}")
        variables = [replaced[i] for i in positions]
        found = _gradients([value], variables, None, create_graph=False)
        gradients = found if isinstance(argnums, (tuple, list)) else found[0]
        value = value.detach()
        return ((value, aux), gradients) if has_aux else (value, gradients)

    return value_and_gradient


def vjp(
    func: TensorFunction, inputs: Any, v: Any = None, create_graph: bool = False
) -> tuple[Any, Any]:
    """The value of `func(*inputs)` and the product of `v` with its Jacobian, vᵀJ.

    Args:
        func: a function of tensors that returns a tensor or several.
        inputs: a tensor, or a tuple of tensors.
        v: one cotangent for each output; None is 1, for an output of one element.
        create_graph: record, so that the product can be differentiated.
    """
    variables, outputs, y = _evaluate("vjp", func, inputs, create_graph)
    found = _gradients(outputs, variables, _vectors("vjp", v, outputs, _is_many(y)), create_graph)
    return _released(y, create_graph), _as_given(found, inputs)


def jvp(
    func: TensorFunction, inputs: Any, v: Any = None, create_graph: bool = False
) -> tuple[Any, Any]:
    """The value of `func(*inputs)` and the product of its Jacobian with `v`, Jv: forward mode.

    It needs no rules of its own: uᵀJ is linear in u, and its derivative by u is J, so two passes
    of backward give Jv (J. Townsend, "A new trick for calculating Jacobian vector products", 2017).

    Args:
        func: a function of tensors that returns a tensor or several.
        inputs: a tensor, or a tuple of tensors.
        v: one tangent for each input; None is 1, for an input of one element.
        create_graph: record, so that the product can be differentiated.
    """
    variables, outputs, y = _evaluate("jvp", func, inputs, create_graph)
    tangents = _vectors("jvp", v, variables, _is_many(inputs))
    with modified(recording=True):
        dummies = [wrap(_zeros(o)).requires_grad_() for o in outputs]
        pulled = _gradients(outputs, variables, dummies, create_graph=True)
        found = _gradients(pulled, dummies, tangents, create_graph)
    return _released(y, create_graph), _as_given(found, y)


def hvp(
    func: TensorFunction, inputs: Any, v: Any = None, create_graph: bool = False
) -> tuple[Any, Any]:
    """The value of `func(*inputs)`, one number, and the product of its Hessian with `v`.

    The Hessian is symmetric, so this is the derivative of ⟨gradient, v⟩, one more backward pass.
    """
    variables, outputs, y = _evaluate("hvp", func, inputs, create_graph)
    _check_scalar("hvp", outputs)
    with modified(recording=True):
        gradients = _gradients(outputs, variables, None, create_graph=True)
        found = _gradients(
            gradients, variables, _vectors("hvp", v, variables, _is_many(inputs)), create_graph
        )
    return _released(y, create_graph), _as_given(found, inputs)


def jacobian(func: TensorFunction, inputs: Any, create_graph: bool = False) -> Any:
    """All derivatives of every output entry by every input entry.

    Returns:
        a tensor of shape output.shape + input.shape; with several inputs a tuple of them, with
        several outputs a tuple over outputs of that.
    """
    variables, outputs, y = _evaluate("jacobian", func, inputs, create_graph)
    rows = []
    for output in outputs:
        per_entry: list[list[Tensor]] = []
        for i in range(output.numel()):
            one_hot = _zeros(output)
            one_hot.reshape(-1)[i] = 1
            per_entry.append(
                _gradients([output], variables, [wrap(one_hot)], create_graph, retain=True)
            )
        blocks = []
        for j, x in enumerate(variables):
            shape = output.shape + x.shape
            if per_entry:
                columns = ops.stack([entry[j] for entry in per_entry])
                blocks.append(ops.reshape(columns, shape))
            else:
                blocks.append(wrap(array_module(x.data).zeros(shape, x.dtype)))
        rows.append(_as_given(blocks, inputs))
    return tuple(rows) if _is_many(y) else rows[0]


def hessian(func: TensorFunction, inputs: Any, create_graph: bool = False) -> Any:
    """All second derivatives of a function that returns one number.

    Returns:
        a tensor of shape input.shape + input.shape; with several inputs a tuple of tuples.
    """

    def gradient(*xs: Tensor) -> Any:
        outputs = _outputs("hessian", func(*xs))
        _check_scalar("hessian", outputs)
        found = _gradients(outputs, list(xs), None, create_graph=True)
        return _as_given(found, inputs)

    return jacobian(gradient, inputs, create_graph)


# Recomputing instead of keeping


class _Pass(threading.local):
    """The gradients that a pass found in one replay, and how many rules will still ask."""

    cotangent: Any = None
    found: Sequence[Any] = ()
    left = 0


class _Replay:
    """Computes a checkpointed function again, with all its gradients, once in a pass."""

    def __init__(self, function: TensorFunction, args: tuple[Any, ...], options: Any) -> None:
        self.function, self.options = function, options
        self.inputs = {i: a for i, a in enumerate(args) if _is_variable(a)}
        self.constants = {i: a for i, a in enumerate(args) if not _is_variable(a)}
        self.outside: list[Any] = []  # nodes, not among the inputs, that the function depends on
        self.random_state = random.default_generator.get_state()
        self.uses = 0
        self._pass = _Pass()

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """The function's value at these tensors in place of its inputs."""
        args = {**self.constants, **dict(zip(self.inputs, inputs, strict=True))}
        y = self.function(*(args[i] for i in sorted(args)), **self.options)
        if not isinstance(y, Tensor):
            raise TypeError(
                f"checkpoint: the function must return one tensor, not {type(y).__name__}"
            )
        return y

    def gradient(self, position: int, g: Any, kept: Sequence[Any]) -> Any:
        """The gradient of one input or outside node, for the cotangent `g`."""
        now = self._pass
        if now.cotangent is not g:
            now.cotangent, now.found, now.left = g, self._all_gradients(g, kept), self.uses
        found = now.found[position]
        now.left -= 1
        if not now.left:
            now.cotangent, now.found = None, []
        return found

    def _all_gradients(self, g: Any, kept: Sequence[Any]) -> list[Any]:
        create_graph = isinstance(g, Tensor)
        kept = kept[: len(self.inputs)]
        xs = [k if create_graph else wrap(k).requires_grad_() for k in kept]
        now = random.default_generator.get_state()
        random.default_generator.set_state(self.random_state)
        try:
            with modified(recording=True):
                y = self.run(xs)
        finally:
            random.default_generator.set_state(now)
        nodes = [*(x.node for x in xs), *self.outside]
        found = autograd.gradients_of_nodes(y, g, nodes, create_graph)
        shapes = [node.shape for node in nodes]
        return [
            array_module(y.data).zeros(shape, y.dtype) if c is None else c
            for c, shape in zip(found, shapes, strict=True)
        ]


def checkpoint(function: TensorFunction, *args: Any, **options: Any) -> Tensor:
    """`function(*args)`, of which backward keeps only the inputs and computes the rest again.

    Memory for time: T. Chen et al., "Training deep nets with sublinear memory cost", 2016. Random
    numbers drawn inside are the same again. Tensors that the function uses without getting them as
    arguments, such as the parameters of a module, get their gradients too.

    Args:
        function: takes the arguments, returns one tensor; it must have no side effects.

    Raises:
        TypeError: if the function returns anything but one tensor.
    """
    replay = _Replay(function, args, options)
    if not mode.recording:
        return replay.run(list(replay.inputs.values()))
    start = Clock.tick()
    fresh = [a.detach().requires_grad_() for a in replay.inputs.values()]
    y = replay.run(fresh)
    if y.node is None:
        return y
    replay.outside = used_from_before(y.node, start)
    parameters = [node.tensor() for node in replay.outside if isinstance(node, Leaf)]
    kept = (*replay.inputs.values(), *(p for p in parameters if p is not None))
    targets = [*replay.inputs.values(), *(wrap(y.data, node) for node in replay.outside)]
    replay.uses = len(targets)

    def rule(position: int) -> Any:
        return lambda g, *kept: replay.gradient(position, g, kept)

    return record(checkpoint, y.data, *((x, rule(i), kept) for i, x in enumerate(targets)))


# Shared steps


def _is_many(x: Any) -> bool:
    return isinstance(x, (tuple, list))


def _is_variable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _outputs(caller: str, y: Any) -> list[Tensor]:
    outputs = list(y) if _is_many(y) else [y]
    for output in outputs:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{caller}: the function must return tensors, not {type(output).__name__}"
            )
    return outputs


def _evaluate(
    caller: str, func: TensorFunction, inputs: Any, create_graph: bool
) -> tuple[list[Tensor], list[Tensor], Any]:
    """The inputs as variables, the outputs as a list, and the outputs as they came."""
    given = inputs if _is_many(inputs) else (inputs,)
    variables = []
    for i, x in enumerate(given):
        x = as_tensor(x)
        if not x.is_floating_point():
            raise TypeError(
                f"{caller}: input {i} is {x.dtype}; derivatives need floating-point inputs"
            )
        # With create_graph the derivative stays connected to the caller's own graph.
        keep = create_graph and x.requires_grad
        variables.append(x if keep else x.detach().requires_grad_())
    with modified(recording=True):
        y = func(*variables)
    return variables, _outputs(caller, y), y


def _check_scalar(caller: str, outputs: list[Tensor]) -> None:
    if len(outputs) != 1 or outputs[0].numel() != 1:
        shapes = ", ".join(str(o.shape) for o in outputs)
        raise ValueError(f"{caller}: the function must return one number, it returned {shapes}")


def _vectors(caller: str, v: Any, like: list[Tensor], many: bool) -> list[Tensor]:
    """One vector for each tensor in `like`, of its shape and type."""
    if v is None:
        if any(x.numel() != 1 for x in like):
            raise ValueError(f"{caller}: v can be left out only for tensors of one element")
        return [wrap(array_module(x.data).ones(x.shape, x.dtype)) for x in like]
    vectors = list(v) if many else [v]
    if len(vectors) != len(like):
        raise ValueError(f"{caller}: v has {len(vectors)} tensors, wanted {len(like)}")
    found = []
    for u, x in zip(vectors, like, strict=True):
        u = together(caller, x, u)[1].to(x.dtype)
        if u.shape != x.shape:
            raise ValueError(f"{caller}: v has shape {u.shape}, wanted {x.shape}")
        found.append(u)
    return found


def _gradients(
    outputs: Sequence[Tensor],
    variables: Sequence[Tensor],
    vectors: Sequence[Tensor] | None,
    create_graph: bool,
    retain: bool | None = None,
) -> list[Tensor]:
    """`grad`, with zeros where an output does not depend on a variable."""
    pairs = [
        (o, None if vectors is None else vectors[i])
        for i, o in enumerate(outputs)
        if o.requires_grad
    ]
    if not pairs:
        return [wrap(_zeros(x)) for x in variables]
    found = autograd.grad(
        [o for o, _ in pairs],
        variables,
        [u for _, u in pairs],
        retain_graph=True if retain or create_graph else retain,
        create_graph=create_graph,
        allow_unused=True,
    )
    return [wrap(_zeros(x)) if g is None else g for x, g in zip(variables, found, strict=True)]


def _zeros(x: Tensor) -> Any:
    return array_module(x.data).zeros(x.shape, x.dtype)


def _released(y: Any, create_graph: bool) -> Any:
    if create_graph:
        return y
    return tuple(o.detach() for o in y) if _is_many(y) else y.detach()


def _as_given(found: Sequence[Tensor], like: Any) -> Any:
    return tuple(found) if _is_many(like) else found[0]
