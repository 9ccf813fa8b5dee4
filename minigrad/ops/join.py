"""Several tensors into one, one into several, and one made larger: by padding and repeating."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module

from .. import dtypes
from ..arguments import axis_of, integer, sizes_of
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, together
from .elementwise import vanishing
from .index import getitem
from .pick import index_select
from .registry import differentiable, fails, real, sample
from .shape import broadcast_to, reshape


def promoted(tensors: Sequence[TensorLike], name: str) -> list[Tensor]:
    """Tensors of one type, which holds the values of all of them.

    Raises:
        TypeError: if it is no sequence, or they are on different devices.
        ValueError: if there are none.
    """
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{name}: wants a list or tuple of tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError(f"{name}: wants at least one tensor")
    xs = together(name, *tensors)
    common = functools.reduce(dtypes.promote, [x.dtype for x in xs])
    return [as_tensor(x, common) for x in xs]


def _part(index: tuple[Any, ...]) -> Callable[[Any], Tensor]:
    """The rule of an input that became this part of the output."""
    return lambda g: getitem(g, index)


def _nothing(g: Any) -> Tensor:
    """The rule of a vector of no elements: nothing comes back, in its type and where it is."""
    return vanishing(getitem(reshape(g, -1), slice(0)))


# Several into one


@differentiable(
    [
        sample([real(2, 3), real(0, 3), real(1, 3)]),
        sample([real(2, 3), real(2, 2)], dim=-1),
        sample([real(2)]),
        sample([real(0), real(2, 3), real(1, 3)]),
    ],
    kind="linear",
    errors=[
        fails(ValueError, "cat: wants at least one tensor", []),
        fails(ValueError, r"cat: .*\(2, 3\).*\(2, 4\)", [real(2, 3), real(2, 4)]),
        fails(ValueError, "cat: tensor 0 has no dimensions", [real(), real()]),
        fails(IndexError, "cat: dim is 2", [real(2, 3)], 2),
        fails(TypeError, "cat: wants a list or tuple", real(2, 3)),
    ],
)
def cat(tensors: Sequence[TensorLike], dim: int = 0) -> Tensor:
    """The tensors behind one another along `dim`; in the others they have the same lengths.

    As in PyTorch, a vector of no elements, such as `tensor([])`, may stand among tensors of any
    shape: there is nothing of it in the result, to which its type counts.

    Raises:
        ValueError: if the shapes do not fit.
    """
    xs = promoted(tensors, "cat")
    for i, x in enumerate(xs):
        if not x.ndim:
            raise ValueError(f"cat: tensor {i} has no dimensions; use stack")
    first = next((x.shape for x in xs if x.shape != (0,)), (0,))
    axis = axis_of(dim, len(first), "cat")
    for i, x in enumerate(xs):
        shape = x.shape
        if shape != (0,) and shape[:axis] + shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise ValueError(
                f"cat: tensors of shapes {first} and {shape} (number {i}) differ beside dim {axis}"
            )
    parts = [x for x in xs if x.shape != (0,)] or xs
    y = array_module(xs[0].data).concatenate([x.data for x in parts], axis)
    start, before = 0, (slice(None),) * axis
    edges: list[Any] = []
    for x in xs:
        if len(x.shape) < len(first):
            edges.append((x, _nothing, None))
            continue
        end = start + x.data.shape[axis]
        edges.append((x, _part((*before, slice(start, end))), None))
        start = end
    return record(cat, y, *edges)


@differentiable(
    [sample([real(2, 3), real(2, 3)]), sample([real(2), real(2)], dim=-1), sample([real()])],
    kind="linear",
    errors=[
        fails(ValueError, "stack: wants at least one tensor", []),
        fails(ValueError, r"stack: .*\(2,\).*\(3,\)", [real(2), real(3)]),
        fails(IndexError, "stack: dim is 2", [real(2)], 2),
    ],
)
def stack(tensors: Sequence[TensorLike], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new dimension `dim`.

    Raises:
        ValueError: if the shapes differ.
    """
    xs = promoted(tensors, "stack")
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ValueError(
                f"stack: tensors 0 and {i} have different shapes, {xs[0].shape} and {x.shape}"
            )
    axis = axis_of(dim, xs[0].ndim + 1, "stack")
    y = array_module(xs[0].data).stack([x.data for x in xs], axis)
    before = (slice(None),) * axis
    return record(stack, y, *[(x, _part((*before, i)), None) for i, x in enumerate(xs)])


# One into several


