"""Modules as functions of their parameters, too: what a module's rules say of them is checked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn.module import Module
from ..tensor import Tensor
from .checker.functions import as_array


@dataclass(frozen=True)
class Opened:
    """A module that takes its inputs, and behind them the parameters that it is to compute with.

    What else it holds, frozen parameters and buffers, is given the precision of these, and their
    device. These are copies: what a call changes in them is forgotten.

    Attributes:
        call: the module, or a `functools.partial` of it.
        module: the module.
        parameters: the names of its parameters that are trained, in the order of their tensors.
        argument_labels: what to call each argument in a verdict.
    """

    call: Callable[..., Any]
    module: Module
    parameters: tuple[str, ...]
    argument_labels: tuple[str, ...]

    @property
    def __name__(self) -> str:
        """The module's class, for messages."""
        return type(self.module).__name__

    def __call__(self, *arguments: Any) -> Any:
        """Call the module with these inputs and parameters; afterwards it has its own again."""
        inputs = arguments[: len(arguments) - len(self.parameters)]
        given = dict(zip(self.parameters, arguments[len(inputs) :], strict=True))
        precision = np.finfo(arguments[-1].dtype).dtype  # of complex numbers that of their parts
        for name, own in _state(self.module).items():
            if name not in given:
                dtype = precision if own.dtype.kind == "f" else own.dtype
                moved = own.to(arguments[-1].device, dtype)
                # A copy, also of the same type: running statistics may be changed in place.
                given[name] = moved.clone() if moved is own else moved
        with holding(self.module, given):
            return self.call(*inputs)


def opened(fn: Any, inputs: Sequence[Any]) -> tuple[Any, list[Any]]:
    """For a module with parameters that are trained, it as a function of them and of its inputs.

    Parameters take the type of the inputs, if these have one: a module in single precision is
    given NumPy's numbers, which are of double precision.

    Args:
        fn: a module; or anything else, which is returned as it is.
        inputs: of the module.

    Returns:
        (the function, all that it is to be called with).

    Raises:
        TypeError: for a class of modules.

    >>> from minigrad import nn
    >>> fn, inputs = opened(nn.Linear(3, 2), [[1.0, 2.0, 3.0]])
    >>> fn.argument_labels
    ('input 0', 'parameter weight', 'parameter bias')
    """
    if isinstance(fn, type) and issubclass(fn, Module):
        raise TypeError(
            f"gradcheck: {fn.__name__} is a class of modules, wants one of them: {fn.__name__}(...)"
        )
    module = fn.func if isinstance(fn, functools.partial) else fn
    if not isinstance(module, Module):
        return fn, list(inputs)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trained:
        return fn, list(inputs)
    labels = [f"input {i}" for i in range(len(inputs))] + [f"parameter {n}" for n in trained]
    arrays = [x for x in map(as_array, inputs) if x is not None]
    types = {x.dtype for x in arrays if x.dtype.kind == "f"}
    given = [p.detach().to(*types) if len(types) == 1 else p for p in trained.values()]
    return Opened(fn, module, tuple(trained), tuple(labels)), [*inputs, *given]


@contextmanager
def holding(module: Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """A module computes with these tensors in the places of its parameters and buffers meanwhile.

    Args:
        module: which.
        tensors: by the names of `named_parameters` and `named_buffers`; what the module holds in
            several places has one name.
    """
    state = _state(module)
    new = {id(state[name]): tensor for name, tensor in tensors.items()}
    places: list[tuple[dict[str, Any], str, Tensor]] = [
        (part.__dict__, name, value)
        for part in module.modules()
        for name, value in part.__dict__.items()
        if isinstance(value, Tensor) and id(value) in new
    ]
    try:
        for attributes, name, own in places:  # a module refuses what is no Parameter
            attributes[name] = new[id(own)]
        yield
    finally:
        for attributes, name, own in places:
            attributes[name] = own


def _state(module: Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
