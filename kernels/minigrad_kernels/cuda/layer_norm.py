"""Layer norm in CUDA: the launch code of layer_norm.cu, layer_norm_sums.cu and
layer_norm_gradients.cu."""

from __future__ import annotations

from typing import Any

from ..arrays import Array, check_all_out, check_out, summing_type
from .arrays import aligned, ceil_divide, contiguous, empty
from .c_types import c_name
from .channels import BLOCK, BLOCKS, delivered, lanes, plan, room, team
from .reduce import sums_of
from .source import kernel

MOST_NUMBERS = {"float": 16, "double": 4}
"""Numbers of a row that a thread can keep in registers, beside its sums of as many columns, by the
type that they are summed in."""


def _definitions(x: Array, width: int) -> dict[str, str | int]:
    return {"T": c_name(x), "TOTAL": _total(x), "WIDTH": width}


def _total(x: Array) -> str:
    return "double" if x.itemsize == 8 else "float"


def _width(length: int, *arrays: Array | None) -> int:
    """Numbers that kernels load at once from rows of all the arrays."""
    there = [a for a in arrays if a is not None]
    width = 16 // there[0].itemsize
    return width if aligned(width, length, *there) else 1


def _dense(x: Array | None) -> Array | None:
    return None if x is None else contiguous(x)


def _over_rows(name: str, x: Array, width: int, *args: Any) -> None:
    """Run a kernel of layer_norm.cu; its last arguments are the length and the number of rows."""
    length = x.shape[-1]
    rows = x.size // length
    size = lanes(length // width)
    run = kernel("layer_norm.cu", name, **_definitions(x, width), TEAM=team(size))
    if size:
        run(ceil_divide(rows * size, 128), 128, *args, length, rows)
    else:
        run(rows, BLOCK, *args, length, rows)


def layer_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    eps: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """(y, mean, variance): y = (x - mean) / sqrt(variance + eps) * weight + bias, for each row."""
    shape = x.shape[:-1]
    check_all_out(out, x.shape, shape, shape)
    a, w, b = contiguous(x), _dense(weight), _dense(bias)
    y = room(out and out[0], (a,), weight, bias)
    mean, var = (empty(x, shape, summing_type(x)) for _ in range(2))
    width = _width(x.shape[-1], a, y, w, b)
    _over_rows("layer_norm", a, width, a, y, mean, var, w, b, eps)
    return delivered((y, mean, var), out)


def layer_norm_input_gradient(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: Array | None = None,
) -> Array:
    """The gradient of x: (u - mean(u) - x^ mean(u x^)) / s for each row, with u = g weight."""
    check_out(out, x.shape)
    dx = _input_gradient(g, x, weight, mean, var, eps, out)
    return delivered((dx,), None if out is None else (out,))[0]


def _input_gradient(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    out: Array | None,
) -> Array:
    a, b, w = contiguous(g), contiguous(x), _dense(weight)
    dx = room(out, (a, b), weight, mean, var)
    width = _width(x.shape[-1], a, b, dx, w)
    statistics = contiguous(mean), contiguous(var)
    _over_rows("layer_norm_input_gradient", b, width, a, b, dx, w, *statistics, eps)
    return dx


def layer_norm_weight_gradient(
    g: Array, x: Array, mean: Array, var: Array, *, eps: float, out: Array | None = None
) -> Array:
    """The gradient of the weight: the sum of g x^ over all rows."""
    check_out(out, x.shape[-1:])
    dw, _ = _column_sums(g, x, mean, var, eps)
    return delivered((dw,), None if out is None else (out,))[0]


def _column_sums(g: Array, x: Array, mean: Array, var: Array, eps: float) -> Array:
    """(2, length): the sums of g x^ and of g over all rows."""
    length = x.shape[-1]
    a, b = contiguous(g), contiguous(x)
    p = plan((1, x.size // length, length, 1), a, b)
    parts = empty(x, (2, length, p.parts), summing_type(x))
    run = kernel("layer_norm_sums.cu", "column_sums", **_definitions(x, p.width), LAYOUT=p.layout)
    statistics = contiguous(mean), contiguous(var)
    run(p.grid, p.block, a, b, *statistics, parts[0], parts[1], eps, length, *p.arguments)
    if p.parts == 1 and parts.dtype == x.dtype:
        return parts.reshape(2, length)
    return sums_of((1, 1, 2 * length, p.parts), parts, x.dtype).reshape(2, length)


def layer_norm_gradients(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients of x, of the weight and of the bias, which share their sums."""
    length = x.shape[-1]
    check_all_out(out, x.shape, (length,), (length,))
    a, b = contiguous(g), contiguous(x)
    dx = room(out and out[0], (a, b), weight, mean, var)
    width = _width(length, a, b, dx)
    if ceil_divide(length, width * BLOCK) * width > MOST_NUMBERS[_total(x)]:
        dw, db = _column_sums(a, b, mean, var, eps)
        dx = _input_gradient(a, b, weight, mean, var, eps, dx)
    else:
        dw, db = _in_one_pass(a, b, dx, weight, contiguous(mean), contiguous(var), eps, width)
    return delivered((dx, dw, db), out)


def _in_one_pass(
    g: Array,
    x: Array,
    dx: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    width: int,
) -> Array:
    """Write dx, and return (2, length): the gradients of weight and bias."""
    length = x.shape[-1]
    rows = x.size // length
    threads = min(BLOCK, 32 * ceil_divide(length, 32 * width))
    packs = ceil_divide(length, threads * width)
    packs = 1 << (packs - 1).bit_length()  # so that few variants are compiled
    blocks = min(rows, BLOCKS // 2 * BLOCK // threads)
    parts = empty(x, (blocks, 2, length), summing_type(x))
    run = kernel(
        "layer_norm_gradients.cu",
        "layer_norm_gradients",
        **_definitions(x, width),
        PACKS=packs,
    )
    run(blocks, threads, g, x, dx, _dense(weight), mean, var, parts, eps, length, rows)
    if blocks == 1 and parts.dtype == x.dtype:
        return parts.reshape(2, length)
    return sums_of((1, blocks, 2 * length, 1), parts, x.dtype).reshape(2, length)
