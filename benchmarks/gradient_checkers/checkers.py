"""The checkers, each asked as its users would: with the defaults, about float64 inputs.

PyTorch and HIPS autograd get the NumPy functions as an operation of their own, written as their
manuals tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.testing import Verdict, gradcheck

from .faults import Array, Problem, Twice


@dataclass(frozen=True)
class Answer:
    """What a checker said.

    Attributes:
        complains: whether it found the gradient wrong.
        seconds: how long it took.
        says: what it said.
        families: minigrad alone: which kinds of fault its autopsy named.
    """

    complains: bool
    seconds: float
    says: str = ""
    families: tuple[str, ...] = ()


Check = Callable[[Any, bool, int], Answer]
"""`check(problem, wrong, seed)`: about the wrong rule or the right one."""


# minigrad


def minigrad(problem: Problem | Twice, wrong: bool, seed: int) -> Answer:
    """`gradcheck` of the pair (forward, vjp), or of an operation of the engine to second order."""
    if isinstance(problem, Twice):
        return _ours(_engine_operation(problem, wrong), problem.inputs, order=2, seed=seed)
    vjp = problem.wrong if wrong else problem.right
    return _ours((problem.forward, vjp), problem.inputs, seed=seed)


def _ours(function: Any, inputs: list[Array], **options: Any) -> Answer:
    begin = time.perf_counter()
    verdict: Verdict = gradcheck(function, inputs, **options)
    seconds = time.perf_counter() - begin
    families = tuple(dict.fromkeys(f.fault for f in verdict.findings if not f.ok and f.fault))
    return Answer(not verdict.ok, seconds, str(verdict), families)


def _engine_operation(problem: Twice, wrong: bool) -> Callable[[Any], mg.Tensor]:
    def operation(x: Any) -> mg.Tensor:
        x = mg.as_tensor(x)
        y = problem.forward(x.data)
        if wrong:
            return mg.record(operation, y, (x, lambda g: problem.rule(g, y), None))
        return mg.record(operation, y, (x, problem.rule, mg.OUTPUT))

    return operation


# PyTorch


def torch_slow(problem: Problem | Twice, wrong: bool, seed: int) -> Answer:
    """`torch.autograd.gradcheck`; for a rule of second order `gradgradcheck`."""
    return _torch(problem, wrong, seed, fast_mode=False)


def torch_fast(problem: Problem | Twice, wrong: bool, seed: int) -> Answer:
    """The same with `fast_mode=True`, as PyTorch tests itself."""
    return _torch(problem, wrong, seed, fast_mode=True)


def _torch(problem: Problem | Twice, wrong: bool, seed: int, **options: Any) -> Answer:
    import torch
    from torch.autograd import gradcheck as first, gradgradcheck as second
    from torch.autograd.gradcheck import GradcheckError

    torch.manual_seed(seed)
    inputs = [torch.tensor(x, requires_grad=True) for x in problem.inputs]
    function: Any = _torch_twice(problem, wrong) if isinstance(problem, Twice) else _torch_once(
        problem.forward, problem.wrong if wrong else problem.right
    )  # fmt: skip
    check = second if isinstance(problem, Twice) else first
    return _asked(lambda: check(function.apply, inputs, **options), GradcheckError)


def _torch_once(forward: Callable[..., Array], vjp: Callable[..., Any]) -> Any:
    import torch

    class Operation(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.save_for_backward(*inputs)
            return torch.as_tensor(forward(*(x.detach().numpy() for x in inputs)))

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            found = vjp(g.detach().numpy(), *(x.detach().numpy() for x in ctx.saved_tensors))
            return tuple(torch.as_tensor(d) for d in found)

    return Operation


def _torch_twice(problem: Twice, wrong: bool) -> Any:
    import torch

    class Operation(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = torch.as_tensor(problem.forward(x.detach().numpy()))
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (y,) = ctx.saved_tensors
            return problem.rule(g, y.detach() if wrong else y)

    return Operation


# HIPS autograd


def autograd(problem: Problem | Twice, wrong: bool, seed: int) -> Answer:
    """`autograd.test_util.check_grads(modes=["rev"])`, with order=2 for a rule of second order.

    Two of its defaults are not taken: order 2 for all, which a rule in plain NumPy does not have,
    and that only the first input is checked.
    """
    from autograd.test_util import check_grads

    np.random.seed(seed)  # noqa: NPY002 (where it draws its directions from)
    if isinstance(problem, Twice):
        function, order = _autograd_twice(problem, wrong), 2
    else:
        vjp = problem.wrong if wrong else problem.right
        function, order = _autograd_once(problem.forward, vjp, len(problem.inputs)), 1
    every = tuple(range(len(problem.inputs)))
    check = check_grads(function, every, modes=["rev"], order=order)
    return _asked(lambda: check(*problem.inputs), AssertionError)


def _autograd_once(forward: Callable[..., Array], vjp: Callable[..., Any], inputs: int) -> Any:
    from autograd.extend import defvjp, primitive

    operation = primitive(forward)

    def gradient_of(i: int) -> Any:
        return lambda y, *inputs: lambda g: vjp(g, *inputs)[i]

    defvjp(operation, *(gradient_of(i) for i in range(inputs)))
    return lambda *inputs: operation(*inputs)


def _autograd_twice(problem: Twice, wrong: bool) -> Any:
    from autograd.extend import defvjp, primitive
    from autograd.tracer import getval

    operation = primitive(problem.forward)

    def constant(y: Any) -> Any:
        while y is not getval(y):
            y = getval(y)
        return y

    defvjp(operation, lambda y, x: lambda g: problem.rule(g, constant(y) if wrong else y))
    return lambda x: operation(x)


def _asked(check: Callable[[], Any], complaint: type[Exception]) -> Answer:
    begin = time.perf_counter()
    try:
        check()
    except complaint as error:
        return Answer(True, time.perf_counter() - begin, str(error))
    return Answer(False, time.perf_counter() - begin)


CHECKERS: dict[str, tuple[str, Check]] = {
    "minigrad": ("minigrad", minigrad),
    "PyTorch": ("torch", torch_slow),
    "PyTorch, fast mode": ("torch", torch_fast),
    "autograd": ("autograd", autograd),
}
"""By name in the table: the package that it needs, and how to ask it."""


def installed() -> dict[str, Check]:
    """The checkers whose packages are here."""
    return {name: check for name, (package, check) in CHECKERS.items() if find_spec(package)}
