"""Tensor's methods are written out by hand; here they are held to the functions they stand for."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from minigrad import methods, ops

# Methods under another name than their function, with the arguments in another order, or with
# some of them fixed. Operators (__add__ ...) are recognised by their underscores.
RENAMED = {
    "clamp": "clip",
    "clamp_": "clip",
    "zero_": "fill",
    "type_as": "to",
    "float": "to",
    "double": "to",
    "half": "to",
    "long": "to",
    "int": "to",
    "bool": "to",
    "expand_as": "broadcast_to",
    "view_as": "reshape",
    "reshape_as": "reshape",
}
REORDERED = {"where"}


def written_methods() -> dict[str, ast.FunctionDef]:
    tree = ast.parse(Path(methods.__file__).read_text(encoding="utf-8"))
    (cls,) = (n for n in tree.body if isinstance(n, ast.ClassDef))
    return {n.name: n for n in cls.body if isinstance(n, ast.FunctionDef)}


METHODS = written_methods()


def called(method: ast.FunctionDef) -> tuple[str, list[str], bool]:
    """(function in ops, its arguments as text, in place?) of the one line of a method."""
    (statement,) = method.body
    call: Any = statement.value  # type: ignore[attr-defined]
    if isinstance(call, ast.Name):  # __pos__ returns self
        return "", [], False
    name = ast.unparse(call.func)
    arguments = [ast.unparse(a) for a in call.args]
    arguments += [f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords]
    if name == "inplace":
        return arguments[1].removeprefix("ops."), [arguments[0], *arguments[2:]], True
    return name.removeprefix("ops."), arguments, False


@pytest.mark.parametrize("name", METHODS)
def test_a_method_calls_the_function_of_its_name(name: str) -> None:
    function_name, arguments, in_place = called(METHODS[name])
    if name == "__pos__":
        assert not function_name
        return
    function = getattr(ops, function_name)
    positional = [a for a in arguments if "=" not in a and not a.startswith("*")]
    options = [a.partition("=")[0] for a in arguments if "=" in a]
    inspect.signature(function).bind_partial(*positional, **dict.fromkeys(options))
    if name.startswith("__"):
        return
    plain = name.removesuffix("_") if in_place else name
    assert function_name == RENAMED.get(name, plain)
    assert in_place == name.endswith("_")


@pytest.mark.parametrize(
    "name",
    [n for n in METHODS if not n.startswith("__") and n not in RENAMED and n not in REORDERED],
)
def test_a_method_has_its_functions_parameters_and_defaults(name: str) -> None:
    function_name, arguments, _ = called(METHODS[name])
    method = inspect.signature(getattr(methods.TensorMethods, name))
    function = inspect.signature(getattr(ops, function_name))

    def shape(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
        return [(p.name, p.kind, p.default) for p in list(signature.parameters.values())[1:]]

    wanted = shape(function)
    if next(iter(function.parameters)) == "a":  # operands are a and b; seen from one, the other
        wanted = [("other" if p == "b" else p, kind, default) for p, kind, default in wanted]
    assert shape(method) == wanted
    if name == "copy_":
        return
    passed = [a.lstrip("*").partition("=")[0] for a in arguments[1:]]
    assert passed == [p for p, _, _ in shape(method)], "not every parameter is passed on"


def test_operators_keep_the_order_of_their_operands() -> None:
    for name, method in METHODS.items():
        _, arguments, in_place = called(method)
        if not name.startswith("__") or len(method.args.args) != 2 or name == "__getitem__":
            continue
        reflected = name.startswith("__r") and name not in ("__round__",)
        assert arguments == (["other", "self"] if reflected else ["self", "other"]), name
        assert in_place == (name.startswith("__i") and name not in ("__invert__",)), name
