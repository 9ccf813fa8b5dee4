"""Operations that move more than they compute, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np

from minigrad_kernels.workloads import Random

from .. import peers as adapters, roofline
from ..harness import OURS, Budget, Case
from ..operations import Operation

BUDGET = Budget(seconds=0.7, rounds=11, limit=8.0)


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """All operations, in both layouts of images where a library knows them."""
    libraries = [adapters.load(OURS), *(p for p in peers if hasattr(p, "operation"))]
    for work in operations(small=quick):
        case = Case(work.name, [c for library in libraries for c in library.operation(work)])
        if not quick:
            case.figures = lambda ours, moved=work.bytes: figures(ours, moved)
        yield case


def figures(seconds: float, moved: float) -> dict[str, float]:
    """How so many bytes compare with the triad's."""
    rate = moved / seconds
    return {"MB": moved / 1e6, "GB/s": rate / 1e9, "of the triad": rate / roofline.ceilings().bytes}


def operations(small: bool = False) -> Iterator[Operation]:
    """The operations, with the bytes that each must move.

    An input is read in the forward pass and, where the gradient needs it, again in the backward
    pass; results and gradients are written or read once. Statistics of rows and channels, positions
    of maxima and class numbers are too small to count.
    """
    draw = Random()
    images = (2, 4, 8, 8) if small else (32, 64, 56, 56)
    x, g = draw.normal(*images), draw.normal(*images)
    name = "x".join(map(str, images))
    half = draw.normal(*images[:2], images[2] // 2, images[3] // 2)
    n = float(x.nbytes)
    yield Operation(
        f"max-pool 2x2, {name}", lambda F, x: F.max_pool2d(x, 2), (x,), (), half, 2.5 * n
    )
    yield Operation(f"ReLU, {name}", lambda F, x: F.relu(x), (x,), (), g, 5 * n)
    weight, bias = draw.uniform(2, images[1]) + np.float32(0.5)
    yield Operation(
        f"batch norm, {name}",
        lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        (x, weight, bias),
        (),
        g,
        5 * n,
    )
    rows, classes, width = (4, 10, 12) if small else (512, 1000, 768)
    x, g = draw.normal(rows, classes), draw.normal(rows, classes)
    n = float(x.nbytes)
    size = f"{rows}x{classes}"
    yield Operation(f"softmax, {size}", lambda F, x: F.softmax(x, dim=1), (x,), (), g, 5 * n)
    target = draw.integers(classes, rows)
    yield Operation(
        f"cross-entropy, {size}",
        lambda F, x, t: F.cross_entropy(x, t),
        (x,),
        (target,),
        None,
        3 * n,
    )
    x, g = draw.normal(rows, width), draw.normal(rows, width)
    weight, bias = draw.uniform(2, width) + np.float32(0.5)
    yield Operation(
        f"layer norm, {rows}x{width}",
        lambda F, x, w, b: F.layer_norm(x, (width,), w, b),
        (x, weight, bias),
        (),
        g,
        5 * float(x.nbytes),
    )
