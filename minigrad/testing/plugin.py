"""What minigrad's plugin for pytest does in a test. The plugin's hooks are in `pytest_minigrad`.

This module stands apart from them since pytest imports its plugins at every start.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import numpy as np
import pytest

import minigrad_kernels as kernels

from ..tensor import Tensor
from . import replay
from .backends import gradcheck_on, observed, place
from .checker.functions import laid_out
from .checker.gradcheck import gradcheck
from .checker.verdict import Verdict

AUTOMATIC = "automatic"
"""Stands for the backend where none was asked for: each kernel chooses its implementation."""

PAIRS = "(forward, vjp)"
"""Stands for the backend of pairs of NumPy functions that no kernel of a backend runs in."""

_CHECKER = (f"{__package__}.backends", f"{__package__}.checker", f"{__package__}.modules")

DTYPES = ("float64", "float32", "float16")


class WrongGradients(AssertionError):
    """A check has failed: the text of the verdict, and where the replay is."""


class _Found(AssertionError):
    """A wrong verdict, among inputs that Hypothesis draws."""

    def __init__(self, inputs: Sequence[Any], verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.inputs = inputs
        self.verdict = verdict


class Checks:
    """The checks that one test makes, on one backend.

    Args:
        name: the test's, which its replay is named after.
        root: the folder below which replays go.
        backend: a name in `minigrad_kernels.BACKENDS`; None where kernels choose.
        order: how often to differentiate, where a check does not say.
        dtype: of the inputs, where a check does not say; None leaves them as they are.

    Attributes:
        tallies: what was checked, for the summary; one for pairs that compute by themselves.
    """

    def __init__(
        self,
        name: str,
        root: str | os.PathLike[str],
        backend: str | None = None,
        order: int = 1,
        dtype: str | None = None,
    ) -> None:
        self.name = name
        self.path = replay.named(name, root)
        self.backend = backend
        self.order = order
        self.dtype = dtype
        self.tallies: list[dict[str, Any]] = []
        self._counted: dict[Any, dict[str, Any]] = {}

    def running(self) -> AbstractContextManager[None]:
        """Kernels run on the backend meanwhile."""
        return kernels.use(self.backend) if self.backend else nullcontext()

    def check(
        self,
        fn: Any,
        inputs: Any,
        *,
        order: int | None = None,
        kind: str = "auto",
        dtype: Any = None,
        max_examples: int | None = None,
        **options: Any,
    ) -> Verdict | None:
        """Check a function on inputs, or on those that a Hypothesis strategy draws.

        Args:
            fn: what `gradcheck` takes.
            inputs: what `gradcheck` takes; or a strategy that draws such inputs.
            order: how often to differentiate.
            kind: as for `gradcheck`.
            dtype: the type that the inputs of floating-point type are rounded to, one of `DTYPES`.
                The gradient is checked in double precision, where they are then, and in this type.
            max_examples: how many inputs the strategy draws; those of the profile by default.
            options: of `gradcheck`.

        Returns:
            the verdict; None for a strategy.

        Raises:
            WrongGradients: unless the gradients are right. A replay has been written.
            TypeError: for `max_examples` without a strategy.
            ValueError: for an unknown type.
        """
        __tracebackhide__ = True
        if order is None:  # of a pair of NumPy functions there is no second derivative
            order = 1 if _is_pair(fn) else self.order
        options = {"order": order, "kind": kind, **options}
        wanted = _type(self.dtype if dtype is None else dtype)
        if _is_strategy(inputs):
            self._drawn(fn, inputs, wanted, max_examples, options)
            return None
        if max_examples is not None:
            raise TypeError("gradcheck: max_examples is for a strategy, these are inputs")
        inputs = rounded(inputs, wanted)
        verdict = self._verdict(fn, inputs, options)
        if not verdict.ok:
            raise WrongGradients(f"{verdict}\n{self._replay(fn, inputs, options)}")
        return verdict

    def marked(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """Check what the marker `gradients` with these arguments asks for; fail the test if wrong.

        The test fails with the verdict as its whole report, also where the arguments are wrong.
        """
        __tracebackhide__ = True
        try:
            bound = _MARKER.bind(*args, **options)
        except TypeError as error:
            bound, words = None, str(error)
        if bound is None:
            pytest.fail(f"the marker gradients{_MARKER}: {words}", pytrace=False)
        fn, strategy = bound.args[:2]
        if not callable(fn) and not (_is_pair(fn) and all(map(callable, fn))):
            pytest.fail(
                "the marker gradients: wants a function or a pair of functions, got "
                f"{type(fn).__name__}",
                pytrace=False,
            )
        if not _is_strategy(strategy):
            pytest.fail(
                "the marker gradients: wants a Hypothesis strategy of inputs, got "
                f"{type(strategy).__name__}",
                pytrace=False,
            )
        try:
            self.check(fn, strategy, **bound.kwargs)
        except WrongGradients as error:
            words = str(error)
        else:
            return
        pytest.fail(words, pytrace=False)  # out here, or the report would show both exceptions

    def _verdict(self, fn: Any, inputs: Any, options: dict[str, Any]) -> Verdict:
        """Check once. What runs is looked at when a function is new, which is slow."""
        __tracebackhide__ = True
        known = self._counted.get(_key(fn))
        watched: Any = observed() if known is None else nullcontext({})
        try:
            with watched as ran, self.running():
                if self.backend is None or _is_pair(fn):
                    verdict = gradcheck(fn, inputs, **options)
                else:
                    verdict = gradcheck_on(self.backend, fn, inputs, **options)
        except Exception as error:
            raise error.with_traceback(_outside(error.__traceback__))  # noqa: B904  # the same one
        if known is None:
            known = self._counted[_key(fn)] = self._tally_for(fn, ran)
        known["cases"] += 1
        known["wrong"] |= not verdict.ok
        for name in _narrow(inputs):
            known["types"][name] = known["types"].get(name, 0) + 1
        return verdict

    def _tally_for(self, fn: Any, ran: Mapping[str, Any]) -> dict[str, Any]:
        """Where a function counts, and the kernels that ran in it, which are noted there."""
        here: dict[str, list[str]] = {i.backend: [] for i in ran.values()}
        for label, i in ran.items():
            here[i.backend].append(label.partition(",")[0])
        names = set(here.get(self.backend, []) if self.backend else _chosen(here))
        if _is_pair(fn) and not names:
            return self._tally(PAIRS, "arrays of NumPy, whatever the backend")
        if self.backend:
            tally = self._tally(self.backend, place(self.backend))
        else:
            tally = self._tally(AUTOMATIC, "what each kernel chose")
        tally["kernels"] = sorted({*tally["kernels"], *names})
        return tally

    def _tally(self, backend: str, where: str) -> dict[str, Any]:
        """The counts of what was checked on a backend; made when first asked for."""
        for tally in self.tallies:
            if tally["backend"] == backend:
                return tally
        new = {"backend": backend, "place": where, "test": self._name(), "cases": 0}
        self.tallies.append(new | {"wrong": False, "types": {}, "kernels": []})
        return self.tallies[-1]

    def _name(self) -> str:
        """The test's, the same on every backend."""
        file, _, values = self.name.partition("[")
        if self.backend:
            values = re.sub(rf"(^|-){self.backend}(?=-|\]$)", "", values)
        return f"{file}[{values}"

    def _drawn(
        self,
        fn: Any,
        strategy: Any,
        wanted: np.dtype[Any] | None,
        max_examples: int | None,
        options: dict[str, Any],
    ) -> None:
        """Check on what a strategy draws, and shrink what fails."""
        __tracebackhide__ = True
        from hypothesis import HealthCheck, given, settings
        from hypothesis.errors import Flaky

        def examples(inputs: Any) -> None:
            __tracebackhide__ = True
            inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
            inputs = rounded(inputs, wanted)
            verdict = self._verdict(fn, inputs, options)
            if not verdict.ok:
                raise _Found(inputs, verdict)

        examples.__name__ = examples.__qualname__ = self.path.stem.replace("-", "_")
        chosen: dict[str, Any] = {} if max_examples is None else {"max_examples": max_examples}
        patient = [*settings().suppress_health_check, HealthCheck.too_slow]
        chosen |= {"suppress_health_check": patient, "report_multiple_bugs": False}
        try:
            profile: Any = settings(deadline=None, **chosen)
            drawing: Any = given(strategy)
            profile(drawing(examples))()
        except _Found as found:
            shown = ", ".join(map(_shown, found.inputs))
            lines = [str(found.verdict), f"the smallest inputs found: {shown}"]
            lines.append(self._replay(fn, found.inputs, options))
            raise WrongGradients("\n".join(lines)) from None
        except Flaky as error:
            raise WrongGradients(
                f"gradcheck: the same inputs give another verdict when they come again: {error}"
            ) from None

    def _replay(self, fn: Any, inputs: Any, options: dict[str, Any]) -> str:
        alone = self._counted[_key(fn)]["backend"] == PAIRS
        backend = None if alone else self.backend
        return replay.saved(fn, inputs, self.path, backend=backend, **options)


