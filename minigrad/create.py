"""Making tensors of a given shape: zeros, ones, ranges, identity matrices, one-hot codes."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from minigrad_kernels.arrays import array_module

from . import dtypes
from .arguments import integer, lengths_of
from .device import empty_on
from .ops.shape import broadcast_to, reshape
from .tensor import Tensor, TensorLike, as_tensor, wrap

# Constants of a given shape. Their first arguments are the shape: `zeros(2, 3)` or `zeros((2, 3))`.


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor full of zeros.

    Args:
        size: its shape, as integers or as one tuple.
        dtype: its type, the default float type if None.
        requires_grad: whether `backward` shall leave a gradient in it.
        device: `"cpu"`, which None means too, or `"cuda"`, `"cuda:0"`, ...

    Raises:
        TypeError: if the sizes are no integers, or integers shall require a gradient.
        ValueError: for a negative size or an unknown device.

    >>> zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _filled("zeros", size, 0, dtype, requires_grad, device)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor full of ones. Arguments and errors are those of `zeros`."""
    return _filled("ones", size, 1, dtype, requires_grad, device)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of arbitrary contents, to be overwritten. See `zeros`."""
    shape, dtype = lengths_of(size, "empty"), _number_type(dtype, requires_grad, "empty")
    return _placed(empty_on(shape, dtype, device), requires_grad, None)


def full(
    size: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """A tensor full of one number, of whose kind it is: boolean, int64 or the default float type.

    Arguments and errors are those of `zeros`, but that the shape is one argument.

    >>> full((2,), 7)
    tensor([7, 7])
    """
    if dtype is None:
        dtype = as_tensor(fill_value).dtype
    return _filled("full", (size,), fill_value, dtype, requires_grad, device)


def _filled(
    name: str, size: Any, value: Any, dtype: Any, requires_grad: bool, device: Any
) -> Tensor:
    shape, dtype = lengths_of(size, name), _number_type(dtype, requires_grad, name)
    value = _one_number(value, name)
    number = value.cpu().data
    if device is None and not number:
        return _placed(np.zeros(shape, dtype), requires_grad, None)
    array = empty_on(shape, dtype, device)
    array[...] = number.astype(dtype)
    return _placed(array, requires_grad, None)


def _one_number(value: Any, name: str) -> Tensor:
    """The number, in full precision: it becomes one of the type wanted without a detour."""
    number = as_tensor(np.asarray(value) if isinstance(value, (float, complex)) else value)
    if number.ndim:
        raise ValueError(f"{name}: fill_value must be one number, got shape {number.shape}")
    return number


def _number_type(dtype: Any, requires_grad: bool, name: str) -> np.dtype[Any]:
    wanted = dtypes.get_default_dtype() if dtype is None else np.dtype(dtype)
    dtypes.category(wanted)
    if requires_grad and not dtypes.is_floating(wanted):
        raise TypeError(f"{name}: only floating-point tensors can require a gradient, not {wanted}")
    return wanted


def _placed(array: Any, requires_grad: bool, device: Any) -> Tensor:
    result = wrap(array) if device is None else wrap(array).to(device)
    return result.requires_grad_() if requires_grad else result


# Of the shape of another tensor


def zeros_like(
    input: TensorLike, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Zeros in the shape of `input`, of its type and on its device unless others are given."""
    return _like("zeros_like", input, 0, dtype, requires_grad, device)


