"""Why there is no GPU, in words: for every way in which an installation can be broken."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import minigrad as mg
from minigrad_kernels.cuda import probe


class CUDARuntimeError(RuntimeError):
    """As `cupy.cuda.runtime.CUDARuntimeError`."""


class CompileException(Exception):
    """As `cupy.cuda.compiler.CompileException`."""


def raising(error: Exception) -> Any:
    def raises(*_: Any, **__: Any) -> Any:
        raise error

    return raises


def importing(error: Exception) -> Any:
    """An `__import__` that raises for CuPy."""
    usual = builtins.__import__

    def importing(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "cupy":
            raise error
        return usual(name, *args, **options)

    return importing


def installation(**broken: Any) -> Any:
    """A module `cupy` on a machine where everything works but what is named."""
    runtime = SimpleNamespace(
        getDeviceCount=broken.get("devices", lambda: 1),
        driverGetVersion=lambda: broken.get("driver", 13020),
        runtimeGetVersion=lambda: 13020,
        CUDARuntimeError=CUDARuntimeError,
    )

    def run(grid: Any, block: Any, args: Any) -> None:
        args[0][0] = broken.get("result", 42.0)

    return SimpleNamespace(
        cuda=SimpleNamespace(runtime=runtime),
        zeros=broken.get("zeros", lambda n, dtype: [0.0]),
        RawKernel=broken.get("compile", lambda source, name: run),
        float32=float,
    )


INSUFFICIENT = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

BROKEN = {
    "too old": (
        {"devices": raising(INSUFFICIENT), "driver": 12040},
        r"the driver knows CUDA up to 12.4, CuPy wants 13.2: update it \(CUDARuntimeError",
    ),
    "no device": ({"devices": lambda: 0}, "the driver finds no GPU$"),
    "hidden device": (
        {"devices": raising(CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device"))},
        "the driver finds no GPU",
    ),
    "used before a fork": (
        {"devices": raising(CUDARuntimeError("cudaErrorInitializationError: initialization"))},
        "CUDA does not start: a process that was forked .* start processes by `spawn`",
    ),
    "busy": (
        {"zeros": raising(CUDARuntimeError("cudaErrorDevicesUnavailable: busy or unavailable"))},
        "the GPU is busy or out of order",
    ),
    "no memory": (
        {"zeros": raising(MemoryError("cudaErrorMemoryAllocation: out of memory"))},
        "the GPU has not enough free memory",
    ),
    "no compiler": (
        {"compile": raising(RuntimeError("CuPy failed to load libnvrtc.so.13: OSError"))},
        r"NVRTC was not found or does not fit \(install the extra cuda12 or cuda13\)",
    ),
    "no headers": (
        {"compile": raising(CompileException('cannot open source file "cuda_fp16.h"\nmore'))},
        r"CUDA's headers were not found \(install.*\) \(CompileException.*cuda_fp16.h\"\)$",
    ),
    "wrong": ({"result": 41.0}, "a test kernel ran but gave a wrong result"),
    "unknown": ({"zeros": raising(OSError("strange"))}, "^OSError: strange$"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, words = BROKEN[name]
    monkeypatch.setattr(probe, "find_spec", lambda _: True)
    monkeypatch.setitem(sys.modules, "cupy", installation(**broken))
    with pytest.raises(RuntimeError, match=words):
        raise RuntimeError(probe.reason())


def test_no_driver_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", installation(driver=0))
    for found, words in ((False, "no NVIDIA driver was found"), (True, "the driver is too old")):
        monkeypatch.setattr(probe, "_driver_library", lambda found=found: found)
        assert probe.in_words(INSUFFICIENT).startswith(words)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace())  # cannot even be asked
    assert probe.in_words(INSUFFICIENT).startswith("the driver is too old")


def test_cupy_is_missing_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "find_spec", lambda _: None)
    assert (
        probe.reason() == "the package cupy is not installed (install the extra cuda12 or cuda13)"
    )
    monkeypatch.setattr(probe, "find_spec", lambda _: True)
    monkeypatch.setattr(builtins, "__import__", importing(OSError("libcuda.so.1: no such file")))
    wanted = "cannot be imported: OSError: libcuda.so.1: no such file"
    assert probe.reason() == f"the package cupy {wanted}"
    for use in (lambda: mg.zeros(2).cuda(), lambda: mg.ones(2, device="cuda:1")):
        with pytest.raises(RuntimeError, match=f"cuda:. needs the package cupy, which {wanted}$"):
            use()
    missing = ModuleNotFoundError("No module named 'cupy'", name="cupy")
    monkeypatch.setattr(builtins, "__import__", importing(missing))
    with pytest.raises(RuntimeError, match="cupy, which is not installed .install the extra cuda"):
        mg.zeros(2).cuda()
    assert (mg.ones(2) + 1).tolist() == [2, 2]


def test_a_machine_where_everything_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "find_spec", lambda _: True)
    monkeypatch.setitem(sys.modules, "cupy", installation())
    assert probe.reason() is None


def test_moving_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "cupy", installation(devices=raising(INSUFFICIENT), driver=12040)
    )
    with pytest.raises(RuntimeError, match="to: cuda:0 cannot be used here: the driver knows CUDA"):
        mg.zeros(2).cuda()
