"""JAX: compiled as a whole (jit), and operation by operation (eager)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..harness import Contender
from ..networks import LEARNING_RATE, Conv, Flatten, Layer, Linear, Pool, Relu
from ..operations import Operation
from ..work import Program

LIBRARY = SimpleNamespace(tanh=jnp.tanh, exp=jnp.exp, relu=jax.nn.relu)


def set_threads(count: int) -> None:
    """It uses the processors that the process may run on."""


def derivatives(
    program: Program, inputs: Sequence[Any], constants: Sequence[Any], cotangent: Any
) -> list[Contender]:
    """Value and gradients of a program; with jit nothing is recorded while it is timed."""
    xs = [jnp.asarray(x) for x in inputs]
    cs = [jnp.asarray(c) for c in constants]
    g = jnp.asarray(cotangent)

    def both(xs: list[Any], cs: list[Any], g: Any) -> list[Any]:
        y, backward = jax.vjp(lambda *xs: program(LIBRARY, *xs, *cs), *xs)
        return [y, *backward(g)]

    compiled = jax.jit(both)

    def to_numpy(results: list[Any]) -> list[Any]:
        return [np.asarray(r) for r in results]

    return [
        Contender(
            "jax (jit)",
            lambda: jax.block_until_ready(compiled(xs, cs, g)),
            to_numpy,
            note="one compiled function, compile time not counted",
        ),
        Contender("jax (eager)", lambda: jax.block_until_ready(both(xs, cs, g)), to_numpy),
    ]


def _conv2d(x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
    pads = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(x, w, (stride,) * 2, pads, feature_group_count=groups)


def _max_pool2d(x: Any, size: int) -> Any:
    window = (1, 1, size, size)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def _normalized(x: Any, axes: tuple[int, ...]) -> Any:
    return (x - x.mean(axes, keepdims=True)) * jax.lax.rsqrt(x.var(axes, keepdims=True) + 1e-5)


def _batch_norm(x: Any, mean: None, var: None, w: Any, b: Any, training: bool) -> Any:
    return _normalized(x, (0, 2, 3)) * w[:, None, None] + b[:, None, None]


def _layer_norm(x: Any, shape: tuple[int, ...], w: Any, b: Any) -> Any:
    return _normalized(x, (-1,)) * w + b


def _cross_entropy(scores: Any, classes: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), classes[:, None], axis=1).mean()


FUNCTIONAL = SimpleNamespace(
    conv2d=_conv2d,
    max_pool2d=_max_pool2d,
    relu=jax.nn.relu,
    batch_norm=_batch_norm,
    softmax=lambda x, dim: jax.nn.softmax(x, axis=dim),
    cross_entropy=_cross_entropy,
    layer_norm=_layer_norm,
)
"""The functions that operations use, under PyTorch's names."""


def operation(work: Operation) -> list[Contender]:
    """Forward and backward as one compiled function; it chooses layouts itself."""
    xs = [jnp.asarray(x) for x in work.inputs]
    cs = [jnp.asarray(c) for c in work.constants]
    g = jnp.ones(()) if work.cotangent is None else jnp.asarray(work.cotangent)

    def both(xs: list[Any], cs: list[Any], g: Any) -> list[Any]:
        y, backward = jax.vjp(lambda *xs: work.program(FUNCTIONAL, *xs, *cs), *xs)
        return [y, *backward(g)]

    compiled = jax.jit(both)
    return [
        Contender(
            "jax (jit)",
            lambda: jax.block_until_ready(compiled(xs, cs, g)),
            lambda results: [np.asarray(r) for r in results],
            note="one compiled function, compile time not counted",
        )
    ]


def training_steps(
    network: Sequence[Layer], state: dict[str, Any], x: Any, target: Any
) -> list[Contender]:
    """The whole step as one compiled function, which updates weights and moments in their place."""
    images, classes = jnp.asarray(x), jnp.asarray(target)
    now: list[Any] = []

    def reset() -> None:
        weights = {k: jnp.array(w) for k, w in state.items()}
        first, second = ({k: jnp.zeros_like(w) for k, w in weights.items()} for _ in range(2))
        now[:] = weights, first, second, jnp.zeros(())

    def loss_of(weights: dict[str, Any]) -> Any:
        return _cross_entropy(_forward(network, weights, images), classes)

    def step(*now: Any) -> tuple[Any, ...]:
        loss, gradients = jax.value_and_grad(loss_of)(now[0])
        return loss, *_adam(gradients, *now)

    compiled = jax.jit(step, donate_argnums=(0, 1, 2, 3))

    def run() -> Any:
        loss, *now[:] = compiled(*now)
        return jax.block_until_ready((loss, now))[0]

    note = "one compiled function, compile time not counted"
    return [Contender("jax (jit)", run, lambda loss: [float(loss)], note, reset=reset)]


def _forward(network: Sequence[Layer], weights: dict[str, Any], x: Any) -> Any:
    for i, layer in enumerate(network):
        w, b = weights.get(f"{i}.weight"), weights.get(f"{i}.bias")
        match layer:
            case Conv():
                x = _conv2d(x, w, 1, 1, 1) + b[:, None, None]
            case Linear():
                x = x @ w.T + b
            case Relu():
                x = jax.nn.relu(x)
            case Pool():
                x = _max_pool2d(x, 2)
            case Flatten():
                x = x.reshape(len(x), -1)
    return x


def _adam(gradients: Any, weights: Any, first: Any, second: Any, t: Any) -> tuple[Any, ...]:
    """Kingma and Ba, 2015, algorithm 1."""
    t = t + 1
    tree = jax.tree.map
    first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    epsilon = 1e-8 * jnp.sqrt(1 - 0.999**t)
    weights = tree(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + epsilon), weights, first, second)
    return weights, first, second, t
