"""Vectors as numbers of compiled code: `load`, `store`, `fill`, and + - * between them.

A loop over scalars is vectorised where the compiler can prove that it may be. In Winograd's
transforms, which read 36 rows and write 36 others, it cannot; with vectors as values there is
nothing to prove. A vector has `lanes(dtype)` elements, as many as the machine's registers hold.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

FEATURES = llvm.get_host_cpu_features()
VECTOR_BYTES = 64 if FEATURES.get("avx512f") else 32 if FEATURES.get("avx2") else 16


def lanes(dtype: Any) -> int:
    """How many numbers of this type a vector holds."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def whole_vectors(count: int, dtype: Any) -> int:
    """The numbers in the whole vectors that `count` numbers of this type need."""
    each = lanes(dtype)
    return -(-count // each) * each


class Vector(types.Type):
    """The type of vectors of `dtype`."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        scalar = manager.lookup(kind.dtype).get_value_type()
        super().__init__(
            manager, kind, ir.VectorType(scalar, VECTOR_BYTES * 8 // kind.dtype.bitwidth)
        )


@infer_global(operator.add)
@infer_global(operator.sub)
@infer_global(operator.mul)
class _Arithmetic(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
            return signature(args[0], *args)
        return None


@lower_builtin(operator.add, Vector, Vector)
def _add(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    return builder.fadd(*args, flags=("contract",))


@lower_builtin(operator.sub, Vector, Vector)
def _sub(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    return builder.fsub(*args, flags=("contract",))


@lower_builtin(operator.mul, Vector, Vector)
def _mul(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    return builder.fmul(*args, flags=("contract",))


def _pointer(context: Any, builder: ir.IRBuilder, sig: Any, args: Any, vector: ir.Type) -> ir.Value:
    """The address of element args[1] of the array args[0], as a vector's."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer())


@intrinsic
def load(typing_context, array, at):
    """The vector at array[at], the array being one-dimensional without gaps. Checks nothing."""
    kind = Vector(array.dtype)

    def emit(context, builder, sig, args):
        pointer = _pointer(context, builder, sig, args, context.get_value_type(kind))
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return kind(array, types.intp), emit


@intrinsic
def store(typing_context, array, at, vector):
    """Write the vector to array[at]. Checks nothing."""

    def emit(context, builder, sig, args):
        pointer = _pointer(context, builder, sig, args, args[2].type)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


def everywhere(builder: ir.IRBuilder, number: ir.Value, vector: ir.VectorType) -> ir.Value:
    """LLVM's code for a vector of one number."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(first, nothing, zeros)


@intrinsic
def fill(typing_context, number):
    """A vector of one number."""
    kind = Vector(number)

    def emit(context, builder, sig, args):
        return everywhere(builder, args[0], context.get_value_type(kind))

    return kind(number), emit


@intrinsic
def copy(typing_context, target, to, source, at, count):
    """target[to : to + count] = source[at : at + count], which do not overlap. Checks nothing."""

    def emit(context, builder, sig, args):
        target, to, source, at, count = args
        there = context.make_array(sig.args[0])(context, builder, target).data
        here = context.make_array(sig.args[2])(context, builder, source).data
        cgutils.raw_memcpy(
            builder, builder.gep(there, [to]), builder.gep(here, [at]), count,
            _bytes_each(sig.args[0]),
        )  # fmt: skip
        return context.get_dummy_value()

    index = types.intp
    return types.void(target, index, source, index, index), emit


@intrinsic
def clear(typing_context, target, to, count):
    """target[to : to + count] = 0. Checks nothing."""

    def emit(context, builder, sig, args):
        target, to, count = args
        data = context.make_array(sig.args[0])(context, builder, target).data
        size = builder.mul(count, ir.Constant(count.type, _bytes_each(sig.args[0])))
        cgutils.memset(builder, builder.gep(data, [to]), size, 0)
        return context.get_dummy_value()

    return types.void(target, types.intp, types.intp), emit


def _bytes_each(array: types.Array) -> int:
    """Bytes of an element."""
    return int(array.dtype.bitwidth // 8)


@numba.njit(forceinline=True)
def lanes_of(array):
    """How many elements of the array a vector holds."""
    return VECTOR_BYTES // array.itemsize


@numba.njit
def aligned(size, model):
    """An array of so many elements of the model's type, not filled, aligned to vectors."""
    room = np.empty(size + VECTOR_BYTES // model.itemsize, model.dtype)
    start = -room.ctypes.data % VECTOR_BYTES // model.itemsize
    return room[start : start + size]


@numba.njit
def multiples(count, number):
    """The first multiples of a whole number: 0, number, 2 * number, ..."""
    places = np.empty(count, np.intp)
    for i in range(count):
        places[i] = i * number
    return places
