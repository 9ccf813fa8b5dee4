"""Functions as Python text: imported where they can be, else written with what they refer to."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import dis
import functools
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ... import ops
from ...nn.parameter import Parameter
from ...ops.registry import OPERATIONS, Operation
from ...tensor import Tensor
from ..calls import Call
from .literals import Numbers, Unwritable
from .objects import Objects

_RESERVED = (
    *("main", "sys", "gradcheck", "gradcheck_on"),
    *("strided", "unpacked", "restored", "inf", "nan"),
)
"""Names that the script gives to its own things."""


class Source:
    """Collects the imports and definitions that expressions need.

    Ask for expressions (`function`, `value`), then for the `lines` that make them work.
    """

    def __init__(self) -> None:
        self.numbers = Numbers()
        self._folders: dict[str, None] = {}
        self._definitions: list[str] = []
        self._names: dict[str, Any] = {name: self for name in _RESERVED}
        self._names |= {"np": np, "mg": sys.modules["minigrad"], "sys": sys}
        self._objects = Objects(self.value, self._defined, self._names.__contains__)

    def lines(self, imports: Sequence[str]) -> Iterator[str]:
        """Imports, these included, and definitions."""
        modules = sorted({*imports, *self.numbers.imports}, key=_import_order)
        if self._folders:
            yield "import sys"
            yield ""
            yield from (f"sys.path.insert(0, {folder!r})" for folder in self._folders)
            yield ""
            modules.remove("import sys")
        yield from modules
        yield ""
        helpers = (*self.numbers.helpers(), *self._objects.helpers)
        for definition in (*helpers, *self._definitions):
            yield ""
            yield definition
            yield ""
        yield ""

    def value(self, value: Any) -> str:
        """An expression for a value: a function, an object made of fields, or a literal.

        Raises:
            Unwritable: if there is none.
        """
        if type(value) in (list, tuple):
            inside = [self.value(v) for v in value]
            if type(value) is list:
                return f"[{', '.join(inside)}]"
            return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"
        if type(value) is dict:
            pairs = (f"{self.numbers.key(k)}: {self.value(v)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
        if isinstance(value, Parameter):
            return self._objects.parameter(value, "parameter")
        if isinstance(value, Operation) and OPERATIONS.get(value.name) is value:
            self.numbers.imports.add("from minigrad.ops.registry import OPERATIONS")
            return f"OPERATIONS[{value.name!r}]"
        if callable(value) and not isinstance(value, (type, np.generic)):
            return self.function(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._fields(value)
        if _is_object(value):
            return self._objects.name(value, self._imported(type(value)))
        return self.numbers.literal(value)

    def function(self, fn: Any) -> str:
        """An expression for a function, or for a pair of them.

        Raises:
            Unwritable: if there is none; the message says why.
        """
        if isinstance(fn, tuple):
            return f"({', '.join(self.function(f) for f in fn)})"
        if isinstance(fn, Call):
            return self._call(fn)
        if isinstance(fn, functools.partial):
            return self._partial(fn)
        if type(fn).__name__ == "Program" and all(step.call for step in fn.steps):
            return self._program(fn)
        name = getattr(fn, "__name__", "")
        if name in OPERATIONS and getattr(ops, name, None) is fn:
            self.numbers.imports.add("import minigrad as mg")
            return f"mg.ops.{name}"
        if isinstance(fn, np.ufunc) and getattr(np, name, None) is fn:
            self.numbers.imports.add("import numpy as np")
            return f"np.{name}"
        imported = self._imported(fn)
        if imported:
            return imported
        if isinstance(fn, FunctionType):
            return self._by_source(fn)
        if isinstance(fn, MethodType):
            return self._method(fn)
        if dataclasses.is_dataclass(fn) and not isinstance(fn, type):
            return self._fields(fn)
        if isinstance(fn, type):
            raise Unwritable(f"the class {fn.__qualname__} cannot be imported")
        return self._objects.name(fn, self._imported(type(fn)))

    def _method(self, fn: MethodType) -> str:
        owner, name = fn.__self__, fn.__func__.__name__
        if getattr(owner, name, None) != fn:
            raise Unwritable(f"{name} is not what the object that it is bound to calls {name!r}")
        text = self.value(owner)
        return f"{text}.{name}" if text.isidentifier() else f"({text}).{name}"

    # What is built from other things

    def _call(self, call: Call) -> str:
        """A function that calls an operation as one of its samples does."""
        called = self.function(call.function)
        places = [f"x{i}" for i in range(len(call.arrays))]
        arguments = [self._argument(a) for a in call._args]
        arguments += [f"{k}={self._argument(v)}" for k, v in call._options.items()]
        name = self._free(call.function.__name__)
        self._names[name] = call
        head = f"def {name}({', '.join(places)}):"
        self._definitions.append(f"{head}\n    return {called}({', '.join(arguments)})")
        return name

    def _program(self, program: Any) -> str:
        """A random program prints as a function of the operations."""
        needed = ("from minigrad import ops", "from minigrad.testing.programs import fit")
        self.numbers.imports.update(("import numpy as np", *needed))
        self._names |= {"ops": ops, "fit": program}
        name = self._free("program")
        self._names[name] = program
        self._definitions.append(str(program).replace("def program(", f"def {name}(", 1))
        return name

    def _argument(self, argument: Any) -> str:
        """As `value`, with the names of the inputs in the places of drawn arrays."""
        if type(argument).__name__ == "_Slot":
            return f"x{argument.index}"
        if type(argument) in (list, tuple):
            inside = ", ".join(self._argument(a) for a in argument)
            if type(argument) is list:
                return f"[{inside}]"
            return f"({inside},)" if len(argument) == 1 else f"({inside})"
        return self.value(argument)

    def _partial(self, fn: functools.partial[Any]) -> str:
        self.numbers.imports.add("import functools")
        arguments = [self.function(fn.func), *(self.value(a) for a in fn.args)]
        arguments += [f"{k}={self.value(v)}" for k, v in fn.keywords.items()]
        return f"functools.partial({', '.join(arguments)})"

    def _defined(self, name: str, text: str, value: Any) -> None:
        self._definitions.append(f"{name} = {text}")
        self._names[name] = value

    def _fields(self, made: Any) -> str:
        kind = self._imported(type(made))
        if not kind:
            raise Unwritable(f"the type {type(made).__qualname__} cannot be imported")
        fields = [f for f in dataclasses.fields(made) if f.init]
        inside = ", ".join(f"{f.name}={self.value(getattr(made, f.name))}" for f in fields)
        return f"{kind}({inside})"

    # What can be imported

    def _imported(self, thing: Any) -> str | None:
        """The name under which a function or a class was imported; None if it cannot be."""
        path = getattr(thing, "__qualname__", None)
        if not path or not getattr(thing, "__module__", None) or "<" in path:
            return None
        module = self._module(thing.__module__)
        if module is None or not _same(_found(sys.modules[thing.__module__], path), thing):
            return None
        first = path.partition(".")[0]
        owner = getattr(sys.modules[thing.__module__], first)
        name, number = first, 1
        while name in self._names and not _same(self._names[name], owner):
            number += 1
            name = f"{first}_{number}"
        if name not in self._names:
            self._names[name] = owner
            renamed = "" if name == first else f" as {name}"
            self.numbers.imports.add(f"from {module} import {first}{renamed}")
        return name + str(path)[len(first) :]

    def _module(self, name: str) -> str | None:
        """The name by which a script can import a module, its folder noted; None if it cannot."""
        module = sys.modules.get(name)
        if module is None:
            return None
        file = getattr(module, "__file__", None)
        if name == "__main__":
            spec = getattr(module, "__spec__", None)
            name = spec.name if spec else Path(file).stem if file else ""
        if not name.replace(".", "").isidentifier():
            return None
        if file is None or name.partition(".")[0] in ("minigrad", "minigrad_kernels"):
            return name if file or name in sys.builtin_module_names else None
        parts = name.split(".")
        path = Path(file).resolve()
        path = path.parent if path.name == "__init__.py" else path.with_suffix("")
        if list(path.parts[-len(parts) :]) != parts:
            return None
        root = path.parents[len(parts) - 1]
        if not any(root.is_relative_to(place) for place in _INSTALLED):
            self._folders[str(root)] = None
        return name

    # What must be written

    def _by_source(self, fn: FunctionType) -> str:
        """The definition of a lambda or local function, and of all that it refers to."""
        wanted = "function" if fn.__name__ == "<lambda>" else fn.__name__
        return self._known(fn) or self._define(fn, self._free(wanted))

    def _known(self, fn: FunctionType) -> str:
        """The name under which a function has been written; empty if it has not been."""
        return next((name for name, known in self._names.items() if known is fn), "")

    def _define(self, fn: FunctionType, name: str) -> str:
        self._names[name] = fn
        node = _node(fn)
        for referred, value in _references(fn):
            self._bind(referred, value, fn)
        for places, values in _defaults(node.args, fn):
            for i, value in values:
                places[i] = ast.parse(self.value(value), mode="eval").body
        if isinstance(node, ast.Lambda):
            self._definitions.append(f"{name} = {ast.unparse(node)}")
            return name
        node.decorator_list = []
        node.name = name
        self._definitions.append(ast.unparse(node))
        return name

    def _bind(self, name: str, value: Any, fn: FunctionType) -> None:
        """Make a name of the script mean what it means to a function."""
        if name in ("inf", "nan") and isinstance(value, float) and str(value) == name:
            self.numbers.imports.add(f"from math import {name}")
            return
        if name in self._names:
            if not _same(self._names[name], value):
                raise Unwritable(
                    f"{fn.__name__} refers to {name!r}, which means something else too"
                )
            if value is np or name == "mg":
                self.numbers.imports.add(f"import {value.__name__} as {name}")
            return
        if isinstance(value, FunctionType) and "<" in value.__qualname__ and not self._known(value):
            self._define(value, name)
            return
        if isinstance(value, ModuleType):
            self._import_module(name, value)
            return
        try:
            text = self.value(value) if not isinstance(value, type) else self._imported(value)
        except Unwritable as error:
            raise Unwritable(f"{fn.__name__} refers to {name!r}: {error}") from None
        if text is None:
            raise Unwritable(f"{fn.__name__} refers to {name!r}, which cannot be imported")
        if text != name:
            self._definitions.append(f"{name} = {text}")
        self._names[name] = value

    def _import_module(self, name: str, module: ModuleType) -> None:
        path = self._module(module.__name__)
        if path is None:
            raise Unwritable(f"the module {module.__name__} cannot be imported by a script")
        self.numbers.imports.add(f"import {path}" + ("" if path == name else f" as {name}"))
        self._names[name] = module

    def _free(self, name: str) -> str:
        """The name, or one like it that means nothing yet."""
        while name in self._names or not name.isidentifier():
            name = f"{name}_" if name.isidentifier() else "function"
        return name


_INSTALLED = [
    Path(path).resolve()
    for key, path in sysconfig.get_paths().items()
    if key in ("stdlib", "platstdlib", "purelib", "platlib")
]
"""Where a module can be imported from without more ado."""


def _import_order(line: str) -> tuple[bool, bool, str]:
    return "minigrad" in line, line.startswith("from"), line


def _is_object(value: Any) -> bool:
    """Whether it is an object of a class that somebody wrote, and no number, text or array."""
    return hasattr(value, "__dict__") and not isinstance(value, (type, np.dtype, Tensor))


def _same(a: Any, b: Any) -> bool:
    """The same thing; bound methods of one class are made anew whenever they are asked for."""
    return a is b or (isinstance(a, MethodType) and isinstance(b, MethodType) and bool(a == b))


def _found(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _references(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    """The names from outside that a function uses, nested functions included, and their values."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet: calling the function would raise
            continue
    for name in sorted(_globals(fn.__code__)):
        if name in fn.__globals__:
            yield name, fn.__globals__[name]
        elif not hasattr(builtins, name):
            raise Unwritable(f"{fn.__name__} refers to {name!r}, which is not defined")


