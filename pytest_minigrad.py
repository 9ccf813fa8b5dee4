"""minigrad's plugin for pytest: checks of gradients, on each backend, counted in the summary.

- The fixture `gradcheck` checks a function, and fails the test unless the gradients are right.
- The marker `gradients(fn, strategy)` checks it on inputs that Hypothesis draws and shrinks.
- `--minigrad-backends=reference,numba,cuda-on-cpu,cuda` runs each such test once on each backend.
- `--minigrad-order=2` differentiates twice where a check does not say how often.
- `--minigrad-dtype=float32` rounds inputs to this type where a check does not say to which.

pytest imports this file at every start, also for projects that test no gradients. It stands outside
of the package so that this costs nothing: the work is in `minigrad.testing.plugin`, imported by the
first check.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from minigrad.testing.plugin import Checks

BACKENDS = ("reference", "numba", "cuda-on-cpu", "cuda")
"""The names in `minigrad_kernels.BACKENDS`, which is not imported here."""

DTYPES = ("float64", "float32", "float16")
PAIRS = "(forward, vjp)"
"""As in `minigrad.testing.plugin`, which is not imported either."""

_CHECKS = pytest.StashKey["Checks"]()
_ITEM = pytest.StashKey[list[pytest.Item]]()
_TALLY = pytest.StashKey[list[dict[str, Any]]]()

MARKER = (
    "gradients(fn, strategy, *, order=1, kind='auto', dtype=None, max_examples=None): check the "
    "gradients of a function or a module, or of a pair (forward, vjp) of NumPy functions, on "
    "inputs drawn by a Hypothesis strategy; then run the test."
)


# Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, also in `pytest --help`."""
    group = parser.getgroup("minigrad", "gradients (minigrad)")
    group.addoption(
        "--minigrad-backends",
        type=_backends,
        metavar="NAMES",
        help=f"check gradients on each of these, of {','.join(BACKENDS)}",
    )
    group.addoption(
        "--minigrad-order",
        type=_order,
        metavar="N",
        help="differentiate so often, where a check does not say (1)",
    )
    group.addoption(
        "--minigrad-dtype",
        choices=DTYPES,
        help="round inputs to this type, where a check does not say, and check in it, too",
    )


