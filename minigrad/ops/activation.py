"""Activation functions. Their gradients are kernels too, and operations with rules of their own."""

from __future__ import annotations

import math
from typing import Any

import minigrad_kernels as kernels

from ..arguments import number
from ..graph import OUTPUT
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor
from .bounds import clip
from .cast import floating
from .elementwise import gradient_operands, vanishing
from .registry import differentiable, fails, real, sample, separated
from .unary import exp

SMOOTH = [sample(real(3, 4)), sample(real()), sample(real(2, 0))]
"""Samples of a smooth function."""

KINKED = [sample(separated(3, 4)), sample(separated(low=0.5)), sample(separated(2, 0))]
"""Samples of a function with a kink at 0."""

PAIRS = [sample(real(3, 4), separated(3, 4)), sample(real(), separated(high=-0.5))]
"""Samples of a gradient: of the output's, and where it is taken."""

SMOOTH_PAIRS = [sample(real(3, 4), real(3, 4)), sample(real(), real())]
MISFIT = fails(ValueError, "the gradient has shape", real(3), real(4))


# Kinked at 0


def _relu_rule(g: Any, y: Any) -> Any:
    return relu_gradient(g, y) if g.__class__ is Tensor else kernels.relu_gradient(g, y)


@differentiable(KINKED, kind="piecewise")
def relu(input: TensorLike) -> Tensor:
    """max(x, 0), elementwise. Its derivative at 0 is 0.

    >>> relu([-1.0, 0.0, 2.0])
    tensor([0., 0., 2.])
    """
    x = as_tensor(input)
    return record(relu, kernels.relu(x.data), (x, _relu_rule, OUTPUT))


@differentiable(PAIRS, kind="piecewise", errors=[MISFIT])
def relu_gradient(g: TensorLike, y: TensorLike) -> Tensor:
    """The gradient of relu: g where its output y is not 0, else 0."""
    g, y = gradient_operands(g, y, "relu_gradient")
    array = kernels.relu_gradient(g.data, y.data)
    return record(relu_gradient, array, (g, _relu_rule, y), (y, vanishing, None))


