"""Known faults of gradient rules, from the sign to the wrong axis. Each has its test.

A test gets a `Case` and returns a sentence if the fault explains the mismatch, else nothing. Those
that look at single terms, points and entries are in `minigrad.testing.autopsy.terms`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from .axes import (
    averaged,
    axes_named,
    describe,
    equal_pairs,
    index,
    moved,
    repeated_axes,
    reversed_along,
    subsets,
    summed,
    swapped,
)
from .evidence import Case, Map

# The size of the whole


def zero(c: Case) -> str:
    """R = 0."""
    if c.said.any():
        return ""
    if c.order > 1:
        return (
            "the rule gives zero there: this second-order term is missing, as if a value that the "
            "rule saved were a constant"
        )
    return "the rule gives zero there: the input is cut off from the output, as by detach()"


def negated(c: Case) -> str:
    """R = -J."""
    return (
        "the sign is wrong everywhere: the gradient is negated" if c.fits(c.said, -c.seen) else ""
    )


def factor(c: Case) -> str:
    """R = f J for one number f."""
    size = float((c.seen * c.seen).sum())
    if not size:
        return ""
    f = float((c.said * c.seen).sum()) / size
    numbers = int((abs(c.seen) > 1e-6 * abs(c.seen).max()).sum())
    if not c.fits(c.said, f * c.seen) or (numbers < 2 and not _is_round(f)):
        return ""
    return f"every wrong entry is {f:.6g} times what it should be{_named(f, c)}"


def _is_round(f: float) -> bool:
    """A small fraction, such as 2, 1/2 or 3/4: a single number must be one to mean anything."""
    return any(abs(f * q - round(f * q)) < 1e-6 * abs(f * q) for q in (1, 2, 3, 4, 5, 6, 8, 10))


def _named(f: float, c: Case) -> str:
    """What the factor may be: the length of an axis, or a number of entries."""
    sizes = {f"the length of axis {i} of {c.label}": n for i, n in enumerate(c.x.shape)}
    sizes[f"the number of entries of {c.label}"] = c.x.size
    if c.y is not None:
        sizes.update({f"the length of axis {i} of the output": n for i, n in enumerate(c.y.shape)})
        sizes["the number of entries of the output"] = c.y.size
    for name, n in sizes.items():
        if n > 2 and abs(f - n) < 1e-6 * n:
            return f"; {n} is {name}: a sum where a mean belongs?"
        if n > 2 and abs(f * n - 1) < 1e-6:
            return f" (1/{n}; {n} is {name}: a mean where a sum belongs?)"
    return ""


# The cotangent


def ignored(c: Case) -> str:
    """R does not depend on v."""
    zero = c.pull(np.zeros(c.comparison.place.here.shape))
    if not zero.any() or not c.fits(
        c.said, np.broadcast_to(c.on_directions(zero[None]), c.said.shape)
    ):
        return ""
    ones = np.ones(c.comparison.place.here.shape) @ c.slopes
    like_ones = c.fits(c.on_directions(zero[None])[0], ones)
    what = ": it is the gradient of the sum of the outputs" if like_ones else ""
    return f"the cotangent is ignored: a zero cotangent gives the same gradient{what}"


def offset(c: Case) -> str:
    """R v = J^T v + c."""
    constant = c.pull(np.zeros(c.comparison.place.here.shape))
    if not constant.any() or not c.fits(c.said, c.seen + c.on_directions(constant[None])):
        return ""
    most = constant.flat[abs(constant).argmax()]
    return (
        f"something is added that does not depend on the cotangent, {most:.6g} at most: "
        "a zero cotangent gives it too"
    )


_OF_THE_COTANGENT: dict[str, Map] = {
    "its sign": np.sign,
    "its absolute value": np.abs,
    "its square": np.square,
    "its cube": lambda v: v**3,
    "its positive part": lambda v: np.maximum(v, 0),
    "its negative part": lambda v: np.minimum(v, 0),
}


def bent(c: Case) -> str:
    """R depends on v through one of the usual functions."""
    v, g = c.mixed
    v = np.stack([v, -v])  # both signs: where all of v is negative its absolute value is just -v
    g = np.stack([g, c.on_directions(c.pull(v[1])[None])[0]])
    gap = float(np.linalg.norm(g - v @ c.slopes))
    for name, f in _OF_THE_COTANGENT.items():
        if gap and np.linalg.norm(g - f(v) @ c.slopes) <= 1e-3 * gap:
            return f"the cotangent is misused: in its place stands {name}"
    return ""


def not_linear(c: Case) -> str:
    """R(2 v) is not 2 R(v), or R(v + w) not R(v) + R(w)."""
    v, g = c.mixed
    double = c.on_directions(c.pull(2 * v)[None])[0]
    size = float(np.linalg.norm(g))
    if size and not np.linalg.norm(double - 2 * g) <= 1e-6 * size:
        power = np.log2(np.linalg.norm(double) / size)
        return (
            f"twice the cotangent gives {2**power:.4g} times the gradient: it is not linear in it"
        )
    if c.cotangents is None and np.linalg.norm(g - v @ c.said) > 1e-6 * size:
        return "the gradient for two cotangents together is not the sum of both: it is not linear"
    return ""


def part_of_cotangent(c: Case) -> str:
    """R = J^T B: the cotangent is summed, averaged, or only part of it is used."""
    if c.y is None:
        return ""
    for axes in subsets(c.y.shape):
        along = axes_named(axes, c.y.ndim)
        for what, f in (("sum", summed(axes)), ("mean", averaged(axes))):
            if c.fits(c.said, c.output_mapped(f)):
                return f"the cotangent is misused: only its {what} over {along} counts"
    if not c.full:
        return ""
    used: np.ndarray = np.any(c.said, axis=1)
    needed: np.ndarray = np.any(c.seen, axis=1)
    if not used.all() and (needed & ~used).any() and c.fits(c.said, c.seen * used[:, None]):
        lost = describe(np.flatnonzero(needed & ~used), c.y.shape)
        kept = describe(np.flatnonzero(used), c.y.shape)
        also = ""
        uses = (c.seen != 0)[:, np.any(c.seen[needed & ~used], axis=0)]
        if (uses[used].sum(axis=0) == 1).all():
            also = ", as if gradients that should add up overwrote each other"
        return f"the cotangent is misused: its entries at {lost} are not used, only {kept}{also}"
    return ""


# Inputs and axes


def other_input(c: Case) -> str:
    """R is the Jacobian by another input."""
    for k, x in enumerate(c.comparison.place.point):
        if k != c.k and x.shape == c.x.shape and c.fits(c.said, c.by_input(k)):
            name = c.comparison.function.labels[k]
            return f"this is the gradient of the other input: it belongs to {name}"
    return ""


def broadcast(c: Case) -> str:
    """The input was broadcast, and its gradient is not summed back over the right axes."""
    repeated = repeated_axes(c.x.shape, c.y.shape) if c.y is not None and c.full else []
    whole = c.unbroadcast() if repeated else None
    if whole is None or c.y is None:
        return ""
    for axis in repeated:
        for i in {0, c.y.shape[axis] - 1}:
            if c.fits(c.said, np.take(whole, [i], axis + 1).reshape(len(c.said), -1)):
                return (
                    f"broadcasting is not undone: of axis {axis} of the output, along which "
                    f"{c.label} is repeated, only index {i} counts; sum over it"
                )
    for axes in itertools.combinations(range(c.y.ndim), len(repeated)):
        summed_up = whole.sum(tuple(a + 1 for a in axes))
        if summed_up[0].size == c.x.size and c.fits(c.said, summed_up.reshape(c.said.shape)):
            return (
                f"broadcasting is undone over the wrong axis: it is summed over "
                f"{axes_named(axes, 9)} of the output, wanted {axes_named(tuple(repeated), 9)}"
            )
    return ""


def transposed(c: Case) -> str:
    """Two axes of the gradient, of the cotangent, or one of each, are exchanged."""
    for a, b in equal_pairs(c.x.shape):
        f = swapped(a, b)
        if c.is_input_mapped(f, f):
            return f"the gradient is transposed: axes {a} and {b} of {c.label} are exchanged"
    if c.y is None:
        return ""
    for a, b in equal_pairs(c.y.shape):
        if c.fits(c.said, c.output_mapped(swapped(a, b))):
            return f"the cotangent is transposed: axes {a} and {b} of the output are exchanged"
    return ""


def operand_transposed(c: Case) -> str:
    """An axis of the output and one of the input are exchanged, as by g @ b in place of g @ b.T."""
    if not c.full or c.y is None or c.y.ndim < 2 or c.x.ndim < 2:
        return ""
    whole = c.seen.reshape(*c.y.shape, *c.x.shape)
    n = c.y.ndim
    for a, b in itertools.product(range(n), range(c.x.ndim)):
        if c.y.shape[a] == c.x.shape[b] > 1:
            mixed = np.swapaxes(whole, a, n + b).reshape(c.seen.shape)
            if c.fits(c.said, mixed):
                return (
                    f"an operand of the rule is transposed: axis {a} of the output and axis {b} of "
                    f"{c.label} are exchanged"
                )
    return ""


def jacobian_transposed(c: Case) -> str:
    """R = J^T: the rule does what the function does."""
    square = c.full and c.seen.shape[0] == c.seen.shape[1]
    if square and c.fits(c.said, c.seen.T):
        return "the Jacobian is transposed: the rule computes J v in place of J^T v"
    return ""


def flipped(c: Case) -> str:
    """Axes run backwards: of the gradient, of the cotangent, or of both (a kernel's axes)."""
    for axes in subsets(c.x.shape):
        f = reversed_along(axes)
        if c.is_input_mapped(f, f):
            return f"the gradient is flipped along {axes_named(axes, c.x.ndim)} of {c.label}"
    if c.y is None:
        return ""
    for axes in subsets(c.y.shape):
        f = reversed_along(axes)
        if c.fits(c.said, c.output_mapped(f)):
            return f"the cotangent is flipped along {axes_named(axes, c.y.ndim)} of the output"
        if c.full and c.x.ndim == c.y.ndim and all(c.x.shape[a] > 1 for a in axes):
            both = c.output_mapped(f).reshape(-1, *c.x.shape)
            if c.fits(c.said, f(both).reshape(c.said.shape)):
                along = axes_named(axes, c.y.ndim)
                return f"a kernel is flipped: input and output both run backwards along {along}"
    return ""


def shifted(c: Case) -> str:
    """Entries are moved along an axis, or along two at once: around the end, or zeros come in."""
    for axes, by, around in _moves(c.x.shape):
        f, back = moved(axes, by, around), moved(axes, -by, around)
        if c.is_input_mapped(back, f):
            return f"the gradient of {c.label} is {_shift(by, axes, around)}"
    for axes, by, around in _moves(c.y.shape if c.y is not None else ()):
        if c.fits(c.said, c.output_mapped(moved(axes, -by, around))):
            return f"the cotangent is {_shift(by, axes, around)}"
    return ""


def _moves(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], int, bool]]:
    """Short ways along each axis, to both sides, around its end and not; then along the diagonal.

    The diagonal is that of the last two axes, the rows and columns of images.
    """
    diagonal = [tuple(range(len(shape) - 2, len(shape)))] if len(shape) > 1 else []
    for axes in [*((a,) for a in range(len(shape))), *diagonal]:
        shortest = min(shape[a] for a in axes)
        for distance in range(1, min(shortest, 5)):
            # Where zeros come in and a single slice is left, it is said to be all that is used.
            ends = (True,) if 1 < distance == shortest - 1 else (True, False)
            yield from itertools.product((axes,), (distance, -distance), ends)


