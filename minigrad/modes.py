"""What a thread records, and who watches: `no_grad` and its kin, `observe`, `detect_anomaly`."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from .graph import Observer, mode, modified


class _RecordingMode:
    """Switches recording in the current thread: a context, or a decorator of a function."""

    wanted = True
    _before: list[dict[str, Any]]

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        self._before = []
        if function is not None and not callable(function):
            raise TypeError(f"{cls.__name__}: wants a function, got {type(function).__name__}")
        return self if function is None else self(function)

    def __enter__(self) -> None:
        self._before.append(mode.set(recording=self.wanted))

    def __exit__(self, *_: object) -> None:
        mode.set(**self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"{type(self).__name__}: cannot decorate a generator function")

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return inner


class no_grad(_RecordingMode):
    """Compute without recording, in this thread: nothing inside can be differentiated.

    A context, or a decorator: `@no_grad()` or `@no_grad`.
    """

    wanted = False


class enable_grad(_RecordingMode):
    """Record again inside a `no_grad`."""


class set_grad_enabled:
    """Record from now on, or not, in this thread: for good, or as a context to its end.

    Or a decorator, as `enable_grad` and `no_grad` are.
    """

    def __init__(self, enabled: bool) -> None:
        self._mode = enable_grad if enabled else no_grad
        self._before = mode.set(recording=bool(enabled))

    def __enter__(self) -> None:
        pass  # recording was switched already

    def __exit__(self, *_: object) -> None:
        mode.set(**self._before)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with recording switched while it runs; here it is switched back."""
        mode.set(**self._before)
        decorated: Callable[..., Any] = self._mode(function)
        return decorated


def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread."""
    return mode.recording


# Watching


@contextlib.contextmanager
def observe(observer: Observer) -> Iterator[Observer]:
    """Tell `observer` of everything this thread records and every event of its backward passes."""
    with modified(observers=(*mode.observers, observer)):
        yield observer


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Check every contribution in backward: NaN or infinity names the operation and your line.

    Put both forward and backward inside, so that lines are recorded.

    Raises:
        FloatingPointError: in backward, at the first rule that returns NaN or infinity.
    """
    with modified(check_finite=True):
        yield
