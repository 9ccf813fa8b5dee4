"""Module: a part of a network, which knows its parameters and the smaller modules in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minigrad_kernels.arrays import array_module

from .. import dtypes, ops
from ..device import gpu_name
from ..inplace import write
from ..tensor import RemovableHandle, Tensor, to_array, wrap
from .parameter import Parameter

M = TypeVar("M", bound="Module")


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find in the state, and what it found no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A part of a network: a function with parameters, built of smaller modules.

    Subclass it, assign parameters and modules to attributes, and define `forward`. Everything else
    follows from the attributes: a `Parameter` is trained, a `Module` is a child, a tensor that was
    registered by `register_buffer` is saved and moved but not trained.

    >>> from minigrad import nn
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return self.inner(self.inner(x))
    >>> [name for name, _ in Twice().named_parameters()]
    ['inner.weight', 'inner.bias']

    Attributes:
        training: whether layers such as dropout behave as in training; see `train` and `eval`.
    """

    training: bool
    _persistence: dict[str, bool]  # name of each buffer -> is it part of the state?
    _pre_hooks: list[Callable[..., Any]]
    _hooks: list[Callable[..., Any]]

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Make an empty module; here, so that a subclass may forget `super().__init__()`."""
        self = super().__new__(cls)
        self.__dict__.update(training=True, _persistence={}, _pre_hooks=[], _hooks=[])
        return self

    def __init__(self) -> None:
        pass

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the module computes. Call the module itself, which also runs its hooks."""
        raise NotImplementedError(f"{type(self).__name__}: the module does not define forward()")

    def __call__(self, *args: Any, **options: Any) -> Any:
        """`forward`, with the hooks before and after it."""
        for pre_hook in list(self._pre_hooks):
            replaced = pre_hook(self, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
        output = self.forward(*args, **options)
        for hook in list(self._hooks):
            replaced = hook(self, args, output)
            if replaced is not None:
                output = replaced
        return output

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        held = self.__dict__.get(name)
        for kind in (Parameter, Module):
            if isinstance(held, kind) and not isinstance(value, (kind, type(None))):
                self._refuse(name, kind.__name__, value)
        if name in self._persistence and not isinstance(value, (Tensor, type(None))):
            self._refuse(name, "buffer, a Tensor", value)
        if isinstance(value, Module) and any(m is self for m in value.modules()):
            raise ValueError(
                f"{type(self).__name__}.{name}: a module cannot be a part of itself, and the "
                f"assigned {type(value).__name__} contains this one"
            )
        if isinstance(value, (Parameter, Module)):
            self._persistence.pop(name, None)
        super().__setattr__(name, value)

    def _refuse(self, name: str, kind: str, value: Any) -> None:
        raise TypeError(
            f"{type(self).__name__}.{name}: is a {kind}; it can be replaced by another or by None, "
            f"not by {type(value).__name__}"
        )

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._persistence.pop(name, None)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Assign a parameter to the attribute `name`; None for one that this module does without.

        Raises:
            TypeError: if it is not a `Parameter`.
            ValueError: if the name cannot be used, or is taken by something else.
        """
        if not isinstance(param, (Parameter, type(None))):
            raise TypeError(
                f"register_parameter: {name!r} must be a Parameter or None, got "
                f"{type(param).__name__}"
            )
        self._check_name("register_parameter", name, Parameter)
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Assign a tensor that is not trained, such as a running mean, to the attribute `name`.

        Args:
            name: the attribute.
            tensor: its value; None for one that is not there yet.
            persistent: whether it is part of `state_dict`.

        Raises:
            TypeError: if it is not a tensor.
            ValueError: if the name cannot be used, or is taken by something else.
        """
        if not isinstance(tensor, (Tensor, type(None))) or isinstance(tensor, Parameter):
            raise TypeError(
                f"register_buffer: {name!r} must be a Tensor or None, and no Parameter; got "
                f"{type(tensor).__name__}"
            )
        if name not in self._persistence:
            self._check_name("register_buffer", name, None)
        self._persistence[name] = persistent
        setattr(self, name, tensor)

    def register_module(self, name: str, module: Module | None) -> None:
        """Assign a child to the attribute `name`, which need not be an identifier.

        Raises:
            TypeError: if it is not a `Module`.
            ValueError: if the name cannot be used, or is taken by something else.
        """
        if not isinstance(module, (Module, type(None))):
            raise TypeError(
                f"register_module: {name!r} must be a Module or None, got {type(module).__name__}"
            )
        self._check_name("register_module", name, Module)
        setattr(self, name, module)

    add_module = register_module

    def _check_name(self, caller: str, name: str, kind: type | None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{caller}: the name must be a string, got {type(name).__name__}")
        if not name or "." in name:
            raise ValueError(f"{caller}: the name {name!r} is empty or contains a dot")
        held = getattr(self, name, None)
        if held is not None and (kind is None or not isinstance(held, kind)):
            raise ValueError(f"{caller}: {type(self).__name__} already has an attribute {name!r}")

    # What it holds

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Its children, in order of assignment, each once."""
        seen: set[int] = set()
        for name, value in list(self.__dict__.items()):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        """Its children, without their names."""
        return (child for _, child in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Itself, its children, their children and so on, with dotted names; shared ones once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, value in list(self.__dict__.items()):
            if isinstance(value, Module):
                yield from value.named_modules(memo, _dotted(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Itself, its children, their children and so on, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Its parameters and its children's, with dotted names; a shared one once."""
        found = self._named_tensors(Module._own_parameters, prefix, recurse, remove_duplicate)
        return found  # type: ignore[return-value]

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Its parameters and its children's, each once: what an optimizer takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Its buffers and its children's, with dotted names; a shared one once."""
        return self._named_tensors(Module._own_buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Its buffers and its children's, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _own_parameters(self) -> Iterator[tuple[str, Tensor]]:
        return ((k, v) for k, v in list(self.__dict__.items()) if isinstance(v, Parameter))

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        values = ((name, self.__dict__[name]) for name in list(self._persistence))
        return ((name, value) for name, value in values if value is not None)

    def _named_tensors(
        self,
        own: Callable[[Module], Iterator[tuple[str, Tensor]]],
        prefix: str,
        recurse: bool,
        remove_duplicate: bool,
    ) -> Iterator[tuple[str, Tensor]]:
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        seen: set[int] = set()
        for path, module in modules:
            for name, tensor in own(module):
                if id(tensor) not in seen:
                    if remove_duplicate:
                        seen.add(id(tensor))
                    yield _dotted(path, name), tensor

    # Its state

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """All parameters and persistent buffers by dotted name, as constants that share memory."""
        return {name: tensor.detach() for name, tensor in self._state(prefix)}

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(prefix=prefix, remove_duplicate=False):
            for name, tensor in module._own_parameters():
                yield _dotted(path, name), tensor
            for name, tensor in module._own_buffers():
                if module._persistence[name]:
                    yield _dotted(path, name), tensor

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy the numbers of a state, such as `state_dict` returns, into this module's tensors.

        Args:
            state_dict: tensors or arrays by dotted name.
            strict: whether the names must be exactly this module's.

        Returns:
            the names that were missing and those that were not expected; none if `strict`.

        Raises:
            TypeError: if it is not a mapping.
            ValueError: if names (with `strict`), shapes or kinds of number do not fit; the message
                lists them all, and nothing has been changed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"load_state_dict: wants a mapping of names to tensors, got "
                f"{type(state_dict).__name__}"
            )
        mine = dict(self._state())
        arrays = {name: to_array(state_dict[name]) for name in mine if name in state_dict}
        keys = IncompatibleKeys(
            [name for name in mine if name not in arrays],
            [name for name in state_dict if name not in mine],
        )
        problems = [_misfit(name, mine[name], array) for name, array in arrays.items()]
        problems = [problem for problem in problems if problem]
        if strict and keys.missing_keys:
            problems.append("missing: " + ", ".join(keys.missing_keys))
        if strict and keys.unexpected_keys:
            problems.append("unexpected: " + ", ".join(keys.unexpected_keys))
        if problems:
            raise ValueError(
                f"load_state_dict: the state does not fit {type(self).__name__}:\n  "
                + "\n  ".join(problems)
            )
        for name, array in arrays.items():
            write(mine[name], wrap(array).to(mine[name].device).data, "load_state_dict")
        return keys

    # Modes and types

    def train(self: M, mode: bool = True) -> M:
        """Set `training` here and in all modules below; returns itself."""
        if not isinstance(mode, (bool, np.bool_)):
            raise TypeError(f"train: mode must be True or False, got {mode!r}")
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """`train(False)`: dropout passes everything, batch norm uses its running statistics."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Train all its parameters, or freeze them; returns itself."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of its parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = wrap(array_module(parameter.data).zeros_like(parameter.data))

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` with every module, children before their parents; returns itself."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self: M, *target: Any, dtype: Any = None, device: Any = None) -> M:
        """Move its tensors to a device, or its floating-point tensors to a type; returns itself.

        Args:
            target: `"cpu"`, `"cuda"`, `"cuda:1"`, or a type, in any order.
            dtype: a floating-point type.
            device: a device.

        Raises:
            TypeError: if the type is not a floating-point type.
            ValueError: for an unknown device.
            RuntimeError: if there is no such GPU, or it cannot be used; the message says why.
        """
        for wish in target:
            if isinstance(wish, str):
                device = wish
            else:
                dtype = wish
        if dtype is not None and not dtypes.is_floating(np.dtype(dtype)):
            raise TypeError(f"Module.to: wants a floating-point type, got {np.dtype(dtype)}")

        def converted(x: Tensor) -> Tensor:
            kind = dtype if dtypes.is_floating(x.dtype) else None
            return ops.to(x.detach(), dtype=kind, device=device)

        tensors = [*self.parameters(), *self.buffers()]
        moved = [(converted(t), None if t.grad is None else converted(t.grad)) for t in tensors]
        for tensor, (new, grad) in zip(tensors, moved, strict=True):
            tensor.data, tensor.grad = new.data, grad
        return self

    def cuda(self: M, device: Any = None) -> M:
        """Move its tensors to a GPU: the first one, or that of a number or a name; see `to`."""
        return self.to(gpu_name(device))

    def cpu(self: M) -> M:
        """`to("cpu")`."""
        return self.to("cpu")

    def float(self: M) -> M:
        """`to(float32)`."""
        return self.to(dtype=dtypes.float32)

    def double(self: M) -> M:
        """`to(float64)`."""
        return self.to(dtype=dtypes.float64)

    def half(self: M) -> M:
        """`to(float16)`."""
        return self.to(dtype=dtypes.float16)

    # Hooks

    def register_forward_pre_hook(self, hook: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments."""
        return RemovableHandle(self._pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Any, Any, Any], Any]) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns replaces it."""
        return RemovableHandle(self._hooks, hook)

    # Text

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses, before the children."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [
            f"({name}): " + repr(value).replace("\n", "\n  ")
            for name, value in self.__dict__.items()
            if isinstance(value, Module)
        ]
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = [extra] * bool(extra) + children
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _misfit(name: str, tensor: Tensor, array: Any) -> str:
    """Why `array` cannot be copied into `tensor`; empty if it can."""
    if array.shape != tensor.shape:
        return f"{name}: has shape {tensor.shape}, the state has {array.shape}"
    if dtypes.category(array.dtype) > dtypes.category(tensor.dtype):
        return f"{name}: holds {tensor.dtype}, the state has {array.dtype}"
    return ""