def _shift(by: int, axes: tuple[int, ...], around: bool) -> str:
    along = "axis" if len(axes) == 1 else "axes"
    end = "" if around else ", and zeros come in"
    return f"shifted by {by} along {along} {' and '.join(map(str, axes))}{end}"


def permuted(c: Case) -> str:
    """The entries of the gradient, or of the cotangent, are in another order."""
    if not c.full:
        return ""
    for what, said, seen, shape in (
        (f"the gradient of {c.label}", c.said.T, c.seen.T, c.x.shape),
        ("the cotangent", c.said, c.seen, c.y.shape if c.y is not None else (len(c.seen),)),
    ):
        order = _matching(said, seen)
        if order is not None and c.fits(said, seen[order]):
            i = int(np.flatnonzero(order != np.arange(order.size))[0])
            here, there = index(i, shape), index(int(order[i]), shape)
            astray = int((order != np.arange(order.size)).sum())
            return (
                f"{what} is permuted: {astray} of {order.size} entries are in the wrong place; "
                f"at {here} stands what belongs to {there}"
            )
    return ""


def _matching(said: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """Which row of `seen` each row of `said` equals, if each is used once."""
    if len(said) < 2:
        return None
    squares = (said * said).sum(1)[:, None] + (seen * seen).sum(1) - 2 * said @ seen.T
    squares -= 1e-9 * squares.max() * np.eye(len(said))  # where several are equal, stay
    order = squares.argmin(axis=1)
    in_place = (order == np.arange(order.size)).all()
    return None if in_place or np.unique(order).size < order.size else order


def missing_sum(c: Case) -> str:
    """J is R summed over an axis."""
    for axes in subsets(c.x.shape):
        along = f"{axes_named(axes, c.x.ndim)} of {c.label}"
        if c.fits(c.rule_mapped(summed(axes)), c.seen):
            return f"a sum over {along} is missing: summed over it the gradient would be right"
        if c.fits(c.rule_mapped(averaged(axes)), c.seen):
            return f"a mean over {along} is missing: with it the gradient would be right"
    return ""


def extra_sum(c: Case) -> str:
    """R is J summed over an axis."""
    for axes in subsets(c.x.shape):
        along = f"{axes_named(axes, c.x.ndim)} of {c.label}"
        for what, f in (("sum", summed(axes)), ("mean", averaged(axes))):
            if c.is_input_mapped(f, f):
                return f"a {what} over {along} too many: that axis should be kept"
    return ""
