"""Hypothesis strategies for testing gradients and kernels. Needs the package hypothesis.

Shapes, memory layouts, numbers, geometries of convolutions and pooling, calls of this library's
operations. They draw NumPy arrays (`tensors` draws tensors), so that they serve code written for
any framework: here a gradient of JAX, one of PyTorch works in the same way.

    import jax
    from hypothesis import given
    from minigrad.testing import assert_gradients
    from minigrad.testing.strategies import arrays, shapes

    jax.config.update("jax_enable_x64", True)

    def vjp(cotangent, x):
        return jax.vjp(f, x)[1](cotangent)

    @given(shapes(max_dims=2).flatmap(arrays))
    def test_gradient_of_f(x):
        assert_gradients((f, vjp), [x])

Numbers come from a seeded generator, not from Hypothesis's own array strategy, which draws a few
entries and fills the rest with one number: accidental ties everywhere. Ties are drawn where they
are asked for (`tied`). Shapes, layouts and geometries shrink; random numbers have no simpler form,
and are left as they are. Random programs are in `minigrad.testing.programs`.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError(
        "minigrad.testing.strategies needs the package hypothesis: pip install hypothesis"
    ) from error

from .calls import OperationCall as OperationCall, operation_calls as operation_calls
from .geometry import (
    MatmulProblem as MatmulProblem,
    WindowProblem as WindowProblem,
    conv2d_problems as conv2d_problems,
    matmul_problems as matmul_problems,
    pool2d_problems as pool2d_problems,
)
from .layouts import (
    LAYOUTS as LAYOUTS,
    Layout as Layout,
    column_major as column_major,
    contiguous as contiguous,
    gaps as gaps,
    layouts as layouts,
    repeated as repeated,
    reversed_strides as reversed_strides,
    tensors as tensors,
)
from .shapes import (
    Draw as Draw,
    Shape as Shape,
    block_edges as block_edges,
    broadcastable as broadcastable,
    shapes as shapes,
)
from .values import (
    arrays as arrays,
    cotangents as cotangents,
    extremes as extremes,
    flushes_subnormals as flushes_subnormals,
    separated as separated,
    tied as tied,
)
