"""What minigrad's plugin for pytest does in a test. The plugin's hooks are in `pytest_minigrad`.

This module stands apart from them since pytest imports its plugins at every start.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

import minigrad_kernels as kernels

from ..tensor import Tensor
from . import replay
from .backends import gradcheck_on, observed, place
from .checker.gradcheck import gradcheck
from .checker.verdict import Verdict

AUTOMATIC = "automatic"
"""Stands for the backend where none was asked for: each kernel chooses its implementation."""


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
    """

    def __init__(
        self, name: str, root: str | os.PathLike[str], backend: str | None = None, order: int = 1
    ) -> None:
        self.name = name
        self.path = replay.named(name, root)
        self.backend = backend
        self.order = order
        self.tally: dict[str, Any] = {
            "backend": backend or AUTOMATIC,
            "place": place(backend) if backend else "what each kernel chose",
            "cases": 0,
            "kernels": [],
        }

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
        max_examples: int | None = None,
        **options: Any,
    ) -> Verdict | None:
        """Check a function on inputs, or on those that a Hypothesis strategy draws.

        Args:
            fn: what `gradcheck` takes.
            inputs: what `gradcheck` takes; or a strategy that draws such inputs.
            order: how often to differentiate.
            kind: as for `gradcheck`.
            max_examples: how many inputs the strategy draws; those of the profile by default.
            options: of `gradcheck`.

        Returns:
            the verdict; None for a strategy.

        Raises:
            WrongGradients: unless the gradients are right. A replay has been written.
            TypeError: for `max_examples` without a strategy.
        """
        __tracebackhide__ = True
        if order is None:  # of a pair of NumPy functions there is no second derivative
            order = 1 if isinstance(fn, tuple) else self.order
        if self.backend == "cuda" and isinstance(fn, tuple):
            self.tally["skipped"] = "a pair of NumPy functions does not run on a GPU"
            pytest.skip(f"cuda: {self.tally['skipped']}")
        options = {"order": order, "kind": kind, **options}
        if _is_strategy(inputs):
            self._drawn(fn, inputs, max_examples, options)
            return None
        if max_examples is not None:
            raise TypeError("gradcheck: max_examples is for a strategy, these are inputs")
        verdict = self._verdict(fn, inputs, options)
        if not verdict.ok:
            self.tally["wrong"] = True
            raise WrongGradients(f"{verdict}\n{self._replay(fn, inputs, options)}")
        return verdict

    def marked(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """Check what the marker `gradients` with these arguments asks for; fail the test if wrong.

        The test fails with the verdict as its whole report, also where the arguments are wrong.
        """
        try:
            bound = _MARKER.bind(*args, **options)
        except TypeError as error:
            bound, words = None, str(error)
        if bound is None:
            pytest.fail(f"the marker gradients{_MARKER}: {words}", pytrace=False)
        fn, strategy = bound.args[:2]
        if not callable(fn) and not (isinstance(fn, tuple) and all(map(callable, fn))):
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
        """Check once. What runs is looked at the first time, which is slow."""
        watched: Any = nullcontext({}) if self.tally["cases"] else observed()
        with watched as ran:
            if self.backend is None:
                verdict = gradcheck(fn, inputs, **options)
            else:
                verdict = gradcheck_on(self.backend, fn, inputs, **options)
        if ran:
            here: dict[str, list[str]] = {i.backend: [] for i in ran.values()}
            for label, i in ran.items():
                here[i.backend].append(label.partition(",")[0])
            names = here.get(self.backend, []) if self.backend else _chosen(here)
            self.tally["kernels"] = sorted({*self.tally["kernels"], *names})
        self.tally["cases"] += 1
        return verdict

    def _drawn(
        self, fn: Any, strategy: Any, max_examples: int | None, options: dict[str, Any]
    ) -> None:
        """Check on what a strategy draws, and shrink what fails."""
        __tracebackhide__ = True
        from hypothesis import HealthCheck, given, settings
        from hypothesis.errors import Flaky

        def examples(inputs: Any) -> None:
            inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
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
            self.tally["wrong"] = True
            shown = ", ".join(map(_shown, found.inputs))
            lines = [str(found.verdict), f"the smallest inputs found: {shown}"]
            lines.append(self._replay(fn, found.inputs, options))
            raise WrongGradients("\n".join(lines)) from None
        except Flaky as error:
            raise WrongGradients(
                f"gradcheck: the same inputs give another verdict when they come again: {error}"
            ) from None

    def _replay(self, fn: Any, inputs: Any, options: dict[str, Any]) -> str:
        return replay.saved(fn, inputs, self.path, backend=self.backend, **options)


def _marker(fn, strategy, *, order=1, kind="auto", max_examples=None):  # type: ignore[no-untyped-def]
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
