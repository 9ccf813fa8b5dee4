"""Initial numbers for parameters. Each function overwrites a tensor, unrecorded, and returns it.

Names and formulas are those of `torch.nn.init`. A weight has shape (out, in, ...): fan_in, the
number of inputs of one output, is in times the product of the rest; fan_out is out times the rest.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad_kernels as kernels
from minigrad_kernels.arrays import array_module

from .. import dtypes
from ..inplace import write
from ..random import Generator, fill
from ..tensor import Tensor


def _checked(name: str, tensor: Any, dimensions: int = 0, **numbers: float) -> Tensor:
    """The tensor, if it can be overwritten with such numbers."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: wants a tensor, got {type(tensor).__name__}")
    if tensor.ndim < dimensions:
        raise ValueError(
            f"{name}: wants a tensor of at least {dimensions} dimensions, got shape {tensor.shape}"
        )
    if not dtypes.is_floating(tensor.dtype):
        raise TypeError(f"{name}: wants a floating-point tensor, got {tensor.dtype}")
    for what, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}: {what} must be finite, got {value}")
    return tensor


def _random(x: Tensor, kernel: Any, generator: Generator | None) -> Any:
    return fill(array_module(x.data).empty(x.shape, x.dtype), kernel, generator)


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform numbers in [a, b).

    Raises:
        ValueError: if a bound is not finite or a > b; TypeError: if it is no floating-point tensor.
    """
    x = _checked("uniform_", tensor, a=a, b=b)
    if a > b:
        raise ValueError(f"uniform_: a = {a} is above b = {b}")
    numbers = _random(x, kernels.random_uniform, generator)
    numbers *= float(b - a)
    numbers += float(a)
    write(x, numbers, "uniform_")
    return x


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal numbers of this mean and standard deviation.

    Raises:
        ValueError: if one is not finite, or std is negative; TypeError: if it is no floating-point
            tensor.
    """
    x = _checked("normal_", tensor, mean=mean, std=std)
    if std < 0:
        raise ValueError(f"normal_: std must not be negative, got {std}")
    numbers = _random(x, kernels.random_normal, generator)
    numbers *= float(std)
    numbers += float(mean)
    write(x, numbers, "normal_")
    return x


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same number everywhere."""
    x = _checked("constant_", tensor)
    write(x, val, "constant_")
    return x


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix.

    Raises:
        ValueError: if the tensor has not two dimensions.
    """
    x = _checked("eye_", tensor)
    if x.ndim != 2:
        raise ValueError(f"eye_: wants a tensor of 2 dimensions, got shape {x.shape}")
    write(x, array_module(x.data).eye(*x.shape, dtype=x.dtype), "eye_")
    return x


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A matrix, of shape (out, all the rest), whose rows or columns, the fewer, are orthonormal.

    Times `gain`. It is the Q of the QR decomposition of a normal matrix, made unique by a positive
    diagonal of R. (Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", 2013.)

    Raises:
        ValueError: if the tensor has fewer than two dimensions.
    """
    x = _checked("orthogonal_", tensor, 2, gain=gain)
    if not x.numel():
        return x
    xp = array_module(x.data)
    rows, columns = x.shape[0], x.numel() // x.shape[0]
    shape = (max(rows, columns), min(rows, columns))
    q, r = xp.linalg.qr(fill(xp.empty(shape, xp.float64), kernels.random_normal, generator))
    q *= xp.sign(xp.diagonal(r))
    q = (q if rows >= columns else q.T) * float(gain)
    write(x, q.reshape(x.shape), "orthogonal_")
    return x


# Scaled by the numbers of inputs and outputs


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """How much larger a weight should be because of the function that follows.

    1 for linear maps and the sigmoid, 5/3 for tanh, sqrt(2) for relu, sqrt(2 / (1 + a**2)) for
    leaky_relu with slope a = `param` (0.01 by default), 3/4 for selu.

    Raises:
        ValueError: for another function, or a slope that is not finite.
    """
    gains = {"sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75, "leaky_relu": 0.0}
    gains |= dict.fromkeys(("linear", "identity", "conv1d", "conv2d", "conv_transpose2d"), 1.0)
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: no nonlinearity {nonlinearity!r}; there are {', '.join(gains)}"
        )
    if nonlinearity != "leaky_relu":
        return gains[nonlinearity]
    slope = 0.01 if param is None else float(param)
    if not math.isfinite(slope):
        raise ValueError(f"calculate_gain: the slope must be finite, got {slope}")
    return math.sqrt(2 / (1 + slope**2))


def fans(tensor: Tensor, name: str = "fans") -> tuple[int, int]:
    """(fan_in, fan_out) of a weight.

    Raises:
        ValueError: if it has fewer than two dimensions.
    """
    shape = _checked(name, tensor, 2).shape
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _fan(name: str, tensor: Tensor, mode: str) -> int:
    fan_in, fan_out = fans(tensor, name)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return max(fan_in if mode == "fan_in" else fan_out, 1)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform in [-b, b), b = gain sqrt(6 / (fan_in + fan_out)).

    (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010.)

    Raises:
        ValueError: if the tensor has fewer than two dimensions.
    """
    bound = gain * math.sqrt(6 / max(sum(fans(tensor, "xavier_uniform_")), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out)). See `xavier_uniform_`."""
    std = gain * math.sqrt(2 / max(sum(fans(tensor, "xavier_normal_")), 1))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform in [-b, b), b = gain sqrt(3 / fan).

    (He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015.)

    Args:
        tensor: the weight, of shape (out, in, ...).
        a: the slope of the leaky_relu that follows.
        mode: "fan_in" keeps the size of activations, "fan_out" that of gradients.
        nonlinearity: the function that follows, for the gain: see `calculate_gain`.
        generator: where the numbers come from.

    Raises:
        ValueError: if the tensor has fewer than two dimensions, or mode or nonlinearity is unknown.
    """
    gain = calculate_gain(nonlinearity, a)
    bound = gain * math.sqrt(3 / _fan("kaiming_uniform_", tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan). See `kaiming_uniform_`."""
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan("kaiming_normal_", tensor, mode))
    return normal_(tensor, 0.0, std, generator)
