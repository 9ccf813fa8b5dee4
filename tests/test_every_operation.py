"""What is registered as an operation is tested: gradients, memory, layouts, errors."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from minigrad import Tensor, grad, ops
from minigrad.graph import reachable
from minigrad.ops.registry import OPERATIONS, ErrorSample, Operation, Sample
from minigrad.tensor import wrap
from minigrad.testing import gradcheck
from minigrad.testing.calls import Call, draw
from minigrad.testing.strategies import column_major, gaps, repeated, reversed_strides

CASES = [
    pytest.param(op, s, id=f"{name}({s})") for name, op in OPERATIONS.items() for s in op.samples
]
ERRORS = [
    pytest.param(op, e, id=f"{name}: {e.match}")
    for name, op in OPERATIONS.items()
    for e in op.errors
]


def drawn(op: Operation, s: Sample | ErrorSample) -> Call:
    return draw(op.function, s)


def tensors(arrays: list[np.ndarray], requires_grad: bool = True) -> list[Tensor]:
    return [
        wrap(a).requires_grad_() if requires_grad and a.dtype.kind == "f" else wrap(a)
        for a in arrays
    ]


def outputs(result: Any) -> list[Tensor]:
    """The tensors in what an operation returned (constants may return a bool or a number)."""
    many = result if isinstance(result, (tuple, list)) else [result]
    return [y for y in many if isinstance(y, Tensor)]


def real_outputs(result: Any) -> list[Tensor]:
    return [y for y in outputs(result) if y.requires_grad]


def cotangents(ys: list[Tensor]) -> list[Tensor]:
    rng = np.random.default_rng(12)
    return [wrap(rng.uniform(0.5, 1.5, y.shape).astype(y.dtype)) for y in ys]


def gradients(call: Call, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(results, gradients) of the call with these arrays; no gradient is left out as None."""
    xs = tensors(arrays)
    result = call(*xs)
    ys, leaves = real_outputs(result), [x for x in xs if x.requires_grad]
    found: Any = [None] * len(leaves)
    if ys and leaves:
        found = grad(ys, leaves, cotangents(ys), allow_unused=True)
    zeros = (np.zeros(x.shape, x.dtype) for x in leaves)
    gs = [z if g is None else g.data for g, z in zip(found, zeros, strict=True)]
    return [y.data for y in outputs(result)], gs


def check_close(got: list[np.ndarray], wanted: list[np.ndarray], ulps: float) -> None:
    """Equal to within so many units in the last place of the largest entry."""
    assert len(got) == len(wanted)
    for y, z in zip(got, wanted, strict=True):
        assert y.shape == z.shape
        if y.dtype.kind not in "fc":
            np.testing.assert_array_equal(y, z)
            continue
        eps = max(np.finfo(y.dtype).eps, np.finfo(z.dtype).eps)
        size = max(1.0, np.abs(z[np.isfinite(z)]).max(initial=0.0))
        np.testing.assert_allclose(y, z, rtol=0, atol=ulps * eps * size, equal_nan=True)


# Gradients


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("op", "s"), CASES)
def test_gradients(op: Operation, s: Sample) -> None:
    call = drawn(op, s)
    if op.kind == "constant":
        assert not real_outputs(call(*tensors(call.arrays))), "a constant cannot require a gradient"
        return
    if not call.differentiable:
        assert not real_outputs(call(*tensors(call.arrays)))
        return
    verdict = gradcheck(call, call.arrays, order=s.orders, kind=op.kind)
    assert verdict.ok, f"{op.name}({s})\n{verdict}"


@pytest.mark.parametrize(("op", "s"), CASES)
def test_backward_agrees_with_grad_and_accumulates(op: Operation, s: Sample) -> None:
    call = drawn(op, s)
    wanted = gradients(call, call.arrays)[1]
    xs = tensors(call.arrays)
    for times in (1, 2):
        for y, v in (lambda ys: zip(ys, cotangents(ys), strict=True))(real_outputs(call(*xs))):
            y.backward(v, retain_graph=True)
        leaves = [x for x in xs if x.requires_grad]
        for x, g in zip(leaves, wanted, strict=True):
            found = np.zeros(x.shape) if x.grad is None else x.grad.data
            check_close([found], [times * g], ulps=100)  # outputs are summed in another order


