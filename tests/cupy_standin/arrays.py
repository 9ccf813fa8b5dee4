"""Arrays and universal functions that do as CuPy's do."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from minigrad.device import _waiting

from .memory import Device as Device, Memory, MemoryPointer
from .streams import Stream, captured, forbid


class WouldGoUnnoticed(RuntimeError):
    """CuPy would not complain, and give something else than NumPy."""


# Going in and out: from here on `host` is the NumPy array behind a device array


def refuse(x: Any) -> None:
    raise TypeError(f"Unsupported type {type(x)}")


def run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a NumPy function with what is behind the device arrays; its results are device arrays.

    Raises:
        TypeError: if there is a NumPy array among the arguments.
        WouldGoUnnoticed: for an index out of range, which CuPy wraps around; for an array that is
            not on the current device.
    """
    seen: list[ndarray] = []
    args, options = _enter(args, seen), {k: _enter(value, seen) for k, value in options.items()}
    check_current(*seen)

    def work() -> Any:
        with np.errstate(all="ignore"):  # a GPU tells nobody of overflows
            made = function(*args, **options)
        return np.asarray(made) if isinstance(made, np.generic) else made

    name = function.__name__
    if name in _BY_CUBLAS:
        _forbid_cublas(name)
    if name in _WAITING:
        forbid(f"{name} waits for the number of its results")
    written = [x for x in (options.get("out"), *args[: name in _CHANGING]) if x is not None]
    try:
        hosts = [x._host for x in seen]
        return _leave(captured(work, hosts, written, name in _ALLOCATING), seen)
    except IndexError as error:
        if "out of bounds" not in str(error):
            raise
        if not _is_noticed():
            raise WouldGoUnnoticed(f"CuPy wraps indices around: {error}") from None
        return _leave(_wrapping(function, *args, **options), seen)


def _is_noticed() -> bool:
    """Whether indices are to be looked at later: then they may be wrong now."""
    return bool(_waiting.checks)


