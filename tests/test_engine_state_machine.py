"""The engine against one that sums over all paths, step by step; and against planted faults."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest
from engine_machine import EngineMachine
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from minigrad import Tensor, autograd, graph, inplace, recording
from minigrad.tensor import wrap

enough = settings(max_examples=200, stateful_step_count=40)

TestEngine = EngineMachine.TestCase
TestEngine.settings = enough


# The machine finds faults of an engine


def _rewritten(monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> None:
    """`graph.propagate` with some of its code replaced."""
    code = inspect.getsource(graph.propagate)
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    names = dict(vars(graph))
    exec("from __future__ import annotations\n" + code, names)
    monkeypatch.setattr(graph, "propagate", names["propagate"])


def _in_both_passes(monkeypatch: pytest.MonkeyPatch, name: str, function: Any) -> None:
    for values in (autograd._ArrayValues, autograd._TensorValues):
        monkeypatch.setattr(values, name, staticmethod(function))


def overwrites_where_paths_meet(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, ("pending[parent] + c", "c"))


def passes_on_incomplete_gradients(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, ("(node.turn, node)", "(-node.turn, node)"),
               ("(parent.turn, parent)", "(-parent.turn, parent)"))  # fmt: skip


def overwrites_grad(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(autograd, "_accumulate", lambda x, g, place: setattr(x, "grad", wrap(g)))


def adds_to_grad_of_two_leaves_at_once(patch: pytest.MonkeyPatch) -> None:
    """What a rule returned for two inputs becomes the `grad` of both: one array."""
    _in_both_passes(patch, "own", lambda c, g, part: c)


def uses_overwritten_numbers(patch: pytest.MonkeyPatch) -> None:
    _in_both_passes(patch, "check_unchanged", lambda node: None)


def looks_at_the_clock_the_wrong_way_round(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, ("if node.turn > latest_change:", "if node.turn < latest_change:"))


def never_frees(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, ("if not retain:", "if False:"))


def always_frees(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, ("if not retain:", "if True:"))


def ignores_what_hooks_return(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(autograd, "_replacement", lambda replaced, g, node: g)


def runs_hooks_of_leaves_too_early(patch: pytest.MonkeyPatch) -> None:
    """With each contribution to a leaf's gradient, not with their sum."""
    _rewritten(
        patch,
        (
            "            if parent in pending:",
            "            if is_leaf and parent.hooks is not None:\n"
            "                c = values.hooked(c, parent)\n"
            "            if parent in pending:",
        ),
        ("if leaf.hooks is not None and beyond_wanted:", "if leaf in seeds and leaf.hooks:"),
    )


def averages_where_it_should_sum(patch: pytest.MonkeyPatch) -> None:
    def mean(c: Any, shape: Any, node: Any) -> Any:
        axes = autograd._broadcast_axes(c.shape, shape, node)
        return c.mean(axis=axes, keepdims=True).reshape(shape)

    patch.setattr(autograd._ArrayValues, "fit", staticmethod(mean))


def detaches_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tensor, "detach", lambda t: wrap(t.data, t.node))


def changes_views_behind_the_back_of_their_base(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inplace, "_is_shared_view", lambda t: False)


def goes_back_through_views_of_changed_memory(patch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("minigrad.ops") and hasattr(module, "record_view"):
            patch.setattr(module, "record_view", recording.record)


FAULTS = [
    overwrites_where_paths_meet,
    passes_on_incomplete_gradients,
    overwrites_grad,
    adds_to_grad_of_two_leaves_at_once,
    uses_overwritten_numbers,
    looks_at_the_clock_the_wrong_way_round,
    never_frees,
    always_frees,
    ignores_what_hooks_return,
    runs_hooks_of_leaves_too_early,
    averages_where_it_should_sum,
    detaches_nothing,
    changes_views_behind_the_back_of_their_base,
    goes_back_through_views_of_changed_memory,
]


@pytest.mark.parametrize("plant", FAULTS)
def test_the_machine_finds_faults(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the examples that the test above has; they are not shrunk here."""
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(EngineMachine, settings=settings(enough, phases=[Phase.generate]))
