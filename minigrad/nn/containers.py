"""Modules that hold other modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, overload

from . import functional as F
from .activation import ReLU
from .linear import Linear
from .module import Module
from .pooling import MaxPool2d


class _Numbered(Module):
    """Children in a row, "0", "1", ... if not named otherwise: Sequential and ModuleList."""

    def _names(self) -> list[str]:
        return [name for name, value in self.__dict__.items() if isinstance(value, Module)]

    def _name(self, index: int) -> str:
        """The name of child `index`, counted from the end if negative."""
        i, n = operator.index(index), len(self)
        if not -n <= i < n:
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {n} modules")
        return self._names()[i]

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Any: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)().extend(list(self)[index])
        return self.__dict__[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._name(index), module)

    def __delitem__(self, index: int) -> None:
        """Take out a module; the others are numbered anew."""
        delattr(self, self._name(index))
        kept = list(self)
        for name in self._names():
            delattr(self, name)
        self.extend(kept)

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Module]:
        return iter([value for value in self.__dict__.values() if isinstance(value, Module)])

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns itself.

        Raises:
            TypeError: if it is not a `Module`.
        """
        if not isinstance(module, Module):
            hint = " (nn.ReLU() is a module, F.relu is not)" if callable(module) else ""
            raise TypeError(
                f"{type(self).__name__}: wants modules, got {type(module).__name__}{hint}"
            )
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; returns itself."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_Numbered):
    """Modules one after the other: each gets what the one before returned.

    Takes modules, or one dictionary that also names them.

    Two pairs are not computed one after the other, if nobody sees what is between them: neither has
    hooks, or works in place. A Linear and a ReLU are one operation, `functional.linear_relu`. A
    ReLU before a MaxPool2d comes after it: the largest of numbers whose negative ones were set to
    zero is their largest number, or zero, and the ReLU sees a quarter of the numbers. Results are
    the same to the last bit, but for the sign of a zero in float16.

    >>> from minigrad import nn
    >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        """Pass `input` through all modules."""
        modules: list[Any] = [*self, None]
        place = 0
        while (module := modules[place]) is not None:
            following = modules[place + 1]
            both = _PAIRS.get((type(module), type(following)))
            if both is None or _is_watched(module) or _is_watched(following):
                input = module(input)
                place += 1
            else:
                input = both(module, following, input)
                place += 2
        return input


def _linear_relu(linear: Linear, _: ReLU, x: Any) -> Any:
    return F.linear_relu(x, linear.weight, linear.bias)


def _relu_last(relu: ReLU, pool: MaxPool2d, x: Any) -> Any:
    return relu(pool(x))


_PAIRS: dict[tuple[type, type], Callable[[Any, Any, Any], Any]] = {
    (Linear, ReLU): _linear_relu,
    (ReLU, MaxPool2d): _relu_last,
}


def _is_watched(module: Module) -> bool:
    """Whether somebody sees what goes into a module, or comes out of it, besides its neighbours."""
    options = module.__dict__
    return bool(
        module._hooks
        or module._pre_hooks
        or options.get("inplace")
        or options.get("return_indices")
        or "forward" in options
    )


class ModuleList(_Numbered):
    """A list of modules whose parameters are found, as they would not be in a Python list."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)


class ModuleDict(Module):
    """A dictionary of modules whose parameters are found, as they would not be in a Python dict."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Module:
        found = self.__dict__.get(key)
        if not isinstance(found, Module):
            raise KeyError(key)
        return found

    def __setitem__(self, key: str, module: Module) -> None:
        self.register_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def keys(self) -> list[str]:
        """The names, in order of insertion."""
        return [name for name, value in self.__dict__.items() if isinstance(value, Module)]

    def values(self) -> list[Module]:
        """The modules, in order of insertion."""
        return [value for value in self.__dict__.values() if isinstance(value, Module)]

    def items(self) -> list[tuple[str, Module]]:
        """Pairs (name, module), in order of insertion."""
        return list(zip(self.keys(), self.values(), strict=True))

    def update(self, modules: Mapping[str, Module]) -> None:
        """Insert or replace modules."""
        for key, module in modules.items():
            self[key] = module
