"""Twenty planted faults: ours finds all of them, complains of nothing else, and names them."""

from __future__ import annotations

import functools
import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from processes import finish, start

from benchmarks.gradient_checkers import (
    FAULTS,
    Twice,
    __main__ as command,
    checkers,
    installed,
    table,
)
from benchmarks.gradient_checkers.windows import Convolution
from minigrad.testing import FAMILIES, gradcheck

BY_NAME = {fault.name: fault for fault in FAULTS}
OTHERS = sorted(set(installed()) - {"minigrad"})


def drawn(name, seed=0):
    return BY_NAME[name].draw(np.random.default_rng(seed))


def close(a, b):
    return all(np.allclose(x, y, rtol=1e-12, atol=1e-12) for x, y in zip(a, b, strict=True))


# The faults are what they say


def test_there_are_twenty_of_known_families():
    assert len(FAULTS) == len(BY_NAME) == 20
    assert {fault.family for fault in FAULTS} <= set(FAMILIES)
    assert [fault.name for fault in FAULTS if fault.order == 2] == ["second order"]


@functools.cache
def ours(name, seed):
    """What ours says of the wrong rule."""
    return checkers.minigrad(drawn(name, seed), True, seed)


@pytest.mark.parametrize("name", BY_NAME)
def test_ours_finds_the_fault_and_nothing_else(name):
    for seed in range(2):
        wrong, right = ours(name, seed), checkers.minigrad(drawn(name, seed), False, seed)
        assert wrong.complains, wrong.says
        assert not right.complains, right.says


def test_the_autopsy_names_the_family_of_most():
    named = [f.name for f in FAULTS if all(f.family in ours(f.name, s).families for s in range(2))]
    assert len(named) >= 15, sorted(set(BY_NAME) - set(named))


@pytest.mark.parametrize("seed", range(12))
def test_a_wrong_sign_is_told_from_an_absolute_value(seed):
    x = [np.array([0.5, -1.0, 2.0])]
    negated = gradcheck((np.sum, lambda g, x: -g * np.ones_like(x)), x, seed=seed)
    assert negated.findings[0].fault == "negated"
    absolute = gradcheck((np.sum, lambda g, x: abs(g) * np.ones_like(x)), x, seed=seed)
    assert not absolute.ok


def test_one_entry_in_10_000_is_wrong():
    problem = drawn("one entry in 10,000")
    right, wrong = (f(1.0, *problem.inputs)[0] for f in (problem.right, problem.wrong))
    assert (right != wrong).sum() == 1 and right.size == 10_000


def test_maximum_is_right_without_ties():
    problem = drawn("ties")
    x = np.random.default_rng(0).permutation(20).reshape(4, 5)
    assert close(problem.right(np.ones(4), x), problem.wrong(np.ones(4), x))


def test_scaling_is_right_without_broadcasting():
    problem = drawn("broadcast inputs")
    x, s, g = np.random.default_rng(0).normal(size=(3, 4, 4))
    assert close(problem.right(g, x, s), problem.wrong(g, x, s))


def test_embedding_is_right_without_repeated_rows():
    problem = drawn("repeated rows")
    g = np.zeros((2, 3, 3))
    g[1] = 1.0  # the second row of ids has no two alike
    right, wrong = problem.right(g, *problem.inputs), problem.wrong(g, *problem.inputs)
    assert close(right, wrong)


def test_variance_is_off_by_a_thousandth():
    problem = drawn("0.1 %")
    right, wrong = (f(1.0, *problem.inputs)[0] for f in (problem.right, problem.wrong))
    np.testing.assert_allclose(wrong / right, 1000 / 1001, rtol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_convolution_is_wrong_only_with_stride_2_and_dilation_2(stride, dilation):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 2, 8, 8)), rng.normal(size=(2, 2, 3, 3))
    conv = Convolution(stride, dilation)
    g = rng.normal(size=conv.forward(x, w).shape)
    right = close(conv.vjp(g, x, w), conv.faulty(g, x, w))
    assert right == ((stride, dilation) != (2, 2))


# The other checkers are asked as their users would


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("fault", ["sign", "transposed", "second order"])
def test_others_find_plain_faults(name, fault):
    check = installed()[name]
    assert check(drawn(fault), True, 0).complains
    assert not check(drawn(fault), False, 0).complains


@pytest.mark.parametrize("name", [n for n in OTHERS if n.startswith("PyTorch")])
def test_a_thousandth_is_within_pytorchs_tolerance(name):
    assert not installed()[name](drawn("0.1 %"), True, 0).complains


def test_others_check_every_input():
    fault = drawn("broadcast inputs")  # only its second gradient is wrong
    for name in OTHERS:
        assert installed()[name](fault, True, 0).complains, name


