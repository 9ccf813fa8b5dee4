"""Loops of CUDA kernels in steps of the whole grid: here they go round again and again.

Launch code gives such a kernel as many blocks as a GPU runs at once, or fewer where there is less
to do. Samples are too small for a block to come round a second time, so here grids are small.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import numpy as np
import pytest
from kernel_calls import check_equal, drawn

import minigrad_kernels.cuda
from minigrad_kernels import BACKENDS, KERNELS, Arguments, Implementation, Kernel
from minigrad_kernels.cuda import elementwise

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"no emulator: {BACKENDS['cuda-on-cpu'].reason}"
)

LIMITS = {"MOST_BLOCKS": 1, "BLOCKS": 2}
"""What launch code calls the most blocks of a grid, and what they are here: some halve it."""


@pytest.fixture(autouse=True)
def small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    found = 0
    for info in pkgutil.iter_modules(minigrad_kernels.cuda.__path__):
        if info.name in ("launch", "emulator", "lint", "matmul_numba"):
            continue
        module = importlib.import_module(f"minigrad_kernels.cuda.{info.name}")
        for name, limit in LIMITS.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, limit)
                found += 1
    assert found > 10
    monkeypatch.setattr(elementwise, "THREADS", 32)


IMPLEMENTATIONS = [
    pytest.param(k, i, id=f"{k.name}-{i.name}")
    for k in KERNELS.values()
    for i in k.implementations
    if i.backend == "cuda-on-cpu"
]


def larger(k: Kernel) -> Iterator[Arguments]:
    """Calls for loops that no sample reaches."""
    rng = np.random.default_rng(3)
    if k.name == "index_bounds":
        yield Arguments((rng.integers(-9, 9, 5000),))
    if k.name == "matmul":  # long sums are split, and their parts added for many results
        x, y = rng.normal(size=(24, 4000)), rng.normal(size=(4000, 48))
        yield Arguments((x.astype("f4"), y.astype("f4")))


@pytest.mark.parametrize(("k", "i"), IMPLEMENTATIONS)
def test_blocks_come_round_again(k: Kernel, i: Implementation) -> None:
    for call in [*drawn(k), *larger(k)]:
        if i.accepts is None or i.accepts(*call.args, **call.options):
            wanted = k.reference(*call.args, **call.options)
            check_equal(k, call, i.run(*call.args, **call.options), wanted, eps=i.eps)
