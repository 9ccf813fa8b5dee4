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
LLVM's words, for the widest vectors of this machine.
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

_FEATURES = llvm.get_host_cpu_features()
_FUSED = bool(_FEATURES.get("fma")) or not llvm.get_process_triple().startswith("x86_64")
_VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16

ROWS = 6
VECTORS = 2 if _VECTOR_BYTES == 32 else 4  # AVX2 has 16 registers, AVX-512 and NEON have 32
PANEL_BYTES = VECTORS * _VECTOR_BYTES
"""The columns of a tile, in bytes."""

ZERO, ADD, START = 0, 1, 2
"""What a sum begins with: nothing, what lies in c, or a number for each column."""


def panel(dtype: Any) -> int:
    """The columns of a tile of numbers of this type."""
    return PANEL_BYTES // np.dtype(dtype).itemsize


class _Emitter:
    """LLVM's code for tiles of `vectors` vectors in a row."""

    def __init__(self, builder: ir.IRBuilder, scalar: ir.Type, vectors: int) -> None:
        self.builder = builder
        self.bytes = 4 if isinstance(scalar, ir.FloatType) else 8
        self.lanes = _VECTOR_BYTES // self.bytes
        self.type = ir.VectorType(scalar, self.lanes)
        self.tile = [(i, j) for i in range(ROWS) for j in range(vectors)]
        self.vectors = vectors

    def at(self, pointer: ir.Value, offset: int | ir.Value) -> ir.Value:
        if isinstance(offset, int):
            offset = ir.Constant(ir.IntType(64), offset)
        return self.builder.gep(pointer, [offset])

    def load(self, pointer: ir.Value) -> ir.Value:
        typed = self.builder.bitcast(pointer, self.type.as_pointer())
        return self.builder.load(typed, align=self.bytes)

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        typed = self.builder.bitcast(pointer, self.type.as_pointer())
        self.builder.store(value, typed, align=self.bytes)

    def everywhere(self, scalar: ir.Value) -> ir.Value:
        """A vector of one number."""
        nothing = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(first, nothing, lanes)

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
            number = self.everywhere(self.builder.load(self.at(a, a_rows[i])))
            for j in range(self.vectors):
                total = self.builder.load(sums[i, j])
                self.builder.store(self.multiply_add(number, row[j], total), sums[i, j])

    def finish(self, sums: dict, relu: ir.Value, c: list) -> None:
        """Write the sums, negative ones as zero if `relu`; NaN stays."""
        zero = ir.Constant(self.type, None)
        for i, j in self.tile:
            total = self.builder.load(sums[i, j])
            negative = self.builder.fcmp_ordered("<", total, zero)
            clipped = self.builder.select(negative, zero, total)
            self.store(self.builder.select(relu, clipped, total), self.at(c[i], j * self.lanes))


@intrinsic
def _transpose_square(typing_context, a, a_at, a_row, c, c_at, c_row):
    """c[j, i] = a[i, j] for a square of as many rows and columns as a vector has lanes."""
    index = types.intp
    signature = types.void(a, index, index, c, index, index)

    def emit(context, builder, signature, values):
        a, a_at, a_row, c, c_at, c_row = values
        code = _Emitter(builder, context.get_value_type(signature.args[0].dtype), 1)
        a = code.at(_pointer(context, builder, signature.args[0], a), a_at)
        c = code.at(_pointer(context, builder, signature.args[3], c), c_at)
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
    lanes = _VECTOR_BYTES // c.itemsize
    whole_rows, whole_columns = rows - rows % lanes, columns - columns % lanes
    for i in range(0, whole_rows, lanes):
        for j in range(0, whole_columns, lanes):
            _transpose_square(a, a_at + i * a_row + j, a_row, c, c_at + j * c_row + i, c_row)
    for i in range(rows):
        for j in range(whole_columns if i < whole_rows else 0, columns):
            c[c_at + j * c_row + i] = a[a_at + i * a_row + j]


_ARGUMENTS = [
    *("vectors", "a", "a_at", "a_rows", "a_row", "a_step", "segments", "first", "last", "depth"),
    *("b", "b_at", "b_step", "c", "c_rows", "c_row", "c_at", "rows"),
    *("begin", "start", "start_at", "relu"),
]


def _pointer(context: Any, builder: ir.IRBuilder, kind: types.Array, value: ir.Value) -> ir.Value:
    return context.make_array(kind)(context, builder, value).data


