"""The same elements in another shape or order: views where the memory allows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad_kernels.arrays import array_module

from ..arguments import axes_of, axis_of, sizes_of
from ..recording import record, record_view
from ..tensor import Tensor, TensorLike, as_tensor
from .elementwise import passed_on
from .registry import differentiable, fails, real, sample

# Another shape


@differentiable(
    [
        sample(real(3, 4), 2, 6),
        sample(real(3, 4), (2, -1)),
        sample(real(2, 0), (0, 5)),
        sample(real(), 1, 1),
        sample(real(1, 1), ()),
    ],
    kind="linear",
    errors=[
        fails(ValueError, r"reshape: .*\(2, 3\).*\(4,\)", real(2, 3), 4),
        fails(ValueError, "reshape: .*-1", real(2, 3), -1, -1),
        fails(ValueError, "reshape: ", real(2, 3), -2, 3),
        fails(TypeError, "reshape: shape must be integers", real(2, 3), 1.5),
    ],
)
def reshape(x: TensorLike, *shape: Any) -> Tensor:
    """The elements in row-major order, in another shape; one length may be -1, to be worked out.

    A view where the memory layout allows it, else a copy.

    Raises:
        ValueError: if the number of elements does not fit.

    >>> reshape([1, 2, 3, 4, 5, 6], 2, -1).shape
    (2, 3)
    """
    x = as_tensor(x)
    before, wanted = x.data.shape, sizes_of(shape, "reshape")
    return record_view(
        reshape, _reshaped(x.data, wanted, "reshape"), (x, lambda g: reshape(g, before), None)
    )


def _reshaped(array: Any, shape: tuple[int, ...], name: str) -> Any:
    if shape and min(shape) < 0 and (min(shape) < -1 or shape.count(-1) > 1):
        raise ValueError(f"{name}: lengths are at least 0, at most one of them -1, got {shape}")
    try:
        return array.reshape(shape)
    except ValueError:
        raise ValueError(
            f"{name}: an input of shape {array.shape} with {array.size} elements does not fit "
            f"shape {shape}"
        ) from None


@differentiable(
    [sample(real(3, 4), 12), sample(real(3, 4), (2, -1)), sample(real(0, 2), 0)],
    kind="linear",
    errors=[fails(ValueError, "view: ", real(2, 3), 5)],
)
def view(x: TensorLike, *shape: Any) -> Tensor:
    """As `reshape`, but never a copy: the result shares the memory of `x`.

    Raises:
        ValueError: if the number of elements does not fit, or the strides do not allow a view.
    """
    x = as_tensor(x)
    before, wanted = x.data.shape, sizes_of(shape, "view")
    y = _reshaped(x.data, wanted, "view")
    if y.size and not array_module(y).may_share_memory(x.data, y):
        raise ValueError(
            f"view: an input of shape {before} with strides {x.data.strides} (bytes) cannot be "
            f"seen as {wanted} without a copy; use reshape"
        )
    return record_view(view, y, (x, lambda g: reshape(g, before), None))


@differentiable(
    [
        sample(real(2, 3, 4)),
        sample(real(2, 3, 4), 1),
        sample(real(2, 3, 4), start_dim=0, end_dim=-2),
        sample(real()),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "flatten: start_dim is 3", real(2, 3), 3),
        fails(ValueError, "flatten: start_dim 1 comes after end_dim 0", real(2, 3), 1, 0),
    ],
)
def flatten(x: TensorLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from `start_dim` to `end_dim`, both included, run together into one."""
    x = as_tensor(x)
    shape = x.data.shape
    first = axis_of(start_dim, len(shape), "flatten", "start_dim")
    last = axis_of(end_dim, len(shape), "flatten", "end_dim")
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    length = 1
    for n in shape[first : last + 1]:
        length *= n
    y = x.data.reshape(shape[:first] + (length,) + shape[last + 1 :])
    return record_view(flatten, y, (x, lambda g: reshape(g, shape), None))


@differentiable(
    [
        sample(real(1, 3, 1)),
        sample(real(1, 3, 1), 0),
        sample(real(1, 3, 1), -2),
        sample(real(1, 3, 1), (0, -1)),
        sample(real(), 0),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "squeeze: dim is 2", real(1, 3), 2),
        fails(ValueError, "squeeze: dim names a dimension twice", real(1, 3), (0, -2)),
    ],
)
def squeeze(x: TensorLike, dim: Any = None) -> Tensor:
    """Without the dimensions of length 1: all of them, or those among `dim` (one or a tuple)."""
    x = as_tensor(x)
    shape = x.data.shape
    axes = range(len(shape)) if dim is None else axes_of(dim, len(shape), "squeeze")
    y = x.data.reshape([n for i, n in enumerate(shape) if n != 1 or i not in axes])
    return record_view(squeeze, y, (x, lambda g: reshape(g, shape), None))


