"""Square matrix products on a GPU in every precision, beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import minigrad_kernels as kernels
from minigrad_kernels import KERNELS

from ..harness import Case
from .gpu import Suite, tf32


class Kind(NamedTuple):
    """A precision, and what computes in it: an implementation of ours, "" for the usual one."""

    words: str
    implementation: str
    tolerance: float


KINDS = (
    Kind("float32", "", 1e-4),
    Kind("TF32", "tf32", 1e-2),
    Kind("TF32 by warpgroups", "6-warpgroups", 1e-2),
    Kind("float16", "", 1e-2),
    Kind("float16 by warpgroups", "6-warpgroups", 1e-2),
    Kind("bfloat16", "bfloat16", 3e-2),
    Kind("bfloat16 by warpgroups", "6-warpgroups-bfloat16", 3e-2),
)


def products(suite: Suite) -> Iterator[Case]:
    """A case for each kind that the device has."""
    n = 64 if suite.small else 4096
    a, b = suite.device.normal(n, n), suite.device.normal(n, n)
    cost = kernels.matmul.cost(a, b)
    for kind in KINDS:
        if not _there(suite, kind.implementation):
            continue
        precision = kind.words.partition(" ")[0]
        x, y = (a.astype("f2"), b.astype("f2")) if precision == "float16" else (a, b)
        name = f"matmul {kind.words}, {n}x{n} times {n}x{n}"
        ours, theirs = _ours(suite, kind, x, y), _theirs(suite, precision, x, y)
        yield suite.case(name, ours, theirs, cost, kind.tolerance)


def _there(suite: Suite, implementation: str) -> bool:
    """Whether the device has it: older GPUs have no warpgroups, nor have newer ones."""
    return all(
        i.reason is None
        for i in KERNELS["matmul"].implementations
        if (i.backend, i.name) == (suite.device.backend, implementation)
    )


def _ours(suite: Suite, kind: Kind, x: Any, y: Any) -> Callable[[], Any]:
    if kind.implementation != "6-warpgroups-bfloat16":
        return suite.asking(kind.implementation, lambda: kernels.matmul(x, y))
    from minigrad_kernels.cuda.matmul_warpgroup import matmul_of_bfloat16

    p, q = _as_bfloat16(x), _as_bfloat16(y)  # in memory, as PyTorch's
    return lambda: matmul_of_bfloat16(p, q)


def _as_bfloat16(x: Any) -> Any:
    """The bits of float32 numbers as bfloat16, rounded to nearest; ties away from zero."""
    return ((x.view("u4") + np.uint32(0x8000)) >> np.uint32(16)).astype("u2")


def _theirs(suite: Suite, precision: str, x: Any, y: Any) -> Callable[[], Any] | None:
    """PyTorch's product in the precision that is meant."""
    if not suite.with_torch:
        return None
    import torch

    s, t = suite.tensors(x, y)
    if precision == "bfloat16":
        s, t = s.bfloat16(), t.bfloat16()
        return lambda: s @ t

    def run() -> Any:
        with tf32(torch, precision == "TF32"):
            return s @ t

    return run