def test_an_error_of_a_rule_is_not_taken_for_a_verdict():
    def broken(g, x):
        raise RuntimeError("the disk is full")

    sign = drawn("sign")
    problem = type(sign)(sign.forward, broken, broken, sign.inputs)
    for check in installed().values():
        with pytest.raises(RuntimeError, match="the disk is full"):
            check(problem, True, 0)


# The documentation shows how to check functions of other frameworks

FRAMEWORKS = [name for name in ("torch", "jax") if find_spec(name)]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "gradient-testing.md"


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_page_checks_functions_of_other_frameworks(name):
    blocks = re.findall(r"^```py\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(f"import {name}\n")]
    begin = "import numpy as np\nfrom minigrad.testing import assert_gradients, gradcheck\n"
    end = """
doubled = (forward, lambda g, *arrays: tuple(2 * d for d in vjp(g, *arrays)))
print(gradcheck(doubled, [np.array([0.5, -1.0]), np.array([2.0, 1.5])]).findings[0].fault)
"""
    assert finish(start(begin + block + end))[0] == "factor\n"


# The table


def test_asking_counts_draws():
    def check(problem, wrong, seed):
        return checkers.Answer(wrong and seed > 0, 0.5 + seed, families=("factor",) * (seed == 1))

    row = table.ask(BY_NAME["0.1 %"], "minigrad", check, 3)
    assert (row.caught, row.false_alarms, row.named, row.seconds) == (2, 0, 1, 1.5)
    assert row.said == ("factor",)


def about():
    return {
        "commit": "abc", "date": "2026-11-22T00:00:00", "processor": "Some CPU",
        "versions": {"numpy": "2.4", "torch": "2.13"},
    }  # fmt: skip


def rows():
    return [
        table.Row("sign", "negated", "minigrad", 4, 4, 0, 4, ("negated",), 1e-3),
        table.Row("sign", "negated", "PyTorch", 4, 0, 1, 0, (), 2e-3),
        table.Row("ties", "ties", "minigrad", 4, 3, 0, 1, ("factor", "ties"), 3e-3),
        table.Row("ties", "ties", "PyTorch", 4, 4, 4, 0, (), 4e-3),
    ]


def test_the_table_says_what_was_found():
    text = table.markdown(rows(), [BY_NAME["sign"], BY_NAME["ties"]], about())
    assert "the same 4 draws" in text and "PyTorch 2.13" in text
    sign, ties, total, alarms, times = text.splitlines()[-5:]
    assert sign.endswith("| all | none (1) | negated |")
    assert ties.endswith("| 3 of 4 | all (4) | factor / ties (ties in 1 of 4) |")
    assert total.startswith("| all faults in all draws | 7 of 8 | 4 of 8 |")
    assert "1 of 2 faults" in total
    assert alarms == "| false alarms | 0 of 8 | 5 of 8 | |"
    assert times == "| median time of a check | 2.0 ms | 3.0 ms | |"


def test_the_table_is_put_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n")
    table.rewrite(page, "new")
    assert page.read_text() == f"above\n{table.BEGIN}\n\nnew\n\n{table.END}\nbelow\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines"):
        table.rewrite(page, "new")
    assert page.read_text() == "no marks"


def test_command_prints_and_writes(tmp_path, capsys, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"{table.BEGIN}\n{table.END}\n")
    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(command, "FAULTS", [BY_NAME["sign"]])
    monkeypatch.setattr(command, "CHECKERS", {"minigrad": checkers.CHECKERS["minigrad"]})
    monkeypatch.setattr(command, "installed", lambda: {"minigrad": checkers.minigrad})
    assert command.main(["--seeds", "1", "--write"]) == 0
    assert "**sign**" in capsys.readouterr().out
    assert "**sign**" in page.read_text()
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert (row["fault"], row["caught"]) == ("sign", 1)


def test_command_fails_if_ours_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr(command, "FAULTS", [BY_NAME["sign"]])
    for complains in (True, False):
        deaf = {"minigrad": lambda *_, c=complains: checkers.Answer(c, 0.0)}
        monkeypatch.setattr(command, "installed", lambda deaf=deaf: deaf)
        assert command.main(["--seeds", "1"]) == 1


def test_command_refuses_half_a_table(capsys, monkeypatch):
    assert command.main(["--only", "no such fault"]) == 1
    assert "no fault's name" in capsys.readouterr().err
    assert command.main(["--only", "sign", "--write"]) == 1
    monkeypatch.setattr(command, "installed", lambda: {"minigrad": checkers.minigrad})
    assert command.main(["--write"]) == 1
    assert "not installed: PyTorch" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--seeds", "0"])


def test_second_order_faults_are_of_second_order_only():
    twice = [f.draw(np.random.default_rng(0)) for f in FAULTS if f.order == 2]
    assert all(isinstance(problem, Twice) for problem in twice)
    for problem in twice:
        assert gradcheck(checkers._engine_operation(problem, True), problem.inputs).ok