def _wrapping(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """A function with indices out of range, which CuPy wraps around."""
    if function.__name__ == "take":
        given = (
            inspect.signature(np.take).bind(*args, **options).arguments
        )  # names are the method's
        x, axis = args[0], given.get("axis")
        return np.take(x, given["indices"] % (x.size if axis is None else x.shape[axis]), axis)
    if function.__name__ == "take_along_axis":
        x, index, axis = args
        return function(x, index % x.shape[axis], axis)
    x, index, *values = args  # of a universal function's method `at`
    return function(x, _wrapped(x.shape, index), *values)


def _wrapped(shape: tuple[int, ...], index: Any) -> Any:
    """An index, of NumPy's arrays, within the shape."""
    entries = index if isinstance(index, tuple) else (index,)
    uses = [i is not None and i is not Ellipsis for i in entries]
    found, dim = [], 0
    for i, used in zip(entries, uses, strict=True):
        found.append(i % shape[dim] if isinstance(i, np.ndarray) else i)
        dim += len(shape) - sum(uses) if i is Ellipsis else used
    return tuple(found)


def check_current(*arrays: ndarray) -> None:
    """CuPy warns of arrays on other devices, or not even that, and leaves results on its own."""
    for x in arrays:
        if x.data.device_id != Device.current:
            raise WouldGoUnnoticed(
                f"an array on device {x.data.device_id}, the current one is {Device.current}"
            )


# No closures, which hold themselves: arrays are to be gone as soon as nobody holds them


def _enter(x: Any, seen: list[ndarray]) -> Any:
    """What is behind device arrays, also in lists; they are added to `seen`."""
    if isinstance(x, ndarray):
        seen.append(x)
        return x._host
    if isinstance(x, np.ndarray):
        refuse(x)
    if isinstance(x, np.generic) or type(x) not in (list, tuple):
        return x
    return type(x)(_enter(item, seen) for item in x)


def _leave(y: Any, seen: list[ndarray]) -> Any:
    """Device arrays for NumPy's arrays and scalars, also in lists and named tuples."""
    if isinstance(y, (tuple, list)):
        items = [_leave(item, seen) for item in y]
        return items if type(y) is list else tuple(items)
    return _on_device(np.asarray(y), seen) if isinstance(y, (np.ndarray, np.generic)) else y


_BY_CUBLAS = frozenset(["dot", "einsum", "inner", "matmul", "tensordot", "vdot"])
_WAITING = frozenset(["argwhere", "bincount", "extract", "flatnonzero", "nonzero", "unique"])
_ALLOCATING = frozenset(["empty", "empty_like"])
_CHANGING = frozenset(["at", "copyto", "put", "putmask", "sort"])
"""Functions whose first argument is changed."""


def _forbid_cublas(name: str) -> None:
    if Stream.current.is_capturing():
        raise NotImplementedError(f"calling cuBLAS API during stream capture: {name}")


def _on_device(host: np.ndarray, seen: list[ndarray]) -> ndarray:
    """The device array of a result: one of those seen, a view of one, or a new one."""
    if host.dtype.kind not in "biufc" or host.dtype.itemsize > 8 + 8 * (host.dtype.kind == "c"):
        raise TypeError(f"Unsupported dtype {host.dtype}")
    for x in seen:
        if x._host is host:
            return x
    if host.base is not None:
        for x in seen:
            if np.may_share_memory(x._host, host):
                return ndarray(host, x if x.base is None else x.base)
    return ndarray(host)


# Arrays


class ndarray:
    """An array whose numbers only the functions here can reach.

    Made of a NumPy array, or as CuPy's: of a shape, a type and an address, whose allocation it
    shares without being a view of another array.
    """

    __module__ = "cupy"
    __slots__ = ("__weakref__", "_host", "base", "data")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: Any, base: Any = None, memptr: MemoryPointer | None = None) -> None:
        if memptr is not None:
            whole = memptr.mem.whole
            offset = memptr.ptr - whole.ctypes.data
            host, base = np.ndarray(host, base, whole, offset), None
        elif not host.flags.writeable:  # CuPy knows no read-only memory
            host = np.lib.stride_tricks.as_strided(host, writeable=True)
        self._host, self.base = host, base
        if memptr is None:
            memptr = _pointer(host, base)
        self.data = memptr

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    device = property(lambda self: Device(self.data.device_id))
    T = property(lambda self: run(np.transpose, self))
    mT = property(lambda self: run(np.matrix_transpose, self))
    real = property(lambda self: run(lambda x: x.real, self))
    imag = property(lambda self: run(lambda x: x.imag, self))

    @property
    def flags(self) -> Any:
        known = self._host.flags
        return SimpleNamespace(
            c_contiguous=known.c_contiguous,
            f_contiguous=known.f_contiguous,
            owndata=self.base is None,
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._host.__array_interface__, "version": 3}

    # To main memory, on request only

    def get(self) -> np.ndarray:
        forbid("a copy to main memory")
        return self._host.copy()

    def set(self, arr: np.ndarray) -> None:
        forbid("a copy from main memory")
        self._host[...] = arr

    def __reduce__(self) -> Any:
        return _loaded, (self.get(),)

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "a NumPy array explicitly."
        )

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __len__(self) -> int:
        return len(self._host)

    def __repr__(self) -> str:
        return repr(self._host)

    def __str__(self) -> str:
        return str(self._host)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    # NumPy's functions, called with these arrays, are CuPy's

    def __array_ufunc__(
        self, numpy_ufunc: np.ufunc, method: str, *args: Any, **options: Any
    ) -> Any:
        function = vars(sys.modules["cupy"]).get(numpy_ufunc.__name__)
        if method not in ("__call__", "outer") or function is None:
            return NotImplemented
        if "out" in options:
            (options["out"],) = options["out"]
        return getattr(function, method)(*args, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        module: Any = sys.modules["cupy"]
        for name in function.__module__.split(".")[1:]:
            module = getattr(module, name, None)
        mine = getattr(module, function.__name__, None)
        if mine is None or not all(t in (ndarray, np.ndarray) for t in types):
            return NotImplemented
        return mine(*args, **options)

    # Reading and writing by index

    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        check_current(self)
        index, picks = _index(index)
        if not picks:
            return _on_device(self._host[index], [self])
        try:
            return ndarray(captured(lambda: np.asarray(self._host[index]), [self._host], []))
        except IndexError as error:
            if not _is_noticed():
                raise _unnoticed(error) from None
            return ndarray(np.asarray(self._host[_wrapped(self.shape, index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        check_current(self, *([value] if isinstance(value, ndarray) else []))
        index, picks = _index(index)
        if picks and np.ndim(value):
            _check_distinct(self.shape, index)
        value = value._host if isinstance(value, ndarray) else value
        try:
            captured(lambda: self._host.__setitem__(index, value), [], [self._host])
        except IndexError as error:
            raise (_unnoticed(error) if picks else error) from None

    # Methods whose arguments are not those of `_METHODS`

    def fill(self, value: Any) -> None:
        self[...] = value

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        return run(np.ndarray.reshape, self, *shape, order=order)

    def transpose(self, *axes: Any) -> ndarray:
        return run(np.ndarray.transpose, self, *axes)

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return run(np.ndarray.swapaxes, self, axis1, axis2)

    def view(self, dtype: Any = None) -> ndarray:
        return run(lambda x: x.view() if dtype is None else x.view(dtype), self)

    def copy(self, order: str = "C") -> ndarray:
        """On the current device, also of an array on another."""
        with self.device:
            made: ndarray = run(np.ndarray.copy, self, order=order)
        return made if self.data.device_id == Device.current else ndarray(made._host)

    def nonzero(self) -> tuple[ndarray, ...]:
        return run(np.nonzero, self)


def _loaded(host: np.ndarray) -> ndarray:
    """From a pickle: on the current device, wherever it was."""
    return ndarray(host)


def _pointer(host: np.ndarray, base: ndarray | None) -> MemoryPointer:
    """Where an array lies: at the address of its base, elsewhere in its memory, or in its own."""
    if base is None:
        return MemoryPointer(Memory(host), 0)
    if host.ctypes.data == base.data.ptr:
        return base.data
    return base.data + (host.ctypes.data - base.data.ptr)


def _index(index: Any) -> tuple[Any, bool]:
    """An index with host arrays in the places of device arrays, and whether there are arrays.

    One without arrays ends in an ellipsis, so that NumPy gives views of single elements too.
    """
    entries = index if isinstance(index, tuple) else (index,)
    picks = any(isinstance(i, (ndarray, np.ndarray, list, bool, np.bool_)) for i in entries)
    for i in entries:
        if isinstance(i, (list, np.ndarray)):
            forbid("a copy of an index from main memory")
        elif isinstance(i, ndarray) and i.dtype.kind == "b":
            forbid("a choice whose size depends on numbers")
    if not picks and not any(i is Ellipsis for i in entries):
        entries = (*entries, Ellipsis)
    return tuple(i._host if isinstance(i, ndarray) else i for i in entries), picks


def _check_distinct(shape: tuple[int, ...], index: Any) -> None:
    """CuPy writes in any order: which of several values for one element stays is left to chance."""
    places = np.arange(np.prod(shape)).reshape(shape)[index]
    if len(np.unique(places)) < places.size:
        raise WouldGoUnnoticed("the index names an element several times")


def _unnoticed(error: IndexError) -> Exception:
    if "out of bounds" in str(error):
        return WouldGoUnnoticed(f"CuPy wraps indices around: {error}")
    return error


_METHODS = {  # with CuPy's arguments, in its order
    "all": "axis out keepdims",
    "any": "axis out keepdims",
    "argmax": "axis out dtype keepdims",
    "argmin": "axis out dtype keepdims",
    "argpartition": "kth axis",
    "argsort": "axis kind",
    "astype": "dtype order casting subok copy",
    "clip": "min max out",
    "conj": "",
    "cumprod": "axis dtype out",
    "cumsum": "axis dtype out",
    "diagonal": "offset axis1 axis2",
    "dot": "b out",
    "flatten": "order",
    "max": "axis out keepdims",
    "mean": "axis dtype out keepdims",
    "min": "axis out keepdims",
    "prod": "axis dtype out keepdims",
    "ravel": "order",
    "repeat": "repeats axis",
    "round": "decimals out",
    "sort": "axis kind",
    "squeeze": "axis",
    "std": "axis dtype out ddof keepdims",
    "sum": "axis dtype out keepdims",
    "take": "indices axis out",
    "trace": "offset axis1 axis2 dtype out",
    "var": "axis dtype out ddof keepdims",
}


def _method(name: str, parameters: list[str]) -> Callable[..., Any]:
    def method(self: ndarray, *args: Any, **options: Any) -> Any:
        given = dict(zip(parameters, args, strict=False))
        if len(args) > len(parameters) or given.keys() & options or options.keys() - {*parameters}:
            raise TypeError(f"{name}() of CuPy takes {parameters}, got {args} and {options}")
        return run(getattr(np.ndarray, name), self, **given, **options)

    return method


for _name, _parameters in _METHODS.items():
    setattr(ndarray, _name, _method(_name, _parameters.split()))


# Universal functions


class ufunc:
    """One of CuPy's universal functions."""

    def __init__(self, host: np.ufunc) -> None:
        self._host, self.__name__ = host, host.__name__
        self.nin, self.nout, self.nargs = host.nin, host.nout, host.nargs

    def __call__(self, *args: Any, **options: Any) -> Any:
        if options.keys() - {"out", "where", "dtype", "casting"}:
            raise TypeError(f"Wrong arguments {options}")
        for x in args:
            if not isinstance(x, (ndarray, bool, int, float, complex, np.number, np.bool_)):
                refuse(x)
        out = options.get("out")
        shape = np.broadcast_shapes(*(x.shape for x in args if isinstance(x, ndarray)))
        if isinstance(out, ndarray) and out.shape != shape:
            raise ValueError(f"Out shape is mismatched: {out.shape}, wanted {shape}")
        return run(self._host, *args, **options)

    def outer(self, a: ndarray, b: ndarray, **options: Any) -> ndarray:
        return self(a.reshape(*a.shape, *(1,) * b.ndim), b, **options)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        types = {
            "add": "int32 float16 float32 float64 uint32 uint64",
            "subtract": "int32 uint32",
            "maximum": "int32 float32 float64 uint32 uint64",
            "minimum": "int32 float32 float64 uint32 uint64",
        }.get(self.__name__)
        if types is None:
            raise NotImplementedError(f"`cupy_{self.__name__}.at` is not supported yet")
        if a.dtype.name not in types.split():
            raise TypeError(f"cupy.{self.__name__}.at only supports {types}")
        run(self._host.at, a, indices, b)

    def reduce(self, array: ndarray, **options: Any) -> ndarray:
        return getattr(array, self._only({"add": "sum", "multiply": "prod"}, "reduce"))(**options)

    def accumulate(self, array: ndarray, **options: Any) -> ndarray:
        methods = {"add": "cumsum", "multiply": "cumprod"}
        return getattr(array, self._only(methods, "accumulate"))(**options)

    def reduceat(self, array: ndarray, indices: ndarray, axis: int = 0) -> ndarray:
        """As CuPy does it: the differences of running sums, with all that they do to rounding."""
        self._only({"add": ""}, "reduceat")
        ends = np.append(indices.get(), array.shape[axis])
        sums = np.cumsum(np.moveaxis(array._host, axis, 0), axis=0)
        sums = np.concatenate([np.zeros_like(sums[:1]), sums])
        with np.errstate(all="ignore"):
            return ndarray(np.moveaxis(sums[ends[1:]] - sums[ends[:-1]], 0, axis))

    def _only(self, known: dict[str, str], method: str) -> str:
        if self.__name__ not in known:
            raise NotImplementedError(f"`cupy_{self.__name__}.{method}` is not supported yet")
        return known[self.__name__]


def _operator(function: ufunc, turned: bool = False, in_place: bool = False) -> Any:
    def operator(self: ndarray, *other: Any) -> Any:
        for x in other:
            if getattr(x, "__array_priority__", 0) > 100:  # as Tensor's: its turn
                return NotImplemented
        operands = (*other, self) if turned else (self, *other)
        return function(*operands, out=self) if in_place else function(*operands)

    return operator


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
_OTHER = {
    "neg": "negative",
    "pos": "positive",
    "abs": "absolute",
    "invert": "invert",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
for _name, _function in _BINARY.items():
    _ufunc = ufunc(getattr(np, _function))
    setattr(ndarray, f"__{_name}__", _operator(_ufunc))
    setattr(ndarray, f"__r{_name}__", _operator(_ufunc, turned=True))
    setattr(ndarray, f"__i{_name}__", _operator(_ufunc, in_place=True))
for _name, _function in _OTHER.items():
    setattr(ndarray, f"__{_name}__", _operator(ufunc(getattr(np, _function))))
ndarray.__matmul__ = lambda self, other: run(np.matmul, self, other)  # type: ignore[attr-defined]
