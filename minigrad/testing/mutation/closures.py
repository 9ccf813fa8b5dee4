"""Functions that close over numbers, and the same functions with one number changed."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any


def numbers(function: Any) -> list[str]:
    """The names of the variables outside a function that hold a number that it depends on.

    Tuples, lists and slices count if they hold one; so do the entries of dictionaries, written
    `name.key`; and those of functions that it calls, written `name>variable`.
    """
    found = []
    for name, value in _cells(function):
        if value is function:
            continue
        if isinstance(value, dict):
            found += [f"{name}.{key}" for key, entry in value.items() if _next(entry) is not None]
        elif isinstance(value, types.FunctionType):
            # One function deep: a function that calls itself closes over itself.
            found += [f"{name}>{inner}" for inner in numbers(value) if ">" not in inner]
        elif _next(value) is not None:
            found.append(name)
    return found


def successor(number: int | float) -> int | float:
    """The next integer; of a float, half more."""
    return number + 1 if isinstance(number, int) else number * 1.5


def changed(function: Any, name: str, new: Callable[[Any], Any] = successor) -> Any:
    """The function with another number in the place of one of `numbers(function)`.

    >>> def counter(n):
    ...     return lambda: n
    >>> changed(counter(4), "n")()
    5
    """
    nested = name.split(">", 1)
    outer, _, key = nested[0].partition(".")
    cells = []
    for cell_name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
        if cell_name != outer:
            cells.append(cell)
        elif len(nested) == 2:
            cells.append(types.CellType(changed(cell.cell_contents, nested[1], new)))
        elif key:
            entries = cell.cell_contents
            cells.append(types.CellType({**entries, key: _next(entries[key], new)}))
        else:
            cells.append(types.CellType(_next(cell.cell_contents, new)))
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells),
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _cells(function: Any) -> list[tuple[str, Any]]:
    code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or closure is None:
        return []
    found = []
    for name, cell in zip(code.co_freevars, closure, strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # not yet assigned
            continue
    return found


def _next(value: Any, new: Callable[[Any], Any] = successor) -> Any:
    """The value with its last number changed; None if it holds no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return new(value)
    if isinstance(value, slice):
        return None if value.start is None else slice(new(value.start), value.stop, value.step)
    if type(value) in (tuple, list):
        for i in reversed(range(len(value))):
            entry = _next(value[i], new)
            if entry is not None:
                return type(value)([*value[:i], entry, *value[i + 1 :]])
    return None
