"""What is to be broken: operations that are registered, by name or by module, or one function."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import ops as _registered_by_import  # noqa: F401
from ...nn.module import Module
from ...ops.registry import OPERATIONS, Drawn, Operation, Sample, real
from ..everything import registered_by
from ..modules import opened
from ..shapes import drawn

ENGINE = "engine"


@dataclass(frozen=True)
class Targets:
    """Which operations, in words that another process can be told.

    Attributes:
        names: of registered operations, or `engine`; none for all of them and the engine.
        modules: to be imported, for the operations that they register: then only those count.
        function: `package.module:function`, not registered, tried on the `inputs`.
        inputs: one for each of its arrays.
        options: its keyword arguments.
    """

    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    function: str = ""
    inputs: tuple[Drawn, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> bool:
        """Whether the engine's own mutants belong to it: by name, or since everything does."""
        return ENGINE in self.names or not (self.names or self.modules or self.function)

    def operations(self) -> dict[str, Operation]:
        """The operations, by name.

        Raises:
            ValueError: for names, modules or functions that there are not, or without operations.
        """
        if self.function:
            operation = _unregistered(self.function, Sample(self.inputs, self.options))
            return {operation.name: operation}
        for module in self.modules:
            _module(module)
        pool = dict(OPERATIONS)
        if self.modules:
            pool = {name: OPERATIONS[name] for name in registered_by(self.modules)}
        names = [name for name in self.names if name != ENGINE]
        if not pool:
            raise ValueError(
                f"mutate: {', '.join(self.modules)} registers no operations (with "
                "minigrad.ops.registry.differentiable); name a function as package.module:function "
                "instead, with the shapes of its inputs"
            )
        for name in names:
            if name not in pool:
                near = difflib.get_close_matches(name, pool, 3)
                hint = f"; did you mean {', '.join(near)}?" if near else ""
                raise ValueError(f"mutate: no operation {name!r} is registered{hint}")
        return {name: pool[name] for name in (names if self.names else pool)}


def targets(
    what: Sequence[str] = (),
    modules: Sequence[str] = (),
    shapes: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Targets:
    """From the words of a command: names of operations, or one function with its shapes.

    Raises:
        ValueError: if they do not fit together.

    >>> [d.shape for d in targets(["mypackage.layers:swish"], shapes="3x4,scalar").inputs]
    [(3, 4), ()]
    """
    functions = [w for w in what if ":" in w]
    if not functions:
        for given, name in ((shapes, "shapes"), (options, "options")):
            if given:
                raise ValueError(
                    f"mutate: {name} are for a function, named as package.module:function"
                )
        return Targets(tuple(dict.fromkeys(what)), tuple(modules))
    if len(what) > 1 or modules:
        raise ValueError("mutate: a function given as package.module:function stands alone")
    if shapes is None:
        raise ValueError(f"mutate: {functions[0]} wants the shapes of its inputs, such as 3x4,4x5")
    return Targets(function=functions[0], inputs=drawn(shapes), options=dict(options or {}))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"mutate: cannot import {name}: {error}") from error


def _of_module(found: Any, sample: Sample) -> tuple[Any, Sample]:
    """A module as a function of its parameters, too, which are drawn like its inputs.

    The options are those of the module's class, if it is named by that.
    """
    options = sample.options
    module = found(**options) if isinstance(found, type) else functools.partial(found, **options)
    function, arguments = opened(module, sample.args)
    parameters = [real(*p.shape) for p in arguments[len(sample.args) :]]
    return function, Sample((*sample.args, *parameters))


def _unregistered(name: str, sample: Sample) -> Operation:
    module, _, path = name.partition(":")
    found = _module(module)
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"mutate: {module} has no {path!r}")
        found = getattr(found, part)
    if isinstance(found, Module) or (isinstance(found, type) and issubclass(found, Module)):
        found, sample = _of_module(found, sample)
    if isinstance(found, type) or not callable(found) or not hasattr(found, "__name__"):
        raise ValueError(
            f"mutate: {name} is a {type(found).__name__}, wants a function of tensors: one whose "
            "rules go through minigrad.record, or a module that holds parameters"
        )
    # What kind of function it is nobody has said; central differences do for all of them.
    return Operation(found, (sample,), (), "smooth")
