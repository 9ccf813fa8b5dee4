"""The pytest plugin, in projects of its own: what it checks, counts, skips and writes."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
import minigrad_kernels
import pytest_minigrad
from minigrad.testing import plugin
from minigrad.testing.backends import place
from minigrad.testing.plugin import _marker, rounded
from pytest_minigrad import BACKENDS, MARKER, PAIRS

FUNCTIONS = """
import numpy as np
import minigrad as mg

def half(x):
    '''x^2 with half its derivative.'''
    return mg.record(half, x.data * x.data, (x, lambda g, x: g * x, x))

def backward(v, x):
    return v * np.cos(x)
"""
HEAD = """
import numpy as np, pytest
from hypothesis import strategies as st
import minigrad as mg
from minigrad.testing.strategies import arrays, shapes
from functions import backward, half
some = arrays((2, 3))
fixed = st.just(np.array([[0.5, -1.25]]))
"""


class Project:
    """A folder with tests, and pytest run in it, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "functions.py").write_text(FUNCTIONS)
        # As in this suite, Hypothesis is patient and draws the same every time.
        (folder / "conftest.py").write_text(
            "from hypothesis import settings\n"
            "settings.register_profile('few', max_examples=4, derandomize=True, database=None)\n"
            "settings.load_profile('few')\n"
        )

    def pytest(self, tests: str, *options: str, head: str = HEAD) -> tuple[int, str]:
        """Write the tests and run them: the status, and everything that was printed."""
        (self.folder / "test_p.py").write_text(head + tests)
        plugins = ["-p", "no:cacheprovider", "-p", "pytest_minigrad", "-W", "error"]
        return self.python("-m", "pytest", "--strict-markers", *plugins, *options)

    def python(self, *command: str) -> tuple[int, str]:
        paths = [str(self.folder), *(os.path.abspath(p) for p in sys.path if p)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def replays(self) -> list[str]:
        return sorted(p.name for p in self.folder.glob(".minigrad/replay/*"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def summary(output: str) -> dict[str, str]:
    """The lines on gradients at the end, by backend."""
    _, found, after = output.partition("- gradients -")
    lines = after.splitlines()[1:] if found else []
    end = next((i for i, line in enumerate(lines) if line.startswith("=")), len(lines))
    return dict(re.split("  +", line, maxsplit=1) for line in lines[:end])


RIGHT = """
@pytest.mark.gradients(mg.softmax, st.tuples(some, st.just(1)))
def test_marker(): pass

@pytest.mark.gradients((np.sin, backward), some, max_examples=3)
def test_pair(): pass

def test_fixture(gradcheck):
    assert gradcheck(mg.tanh, np.ones(3)).ok
    assert gradcheck(mg.tanh, some, max_examples=2) is None

def test_nothing(): pass
"""


ALONE = "verified on arrays of NumPy, whatever the backend: 1 test, 3 cases"


def test_right_gradients_are_counted(project: Project) -> None:
    status, output = project.pytest(RIGHT)
    assert status == 0, output
    line, pairs = summary(output).values()
    assert line.startswith("verified on what each kernel chose: 2 tests, 7 cases; kernels that ")
    assert "softmax (" in line and "tanh (" in line
    assert pairs == ALONE
    assert not project.replays()


def test_each_backend_that_is_here_and_why_others_are_not(project: Project) -> None:
    status, output = project.pytest(RIGHT, f"--minigrad-backends={','.join(BACKENDS)}", "-rs")
    assert status == 0, output
    lines = summary(output)
    assert list(lines) == [*BACKENDS, PAIRS]
    assert lines.pop(PAIRS) == ALONE
    for backend, line in lines.items():
        reason = minigrad_kernels.BACKENDS[backend].reason
        if reason is not None:
            assert line == f"3 tests skipped: {reason}"
            assert f"{backend}: {reason}" in output
            continue
        assert line.startswith(f"verified on {place(backend)}: 2 tests, 7 cases; ")
        assert "kernels that ran: softmax, softmax_gradient, " in line
    assert "test_nothing[" not in output


def test_counts_come_from_the_processes_of_xdist(project: Project) -> None:
    status, output = project.pytest(RIGHT, "-n2", "--minigrad-backends=reference,cuda")
    assert status == 0, output
    lines = summary(output)
    assert list(lines) == ["reference", "cuda", PAIRS] and lines[PAIRS] == ALONE
    assert lines["reference"].startswith(f"verified on {place('reference')}: 2 tests, 7 cases; ")
    if not minigrad_kernels.BACKENDS["cuda"].available:
        assert lines["cuda"].startswith("3 tests skipped: ")


WRONG = """
@pytest.mark.gradients(half, shapes(min_dims=1, max_side=5).flatmap(arrays))
def test_marker(): raise ZeroDivisionError("the body runs only after the check")

def test_fixture(gradcheck):
    gradcheck(half, [np.ones(3)], seed=5)
"""


def test_wrong_gradients_fail_and_leave_replays(project: Project) -> None:
    status, output = project.pytest(WRONG)
    assert status == 1
    assert "gradcheck of half: WRONG" in output
    assert "ZeroDivisionError" not in output and "another exception" not in output
    assert "the smallest inputs found: array([0." in output or "array([-" in output, output
    assert "2 tests WRONG" in summary(output)["automatic"]
    assert project.replays() == ["test_p-test_fixture.py", "test_p-test_marker.py"]
    for name in project.replays():
        path = project.folder / ".minigrad" / "replay" / name
        assert f"replay: {path}" in output
    assert "seed=5" in (path.parent / "test_p-test_fixture.py").read_text()
    again, said = project.python(str(path))
    assert again == 1 and said.startswith("gradcheck of half: WRONG"), said
    # Mended: the functions are imported, and found right.
    mended = FUNCTIONS.replace("g * x, x))", "g * 2 * x, x))")
    (project.folder / "functions.py").write_text(mended)
    again, said = project.python(str(path))
    assert again == 0 and said.startswith("gradcheck of half: right"), said


def test_a_wrong_gradient_on_one_backend(project: Project) -> None:
    tests = """
import minigrad_kernels as kernels
def only_numba(x):
    factor = 2 if kernels.registry._selection.forced == ("numba",) else 1
    return mg.record(only_numba, x.data, (x, lambda g: g * factor, None))
def test_it(gradcheck, minigrad_backend):
    assert minigrad_backend in ("reference", "numba")
    gradcheck(only_numba, np.ones(3), kind="linear")
"""
    status, output = project.pytest(tests, "--minigrad-backends=reference,numba", head=HEAD)
    assert status == 1
    lines = summary(output)
    assert "1 test, 1 case" in lines["reference"] and "none of its kernels ran" in lines["numba"]
    assert lines["numba"].startswith("1 test WRONG")
    assert project.replays() == ["test_p-test_it-numba.py"]
    assert project.python(".minigrad/replay/test_p-test_it-numba.py")[0] == 1


def test_the_order(project: Project) -> None:
    tests = """
def wrong_twice(x):
    x2 = mg.tensor(x.data * 2)
    return mg.record(wrong_twice, x.data * x.data, (x, lambda g, x: g * (x2 if mg.is_grad_enabled() and isinstance(g, mg.Tensor) else 2 * x), x))
@pytest.mark.gradients(wrong_twice, fixed)
def test_unsaid(): pass
@pytest.mark.gradients(wrong_twice, fixed, order=1)
def test_said(): pass
@pytest.mark.gradients((np.sin, backward), fixed)
def test_pair(): pass
"""  # noqa: E501
    assert project.pytest(tests)[0] == 0
    status, output = project.pytest(tests, "--minigrad-order=2")
    assert status == 1
    assert "1 failed, 2 passed" in output and "order 2, input 0" in output


def test_the_type(project: Project) -> None:
    """A rule that is wrong in single precision only."""
    tests = """
def narrow(x):
    return mg.record(narrow, x.data * 2, (x, lambda g: g * (2 if x.dtype == np.float64 else 1), None))
@pytest.mark.gradients(narrow, fixed)
def test_unsaid(): pass
@pytest.mark.gradients(narrow, fixed, dtype="float64")
def test_said(): pass
@pytest.mark.gradients((np.sin, backward), fixed)
def test_pair(): pass
def test_fixture(gradcheck):
    gradcheck(mg.tanh, [np.ones(2)], dtype=mg.float16)
    gradcheck(mg.tanh, np.ones(2))
"""  # noqa: E501
    status, output = project.pytest(tests)
    assert status == 0, output
    counts = "verified on what each kernel chose: 3 tests, 4 cases (1 in float16 too); "
    assert summary(output)["automatic"].startswith(counts)
    status, output = project.pytest(tests, "--minigrad-dtype=float32")
    assert status == 1 and "1 failed, 3 passed" in output
    assert "with inputs of float32: " in output
    lines = summary(output)
    assert (
        "2 tests, 3 cases (1 in float16 too, 1 in float32 too); 1 test WRONG"
        in (lines["automatic"])
    )
    assert lines[PAIRS].endswith("1 test, 1 case (1 in float32 too)")
    path = project.folder / ".minigrad" / "replay" / "test_p-test_unsaid.py"
    assert "dtype='float32'" in path.read_text() and project.python(str(path))[0] == 1
    assert project.pytest(tests, "--minigrad-dtype=single")[0] == 4


def test_inputs_are_rounded_where_they_lie() -> None:
    x = np.linspace(0, 1, 12).reshape(3, 4)[:, ::-2]
    given = [
        x,
        mg.tensor([0.1]).double(),
        0.1,
        [0.1, 0.2],
        3,
        np.array([1, 2]),
        mg.tensor([1]),
        "a",
    ]
    found = rounded(given, np.dtype("f4"))
    assert found[0].strides == (16, -8)
    np.testing.assert_array_equal(found[0], x.astype("f4"))
    assert [y.dtype for y in found[1:4]] == [np.dtype("f4")] * 3
    assert all(a is b for a, b in zip(found[4:], given[4:], strict=True))
    assert rounded(given, None) is given
    assert rounded(x, np.dtype("f2")).dtype == "f2"


# Each test fails, with these words in its report.
FAILING = {
    "@pytest.mark.gradients(fn=mg.tanh)": "missing a required argument: 'strategy'",
    "@pytest.mark.gradients(mg.tanh, some, orders=2)": "None): got an unexpected keyword argument",
    "@pytest.mark.gradients(3, some)": "wants a function or a pair of functions, got int",
    "@pytest.mark.gradients(mg.tanh, np.ones(3))": "wants a Hypothesis strategy of inputs, got nd",
    "@pytest.mark.gradients(mg.tanh, some, kind='round')": "kind 'round' is none of",
    "@pytest.mark.gradients(mg.tanh, some, order=0)": "order must be 1 or more",
    "@pytest.mark.gradients(mg.tanh, some, dtype='int8')": "float32, float16, got 'int8'",
    "gradcheck(mg.tanh, np.ones(2), dtype='single precision')": "dtype must be one of float64,",
    "@pytest.mark.gradients(mg.tanh, st.just('a'))": "none of the inputs is of floating-point type",
    "@pytest.mark.gradients(fails, fixed)": "KeyError: 'planted'",
    "gradcheck(mg.tanh, np.ones(2), max_examples=3)": "max_examples is for a strategy, these are",
    "gradcheck(Model(), np.ones(3))": "replay: cannot be written: an object of type Model is more",
    "class TestIt(unittest.TestCase):": "gradcheck of half: WRONG",
}
PLANTED = """
import unittest
def fails(x): raise KeyError("planted")
class Model:
    __slots__ = ("state",)
    def __call__(self, x): return half(x)
"""


def test_what_a_failing_test_says(project: Project) -> None:
    tests = PLANTED
    for i, code in enumerate(FAILING):
        if code.startswith("@"):
            tests += f"{code}\ndef test_{i}(): pass\n"
        elif code.startswith("class"):
            marked = f"@pytest.mark.gradients(half, fixed)\n    def test_{i}(self): pass"
            tests += f"{code}\n    {marked}\n"
        else:
            tests += f"def test_{i}(gradcheck): {code}\n"
    status, output = project.pytest(tests)
    assert status == 1 and f"{len(FAILING)} failed" in output
    reports = re.split(r"\n_+ (?:TestIt\.)?test_\d+ _+\n", output.partition("- gradients -")[0])[1:]
    for report, words in zip(reports, FAILING.values(), strict=True):
        assert words in report
        assert "During handling of the above" not in report


def test_a_function_that_raises_is_shown_without_the_checker(project: Project) -> None:
    tests = (
        PLANTED
        + """
@pytest.mark.gradients(fails, fixed)
def test_marker(): pass
def test_fixture(gradcheck): gradcheck((fails, backward), [np.ones(2)])
def test_arguments(gradcheck): gradcheck(mg.tanh, [np.ones(2), np.ones(2), 3])
"""
    )
    status, output = project.pytest(tests)
    assert status == 1 and "3 failed" in output
    assert "gradcheck.py" not in output and "promises.py" not in output
    assert output.count(">   def fails") == output.count("E   KeyError: 'planted'") == 2
    assert "E   TypeError: tanh() takes 1 positional argument but 3 were given" in output


def test_methods_of_unittest_cannot_run_on_each_backend(project: Project) -> None:
    tests = """
import unittest
class TestIt(unittest.TestCase):
    @pytest.mark.gradients(half, fixed)
    def test_it(self): pass
"""
    status, output = project.pytest(tests, "--minigrad-backends=reference")
    assert status == 1 and "cannot be run once for each backend" in output


def test_inside_a_test_of_hypothesis(project: Project) -> None:
    tests = """
from hypothesis import given
@given(fixed)
def test_it(gradcheck, x): gradcheck(half, x)
"""
    status, output = project.pytest(tests, "--minigrad-backends=numba")
    assert status == 1 and "gradcheck of half: WRONG" in output
    assert "function_scoped_fixture" not in output
    assert project.replays() == ["test_p-test_it-numba.py"]


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (pytest_minigrad._backends, "fast", "no backend 'fast'; there are reference, numba"),
        (pytest_minigrad._backends, "", "no backend ''"),
        (pytest_minigrad._backends, "numba,,", "no backend ''"),
        (pytest_minigrad._order, "0", "wants a whole number of at least 1, got '0'"),
        (pytest_minigrad._order, "two", "got 'two'"),
    ],
)
def test_options_that_make_no_sense(read: Any, text: str, words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        read(text)


def test_a_bad_option_stops_pytest(project: Project) -> None:
    status, output = project.pytest(RIGHT, "--minigrad-backends=fast")
    assert status == 4 and "no backend 'fast'; there are reference, numba" in output


def test_the_backends_are_those_of_the_kernels() -> None:
    assert set(BACKENDS) == set(minigrad_kernels.BACKENDS)
    assert (plugin.DTYPES, plugin.PAIRS) == (pytest_minigrad.DTYPES, PAIRS)
    assert pytest_minigrad._backends("numba, cuda,numba") == ("numba", "cuda")
    assert pytest_minigrad._order("2") == 2


def test_a_stranger_pays_nothing(project: Project) -> None:
    """Neither minigrad nor NumPy is imported where no test asks for a check."""
    tests = """
def test_it():
    import sys
    loaded = {"minigrad", "minigrad_kernels", "minigrad.testing", "numba", "numpy", "scipy"}
    assert not loaded & set(sys.modules)
"""
    (project.folder / "conftest.py").unlink()
    status, output = project.pytest(tests, "-p", "no:hypothesispytest", head="")
    assert status == 0, output
    assert "gradients" not in output
    status, output = project.pytest(tests, "--minigrad-backends=numba", head="")
    assert status == 0 and summary(output) == {"numba": "no test has checked anything"}, output


def test_help(project: Project) -> None:
    output = project.pytest("", "--help")[1]
    assert "--minigrad-backends=NAMES" in output


def test_the_marker_is_described_with_the_arguments_that_it_takes() -> None:
    name, _, signature = MARKER.partition("): ")[0].partition("(")
    described = re.sub(r"=[^,]+", "", signature).split(", ")
    taken = list(inspect.signature(_marker).parameters)
    assert name == "gradients" and [a for a in described if a != "*"] == taken
