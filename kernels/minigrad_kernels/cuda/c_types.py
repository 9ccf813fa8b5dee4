"""Types of CUDA C++ and of arrays."""

from __future__ import annotations

import re

import numpy as np

from ..arrays import Array

BFLOAT16 = "bfloat16"
"""NumPy has no such type: arrays of ml_dtypes.bfloat16, or their bits as uint16."""

_SPELLINGS = {
    "float": "f4",
    "double": "f8",
    "half": "f2",
    "bool": "?",
    "signed char": "i1",
    "char": "i1",
    "unsigned char": "u1",
    "short": "i2",
    "unsigned short": "u2",
    "int": "i4",
    "unsigned int": "u4",
    "unsigned": "u4",
    "long long": "i8",
    "unsigned long long": "u8",
}
_OTHER_NAMES = {
    "__half": "half",
    "int8_t": "signed char",
    "uint8_t": "unsigned char",
    "int16_t": "short",
    "uint16_t": "unsigned short",
    "int32_t": "int",
    "uint32_t": "unsigned",
    "int64_t": "long long",
    "uint64_t": "unsigned long long",
    "size_t": "unsigned long long",
    "long long int": "long long",
    "unsigned long long int": "unsigned long long",
    "unsigned short int": "unsigned short",
    "uchar": "unsigned char",
    "ushort": "unsigned short",
    "uint": "unsigned",
    "longlong": "long long",
    "ulonglong": "unsigned long long",
    "nv_bfloat16": BFLOAT16,
    "__nv_bfloat16": BFLOAT16,
    "__half2": "half2",
    "__nv_bfloat162": "bfloat162",
    "nv_bfloat162": "bfloat162",
}
_VECTOR = re.compile(
    r"((?:u?char|u?short|u?int|u?longlong|float|double|half|bfloat16)(?=[1-4]$))([1-4])"
)

C_NAMES = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.float16): "half",
}
"""What a kernel's definition of an array's type is."""


def element(name: str) -> tuple[str, int] | None:
    """The numbers that a type of C++ is made of, and how many; None if that is not known.

    >>> element("float4"), element("uint32_t"), element("bool"), element("Matrix")
    (('float', 4), ('unsigned', 1), ('bool', 1), None)
    """
    name = name.removeprefix("std::")
    name = _OTHER_NAMES.get(name, name)
    vector = _VECTOR.fullmatch(name)
    base, count = (vector[1], int(vector[2])) if vector else (name, 1)
    base = _OTHER_NAMES.get(base, base)
    return (base, count) if base in _SPELLINGS or base == BFLOAT16 else None


def dtypes(name: str) -> tuple[np.dtype, ...]:
    """The types of arrays whose elements have the bits of that type of C++.

    >>> dtypes("float"), dtypes("unsigned char")
    ((dtype('float32'),), (dtype('uint8'), dtype('bool')))
    """
    if name == BFLOAT16:
        return (np.dtype(np.uint16),)
    same = {"bool": ("?", "u1"), "unsigned char": ("u1", "?")}
    return tuple(np.dtype(s) for s in same.get(name, (_SPELLINGS[name],)))


def c_name(x: Array) -> str:
    """What an array's type is called in C++, for a definition: `"float"`.

    Raises:
        TypeError: for a type that kernels are not written for.
    """
    try:
        return C_NAMES[x.dtype]
    except KeyError:
        raise TypeError(
            f"CUDA kernels compute in {', '.join(map(str, C_NAMES))}, not {x.dtype}"
        ) from None
