"""Mutation testing: broken rules are killed; what changes nothing is proven to change nothing."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.cli import main
from minigrad.ops.registry import OPERATIONS, Operation, real, sample
from minigrad.testing.mutation import (
    ENGINE,
    MUTATIONS,
    Mutant,
    Report,
    Result,
    damaged,
    mutate,
    mutated,
    rules,
)
from minigrad.testing.mutation.campaign import Plan, _Worker
from minigrad.testing.mutation.closures import changed, numbers
from minigrad.testing.mutation.judge import Judge
from minigrad.testing.mutation.rules import intercepted
from minigrad.testing.mutation.suite import Suite, TooSlow
from minigrad.testing.mutation.survey import Survey
from minigrad.testing.mutation.targets import Targets, targets

# Together they have every mutation: joint rules, broadcasting, kept values, numbers closed over.
SOME = ["div", "tanh", "roll", "linear"]


@pytest.fixture(autouse=True)
def quick_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests that are run here in other processes draw nothing, and hypothesis loads slowly."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")


@pytest.fixture(scope="module")
def some() -> Report:
    return mutate(SOME)


def slope(f: object, at: float) -> float:
    x = mg.tensor(at, requires_grad=True)
    f(x).backward()  # type: ignore[operator]
    return float(x.grad.item())  # type: ignore[union-attr]


def test_every_mutation_is_killed_somewhere(some: Report) -> None:
    assert {r.mutant.mutation for r in some.of("killed")} == set(MUTATIONS)


def test_the_samples_of_these_operations_notice_everything(some: Report) -> None:
    assert some.ok
    assert some.score == 1.0
    assert not some.of("survived")


def test_no_mutation_is_left_out(some: Report) -> None:
    """Each of a rule's cells has a result, if only that it does not apply, and why."""
    for rule in {r.mutant.rule for r in some.results}:
        kinds = {r.mutant.mutation for r in some.results if r.mutant.rule == rule}
        assert kinds == set(MUTATIONS)
    assert all(r.how for r in some.results)


def test_the_matrix_has_a_row_for_each_rule(some: Report) -> None:
    text = str(some)
    for rule in {r.mutant.rule for r in some.results}:
        (row,) = [line for line in text.splitlines() if line.startswith(rule)]
        assert len(row[len(rule) :].split()) == len(MUTATIONS)
    letters = [line.split(":")[0].split(maxsplit=1) for line in text.splitlines()]
    legend = dict(parts[::-1] for parts in letters if len(parts) == 2 and parts[1] in MUTATIONS)
    assert list(legend) == list(MUTATIONS) and " ".join(legend.values()) in text
    assert "score: 100.0%" in text


def test_killed_mutants_tell_by_what(some: Report) -> None:
    how = {str(r.mutant): r.how for r in some.of("killed")}
    assert any(text.startswith("gradcheck of div(") and "order 1" in text for text in how.values())
    assert any("order 2" in text for text in how.values())


# Equivalent mutants


def test_swapping_equal_rules_is_proven_to_change_nothing() -> None:
    report = mutate(["add"])
    assert report.ok
    equal = {r.mutant.mutation: r.how for r in report.of("equivalent")}
    assert set(equal) == {"swapped"}
    assert "both operands have this same rule" in equal["swapped"]


def test_a_rule_that_gives_zeros_cannot_be_negated() -> None:
    report = mutate(["sign"])
    assert {r.mutant.mutation for r in report.of("equivalent")} >= {"negated", "doubled", "cut"}
    assert all("zeros" in r.how for r in report.of("equivalent"))


def test_what_a_rule_never_reads_cannot_be_stale(some: Report) -> None:
    unread = [r for r in some.of("equivalent") if "never reads" in r.how]
    assert {r.mutant.mutation for r in unread} == {"stale"}
    assert all(r.mutant.rule.startswith("linear") for r in unread)


def test_a_constant_factor_has_no_second_derivative_to_lose() -> None:
    report = mutate(["relu"])
    (r,) = report.of("equivalent")
    assert r.mutant.mutation == "kept constant"
    assert "nothing differentiable leads" in r.how


def test_composed_operations_are_named_as_such() -> None:
    report = mutate(["split", "argmax"])
    assert report.results == []
    assert "getitem" in report.composed["split"]
    assert report.composed["argmax"] == []
    assert "split has no rules of its own" in str(report)
    assert "without derivatives: argmax" in str(report)


# One mutant at a time


