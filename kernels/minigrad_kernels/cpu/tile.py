"""The product of a tile: the one loop in which matrix products and convolutions spend their time.

    c[c_row_i + j] (+)= sum over s, k of a[a_row_i + segment_s + k * a_step] * b[s * depth + k, j]

for ROWS rows i and up to PANEL columns j. The tile of c stays in vector registers while the sum
runs: every step loads one row of b into vectors and multiplies it by one number of each row of a
(Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008). Such a step is
ROWS * VECTORS independent multiply-adds: as many as registers allow, and more than are needed to
hide the latency of one.

Rows of a and c may begin anywhere, and the sum may jump at every segment: a convolution's windows
are read where they lie in the image, and nothing is unfolded ("implicit GEMM").

Numba vectorises loops but does not keep a block of them in registers, so this loop is written in
LLVM's words, for the widest vectors of this machine. It is compiled once for each type, and called
by its address: compiled into every function that needs it, it would be most of their compile time.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import c_function
from .vector import FEATURES, VECTOR_BYTES, everywhere, lanes_of, whole_vectors

_FUSED = bool(FEATURES.get("fma")) or not llvm.get_process_triple().startswith("x86_64")

ROWS = 6
VECTORS = 2 if VECTOR_BYTES == 32 else 4  # AVX2 has 16 registers, AVX-512 and NEON have 32
PANEL_BYTES = VECTORS * VECTOR_BYTES
"""The columns of a tile, in bytes."""


def panels_of(columns: int, dtype: Any) -> tuple[int, int]:
    """Columns of a panel, in whole vectors, and how many panels hold so many columns."""
    width = min(PANEL_BYTES // np.dtype(dtype).itemsize, whole_vectors(columns, dtype))
    return width, -(-columns // width)


ZERO, ADD, START = 0, 1, 2
"""What a sum begins with: nothing, what lies in c, or a number for each column."""

FIRST = np.zeros(1, np.intp)
"""One segment, which begins where a does."""

_INDEX = ir.IntType(64)


class _Emitter:
    """LLVM's code for tiles of `vectors` vectors in a row."""

    def __init__(self, builder: ir.IRBuilder, scalar: ir.Type, vectors: int) -> None:
        self.builder = builder
        self.scalar = scalar
        self.bytes = 4 if isinstance(scalar, ir.FloatType) else 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.type = ir.VectorType(scalar, self.lanes)
        self.tile = [(i, j) for i in range(ROWS) for j in range(vectors)]
        self.vectors = vectors

    def at(self, pointer: ir.Value, offset: int | ir.Value) -> ir.Value:
        if isinstance(offset, int):
            offset = ir.Constant(_INDEX, offset)
        return self.builder.gep(pointer, [offset])

    def load(self, pointer: ir.Value) -> ir.Value:
        typed = self.builder.bitcast(pointer, self.type.as_pointer())
        return self.builder.load(typed, align=self.bytes)

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        typed = self.builder.bitcast(pointer, self.type.as_pointer())
        self.builder.store(value, typed, align=self.bytes)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        if not _FUSED:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        fma = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.type, [self.type] * 3),
            f"llvm.fma.v{self.lanes}f{8 * self.bytes}",
        )
        return self.builder.call(fma, [a, b, c])

    def begin(self, sums: dict, begin: ir.Value, c: list, start: ir.Value) -> None:
        """Set the sums to zero, to what lies in c, or to the numbers of `start`."""
        builder = self.builder
        done = builder.append_basic_block("begun")
        cases = [builder.append_basic_block(name) for name in ("zero", "add", "start")]
        switch = builder.switch(begin, cases[ZERO])
        for case in (ADD, START):
            switch.add_case(ir.Constant(begin.type, case), cases[case])
        for case, block in enumerate(cases):
            builder.position_at_end(block)
            for i, j in self.tile:
                if case == ZERO:
                    value = ir.Constant(self.type, None)
                else:
                    row = c[i] if case == ADD else start
                    value = self.load(self.at(row, j * self.lanes))
                builder.store(value, sums[i, j])
            builder.branch(done)
        builder.position_at_end(done)

    def step(self, sums: dict, a: ir.Value, a_rows: list, b: ir.Value) -> None:
        """One outer product: a number of every row of a times one row of b."""
        row = [self.load(self.at(b, j * self.lanes)) for j in range(self.vectors)]
        for i in range(ROWS):
            number = self.builder.load(self.at(a, a_rows[i]))
            number = everywhere(self.builder, number, self.type)
            for j in range(self.vectors):
                total = self.builder.load(sums[i, j])
                self.builder.store(self.multiply_add(number, row[j], total), sums[i, j])

    def finish(self, sums: dict, relu: ir.Value, c: list) -> None:
        """Write the sums, those that are not positive as 0 if `relu`; NaN stays."""
        zero = ir.Constant(self.type, None)
        for i, j in self.tile:
            total = self.builder.load(sums[i, j])
            clipped = self.builder.select(
                self.builder.fcmp_ordered("<=", total, zero), zero, total
            )  # -0.0 becomes 0.0, as in the kernel `relu`
            self.store(self.builder.select(relu, clipped, total), self.at(c[i], j * self.lanes))

    def copy(self, source: ir.Value, target: ir.Value, count: ir.Value) -> None:
        """Copy so many numbers, one by one."""
        with cgutils.for_range(self.builder, count) as loop:
            value = self.builder.load(self.at(source, loop.index))
            self.builder.store(value, self.at(target, loop.index))


