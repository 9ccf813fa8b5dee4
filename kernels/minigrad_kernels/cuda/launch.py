"""Calling kernels: `f(grid, block, *args)`, on the GPU for CuPy arrays, else on the emulator.

The launch code of a kernel is the same for both, so that all of it is tested where there is no GPU:
grids, the order of arguments, their types. A GPU takes whatever it is given: an int64 for an int, a
strided array for a dense one. Here every argument is held against the kernel's parameters, which
are read from the source, before anything runs.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from .arrays import address
from .c_types import BFLOAT16, dtypes, element
from .source import Parameter, Signature, Source

Convert = Callable[[Any], Any]
Dimensions = int | tuple[int, ...]

MOST_BLOCKS = (2**31 - 1, 65535, 65535)
MOST_THREADS = (1024, 1024, 64)
MOST_THREADS_IN_ALL = 1024
MOST_SHARED = 227 * 1024
"""Bytes of shared memory that a block may have on the largest GPUs."""

NULL = np.uintp(0)
"""What a pointer parameter gets for None."""


class KernelFunction:
    """A kernel that can be called; `Source.kernel` makes it.

    `f(grid, block, *args, shared=0)` takes the numbers of blocks and of threads, each an int or a
    tuple of up to three; an argument for each parameter; and the bytes of dynamic shared memory.
    For a pointer it takes a C-contiguous array of that type, all of them NumPy's or all CuPy's, or
    None for a null pointer, but not for all of them; for a number a Python or NumPy number that
    fits.

    Raises:
        TypeError: for a wrong number of arguments, one of a wrong type, or no array at all.
        ValueError: for an array that is strided, misaligned or read-only, a number that does not
            fit, dimensions or shared memory beyond the limits.
        CompileError: if the source does not compile, or there is no compiler.
        LaunchError: if the GPU cannot run it so: it has not so much shared memory, say.
        EmulatorError: if the kernel does what it must not; see `minigrad_kernels.cuda.emulator`.
    """

    def __init__(self, source: Source, signature: Signature) -> None:
        self.source = source
        self.signature = signature
        self.name = signature.name
        self._arrays = [i for i, p in enumerate(signature.parameters) if p.pointer]
        self._count = len(signature.parameters)
        self._prepared: dict[type, tuple[list[Convert], Callable[..., None]]] = {}

    def __call__(self, grid: Dimensions, block: Dimensions, *args: Any, shared: int = 0) -> None:  # noqa: D102
        try:
            blocks, threads, in_all = _dimensions(grid, block)
        except TypeError as error:  # also for what cannot be hashed
            self._refuse_dimensions(grid, block, error)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        if len(args) != self._count:
            self._refuse_count(len(args))
        kind = self._kind(args)
        try:
            converters, run = self._prepared[kind]
        except KeyError:
            converters, run = self._prepare(kind)
        values = [convert(a) for convert, a in zip(converters, args)]  # noqa: B905 (counted above)
        if in_all > self.signature.most_threads:
            self._refuse_threads(threads)
        if shared and not 0 <= shared <= MOST_SHARED:
            raise ValueError(f"{self.name}: {shared} bytes of shared memory; 0 to {MOST_SHARED}")
        if 0 not in blocks:
            run(blocks, threads, values, shared)

    def _kind(self, args: tuple[Any, ...]) -> type:
        """The class of the first array: whose arrays these are."""
        for i in self._arrays:
            if args[i] is not None:
                return args[i].__class__
        if self._arrays:
            first = self.signature.parameters[self._arrays[0]]
            raise TypeError(
                f"{self.name}: every pointer is None; one array at least, for `{first}` say, must "
                "tell where the kernel shall run"
            )
        return np.ndarray

    def _prepare(self, kind: type) -> tuple[list[Convert], Callable[..., None]]:
        """Make ready for arrays of this class."""
        place = kind
        if issubclass(kind, np.ndarray):
            from .emulator.run import launcher

            place = np.ndarray  # arrays of its other subclasses, such as memmap, may come beside it
            run = launcher(self.source, self.signature)
        elif kind.__module__.partition(".")[0] == "cupy":
            from .nvidia import launcher

            place = sys.modules["cupy"].ndarray  # see `minigrad_kernels.gpus` for its subclass
            run = launcher(self.source, self.signature)
        else:
            self._refuse_kind(kind)
        converters = [
            _array(self.name, p, place) if p.pointer else _number(self.name, p)
            for p in self.signature.parameters
        ]
        self._prepared[kind] = converters, run
        return converters, run

    def _refuse_dimensions(self, grid: Any, block: Any, error: TypeError) -> NoReturn:
        raise TypeError(
            f"{self.name}: grid and block must be ints or tuples of ints: {grid!r}, {block!r}"
        ) from error

    def _refuse_threads(self, threads: tuple[int, int, int]) -> NoReturn:
        raise ValueError(
            f"{self.name}: {threads} threads in a block; "
            f"its __launch_bounds__ promise at most {self.signature.most_threads}"
        )

    def _refuse_kind(self, kind: type) -> NoReturn:
        first = self.signature.parameters[self._arrays[0]]
        raise TypeError(
            f"{self.name}: parameter `{first}` wants a NumPy or CuPy array, not {kind.__name__}"
        )

    def _refuse_count(self, count: int) -> NoReturn:
        wanted = ", ".join(map(str, self.signature.parameters))
        raise TypeError(
            f"{self.name} takes {len(self.signature.parameters)} arguments ({wanted}), not {count}"
        )

    def __repr__(self) -> str:
        return f"<CUDA kernel {self.name} of {self.source.label}>"


# Dimensions


Three = tuple[int, int, int]


def dimensions(grid: Dimensions, block: Dimensions) -> tuple[Three, Three]:
    """Both as three numbers, if they are within CUDA's limits.

    Raises:
        TypeError: if they are not ints.
        ValueError: if they are beyond the limits.
    """
    return _dimensions(grid, block)[:2]


@functools.lru_cache(maxsize=4096, typed=True)  # 1.0 is not 1
def _dimensions(grid: Dimensions, block: Dimensions) -> tuple[Three, Three, int]:
    """`dimensions`, and how many threads a block has."""
    blocks, threads = _three(grid), _three(block)
    if any(not 0 <= n <= most for n, most in zip(blocks, MOST_BLOCKS, strict=True)):
        raise ValueError(f"a grid of {blocks} blocks; at most {MOST_BLOCKS}, none negative")
    if any(not 1 <= n <= most for n, most in zip(threads, MOST_THREADS, strict=True)):
        raise ValueError(f"a block of {threads} threads; 1 to {MOST_THREADS}")
    in_all = threads[0] * threads[1] * threads[2]
    if in_all > MOST_THREADS_IN_ALL:
        raise ValueError(f"a block of {threads} threads; at most {MOST_THREADS_IN_ALL} in all")
    return blocks, threads, in_all


def _three(given: Dimensions) -> Three:
    numbers = (given,) if not isinstance(given, tuple) else given
    if not 1 <= len(numbers) <= 3 or any(
        not isinstance(n, (int, np.integer)) or isinstance(n, bool) for n in numbers
    ):
        raise TypeError("one to three ints")
    x, y, z = (*(int(n) for n in numbers), 1, 1)[:3]
    return x, y, z


# Arrays


def _array(kernel: str, parameter: Parameter, kind: type) -> Convert:
    """The check of an argument for a pointer; it is passed on as it is."""
    where = f"{kernel}: parameter `{parameter}`"
    known = element(parameter.type)
    if known is None and parameter.type != "void":
        raise TypeError(f"{where}: arrays of the type {parameter.type} are unknown to launch code")
    name, count = known or ("unsigned char", 1)
    right = () if known is None else dtypes(name)
    alignment = 1 if known is None else min(16, right[0].itemsize * count)
    if count in (1, 3):  # not aligned as a whole
        alignment = alignment if count == 1 else right[0].itemsize
    own = issubclass(kind, np.ndarray)
    constant = parameter.constant
    usual = right[0] if right else None

    def check(x: Any) -> Any:
        fits = x.__class__ is kind or isinstance(x, kind)
        if not fits:
            if x is None:
                return NULL
            raise TypeError(f"{where} wants {_article(kind)} array{_why(x, kind)}")
        dtype = x.dtype
        if right and dtype is not usual and dtype not in right and not _is_brain(dtype, name):
            raise TypeError(
                f"{where} wants an array of {' or '.join(map(str, right))}, not {dtype}"
            )
        flags = x.flags
        if not flags.c_contiguous:
            raise ValueError(f"{where} wants a C-contiguous array; strides are {x.strides}")
        if own and not constant and not flags.writeable:
            raise ValueError(f"{where} is written to; the array is read-only")
        if alignment > 1 and address(x) % alignment:  # a GPU would work no more after that
            raise ValueError(f"{where} wants an array aligned to {alignment} bytes")
        return x

    return check


def _is_brain(dtype: Any, name: str) -> bool:
    return name == BFLOAT16 and dtype.name == BFLOAT16


def _article(kind: type) -> str:
    return "a NumPy" if issubclass(kind, np.ndarray) else "a CuPy"


def _why(x: Any, kind: type) -> str:
    names = {"numpy": "NumPy", "cupy": "CuPy"}
    other = names.get(type(x).__module__.partition(".")[0])
    if hasattr(x, "dtype") and hasattr(x, "strides") and other:
        return f" as the first one is, not one of {other}: a kernel takes arrays of one device"
    return f", not {type(x).__name__}"


# Numbers


def _number(kernel: str, parameter: Parameter) -> Convert:
    """The conversion of a number to the NumPy scalar that has the bits of the parameter's type."""
    where = f"{kernel}: parameter `{parameter}`"
    known = element(parameter.type)
    if known is None or known[1] != 1 or known[0] == BFLOAT16:
        raise TypeError(f"{where}: launch code cannot pass a value of the type {parameter.type}")
    dtype = dtypes(known[0])[0]
    if dtype.kind == "b":
        return _truth(where)
    return _integer(where, dtype) if dtype.kind in "iu" else _real(where, dtype)


