"""Elementwise kernels in CUDA: arrays as dense memory, and grids for it.

Arrays that lie in memory in one order of their axes, without gaps, are run through from front to
back, channels first or last. Others are copied into the order of the first that has no gaps.
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array, array_module, check_all_out, deliver
from ..layout import flat
from .arrays import address, aligned, ceil_divide, contiguous
from .c_types import c_name
from .launch import KernelFunction
from .source import kernel

THREADS = 256
"""Threads of a block: eight blocks fill a multiprocessor."""

MOST_BLOCKS = 4096
"""Blocks of a grid; each goes through memory in steps of the whole grid. Four times what the
largest GPUs run at once: that the last round is not a full one then costs little."""

REALS = {"float": "float", "half": "float", "double": "double"}
"""The types that numbers are computed in."""


def elementwise_kernel(path: str, name: str, x: Array) -> KernelFunction:
    """The kernel for numbers of x's type T, computed in the type REAL."""
    t = c_name(x)
    return kernel(path, name, T=t, REAL=REALS[t])


def blocks(threads: int) -> int:
    """Blocks for so many threads, or as many as are good for that many."""
    return min(MOST_BLOCKS, ceil_divide(threads, THREADS))


def mapped(
    path: str, name: str, inputs: tuple[Array, ...], *numbers: Any, out: Array | None
) -> Array:
    """Run a kernel with one output; see `mapped_to_all`."""
    return mapped_to_all(path, name, inputs, *numbers, out=(out,))[0]


def mapped_to_all(
    path: str,
    name: str,
    inputs: tuple[Array, ...],
    *numbers: Any,
    out: tuple[Array | None, ...],
) -> tuple[Array, ...]:
    """Run a kernel on arrays of one shape and type: `name(*inputs, *out, *numbers, size, packs)`.

    Every output is a given array, or a new one where None stands, in the layout of the inputs. It
    may be an input.

    Raises:
        ValueError: if a given array has another shape, or is read-only.
    """
    check_all_out(out, *(inputs[0].shape for _ in out))
    model = next((x for x in inputs if _dense(x)), None)
    if model is None:
        model = contiguous(inputs[0])
    xp = array_module(model)
    made = tuple(
        y if y is not None and _writes_straight(y, model, inputs) else xp.empty_like(model)
        for y in out
    )
    if model.size:
        arrays = [flat(_laid_out(x, model)) for x in inputs] + [flat(y) for y in made]
        width = 16 // model.itemsize
        packs = model.size // width if aligned(width, width, *arrays) else 0
        run = elementwise_kernel(path, name, model)
        run(blocks(packs or model.size), THREADS, *arrays, *numbers, model.size, packs)
    return tuple(y if y is o else deliver(y, o) for y, o in zip(made, out, strict=True))


def _dense(x: Array) -> bool:
    """Whether a kernel can run through its memory from front to back."""
    return getattr(x.flags, "aligned", True) and flat(x) is not None  # CuPy's arrays always are


def _same_layout(x: Array, model: Array) -> bool:
    return x.strides == model.strides or (x.flags.c_contiguous and model.flags.c_contiguous)


def _laid_out(x: Array, model: Array) -> Array:
    """x itself if it lies in memory as the dense array `model`, or a copy that does."""
    if _same_layout(x, model) and getattr(x.flags, "aligned", True):
        return x
    xp = array_module(x)
    copy = xp.empty_like(model)
    xp.copyto(copy, x)
    return copy


def _writes_straight(y: Array, model: Array, inputs: tuple[Array, ...]) -> bool:
    """Whether results may go into y at once: it is laid out as they are, and no input is
    overwritten before it has been read: none shares its memory but one that lies just there."""
    if y.dtype != model.dtype or not _same_layout(y, model) or not _dense(y):
        return False
    xp = array_module(y)
    return all(
        x is y
        or (address(x) == address(y) and x.nbytes == y.nbytes)
        or not xp.may_share_memory(x, y)
        for x in inputs
    )
