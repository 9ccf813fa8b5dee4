"""A kernel is one array function: its definition, and faster implementations of it.

The definition (the reference) is written for NumPy and CuPy arrays alike and is always there. Each
other implementation belongs to a backend and says two things about given arguments: `accepts`, can
it compute them correctly; and `worth`, is it the faster choice. Calling the kernel runs the first
implementation that says yes to both. Tests and benchmarks ignore `worth`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from .backends import BACKENDS, array_kind
from .cuda.capability import Capability
from .lazy import lazy

Predicate = Callable[..., bool]
Samples = Callable[[np.random.Generator], Iterable["Arguments"]]
Build = Callable[[], Callable[..., Any]]


@dataclass(frozen=True)
class Cost:
    """What computing a kernel once takes, whoever does it: its place on a roofline.

    Attributes:
        flops: floating-point operations, a multiply-add counting as two.
        bytes: bytes that must be read and written at least once.
    """

    flops: float
    bytes: float


def per_element(flops: int) -> Callable[..., Cost]:
    """The cost of so many operations an element; inputs are read once, the output written once."""

    def cost(*arrays: Any, **_: Any) -> Cost:
        x = arrays[0]
        return Cost(flops=flops * x.size, bytes=sum(a.nbytes for a in arrays) + x.nbytes)

    return cost


@dataclass(frozen=True)
class Arguments:
    """Arguments of one call: what tests and benchmarks try a kernel on."""

    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)


def arguments(*args: Any, **options: Any) -> Arguments:
    """The arguments of one call of a kernel."""
    return Arguments(args, options)


@dataclass(frozen=True)
class Implementation:
    """One way to compute a kernel.

    Attributes:
        backend: where it runs, a name in `BACKENDS`.
        name: tells it from others of the same backend (the rungs of a ladder).
        build: makes the function, on first use: it may import, and compile.
        accepts: whether it computes these arguments correctly; None is always.
        worth: whether it is the faster choice for them; None is always.
        deterministic: same input, same bits, every time.
        eps: the spacing of the numbers it rounds its inputs to, relative to their size, where it
            computes in a coarser type than theirs; 0 where it does not.
        needs: what a GPU must have for it, and not every GPU has.
    """

    backend: str
    name: str
    build: Build
    accepts: Predicate | None = None
    worth: Predicate | None = None
    deterministic: bool = True
    eps: float = 0.0
    needs: Capability | None = None

    @property
    def reason(self) -> str | None:
        """Why it cannot be used here; None if it can."""
        backend = BACKENDS[self.backend]
        if backend.reason is None and self.needs is not None and "cupy" in backend.arrays:
            return self.needs.missing()
        return backend.reason

    @property
    def label(self) -> str:
        """What `use` calls it: the backend, or backend:name where it is one of several."""
        return self.backend if self.name == self.backend else f"{self.backend}:{self.name}"

    @lazy
    def run(self) -> Callable[..., Any]:
        """The function itself."""
        return self.build()

    def refusal(self, *args: Any, **options: Any) -> str | None:
        """Why it would not be chosen for these arguments; None if it would."""
        if self.accepts is not None and not self.accepts(*args, **options):
            return "does not accept these arguments"
        if self.worth is not None and not self.worth(*args, **options):
            return "is not worth it for these arguments"
        return None


class _Selection(threading.local):
    """Which implementations the current thread has asked for, by backend or backend:name."""

    forced: tuple[str, ...] | None = None


_selection = _Selection()

KERNELS: dict[str, Kernel] = {}


class Kernel:
    """Call it like a function; see the module's docstring for which implementation runs."""

    def __init__(
        self,
        reference: Callable[..., Any],
        samples: Samples,
        cost: Callable[..., Cost],
        tolerance: float,
        deterministic: bool,
    ) -> None:
        functools.update_wrapper(self, reference)
        self.name = reference.__name__
        self.samples = samples
        self.cost = cost
        self.tolerance = tolerance
        self.implementations = [
            Implementation("reference", "reference", lambda: reference, deterministic=deterministic)
        ]
        self.reference = reference
        self._plans: dict[tuple[Any, Any], list[Implementation]] = {}
        self._unconditional: dict[type, Callable[..., Any]] = {}  # no other would ever run
        KERNELS[self.name] = self

    def on(
        self,
        *backends: str,
        name: str = "",
        accepts: Predicate | None = None,
        worth: Predicate | None = None,
        deterministic: bool = True,
        eps: float = 0.0,
        needs: Capability | None = None,
    ) -> Callable[[Build], Build]:
        """Decorate a function that builds another implementation. The latest has precedence.

        It may serve several backends: what launches a CUDA kernel does so on the GPU and on the
        emulator. What it needs of a GPU it does not have to ask in `accepts`.

        Raises:
            ValueError: if there is no such backend, or it has an implementation of that name.
        """
        if not backends:
            raise ValueError(f"{self.name}: name a backend; there are {', '.join(BACKENDS)}")
        for place, backend in enumerate(backends):
            if backend not in BACKENDS:
                raise ValueError(
                    f"{self.name}: no backend {backend!r}; there are {', '.join(BACKENDS)}"
                )
            used = {i.name for i in self.implementations if i.backend == backend}
            if (name or backend) in used or backend in backends[:place]:
                raise ValueError(
                    f"{self.name}: {backend} already has an implementation {name or backend!r}"
                )

        accepts = accepts if needs is None else _where_met(needs, accepts)

        def add(build: Build) -> Build:
            for backend in backends:
                entry = Implementation(
                    backend, name or backend, build, accepts, worth, deterministic, eps, needs
                )
                self.implementations.insert(0, entry)
            self.forget_plans()
            return build

        return add

    def forget_plans(self) -> None:
        """Find out anew which implementations are usable: one was added, or a backend lost."""
        self._plans.clear()
        self._unconditional.clear()

    def __call__(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        forced = _selection.forced
        array_type = args[0].__class__
        if forced is None and array_type in self._unconditional:
            return self._unconditional[array_type](*args, **options)
        candidates = self._plans.get((array_type, forced))
        if candidates is None:
            candidates = self._plans[array_type, forced] = self._candidates(args[0], forced)
            if forced is None and candidates[0].accepts is candidates[0].worth is None:
                self._unconditional[array_type] = candidates[0].run
        for i in candidates:
            if (forced is not None or i.worth is None or i.worth(*args, **options)) and (
                i.accepts is None or i.accepts(*args, **options)
            ):
                return i.run(*args, **options)
        return self.reference(*args, **options)

    def _candidates(self, array: Any, forced: tuple[str, ...] | None) -> list[Implementation]:
        """The usable implementations for this kind of array, best first."""
        kind = array_kind(array)
        usable = [
            i
            for i in self.implementations
            if kind in BACKENDS[i.backend].arrays and i.reason is None
        ]
        if forced is None:
            return [i for i in usable if BACKENDS[i.backend].automatic]
        wanted = [
            i for wish in forced for i in usable if wish in (i.backend, f"{i.backend}:{i.name}")
        ]
        return list(dict.fromkeys(wanted))  # a backend may be named beside one of its own

    def reasons(self, *args: Any, **options: Any) -> list[tuple[Implementation, str]]:
        """Every implementation, and "runs" or why it does not for these arguments."""
        forced = _selection.forced
        kind = array_kind(args[0])
        candidates = self._candidates(args[0], forced)
        order = candidates + [i for i in self.implementations if i not in candidates]
        found: list[tuple[Implementation, str]] = []
        chosen = False
        for i in order:
            backend = BACKENDS[i.backend]
            if kind not in backend.arrays:
                why: str | None = f"takes {' or '.join(backend.arrays)} arrays, these are {kind}"
            elif i.reason is not None:
                why = f"is not usable here: {i.reason}"
            elif i not in candidates and i.backend != "reference":
                why = "runs only when asked for" if forced is None else "was not asked for"
            elif forced is not None and i.accepts is not None and not i.accepts(*args, **options):
                why = "does not accept these arguments"
            else:
                why = None if forced is not None else i.refusal(*args, **options)
            if why is None:
                why = "would do, but comes later" if chosen else "runs"
                chosen = True
            found.append((i, why))
        return found

    def explain(self, *args: Any, **options: Any) -> str:
        """Which implementation runs for these arguments, and why the others do not."""
        reasons = self.reasons(*args, **options)
        lines = [f"  {i.label}: {why}" for i, why in reasons]
        chosen = next(i.label for i, why in reasons if why == "runs")
        return "\n".join([f"{self.name}: {chosen}", *lines])

    def __repr__(self) -> str:
        return f"<kernel {self.name}: {', '.join(i.name for i in reversed(self.implementations))}>"

    def __reduce__(self) -> str:
        return self.name


def imported(module: str, name: str) -> Build:
    """What `Kernel.on` decorates, for a function of that name in a module of this package.

    The module is imported on first use: `relu.on("cuda")(imported("cuda.activation", "relu"))`.
    """
    return lambda: getattr(import_module(f".{module}", __package__), name)


def _where_met(needs: Capability, accepts: Predicate | None) -> Predicate:
    """`accepts`, and whether the first array is where there is what is needed."""
    return lambda *args, **options: (
        (accepts is None or accepts(*args, **options)) and not needs.lacking(args[0])
    )


def only_when_asked(*_: Any, **__: Any) -> bool:
    """For `worth`: it rounds more than its inputs do, or is there to be studied; never a choice."""
    return False


def kernel(
    samples: Samples,
    cost: Callable[..., Cost],
    tolerance: float = 8.0,
    deterministic: bool = True,
) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorate the reference implementation of a kernel.

    Args:
        samples: yields calls to test every implementation on, given a random generator.
        cost: the cost of a call, given its arguments.
        tolerance: how far implementations may differ, in units of the last place times the root of
            the longest sum; a reason for more than the default stands beside it.
        deterministic: whether the reference gives the same bits every time.
    """
    return lambda reference: Kernel(reference, samples, cost, tolerance, deterministic)


@contextmanager
def use(*wishes: str) -> Iterator[None]:
    """Compute with these backends, or `backend:name` implementations, in this thread.

    The reference stays the last resort, where none of them accepts the arguments; `worth` is not
    asked.

    Raises:
        ValueError: for a backend that does not exist; RuntimeError: for one that cannot be used
            here, with the reason.
    """
    for wish in wishes:
        name, _, which = wish.partition(":")
        if name not in BACKENDS:
            raise ValueError(f"use: no backend {name!r}; there are {', '.join(BACKENDS)}")
        if which and not any(
            (i.backend, i.name) == (name, which)
            for k in KERNELS.values()
            for i in k.implementations
        ):
            raise ValueError(f"use: no kernel has an implementation {wish!r}")
        if not BACKENDS[name].available:
            raise RuntimeError(f"use: {name} cannot be used here: {BACKENDS[name].reason}")
    before, _selection.forced = _selection.forced, wishes
    try:
        yield
    finally:
        _selection.forced = before