def _backends(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in BACKENDS:
            raise argparse.ArgumentTypeError(
                f"no backend {name!r}; there are {', '.join(BACKENDS)}"
            )
    return names


def _order(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wants a whole number of at least 1, got {text!r}")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and count what is checked."""
    config.addinivalue_line("markers", MARKER)
    config.stash[_ITEM] = []
    config.pluginmanager.register(Summary(config), "minigrad-summary")


# Tests


@pytest.fixture
def minigrad_backend(request: pytest.FixtureRequest) -> str | None:
    """The backend that kernels run on in this test; None where each kernel chooses."""
    return getattr(request, "param", None)


@pytest.fixture(scope="session")
def gradcheck(pytestconfig: pytest.Config) -> Callable[..., Any]:
    """As `minigrad.testing.gradcheck`, but a wrong gradient fails the test, and leaves a replay.

    Instead of inputs it also takes a Hypothesis strategy that draws them, and `max_examples`; and
    `dtype`, which the inputs are rounded to.
    """

    def gradcheck(fn: Any, inputs: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        return checks_of(pytestconfig.stash[_ITEM][-1]).check(fn, inputs, **options)

    return gradcheck


def checks_of(item: pytest.Item) -> Checks:
    """The checks that a test makes."""
    if _CHECKS not in item.stash:
        from minigrad.testing.plugin import Checks

        order = item.config.getoption("minigrad_order") or 1
        dtype = item.config.getoption("minigrad_dtype")
        checks = Checks(item.nodeid, item.config.rootpath, _backend(item), order, dtype)
        item.stash[_CHECKS] = checks
        item.stash[_TALLY] = checks.tallies
    return item.stash[_CHECKS]


def _backend(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("minigrad_backend") if callspec else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of gradients becomes one for each backend that was named."""
    names = metafunc.config.getoption("minigrad_backends")
    marked = metafunc.definition.get_closest_marker("gradients") is not None
    used = {"gradcheck", "minigrad_backend"} & set(metafunc.fixturenames)
    if names and (marked or used):
        if "minigrad_backend" not in metafunc.fixturenames:
            metafunc.fixturenames.append("minigrad_backend")
        metafunc.parametrize("minigrad_backend", names, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a backend that is not here, and say why."""
    item.config.stash[_ITEM][:] = [item]
    backend = _backend(item)
    if backend is None:
        return
    from minigrad.testing.backends import unavailable

    reason = unavailable(backend)
    if reason is not None:
        item.stash[_TALLY] = [{"backend": backend, "skipped": reason}]
        pytest.skip(f"{backend}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Check what markers ask for, then run the test; both on its backend."""
    __tracebackhide__ = True
    markers = list(item.iter_markers("gradients"))
    if not markers and _backend(item) is None:
        return (yield)
    if markers and _backend(item) is None and item.config.getoption("minigrad_backends"):
        pytest.fail("the marker gradients: this kind of test cannot be run once for each backend, "
                    "write it as a function", pytrace=False)  # fmt: skip
    checks = checks_of(item)
    with checks.running():
        for marker in markers:
            checks.marked(marker.args, marker.kwargs)
        return (yield)


# The summary


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Hand the counts on with the report: under pytest-xdist it comes from another process."""
    report = yield
    tally = item.stash.get(_TALLY, None)
    if tally is not None and (
        report.when == "call" or (report.when, report.skipped) == ("setup", True)
    ):
        report.minigrad = [dict(t) for t in tally]
    return report


class Summary:
    """Gathers the counts of all tests, wherever they ran, and shows them at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.wanted: tuple[str, ...] = config.getoption("minigrad_backends") or ()
        self.tallies: dict[str, list[dict[str, Any]]] = {name: [] for name in self.wanted}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test has checked."""
        for tally in getattr(report, "minigrad", ()):
            self.tallies.setdefault(tally["backend"], []).append(tally)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line for each backend: verified on what, how many cases, skipped why."""
        if not self.tallies:
            return
        terminalreporter.write_sep("-", "gradients")
        width = max(map(len, self.tallies))
        for backend, tallies in self.tallies.items():
            words = "; ".join(_summed(tallies)) or "no test has checked anything"
            terminalreporter.write_line(f"{backend:<{width}}  {words}")


def _summed(tallies: list[dict[str, Any]]) -> Iterator[str]:
    """What the tests on one backend come to, in words."""
    # A pair that computes by itself is the same test on every backend.
    ran = list({t["test"]: t for t in tallies if t.get("cases")}.values())
    right = [t for t in ran if not t["wrong"]]
    if right:
        places = ", ".join(sorted({t["place"] for t in right}))
        cases = sum(t["cases"] for t in right)
        types: Counter[str] = sum((Counter(t["types"]) for t in right), Counter())
        also = ", ".join(f"{n:,} in {name} too" for name, n in sorted(types.items()))
        counts = f"{_count(len(right), 'test')}, {_count(cases, 'case')}"
        yield f"verified on {places}: {counts}{also and f' ({also})'}"
    if len(ran) > len(right):
        yield f"{_count(len(ran) - len(right), 'test')} WRONG"
    if ran and tallies[0]["backend"] != PAIRS:
        kernels = sorted({k for t in ran for k in t["kernels"]})
        yield f"kernels that ran: {', '.join(kernels)}" if kernels else "none of its kernels ran"
    for reason in dict.fromkeys(t["skipped"] for t in tallies if t.get("skipped")):
        skipped = sum(t.get("skipped") == reason for t in tallies)
        yield f"{_count(skipped, 'test')} skipped: {reason}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