def _truth(where: str) -> Convert:
    def convert(x: Any) -> Any:
        if not isinstance(x, (bool, np.bool_)):
            raise TypeError(f"{where} wants True or False, not {type(x).__name__}")
        return np.bool_(x)

    return convert


def _integer(where: str, dtype: np.dtype[Any]) -> Convert:
    make = dtype.type
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)

    def convert(x: Any) -> Any:
        if x.__class__ is not int:
            if not isinstance(x, (int, np.integer)):
                raise TypeError(f"{where} wants an int, not {type(x).__name__}")
            x = int(x)
        if not low <= x <= high:
            raise ValueError(f"{where}: {x} does not fit: {low} to {high}")
        return make(x)

    return convert


def _real(where: str, dtype: np.dtype[Any]) -> Convert:
    make = dtype.type
    most = float(np.finfo(dtype).max)

    def convert(x: Any) -> Any:
        if x.__class__ is not float:
            if not isinstance(x, (int, float, np.integer, np.floating)):
                raise TypeError(f"{where} wants a number, not {type(x).__name__}")
            try:
                x = float(x)
            except OverflowError:  # an int of hundreds of digits
                raise ValueError(f"{where}: it does not fit: at most {most}") from None
        if not -most <= x <= most and abs(x) != np.inf and x == x:
            raise ValueError(f"{where}: {x} does not fit: at most {most}")
        return make(x)

    return convert
