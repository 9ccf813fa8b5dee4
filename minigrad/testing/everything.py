"""Every registered operation on every backend, in processes side by side."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

import minigrad_kernels as kernels

from ..ops.registry import OPERATIONS, Sample
from ..tensor import Tensor, wrap
from . import replay
from .backends import check, on_device, single_precision
from .calls import Call, draw

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """One operation on one backend.

    Attributes:
        operation: its name.
        backend: a name in `minigrad_kernels.BACKENDS`.
        status: `right`; `WRONG`; `constant`, there is nothing to differentiate, which was checked;
            `no kernel`, nothing of this backend runs in it: it computes as on the reference.
        samples: on how many samples it was checked.
        seconds: how long that took.
        words: what is wrong, and where the replays are.
    """

    operation: str
    backend: str
    status: str
    samples: int = 0
    seconds: float = 0.0
    words: tuple[str, ...] = ()


def calls(operation: str) -> Iterator[tuple[Sample, Call]]:
    """The samples of an operation that have an input of real numbers, with numbers drawn."""
    op = OPERATIONS[operation]
    for sample in op.samples:
        call = draw(op.function, sample)
        if call.differentiable:
            yield sample, call


def check_operation(operation: str, backend: str, root: str = ".") -> Outcome:
    """Check all samples of an operation as often as they can be differentiated.

    In double precision against derivatives found without its rules, in single precision against the
    reference: see `minigrad.testing.backends.check`.

    Args:
        operation: its name in the registry.
        backend: a name in `minigrad_kernels.BACKENDS`.
        root: the folder below which replays of what is wrong are written.
    """
    op = OPERATIONS[operation]
    begin = perf_counter()
    if not runs_on(operation, backend):
        return Outcome(operation, backend, "no kernel", seconds=perf_counter() - begin)
    samples, words = 0, []
    for sample, call in calls(operation):
        samples += 1
        wrong = _checked(operation, sample, call, backend, root)
        words += [f"{operation}({sample}) on {backend}\n{wrong}"] if wrong else []
    right = "right" if op.kind != "constant" and samples else "constant"
    status = "WRONG" if words else right
    return Outcome(operation, backend, status, samples, perf_counter() - begin, tuple(words))


def _checked(operation: str, sample: Sample, call: Call, backend: str, root: str) -> str:
    """What is wrong with one sample, and where its replay is; empty if nothing is."""
    kind = OPERATIONS[operation].kind
    options = {"kind": kind, "order": 1 if kind == "constant" else sample.orders}
    try:
        if kind == "constant":
            return _constant(call, backend)
        verdict, _ = check(backend, call, call.arrays, **options)
    except Exception as error:  # an operation's own, whatever it is: the others are checked too
        said = f"raises {type(error).__name__}: {error}"
    else:
        if verdict.ok:
            return ""
        said = str(verdict)
    path = replay.named(f"{operation}({sample})-{backend}", root)
    return f"{said}\n{replay.saved(call, call.arrays, path, backend=backend, **options)}"


def _constant(call: Call, backend: str) -> str:
    """What is wrong with a call that has no derivative; its result may be no tensor at all."""
    inputs = [wrap(a).requires_grad_() if a.dtype.kind == "f" else wrap(a) for a in call.arrays]
    fn = on_device(call) if backend == "cuda" else call
    with kernels.use(backend):
        found = fn(*inputs)
    outputs = found if isinstance(found, (tuple, list)) else [found]
    if any(isinstance(y, Tensor) and y.requires_grad for y in outputs):
        return "declared constant, but its result requires a gradient"
    return ""


def runs_on(operation: str, backend: str) -> bool:
    """Whether an operation computes anything else on a backend than on the reference.

    On the reference it always does, and on the GPU: there the reference is CuPy's. What has to be
    compiled for that is compiled.
    """
    if backend in ("reference", "cuda") or OPERATIONS[operation].kind == "constant":
        return True
    for _, call in calls(operation):
        with np.errstate(all="ignore"):
            _, ran = single_precision(backend, call, call.arrays)
        if any(i.backend == backend for i in ran.values()):
            return True
    return False


def check_all(
    operations: Sequence[str],
    backends: Sequence[str],
    jobs: int,
    root: str | Path = ".",
    modules: Sequence[str] = (),
) -> Iterator[Outcome]:
    """`check_operation` for each operation on each backend, in this many processes.

    Each process imports the `modules`, which register operations of a user's own.

    Yields:
        an outcome as soon as it is there.
    """
    work = [(name, backend, str(root)) for name in operations for backend in backends]
    yield from _in_processes(check_operation, work, jobs, modules)


def compile_all(
    operations: Sequence[str], backends: Sequence[str], jobs: int, modules: Sequence[str] = ()
) -> Iterator[bool]:
    """Compile what the operations need on these backends, unless it was compiled before.

    Yields:
        something, for each operation and backend that is done with.
    """
    compiled = [b for b in backends if b != "reference"]
    work = [(name, backend) for name in operations for backend in compiled]
    yield from _in_processes(runs_on, work, jobs, modules)


def _in_processes(
    function: Callable[..., T],
    work: Sequence[tuple[Any, ...]],
    jobs: int,
    modules: Sequence[str],
) -> Iterator[T]:
    """The results of the function for all these arguments, in the order in which they come."""
    if jobs == 1 or len(work) <= 2:
        _import(modules)
        for arguments in work:
            yield function(*arguments)
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start, initargs=(modules,))
    try:
        for done in as_completed([pool.submit(function, *arguments) for arguments in work]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(modules: Sequence[str]) -> None:
    """Each process computes on one thread: there are as many as cores."""
    kernels.set_num_threads(1)
    _import(modules)


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def registered_by(modules: Sequence[str]) -> list[str]:
    """The operations that these modules, or modules in these packages, have registered.

    >>> registered_by(["minigrad.ops.softmax"])[0]
    'softmax'
    """
    return [
        name
        for name, op in OPERATIONS.items()
        if any(f"{op.function.__module__}.".startswith(f"{m}.") for m in modules)
    ]
