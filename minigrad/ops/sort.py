"""Order: sorting, and the largest and smallest elements."""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad_kernels.arrays import array_module

from ..arguments import axis_of, integer
from ..tensor import Tensor, TensorLike, as_tensor, wrap
from .pick import gather
from .registry import differentiable, fails, real, sample, separated


class Ordered(NamedTuple):
    """Elements in order, and where along the dimension each of them stood."""

    values: Tensor
    indices: Tensor


def _order(array: Any, axis: int, descending: bool) -> Any:
    """The indices that sort along an axis; equal elements stay in order, NaN counts as largest."""
    xp = array_module(array)
    if not array.ndim:
        return xp.zeros((), "i8")
    if not descending:
        return array.argsort(axis, kind="stable")
    # Sorted backwards and turned round, so that equal elements keep their order.
    order = xp.flip(xp.flip(array, axis).argsort(axis, kind="stable"), axis)
    return array.shape[axis] - 1 - order


_ERRORS = {
    name: [fails(IndexError, f"{name}: dim is 1", real(3), 1)] for name in ("sort", "argsort")
}


@differentiable(
    [
        sample(separated(3, 4)),
        sample(separated(3, 4), 0, descending=True),
        sample(separated(), 0),
        sample(separated(0, 2), 0),
    ],
    kind="piecewise",
    errors=_ERRORS["sort"],
)
def sort(x: TensorLike, dim: int = -1, descending: bool = False, stable: bool = False) -> Ordered:
    """The elements in order along `dim`: a pair (values, indices).

    Equal elements stay in the order that they had, whether `stable` asks for it or not; NaN counts
    as the largest number.

    >>> sort([3.0, 1.0, 2.0])
    Ordered(values=tensor([1., 2., 3.]), indices=tensor([1, 2, 0]))
    """
    x = as_tensor(x)
    axis = axis_of(dim, x.ndim, "sort")
    indices = wrap(_order(x.data, axis, descending))
    return Ordered(gather(x, axis, indices), indices)


@differentiable(
    [sample(separated(3, 4)), sample(separated(3, 4), 0, descending=True)],
    kind="constant",
    errors=_ERRORS["argsort"],
)
def argsort(x: TensorLike, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices of `sort`."""
    x = as_tensor(x)
    return wrap(_order(x.data, axis_of(dim, x.ndim, "argsort"), descending))


@differentiable(
    [
        sample(separated(3, 5), 2),
        sample(separated(4, 3), 3, dim=0, largest=False),
        sample(separated(4), 4),
        sample(separated(4), 0),
        sample(separated(), 1),
    ],
    kind="piecewise",
    errors=[
        fails(ValueError, "topk: k is 4, dim 0 has length 3", real(3), 4),
        fails(ValueError, "topk: k is -1", real(3), -1),
        fails(IndexError, "topk: dim is 1", real(3), 1, 1),
        fails(TypeError, "topk: k must be an integer, got 1.5", real(3), 1.5),
    ],
)
def topk(
    x: TensorLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Ordered:
    """The `k` largest (or smallest) elements along `dim`: a pair (values, indices).

    They come in order, whether `sorted` asks for it or not. NaN counts as the largest number.

    Raises:
        ValueError: if there are fewer than `k`.
    """
    x = as_tensor(x)
    axis = axis_of(dim, x.ndim, "topk")
    n = x.shape[axis] if x.ndim else 1
    k = integer(k, "topk", "k")
    if not 0 <= k <= n:
        raise ValueError(f"topk: k is {k}, dim {axis} has length {n}")
    if not x.ndim:
        indices = _order(x.data, axis, largest).reshape(())
        return Ordered(gather(x, axis, wrap(indices)), wrap(indices))
    xp = array_module(x.data)
    if 0 < k < n:
        # Partition first: that costs n, not n log n.
        chosen = x.data.argpartition(n - k if largest else k - 1, axis)
        part = slice(n - k, None) if largest else slice(k)
        chosen = chosen[(slice(None),) * axis + (part,)]
    else:
        chosen = xp.broadcast_to(
            xp.arange(k).reshape([-1 if i == axis else 1 for i in range(x.ndim)]),
            x.shape[:axis] + (k,) + x.shape[axis + 1 :],
        )
    order = _order(xp.take_along_axis(x.data, chosen, axis), axis, largest)
    indices = wrap(xp.take_along_axis(chosen, order, axis))
    return Ordered(gather(x, axis, indices), indices)
