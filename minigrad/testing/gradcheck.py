"""`gradcheck`: are the gradients of a function right? And `assert_gradients`, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..ops.registry import KINDS
from ..tensor import Tensor, wrap
from .compare import Comparison, dense
from .functions import Arrays, Function, Primal, Pullback, pull_back
from .oracles import flat
from .verdict import Finding, Verdict


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    order: int = 1,
    kind: str = "smooth",
    seed: int = 0,
    full: int = 160,
) -> Verdict:
    """Compare the gradients of `fn` with derivatives that were found without its rules.

    Everything is computed in double precision. Cotangents are random. Up to `full` input entries
    and `full` output entries the whole Jacobian is compared, beyond that random combinations and
    some single entries. It also checks that the gradient is linear in its cotangent and zero for
    zero, that the ordinary pass and the recorded one (`create_graph`) agree, that a second pass
    repeats the first, and that inputs and cotangents are neither changed nor shared with the
    results.

    Args:
        fn: takes tensors, returns a tensor or several.
        inputs: what to call it with: tensors, arrays, numbers. Those of floating-point type are
            differentiated by; integer arrays and other objects are passed on as they are.
        order: how often to differentiate: 2 also checks the gradient's own gradients.
        kind: what sort of function it is, which decides what it is compared with: `linear` and
            `bilinear` (differences with step 1, exact), `analytic` (complex step), `smooth` and
            `piecewise` (central differences over several steps), `constant` (nothing to
            differentiate; the outputs must not require a gradient).
        seed: of the random cotangents and directions.
        full: see above.

    Returns:
        A verdict: true or false, and readable as text. At a kink, a gradient between the slopes of
        both sides is right.

    Raises:
        ValueError: for an unknown kind, an order below 1, or no input to differentiate by.
        TypeError: if `fn` returns no tensor of floating-point type.

    >>> import minigrad as mg
    >>> from minigrad.testing import gradcheck
    >>> print(gradcheck(mg.ops.mul, [[1.0, 2.0], [3.0, 4.0]], kind="bilinear").ok)
    True
    """
    if kind not in KINDS:
        raise ValueError(f"gradcheck: kind {kind!r} is none of {', '.join(KINDS)}")
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"gradcheck: order must be 1 or more, got {order!r}")
    if isinstance(inputs, (Tensor, np.ndarray, float)):
        inputs = [inputs]
    name = getattr(fn, "__name__", type(fn).__name__)
    rng = np.random.default_rng(seed)
    function: Function = Primal(fn, inputs)
    if kind == "constant":
        return Verdict(name, (), tuple(_constant(function)))
    if not function.point:
        raise ValueError("gradcheck: none of the inputs is of floating-point type")
    problems = list(_unusable(function))
    findings: list[Finding] = []
    for level in range(1, order + 1):
        if problems:
            break
        cotangents = [dense(rng, y.shape) for y in function.values(function.point)]
        problems += _contracts(function, cotangents, level)
        comparison = Comparison(function, kind, level, rng, full)
        findings += comparison.findings()
        problems += comparison.problems
        function = Pullback(function, cotangents)
    return Verdict(name, tuple(findings), tuple(problems))


def assert_gradients(fn: Callable[..., Any], inputs: Any, **options: Any) -> None:
    """Raise an AssertionError with the verdict's text unless `gradcheck(fn, inputs, ...)` is right.

    Raises:
        AssertionError: with the verdict's text.
    """
    verdict = gradcheck(fn, inputs, **options)
    if not verdict.ok:
        raise AssertionError(str(verdict))


def _constant(function: Function) -> Iterator[str]:
    with np.errstate(all="ignore"):
        _, outputs = function.trace(function.point)
    for i, y in enumerate(outputs):
        if y.requires_grad:
            yield f"declared constant, but output {i} requires a gradient"


def _unusable(function: Function) -> Iterator[str]:
    """Reasons why there is nothing to check: each is a problem of its own."""
    before = [x.copy() for x in function.point]
    first = function.values(function.point)
    if not first:
        raise TypeError("gradcheck: the function returns no tensor of floating-point type")
    if not _same(before, function.point):
        yield "the function changes its inputs"
    for i, y in enumerate(first):
        if not np.isfinite(y).all():
            yield f"output {i} holds NaN or infinity: there is nothing to differentiate here"
    if not _same([y.copy() for y in first], function.values(function.point)):
        yield "the function gives something else when it is called again: is it random?"


def _contracts(function: Function, cotangents: Arrays, order: int) -> Iterator[str]:
    """What a gradient promises beside its numbers; yields each broken promise."""
    said = f"order {order}: "
    point = [x.copy() for x in function.point]
    leaves, outputs = function.trace(point)
    if not _close([y.data for y in outputs], function.values(function.point)):
        yield said + "recording changes the result"
    seeds = [v.copy() for v in cotangents]
    plain = [g.data for g in pull_back(leaves, outputs, [wrap(v) for v in seeds])]
    if not _same(seeds, cotangents):
        yield said + "backward changes the cotangent that it was given"
    if not _same(point, function.point):
        yield said + "the inputs are changed"
    yield from (said + p for p in _aliases(plain, seeds, point, [y.data for y in outputs]))
    for label, x, g in zip(function.labels, point, plain, strict=True):
        if g.shape != x.shape or g.dtype != x.dtype:
            yield said + f"{label} is {x.dtype} {x.shape}, its gradient {g.dtype} {g.shape}"
    kept = [g.copy() for g in plain]
    again = [g.data for g in pull_back(leaves, outputs, [wrap(v.copy()) for v in cotangents])]
    if not _same(kept, again):
        yield said + "a second backward pass gives something else than the first"
    zeros = pull_back(leaves, outputs, [wrap(np.zeros_like(v)) for v in cotangents])
    for label, z in zip(function.labels, zeros, strict=True):
        if z.data.any():
            yield said + f"a zero cotangent gives a gradient of {label} that is not zero"
    try:
        recorded = Pullback(function, cotangents).trace([*point, *seeds])[1]
    except Exception as error:  # of a rule's own, whatever it is: the verdict says so
        yield said + (
            f"the recorded pass (create_graph), where rules get tensors, raises "
            f"{type(error).__name__}: {error}"
        )
        return
    if not _close(kept, [g.data for g in recorded]):
        yield said + "the recorded pass (create_graph) gives other numbers than the ordinary one"
    if not _same(seeds, cotangents) or not _same(point, function.point):
        yield said + "the recorded pass changes inputs or cotangents"


def _aliases(gradients: Arrays, seeds: Arrays, point: Arrays, outputs: Arrays) -> Iterator[str]:
    for i, g in enumerate(gradients):
        others = {"a cotangent": seeds, "an input": point, "an output": outputs}
        others["another gradient"] = gradients[:i]
        for what, arrays in others.items():
            if any(np.may_share_memory(g, a) for a in arrays):
                yield f"gradient {i} shares its memory with {what}"


def _same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def _close(a: Arrays, b: Arrays) -> bool:
    """Equal but for the order in which sums are taken."""
    if any(x.shape != y.shape for x, y in zip(a, b, strict=True)):
        return False
    x, y = flat(a), flat(b)
    eps = max([np.finfo(z.dtype).eps for z in (*a, *b)], default=0.0)
    size = abs(x[np.isfinite(x)]).max(initial=0.0)
    return bool(np.allclose(x, y, rtol=0, atol=1e3 * eps * size, equal_nan=True))
