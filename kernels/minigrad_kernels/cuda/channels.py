"""How launch code goes through the memory of channels: the plans for include/channels.cuh."""

from __future__ import annotations

from dataclasses import dataclass

from ..arrays import Array, Arrays, array_module
from .arrays import address, aligned, ceil_divide, result
from .c_types import C_NAMES

BLOCK = 256
"""Threads of a block that has one output, or a tile of columns."""

BLOCKS = 1024
"""Blocks that fill a large GPU: those of 256 threads that 132 multiprocessors hold at once."""

LOADS = 8
"""Loads of a thread below which it is not worth to let more blocks share an output."""


MOST = 2**32 - 2**14
"""Numbers from which on an array is left to the reference: see `quotient` in include/team.cuh. A
thread goes through a row in 32 bits, too; the step that leads beyond its end must have room there.
"""


def known(x: Array) -> bool:
    """Whether kernels compute in the type of x, and count as far as its size."""
    return x.dtype in C_NAMES and x.size < MOST


def lanes(packs: int) -> int:
    """How many threads share so many packs: a part of a warp, a warp, or (0) a block."""
    if packs <= 32:
        return 8
    return 32 if packs <= 256 else 0


def team(size: int) -> str:
    """The class of a team of so many lanes; 0 is a block."""
    return f"Lanes<{size}>" if size else "WholeBlock"


def parts(blocks: int, loads: int) -> int:
    """In how many parts to cut the outputs of so many blocks, whose threads have so many loads."""
    return max(1, min(ceil_divide(BLOCKS, blocks), loads // LOADS))


@dataclass(frozen=True)
class Plan:
    """How kernels go through an array (groups, rows, channels, inner): see channels.cuh.

    Attributes:
        shape: the four numbers.
        width: numbers in a load.
        columns: whether the class `Columns` is the one to go by, else `Planes`.
        lanes: the size of a team of `Planes`, 0 for a block.
        parts: in how many parts each output is cut.
    """

    shape: tuple[int, int, int, int]
    width: int
    columns: bool
    lanes: int
    parts: int

    @property
    def outputs(self) -> int:
        """How many channels all groups have."""
        return self.shape[0] * self.shape[2]

    @property
    def layout(self) -> str:
        """The class, for a definition."""
        return (
            f"Columns<{self.width}>"
            if self.columns
            else f"Planes<{team(self.lanes)}, {self.width}>"
        )

    @property
    def block(self) -> int | tuple[int, int]:
        """The threads of a block."""
        if self.columns:
            across = _across(self.shape[2], self.width)
            return across, BLOCK // across
        return 128 if self.lanes else BLOCK

    @property
    def grid(self) -> int:
        """The blocks."""
        groups, _, channels, _ = self.shape
        if self.columns:
            tiles = ceil_divide(channels, _across(channels, self.width) * self.width)
            return groups * tiles * self.parts
        teams = self.outputs * self.parts
        return ceil_divide(teams * self.lanes, 128) if self.lanes else teams

    @property
    def arguments(self) -> tuple[int, ...]:
        """What kernels are told: rows, channels, inner, outputs, parts."""
        return (*self.shape[1:], self.outputs, self.parts)


def _across(channels: int, width: int) -> int:
    """Threads side by side in a block for columns: a warp, or fewer for few channels."""
    return min(32, 1 << (ceil_divide(channels, width) - 1).bit_length())


def plan(shape: tuple[int, int, int, int], *arrays: Array, cut: bool = True) -> Plan:
    """The plan for dense arrays of that shape; `cut` says whether outputs may be cut in parts."""
    _, rows, channels, inner = shape
    columns = inner == 1 and channels > 1
    width = 16 // arrays[0].itemsize
    if not aligned(width, channels if columns else inner, *arrays):
        width = 1
    whole = Plan(shape, width, columns, 0, 1)
    if columns:
        across = _across(channels, width)
        loads = ceil_divide(rows * across, BLOCK)
    else:
        packs = rows * inner // width
        size = lanes(packs)
        if size:
            return Plan(shape, width, columns, size, 1)
        loads = ceil_divide(packs, BLOCK)
    return Plan(shape, width, columns, 0, parts(whole.grid, loads) if cut else 1)


# Places for results


def room(out: Array | None, large: tuple[Array, ...], *small: Array | None) -> Array:
    """A dense array for a result of the shape and type of the arrays in `large`.

    Kernels read these where they write, so `out` may be one of them; those in `small` they read
    also elsewhere, so `out` is not used if it shares memory with one.
    """
    if out is not None:
        may_share = array_module(out).may_share_memory
        if any(may_share(out, a) for a in small if a is not None):
            out = None
    return result(out, large, large[0].shape, large[0].dtype)


def delivered(results: Arrays, out: Arrays | None) -> Arrays:
    """As `arrays.deliver_all`, but what was written in its place already is not copied. The places
    were checked before."""
    if out is None:
        return results
    for y, place in zip(results, out, strict=True):
        if not _same(y, place):
            array_module(place).copyto(place, y)
    return out


def _same(a: Array, b: Array) -> bool:
    """Whether both are the same elements of one memory."""
    return bool(address(a) == address(b) and a.strides == b.strides and a.dtype == b.dtype)
