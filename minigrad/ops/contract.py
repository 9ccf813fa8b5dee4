"""Sums of products written as equations: einsum, and the trace."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import minigrad_kernels as kernels

from ..recording import record, record_view
from ..tensor import Tensor, TensorLike, as_tensor
from .join import promoted
from .pick import diagonal
from .reduce import total
from .registry import differentiable, fails, real, sample
from .shape import broadcast_to, reshape

# The labels of an operand's dimensions are a string, one character each.


@differentiable(
    [
        sample("ij,jk->ik", real(2, 3), real(3, 2)),
        sample("ij,kj", real(2, 3), real(2, 3)),
        sample("bij,bjk->bik", real(2, 2, 3), real(2, 3, 2)),
        sample("i,j->ji", real(2), real(3)),
        sample("i,i->i", real(3), real(3)),
        sample("...i,ij->...j", real(2, 1, 3), real(3, 2)),
        sample("...i,...i", real(2, 3), real(3)),
        sample("ij,k->i", real(2, 3), real(2)),
        sample("iij,j->i", real(3, 3, 2), real(2)),
        sample("ij,ij->", real(2, 1), real(2, 3)),
        sample(",i->i", real(), real(2)),
        sample("ij,jk->ik", real(2, 0), real(0, 3)),
    ],
    kind="bilinear",
    errors=[
        fails(ValueError, "einsum: .*2 operands.*got 1", "ij,jk", real(2, 3)),
        fails(ValueError, "einsum: label 'j' is 3 .* 2", "ij,jk", real(2, 3), real(2, 2)),
        fails(ValueError, "einsum: operand 0 of shape", "ijk->i", real(2, 3)),
        fails(ValueError, "einsum: operand 0 of shape", "i...j->i", real(2)),
        fails(ValueError, "einsum: output label 'k'", "ij->k", real(2, 3)),
        fails(ValueError, "einsum: output label 'i' .*twice", "ij->ii", real(2, 3)),
        fails(ValueError, r"einsum: cannot read", "i.j->i", real(2, 3)),
        fails(ValueError, r"einsum: cannot read", "i->i->i", real(2)),
        fails(TypeError, "einsum: the equation", real(2), "i"),
    ],
)
def einsum(equation: str, *operands: TensorLike) -> Tensor:
    """Sums of products by Einstein's convention.

    Args:
        equation: labels (letters) of each operand's dimensions, separated by commas, then `->` and
            those of the output. Labels that the output lacks are summed over; one that an operand
            repeats takes its diagonal; `...` stands for further dimensions, which broadcast.
            Without `->` the output has `...` and then, alphabetically, the labels that occur once.
        operands: the tensors, or one list of them. Dimensions of length 1 broadcast.

    The gradient of an operand is an einsum of the output's gradient and the other operands. Two
    operands at a time are multiplied, as (batches of) matrices, first those that give the smallest
    result.

    Raises:
        ValueError: if the equation cannot be read, or does not fit the operands.

    >>> einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1])
    tensor([3, 7])
    """
    if not isinstance(equation, str):
        raise TypeError(
            f"einsum: the equation, a string, comes first, got {type(equation).__name__}"
        )
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        given = operands[0]
        if "," in equation or any(isinstance(x, Tensor) for x in given):
            operands = tuple(given)
    tensors = promoted(operands, "einsum")
    terms, output = _read(equation, [x.shape for x in tensors])
    for i, (labels, x) in enumerate(zip(terms, tensors, strict=True)):
        terms[i], tensors[i] = _take_diagonals(labels, x)
    _drop_broadcast(terms, tensors, equation)
    return _product(terms, output, tensors)


@differentiable(
    [sample(real(3, 3)), sample(real(2, 3))],
    kind="linear",
    errors=[fails(ValueError, "trace: wants 2 dimensions, got 3", real(2, 2, 2))],
)
def trace(x: TensorLike) -> Tensor:
    """The sum of the elements on a matrix's diagonal."""
    x = as_tensor(x)
    if x.ndim != 2:
        raise ValueError(f"trace: wants 2 dimensions, got {x.ndim}")
    return einsum("i->", diagonal(x))


# Reading an equation