@differentiable(
    [sample(real(2, 3), 0), sample(real(2, 3), -1), sample(real(), 0)],
    kind="linear",
    errors=[fails(IndexError, "unsqueeze: dim is 3", real(2, 3), 3)],
)
def unsqueeze(x: TensorLike, dim: int) -> Tensor:
    """With a new dimension of length 1 at position `dim` of the result."""
    x = as_tensor(x)
    shape = x.data.shape
    i = axis_of(dim, len(shape) + 1, "unsqueeze")
    y = x.data.reshape(shape[:i] + (1,) + shape[i:])
    return record_view(unsqueeze, y, (x, lambda g: reshape(g, shape), None))


@differentiable(
    [
        sample(real(3, 1), (2, 3, 4)),
        sample(real(), (2, 2)),
        sample(real(3), (3,)),
        sample(real(1, 3), (0, 3)),
    ],
    kind="linear",
    errors=[
        fails(ValueError, r"broadcast_to: .*\(3,\).*\(2,\)", real(3), (2,)),
        fails(ValueError, "broadcast_to: ", real(2, 3), (3,)),
        fails(ValueError, "broadcast_to: ", real(1), (-1,)),
    ],
)
def broadcast_to(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """`x` repeated along dimensions of length 1 and new leading ones: a read-only view.

    Raises:
        ValueError: if the shapes do not broadcast.
    """
    x = as_tensor(x)
    y = _broadcast(x.data, sizes_of((shape,), "broadcast_to"), "broadcast_to")
    # The engine sums the gradient back to the shape of x.
    return record_view(broadcast_to, y, (x, passed_on, None))


def _broadcast(array: Any, shape: tuple[int, ...], name: str) -> Any:
    try:
        return array_module(array).broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name}: an input of shape {array.shape} does not broadcast to {shape}"
        ) from None


@differentiable(
    [sample(real(3, 1), 2, 3, 4), sample(real(3, 1), (2, -1, 4)), sample(real(), 3)],
    kind="linear",
    errors=[
        fails(ValueError, r"expand: .*\(3,\).*\(2,\)", real(3), 2),
        fails(ValueError, "expand: -1 .*", real(3), -1, 3),
        fails(ValueError, "expand: 1 sizes for 2 dimensions", real(2, 3), 3),
    ],
)
def expand(x: TensorLike, *sizes: Any) -> Tensor:
    """As `broadcast_to`, where -1 stands for the length that the dimension has.

    Raises:
        ValueError: if the shapes do not broadcast, or a new dimension is given as -1.
    """
    x = as_tensor(x)
    wanted, shape = sizes_of(sizes, "expand", "sizes"), x.data.shape
    new = len(wanted) - len(shape)
    if new < 0:
        raise ValueError(f"expand: {len(wanted)} sizes for {len(shape)} dimensions")
    if -1 in wanted[:new]:
        raise ValueError(f"expand: -1 cannot stand for a new dimension, in sizes {wanted}")
    wanted = wanted[:new] + tuple(
        n if w == -1 else w for w, n in zip(wanted[new:], shape, strict=True)
    )
    return record_view(expand, _broadcast(x.data, wanted, "expand"), (x, passed_on, None))


# Another order


