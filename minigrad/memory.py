"""Which memory was changed in place, when, by what, and on which line of the user's code.

A rule may keep a tensor for backward. If its memory is overwritten in between, the gradient would
be silently wrong, so every in-place change is noted here, by address. A backward pass that meets a
node older than the latest change asks whether anything that it keeps was touched since. Noting is
cheap because changes are rare; a node pays one comparison.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module

from .graph import Clock, Node, place, user_line


@dataclass(slots=True)
class Change:
    """One in-place change: its number (see `Clock`), the operation, the user's line, and whether
    the graph of the changed tensor records it."""

    turn: int
    operation: str
    line: tuple[Any, int] | None
    recorded: bool

    def __str__(self) -> str:
        return f"{self.operation} at {place(self.line)}"


_log: dict[int, dict[tuple[int, int], Change]] = {}  # owner's id -> bytes changed -> latest change
_MOST_ENTRIES = 1000  # for one owner: a program may fill a large array piece by piece
_owners: dict[int, weakref.ref[Any]] = {}


_lying_in: dict[int, tuple[weakref.ref[Any], Any]] = {}  # an array's id -> it, and its owner


def lies_in(array: Any, whole: Any) -> None:
    """Note that `array` lies in the memory of `whole`, though it is no view of it: for CuPy's
    arrays, which show their owner only where they are views."""
    key = id(array)

    def forget(_: Any) -> None:
        _lying_in.pop(key, None)

    _lying_in[key] = weakref.ref(array, forget), whole


def owner(array: Any) -> Any:
    """The array that owns the memory which `array` shows."""
    base = array.base
    while isinstance(base, np.ndarray):
        array, base = base, base.base
    while base is not None and (
        hasattr(base, "__array_interface__") or hasattr(base, "__cuda_array_interface__")
    ):
        array, base = base, getattr(base, "base", None)
    if array.__class__ is not np.ndarray and id(array) in _lying_in:
        return _lying_in[id(array)][1]
    return array


def _bounds(array: Any) -> tuple[int, int]:
    if array.__class__ is np.ndarray and array.flags.c_contiguous:
        start: int = array.__array_interface__["data"][0]
        return start, start + array.nbytes
    if isinstance(array, np.ndarray):
        low, high = np.lib.array_utils.byte_bounds(array)
    else:
        low, high = array_module(array).byte_bounds(array)
    return int(low), int(high)


def changed(array: Any, operation: str, recorded: bool = False) -> None:
    """Note that `operation` has just overwritten `array`'s memory."""
    Clock.latest_change = Clock.tick()
    _note(array, Change(Clock.latest_change, operation, user_line(1), recorded))


def moved(array: Any, place: Any) -> None:
    """Note that the numbers of `array` lie in `place` now, changed as often as they were."""
    change = change_since(array, 0)
    if change is not None:
        _note(place, change)


def _note(array: Any, change: Change) -> None:
    root = owner(array)
    key = id(root)
    if key not in _owners:

        def forget(_: Any, key: int = key) -> None:
            _log.pop(key, None)
            _owners.pop(key, None)

        _owners[key] = weakref.ref(root, forget)
    entries = _log.setdefault(key, {})
    entries[_bounds(array)] = change
    if len(entries) > _MOST_ENTRIES:  # from here on, one change to all that was changed
        low, high = min(a for a, _ in entries), max(b for _, b in entries)
        _log[key] = {(low, high): change}


def change_since(array: Any, turn: int) -> Change | None:
    """The latest change to `array`'s memory after the moment `turn`, if there is one."""
    entries = _log.get(id(owner(array)))
    if not entries:
        return None
    low, high = _bounds(array)
    hits = [c for (a, b), c in list(entries.items()) if c.turn < turn and a < high and low < b]
    return min(hits, key=lambda c: c.turn, default=None)


def check_unchanged(node: Node) -> None:
    """Refuse to differentiate through a node if what it keeps has been overwritten since.

    Raises:
        RuntimeError: naming the operation, its line, the change and its line.
    """
    for _, values in node.kept():
        for value in values:
            array = value if value is node.output else value.data
            change = change_since(array, node.turn)
            if change is not None:
                what = "its output" if value is node.output else "an input"
                raise RuntimeError(
                    f"backward: {node.name} (called at {node.where()}) keeps {what} of shape "
                    f"{array.shape} for its gradient, but it was changed in place by {change}; "
                    "use the out-of-place form, or clone() before the change"
                )
    view = getattr(node, "memory", None)
    view = view() if view is not None else None
    if view is not None:
        change = change_since(view, node.turn)
        if change is not None and change.recorded:
            raise RuntimeError(
                f"backward: {node.name} (called at {node.where()}) made a view of memory that was "
                f"changed in place by {change}; take the view after the change, or clone() before"
            )