# Memory


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Whatever is freed inside is freed by counting references."""
    gc.disable()
    yield
    gc.enable()


def recorded_nodes(ys: list[Tensor], leaves: list[Tensor]) -> list[weakref.ref[Any]]:
    """Weak references to all nodes between the outputs and the leaves."""
    own = {id(x.node) for x in leaves}
    nodes = reachable([y.node for y in ys if y.node is not None])
    return [weakref.ref(n) for n in nodes if id(n) not in own]


@pytest.mark.parametrize(("op", "s"), CASES)
def test_results_are_freed_as_soon_as_they_are_dropped(
    op: Operation, s: Sample, no_collector: None
) -> None:
    """No reference cycles: neither by the forward pass, nor by a recorded backward pass."""
    call = drawn(op, s)
    xs = tensors(call.arrays)
    result = call(*xs)
    ys, leaves = real_outputs(result), [x for x in xs if x.requires_grad]
    watched = recorded_nodes(ys, leaves)
    if ys:
        vs = [v.requires_grad_() for v in cotangents(ys)]
        gs = grad(ys, leaves, vs, create_graph=True, allow_unused=True)
        watched += recorded_nodes([g for g in gs if g is not None], [*leaves, *vs])
        del gs
    del result, ys
    left = [ref() for ref in watched if ref() is not None]
    assert not left, f"still alive: {left}"


@pytest.mark.parametrize(("op", "s"), CASES)
def test_backward_frees_what_the_graph_kept(op: Operation, s: Sample, no_collector: None) -> None:
    call = drawn(op, s)
    xs = tensors(call.arrays)
    result = call(*xs)
    ys = real_outputs(result)
    if not ys:
        return
    mine = {id(t) for t in (*xs, *outputs(result))}
    nodes = [n for n in reachable([y.node for y in ys if y.node is not None]) if n.edges]
    kept = [
        weakref.ref(t)
        for n in nodes
        for _, values in n.kept()
        for t in values
        # Constants without dimensions are Python numbers, which the engine shares between calls.
        if isinstance(t, Tensor) and id(t) not in mine and (t.ndim or t.requires_grad)
    ]
    grad(ys, [x for x in xs if x.requires_grad], cotangents(ys), allow_unused=True)
    passed = [n for n in nodes if n.edges is None]
    assert passed or not nodes
    assert all(n.output is None for n in passed)
    if len(passed) == len(nodes):
        left = [ref() for ref in kept if ref() is not None]
        assert not left, f"still kept after backward: {left}"


# Layouts and types


# A view refuses layouts that it would have to copy.
ANY_LAYOUT = [case for case in CASES if case.values[0].name != "view"]


@pytest.mark.parametrize("layout", [column_major, reversed_strides, gaps, repeated])
@pytest.mark.parametrize(("op", "s"), ANY_LAYOUT)
def test_any_layout_of_the_inputs_gives_the_same(
    op: Operation, s: Sample, layout: Callable[[np.ndarray], np.ndarray]
) -> None:
    call = drawn(op, s)
    odd = [layout(a) for a in call.arrays]
    plain = [np.array(a, order="C") for a in odd]
    before = [a.copy() for a in odd]
    with np.errstate(all="ignore"):  # equal entries can make a variance zero, and so on
        got, wanted = gradients(call, odd), gradients(call, plain)
    # Sums may be taken in another order; 1,000 units in the last place cover samples this small.
    check_close(got[0], wanted[0], ulps=1000)
    check_close(got[1], wanted[1], ulps=1000)
    for a, b in zip(odd, before, strict=True):
        np.testing.assert_array_equal(a, b, "the operation changed its input")


@pytest.mark.parametrize(("op", "s"), CASES)
def test_float32_stays_float32(op: Operation, s: Sample) -> None:
    """Results and gradients of single-precision inputs, compared with those in double precision."""
    call = drawn(op, s)
    narrow = [a.astype("f4") if a.dtype.kind == "f" else a for a in call.arrays]
    wide = [a.astype("f8") if a.dtype.kind == "f" else a for a in narrow]
    ys, gs = gradients(call, narrow)
    if any(a.dtype.kind == "f" for a in narrow) and op.name != "to":  # `to` is there to change it
        assert {y.dtype for y in ys if y.dtype.kind == "f"} <= {np.dtype("f4")}
    assert {g.dtype for g in gs} <= {np.dtype("f4")}
    wanted, wanted_gs = gradients(call, wide)
    # 2,000 units in the last place: functions such as a variance cancel, and pow magnifies.
    check_close(ys, wanted, ulps=2000)
    check_close(gs, wanted_gs, ulps=2000)


# Errors


@pytest.mark.parametrize(("op", "e"), ERRORS)
def test_bad_input_is_refused(op: Operation, e: ErrorSample) -> None:
    call = drawn(op, e)
    before = [a.copy() for a in call.arrays]
    with pytest.raises(e.error, match=e.match):
        call(*tensors(call.arrays))
    for a, b in zip(call.arrays, before, strict=True):
        np.testing.assert_array_equal(a, b, "changed before it was refused")


# The list itself

NOT_OPERATIONS = {"differentiable"}  # files operations


def public_functions() -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(ops).items()
        if isinstance(value, FunctionType) and not name.startswith("_")
    }


def test_every_public_function_is_registered() -> None:
    """A second name, such as clamp for clip, is registered with the first."""
    registered = {op.function for op in OPERATIONS.values()}
    missing = {name for name, function in public_functions().items() if function not in registered}
    assert missing == NOT_OPERATIONS, "not registered, hence not tested"


def test_every_registered_operation_is_public() -> None:
    """Except for adjoints that only rules use; those may stay inside their module."""
    for name, op in OPERATIONS.items():
        home = inspect.getmodule(op.function)
        assert getattr(home, name, None) is op.function, f"{name} is not found in its module"
        assert getattr(ops, name, op.function) is op.function, f"another {name} is exported"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_documented(name: str) -> None:
    text = inspect.getdoc(OPERATIONS[name].function) or ""
    assert len(text) > 20, "what does it compute?"
