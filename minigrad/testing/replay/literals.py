"""Values as Python text: what comes back is the same, to the last bit and stride."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from ...tensor import Tensor

MOST = 200
"""Arrays of more numbers than that are packed."""

_FILL = textwrap.TextWrapper(
    88, subsequent_indent=" " * 12, break_long_words=False, break_on_hyphens=False
)

_UNPACKED = '''
def unpacked(text):
    """The array that was saved in a file of NumPy's, and that written in base64."""
    return np.load(io.BytesIO(base64.b64decode(text)))["x"]
'''
_STRIDED = '''
def strided(values, strides):
    """The same numbers, so many bytes apart along each axis."""
    reach = [(n - 1) * step for n, step in zip(values.shape, strides)]
    first = -sum(min(r, 0) for r in reach)
    room = bytearray(first + sum(max(r, 0) for r in reach) + values.itemsize)
    view = np.ndarray(values.shape, values.dtype, room, first, strides)
    view[...] = values
    return view
'''


class Unwritable(Exception):
    """Something that cannot be written as Python text; the message says what and why."""


class Numbers:
    """Writes values, and remembers which imports and helpers their text needs."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self._helpers: dict[str, str] = {}

    def helpers(self) -> list[str]:
        """The functions that the text calls."""
        return list(self._helpers.values())

    def literal(self, value: Any) -> str:
        """An expression for a value: numbers, strings, arrays, tensors, and collections of them.

        Raises:
            Unwritable: for anything else.
        """
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value)
        if value is None or value is ... or type(value) in (bool, int, str, bytes):
            return "..." if value is ... else repr(value)
        if type(value) in (float, complex):  # others, such as members of an Enum, are more
            return self._number(value)
        if isinstance(value, type) and issubclass(value, np.generic):
            self.imports.add("import numpy as np")
            return f"np.{value.__name__}"
        if isinstance(value, np.dtype):
            self.imports.add("import numpy as np")
            return f"np.dtype({value.str!r})"
        if isinstance(value, slice):
            parts = (value.start, value.stop, value.step)
            return f"slice({', '.join(self.literal(p) for p in parts)})"
        if type(value) in (list, tuple, dict):
            return self._collection(value)
        raise Unwritable(f"a value of type {type(value).__name__} has no text of its own")

    def key(self, key: Any) -> str:
        """As `literal`, for the key of a dictionary: numbers of NumPy's are no arrays there."""
        if type(key) is tuple and key:
            return f"({', '.join(map(self.key, key))},)"
        return f"{self.literal(key)}[()]" if isinstance(key, np.generic) else self.literal(key)

    def _number(self, value: Any) -> str:
        text = repr(value)
        for name in ("inf", "nan"):
            if name in text:
                self.imports.add(f"from math import {name}")
        return text

    def _collection(self, value: Any) -> str:
        if isinstance(value, dict):
            pairs = (f"{self.key(k)}: {self.literal(v)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
        inside = ", ".join(self.literal(v) for v in value)
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"

    def _tensor(self, value: Tensor) -> str:
        self.imports.add("import minigrad as mg")
        moved = "" if value.device == "cpu" else f".to({value.device!r})"
        wanted = ".requires_grad_()" if value.requires_grad else ""
        return f"mg.from_numpy({self._array(value.detach().data)}){moved}{wanted}"

    def _array(self, given: Any) -> str:
        """`np.array(...)` with the numbers, or the packed numbers, in the same layout."""
        if type(given).__module__.partition(".")[0] == "cupy":
            given = given.get()
        x = np.asarray(given)
        if x.dtype.kind not in "biufc":
            raise Unwritable(f"an array of {x.dtype} has no text of its own")
        self.imports.add("import numpy as np")
        text = self._written(x) if x.size <= MOST else None
        text = self._packed(x) if text is None else text
        if x.flags.c_contiguous or not x.size:
            return text
        if x.flags.f_contiguous:
            return f"np.asfortranarray({text})"
        self._helpers["strided"] = _STRIDED.strip("\n")
        return f"strided({text}, {x.strides})"

    def _written(self, x: np.ndarray) -> str | None:
        """The numbers in the shortest words that come back as the same bits; None if none do."""
        if x.dtype.kind == "c" and not np.isfinite(x).all():
            return None
        for words in (str, repr):
            inside = _nested(x, words)
            # An empty array's shape is not in its brackets.
            shaped = "" if x.size else f".reshape{x.shape}"
            text = _FILL.fill(f"np.array({inside}, dtype={x.dtype.name!r}){shaped}")
            again = eval(text, {"np": np, "inf": np.inf, "nan": np.nan})
            if again.shape == x.shape and _same_bits(again, x):
                names = [n for n in ("inf", "nan") if n in inside]
                self.imports.update(f"from math import {n}" for n in names)
                return text
        return None

    def _packed(self, x: np.ndarray) -> str:
        self.imports.update(("import base64", "import io"))
        self._helpers["unpacked"] = _UNPACKED.strip("\n")
        file = io.BytesIO()
        np.savez_compressed(file, x=np.ascontiguousarray(x))
        text = base64.b64encode(file.getvalue()).decode()
        lines = "\n".join(f'            "{line}"' for line in textwrap.wrap(text, 80))
        return f"unpacked(\n{lines}\n        )"


def _nested(x: np.ndarray, words: Callable[[Any], str]) -> str:
    """Brackets around the numbers: as `str`, the fewest digits that tell a number from those next
    to it of its type; or as `repr`, those that tell it from the next Python float."""
    if x.ndim == 0:
        return words(x[()] if words is str else x[()].item())
    return "[" + ", ".join(_nested(row, words) for row in x) + "]"


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal, the signs of zeros too. One NaN is as good as another."""
    if a.dtype != b.dtype or not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
        return False
    return a.dtype.kind != "f" or bool((np.signbit(a) == np.signbit(b))[~np.isnan(a)].all())
