"""Layer normalisation, and what it shares with batch normalisation (`batch_norm.py`).

Each is three operations that are closed under differentiation: the normalisation, the gradient of
its input and that of its weight. J is the Jacobian of x -> x^, the normalised x, and symmetric; the
weight w scales what comes after it. With a cotangent h,

- the input's gradient J(w g) is linear in g, with transpose w J(h); by w, it gives the sum of
  g J(h); by x, see `curvature`;
- the weight's gradient, the sum of g x^, gives h x^ by g, and J(h g) by x.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

import minigrad_kernels as kernels

from .. import dtypes
from ..graph import Clock
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor, together, wrap
from .elementwise import add, mul, sub
from .reduce import mean as mean_of
from .registry import differentiable, fails, positive, real, sample
from .shape import reshape
from .unary import rsqrt


def data_of(x: Tensor | None) -> Any:
    """The array of an optional tensor."""
    return None if x is None else x.data


def curvature(h: Any, u: Any, x: Any, axes: tuple[int, ...], eps: float) -> Tensor:
    """The derivative by x of the sum of h J(u), J taken over `axes`.

    In each group of n elements that sum is n S / s, where S = mean(h u) - a b, a = mean(h x^),
    b = mean(u x^) for centred h and u. From d(1/s)/dx = -x^ / (n s**2), da/dx = J(h) / n and
    db/dx = J(u) / n follows -S x^ / s**2 - (b J(h) + a J(u)) / s.
    """
    h, u, x = as_tensor(h), as_tensor(u), as_tensor(x)
    centred, hc, uc = (sub(t, mean_of(t, axes, True)) for t in (x, h, u))
    r = rsqrt(add(mean_of(mul(centred, centred), axes, True), eps))  # 1 / s
    y = centred * r
    a, b = mean_of(hc * y, axes, True), mean_of(uc * y, axes, True)
    s = mean_of(hc * uc, axes, True) - a * b
    jh, ju = (hc - y * a) * r, (uc - y * b) * r
    return -(r * r * s) * y - r * (b * jh + a * ju)


def checked(name: str, x: Tensor, shape: tuple[int, ...], **parameters: Any) -> list[Any]:
    """Weight, bias and so on as tensors, if they are None or fit x."""
    if not dtypes.is_floating(x.dtype):
        raise TypeError(f"{name}: wants floating-point numbers, got {x.dtype}")
    found: list[Any] = []
    for what, value in parameters.items():
        v = None if value is None else together(name, x, value)[1]
        if v is not None and v.shape != shape:
            raise ValueError(
                f"{name}: {what} has shape {v.shape}, wants {shape} for an input of shape {x.shape}"
            )
        if v is not None and v.dtype != x.dtype and not what.startswith("running"):
            raise TypeError(f"{name}: {what} is {v.dtype}, the input {x.dtype}")
        found.append(v)
    return found


def check_eps(name: str, eps: float) -> None:
    """Refuse an eps that makes no sense."""
    if not (isinstance(eps, (int, float)) and 0 <= eps < math.inf):
        raise ValueError(f"{name}: eps must be a finite number that is not negative, got {eps}")


def check_same_shape(name: str, g: Tensor, x: Tensor) -> None:
    """Refuse a gradient that is not of the output's, and so the input's, shape."""
    if g.shape != x.shape:
        raise ValueError(f"{name}: g has shape {g.shape}, x {x.shape}")


def statistics_of(x: Tensor, kernel: kernels.Kernel, given: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of each group of x: those given, or what the kernel finds."""
    if given is None:
        _, mean, var = kernel(x.data, None, None, eps=1.0)
        return wrap(mean), wrap(var)
    return as_tensor(given[0]), as_tensor(given[1])


