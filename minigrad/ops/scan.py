"""Running sums and products, and the product, whose derivative is made of running products.

The derivative of a product by one factor is the product of the others. Dividing the product by that
factor would fail at zeros; running products from both sides do not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module

from .. import dtypes
from ..arguments import axis_of
from ..graph import OUTPUT
from ..recording import operands, record
from ..tensor import Tensor, TensorLike, as_tensor
from .reduce import SLICES, WRONG_DIMS, as_type, axes_for, spread
from .registry import differentiable, fails, integers, real, sample
from .shape import flip, permute, reshape

ALONG = [
    sample(real(2, 4, 3), 1),
    sample(real(2, 3), -1),
    sample(real(5), 0),
    sample(real(2, 1), 1),
    sample(real(2, 0), 1),
    sample(real(), 0),
]
WRONG_DIM = [
    fails(IndexError, "dim is 2, but a tensor with 2 dimensions", real(2, 3), 2),
    fails(TypeError, "dim must be an integer", real(2, 3), (0, 1)),
]


_WIDE = {"f": dtypes.float64, "c": dtypes.complex128}


def _accumulated(name: str, x: Tensor, axis: int, dtype: Any) -> Any:
    """NumPy's running sums or products: of integers and booleans in int64, and of others in double
    precision, since they are taken one by one, and every step rounds."""
    array = x.data
    if dtype is None:
        dtype = dtypes.int64 if array.dtype.kind in "biu" else array.dtype
    dtype = np.dtype(dtype)
    if not array.ndim:
        return array.astype(dtype)
    wide = _WIDE.get(dtype.kind, dtype)
    y = getattr(array_module(array), name)(array, axis=axis, dtype=wide)
    return y.astype(dtype, copy=False)


@differentiable(
    [*ALONG, sample(integers(3, high=5), 0), sample(integers(3, high=5), 0, dtype=np.float64)],
    kind="linear",
    errors=WRONG_DIM,
)
def cumsum(x: TensorLike, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along a dimension, y[t] = x[0] + ... + x[t]; of integers an int64.

    `dtype` converts the elements first.

    VJP: g[t] + g[t+1] + ..., running sums from the end.

    Raises:
        IndexError: for a dimension that does not exist.

    >>> cumsum([1, 2, 3], dim=0)
    tensor([1, 3, 6])
    """
    x = as_type(x, dtype)
    axis = axis_of(dim, x.ndim, "cumsum")
    y = _accumulated("cumsum", x, axis, dtype)
    return record(cumsum, y, (x, lambda g: _reversed(cumsum(_reversed(g, axis), axis), axis), None))


def _reversed(x: Any, axis: int) -> Tensor:
    return flip(x, axis) if x.ndim else x


# Products


