"""What only some GPUs have: where an implementation needs it, and there is none."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS, KERNELS, Implementation
from minigrad_kernels.cuda.capability import TENSOR_CORES, WARPGROUPS

NEEDING = [
    pytest.param(i, id=f"{k.name}-{i.name}")
    for k in KERNELS.values()
    for i in k.implementations
    if i.needs is not None and i.backend == "cuda"
]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a machine with GPUs of these compute capabilities."""

    def make(*capabilities: str) -> None:
        devices = [SimpleNamespace(compute_capability=c) for c in capabilities]
        runtime = SimpleNamespace(getDeviceCount=lambda: len(devices))
        cuda = SimpleNamespace(Device=devices.__getitem__, runtime=runtime)
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
        monkeypatch.setitem(BACKENDS["cuda"].__dict__, "reason", None)

    return make


def array_on(capability: str) -> Any:
    """A matrix, or images, on such a GPU, as far as it is asked about."""
    device = SimpleNamespace(compute_capability=capability)
    return SimpleNamespace(device=device, dtype=np.dtype("f4"), ndim=2, shape=(8, 8), size=64)


def test_all_that_rounds_on_tensor_cores_needs_them() -> None:
    """Also the convolutions of halves, which are chosen by themselves."""
    rounding = {i for k in KERNELS.values() for i in k.implementations if i.eps}
    halves = {i for k in KERNELS.values() for i in k.implementations if i.name == "half"}
    assert rounding and len(halves) == 6
    assert all(i.needs in (TENSOR_CORES, WARPGROUPS) for i in rounding | halves)


@pytest.mark.parametrize("i", NEEDING)
def test_it_is_not_usable_where_no_gpu_has_what_it_needs(i: Implementation, machine: Any) -> None:
    machine("75")
    assert str(i.reason).endswith("; here is 7.5")
    machine("75", "90")
    assert i.reason is None


def test_the_emulator_has_everything(machine: Any) -> None:
    machine("75")
    on_emulator = [
        i for k in KERNELS.values() for i in k.implementations if i.backend == "cuda-on-cpu"
    ]
    assert all(i.reason == BACKENDS["cuda-on-cpu"].reason for i in on_emulator)


def test_of_several_gpus_the_arrays_own_counts() -> None:
    (tf32,) = (i for i in KERNELS["matmul"].implementations if i.label == "cuda:tf32")
    assert tf32.accepts is not None
    for capability, accepted in (("75", False), ("80", True), ("120", True)):
        x = array_on(capability)
        assert tf32.accepts(x, x) == accepted
    x = np.ones((8, 8), np.float32)
    assert tf32.accepts(x, x) and not tf32.accepts(x.astype("f8"), x.astype("f8"))


@pytest.mark.parametrize(
    ("capability", "tensor_cores", "warpgroups"),
    [("75", False, False), ("80", True, False), ("90", True, True), ("100", True, False)],
)
def test_which_gpus_have_what(capability: str, tensor_cores: bool, warpgroups: bool) -> None:
    x = array_on(capability)
    assert (TENSOR_CORES.lacking(x) is None) == tensor_cores
    assert (WARPGROUPS.lacking(x) is None) == warpgroups
