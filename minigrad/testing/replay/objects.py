"""Objects as Python text: their class is imported, and their attributes are written one by one.

For modules of a network and for what else keeps its state in plain attributes. Where a class has
another way to make, copy or pickle its objects, nobody but itself knows what they consist of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ...nn.module import Module
from ...nn.parameter import Parameter
from .literals import Unwritable

RESTORED = '''
def restored(kind, attributes):
    """An object of this class with these attributes; its __init__ is not called."""
    made = kind.__new__(kind)
    made.__dict__.update(attributes)
    return made
'''.strip("\n")

_OWN_WAY = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getattribute__")


def attributes(made: Any) -> dict[str, Any]:
    """What an object consists of, beside what its class puts into a new one.

    Raises:
        Unwritable: if it is more than its attributes.
    """
    kind: Any = type(made)
    own = [n for n in _OWN_WAY if getattr(kind, n, None) is not getattr(object, n, None)]
    if kind.__new__ not in (object.__new__, Module.__new__):
        own.append("__new__")
    if any(c.__dict__.get("__slots__") for c in kind.__mro__):
        own.append("__slots__")
    if own:
        raise Unwritable(
            f"an object of type {kind.__qualname__} is more than its attributes: its class has "
            f"{own[0]}"
        )
    new = vars(kind.__new__(kind))
    return {k: v for k, v in vars(made).items() if not (k in new and new[k] == v)}


class Objects:
    """Gives each object one name in the script, however often it is referred to.

    Args:
        written: an expression for any value.
        define: makes a name mean a value: adds the definition, an expression, to the script.
        taken: whether a name means something already.
    """

    def __init__(
        self,
        written: Callable[[Any], str],
        define: Callable[[str, str, Any], None],
        taken: Callable[[str], bool],
    ) -> None:
        self._written, self._define, self._taken = written, define, taken
        self._known: dict[int, tuple[Any, str]] = {}  # the object too, so that its id stays its own
        self._open: list[Any] = []
        self._count: Counter[str] = Counter()

    @property
    def helpers(self) -> list[str]:
        """The functions that the definitions call."""
        return [RESTORED] if self._count else []

    def name(self, made: Any, kind: str | None) -> str:
        """The name of an object whose class has this one; None says it cannot be imported.

        Raises:
            Unwritable: if it cannot be written; the message says why.
        """
        if id(made) in self._known:
            return self._known[id(made)][1]
        label = type(made).__qualname__
        if any(made is other for other in self._open):
            raise Unwritable(f"an object of type {label} holds itself")
        inside = attributes(made)
        if kind is None:
            raise Unwritable(f"the class {label} of an object cannot be imported")
        name = self._new_name(type(made).__name__.lower())
        self._open.append(made)
        try:
            lines = [f"    {k!r}: {self._attribute(name, k, v)}," for k, v in inside.items()]
        except Unwritable as error:
            raise Unwritable(f"of an object of type {label}, {error}") from None
        finally:
            self._open.pop()
        body = "\n".join(["{", *lines, "}"]) if lines else "{}"
        return self._add(made, name, f"restored({kind}, {body})")

    def _new_name(self, kind: str) -> str:
        self._count[kind] += 1
        name = f"{kind}_{self._count[kind]}"
        return self._new_name(kind) if self._taken(name) else name

    def _attribute(self, owner: str, name: str, value: Any) -> str:
        try:
            if isinstance(value, Parameter):
                return self.parameter(value, f"{owner}_{name}")
            return self._written(value)
        except Unwritable as error:
            raise Unwritable(f"the attribute {name!r}: {error}") from None

    def parameter(self, parameter: Parameter, name: str) -> str:
        """The name of a parameter, which modules may share; this one if it has none yet."""
        if id(parameter) in self._known:
            return self._known[id(parameter)][1]
        frozen = "" if parameter.requires_grad else ", requires_grad=False"
        numbers = self._written(parameter.detach())
        return self._add(parameter, name, f"mg.nn.Parameter({numbers}{frozen})")

    def _add(self, made: Any, name: str, text: str) -> str:
        self._known[id(made)] = made, name
        self._define(name, text, made)
        return name
