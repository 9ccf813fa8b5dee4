"""Several GPUs: arrays are computed with where they lie, whichever GPU is the current one.

CuPy computes on the current GPU, and new arrays lie there. With several GPUs, `a + b` could be
computed far from a and b, and its result be elsewhere. So, where there are several, arrays are of a
class of their own: a CuPy array whose operators and methods make its GPU the current one meanwhile,
and whose results are such arrays again. `array_module` gives functions that do the same.

Where there is one GPU, all this is absent: arrays and functions are CuPy's own.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any


def _names(text: str) -> list[str]:
    return text.split()


_ARITHMETIC = _names("add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod")
_OTHERS = _names("eq ne lt le gt ge neg pos abs invert")
_OPERATORS = frozenset(
    [f"__{prefix}{name}__" for name in _ARITHMETIC for prefix in ("", "r", "i")]
    + [f"__{name}__" for name in _OTHERS]
    + ["__getitem__", "__setitem__", "__array_ufunc__", "__dlpack__"]
)
_PROPERTIES = ("T", "mT", "real", "imag")
"""Those that are arrays."""

_READING = frozenset(_names("dump dumps item tobytes tofile tolist"))
"""Methods that give no arrays, and call `get`."""


@functools.cache
def several(cupy: ModuleType) -> bool:
    """Whether there are several GPUs."""
    return int(cupy.cuda.runtime.getDeviceCount()) > 1


def resident(array: Any) -> Any:
    """A CuPy array itself, which is from now on computed with on its GPU."""
    cupy = sys.modules["cupy"]
    if several(cupy):
        _settled(array, cupy.ndarray, resident_class(cupy))
    return array


def module_of(array: Any, module: ModuleType | None = None) -> ModuleType:
    """CuPy, or another module with functions for a CuPy array; where there are several GPUs, on the
    array's."""
    cupy = sys.modules["cupy"]
    module = cupy if module is None else module
    return on_gpu(module, cupy, array.data.device_id) if several(cupy) else module


def _settled(y: Any, plain: type, settled: type) -> Any:
    """What a function returned, its arrays resident: they are new, or views, and only here."""
    if y.__class__ is plain:
        y.__class__ = settled
    elif isinstance(y, (tuple, list)):
        for item in y:
            _settled(item, plain, settled)
    return y


# Arrays


@functools.cache
def resident_class(cupy: ModuleType) -> type:
    """The class of arrays that are computed with on their GPU: CuPy's, and named as that."""
    plain: Any = cupy.ndarray
    content: dict[str, Any] = {"__slots__": (), "__module__": plain.__module__}
    made: type = type(plain.__name__, (plain,), content)
    for name in dir(plain):
        public = not name.startswith("_") and name not in _READING
        if (public or name in _OPERATORS) and callable(getattr(plain, name)):
            setattr(made, name, _on_own_device(cupy, getattr(plain, name), plain, made))
    for name in _PROPERTIES:
        get = inspect.getattr_static(plain, name).__get__
        setattr(made, name, property(_on_own_device(cupy, get, plain, made)))

    def array_function(self: Any, function: Any, types: Any, args: Any, options: Any) -> Any:
        known = [plain if t is made else t for t in types]  # CuPy knows no classes but its own
        return plain.__array_function__(self, function, known, args, options)

    made.__array_function__ = _on_own_device(cupy, array_function, plain, made)  # type: ignore[attr-defined]
    return made


def _on_own_device(
    cupy: ModuleType, method: Callable[..., Any], plain: Any, made: type
) -> Callable[..., Any]:
    """A method of arrays, on their GPU.

    Raises:
        TypeError: when it is called with an array on another one.
    """
    current, switched = cupy.cuda.device.get_device_id, cupy.cuda.Device

    def run(self: Any, *args: Any, **options: Any) -> Any:
        device = self.data.device_id
        for x in args:
            if isinstance(x, plain) and x.data.device_id != device:
                raise TypeError(f"arrays on cuda:{device} and cuda:{x.data.device_id}")
        if device == current():
            return _settled(method(self, *args, **options), plain, made)
        with switched(device):
            return _settled(method(self, *args, **options), plain, made)

    return run


# Functions


class _Module(ModuleType):
    """A module of CuPy whose functions run on one GPU.

    Attributes:
        device: its number.
    """

    def __init__(self, module: ModuleType, cupy: ModuleType, device: int) -> None:
        super().__init__(module.__name__)
        self._module, self._cupy, self.device = module, cupy, device

    def __getattr__(self, name: str) -> Any:
        value = _moved(getattr(self._module, name), self._cupy, self.device)
        setattr(self, name, value)
        return value


class _Function:
    """A function of CuPy, or a universal function with its methods, on one GPU."""

    def __init__(self, function: Any, cupy: ModuleType, device: int) -> None:
        self._function, self._cupy, self._device = function, cupy, device

    def __call__(self, *args: Any, **options: Any) -> Any:
        cupy = self._cupy
        with cupy.cuda.Device(self._device):
            y = self._function(*args, **options)
            return _settled(y, cupy.ndarray, resident_class(cupy))

    def __getattr__(self, name: str) -> Any:
        return _moved(getattr(self._function, name), self._cupy, self._device)


@functools.cache
def on_gpu(module: ModuleType, cupy: ModuleType, device: int) -> ModuleType:
    """CuPy, or a module of its, with functions that run on one GPU."""
    return _Module(module, cupy, device)


def device_of(xp: ModuleType) -> AbstractContextManager[Any]:
    """A context in which the GPU of what `array_module` gave for an array is the current one."""
    there: AbstractContextManager[Any] = (
        xp.cuda.Device(xp.device) if isinstance(xp, _Module) else nullcontext()
    )
    return there


def _moved(value: Any, cupy: ModuleType, device: int) -> Any:
    """What a module holds: functions run on the GPU; types and the rest stay what they are."""
    if value is cupy.ndarray:
        return resident_class(cupy)
    if value is cupy.cuda or isinstance(value, type):
        return value
    if isinstance(value, ModuleType):
        return on_gpu(value, cupy, device)
    return _Function(value, cupy, device) if callable(value) else value
