"""Convolutions as networks have them, forward and backward: images and filters get gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from minigrad_kernels.workloads import OTHER_SIZES, WINOGRAD_SIZES, Convolution, Random

from .. import peers as adapters
from ..harness import OURS, Budget, Case
from ..operations import Operation

BUDGET = Budget(seconds=0.5, rounds=7, limit=10.0)

SMALL = (Convolution(2, 8, 8, 8), Convolution(2, 8, 8, 8, stride=2))
"""For a quick look."""


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """Each of the sizes, in both layouts of images where a library knows them."""
    libraries = [adapters.load(OURS), *(p for p in peers if hasattr(p, "operation"))]
    for size in SMALL if quick else (*WINOGRAD_SIZES, *OTHER_SIZES):
        work = operation(size)
        yield Case(str(size), [c for library in libraries for c in library.operation(work)])


def operation(size: Convolution) -> Operation:
    """A convolution without bias, and random numbers for it."""
    draw = Random()
    return Operation(
        str(size),
        lambda F, x, w: F.conv2d(
            x, w, stride=size.stride, padding=size.padding, groups=size.groups
        ),
        (draw.normal(*size.x_shape), draw.normal(*size.w_shape)),
        cotangent=draw.normal(*size.y_shape),
    )