def _read(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The labels of each operand's dimensions and of the output's, with `...` written out."""
    text = equation.replace(" ", "")
    if not re.fullmatch(r"([A-Za-z.,]*)(->[A-Za-z.]*)?", text) or re.search(
        r"\.\.\.[^,>]*\.|(?<!\.)\.{1,2}(?!\.)", text
    ):
        raise ValueError(
            f"einsum: cannot read the equation {equation!r}; it wants letters, at most one ... per "
            "operand, commas and at most one ->"
        )
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {equation!r} is for {len(terms)} operands, got {len(shapes)}")
    further = [
        _further(i, t, s, equation) for i, (t, s) in enumerate(zip(terms, shapes, strict=True))
    ]
    # Characters that are no letters name the further dimensions, counted from the last.
    names = "".join(chr(0x2460 + n) for n in reversed(range(max(further))))
    if arrow:
        output = right.replace("...", names)
    else:
        letters = sorted(set(left) - set(",."))
        output = names + "".join(c for c in letters if left.count(c) == 1)
    terms = [t.replace("...", names[len(names) - n :]) for t, n in zip(terms, further, strict=True)]
    for c in output:
        if not any(c in t for t in terms):
            raise ValueError(f"einsum: output label {c!r} is in no operand of {equation!r}")
        if output.count(c) > 1:
            raise ValueError(f"einsum: output label {c!r} stands there twice, in {equation!r}")
    return terms, output


def _further(i: int, term: str, shape: tuple[int, ...], equation: str) -> int:
    """How many dimensions `...` stands for in this operand."""
    named = len(term.replace("...", ""))
    further = len(shape) - named
    if further < 0 or (further and "..." not in term):
        raise ValueError(
            f"einsum: operand {i} of shape {shape} does not have the dimensions {term!r} of "
            f"{equation!r}"
        )
    return further


def _take_diagonals(labels: str, x: Tensor) -> tuple[str, Tensor]:
    """An operand with no label repeated: its diagonals are taken."""
    for c in sorted(set(labels)):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise ValueError(
                    f"einsum: label {c!r} is {x.shape[i]} and {x.shape[j]} in one operand"
                )
            x = diagonal(x, 0, i, j)
            labels = labels[:i] + labels[i + 1 : j] + labels[j + 1 :] + c
    return labels, x


def _drop_broadcast(terms: list[str], tensors: list[Tensor], equation: str) -> None:
    """Take away dimensions of length 1 whose label is longer elsewhere: nothing varies there."""
    lengths: dict[str, int] = {}
    for labels, x in zip(terms, tensors, strict=True):
        for c, n in zip(labels, x.shape, strict=True):
            if n != 1 and lengths.setdefault(c, n) != n:
                raise ValueError(
                    f"einsum: label {c!r} is {lengths[c]} in one operand and {n} in another "
                    f"({equation!r})"
                )
    for i, (labels, x) in enumerate(zip(terms, tensors, strict=True)):
        kept = [k for k, c in enumerate(labels) if x.shape[k] == lengths.get(c, 1)]
        if len(kept) < len(labels):
            terms[i] = "".join(labels[k] for k in kept)
            tensors[i] = reshape(x, [x.shape[k] for k in kept])


# Computing it


def _product(terms: list[str], output: str, tensors: list[Tensor]) -> Tensor:
    """The einsum of operands in which no label is repeated and lengths agree."""
    y = _contract(list(terms), output, [x.data for x in tensors])
    edges = []
    for i, x in enumerate(tensors):
        others = terms[:i] + terms[i + 1 :]
        rule = _gradient(terms[i], x.data.shape, [output, *others])
        edges.append((x, rule, tuple(tensors[:i] + tensors[i + 1 :])))
    return (record_view if len(tensors) == 1 else record)(einsum, y, *edges)


def _gradient(labels: str, shape: tuple[int, ...], given: list[str]) -> Callable[..., Tensor]:
    """The rule of an operand: `given` are the labels of the gradient and of the other operands."""
    known = "".join(c for c in labels if any(c in t for t in given))

    def rule(g: Any, *others: Any) -> Tensor:
        y = _product(given, known, [as_tensor(g), *map(as_tensor, others)])
        if len(known) < len(labels):  # summed over by itself: the same gradient all along
            y = reshape(y, [n if c in known else 1 for c, n in zip(labels, shape, strict=True)])
            y = broadcast_to(y, shape)
        return y

    return rule


def _contract(terms: list[str], output: str, arrays: list[Any]) -> Any:
    """Multiply two operands at a time, then sum and order what is left."""
    lengths = {
        c: n for t, a in zip(terms, arrays, strict=True) for c, n in zip(t, a.shape, strict=True)
    }
    while len(arrays) > 1:
        i, j = _next_pair(terms, output, lengths)
        b, a = arrays.pop(j), arrays.pop(i)
        second, first = terms.pop(j), terms.pop(i)
        labels, y = _multiply(first, a, second, b, set(output).union(*terms), lengths)
        terms.append(labels)
        arrays.append(y)
    labels, y = _sum_away(terms[0], arrays[0], set(output))
    return y.transpose([labels.index(c) for c in output])


def _next_pair(terms: list[str], output: str, lengths: dict[str, int]) -> tuple[int, int]:
    """The two operands whose product is the smallest, compared with themselves."""

    def growth(pair: tuple[int, int]) -> int:
        i, j = pair
        rest = set(output).union(*(t for k, t in enumerate(terms) if k not in pair))
        result = (set(terms[i]) | set(terms[j])) & rest
        return size(result) - size(terms[i]) - size(terms[j])

    def size(labels: Any) -> int:
        return math.prod(lengths[c] for c in labels)

    pairs = itertools.combinations(range(len(terms)), 2)
    return (0, 1) if len(terms) == 2 else min(pairs, key=growth)


def _sum_away(labels: str, a: Any, wanted: set[str]) -> tuple[str, Any]:
    """Sum over the dimensions that nobody wants."""
    axes = tuple(i for i, c in enumerate(labels) if c not in wanted)
    if axes:
        a = total(a, axes, False).astype(a.dtype, copy=False)
        labels = "".join(c for c in labels if c in wanted)
    return labels, a


def _multiply(
    first: str, a: Any, second: str, b: Any, wanted: set[str], lengths: dict[str, int]
) -> tuple[str, Any]:
    """Two operands as batches of matrices, (batch, left, inner) @ (batch, inner, right)."""
    first, a = _sum_away(first, a, wanted.union(second))
    second, b = _sum_away(second, b, wanted.union(first))
    shared = [c for c in first if c in second]
    batch = "".join(c for c in shared if c in wanted)
    inner = "".join(c for c in shared if c not in wanted)
    left = "".join(c for c in first if c not in shared)
    right = "".join(c for c in second if c not in shared)

    def arranged(labels: str, x: Any, *groups: str) -> Any:
        """One dimension for each label of the batch, and one for each further group of labels."""
        order = [labels.index(c) for c in batch + "".join(groups)]
        shape = [math.prod(lengths[c] for c in group) for group in (*batch, *groups)]
        return x.transpose(order).reshape(shape)

    a, b = arranged(first, a, left, inner), arranged(second, b, inner, right)
    y = kernels.matmul(a, b) if inner else a * b  # (*batch, left, right)
    labels = batch + left + right
    return labels, y.reshape([lengths[c] for c in labels])
