"""Powers, with tensors or numbers as base and exponent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..graph import OUTPUT
from ..recording import operands, record
from ..tensor import Tensor, TensorLike, as_tensor
from .cast import floating, to
from .elementwise import MISFIT, combine, vanishing, where
from .registry import differentiable, fails, integers, positive, real, sample, separated
from .unary import abs, log


def _base_gradient(g: Any, a: Any, b: Any) -> Any:
    """g * b * a**(b-1), without the pole of a**(b-1) where b is 0 and a is, nearly, too; or NaN."""
    pole = ~(abs(a) >= np.finfo(a.dtype).tiny) if a.dtype.kind in "fc" else a == 0
    return g * b * pow(where(pole & (b == 0), 1, a), b - 1)


def _exponent_gradient(g: Any, a: Any, b: Any, y: Any) -> Any:
    """g * a**b * log(a), 0 where a is 0 and b is not negative."""
    return g * y * log(where((a == 0) & (b >= 0), 1, a))


@differentiable(
    [
        sample(positive(3, 4), real(3, 4)),
        sample(positive(3, 1), real(4)),
        sample(real(2, 3), 3),
        sample(real(2, 3), 2),
        sample(separated(4), -2),
        sample(real(3), 1),
        sample(real(3), 0),
        sample(positive(3), 0.5),
        sample(2.5, real(2, 3)),
        sample(0, positive(3)),
        sample(real(), integers(2, 3, low=2, high=5)),
    ],
    kind="smooth",
    errors=[
        MISFIT,
        fails(ValueError, "pow: integers .* negative power -1", integers(3, high=5), -1),
        fails(
            ValueError, "pow: the exponent 4294967296 does not fit", np.array([2], "i4"), 1 << 32
        ),
        fails(ValueError, "pow: the exponent .* does not fit into int64", [True], 1 << 70),
        fails(ValueError, "negative power -2", integers(2, high=5), integers(2, low=-2, high=-1)),
    ],
)
def pow(a: TensorLike, b: TensorLike) -> Tensor:
    """The power a**b, elementwise, with broadcasting; 0**0 is 1.

    VJP: g * b * a**(b-1) to a, and g * a**b * log(a) to b, which is 0 where a is 0 (unless
    b < 0), and NaN for a negative a, whose power is no continuous function of b.

    Raises:
        ValueError: for a negative power of integers, which is no integer, or an exponent that is
            too large for their type.
    """
    if isinstance(b, (int, float)):
        return _power_of_tensor(as_tensor(a), float(b) if isinstance(b, float) else int(b))
    slope = math.log(a) if isinstance(a, (int, float)) and a > 0 else None
    a, b = operands(a, b, "pow")
    if a.data.dtype.kind in "iu" and b.data.size:
        _check_integer_power(b.data.min())
    y = combine(lambda a, b: a**b, "pow", a, b)
    if slope is not None:
        return record(pow, y, (b, lambda g, y: g * (y * slope), OUTPUT))
    return record(pow, y, (a, _base_gradient, (a, b)), (b, _exponent_gradient, (a, b, OUTPUT)))


def _power_of_tensor(a: Tensor, n: float) -> Tensor:
    """The power whose exponent is a Python number."""
    kind = a.data.dtype.kind
    if kind in "biu" and isinstance(n, float):
        a = floating(a)
    elif kind in "biu":
        a = to(a, dtype=dtypes.int64) if kind == "b" else a
        _check_integer_power(n)
        if n > np.iinfo(a.data.dtype).max:
            raise ValueError(f"pow: the exponent {n} does not fit into {a.dtype}")
    elif isinstance(n, int) and not -(2**53) <= n <= 2**53:
        n = _as_float(n)
    if n == 0:
        return record(pow, a.data**n, (a, vanishing, None))
    return record(pow, a.data**n, (a, lambda g, a: g * (n * a ** (n - 1)), a))


def _as_float(n: int) -> float:
    try:
        return float(n)
    except OverflowError:
        raise ValueError("pow: the exponent does not fit into a floating-point number") from None


def _check_integer_power(n: Any) -> None:
    if n < 0:
        raise ValueError(
            f"pow: integers cannot be raised to the negative power {n}; convert them to float first"
        )
