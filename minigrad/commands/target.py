"""Functions that a command is given by name: `package.module:function` or `file.py:function`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

MANY = 12  # names that are still worth a look


class BadTarget(Exception):
    """What was named is not there, or not what the command takes; the message says which."""


def load(name: str) -> Any:
    """The function, or the pair of functions, of that name.

    Modules are looked for in the current folder, too.

    Raises:
        BadTarget: if there is no such thing, or it is no function and no pair of them.
    """
    place, colon, path = name.rpartition(":")
    if not colon or not place or not path:
        raise BadTarget(
            f"wants package.module:function or file.py:function, got {name!r}{_colon(name)}"
        )
    module = _file(place) if place.endswith(".py") else imported(place)
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise BadTarget(f"{place} has no {path!r}{_similar(part, found)}")
        found = getattr(found, part)
    if isinstance(found, tuple):
        if len(found) != 2 or not all(map(callable, found)):
            raise BadTarget(f"{name} is a tuple, but not a pair of functions (forward, vjp)")
    elif not callable(found):
        raise BadTarget(f"{name} is a {type(found).__name__}, wants a function or a pair of them")
    return found


def importable(name: str) -> str:
    """A file, or a function in a file, as one in a module that each process can import.

    Other names are returned as they are.

    Raises:
        BadTarget: if there is no such file, or a module of its name is another one.
    """
    place, colon, path = name.partition(".py:") if ".py:" in name else (name, "", "")
    if colon:
        place += ".py"
    if not place.endswith(".py"):
        return name
    file = Path(place)
    if not file.is_file():
        raise BadTarget(f"there is no file {place!r}")
    file = file.resolve()
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(file.stem) if file.stem.isidentifier() else None
    if spec is None or spec.origin != str(file):
        raise BadTarget(f"{place!r} cannot be imported as {file.stem!r}: give it another name")
    return f"{file.stem}:{path}" if colon else file.stem


def _colon(name: str) -> str:
    """What may be meant by a name without a colon."""
    if name.endswith(".py") or ":" in name:
        return ""
    module, _, function = name.rpartition(".")
    return f"; is it {module}:{function}?" if module and function else ""


def _similar(name: str, owner: Any) -> str:
    """Names that may be meant; else all there are, if they are few."""
    things = vars(owner) if hasattr(owner, "__dict__") else {}
    public = [n for n, thing in things.items() if not n.startswith("_") and _taken(thing)]
    near = difflib.get_close_matches(name, public, n=3)
    if near or not 0 < len(public) <= MANY:
        return f"; is it {' or '.join(near)}?" if near else ""
    return f"; it has {', '.join(public)}"


def _taken(thing: Any) -> bool:
    """Whether it is what a command takes."""
    return callable(thing) or isinstance(thing, tuple)


def _modules(name: str) -> str:
    """Modules in the current folder that may be meant."""
    here = [p.stem for p in Path.cwd().glob("*.py")]
    here += [p.name for p in Path.cwd().iterdir() if (p / "__init__.py").is_file()]
    near = difflib.get_close_matches(name, here, n=3)
    return f"; is it {' or '.join(near)}?" if near else ""


def _file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise BadTarget(f"there is no file {place!r}")
    path = path.resolve()
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or not name.isidentifier() or importlib.util.find_spec(name):
        name = f"minigrad_target_{abs(hash(path))}"  # a module of that name is another one
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # for what stands beside it
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadTarget(f"{place!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # an exit with 0 would pass for success
        del sys.modules[name]
        raise BadTarget(f"importing {place} raises {type(error).__name__}: {error}") from error
    return module


def imported(place: str) -> ModuleType:
    """The module of that name, looked for in the current folder, too.

    Raises:
        BadTarget: if there is none, or importing it fails.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            near = _modules(error.name) if "." not in error.name else ""
            raise BadTarget(f"there is no module {error.name!r}{near}") from None
        raise BadTarget(f"importing {place} raises {type(error).__name__}: {error}") from error
    except (Exception, SystemExit) as error:  # an exit with 0 would pass for success
        raise BadTarget(f"importing {place} raises {type(error).__name__}: {error}") from error
