"""`gradcheck`: are the gradients of a function right? And `assert_gradients`, for tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ...ops.registry import KINDS, OPERATIONS
from ...tensor import Tensor
from ..calls import Call
from ..modules import opened
from . import promises
from .compare import Comparison
from .functions import Function, Pair, Pullback, as_function
from .probes import dense
from .verdict import Finding, Verdict


@np.errstate(all="ignore")  # the verdict tells of NaN and infinity
def gradcheck(
    fn: Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]],
    inputs: Any,
    *,
    order: int = 1,
    kind: str = "auto",
    seed: int = 0,
    full: int = 160,
) -> Verdict:
    """Compare the gradients of `fn` with derivatives that were found without its rules.

    Everything is computed in double precision. Cotangents are random. Up to `full` input entries
    and `full` output entries the whole Jacobian is compared, beyond that random combinations and
    some single entries. It also checks what a gradient promises: that it is linear in its cotangent
    and zero for zero; that the ordinary pass, the recorded one (`create_graph`) and forward mode
    agree; that it can be repeated, whatever was called in between; that it has the shape, type and
    device of its input, also for the types that were given; and that inputs and cotangents are
    neither changed nor shared with the results.

    Args:
        fn: takes tensors, returns a tensor or several. Or a pair of functions of NumPy arrays,
            `(forward, vjp)`, by whatever means they compute: `forward(*arrays)` gives an array or a
            tuple of arrays, `vjp(cotangent, *arrays)` a tuple of one gradient for each input, None
            for zero (for one input the bare array will do; for several outputs the cotangent is a
            tuple). Of a module (`minigrad.nn.Module`) the gradients of its parameters that are
            trained are checked, too.
        inputs: what to call it with: tensors, arrays, numbers. Those of floating-point type are
            differentiated by; integer arrays and other objects are passed on as they are.
        order: how often to differentiate: 2 also checks the gradient's own gradients. A pair has
            order 1 only.
        kind: what sort of function it is, which decides what it is compared with: `linear` and
            `bilinear` (differences with step 1, exact), `analytic` (complex step), `smooth` and
            `piecewise` (central differences over several steps), `constant` (nothing to
            differentiate; the outputs must not require a gradient). With `auto` it is found out,
            for each input; the verdict names what was used, and central differences decide.
        seed: of the random cotangents and directions.
        full: see above.

    Returns:
        A verdict: true or false, and readable as text. At a kink, a gradient between the slopes of
        both sides is right.

    Raises:
        ValueError: for an unknown kind, an order below 1 or, of a pair, above, no input to
            differentiate by, or a `vjp` that returns another number of gradients.
        TypeError: if `fn` returns no tensor of floating-point type, or complex numbers, or is no
            function at all; if `inputs` is no list.
        Exception: whatever `fn` itself raises.

    >>> import minigrad as mg
    >>> from minigrad.testing import gradcheck
    >>> print(gradcheck(mg.ops.mul, [[1.0, 2.0], [3.0, 4.0]]).ok)
    True
    >>> import numpy as np
    >>> print(gradcheck((np.sin, lambda g, x: -g * np.cos(x)), [[1.0, 2.0]]).findings[0].fault)
    negated
    """
    _check_options(fn, kind, order, seed, full)
    if isinstance(inputs, (Tensor, np.ndarray, np.generic, float)):
        inputs = [inputs]
    if isinstance(inputs, (str, bytes, dict, set)) or not isinstance(inputs, Iterable):
        raise TypeError(
            "gradcheck: inputs must be a list of what the function is called with, "
            f"got {type(inputs).__name__}"
        )
    fn, inputs = opened(fn, list(inputs))
    name = _name(fn)
    rng = np.random.default_rng(seed)
    checked = as_function(fn, inputs)
    if kind == "constant":
        return Verdict(name, (), tuple(promises.constant(checked, rng)))
    function: Function = checked
    if not function.point:
        raise ValueError(
            "gradcheck: none of the inputs is of floating-point type, and others are passed on as "
            "they are: write 1.0 instead of 1"
        )
    problems = list(promises.usable(function))
    if problems:
        return Verdict(name, (), tuple(problems), unusable=True)
    findings: list[Finding] = []
    hint = _declared(fn) if kind == "auto" else ""
    previous: Comparison | None = None
    precision = ""
    for level in range(1, order + 1):
        if problems:
            break
        before = function.values(function.point)
        cotangents = [dense(rng, y.shape) for y in before]
        problems += promises.kept(function, cotangents, level, rng)
        if level == 1:
            wrong, precision = promises.own_types(fn, inputs, checked, cotangents)
            problems += wrong
        comparison = Comparison(function, kind, hint, level, rng, full)
        found = list(comparison.findings())
        noisy = all(f.ok or f.status == "unclear" for f in found)
        if previous and not all(f.ok for f in found) and previous.has_kink(near=noisy):
            # The rule was right in the middle between the slopes of two sides, where it jumps.
            findings = [_last(f) for f in findings]
            break
        problems += comparison.problems
        previous = comparison
        if not promises.same(before, function.values(function.point)):
            problems.append(
                "the function gives something else after it was called with other inputs: it "
                "depends on a state that its calls change"
            )
        if level < order and any(f.status == "kink" for f in found):
            # The gradient jumps here: it has no derivative that could be compared.
            findings += [_last(f) if f.status == "kink" else f for f in found]
            break
        findings += found
        if not isinstance(function, Pair):
            function = Pullback(function, cotangents)
    return Verdict(name, tuple(findings), tuple(problems), precision=precision)


def _last(f: Finding) -> Finding:
    """A finding at a kink, behind which there is nothing to differentiate."""
    return replace(f, note=f.note or "the gradient jumps here: it has no higher derivatives")


def assert_gradients(
    fn: Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]],
    inputs: Any,
    **options: Any,
) -> None:
    """Raise an AssertionError with the verdict's text unless `gradcheck(fn, inputs, ...)` is right.

    Raises:
        AssertionError: with the verdict's text.
    """
    verdict = gradcheck(fn, inputs, **options)
    if not verdict.ok:
        raise AssertionError(str(verdict))


def _check_options(fn: Any, kind: str, order: int, seed: int, full: int) -> None:
    if kind != "auto" and kind not in KINDS:
        raise ValueError(f"gradcheck: kind {kind!r} is none of auto, {', '.join(KINDS)}")
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise ValueError(f"gradcheck: order must be 1 or more, got {order!r}")
    if order > 1 and isinstance(fn, (tuple, list)):
        raise ValueError(
            f"gradcheck: order {order} needs a function of tensors; a pair (forward, vjp) does not "
            "say how vjp is differentiated. Check vjp as a forward function with a rule of its own"
        )
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"gradcheck: seed must be an integer of 0 or more, got {seed!r}")
    if not isinstance(full, (int, np.integer)) or isinstance(full, bool) or full < 0:
        raise ValueError(f"gradcheck: full must be an integer of 0 or more, got {full!r}")


def _name(fn: Any) -> str:
    named = fn[0] if isinstance(fn, (tuple, list)) and fn else fn
    while isinstance(named, functools.partial):
        named = named.func
    return str(getattr(named, "__name__", type(named).__name__))


def _declared(fn: Any) -> str:
    """The kind that a registered operation declares, else nothing."""
    function = fn.function if isinstance(fn, Call) else fn
    operation = OPERATIONS.get(getattr(function, "__name__", ""))
    return operation.kind if operation is not None and operation.function is function else ""