def test_mutated_breaks_one_rule_and_mends_it_again() -> None:
    (rule,) = rules("exp")
    before = slope(ops.exp, 1.0)
    with mutated(rule, "negated"):
        assert slope(ops.exp, 1.0) == -before
        assert slope(ops.sin, 0.0) == 1.0
    assert slope(ops.exp, 1.0) == before


def test_references_that_other_modules_hold_are_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    original = mg.record
    with pytest.raises(KeyError), intercepted(lambda operation, edges: edges):
        assert mg.record is not original
        raise KeyError
    assert mg.record is original


def test_one_input_alone_is_broken() -> None:
    a, b = (mg.tensor(n, requires_grad=True) for n in (3.0, 5.0))
    with mutated(rules("mul")[1], "doubled"):
        ops.mul(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (5.0, 6.0)  # type: ignore[union-attr]


def test_one_input_of_a_joint_rule_is_broken() -> None:
    rng = np.random.default_rng(0)
    x, w, b = (mg.tensor(rng.normal(size=s), requires_grad=True) for s in ((4, 3), (2, 3), (2,)))
    v = mg.tensor(rng.normal(size=(4, 2)))
    wanted = mg.grad(ops.linear(x, w, b), [x, w, b], v)
    with mutated(next(r for r in rules("linear") if r.startswith("linear[1]")), "negated"):
        found = mg.grad(ops.linear(x, w, b), [x, w, b], v)
    for sign, g, h in zip((1, -1, 1), found, wanted, strict=True):
        np.testing.assert_allclose(g.data, sign * h.data, rtol=1e-6)  # type: ignore[union-attr]


def test_an_unknown_mutation_is_refused() -> None:
    with pytest.raises(ValueError, match="'halved' is none of negated"):
        mutated("exp[0] lambda:1", "halved")


def test_numbers_that_a_function_closes_over() -> None:
    def rule(axis: int, shape: tuple[int, ...], options: dict[str, object], flag: bool) -> object:
        def inner() -> tuple[object, ...]:
            return axis, shape, options, flag

        return lambda: (axis, shape, options, inner(), flag)

    f = rule(1, (2, 3), {"stride": (1, 2), "name": "x"}, True)
    assert set(numbers(f)) >= {"axis", "shape", "options.stride", "inner>axis", "inner>shape"}
    assert not {"flag", "options.name", "inner>flag"} & set(numbers(f))
    assert changed(f, "axis")()[0] == 2
    assert changed(f, "shape")()[1] == (2, 4)
    assert changed(f, "options.stride")()[2]["stride"] == (1, 3)
    assert changed(f, "inner>axis")()[3][0] == 2
    assert f()[:2] == (1, (2, 3))


# Survivors

VACUOUS = """
    from minigrad import record
    from minigrad.ops.registry import differentiable, real, sample
    from minigrad.tensor import as_tensor

    @differentiable([sample(real(3, low=-2, high=-1))], kind="piecewise")
    def gate(x):
        "The positive part; but its sample has no positive entry, so its rule is never needed."
        x = as_tensor(x)
        return record(gate, x.data * (x.data > 0), (x, lambda g, x: g * (x > 0), x))

    def cube(x):
        x = as_tensor(x)
        return record(cube, x.data**3, (x, lambda g, x: g * 3 * x * x, x))

    def six(x):
        return cube(x) + cube(x)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of a user's, `mutable_ops`."""
    (tmp_path / "mutable_ops.py").write_text(textwrap.dedent(VACUOUS), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    OPERATIONS.pop("gate", None)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_vacuous_sample_lets_mutants_survive(package: Path) -> None:
    """Zeros are no proof that a rule always gives zeros."""
    report = mutate(modules=["mutable_ops"])
    assert not report.ok
    assert report.score < 1.0
    survived = {r.mutant.mutation for r in report.of("survived")}
    assert survived >= {"negated", "doubled", "detached"}
    text = str(report)
    assert {r.how.partition(", and ")[2] for r in report.of("survived")} == {
        "gradcheck does not notice"
    }
    assert "SURVIVED: gate[0] lambda:" in text
    assert "to see it: with mutated('gate[0] lambda:" in text


def test_the_command_fails_for_survivors(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, as always from the command line."""
    arguments = ["mutate", "--module", "mutable_ops", "--processes", "1", "--json", "out.json"]
    assert main(arguments) == 1
    assert "SURVIVED: gate[0]" in capsys.readouterr().out
    written = json.loads((package / "out.json").read_text(encoding="utf-8"))
    assert written["score"] < 1.0
    assert written["counts"]["survived"] == len(
        [m for m in written["mutants"] if m["status"] == "survived"]
    )
    assert {m["operation"] for m in written["mutants"]} == {"gate"}


def test_survivors_are_tried_on_tests_those_that_mention_the_operation_first(package: Path) -> None:
    tests = package / "tests"
    (tests / "deep").mkdir(parents=True)
    body = """
        import minigrad as mg
        import mutable_ops

        def test_something_else():
            x = mg.tensor([0.5, -2.0, 3.0], requires_grad=True)
            getattr(mutable_ops, "ga" + "te")(x).sum().backward()
            assert x.grad.tolist() == [1.0, 0.0, 1.0]

        def test_gate():
            x = mg.tensor([2.0], requires_grad=True)
            mutable_ops.gate(x).backward()
            assert x.grad.item() == 1.0
    """
    (tests / "deep" / "test_user.py").write_text(textwrap.dedent(body), encoding="utf-8")
    suite = Suite(tests, 100)
    operation = Targets(modules=("mutable_ops",)).operations()["gate"]
    (rule,) = Survey(operation, OPERATIONS.__contains__).rules
    file = "pytest tests/deep/test_user.py"
    assert suite.on_rule(Mutant("gate", rule, "negated")) == f"{file}::test_gate"
    # There one entry is all of them.
    assert suite.on_rule(Mutant("gate", rule, "one entry")) == f"{file}::test_something_else"
    # The project's tests use processes of their own; a test that names the operation is the first.
    (package / "pytest.ini").write_text("[pytest]\naddopts = -n 2\n", encoding="utf-8")
    one = Suite(tests / "deep" / "test_user.py", 100)
    assert one.on_rule(Mutant("gate", rule, "doubled")) == f"{file}::test_gate"


def test_without_gradcheck_only_ones_own_tests_judge(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These would notice a sign, and nothing else."""
    (package / "test_signs.py").write_text("def test_cube(): pass", encoding="utf-8")

    def noticed(suite: Suite, mutant: Mutant) -> str:
        return "pytest test_signs.py::test_cube" if mutant.mutation == "negated" else ""

    monkeypatch.setattr(Suite, "on_rule", noticed)
    report = mutate(
        ["mutable_ops:cube"], shapes="2", tests=package / "test_signs.py", gradcheck=False
    )
    assert {r.mutant.mutation for r in report.of("killed")} == {"negated"}
    assert {r.how for r in report.of("killed")} == {"pytest test_signs.py::test_cube"}
    assert len(report.of("survived")) > 5


@pytest.mark.parametrize(
    ("name", "options"),
    [("with_module:Cubes", {"size": 2}), ("with_module:cubes", {"twice": True})],
)
def test_a_module_and_its_parameters(name: str, options: dict, package: Path) -> None:
    body = """
        from minigrad import nn
        from minigrad.nn import Parameter
        import minigrad as mg
        from mutable_ops import cube

        class Cubes(nn.Module):
            def __init__(self, size):
                self.weight = Parameter(mg.ones(size))

            def forward(self, x, twice=False):
                return cube(self.weight) * x * (2 if twice else 1)

        cubes = Cubes(2)
    """
    (package / "with_module.py").write_text(textwrap.dedent(body), encoding="utf-8")
    report = mutate([name], shapes="2", options=options)
    assert report.ok and report.of("killed")
    assert {r.mutant.rule.partition(" ")[0] for r in report.results} == {"cube[0]"}
    with pytest.raises(ValueError, match=r"Cubes\(3, 2.*\) raises ValueError: .*shapes"):
        mutate(["with_module:cubes"], shapes="3")


def test_a_function_with_options_and_classes(package: Path) -> None:
    body = """
        import minigrad as mg

        def picked(x, classes, *, scale):
            x = mg.as_tensor(x)
            rows = mg.arange(len(x))
            y = x.data[rows.data, classes.data] * scale

            def rule(g, x):
                return mg.nn.functional.one_hot(classes, x.shape[1]) * g[:, None] * scale

            return mg.record(picked, y, (x, rule, x))
    """
    (package / "with_options.py").write_text(textwrap.dedent(body), encoding="utf-8")
    report = mutate(["with_options:picked"], shapes="3x4,3:0..3", options={"scale": 2.5})
    assert report.ok and report.of("killed")


def test_tests_that_cannot_be_run_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no files test_"):
        Suite(tmp_path, 10)
    (tmp_path / "test_broken.py").write_text("import no_such_module, exp", encoding="utf-8")
    with pytest.raises(RuntimeError, match="pytest could not run"):
        Suite(tmp_path, 100).on_rule(Mutant("exp", "exp[0] lambda:1", "negated"))
    with pytest.raises(ValueError, match="no tests of the engine"):
        Suite(tmp_path, 10).on_engine("overwritten")


def test_a_test_that_always_fails_kills_nothing(tmp_path: Path) -> None:
    body = "def test_exp():\n    assert False, 'whatever the rule is'\n"
    (tmp_path / "test_wrong.py").write_text(body, encoding="utf-8")
    with pytest.raises(ValueError, match="test_wrong.py::test_exp fails without any mutation"):
        Suite(tmp_path, 100).on_rule(Mutant("exp", rules("exp")[0], "negated"))


def test_tests_that_take_too_long_are_stopped(tmp_path: Path) -> None:
    body = "import time\n\ndef test_exp():\n    time.sleep(1000)\n"
    (tmp_path / "test_slow.py").write_text(body, encoding="utf-8")
    with pytest.raises(TooSlow, match="more than 2 s"):
        Suite(tmp_path, 2).on_rule(Mutant("exp", rules("exp")[0], "negated"))


def test_an_operation_that_is_wrong_to_begin_with_is_an_error() -> None:
    def square(x: mg.Tensor) -> mg.Tensor:
        return mg.record(square, x.data**2, (x, lambda g, x: g * 3 * x, x))

    operation = Operation(square, (sample(real(3)),), (), "smooth")
    survey = Survey(operation, OPERATIONS.__contains__)
    (rule,) = survey.rules
    with pytest.raises(ValueError, match=r"square\(3\) fails without any mutation"):
        Judge(survey)(Mutant("square", rule, "negated"))


# Functions of a user's own


def test_a_function_by_name(package: Path) -> None:
    report = mutate(["mutable_ops:cube"], shapes="2x3")
    assert report.ok
    assert {r.mutant.rule.split()[0] for r in report.results} == {"cube[0]"}
    assert report.of("killed")


def test_a_function_that_has_no_rule_of_its_own(package: Path) -> None:
    """What it uses and is not registered has no samples elsewhere, so it is broken here."""
    report = mutate(["mutable_ops:six"], shapes="scalar")
    assert report.ok
    assert {r.mutant.rule.split()[0] for r in report.results} == {"cube[0]"}


def test_targets_that_there_are_not(package: Path) -> None:
    with pytest.raises(ValueError, match="no operation 'sotfmax'.*did you mean softmax"):
        mutate(["sotfmax"])
    with pytest.raises(ValueError, match="cannot import no_such_package"):
        mutate(modules=["no_such_package.ops"])
    with pytest.raises(ValueError, match="json registers no operations"):
        mutate(modules=["json"])
    with pytest.raises(ValueError, match="mutable_ops has no 'square'"):
        mutate(["mutable_ops:square"], shapes="3")
    with pytest.raises(ValueError, match="json:decoder is a module, wants a function of tensors"):
        mutate(["json:decoder"], shapes="3")
    with pytest.raises(ValueError, match="wants the shapes of its inputs"):
        mutate(["mutable_ops:cube"])
    with pytest.raises(ValueError, match="each is written 3x4, or scalar .*; got '3-4'"):
        mutate(["mutable_ops:cube"], shapes="3-4")
    with pytest.raises(ValueError, match="stands alone"):
        targets(["mutable_ops:cube", "exp"], shapes="3")
    with pytest.raises(ValueError, match="shapes are for a function"):
        targets(["exp"], shapes="3")
    with pytest.raises(ValueError, match="options are for a function"):
        targets(["exp"], options={"dim": 1})
    with pytest.raises(ValueError, match="without gradcheck, tests must judge"):
        mutate(["exp"], gradcheck=False)
    with pytest.raises(ValueError, match="limit must be a positive"):
        mutate(["exp"], limit=0)
    with pytest.raises(ValueError, match="processes must be 0 or more"):
        mutate(["exp"], processes=-1)


def test_the_command_explains_what_it_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutate", "json:dumps", "--shapes", "3", "--no-gradcheck"]) == 2
    assert "without gradcheck, tests must judge" in capsys.readouterr().err
    assert main(["mutate", "sotfmax", "--no-tests", "--processes", "1"]) == 2
    assert "minigrad mutate: no operation 'sotfmax'" in capsys.readouterr().err


def test_the_command_takes_a_function_in_a_file(
    package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that is not the current one, and on one number."""
    (package / "elsewhere").mkdir()
    monkeypatch.chdir(package / "elsewhere")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(package)])
    for shape in ("scalar", "()"):
        options = ["--shapes", shape, "--processes", "1"]
        assert main(["mutate", "../mutable_ops.py:cube", *options]) == 0
        assert "score: 100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [("other.py:cube", "there is no file 'other.py'"),
     ("random.py:cube", "'random.py' cannot be imported as 'random': give it another name"),
     ("my-ops.py:cube", "'my-ops.py' cannot be imported as 'my-ops': give it another name")],
)  # fmt: skip
def test_files_that_the_command_cannot_take(
    name: str, words: str, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("random.py", "my-ops.py"):
        (package / file).write_text("def cube(x): return x", encoding="utf-8")
    assert main(["mutate", name, "--shapes", "3"]) == 2
    assert f"minigrad mutate: {words}" in capsys.readouterr().err


def test_nothing_to_break_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutate", "argmax", "split", "--no-tests", "--processes", "1"]) == 2
    text = capsys.readouterr().out
    assert "nothing to break" in text and "score" not in text


# Processes and time


def test_a_mutant_that_takes_too_long_counts_as_not_noticed(package: Path) -> None:
    slow = """
        import pathlib
        import time
        from minigrad import record
        from minigrad.tensor import as_tensor

        def nap(x):
            x = as_tensor(x)
            return record(nap, x.data * 1, (x, lambda g: doze(g), None))

        def doze(g):
            global calls
            calls += 1
            if calls > 12 and not pathlib.Path("slept").exists():  # once, while a mutant is judged
                pathlib.Path("slept").touch()
                time.sleep(1000)
            return g

        calls = 0
    """
    (package / "napping.py").write_text(textwrap.dedent(slow), encoding="utf-8")
    plan = Plan(targets(["napping:nap"], shapes="2"), limit=2.0)
    worker = _Worker(plan)
    found: list[object] = []
    try:
        worker.perform("nap", found)
    finally:
        worker.stop()
    late = [r for r in found if isinstance(r, Result) and r.status == "timeout"]
    assert len(late) == 1
    assert len([r for r in found if isinstance(r, Result) and r.status == "killed"]) > 5
    report = Report(results=late)
    assert not report.ok
    assert report.score == 0.0


# The engine


@pytest.mark.parametrize("name", ENGINE)
def test_the_engines_mutants_still_find_their_place(name: str) -> None:
    """Each is another program than the engine as it is, and leaves no trace."""
    function = ENGINE[name].function()
    before = function.__code__
    with damaged(name):
        assert function.__code__.co_code != before.co_code or function.__code__ != before
    assert function.__code__ is before


def test_damaged_engines_compute_other_gradients() -> None:
    def twice(x: mg.Tensor) -> mg.Tensor:
        y = ops.sin(x)
        return y * 2 + y * 3

    assert slope(twice, 0.0) == 5.0
    with damaged("overwritten"):
        assert slope(twice, 0.0) in (2.0, 3.0)
    with damaged("counted twice"):
        assert slope(twice, 0.0) in (7.0, 8.0)
    with pytest.raises(ValueError, match="no mutant 'slower', only overwritten"):
        damaged("slower").__enter__()


def test_the_engine_wants_tests() -> None:
    with pytest.raises(ValueError, match="the engine is judged by tests"):
        mutate(["engine"])
    assert targets(["engine", "exp"]).engine
    assert list(targets(["engine", "exp"]).operations()) == ["exp"]
    assert targets(["engine"]).operations() == {}
    assert targets().engine
    assert not targets(["exp"]).engine


def test_the_tests_of_the_engine_kill_a_damaged_one(tmp_path: Path) -> None:
    body = """
        import minigrad as mg

        def test_hook():
            x = mg.tensor(1.0, requires_grad=True)
            seen = []
            y = x * 2
            y.register_hook(lambda g: seen.append(1))
            (y * 3).backward()
            assert seen == [1]
    """
    (tmp_path / "test_autograd.py").write_text(textwrap.dedent(body), encoding="utf-8")
    suite = Suite(tmp_path, 100)
    assert suite.on_engine("hooks skipped").endswith("test_autograd.py::test_hook")
    assert suite.on_engine("leaf hooks skipped") == ""
