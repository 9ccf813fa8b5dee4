"""The calls at the sizes of real layers: every kernel has one, and accepts it."""

from __future__ import annotations

import numpy as np
import pytest

from minigrad_kernels import KERNELS, Arguments, arguments
from minigrad_kernels.workloads import (
    OTHER_SIZES,
    WINOGRAD_SIZES,
    Blank,
    Random,
    largest_sample,
    workloads,
)


def shapes(call: Arguments) -> list[tuple[int, ...]]:
    return [np.shape(a) for a in call.args if a is not None]


def test_every_kernel_has_one():
    assert {w.kernel for w in workloads(Blank())} == set(KERNELS)


def test_zeros_have_the_shapes_and_types_of_random_numbers():
    """And every cost can be told."""
    for blank, full in zip(workloads(Blank()), workloads(Random()), strict=True):
        assert (blank.kernel, blank.size) == (full.kernel, full.size)
        assert shapes(blank.call) == shapes(full.call)
        cost = KERNELS[full.kernel].cost(*full.call.args, **full.call.options)
        assert cost.bytes > 0 and cost.flops >= 0
        for a, b in zip(blank.call.args, full.call.args, strict=True):
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype and a.strides == b.strides


@pytest.mark.parametrize("c", [*WINOGRAD_SIZES, *OTHER_SIZES], ids=str)
def test_the_output_of_a_convolution_has_the_size_that_is_said(c):
    x = np.zeros((1, *c.x_shape[1:]), np.float32)
    padding = ((c.padding, c.padding),) * 2
    options = {"stride": (c.stride,) * 2, "padding": padding, "dilation": (1, 1)}
    y = KERNELS["conv2d"].reference(x, np.zeros(c.w_shape, np.float32), groups=c.groups, **options)
    assert y.shape[1:] == c.y_shape[1:]


def test_pooled_indices_lie_in_their_windows():
    (work,) = [w for w in workloads(Random()) if w.kernel == "max_pool2d_gradient"]
    indices = work.call.args[1]
    rows, columns = np.divmod(indices, 56)
    np.testing.assert_array_equal(rows // 2, np.broadcast_to(np.arange(28)[:, None], rows.shape))
    np.testing.assert_array_equal(columns // 2, np.broadcast_to(np.arange(28), rows.shape))


def test_the_largest_sample():
    class Samples:
        @staticmethod
        def samples(rng):
            yield arguments(np.zeros(3))
            yield arguments(np.zeros((2, 4)), None)
            yield arguments(np.zeros(5))

    assert largest_sample(Samples).args[0].shape == (2, 4)