def _globals(code: CodeType) -> set[str]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _globals(constant)
    return names


def _defaults(arguments: ast.arguments, fn: FunctionType) -> Iterator[tuple[list[Any], Any]]:
    """Where the definition's defaults stand, and the values that they have."""
    yield arguments.defaults, list(enumerate(fn.__defaults__ or ()))
    given = fn.__kwdefaults__ or {}
    places = [a.arg for a in arguments.kwonlyargs]
    yield arguments.kw_defaults, [(places.index(k), v) for k, v in given.items()]


def _node(fn: FunctionType) -> Any:
    """The definition of a function in its file.

    Raises:
        Unwritable: if its source is not to be had, or several lambdas look alike.
    """
    code = fn.__code__
    try:
        lines, _ = inspect.findsource(code)
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError, TypeError):
        raise Unwritable(f"{fn.__name__} has no source, it was typed in or made by code") from None
    found = [node for node in ast.walk(tree) if _is_of(node, code)]
    if len({ast.dump(node) for node in found}) > 1:
        found = [node for node in found if _spans(node, code)]
    if len({ast.dump(node) for node in found}) != 1:
        raise Unwritable(
            f"{fn.__name__} in line {code.co_firstlineno} of {code.co_filename} is not the only "
            "one there, or the file has changed; give it a name with def"
        )
    return found[0]


def _is_of(node: ast.AST, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        first, name = node.lineno, "<lambda>"
    elif isinstance(node, ast.FunctionDef):
        first, name = min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.name
    else:
        return False
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return (first, name, arguments) == (
        code.co_firstlineno,
        code.co_name,
        list(code.co_varnames[: len(arguments)]),
    )


def _spans(node: Any, code: CodeType) -> bool:
    """Whether the function's instructions come from the columns of this lambda's body."""
    positions: Callable[[], Any] | None = getattr(code, "co_positions", None)  # from Python 3.11 on
    if positions is None:
        return False
    body = node.body
    places = [(line, column) for line, _, column, _ in positions() if line and column]
    return bool(places) and all(
        (body.lineno, body.col_offset) <= place < (body.end_lineno, body.end_col_offset)
        for place in places
    )
