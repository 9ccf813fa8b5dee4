"""JAX: compiled as a whole (jit), and operation by operation (eager)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..harness import Contender
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
