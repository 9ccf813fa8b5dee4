"""Dropout."""

from __future__ import annotations

import math

import minigrad_kernels as kernels
from minigrad_kernels.random import blocks_taken

from .. import dtypes, random
from ..arguments import integer
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor
from .registry import differentiable, fails, real, sample


def _checked(name: str, input: TensorLike, p: float) -> Tensor:
    x = as_tensor(input)
    if not dtypes.is_floating(x.dtype):
        raise TypeError(f"{name}: wants floating-point numbers, got {x.dtype}")
    if isinstance(p, bool) or not isinstance(p, (int, float)):
        raise TypeError(f"{name}: p must be a number, got {type(p).__name__}")
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be a probability in [0, 1], got {p}")
    return x


@differentiable(
    [
        sample(real(4, 5), p=0.4, seed=3, offset=0),
        sample(real(), p=0.5, seed=4, offset=1),
        sample(real(2, 3), p=1.0, seed=4, offset=1),
        sample(real(0, 3), p=0.5, seed=4, offset=1),
    ],
    kind="linear",
    errors=[
        fails(ValueError, "p must be", real(3), p=1.5, seed=0, offset=0),
        fails(TypeError, "seed must be", real(3), p=0.5, seed=0.5, offset=0),
    ],
)
def seeded_dropout(input: TensorLike, p: float, seed: int, offset: int) -> Tensor:
    """`dropout` whose random numbers are given: the stream of `seed`, from block `offset` on.

    VJP: the same function of g. It is linear and keeps or drops each element alone, so it is its
    own transpose; nothing is stored for backward, the random numbers are computed again.

    Raises:
        ValueError: if p is not in [0, 1].
        TypeError: if the input is not floating-point, or seed or offset are not integers.
    """
    x = _checked("seeded_dropout", input, p)
    seed = integer(seed, "seeded_dropout", "seed")
    offset = integer(offset, "seeded_dropout", "offset")
    y = kernels.dropout(x.data, p=p, seed=seed, offset=offset)
    return record(seeded_dropout, y, (x, lambda g: seeded_dropout(g, p, seed, offset), None))


@differentiable(
    # Only p = 0 and p = 1 are the same function at every call; seeded_dropout is tested in between.
    [sample(real(3, 4), p=0.0), sample(real(3, 4), p=1.0)],
    kind="linear",
    errors=[
        fails(ValueError, r"p must be a probability in \[0, 1\], got 1.5", real(3), p=1.5),
        fails(ValueError, "p must be", real(3), p=-0.1),
        fails(ValueError, "p must be", real(3), p=math.nan, training=False),
        fails(TypeError, "p must be a number", real(3), p="half"),
        fails(TypeError, "wants floating-point", [1, 2, 3]),
    ],
)
def dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    *,
    generator: random.Generator | None = None,
) -> Tensor:
    """Zero each element with probability p, and divide the others by 1 - p, so that the mean stays.

    With `training=False` it is the input itself. (Srivastava et al., "Dropout: a simple way to
    prevent neural networks from overfitting", JMLR 2014.)

    Args:
        input: any shape, floating-point.
        p: the probability; 1 gives zeros.
        training: whether to drop anything.
        generator: where the random numbers come from; None is the default generator.

    Raises:
        ValueError: if p is not in [0, 1]; TypeError: if the input is not floating-point.
    """
    x = _checked("dropout", input, p)
    if not training:
        return x
    if generator is None:
        generator = random.default_generator
    elif not isinstance(generator, random.Generator):
        raise TypeError(f"dropout: wants a Generator, got {type(generator).__name__}")
    seed, offset = generator.take(blocks_taken(x.data.size, 4))
    return seeded_dropout(x, p, seed, offset)
