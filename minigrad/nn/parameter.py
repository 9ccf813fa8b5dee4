"""Parameter: a tensor that is trained; and how layers make and initialise theirs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes, ops
from ..tensor import Tensor, wrap
from . import init


class Parameter(Tensor):
    """A tensor that a module trains: an attribute of this type is found by `Module.parameters`.

    Args:
        data: an array (whose memory is shared), a tensor, a number, or nested lists of numbers.
        requires_grad: False freezes it.

    Raises:
        TypeError: if it shall be trained and does not hold real floating-point numbers.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, None, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


# What layers share


def empty(layer: str, *shape: int, dtype: Any = None, device: Any = None) -> Parameter:
    """A parameter of zeros, to be initialised.

    Raises:
        TypeError: if the type is not a floating-point type.
    """
    kind = np.dtype(dtypes.get_default_dtype() if dtype is None else dtype)
    if not dtypes.is_floating(kind):
        raise TypeError(f"{layer}: dtype must be a floating-point type, got {kind}")
    zeros = wrap(np.zeros(shape, kind))
    return Parameter(zeros if device is None else ops.to(zeros, device=device))


def reset(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default for linear layers and convolutions: uniform in ±1/√(fan-in), both.

    For the weight that is Kaiming's uniform initialisation with a = √5 (He et al. 2015).
    """
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(math.prod(weight.shape[1:]))
        init.uniform_(bias, -bound, bound)
