"""Launching the kernels of windows that slide over images, with what is known of the windows."""

from __future__ import annotations

from ..arrays import Array
from ..windows import Pair
from .arrays import aligned
from .c_types import c_name
from .pool_images import BLOCK, LOAD, Layout, blocks, index_type, load_width
from .source import kernel

Geometry = tuple[Pair, ...]
"""Kernel size, stride, padding, and dilation where there is one."""

ANY = {"KERNEL": 0, "STRIDE": 1, "PADDING": 0}
"""What kernels are compiled for that take any windows."""

_KNOWN: dict[Geometry, dict[str, int]] = {
    ((2, 2), (2, 2), (0, 0)): {"KERNEL": 2, "STRIDE": 2, "PADDING": 0},
    ((3, 3), (2, 2), (1, 1)): {"KERNEL": 3, "STRIDE": 2, "PADDING": 1},
}


def known_windows(geometry: Geometry) -> dict[str, int]:
    """The definitions for windows; the most frequent ones have kernels of their own."""
    *square, dilation = (*geometry, (1, 1))[:4]
    return _KNOWN.get(tuple(square), ANY) if dilation == (1, 1) else ANY


def in_rows(
    known: dict[str, int], last: bool, size: Pair, outputs: Pair, images: Array, *others: Array
) -> bool:
    """Whether the kernels for rows of planes do: rows of whole loads, a window for each stride.

    The others have an element for each window.
    """
    width, stride = LOAD // images.itemsize, known["STRIDE"]
    return (
        not last
        and known is not ANY
        and width % stride == 0
        and outputs[1] * stride == size[1]
        and aligned(width, size[1], images)
        and all(aligned(min(width // stride, LOAD // a.itemsize), outputs[1], a) for a in others)
    )


def launch(
    stem: str,
    name: str,
    arrays: tuple[Array, ...],
    shape: tuple[int, ...],
    outputs: Pair,
    geometry: Geometry,
    last: bool,
    *numbers: int,
    **definitions: str | int,
) -> None:
    """Run a kernel of `stem`.cu, or of `stem`_rows.cu where that will do.

    `arrays` are its arguments, in their native layout: that of images of this shape (N, C, H, W),
    and arrays with an element for each of outputs[0] * outputs[1] windows of a channel. A gradient
    writes the last one, images; others read the first one, images, and write the second.
    """
    gradient = name.endswith("gradient")
    written = arrays[-1] if gradient else arrays[1]
    images, *others = arrays[::-1] if gradient else arrays
    size, layout = (shape[2], shape[3]), Layout.of(shape, last)
    known = known_windows(geometry)
    definitions |= {"T": c_name(images), "INDEX": index_type(*arrays), **known}
    if in_rows(known, last, size, outputs, images, *others):
        width = LOAD // images.itemsize
        run = kernel(f"{stem}_rows.cu", name, WIDTH=width, **definitions)
        of_thread = width if gradient else width // known["STRIDE"]
        sizes = [layout.images, *size, outputs[0]]
    else:
        of_thread = width = load_width(layout.channels, images, *others)
        run = kernel(f"{stem}.cu", name, WIDTH=width, **definitions)
        pairs = (size, outputs, *geometry)
        sizes = [layout.images, layout.channels, *(n for pair in pairs for n in pair)]
    run(blocks(written.size // of_thread), BLOCK, *arrays, *sizes, *numbers)
