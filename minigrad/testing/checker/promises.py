"""What a gradient promises beside its numbers. Each broken promise is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ...autograd import grad
from ...modes import enable_grad
from . import rounding
from .functions import (
    Arrays,
    Function,
    Pair,
    Primal,
    Pullback,
    Recording,
    as_function,
    host,
    placed,
)
from .oracles import flat
from .probes import dense

# Of the largest number, times the root of the unit roundoff: 1e-3 in single precision.
CLOSE = 3.0
LOST = 30.0  # a function whose outputs are further off than that has no gradient to speak of


def constant(function: Primal | Pair, rng: np.random.Generator) -> Iterator[str]:
    """A function without a derivative gives no gradient."""
    with np.errstate(all="ignore"):
        here = function.record(function.point)
        if isinstance(function, Primal):
            for i, live in enumerate(here.connected):
                if live:
                    yield f"declared constant, but output {i} requires a gradient"
            return
        found = here.pull([dense(rng, y.shape) for y in here.outputs])
    for label, g in zip(function.labels, found, strict=True):
        if g.any():
            yield f"declared constant, but the gradient by {label} is not zero"


def usable(function: Function) -> Iterator[str]:
    """Reasons why there is nothing to check: each is a problem of its own.

    Raises:
        TypeError: if there is no output of floating-point type, or one that is complex.
    """
    fixed = [] if isinstance(function, Pullback) else function.fixed()
    before = [x.copy() for x in (*function.point, *fixed)]
    first = function.values(function.point)
    if not first:
        raise TypeError(
            "gradcheck: the function returns no tensor of floating-point type"
            if isinstance(function, Primal)
            else "gradcheck: forward returns no array of floating-point type"
        )
    if not same(before, [*function.point, *fixed]):
        yield "the function changes its inputs"
    for i, y in enumerate(first):
        if y.dtype.kind == "c":
            raise TypeError(
                f"gradcheck: output {i} is complex: return its real and its imaginary part"
            )
        if not np.isfinite(y).all():
            yield f"output {i} holds NaN or infinity: there is nothing to differentiate here"
    if not same([y.copy() for y in first], function.values(function.point)):
        yield "the function gives something else when it is called again: is it random?"


def kept(
    function: Function, cotangents: Arrays, order: int, rng: np.random.Generator
) -> Iterator[str]:
    """The promises of one order, in turn; yields each broken one."""
    said = f"order {order}: "
    point = [x.copy() for x in function.point]
    here = function.record(point)
    if not close(here.outputs, function.values(function.point)):
        yield said + "recording changes the result"
    seeds = [v.copy() for v in cotangents]
    plain = here.pull(seeds)
    if not same(seeds, cotangents):
        yield said + "backward changes the cotangent that it was given"
    if not same(point, function.point):
        yield said + "the inputs are changed"
    theirs = {"an input": point, "an output": here.outputs}
    if not isinstance(function, Pair):  # nobody adds to what a pair returns, such as (g, g)
        theirs["a cotangent"] = seeds
        yield from (said + p for p in aliases(plain))
    yield from (said + p for p in shared(plain, theirs))
    yield from (said + p for p in misshapen(function, point, plain, here.outputs))
    first = [g.copy() for g in plain]
    if not same(first, here.pull([v.copy() for v in cotangents])):
        yield said + "a second backward pass gives something else than the first"
    else:
        elsewhere = [np.asarray(x + 0.01 * dense(rng, x.shape)) for x in function.point]
        with np.errstate(all="ignore"), suppress(ValueError, ArithmeticError):  # out of its domain
            function.values(elsewhere)
        if not same(first, here.pull([v.copy() for v in cotangents])):
            yield said + (
                "backward gives something else after the function was called elsewhere: "
                "its rule uses a value of the latest call, not of its own"
            )
    zeros = here.pull([np.zeros_like(v) for v in cotangents])
    for label, z in zip(function.labels, zeros, strict=True):
        if z.any():
            yield said + f"a zero cotangent gives a gradient of {label} that is not zero"
    if not same(first, plain):
        yield said + "a later backward pass changes the gradients that an earlier one returned"
    if not any(z.any() for z in zeros):  # else that is all there is to say
        yield from (said + p for p in _linear(function, here, cotangents, first))
    yield from (said + p for p in sorted(here.misplaced))
    if not isinstance(function, Pair):
        yield from (
            said + p for p in _recorded(function, point, seeds, cotangents, first, here, rng)
        )


def _linear(
    function: Function, here: Recording, cotangents: Arrays, first: Arrays
) -> Iterator[str]:
    """Cotangents of other sizes and forms than those that everything else is checked with.

    A rule that clips gradients is right for cotangents around 1. Ones are what `y.sum()` sends
    back, from a single number that is repeated with stride zero.
    """
    with np.errstate(all="ignore"):
        for factor, which in ((2.0**20, "large"), (2.0**-20, "small")):
            found = here.pull([np.asarray(factor * v) for v in cotangents])
            if _is_normal(found) and not close(first, [g / factor for g in found]):
                yield (
                    f"a {which} cotangent gives another gradient than that of a moderate one, "
                    "scaled: is the gradient clipped?"
                )
        if not close(first, here.pull([_spread(v) for v in cotangents])):
            yield "a cotangent with another layout in memory gives another gradient"
        ones = here.pull([_repeated(1.0, v) for v in cotangents])
        minus = here.pull([_repeated(-1.0, v) for v in cotangents])
        rest = here.pull([np.asarray(1 - v) for v in cotangents])
    parts, whole, back = flat(rest) + flat(first), flat(ones), -flat(minus)
    if not np.isfinite(np.concatenate([parts, whole, back])).all():
        return
    eps = max([np.finfo(y.dtype).eps for y in (*here.outputs, *first)], default=0.0)
    size = max(abs(flat(rest)).max(initial=0.0), abs(flat(first)).max(initial=0.0))
    for sums, which in ((whole, "ones"), (back, "minus ones")):
        off = abs(sums - parts)
        if not (off <= max(1e-10, 1e3 * float(eps)) * size).all():
            ends = cotangents, [np.ones_like(v) for v in cotangents]
            rounded = np.sum([rounding.of_pass(function, v, float(eps)) for v in ends], axis=0)
            if not (off <= max(1e-10, 1e3 * float(eps)) * size + 4 * rounded).all():
                yield (
                    f"the gradient of a cotangent of {which} is not the sum of its parts' gradients"
                )


def _is_normal(arrays: Arrays) -> bool:
    """Did nothing overflow, and have the numbers, if there are any, all of their digits?"""
    size = abs(flat(arrays)).max(initial=0.0)
    least = max([float(np.finfo(a.dtype).tiny / np.finfo(a.dtype).eps) for a in arrays], default=0)
    return bool(np.isfinite(size)) and (size == 0 or bool(size > least))


def _spread(v: np.ndarray) -> np.ndarray:
    """The same numbers, column-major and with gaps. Not backwards: PyTorch refuses that."""
    room = np.zeros(tuple(2 * n for n in v.shape), v.dtype, order="F")
    every: Any = (..., *(slice(None, None, 2),) * v.ndim)
    view = np.asarray(room[every])
    view[...] = v
    return view


def _repeated(number: float, like: np.ndarray) -> np.ndarray:
    """One number in the shape of an array, with stride zero."""
    return np.ndarray(like.shape, like.dtype, np.full(1, number, like.dtype), 0, [0] * like.ndim)


def own_types(
    fn: Any, inputs: Sequence[Any], function: Primal | Pair, cotangents: Arrays
) -> tuple[list[str], str]:
    """With the number types that were given: do gradients have them, and the same numbers?

    All else is checked in double precision. That there is as little between the two as rounding can
    explain is checked here: a rule may be wrong in single precision alone.

    Returns:
        What is wrong, and in which precision what was checked; "" for double precision alone.
    """
    own = as_function(fn, inputs, None)
    types = ", ".join(sorted({str(x.dtype) for x in own.point if x.dtype != np.float64}))
    if not types:
        return [], _precision_of_outputs(function)
    said = f"with inputs of {types}: "
    with np.errstate(all="ignore"):
        try:
            here = own.record(own.point)
            found = here.pull(
                [v.astype(y.dtype) for v, y in zip(cotangents, here.outputs, strict=True)]
            )
        except Exception as error:  # of the function or a rule, in another type
            return [said + f"raises {type(error).__name__}: {error}"], ""
        wrong = list(misshapen(own, own.point, found, []))
        if wrong:
            return [said + p for p in wrong], ""
        checked = f"checked in float64; in {types} "
        if not np.isfinite(flat(here.outputs)).all():
            return [], checked + "the function overflows: its gradients there are not checked"
        problems, agreement = _coarse(function, own, here, found, cotangents)
        return [said + p for p in problems], checked + agreement


def _precision_of_outputs(function: Primal | Pair) -> str:
    """What to say of a function that computes in a lower precision than it is asked to."""
    lower = {y.dtype for y in function.values(function.point) if y.dtype != np.float64}
    if not lower:
        return ""
    eps = max(float(np.finfo(t).eps) for t in lower)
    types = ", ".join(sorted(map(str, lower)))
    return (
        f"given float64, the function returns {types}: an error of its gradient below "
        f"{100 * eps ** (2 / 3):.1g} of its size would not be seen"
    )


def _coarse(
    function: Primal | Pair, own: Primal | Pair, here: Recording, found: Arrays, cotangents: Arrays
) -> tuple[list[str], str]:
    """Gradients in a low precision that are not those of double precision, but for rounding."""
    fine = function.record(function.point)
    wanted = fine.pull(cotangents)
    for label, g in zip(function.labels, found, strict=True):
        if not np.isfinite(g).all():
            return [f"the gradient by {label} holds NaN or infinity, in float64 it does not"], ""
    eps = float(max(np.finfo(a.dtype).eps for a in (*own.point, *here.outputs)))
    ys, zs = flat(here.outputs), flat(fine.outputs)
    if abs(ys - zs).max(initial=0.0) > LOST * np.sqrt(eps) * abs(zs).max(initial=0.0):
        return [], "the function is lost in rounding: its gradients there are not checked"
    smallest = max(float(np.finfo(a.dtype).tiny) for a in own.point)
    largest = abs(flat(wanted)).max(initial=0.0)  # beside a gradient of zero all are large
    problems, most = [], 0.0
    rounded: list[float] | None = None
    for k, (label, g, w) in enumerate(zip(function.labels, found, wanted, strict=True)):
        gap, size = abs(g - w).max(initial=0.0), abs(w).max(initial=0.0)
        most = max(most, float(gap / largest) if largest else 0.0)
        if gap <= CLOSE * np.sqrt(eps) * size + smallest:
            continue
        if rounded is None:
            rounded = _rounded(function, own, found, wanted, cotangents, eps)
        if gap > CLOSE * np.sqrt(eps) * size + rounded[k] + smallest:
            problems.append(f"the gradient by {label} is {gap:.2g} off that in float64")
    return problems, f"gradients differ by at most {most:.1g} of their size"


def _rounded(
    function: Primal | Pair,
    own: Primal | Pair,
    found: Arrays,
    wanted: Arrays,
    cotangents: Arrays,
    eps: float,
) -> list[float]:
    """By how much each gradient may be off for the rounding of a low precision.

    It is measured: by how much it changes in this precision, and in double precision, when the
    inputs change in the last digits that they have in this one.
    """
    allowed = np.zeros(len(found))
    for point, _ in rounding.beside(function.point, eps):
        exact = function.record(point).pull(cotangents)
        there = own.record([p.astype(x.dtype) for p, x in zip(point, own.point, strict=True)])
        seeds = [v.astype(y.dtype) for v, y in zip(cotangents, there.outputs, strict=True)]
        for k, (a, b) in enumerate(zip(exact, there.pull(seeds), strict=True)):
            moved = abs(a - wanted[k]).max(initial=0.0), abs(b - found[k]).max(initial=0.0)
            change = float(np.nan_to_num(max(moved), nan=np.inf))
            allowed[k] = max(allowed[k], rounding.TIMES * change)
    return [float(a) for a in allowed]


def _recorded(
    function: Primal | Pullback,
    point: Arrays,
    seeds: Arrays,
    cotangents: Arrays,
    plain: Arrays,
    here: Recording,
    rng: np.random.Generator,
) -> Iterator[str]:
    """The pass where rules get tensors: the same numbers, and forward mode by its derivative."""
    try:
        leaves, recorded = Pullback(function, cotangents).trace([*point, *seeds])
    except Exception as error:  # of a rule's own, whatever it is: the verdict says so
        yield (
            f"the recorded pass (create_graph), where rules get tensors, raises "
            f"{type(error).__name__}: {error}"
        )
        return
    if not close(plain, [host(g) for g in recorded]):
        yield "the recorded pass (create_graph) gives other numbers than the ordinary one"
    elif isinstance(function, Primal):
        yield from _forward_mode(function, leaves, recorded, cotangents, here.outputs, rng)
    if not same(seeds, cotangents) or not same(point, function.point):
        yield "the recorded pass changes inputs or cotangents"


def _forward_mode(
    function: Primal,
    leaves: Sequence[Any],
    gradients: Sequence[Any],
    cotangents: Arrays,
    outputs: Arrays,
    rng: np.random.Generator,
) -> Iterator[str]:
    """<v, J u> = <J^T v, u>, with J u by the derivative of J^T v by v, as `minigrad.jvp` does.

    J. Townsend, "A new trick for calculating Jacobian vector products", 2017.
    """
    n = len(function.point)
    tangents = [dense(rng, x.shape) for x in function.point]
    live = [(g, u) for g, u in zip(gradients, tangents, strict=True) if g.requires_grad]
    products = [np.zeros(v.shape) for v in cotangents]
    if live:
        with enable_grad():
            found = grad(
                [g for g, _ in live],
                list(leaves[n:]),
                [placed(u, g.device) for g, u in live],
                allow_unused=True,
            )
        products = [p if g is None else host(g) for p, g in zip(products, found, strict=True)]
    forward = [float((v * p).sum()) for v, p in zip(cotangents, products, strict=True)]
    backward = [float((host(g) * u).sum()) for g, u in zip(gradients, tangents, strict=True)]
    sizes = [abs(host(g) * u).sum() for g, u in zip(gradients, tangents, strict=True)]
    eps = max(np.finfo(y.dtype).eps for y in outputs)
    # A gradient that cancels to zero is the rounding of what was cancelled.
    sizes += [abs(v * y).sum() for v, y in zip(cotangents, outputs, strict=True)]
    off = abs(sum(forward) - sum(backward))
    if off <= 1e4 * eps * sum(sizes) + 1e-300:
        return
    rounded = abs(flat(tangents)) @ rounding.of_pass(function, cotangents, float(eps))
    if not off <= 1e4 * eps * sum(sizes) + rounded + 1e-300:
        yield (
            f"forward mode disagrees with backward: <v, J u> is {sum(forward):.9g}, <J^T v, u> is "
            f"{sum(backward):.9g} (forward mode differentiates the rule by its cotangent: does the "
            "rule lose it?)"
        )


def misshapen(
    function: Function, point: Arrays, gradients: Arrays, outputs: Arrays
) -> Iterator[str]:
    """Gradients whose shape or type is not their input's."""
    # A function of arrays may compute in single precision whatever it is given.
    lower = {y.dtype for y in outputs} if isinstance(function, Pair) else set()
    for label, x, g in zip(function.labels, point, gradients, strict=True):
        if g.shape != x.shape or (g.dtype != x.dtype and g.dtype not in lower):
            yield f"{label} is {x.dtype} {x.shape}, its gradient {g.dtype} {g.shape}"


