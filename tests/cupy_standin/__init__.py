"""A stand-in for CuPy: arrays in main memory that behave as if they were on a GPU.

It is no GPU and no CuPy: it compiles nothing, and shows nothing of speed, of rounding or of CuPy's
own mistakes. What it shows is whether code stays on the device. Its arrays cannot become NumPy
arrays by accident, cannot be mixed with them, and know only the functions, methods and arguments
that CuPy 14 has. Where CuPy and NumPy differ, it does as CuPy does: reductions and picked elements
stay arrays, views are not read-only, `add.reduceat` takes differences of running sums. Where CuPy
would go on silently, with an index that is out of range or that writes different values to one
element, or with an array that is not on the current device, it raises `WouldGoUnnoticed`. (Of
indices that the engine will look at later it wraps those around that are out of range, as CuPy.)
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scipy.special

from minigrad_kernels import gpus

from .arrays import (
    Device,
    WouldGoUnnoticed as WouldGoUnnoticed,
    ndarray as ndarray,
    refuse,
    run,
    ufunc,
)
from .streams import CUDARuntimeError, Event, Graph, Stream, forbid

# The module


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What CuPy 14.2 has not: functions, arguments of all functions, arguments of some

_LACKING = _names(
    "block bmat einsum_path emath errstate frompyfunc geomspace histogram_bin_edges insert isnat "
    "ma matrix matvec nanpercentile nanquantile ndenumerate nditer polyder polydiv polyint rec "
    "spacing strings unstack vecdot vecmat"
)
_NUMPY_ONLY = _names("initial device like stable correction mean ndmax subok")
_NUMPY_ONLY_IN = {
    "where": _names("all amax amin any max mean min prod std sum var"),
    "order": _names("argpartition argsort partition sort"),
    "keepdims": _names("count_nonzero"),
    "kind": _names("argpartition isin partition"),
    "mode": _names("take"),
    "weights": _names("percentile quantile"),
    "min": _names("clip"),
    "max": _names("clip"),
}

_WITHOUT_ARRAY = _names(  # whose first argument need not be an array
    "arange broadcast_shapes can_cast empty eye full identity indices linspace logspace meshgrid "
    "min_scalar_type ndim ones promote_types result_type shape size tri zeros"
)
_FROM_HOST = _names("array asanyarray asarray ascontiguousarray asfortranarray")
_LINALG = "cholesky det eigh eigvalsh inv lstsq matrix_power matrix_rank norm pinv qr slogdet solve"


def _is_arrays(x: Any) -> bool:
    return isinstance(x, ndarray) or (
        isinstance(x, (list, tuple)) and bool(x) and all(isinstance(i, ndarray) for i in x)
    )


def _function(name: str, host: Callable[..., Any]) -> Callable[..., Any]:
    def function(*args: Any, **options: Any) -> Any:
        for option in options:
            if option in _NUMPY_ONLY or name in _NUMPY_ONLY_IN.get(option, ()):
                raise TypeError(f"{name}() of CuPy has no argument {option!r}")
        if name in _FROM_HOST and not _is_arrays(args[0]):
            forbid("a copy from main memory")
        if name in _FROM_HOST and isinstance(args[0], (np.ndarray, np.generic)):
            return ndarray(np.array(host(*args, **options)))
        if name not in _WITHOUT_ARRAY | _FROM_HOST and not _is_arrays(args[0]):
            refuse(args[0])
        return run(host, *args, **options)

    function.__name__ = name
    return function


def _module(name: str, **contents: Any) -> Any:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(contents)
    return module


_PROPERTIES = {
    "name": b"Stand-in",
    "major": 9,
    "minor": 0,
    "totalGlobalMem": 1 << 30,
    "multiProcessorCount": 1,
}


_ATTRIBUTES = {97: 227 * 1024}  # cudaDevAttrMaxSharedMemoryPerBlockOptin


def _as_strided(x: Any, shape: Any = None, strides: Any = None) -> Any:
    return ndarray(
        np.lib.stride_tricks.as_strided(x._host, shape, strides), x if x.base is None else x.base
    )


class _MemoryPool:
    """Stands for `cupy.cuda.MemoryPool`: says how often it was asked for memory."""

    def malloc(self, size: int) -> None:
        raise NotImplementedError


@contextmanager
def _using_allocator(allocator: Any = None) -> Iterator[None]:
    yield


def _make_cupy() -> Any:
    contents: dict[str, Any] = {"ndarray": ndarray}
    for name, value in inspect.getmembers(np):
        if name.startswith("_") or name in _LACKING | {"ndarray"}:
            continue
        if isinstance(value, np.ufunc) and not value.signature:
            contents[name] = ufunc(value)
        elif isinstance(value, (np.dtype, float)) or (
            isinstance(value, type) and issubclass(value, (np.generic, np.dtype))
        ):
            contents[name] = value  # types and constants are NumPy's own
        elif callable(value) and not isinstance(value, type):
            contents[name] = _function(name, value)
    linalg = {name: _function(name, getattr(np.linalg, name)) for name in _names(_LINALG)}
    runtime = SimpleNamespace(
        getDevice=lambda: Device.current,
        getDeviceCount=lambda: Device.count,
        getDeviceProperties=lambda number: _PROPERTIES,
        deviceGetAttribute=lambda attribute, number: _ATTRIBUTES[attribute],
        driverGetVersion=lambda: 13020,
        runtimeGetVersion=lambda: 13000,
        CUDARuntimeError=CUDARuntimeError,
    )
    contents["linalg"] = _module("cupy.linalg", **linalg)
    contents["cuda"] = _module(
        "cupy.cuda",
        is_available=lambda: False,
        Device=Device,
        device=SimpleNamespace(get_device_id=lambda: Device.current),
        runtime=runtime,
        Stream=Stream,
        Graph=Graph,
        MemoryPool=_MemoryPool,
        using_allocator=_using_allocator,
        get_current_stream=lambda: Stream.current,
        Event=Event,
        get_elapsed_time=lambda start, end: 1e3 * (end.time - start.time),
    )
    contents |= {"asnumpy": ndarray.get, "finfo": np.finfo, "iinfo": np.iinfo, "newaxis": None}
    tricks = _module("cupy.lib.stride_tricks", as_strided=_as_strided)
    contents["lib"] = _module("cupy.lib", stride_tricks=tricks)
    contents |= {"byte_bounds": lambda x: np.lib.array_utils.byte_bounds(x._host)}
    return _module("cupy", __version__="14.2.0", **contents)


cupy = _make_cupy()
special = _module(
    "cupyx.scipy.special",
    **{name: ufunc(getattr(scipy.special, name)) for name in ("erf", "ndtr", "log_ndtr", "expit")},
)
_scipy = _module("cupyx.scipy", special=special)
_MODULES = {
    "cupy": cupy,
    "cupy.cuda": cupy.cuda,
    "cupy.linalg": cupy.linalg,
    "cupyx": _module("cupyx", scipy=_scipy),
    "cupyx.scipy": _scipy,
    "cupyx.scipy.special": special,
}


@contextmanager
def several_devices(count: int = 2) -> Iterator[None]:
    """There are several devices meanwhile, of which the first is the current one."""
    before, Device.count = Device.count, count
    gpus.several.cache_clear()
    try:
        yield
    finally:
        Device.count = before
        gpus.several.cache_clear()


@contextmanager
def installed() -> Iterator[Any]:
    """Whoever imports CuPy meanwhile gets the stand-in; gives the module."""
    before = {name: sys.modules.get(name) for name in _MODULES}
    sys.modules.update(_MODULES)
    try:
        yield cupy
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


# For tests


def moved(x: Any) -> Any:
    """The same with device arrays in the places of NumPy's, also in lists."""
    if isinstance(x, (np.ndarray, np.generic)):
        return sys.modules["cupy"].asarray(x)
    return type(x)(map(moved, x)) if type(x) in (list, tuple) else x


def many(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def check_same(got: Any, wanted: Any, ulps: float = 1000) -> None:
    """Device arrays with the numbers of NumPy arrays.

    To 1,000 units in the last place of the largest entry: NumPy sums in another order, or less
    precisely, where the memory is laid out otherwise.
    """
    assert len(many(got)) == len(many(wanted))
    for y, z in zip(many(got), many(wanted), strict=True):
        assert type(y) is sys.modules["cupy"].ndarray, f"left the device, as {type(y)}"
        assert (y.shape, y.dtype) == (np.shape(z), z.dtype)
        if y.dtype.kind not in "fc":
            np.testing.assert_array_equal(y.get(), z)
            continue
        size = max(1.0, float(np.abs(np.nan_to_num(z, posinf=0, neginf=0)).max(initial=0)))
        atol = ulps * np.finfo(z.dtype).eps * size
        np.testing.assert_allclose(y.get(), z, rtol=0, atol=atol, equal_nan=True)
