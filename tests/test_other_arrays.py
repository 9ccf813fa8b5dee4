"""Every kernel and every operation on other arrays than NumPy's: the stand-in for CuPy's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cupy_standin import check_same, many, moved

from minigrad import Tensor, grad
from minigrad.device import look
from minigrad.ops.registry import OPERATIONS, ErrorSample, Operation, Sample
from minigrad.tensor import wrap
from minigrad.testing.calls import draw
from minigrad_kernels import KERNELS, Arguments, Kernel

pytestmark = pytest.mark.usefixtures("cupy")


# Kernels


def calls(k: Kernel) -> list[Arguments]:
    """The samples. Where NumPy made scalars of 0-dimensional arrays, they are arrays again."""
    return [
        Arguments(
            tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in c.args), c.options
        )
        for c in k.samples(np.random.default_rng(7))
    ]


KERNEL_CASES = [
    pytest.param(k, call, id=f"{name}-{i}")
    for name, k in KERNELS.items()
    for i, call in enumerate(calls(k))
]


@pytest.mark.parametrize(("k", "call"), KERNEL_CASES)
def test_kernel(k: Kernel, call: Arguments, cupy: Any) -> None:
    wanted = k.reference(*call.args, **call.options)
    args = moved(call.args)
    got = k(*args, **call.options)
    check_same(got, wanted)
    room = [cupy.full_like(y, 77) for y in many(got)]
    out = k(*args, **call.options, out=tuple(room) if isinstance(got, tuple) else room[0])
    assert all(y is o for y, o in zip(many(out), room, strict=True))
    check_same(out, wanted)


# Operations

CASES = [
    pytest.param(op, s, id=f"{name}({s})")
    for name, op in OPERATIONS.items()
    for s in op.samples
    if name != "to"  # which is there to leave the device
]
ERRORS = [
    pytest.param(op, e, id=f"{name}: {e.match}")
    for name, op in OPERATIONS.items()
    for e in op.errors
]


def drawn(op: Operation, s: Sample | ErrorSample, on_device: bool) -> Any:
    """The call of a sample. Some have arrays of their own among the options; these move too."""
    call = draw(op.function, s)
    if not on_device:
        return call
    options = {name: moved(value) for name, value in call._options.items()}
    return replace(call, arrays=moved(call.arrays), _args=moved(call._args), _options=options)


def tensors(arrays: list[Any]) -> list[Tensor]:
    return [wrap(a).requires_grad_() if a.dtype.kind == "f" else wrap(a) for a in arrays]


def results(call: Any, cotangents: list[Any]) -> tuple[list[Any], ...]:
    """Arrays: of the outputs, of first derivatives, computed both ways, and of second ones."""
    xs = tensors(call.arrays)
    ys = [y for y in many(call(*xs)) if isinstance(y, Tensor)]
    ends, leaves = [y for y in ys if y.requires_grad], [x for x in xs if x.requires_grad]
    if not ends or not leaves:
        return [y.data for y in ys], [], [], []
    while len(cotangents) < len(ends):
        shape, dtype = ends[len(cotangents)].shape, ends[len(cotangents)].dtype
        cotangents.append(np.random.default_rng(12).uniform(0.5, 1.5, shape).astype(dtype))
    on_device = not isinstance(ys[0].data, np.ndarray)
    vs = [wrap(moved(v) if on_device else v).requires_grad_() for v in cotangents[: len(ends)]]
    plain = grad(ends, leaves, vs, allow_unused=True, retain_graph=True)
    recorded = grad(ends, leaves, vs, create_graph=True, allow_unused=True)
    total = sum((g * g).sum() for g in recorded if g is not None and g.requires_grad)
    second = grad(total, [*leaves, *vs], allow_unused=True) if isinstance(total, Tensor) else ()
    return (
        [y.data for y in ys],
        [g.data for g in plain if g is not None],
        [g.data for g in recorded if g is not None],
        [g.data for g in second if g is not None],
    )


@pytest.mark.parametrize(("op", "s"), CASES)
def test_operation(op: Operation, s: Sample) -> None:
    """Results and derivatives to second order are NumPy's, and stay on the device."""
    cotangents: list[Any] = []
    got, wanted = (results(drawn(op, s, there), cotangents) for there in (True, False))
    for y, z in zip(got, wanted, strict=True):
        check_same(y, z, ulps=10_000)  # squares of gradients, and their derivatives


@pytest.mark.parametrize(("op", "e"), ERRORS)
def test_bad_input_is_refused(op: Operation, e: ErrorSample) -> None:
    call = drawn(op, e, True)
    with pytest.raises(e.error, match=e.match):
        call(*tensors(call.arrays))
        look()  # at what is checked when something is read


TAKES_FROM_ANYWHERE = {"copy", "fill", "getitem", "getitem_adjoint"}
"""Operations with an operand that is copied to where the first one is: a source, or an index."""

SEVERAL = [case for case in CASES if case.values[0].name not in TAKES_FROM_ANYWHERE]


@pytest.mark.parametrize(("op", "s"), SEVERAL)
def test_operands_on_two_devices_are_refused(op: Operation, s: Sample) -> None:
    count = len(drawn(op, s, True).arrays)
    for i in range(count if count > 1 else 0):
        call = drawn(op, s, True)
        arrays = [a.get() if j == i else a for j, a in enumerate(call.arrays)]
        with pytest.raises(TypeError, match=r"cpu.*cuda:0|cuda:0.*cpu"):
            call(*tensors(arrays))