@differentiable(
    [*KINKED, sample(separated(6), negative_slope=-0.5)],
    kind="piecewise",
    errors=[
        fails(ValueError, "leaky_relu: negative_slope .* got nan", real(3), math.nan),
        fails(TypeError, "leaky_relu: negative_slope must be a number, got None", real(3), None),
    ],
)
def leaky_relu(input: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, else negative_slope * x; at 0 the derivative is negative_slope.

    Source: Maas, Hannun, Ng, Rectifier nonlinearities improve neural network acoustic models, 2013.
    """
    x = floating(input)
    slope = number(negative_slope, "leaky_relu", "negative_slope", -math.inf)

    def rule(g: Any, x: Any) -> Any:
        return leaky_relu_gradient(g, x, slope)

    return record(leaky_relu, kernels.leaky_relu(x.data, slope=slope), (x, rule, x))


@differentiable([sample(*s.args, negative_slope=0.1) for s in PAIRS], "piecewise", [MISFIT])
def leaky_relu_gradient(g: TensorLike, x: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """The gradient of leaky_relu at x."""
    g, x = gradient_operands(g, x, "leaky_relu_gradient")

    def rule(v: Any, x: Any) -> Any:
        return leaky_relu_gradient(v, x, negative_slope)

    array = kernels.leaky_relu_gradient(g.data, x.data, slope=negative_slope)
    return record(leaky_relu_gradient, array, (g, rule, x), (x, vanishing, None))


@differentiable(
    [*KINKED, sample(separated(6), alpha=0.3)],
    kind="piecewise",
    errors=[
        fails(ValueError, "elu: alpha .* got nan", real(3), math.nan),
        fails(TypeError, "elu: alpha must be a number, got 'a'", real(3), "a"),
    ],
)
def elu(input: TensorLike, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else alpha * (exp(x) - 1).

    Source: Clevert, Unterthiner, Hochreiter, Fast and accurate deep network learning by exponential
    linear units, 2016.
    """
    x, alpha = floating(input), number(alpha, "elu", "alpha", -math.inf)

    def rule(g: Any, x: Any) -> Any:
        return elu_gradient(g, x, alpha)

    return record(elu, kernels.elu(x.data, alpha=alpha), (x, rule, x))


@differentiable([sample(*s.args, alpha=0.3) for s in PAIRS], "piecewise", [MISFIT])
def elu_gradient(g: TensorLike, x: TensorLike, alpha: float = 1.0) -> Tensor:
    """The gradient of elu at x: g where x is positive, else g * alpha * exp(x)."""
    g, x = gradient_operands(g, x, "elu_gradient")

    def rule_g(v: Any, x: Any) -> Any:
        return elu_gradient(v, x, alpha)

    def rule_x(v: Any, g: Any, x: Any) -> Any:  # the exponential is its own derivative
        return elu_gradient(v * g, x, alpha) * (x <= 0)

    array = kernels.elu_gradient(g.data, x.data, alpha=alpha)
    return record(elu_gradient, array, (g, rule_g, x), (x, rule_x, (g, x)))


# S-shaped


def _sigmoid_rule(g: Any, y: Any) -> Any:
    return sigmoid_gradient(g, y) if g.__class__ is Tensor else kernels.sigmoid_gradient(g, y)


@differentiable(SMOOTH, kind="analytic")
def sigmoid(input: TensorLike) -> Tensor:
    """The logistic function 1 / (1 + exp(-x)), elementwise. VJP: g * y * (1 - y), y the output.

    >>> sigmoid([-1e4, 0.0, 1e4])
    tensor([0. , 0.5, 1. ])
    """
    x = floating(input)
    return record(sigmoid, kernels.sigmoid(x.data), (x, _sigmoid_rule, OUTPUT))


@differentiable(SMOOTH_PAIRS, kind="analytic", errors=[MISFIT])
def sigmoid_gradient(g: TensorLike, y: TensorLike) -> Tensor:
    """The gradient of sigmoid: g * y * (1 - y), y its output."""
    g, y = gradient_operands(g, y, "sigmoid_gradient")
    array = kernels.sigmoid_gradient(g.data, y.data)
    edge = (y, lambda v, g, y: v * g * (1 - 2 * y), (g, y))
    return record(sigmoid_gradient, array, (g, _sigmoid_rule, y), edge)


def _tanh_rule(g: Any, y: Any) -> Any:
    return tanh_gradient(g, y) if g.__class__ is Tensor else kernels.tanh_gradient(g, y)


@differentiable(SMOOTH, kind="analytic")
def tanh(input: TensorLike) -> Tensor:
    """Hyperbolic tangent. VJP: g * (1 - y**2), y the output."""
    x = floating(input)
    return record(tanh, kernels.tanh(x.data), (x, _tanh_rule, OUTPUT))


@differentiable(SMOOTH_PAIRS, kind="analytic", errors=[MISFIT])
def tanh_gradient(g: TensorLike, y: TensorLike) -> Tensor:
    """The gradient of tanh: g * (1 - y**2), y its output."""
    g, y = gradient_operands(g, y, "tanh_gradient")
    array = kernels.tanh_gradient(g.data, y.data)
    edge = (y, lambda v, g, y: v * g * (-2 * y), (g, y))
    return record(tanh_gradient, array, (g, _tanh_rule, y), edge)


# Smooth relatives of relu


@differentiable(SMOOTH, kind="analytic")
def silu(input: TensorLike) -> Tensor:
    """x * sigmoid(x), also called swish.

    Source: Elfwing, Uchibe, Doya, Sigmoid-weighted linear units, 2018.
    """
    x = floating(input)
    return record(silu, kernels.silu(x.data), (x, lambda g, x: silu_gradient(g, x), x))


@differentiable(SMOOTH_PAIRS, kind="analytic", errors=[MISFIT])
def silu_gradient(g: TensorLike, x: TensorLike) -> Tensor:
    """The gradient of silu at x: g * s * (1 + x * (1 - s)), s = sigmoid(x)."""
    g, x = gradient_operands(g, x, "silu_gradient")

    def rule(v: Any, g: Any, x: Any) -> Any:
        s = sigmoid(x)
        return v * g * s * (1 - s) * (2 + x * (1 - 2 * s))

    array = kernels.silu_gradient(g.data, x.data)
    return record(silu_gradient, array, (g, lambda v, x: silu_gradient(v, x), x), (x, rule, (g, x)))


@differentiable(
    [*SMOOTH, sample(separated(6), beta=2.5, threshold=2.0)],
    kind="piecewise",
    errors=[
        fails(ValueError, "softplus: beta is 0, wants another number", real(3), beta=0),
        fails(ValueError, "softplus: beta .* got nan", real(3), beta=math.nan),
        fails(ValueError, "softplus: threshold .* got nan", real(3), threshold=math.nan),
    ],
)
def softplus(input: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x exceeds the threshold.

    Raises:
        ValueError: if beta is 0, or a number is NaN.

    >>> softplus([-1e4, 0.0, 1e4])
    tensor([0.0000e+00, 6.9315e-01, 1.0000e+04])
    """
    beta = number(beta, "softplus", "beta", -math.inf)
    threshold = number(threshold, "softplus", "threshold", -math.inf)
    if beta == 0:
        raise ValueError("softplus: beta is 0, wants another number")
    x = floating(input)

    def rule(g: Any, x: Any) -> Any:
        return softplus_gradient(g, x, beta, threshold)

    array = kernels.softplus(x.data, beta=beta, threshold=threshold)
    return record(softplus, array, (x, rule, x))


@differentiable(
    [*SMOOTH_PAIRS, sample(real(6), separated(6), beta=2.5, threshold=2.0)], "piecewise", [MISFIT]
)
def softplus_gradient(
    g: TensorLike, x: TensorLike, beta: float = 1.0, threshold: float = 20.0
) -> Tensor:
    """The gradient of softplus at x: g * sigmoid(beta * x), and g beyond the threshold."""
    g, x = gradient_operands(g, x, "softplus_gradient")

    def rule_g(v: Any, x: Any) -> Any:
        return softplus_gradient(v, x, beta, threshold)

    def rule_x(v: Any, g: Any, x: Any) -> Any:
        s = sigmoid(x * beta)
        return v * g * beta * s * (1 - s) * (x * beta <= threshold)

    array = kernels.softplus_gradient(g.data, x.data, beta=beta, threshold=threshold)
    return record(softplus_gradient, array, (g, rule_g, x), (x, rule_x, (g, x)))


@differentiable(
    [*SMOOTH, *(sample(*s.args, approximate="tanh") for s in SMOOTH)],
    kind="smooth",
    errors=[fails(ValueError, "gelu: approximate is 'erf', wants", real(3), approximate="erf")],
)
def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """x * P(Z < x) for a standard normal Z; with `"tanh"`, its approximation by a tanh.

    Source: Hendrycks, Gimpel, Gaussian error linear units, 2016.

    Raises:
        ValueError: if `approximate` is neither `"none"` nor `"tanh"`.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}, wants 'none' or 'tanh'")
    x = floating(input)

    def rule(g: Any, x: Any) -> Any:
        return gelu_gradient(g, x, approximate)

    return record(gelu, kernels.gelu(x.data, approximate=approximate), (x, rule, x))


@differentiable(
    [*SMOOTH_PAIRS, *(sample(*s.args, approximate="tanh") for s in SMOOTH_PAIRS)],
    kind="smooth",
    errors=[MISFIT],
)
def gelu_gradient(g: TensorLike, x: TensorLike, approximate: str = "none") -> Tensor:
    """The gradient of gelu at x."""
    g, x = gradient_operands(g, x, "gelu_gradient")
    curvature = _tanh_curvature if approximate == "tanh" else _normal_curvature

    def rule_g(v: Any, x: Any) -> Any:
        return gelu_gradient(v, x, approximate)

    def rule_x(v: Any, g: Any, x: Any) -> Any:
        return curvature(x) * (v * g)

    array = kernels.gelu_gradient(g.data, x.data, approximate=approximate)
    return record(gelu_gradient, array, (g, rule_g, x), (x, rule_x, (g, x)))


def _normal_curvature(x: Any) -> Tensor:
    """The second derivative of x * P(Z < x). Beyond 40 it is 0 in every type."""
    z = clip(x, -40, 40)
    return exp(-0.5 * z * z) * (2 - z * z) * (1 / math.sqrt(2 * math.pi))


def _tanh_curvature(x: Any) -> Tensor:
    """The second derivative of x * (1 + tanh u) / 2, u = sqrt(2 / pi) * (x + 0.044715 * x**3).

    Beyond 40 it is 0 in every type. (1 + tanh u) / 2 is sigmoid(2 * u).
    """
    z = clip(x, -40, 40)
    factor = math.sqrt(2 / math.pi)
    square = z * z
    s = sigmoid(2 * factor * z * (1 + 0.044715 * square))
    du = factor * (1 + 3 * 0.044715 * square)
    return 4 * s * (1 - s) * (du + z * (factor * 3 * 0.044715 * z - (2 * s - 1) * du * du))