_PARAMETERS = [
    *("a", "a_rows", "a_step", "segments", "count", "depth", "b", "b_step"),
    *("c", "c_rows", "rows", "columns", "begin", "start", "relu"),
]
_NUMBERS, _PLACES = {"a", "b", "c", "start"}, {"a_rows", "c_rows", "segments"}


def _signature(number: types.Float) -> Any:
    """The type of the compiled function: pointers, and whole numbers."""
    kinds = {name: types.CPointer(number) for name in _NUMBERS}
    kinds |= {name: types.CPointer(types.intp) for name in _PLACES}
    return types.void(*(kinds.get(name, types.intp) for name in _PARAMETERS))


@intrinsic
def _tile(
    typing_context, a, a_rows, a_step, segments, count, depth, b, b_step,
    c, c_rows, rows, columns, begin, start, relu,
):  # fmt: skip
    """All of a tile's product; see `multiply`."""
    signature = _signature(a.dtype)

    def emit(context, builder, signature, values):
        v = dict(zip(_PARAMETERS, values, strict=True))
        scalar = context.get_value_type(a.dtype)
        lanes = ir.Constant(_INDEX, VECTOR_BYTES * 8 // a.dtype.bitwidth)
        full = builder.sub(builder.add(v["columns"], lanes), ir.Constant(_INDEX, 1))
        used = builder.sdiv(full, lanes)
        room = builder.alloca(scalar, (ROWS + 1) * PANEL_BYTES * 8 // a.dtype.bitwidth)
        done = builder.append_basic_block("done")
        cases = [builder.append_basic_block(f"vectors{n}") for n in range(1, VECTORS + 1)]
        switch = builder.switch(used, cases[-1])
        for n, block in enumerate(cases[:-1], start=1):
            switch.add_case(ir.Constant(_INDEX, n), block)
        for n, block in enumerate(cases, start=1):
            builder.position_at_end(block)
            _emit(_Emitter(builder, scalar, n), v, room)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, emit


def _emit(code: _Emitter, v: dict, room: ir.Value) -> None:
    """The code for one number of vectors. `room` is for tiles whose last vector is not whole."""
    builder, width = code.builder, code.vectors * code.lanes
    whole = builder.icmp_signed("==", v["columns"], ir.Constant(_INDEX, width))

    def rows_of(table):
        """Where the rows of the tile begin; beyond the last row, the last row again."""
        last = builder.sub(v["rows"], ir.Constant(_INDEX, 1))
        starts = []
        for i in range(ROWS):
            within = builder.icmp_signed("<", ir.Constant(_INDEX, i), v["rows"])
            row = builder.select(within, ir.Constant(_INDEX, i), last)
            starts.append(builder.load(code.at(table, row)))
        return starts

    a_starts = rows_of(v["a_rows"])
    places = [code.at(v["c"], n) for n in rows_of(v["c_rows"])]
    spare = [code.at(room, i * width) for i in range(ROWS + 1)]
    with builder.if_then(builder.not_(whole)):
        with builder.if_then(builder.icmp_signed("==", v["begin"], ir.Constant(_INDEX, ADD))):
            for i in range(ROWS):
                code.copy(places[i], spare[i], v["columns"])
        with builder.if_then(builder.icmp_signed("==", v["begin"], ir.Constant(_INDEX, START))):
            code.copy(v["start"], spare[ROWS], v["columns"])
    c = [builder.select(whole, places[i], spare[i]) for i in range(ROWS)]
    sums = {t: cgutils.alloca_once(builder, code.type) for t in code.tile}
    code.begin(sums, v["begin"], c, builder.select(whole, v["start"], spare[ROWS]))
    segment_length = builder.mul(v["depth"], v["b_step"])
    with cgutils.for_range(builder, v["count"]) as segment:
        a = code.at(v["a"], builder.load(code.at(v["segments"], segment.index)))
        b = code.at(v["b"], builder.mul(segment.index, segment_length))
        with cgutils.for_range(builder, v["depth"]) as k:
            a_here = code.at(a, builder.mul(k.index, v["a_step"]))
            code.step(sums, a_here, a_starts, code.at(b, builder.mul(k.index, v["b_step"])))
    code.finish(sums, builder.icmp_signed("!=", v["relu"], ir.Constant(_INDEX, 0)), c)
    with builder.if_then(builder.not_(whole)):
        for i in range(ROWS):
            code.copy(spare[i], places[i], v["columns"])


def _tile_function(a, a_rows, a_step, segments, count, depth, b, b_step,
                   c, c_rows, rows, columns, begin, start, relu):  # fmt: skip
    _tile(
        a, a_rows, a_step, segments, count, depth, b, b_step,
        c, c_rows, rows, columns, begin, start, relu,
    )  # fmt: skip


def _symbol(number: types.Float) -> str:
    return f"minigrad_tile_{number}"


def _publish(number: types.Float) -> Any:
    """Compile or load the function, and tell LLVM the address that code will ask for by name."""
    made = c_function(_tile_function, _signature(number), str(number))
    llvm.add_symbol(_symbol(number), made.address)
    return made


_KEPT = [_publish(number) for number in (types.float32, types.float64)]  # else their code is freed


@intrinsic
def multiply(
    typing_context, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
    b, b_at, b_step, c, c_rows, c_row, c_at, rows, columns, begin, start, start_at, relu,
):  # fmt: skip
    """Add one tile's product to c; see the top of this file. Trusts its arguments.

    Rows of a begin at a_at + a_rows[a_row + i], rows of c at c_at + c_rows[c_row + i], i < rows, in
    elements of the arrays' memory; segments are segments[first:last], each `depth` steps long.
    Rows of b are b_step apart, and whole vectors of them may be read. `begin` is ZERO, ADD or START
    (with start[start_at + j]); `relu`: sums that are not positive become 0.
    """
    index = types.intp
    signature = types.void(
        a, index, a_rows, index, index, segments, index, index, index,
        b, index, index, c, c_rows, index, index, index, index, index, start, index, index,
    )  # fmt: skip

    def emit(context, builder, signature, values):
        (a, a_at, a_rows, a_row, a_step, segments, first, last, depth, b, b_at, b_step,
         c, c_rows, c_row, c_at, rows, columns, begin, start, start_at, relu) = values  # fmt: skip

        def place(n, array, at):
            data = context.make_array(signature.args[n])(context, builder, array).data
            return builder.gep(data, [at])

        arguments = [
            place(0, a, a_at), place(2, a_rows, a_row), a_step, place(5, segments, first),
            builder.sub(last, first), depth, place(9, b, b_at), b_step,
            place(12, c, c_at), place(13, c_rows, c_row), rows, columns, begin,
            place(19, start, start_at), relu,
        ]  # fmt: skip
        kind = ir.FunctionType(ir.VoidType(), [x.type for x in arguments])
        symbol = _symbol(signature.args[0].dtype)
        builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), arguments)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def _transpose_square(typing_context, a, a_at, a_row, c, c_at, c_row):
    """c[j, i] = a[i, j] for a square of as many rows and columns as a vector has lanes."""
    index = types.intp
    signature = types.void(a, index, index, c, index, index)

    def emit(context, builder, signature, values):
        a, a_at, a_row, c, c_at, c_row = values
        code = _Emitter(builder, context.get_value_type(signature.args[0].dtype), 1)
        a = context.make_array(signature.args[0])(context, builder, a).data
        c = context.make_array(signature.args[3])(context, builder, c).data
        a, c = code.at(a, a_at), code.at(c, c_at)
        lanes, half = code.lanes, code.lanes // 2
        # A riffle of two rows takes their elements in turn. Riffling row i with row i + half, for
        # all i, as often as it takes to halve `lanes` down to 1, transposes the square.
        low = [n // 2 + (n % 2) * lanes for n in range(lanes)]
        masks = [
            ir.Constant(ir.VectorType(ir.IntType(32), lanes), [n + shift for n in low])
            for shift in (0, half)
        ]
        rows = [
            code.load(code.at(a, builder.mul(a_row, ir.Constant(a_row.type, i))))
            for i in range(lanes)
        ]
        for _ in range(lanes.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[n // 2], rows[n // 2 + half], masks[n % 2])
                for n in range(lanes)
            ]
        for i in range(lanes):
            code.store(rows[i], code.at(c, builder.mul(c_row, ir.Constant(c_row.type, i))))
        return context.get_dummy_value()

    return signature, emit


@numba.njit
def transpose(a, a_at, a_row, rows, columns, c, c_at, c_row):
    """c[c_at + j * c_row + i] = a[a_at + i * a_row + j] for i < rows and j < columns."""
    lanes = lanes_of(c)
    if rows < lanes or columns < lanes:
        for i in range(rows):
            for j in range(columns):
                c[c_at + j * c_row + i] = a[a_at + i * a_row + j]
        return
    for column in range(0, columns, lanes):
        j = min(column, columns - lanes)  # the last square may overlap the one before
        for row in range(0, rows, lanes):
            i = min(row, rows - lanes)
            _transpose_square(a, a_at + i * a_row + j, a_row, c, c_at + j * c_row + i, c_row)