@differentiable(
    [sample(real(5, 2), 2), sample(real(2, 5), [1, 0, 4], dim=-1), sample(real(0, 2), 3)],
    kind="linear",
    errors=[
        fails(ValueError, "split: sections .* sum to 3, dim 0 has length 4", real(4), [1, 2]),
        fails(ValueError, "split: split_size must be positive, got 0", real(4), 0),
        fails(ValueError, "split: sections .*negative", real(4), [5, -1]),
        fails(IndexError, "split: dim is 1", real(4), 2, 1),
        fails(TypeError, "split: split_size must be integers", real(4), 1.5),
    ],
)
def split(x: TensorLike, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts along `dim`: of one length, the last may be shorter, or as listed.

    Raises:
        ValueError: if the length is not positive, or a list does not sum to the dimension's.
    """
    x = as_tensor(x)
    axis, size = _split_axis(x, dim, "split"), split_size
    n = x.shape[axis]
    if isinstance(size, (list, tuple)):
        sections = sizes_of((size,), "split", "sections")
        if min(sections, default=0) < 0:
            raise ValueError(f"split: sections {sections} has a negative length")
        if sum(sections) != n:
            raise ValueError(
                f"split: sections {sections} sum to {sum(sections)}, dim {axis} has length {n}"
            )
    else:
        (step,) = sizes_of((size,), "split", "split_size")
        if step <= 0:
            raise ValueError(f"split: split_size must be positive, got {step}")
        sections = tuple(min(step, n - start) for start in range(0, n, step)) or (0,)
    parts, start, before = [], 0, (slice(None),) * axis
    for length in sections:
        parts.append(getitem(x, (*before, slice(start, start + length))))
        start += length
    return tuple(parts)


def _split_axis(x: Tensor, dim: int, name: str) -> int:
    if not x.ndim:
        raise ValueError(f"{name}: the input has no dimensions")
    return axis_of(dim, x.ndim, name)


@differentiable(
    [sample(real(5, 2), 2), sample(real(2, 5), 4, dim=-1), sample(real(2), 5)],
    kind="linear",
    errors=[
        fails(ValueError, "chunk: chunks must be positive, got 0", real(4), 0),
        fails(TypeError, "chunk: chunks must be an integer, got 1.5", real(4), 1.5),
        fails(ValueError, "chunk: the input has no dimensions", real(), 1),
    ],
)
def chunk(x: TensorLike, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of at most `chunks` consecutive parts along `dim`, all but the last equally long."""
    x = as_tensor(x)
    axis = _split_axis(x, dim, "chunk")
    chunks = integer(chunks, "chunk", "chunks")
    if chunks <= 0:
        raise ValueError(f"chunk: chunks must be positive, got {chunks}")
    n = x.shape[axis]
    return split(x, -(-n // chunks), axis) if n else split(x, [0] * chunks, axis)


@differentiable(
    [sample(real(2, 3)), sample(real(2, 3), dim=-1), sample(real(0, 2), dim=1)],
    kind="linear",
    errors=[fails(ValueError, "unbind: the input has no dimensions", real())],
)
def unbind(x: TensorLike, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of all slices along `dim`, without that dimension."""
    x = as_tensor(x)
    axis = _split_axis(x, dim, "unbind")
    before = (slice(None),) * axis
    return tuple(getitem(x, (*before, i)) for i in range(x.shape[axis]))


# Larger


@differentiable(
    [
        sample(real(2, 3), (1, 2)),
        sample(real(2, 3), (0, 1, 2, 0), value=1.5),
        sample(real(4, 3), (-1, 1, 1, -2)),
        sample(real(2, 3), (2, 1), mode="reflect"),
        sample(real(2, 3), (3, -1, 0, 1), mode="replicate"),
        sample(real(2, 3), (3, 1, -1, 1), mode="circular"),
        sample(real(2), ()),
    ],
    kind="smooth",
    errors=[
        fails(ValueError, "pad: pad wants pairs", real(2, 3), (1,)),
        fails(ValueError, "pad: pad wants pairs .* at most 2", real(2, 3), (1, 1) * 3),
        fails(ValueError, "pad: mode must be", real(2, 3), (1, 1), mode="same"),
        fails(ValueError, "pad: .*negative length", real(2, 3), (-2, -2)),
        fails(ValueError, "pad: reflect .* less than", real(2, 3), (3, 0), mode="reflect"),
        fails(ValueError, "pad: circular .* at most", real(2, 3), (4, 0), mode="circular"),
        fails(ValueError, "pad: replicate .*empty", real(2, 0), (1, 0), mode="replicate"),
        fails(TypeError, "pad: value 0.5 does not fit", [1, 2], (1, 1), value=0.5),
        fails(ValueError, "pad: value -1 does not fit", np.array([1, 2], "u1"), (1, 1), value=-1),
        fails(TypeError, "pad: pad must be integers", real(2, 3), (1.5, 0)),
    ],
)
def pad(
    x: TensorLike, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """`x` with more elements at its ends; negative numbers take elements away.

    Args:
        x: any shape.
        pad: how many before and after, for the last dimension, then the last but one, and so on.
        mode: what they are: `"constant"`, `value`; `"reflect"`, what stands beyond the end
            element in a mirror; `"replicate"`, the end element; `"circular"`, the other end.
        value: for the mode `"constant"`; None is 0.

    Raises:
        ValueError: if `pad` does not come in pairs, the mode has no element to take, or the value
            is an integer that the type cannot hold.
    """
    x = as_tensor(x)
    widths = sizes_of((tuple(pad),), "pad", "pad")
    if len(widths) % 2 or len(widths) > 2 * x.ndim:
        raise ValueError(
            f"pad: pad wants pairs of numbers for at most {x.ndim} dimensions, got {widths}"
        )
    pairs = [(0, 0)] * x.ndim
    for i in range(len(widths) // 2):
        pairs[-1 - i] = (widths[2 * i], widths[2 * i + 1])
    for n, (low, high) in zip(x.shape, pairs, strict=True):
        if n + low + high < 0:
            raise ValueError(
                f"pad: ({low}, {high}) would leave a dimension of length {n} with a negative length"
            )
    if mode == "constant":
        return _pad_with(x, pairs, 0 if value is None else value)
    if mode not in _SOURCES:
        raise ValueError(
            f"pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}"
        )
    for dim, (low, high) in enumerate(pairs):
        if low or high:
            source = _SOURCES[mode](x, dim, low, high)
            x = index_select(x, dim, source)
    return x


def _pad_with(x: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    """Padding with a number; its adjoint is padding by as much less than nothing."""
    xp, shape = array_module(x.data), x.data.shape
    if value and dtypes.category(as_tensor(value).dtype) > dtypes.category(x.dtype):
        raise TypeError(f"pad: value {value} does not fit a tensor of {x.dtype}")
    lengths = [n + a + b for n, (a, b) in zip(shape, pairs, strict=True)]
    try:
        y = xp.full(lengths, value, x.data.dtype)
    except OverflowError:
        raise ValueError(f"pad: value {value} does not fit into {x.dtype}") from None
    into = tuple(slice(max(a, 0), y.shape[i] - max(b, 0)) for i, (a, b) in enumerate(pairs))
    kept = tuple(slice(max(-a, 0), shape[i] - max(-b, 0)) for i, (a, b) in enumerate(pairs))
    y[into] = x.data[kept]
    back = [-w for pair in reversed(pairs) for w in pair]
    return record(pad, y, (x, lambda g: pad(g, back), None))


def _reflected(x: Tensor, dim: int, low: int, high: int) -> Any:
    n = x.shape[dim]
    if max(low, high) >= n:
        raise ValueError(
            f"pad: reflect wants less than the length {n} of dimension {dim}, got ({low}, {high})"
        )
    i = abs(array_module(x.data).arange(-low, n + high))
    return n - 1 - abs(n - 1 - i)


def _replicated(x: Tensor, dim: int, low: int, high: int) -> Any:
    n = x.shape[dim]
    if not n:
        raise ValueError(f"pad: replicate has no element to take, dimension {dim} is empty")
    return array_module(x.data).arange(-low, n + high).clip(0, n - 1)


def _wrapped(x: Tensor, dim: int, low: int, high: int) -> Any:
    n = x.shape[dim] + min(low, 0) + min(high, 0)  # what is taken away is not wrapped around
    if max(low, high) > n:
        raise ValueError(
            f"pad: circular wants at most the length {n} of dimension {dim}, got ({low}, {high})"
        )
    turns = array_module(x.data).arange(-max(low, 0), n + max(high, 0)) % max(n, 1)
    return turns - min(low, 0)


_SOURCES = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}


@differentiable(
    [sample(real(2, 3), 2), sample(real(2), (2, 3)), sample(real(), 3), sample(real(2, 1), 0, 2)],
    kind="linear",
    errors=[fails(ValueError, "tile: dims must not be negative", real(2), -1)],
)
def tile(x: TensorLike, *dims: Any) -> Tensor:
    """`x` repeated `dims` times along its dimensions.

    The shorter of its shape and `dims` gets ones in front.

    >>> tile([1, 2], 2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    return _repeated(as_tensor(x), sizes_of(dims, "tile", "dims"), "tile", "dims")


def _repeated(x: Tensor, times: tuple[int, ...], name: str, argument: str) -> Tensor:
    if min(times, default=0) < 0:
        raise ValueError(f"{name}: {argument} must not be negative, got {times}")
    ndim = max(x.ndim, len(times))
    times = (1,) * (ndim - len(times)) + times
    lengths = (1,) * (ndim - x.ndim) + x.shape
    single = [m for n in lengths for m in (1, n)]  # (1, n0, 1, n1, ...)
    several = [m for r, n in zip(times, lengths, strict=True) for m in (r, n)]  # (r0, n0, r1, ...)
    y = broadcast_to(reshape(x, single), several)
    return reshape(y, [r * n for r, n in zip(times, lengths, strict=True)])


@differentiable(
    [sample(real(2, 3), 2, 1), sample(real(2), (2, 0, 3)), sample(real(), 2)],
    kind="linear",
    errors=[
        fails(ValueError, "repeat: 1 sizes for 2 dimensions", real(2, 3), 2),
        fails(ValueError, "repeat: sizes must not be negative", real(2), -1),
    ],
)
def repeat(x: TensorLike, *sizes: Any) -> Tensor:
    """As `tile`, but `sizes` must name at least the dimensions that `x` has."""
    x = as_tensor(x)
    times = sizes_of(sizes, "repeat", "sizes")
    if len(times) < x.ndim:
        raise ValueError(f"repeat: {len(times)} sizes for {x.ndim} dimensions")
    return _repeated(x, times, "repeat", "sizes")