class Together:
    """The gradients of input, weight and bias share their sums, and are computed in one go.

    A backward pass over bare arrays calls the rules of a node one after the other with the same
    gradient g. The first, the input's, leaves the others' results for them: each to be taken once,
    with the same g, before any tensor was changed in place. A rule that finds nothing, since only
    its own gradient was asked for, computes it alone.
    """

    def __init__(self, kernel: kernels.Kernel, eps: float) -> None:
        self.kernel = kernel
        self.eps = eps
        self.left: dict[str, Any] = {}

    def input(self, g: Any, x: Any, m: Any, v: Any, w: Any = None) -> Any:
        """The gradient of the input."""
        dx, dw, db = self.kernel(g, x, w, m, v, eps=self.eps)
        self.left = {"g": weakref.ref(g), "at": Clock.latest_change, "weight": dw, "bias": db}
        return dx

    def found(self, what: str, g: Any) -> Any:
        """The gradient of "weight" or "bias" if it was left for this g, or None."""
        left = self.left
        if left and left["g"]() is g and left["at"] == Clock.latest_change:
            return left.pop(what, None)
        return None


# Layer norm: (..., D), normalised along the last dimension


@differentiable(
    [
        sample(real(3, 4), real(3, 4), real(4)),
        sample(real(2, 2, 3), real(2, 2, 3)),
        sample(real(4), real(4), positive(4), eps=0.1),
    ],
    kind="smooth",
    errors=[
        fails(ValueError, "g has shape", real(3, 2), real(2, 2)),
        fails(ValueError, "weight has shape", real(3, 2), real(3, 2), real(3)),
    ],
)
def layer_norm_input_gradient(
    g: TensorLike,
    x: TensorLike,
    weight: TensorLike | None = None,
    eps: float = 1e-5,
    statistics: tuple[Any, Any] | None = None,
) -> Tensor:
    """The gradient of the input of `layer_norm` over the last dimension, for a gradient g.

    (u - mean(u) - x^ mean(u x^)) / s with u = g weight, means over each row, s its deviation.

    Args:
        g: (..., D).
        x: the input of the same shape.
        weight: (D,), or None for ones.
        eps: as in `layer_norm`.
        statistics: the mean and variance of each row of x, if they are known.

    Raises:
        ValueError: if the shapes do not fit; TypeError: if the types do not.
    """
    g, x = together("layer_norm_input_gradient", g, x)
    check_same_shape("layer_norm_input_gradient", g, x)
    (w,) = checked("layer_norm_input_gradient", x, x.shape[-1:], weight=weight)
    m, v = statistics_of(x, kernels.layer_norm, statistics)
    dx = kernels.layer_norm_input_gradient(g.data, x.data, data_of(w), m.data, v.data, eps=eps)

    def by_g(h: Any, x: Any, m: Any, v: Any, w: Any = None) -> Tensor:
        j = layer_norm_input_gradient(h, x, None, eps, (m, v))
        return j if w is None else j * w

    def by_x(h: Any, g: Any, x: Any, w: Any = None) -> Tensor:
        return curvature(h, g if w is None else g * w, x, (-1,), eps)

    def by_weight(h: Any, g: Any, x: Any, m: Any, v: Any) -> Tensor:
        return mul(g, layer_norm_input_gradient(h, x, None, eps, (m, v)))  # summed by the engine

    known = () if w is None else (w,)
    edges: list[Any] = [(g, by_g, (x, m, v, *known)), (x, by_x, (g, x, *known))]
    if w is not None:
        edges.append((w, by_weight, (g, x, m, v)))
    return record(layer_norm_input_gradient, dx, *edges)


@differentiable(
    [sample(real(3, 4), real(3, 4)), sample(real(2, 2, 3), real(2, 2, 3), eps=0.1)],
    kind="smooth",
    errors=[fails(ValueError, "g has shape", real(3, 2), real(2, 2))],
)
def layer_norm_weight_gradient(
    g: TensorLike,
    x: TensorLike,
    eps: float = 1e-5,
    statistics: tuple[Any, Any] | None = None,
) -> Tensor:
    """The gradient of the weight of `layer_norm`: the sum of g x^ over all rows, of shape (D,).

    Arguments and errors as `layer_norm_input_gradient`'s.
    """
    g, x = together("layer_norm_weight_gradient", g, x)
    check_same_shape("layer_norm_weight_gradient", g, x)
    checked("layer_norm_weight_gradient", x, ())
    m, v = statistics_of(x, kernels.layer_norm, statistics)
    dw = kernels.layer_norm_weight_gradient(g.data, x.data, m.data, v.data, eps=eps)

    def by_g(h: Any, x: Any) -> Tensor:
        return layer_norm(x, x.shape[-1:], h, None, eps)

    def by_x(h: Any, g: Any, x: Any, m: Any, v: Any) -> Tensor:
        return layer_norm_input_gradient(g, x, h, eps, (m, v))

    return record(layer_norm_weight_gradient, dw, (g, by_g, x), (x, by_x, (g, x, m, v)))