@differentiable(
    [sample(real(2, 3, 4), 0, 2), sample(real(2, 3), -1, -2), sample(real(), 0, -1)],
    kind="linear",
    errors=[fails(IndexError, "transpose: dim1 is 2", real(2, 3), 0, 2)],
)
def transpose(x: TensorLike, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped: a view."""
    x = as_tensor(x)
    ndim = x.data.ndim
    i = axis_of(dim0, ndim, "transpose", "dim0")
    j = axis_of(dim1, ndim, "transpose", "dim1")
    y = x.data.swapaxes(i, j) if ndim else x.data.reshape(())
    return record_view(transpose, y, (x, lambda g: transpose(g, i, j), None))


@differentiable(
    [sample(real(2, 3, 4), 2, 0, 1), sample(real(2, 3), (-1, 0)), sample(real())],
    kind="linear",
    errors=[
        fails(ValueError, "permute: dims names a dimension twice", real(2, 3), 0, 0),
        fails(ValueError, "permute: 1 dims for 2 dimensions", real(2, 3), 0),
        fails(IndexError, "permute: dims is 2", real(2, 3), 0, 2),
    ],
)
def permute(x: TensorLike, *dims: Any) -> Tensor:
    """The dimensions in the order `dims`, which names each once: a view."""
    x = as_tensor(x)
    given = sizes_of(dims, "permute", "dims")
    order = axes_of(given, x.data.ndim, "permute", "dims")
    if len(order) != x.data.ndim:
        raise ValueError(f"permute: {len(order)} dims for {x.data.ndim} dimensions")
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    return record_view(permute, x.data.transpose(order), (x, lambda g: permute(g, back), None))


@differentiable(
    [sample(real(2, 3)), sample(real(3)), sample(real())],
    kind="linear",
    errors=[fails(ValueError, "t: wants at most 2 dimensions, got 3", real(2, 3, 4))],
)
def t(x: TensorLike) -> Tensor:
    """The transpose of a matrix: a view. Vectors and scalars stay as they are."""
    x = as_tensor(x)
    if x.data.ndim > 2:
        raise ValueError(f"t: wants at most 2 dimensions, got {x.data.ndim}; use transpose")
    return record_view(t, x.data.transpose(), (x, t, None))


@differentiable(
    [sample(real(2, 3, 4), 0, -1), sample(real(2, 3, 4), (0, 1), (-1, 0))],
    kind="linear",
    errors=[
        fails(IndexError, "movedim: source is 2", real(2, 3), 2, 0),
        fails(ValueError, "movedim: 2 in source, 1 in destination", real(2, 3), (0, 1), 0),
        fails(ValueError, "movedim: source names a dimension twice", real(2, 3), (0, 0), (0, 1)),
    ],
)
def movedim(x: TensorLike, source: Any, destination: Any) -> Tensor:
    """The dimensions `source` moved to the places `destination`, the others in order: a view."""
    x = as_tensor(x)
    ndim = x.data.ndim
    old = axes_of(source, ndim, "movedim", "source")
    new = axes_of(destination, ndim, "movedim", "destination")
    if len(old) != len(new):
        raise ValueError(f"movedim: {len(old)} in source, {len(new)} in destination")
    y = array_module(x.data).moveaxis(x.data, old, new) if ndim else x.data.reshape(())
    return record_view(movedim, y, (x, lambda g: movedim(g, new, old), None))


@differentiable(
    [sample(real(2, 3), 0), sample(real(2, 3), (0, -1)), sample(real(2, 3)), sample(real(), 0)],
    kind="linear",
    errors=[
        fails(IndexError, "flip: dims is 2", real(2, 3), 2),
        fails(ValueError, "flip: dims names a dimension twice", real(2, 3), 0, 0),
    ],
)
def flip(x: TensorLike, *dims: Any) -> Tensor:
    """The elements in reverse order along `dims`: a copy."""
    x = as_tensor(x)
    axes = axes_of(sizes_of(dims, "flip", "dims"), x.data.ndim, "flip", "dims")
    index = tuple(slice(None, None, -1 if i in axes else 1) for i in range(x.data.ndim))
    return record(flip, x.data[index].copy(), (x, lambda g: flip(g, axes), None))


@differentiable(
    [
        sample(real(3, 4), 2),
        sample(real(3, 4), -1, 1),
        sample(real(3, 4), (1, -5), (0, -1)),
        sample(real(0, 4), 1, 0),
    ],
    kind="linear",
    errors=[
        fails(IndexError, "roll: dims is 2", real(2, 3), 1, 2),
        fails(ValueError, "roll: 1 shifts for 2 dims", real(2, 3), 1, (0, 1)),
        fails(ValueError, "roll: 2 shifts without dims", real(2, 3), (1, 1)),
        fails(TypeError, "roll: shifts must be integers", real(2, 3), 1.5),
    ],
)
def roll(x: TensorLike, shifts: Any, dims: Any = None) -> Tensor:
    """The elements moved on by `shifts` along `dims`; what leaves at one end enters at the other.

    Without `dims` in row-major order, as if there was one dimension.
    """
    x = as_tensor(x)
    steps = sizes_of(shifts if isinstance(shifts, (tuple, list)) else (shifts,), "roll", "shifts")
    axes = None
    if dims is not None:
        dims = dims if isinstance(dims, (tuple, list)) else (dims,)
        axes = tuple(axis_of(d, x.data.ndim, "roll", "dims") for d in dims)
        if len(axes) != len(steps):
            raise ValueError(f"roll: {len(steps)} shifts for {len(axes)} dims")
    elif len(steps) != 1:
        raise ValueError(f"roll: {len(steps)} shifts without dims")
    back = tuple(-s for s in steps)
    y = array_module(x.data).roll(x.data, steps if axes else steps[0], axes)
    return record(roll, y, (x, lambda g: roll(g, back, axes), None))
