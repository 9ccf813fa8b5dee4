"""The gradient checker does not accuse rules that are right. 20,000 examples: `benchmarks`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import find

from benchmarks import false_alarms
from benchmarks.false_alarms import Row, check_operation, judge, operations, shared, table
from minigrad import as_tensor, ops, record
from minigrad.ops.registry import OPERATIONS, Operation, real, sample
from minigrad.testing import gradcheck
from minigrad.testing.strategies import operation_calls

# Where kinks, ties and cancellation are: some examples more than the two that the others get.
HARD = {
    **dict.fromkeys(["relu", "abs", "clip", "maximum", "minimum", "max", "amax", "sort"], 8),
    **dict.fromkeys(["sqrt", "where", "max_pool2d", "norm", "layer_norm", "var", "softmax"], 6),
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", operations())
def test_right_rules_are_called_right(name: str) -> None:
    row = check_operation(name, HARD.get(name, 2), first=1)
    assert not row.alarms, "\n".join(f"{call}\n{said}" for call, said in row.alarms)
    assert row.examples and sum(row.statuses.values()) >= row.examples


def test_a_wrong_rule_alarms() -> None:
    """The same judge, on a rule that forgets a factor at a kink only: 2 instead of 0 to 1."""

    def relu(x):  # type: ignore[no-untyped-def]
        x = as_tensor(x)
        slope = np.where(x.data == 0, 2.0, x.data > 0)
        return record(relu, np.maximum(x.data, 0), (x, lambda g, s: g * s, as_tensor(slope)))

    wrong = Operation(relu, (sample(real(3, 4)),), (), "piecewise")
    row = Row("relu", "piecewise")
    for way, alarms in (("separated", 0), ("landmarks", 1)):
        judge(find(operation_calls(wrong, ways=(way,)), lambda c: True), row, "piecewise", 1)
        assert len(row.alarms) == alarms
    call, said = row.alarms[0]
    assert "landmarks" in call and "SUBDIFFERENTIAL" in said
    assert row.examples == 2 and row.statuses["outside"] == 1


def test_exceptions_are_alarms() -> None:
    row = Row("relu", "piecewise")
    judge(find(operation_calls("relu"), lambda c: True), row, "no such kind")
    assert "ValueError" in row.alarms[0][1]


def test_examples_are_shared_by_the_number_of_samples() -> None:
    names = operations()
    tasks = dict(shared(names, 20_000))
    assert sum(tasks.values()) == 20_000 and set(tasks) == set(names)
    assert tasks["matmul"] > 5 * tasks["mm"]
    assert dict(shared(["relu"], 7)) == {"relu": 7}
    assert set(OPERATIONS) - set(names) == set(false_alarms.NO_TENSOR)


def test_the_table_has_a_line_for_each_operation_and_one_for_all() -> None:
    rows = [Row("relu", "piecewise", 3, too_close=1), Row("exp", "analytic", 4)]
    rows[0].statuses.update(equal=2, kink=1)
    rows[1].alarms.append(("exp(3)", "wrong"))
    lines = [line.split() for line in table(rows).splitlines()]
    assert lines[1] == ["relu", "piecewise", "3", "2", "1", "0", "1", "0", "0.0"]
    assert lines[2] == ["exp", "analytic", "4", "0", "0", "0", "0", "1", "0.0"]
    assert lines[3] == ["all", "7", "2", "1", "0", "1", "1", "0.0"]


def test_wrong_arguments_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in ((["relux"], "no operation relux"), (["--examples", "0"], "at least")):
        with pytest.raises(SystemExit, match="2"):
            false_alarms.main(arguments)
        assert words in capsys.readouterr().err


# What kept the checker from false alarms


def test_zeros_that_are_left_by_cancellation_are_no_mistake() -> None:
    """A normalization of equal numbers: derivatives that are zero but for rounding."""
    equal = np.full((3, 4), 0.7)
    for function in (lambda x: ops.softmax(x, 1), lambda x: ops.layer_norm(x, 4), ops.var):
        verdict = gradcheck(
            lambda x, f=function: f(ops.broadcast_to(x[..., :1], (3, 4))), [equal], order=2
        )
        assert verdict.ok, str(verdict)


def test_rounding_hides_no_mistake() -> None:
    """A rule in half precision changes with the last digits too, but by too much."""

    def coarse(x):  # type: ignore[no-untyped-def]
        x = as_tensor(x)
        slope = np.cos(x.data).astype(np.float16).astype(np.float64)
        return record(coarse, np.sin(x.data), (x, lambda g, s: g * s, as_tensor(slope)))

    assert not gradcheck(coarse, [np.linspace(0.1, 2, 12)], kind="smooth").ok


def test_a_tiny_gradient_that_is_left_out_is_a_mistake() -> None:
    """4e-44 is no rounding of zero."""

    def shifted(x):  # type: ignore[no-untyped-def]
        x = as_tensor(x)
        return record(shifted, np.exp(x.data - 100), (x, lambda g: g * 0, None))

    assert not gradcheck(shifted, [np.array([0.5, 1.0])], kind="smooth").ok


def test_at_a_kink_there_is_no_second_order() -> None:
    for function, x in ((ops.relu, [0.0, 1.0]), (ops.abs, [0.0, -1.0]), (ops.amax, [1.0, 1.0])):
        verdict = gradcheck(function, [np.array(x)], order=2, kind="piecewise")
        assert verdict.ok, str(verdict)
        assert {f.order for f in verdict.findings} == {1}
        assert "no higher derivatives" in str(verdict)


def test_a_function_may_refuse_what_is_outside_its_domain() -> None:
    """Oracles try numbers that are far from the point."""

    def strict(x):  # type: ignore[no-untyped-def]
        if (as_tensor(x).data <= 0).any():
            raise ValueError("wants positive numbers")
        return ops.log(x)

    verdict = gradcheck(strict, [np.array([1e-4, 0.5, 2.0])], order=2, kind="smooth")
    assert verdict.ok, str(verdict)