def ones_like(
    input: TensorLike, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Ones in the shape of `input`, of its type and on its device unless others are given."""
    return _like("ones_like", input, 1, dtype, requires_grad, device)


def empty_like(
    input: TensorLike, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Arbitrary contents in the shape of `input`, of its type and on its device."""
    x = as_tensor(input)
    dtype = _number_type(x.dtype if dtype is None else dtype, requires_grad, "empty_like")
    return _placed(array_module(x.data).empty_like(x.data, dtype=dtype), requires_grad, device)


def full_like(
    input: TensorLike,
    fill_value: Any,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """One number in the shape of `input`, of its type and on its device unless others are given.

    Raises:
        TypeError: if integers shall require a gradient.
        ValueError: if the value is not one number, or for an unknown device.

    >>> full_like([1.0, 2.0], 7)
    tensor([7., 7.])
    """
    return _like("full_like", input, fill_value, dtype, requires_grad, device)


def _like(
    name: str, input: TensorLike, value: Any, dtype: Any, requires_grad: bool, device: Any
) -> Tensor:
    x, value = as_tensor(input), _one_number(value, name)
    dtype = _number_type(x.dtype if dtype is None else dtype, requires_grad, name)
    array = array_module(x.data).empty_like(x.data, dtype=dtype)
    array[...] = value.to(x.device).data
    return _placed(array, requires_grad, device)


# Ranges


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """start, start + step, ... as long as they are before end; `arange(end)` starts at 0.

    Of integers an int64, else of the default float type.

    Raises:
        ValueError: if a number is not finite, or the steps are 0 or lead away from the end.
        TypeError: if integers shall require a gradient.

    >>> arange(3), arange(1, 2, 0.25)
    (tensor([0, 1, 2]), tensor([1.  , 1.25, 1.5 , 1.75]))
    """
    if end is None:
        start, end = 0, start
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    for name, value in (("start", start), ("end", end), ("step", step)):
        if not math.isfinite(value):
            raise ValueError(f"arange: {name} must be finite, got {value}")
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: steps of {step} do not lead from {start} to {end}")
    whole = all(isinstance(x, (int, np.integer)) for x in (start, end, step))
    if dtype is None and whole:
        dtype = dtypes.int64
    dtype = _number_type(dtype, requires_grad, "arange")
    count = -((start - end) // step) if whole else math.ceil((end - start) / step)
    numbers = start + step * np.arange(count)
    return _placed(numbers.astype(dtype), requires_grad, device)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """`steps` numbers at equal distances from start to end, both included.

    Raises:
        ValueError: if start or end is not finite, or steps is negative.
        TypeError: if steps is no integer, or integers shall require a gradient.

    >>> linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    count = integer(steps, "linspace", "steps", 0)
    for name, value in (("start", start), ("end", end)):
        if not math.isfinite(value):
            raise ValueError(f"linspace: {name} must be finite, got {value}")
    dtype = _number_type(dtype, requires_grad, "linspace")
    numbers = np.linspace(float(start), float(end), count)
    return _placed(numbers.astype(dtype), requires_grad, device)


# Matrices and codes


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """The identity matrix of n rows, and of m columns if they are not n.

    Raises:
        TypeError: if a size is no integer, or integers shall require a gradient.
        ValueError: for a negative size or an unknown device.
    """
    rows, columns = lengths_of((n, n if m is None else m), "eye")
    dtype = _number_type(dtype, requires_grad, "eye")
    return _placed(np.eye(rows, columns, dtype=dtype), requires_grad, device)


def one_hot(tensor: TensorLike, num_classes: int = -1) -> Tensor:
    """Codes of class numbers: for each a row of zeros with a 1 at its place, of int64.

    Args:
        tensor: integers of any shape (...).
        num_classes: the length of a row; -1 takes the largest number plus 1.

    Returns:
        a tensor of shape (..., num_classes).

    Raises:
        TypeError: if the numbers are not integers.
        ValueError: if one is not in [0, num_classes), or there are none to infer the classes from.

    >>> one_hot([2, 0])
    tensor([[0, 0, 1],
            [1, 0, 0]])
    """
    array = as_tensor(tensor).data
    if array.dtype.kind not in "iu":
        raise TypeError(f"one_hot: wants integers, got {array.dtype}")
    classes = operator.index(num_classes)
    if classes < 0 and (classes != -1 or not array.size):
        raise ValueError(f"one_hot: num_classes must be given as a positive number, got {classes}")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, -1)
    classes = high + 1 if classes == -1 else classes
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise ValueError(
            f"one_hot: class {wrong} is not one of {classes} classes, 0 to {classes - 1}"
        )
    places = array_module(array).arange(classes)
    return wrap((array[..., None] == places).astype(dtypes.int64))


def meshgrid(*tensors: TensorLike, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid: for each vector a tensor that varies along one dimension only.

    Args:
        tensors: the coordinates along each dimension, vectors or single numbers.
        indexing: `"ij"`, the first one varies along dimension 0, or `"xy"`, along dimension 1.

    Raises:
        ValueError: for tensors with more dimensions, or another indexing.

    >>> [x.tolist() for x in meshgrid([1, 2], [3, 4])]
    [[[1, 1], [2, 2]], [[3, 4], [3, 4]]]
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    vectors = [as_tensor(x) for x in tensors]
    for i, x in enumerate(vectors):
        if x.ndim > 1:
            raise ValueError(f"meshgrid: wants vectors, tensor {i} has shape {x.shape}")
    order = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        order[:2] = [1, 0]
    shape = tuple(vectors[i].numel() for i in order)
    sides = [tuple(-1 if i == j else 1 for j in order) for i in range(len(vectors))]
    return tuple(
        broadcast_to(reshape(x, side), shape) for x, side in zip(vectors, sides, strict=True)
    )
