"""Replay: a script with the numbers of one check in it, that makes the check again.

The script uses public names alone, and no file but those the function was imported from. It prints
the verdict; its status is 1 while the gradients are wrong, and 0 once they are mended.

How a function is written is in `minigrad.testing.replay.source`, how an object is in
`minigrad.testing.replay.objects`, and how numbers are in `minigrad.testing.replay.literals`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...tensor import Tensor, to_array
from .literals import Unwritable
from .source import Source

FOLDER = Path(".minigrad", "replay")
"""Where replays go, below pytest's root folder or the current one."""

_HEAD = '''"""Check again a gradient that was found wrong. Written by minigrad {version}.

Prints the verdict. The status is 1 while the gradient is wrong, 0 once it is mended.
"""

from __future__ import annotations

'''


def write(
    fn: Any,
    inputs: Any,
    path: str | os.PathLike[str],
    *,
    backend: str | None = None,
    **options: Any,
) -> Path:
    """Write a script that repeats `gradcheck(fn, inputs, **options)`.

    Numbers, types and strides of the inputs come back exactly: up to 200 numbers are written out,
    more are packed. A function that can be imported is imported, an operation is called, and a
    lambda or a local function is written with all that it refers to. A module of a network, and
    any other object that consists of its attributes, is made anew with these, its parameters too.

    Args:
        fn: what `gradcheck` takes: a function of tensors, or a pair of NumPy functions.
        inputs: what `gradcheck` takes.
        path: the script; folders are made, an older script is replaced.
        backend: compute on this backend, as `minigrad.testing.backends.gradcheck_on` does.
        options: of `gradcheck`.

    Returns:
        the path.

    Raises:
        ValueError: if the function or an input cannot be written, with the reason; then there is
            no script, and an older one is left alone.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    text = script(fn, inputs, backend=backend, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.parts[-2:] == FOLDER.parts:
        (path.parent.parent / ".gitignore").write_text("*\n")
    path.write_text(text, encoding="utf-8")
    return path


def script(fn: Any, inputs: Any, *, backend: str | None = None, **options: Any) -> str:
    """The text of the script that `write` writes. Raises as `write`."""
    if isinstance(inputs, (Tensor, np.ndarray, float)):
        inputs = [inputs]
    source = Source()
    try:
        called = source.function(fn)
        values = [source.value(to_array(x) if isinstance(x, Tensor) else x) for x in inputs]
        given = [f"{name}={source.value(value)}" for name, value in options.items()]
    except Unwritable as error:
        raise ValueError(f"replay: cannot be written: {error}") from None
    except RecursionError:
        why = "something holds itself, or is nested too deeply"
        raise ValueError(f"replay: cannot be written: {why}") from None
    except Exception as error:  # objects may raise anything when they are asked what they are
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"replay: cannot be written: {why}") from error
    check, module, first = "gradcheck", "minigrad.testing", ""
    if backend is not None:
        check, module, first = "gradcheck_on", "minigrad.testing.backends", f"{backend!r}, "
    lines = [
        *source.lines(["import sys", f"from {module} import {check}"]),
        "def main():",
        "    inputs = [",
        *(f"        {value}," for value in values),
        "    ]",
        f"    verdict = {check}({', '.join([f'{first}{called}', 'inputs', *given])})",
        "    print(verdict)",
        "    return 0 if verdict.ok else 1",
    ]
    end = ["", "", 'if __name__ == "__main__":', "    sys.exit(main())", ""]
    return _HEAD.format(version=__version__) + "\n".join([*lines, *end])


def named(test: str, root: str | os.PathLike[str] = ".") -> Path:
    """The path of the replay of a test or another thing with a name, below `root`.

    >>> named("tests/test_a.py::test_b[2-numba]").name
    'test_a-test_b-2-numba.py'
    """
    place, bracket, values = test.partition("[")  # the values of a parametrized test may hold a /
    short = re.sub(r"\.py\b", "", place.rpartition("/")[2]) + bracket + values
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", short).strip("-") or "replay"
    if len(slug) > 80:
        slug = f"{slug[:70]}-{sha1(test.encode()).hexdigest()[:8]}"
    return Path(root) / FOLDER / f"{slug}.py"


def saved(fn: Any, inputs: Any, path: Path, **options: Any) -> str:
    """Write the script, and say where it is; or why there is none. For reports: never raises."""
    return "\n".join(_attempt(fn, inputs, path, options))


def _attempt(fn: Any, inputs: Any, path: Path, options: dict[str, Any]) -> Iterator[str]:
    try:
        yield f"replay: {write(fn, inputs, path, **options)}"
    except (ValueError, OSError) as error:
        yield str(error) if isinstance(error, ValueError) else f"replay: {error}"
