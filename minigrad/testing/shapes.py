"""Inputs in the words of a command: `3x4,4x5`; `scalar` for a number, `8:0..9` for integers.

One language for `minigrad gradcheck` and `minigrad mutate`.
"""

from __future__ import annotations

import math
import re
import reprlib

import numpy as np

from ..ops.registry import Drawn, booleans, integers, real

_SHAPE = re.compile(r"[0-9]{1,19}(x[0-9]{1,19})*")
_RANGE = re.compile(r"(-?[0-9]{1,19})\.\.(-?[0-9]{1,19})")
_INT64 = np.iinfo(np.int64)
_MOST_SIDES = 64  # of NumPy's arrays


def drawn(text: str, low: float = -2.0, high: float = 2.0) -> tuple[Drawn, ...]:
    """The inputs that a text describes: shapes with commas between, and spaces where one likes.

    A shape is its sides with x between, or `scalar` (or `()`) for a single number. The numbers are
    real; `:0..9` behind a shape makes them integers from 0 to 9, such as class numbers or indices,
    and `:bool` makes them truth values.

    Args:
        text: the description.
        low: real numbers are at least that.
        high: and less than that.

    Raises:
        ValueError: for what is no such text, a shape that no array can have, a range without a
            number in it or beyond int64, or limits that are not in order or not finite, or whose
            distance is not.

    >>> [str(d) for d in drawn("3x4, scalar, 3:0..9, 3:bool")]
    ['3x4', 'scalar', 'integers 3', 'booleans 3']
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low must be less than high, and both finite, got {low} and {high}")
    if not math.isfinite(high - low):
        raise ValueError(f"low and high are too far apart: {low} and {high}")
    return tuple(_drawn(part.strip(), low, high) for part in text.split(","))


def _drawn(text: str, low: float, high: float) -> Drawn:
    written, colon, what = (part.strip() for part in text.partition(":"))
    if written in ("scalar", "()"):
        shape: tuple[int, ...] = ()
    elif _SHAPE.fullmatch(written):
        shape = tuple(map(int, written.split("x")))
        if len(shape) > _MOST_SIDES or math.prod(map(float, shape)) * 8 > _INT64.max:
            raise ValueError(f"shapes: no array can have the shape {written}")
    else:
        raise _misread(text)
    if not colon:
        return real(*shape, low=low, high=high)
    if what == "bool":
        return booleans(*shape)
    limits = _RANGE.fullmatch(what)
    if limits is None:
        raise _misread(text)
    first, last = map(int, limits.groups())
    if first > last:
        raise ValueError(f"shapes: there is no number from {first} to {last}, in {text!r}")
    if first < _INT64.min or last > _INT64.max:
        raise ValueError(f"shapes: the integers of {text!r} do not fit into int64")
    return integers(*shape, low=first, high=last + 1)


def _misread(text: str) -> ValueError:
    return ValueError(
        "shapes: each is written 3x4, or scalar for a single number (8:0..9 for 8 integers from 0 "
        f"to 9, 8:bool for truth values); got {reprlib.repr(text)}"
    )