@intrinsic(prefer_literal=True)
def _multiply(
    typing_context, vectors, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
    b, b_at, b_step, c, c_rows, c_row, c_at, rows, begin, start, start_at, relu,
):  # fmt: skip
    """`multiply`, for whole vectors: `vectors` (a literal) of them. No bounds are checked."""
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    count = vectors.literal_value
    index = types.intp
    signature = types.void(
        vectors, a, index, a_rows, index, index, segments, index, index, index,
        b, index, index, c, c_rows, index, index, index, index, start, index, types.boolean,
    )  # fmt: skip

    def emit(context, builder, signature, values):
        v = dict(zip(_ARGUMENTS, values, strict=True))
        for name, kind in zip(_ARGUMENTS, signature.args, strict=True):
            if isinstance(kind, types.Array):
                v[name] = _pointer(context, builder, kind, v[name])
        code = _Emitter(builder, context.get_value_type(signature.args[1].dtype), count)

        def row_starts(table, first_row):
            """Where the rows of the tile begin; beyond the last row, the last row again."""
            starts = []
            for i in range(ROWS):
                past = builder.icmp_signed("<", ir.Constant(v["rows"].type, i), v["rows"])
                last_row = builder.sub(v["rows"], ir.Constant(v["rows"].type, 1))
                row = builder.select(past, ir.Constant(v["rows"].type, i), last_row)
                starts.append(builder.load(code.at(table, builder.add(first_row, row))))
            return starts

        a_starts = row_starts(v["a_rows"], v["a_row"])
        c_base = code.at(v["c"], v["c_at"])
        c = [code.at(c_base, n) for n in row_starts(v["c_rows"], v["c_row"])]
        sums = {t: cgutils.alloca_once(builder, code.type) for t in code.tile}
        code.begin(sums, v["begin"], c, code.at(v["start"], v["start_at"]))
        a_base = code.at(v["a"], v["a_at"])
        b_base = code.at(v["b"], v["b_at"])
        b_segment = builder.mul(v["depth"], v["b_step"])
        number = builder.sub(v["last"], v["first"])
        with cgutils.for_range(builder, number) as segment:
            offset = builder.load(code.at(v["segments"], builder.add(v["first"], segment.index)))
            a = code.at(a_base, offset)
            b = code.at(b_base, builder.mul(segment.index, b_segment))
            with cgutils.for_range(builder, v["depth"]) as k:
                a_here = code.at(a, builder.mul(k.index, v["a_step"]))
                b_here = code.at(b, builder.mul(k.index, v["b_step"]))
                code.step(sums, a_here, a_starts, b_here)
        code.finish(sums, v["relu"], c)
        return context.get_dummy_value()

    return signature, emit


_LANES_4 = _VECTOR_BYTES // 4


@numba.njit(forceinline=True)
def multiply(
    a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
    b, b_at, b_step, c, c_rows, c_row, c_at, rows, columns, begin, start, start_at, relu,
):  # fmt: skip
    """Add one tile's product to c; see the top of this file. Trusts its arguments.

    Rows of a begin at a_at + a_rows[a_row + i], rows of c at c_at + c_rows[c_row + i], i < rows, in
    elements of the arrays' memory; segments are segments[first:last], each `depth` steps long.
    b is packed: panels of at least `columns` columns, rounded up to whole vectors, rows b_step
    apart. `begin` is ZERO, ADD or START (with start[start_at + j]); `relu`: negative sums become 0.
    """
    lanes = _LANES_4 * 4 // c.itemsize
    used = (columns + lanes - 1) // lanes
    if used * lanes == columns:
        _dispatch(
            used, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
            b, b_at, b_step, c, c_rows, c_row, c_at, rows, begin, start, start_at, relu,
        )  # fmt: skip
        return
    # Whole vectors would overrun the row: go through a tile of whole vectors.
    width = used * lanes
    whole = np.zeros((ROWS + 1) * width, c.dtype)  # the last row stands for `start`
    flat = c.ravel()
    whole_rows = np.empty(ROWS, np.intp)
    for i in range(ROWS):
        whole_rows[i] = i * width
    if begin == ADD:
        for i in range(rows):
            for j in range(columns):
                whole[i * width + j] = flat[c_at + c_rows[c_row + i] + j]
    elif begin == START:
        for j in range(columns):
            whole[ROWS * width + j] = start[start_at + j]
    _dispatch(
        used, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
        b, b_at, b_step, whole, whole_rows, 0, 0, rows, begin, whole, ROWS * width, relu,
    )  # fmt: skip

    for i in range(rows):
        for j in range(columns):
            flat[c_at + c_rows[c_row + i] + j] = whole[i * width + j]


@numba.njit(forceinline=True)
def _dispatch(
    used, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
    b, b_at, b_step, c, c_rows, c_row, c_at, rows, begin, start, start_at, relu,
):  # fmt: skip
    """Run the code for so many vectors."""
    if used == 1:
        _multiply(
            1, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
            b, b_at, b_step, c, c_rows, c_row, c_at, rows, begin, start, start_at, relu,
        )  # fmt: skip
    elif used == 2:
        _multiply(
            2, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
            b, b_at, b_step, c, c_rows, c_row, c_at, rows, begin, start, start_at, relu,
        )  # fmt: skip
    elif used == 3:
        _multiply(
            3, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
            b, b_at, b_step, c, c_rows, c_row, c_at, rows, begin, start, start_at, relu,
        )  # fmt: skip
    else:
        _multiply(
            4, a, a_at, a_rows, a_row, a_step, segments, first, last, depth,
            b, b_at, b_step, c, c_rows, c_row, c_at, rows, begin, start, start_at, relu,
        )  # fmt: skip
