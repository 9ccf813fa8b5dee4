"""What functions of single elements share: the memory they go through, the threads they take."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, check_out, deliver
from ..layout import dense, empty_like, flat, like
from .compiled import Compiled


def elementwise(
    function: Compiled, out: Array | None, *inputs: Array, options: tuple[Any, ...] = ()
) -> Array:
    """function(*inputs, *options, y) over dense memory, whatever the layout; returns y, or `out`.

    Every input has the shape of the first. `out` may be one of them; where it overlaps one in
    another way, the result is computed elsewhere first.
    """
    model = dense(inputs[0])
    arrays = [flat(like(x, model)) for x in inputs]
    y = out
    if out is None or not writes_straight(out, model, inputs):
        y = empty_like(model)
    run = function.suited(model.size)
    run(*arrays, *options, flat(y))
    return y if y is out else deliver(y, out)


def writes_straight(out: Array, model: Array, inputs: tuple[Array, ...]) -> bool:
    """Whether a kernel that goes through memory as `model` lies in it may write to `out` meanwhile.

    Raises:
        ValueError: if `out` has another shape, or is read-only.
    """
    check_out(out, model.shape)
    if out.dtype != model.dtype or out.strides != model.strides or not out.flags.aligned:
        return False
    return all(
        not np.may_share_memory(out, x)
        or (out.strides == x.strides and _address(out) == _address(x))
        for x in inputs
    )


def _address(x: Array) -> int:
    return x.__array_interface__["data"][0]