@differentiable(
    [*ALONG, sample(integers(3, high=5), 0), sample(integers(3, high=5), 0, dtype=np.float64)],
    kind="smooth",
    errors=WRONG_DIM,
)
def cumprod(x: TensorLike, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along a dimension, y[t] = x[0] * ... * x[t]; of integers an int64.

    `dtype` converts the elements first.

    VJP: y[t-1] * s[t] where s[t] = g[t] + x[t+1] * s[t+1], with y[-1] = 1: right at zeros too.

    Raises:
        IndexError: for a dimension that does not exist.

    >>> cumprod([1, 2, 3, 4], dim=0)
    tensor([ 1,  2,  6, 24])
    """
    x = as_type(x, dtype)
    axis = axis_of(dim, x.ndim, "cumprod")

    def rule(g: Any, x: Any, y: Any) -> Any:
        return shift(y, axis, 1) * _from_the_end(x, g, axis) if g.ndim else g

    return record(cumprod, _accumulated("cumprod", x, axis, dtype), (x, rule, (x, OUTPUT)))


def _from_the_end(a: Any, g: Any, axis: int) -> Tensor:
    """s[t] = g[t] + a[t+1] * s[t+1]: what reaches step t of a recurrence from all later ones."""
    return flip(recurrence(shift(flip(a, axis), axis), flip(g, axis), axis), axis)


@differentiable(
    [
        *(s for s in SLICES if s.args[0].shape != (2, 0, 3)),
        sample(integers(4, high=5)),
        sample(integers(4, high=5), dtype=np.float64),
    ],
    kind="smooth",
    errors=WRONG_DIMS,
)
def prod(x: TensorLike, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over the dimensions; of integers and booleans an int64, of nothing 1.

    `dtype` converts the elements first.

    VJP: g times the product of the other elements, which is right at zeros too.

    Raises:
        IndexError: for a dimension that does not exist; ValueError: for one named twice.

    >>> prod([[1.0, 2.0], [3.0, 4.0]], dim=1)
    tensor([ 2., 12.])
    """
    x = as_type(x, dtype)
    array = x.data
    axes = axes_for(dim, array.ndim, "prod")
    if dtype is None:
        dtype = dtypes.int64 if array.dtype.kind in "biu" else array.dtype
    y = array.prod(axis=axes, keepdims=keepdim, dtype=dtype)
    return record(prod, y, (x, lambda g, x: spread(g, x.shape, axes) * _others(x, axes), x))


def _others(x: Any, axes: tuple[int, ...]) -> Tensor:
    """For each element the product of the others along the axes: those before times those after."""
    rest = [i for i in range(x.ndim) if i not in axes]
    order = [*rest, *axes]
    moved = tuple(x.shape[i] for i in order)
    n = math.prod(x.shape[i] for i in axes)
    row = reshape(permute(x, *order), (*moved[: len(rest)], n))  # (..., n)
    before = shift(cumprod(row, -1), -1, 1)
    after = flip(shift(cumprod(flip(row, -1), -1), -1, 1), -1)
    return permute(reshape(before * after, moved), *[order.index(i) for i in range(x.ndim)])


# What the derivatives of products are made of


@differentiable(ALONG[:-1], kind="linear", errors=WRONG_DIM)
def shift(x: TensorLike, dim: int, fill: float = 0) -> Tensor:
    """Each element one step on along a dimension, y[t] = x[t-1] and y[0] = fill; the last is lost.

    VJP: one step back, the last becoming 0.

    Raises:
        IndexError: for a dimension that does not exist.
    """
    x = as_tensor(x)
    axis = axis_of(dim, x.ndim, "shift")
    y = array_module(x.data).empty_like(x.data)
    target, source = y.swapaxes(0, axis), x.data.swapaxes(0, axis)
    target[:1] = fill
    target[1:] = source[:-1]
    return record(shift, y, (x, lambda g: flip(shift(flip(g, axis), axis), axis), None))


@differentiable(
    [sample(real(2, 4, 3), real(2, 4, 3), 1), sample(real(5), real(5), -1)],
    kind="analytic",
    errors=[
        fails(IndexError, "recurrence: dim is 1", real(3), real(3), 1),
        fails(
            ValueError,
            r"recurrence: decay of shape \(2,\) .* \(3,\)",
            real(2),
            real(3),
            0,
        ),
    ],
)
def recurrence(decay: TensorLike, x: TensorLike, dim: int) -> Tensor:
    """The linear recurrence y[t] = decay[t] * y[t-1] + x[t] along a dimension, from y[-1] = 0.

    Computed by doubling, in log2(n) steps on whole arrays (Hillis and Steele, Data parallel
    algorithms, 1986). VJP: s to x and s[t] * y[t-1] to decay, s[t] = g[t] + decay[t+1] * s[t+1].

    Raises:
        IndexError: for a dimension that does not exist.
        ValueError: if the shapes differ.

    >>> recurrence([0.5, 0.5, 0.5], [1.0, 0.0, 2.0], dim=0)
    tensor([1.  , 0.5 , 2.25])
    """
    decay, x = operands(decay, x, "recurrence")
    if decay.shape != x.shape:
        raise ValueError(f"recurrence: decay of shape {decay.shape} does not fit x of {x.shape}")
    axis = axis_of(dim, x.ndim, "recurrence")

    def to_decay(g: Any, a: Any, y: Any) -> Any:
        return _from_the_end(a, g, axis) * shift(y, axis)

    return record(
        recurrence,
        _recur(decay.data, x.data, axis),
        (decay, to_decay, (decay, OUTPUT)),
        (x, lambda g, a: _from_the_end(a, g, axis), decay),
    )


def _recur(a: Any, x: Any, axis: int) -> Any:
    """After the round with `step`, h[t] holds what x[t-2*step+1 .. t] contribute."""
    h, a = x.copy(), a.copy()
    h_, a_ = h.swapaxes(0, axis), a.swapaxes(0, axis)
    step, n = 1, x.shape[axis]
    while step < n:
        h_[step:] += a_[step:] * h_[:-step]
        a_[step:] = a_[step:] * a_[:-step]
        step *= 2
    return h