def rounded(inputs: Any, dtype: np.dtype[Any] | None) -> Any:
    """The same inputs with those of floating-point type in another one; None leaves them alone.

    They lie in memory as they did. A single input stays one.

    >>> rounded([np.ones(2), 1, 0.5], np.dtype("f4"))
    [array([1., 1.], dtype=float32), 1, np.float32(0.5)]
    """
    if dtype is None:
        return inputs
    if isinstance(inputs, Tensor):
        return inputs.to(dtype) if inputs.dtype.kind == "f" else inputs
    if isinstance(inputs, np.ndarray):
        return laid_out(inputs, dtype) if inputs.dtype.kind == "f" else inputs
    if isinstance(inputs, (float, np.floating)):
        return dtype.type(inputs)
    if isinstance(inputs, (list, tuple)):
        return [rounded(_array(x), dtype) for x in inputs]
    return inputs


def _array(x: Any) -> Any:
    """Numbers in a list are an input, as for `gradcheck`; a list of inputs holds no such lists."""
    if isinstance(x, (list, tuple)) and x and np.asarray(x).dtype.kind == "f":
        return np.asarray(x, dtype=np.float64)
    return x


def _type(dtype: Any) -> np.dtype[Any] | None:
    """The type that inputs are wanted in; None for as they are.

    Raises:
        ValueError: if it is none of `DTYPES`.
    """
    if dtype is None:
        return None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in DTYPES:
        raise ValueError(f"gradcheck: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return found


def _narrow(inputs: Any) -> set[str]:
    """The types in which a check was made beside double precision."""
    many = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    types = {x.dtype for x in many if isinstance(x, (Tensor, np.ndarray, np.generic))}
    return {t.name for t in types if t.kind == "f" and t.itemsize < 8}


def _outside(traceback: TracebackType | None) -> TracebackType | None:
    """From where it has left the checker on: the lines of the function that is checked."""
    found = traceback
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if module.startswith(_CHECKER):
            found = traceback.tb_next
        traceback = traceback.tb_next
    return found


def _is_pair(fn: Any) -> bool:
    return isinstance(fn, (tuple, list))


def _key(fn: Any) -> Any:
    """The same for functions that are made anew whenever a test asks for them."""
    if _is_pair(fn):
        return tuple(map(_key, fn))
    return getattr(fn, "__code__", id(fn))


def _marker(  # type: ignore[no-untyped-def]
    fn, strategy, *, order=1, kind="auto", dtype=None, max_examples=None
):
    """The arguments of the marker, as its errors show them."""


_MARKER = inspect.signature(_marker)


def _chosen(here: dict[str, list[str]]) -> Iterator[str]:
    """The kernels that ran, with the backend that each chose."""
    for backend, names in here.items():
        yield from (f"{name} ({backend})" for name in names)


def _is_strategy(value: Any) -> bool:
    """Whether it is a Hypothesis strategy; Hypothesis is not imported to find out."""
    return any(
        kind.__module__.partition(".")[0] == "hypothesis" and kind.__name__ == "SearchStrategy"
        for kind in type(value).__mro__
    )


def _shown(value: Any) -> str:
    """An input in a report: its numbers if they are few."""
    array = value.data if isinstance(value, Tensor) else value
    if isinstance(array, np.ndarray) and array.size > 12:
        return f"{array.dtype} of shape {array.shape}"
    return " ".join(repr(value).split())