def aliases(gradients: Arrays) -> Iterator[str]:
    """Gradients that share their memory with each other."""
    for i, g in enumerate(gradients):
        yield from shared([g], {f"gradient {j}": [gradients[j]] for j in range(i)}, first=i)


def shared(gradients: Arrays, theirs: dict[str, Arrays], first: int = 0) -> Iterator[str]:
    """Gradients that share their memory with what somebody else holds; `first` is their number."""
    for i, g in enumerate(gradients, first):
        for what, arrays in theirs.items():
            if any(np.may_share_memory(g, a) for a in arrays):
                yield f"gradient {i} shares its memory with {what}: return a copy"


def same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    """Equal to the bit; NaN equals NaN."""
    return len(a) == len(b) and all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True)
    )


def close(a: Arrays, b: Arrays) -> bool:
    """Equal but for the order in which sums are taken."""
    if len(a) != len(b) or any(x.shape != y.shape for x, y in zip(a, b, strict=True)):
        return False
    x, y = flat(a), flat(b)
    eps = max([np.finfo(z.dtype).eps for z in (*a, *b)], default=0.0)
    size = abs(x[np.isfinite(x)]).max(initial=0.0)
    return bool(np.allclose(x, y, rtol=0, atol=1e3 * eps * size, equal_nan=True))