def _over_rows(x: Tensor, w: Any, b: Any, eps: float) -> Tensor:
    """Layer norm along the last dimension."""
    y, mean, var = kernels.layer_norm(x.data, data_of(w), data_of(b), eps=eps)
    m, v = wrap(mean), wrap(var)
    joint = Together(kernels.layer_norm_gradients, eps)

    def by_x(g: Any, x: Any, m: Any, v: Any, w: Any = None) -> Any:
        if g.__class__ is not Tensor:
            return joint.input(g, x, m, v, w)
        return layer_norm_input_gradient(g, x, w, eps, (m, v))

    def by_weight(g: Any, x: Any, m: Any, v: Any) -> Any:
        found = joint.found("weight", g)
        return layer_norm_weight_gradient(g, x, eps, (m, v)) if found is None else found

    def by_bias(g: Any) -> Any:
        found = joint.found("bias", g)
        return g if found is None else found  # summed over the rows by the engine

    edges: list[Any] = [(x, by_x, (x, m, v) if w is None else (x, m, v, w))]
    if w is not None:
        edges.append((w, by_weight, (x, m, v)))
    if b is not None:
        edges.append((b, by_bias, None))
    return record(layer_norm, y, *edges)


@differentiable(
    [
        sample(real(3, 4), (4,), real(4), real(4)),
        sample(real(2, 2, 3), 3),
        sample(real(2, 2, 3), (2, 3), real(2, 3), None, eps=0.1),
        sample(real(4), 4, None, real(4)),
        sample(real(0, 3), 3, real(3), real(3)),
    ],
    kind="smooth",
    errors=[
        fails(ValueError, "normalized_shape", real(3, 4), 3),
        fails(ValueError, "normalized_shape", real(3, 0), 0),
        fails(ValueError, "normalized_shape", real(3), (3, 3)),
        fails(ValueError, "weight has shape", real(3, 4), 4, real(3)),
        fails(TypeError, "floating-point", [1, 2, 3], 3),
        fails(ValueError, "eps", real(3, 4), 4, eps=math.nan),
    ],
)
def layer_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, with statistics over the last dimensions.

    The variance is the biased one. (Ba, Kiros and Hinton, "Layer normalization", 2016.)

    Args:
        input: (..., *normalized_shape), floating-point.
        normalized_shape: the lengths of the dimensions to normalise over; a number for the last.
        weight: of shape `normalized_shape`, or None for ones.
        bias: likewise, or None for zeros.
        eps: added to the variance.

    Raises:
        ValueError: if shapes do not fit, or eps is negative or not finite.
        TypeError: if the types do not fit.
    """
    x = as_tensor(input)
    single = isinstance(normalized_shape, (int, np.integer))
    shape: tuple[Any, ...] = (normalized_shape,) if single else tuple(normalized_shape)  # type: ignore[arg-type]
    if not shape or x.shape[-len(shape) :] != shape or 0 in shape:
        raise ValueError(
            f"layer_norm: normalized_shape {shape} is not the end of the input's shape {x.shape}, "
            "or has no elements"
        )
    w, b = checked("layer_norm", x, shape, weight=weight, bias=bias)
    check_eps("layer_norm", eps)
    if len(shape) == 1:
        return _over_rows(x, w, b, eps)
    flat = (math.prod(shape),)
    rows = x.shape[: -len(shape)] + flat
    w, b = (None if p is None else reshape(p, flat) for p in (w, b))
    return reshape(_over_rows(reshape(x, rows), w, b, eps), x.shape)
