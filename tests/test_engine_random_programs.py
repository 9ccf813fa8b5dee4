"""The engine on random graphs, compared with a naive one that follows every path by itself.

The derivative of a result by a value is the sum, over all paths between them in the graph, of the
products of the local derivatives along the path. That is how the naive engine computes it: no
order, no accumulation, no sharing of work; local derivatives are matrices filled by applying the
operation, linear in each operand or elementwise, to unit vectors.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from minigrad import backward, grad, no_grad, ops
from minigrad.tensor import Tensor, wrap
from minigrad.testing import gradcheck
from minigrad.testing.programs import Program, Step, arithmetic_programs
from minigrad.testing.strategies import LAYOUTS

ENGINE = {
    "sin": ops.sin,
    "tanh": ops.tanh,
    "neg": ops.neg,
    "sum": ops.sum,
    "sum_last": lambda x: ops.sum(x, -1) if x.ndim else ops.sum(x),
    "add": ops.add,
    "sub": ops.sub,
    "mul": ops.mul,
    "matmul": ops.matmul,
}
NUMPY = {
    "sin": np.sin,
    "tanh": np.tanh,
    "neg": np.negative,
    "sum": np.sum,
    "sum_last": lambda x: np.sum(x, axis=-1) if np.ndim(x) else np.sum(x),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "matmul": np.matmul,
}
SLOPES = {"sin": np.cos, "tanh": lambda x: 1 - np.tanh(x) ** 2, "neg": lambda x: -np.ones_like(x)}


def local_jacobian(step: Step, slot: int, values: list[np.ndarray]) -> np.ndarray:
    """d result / d operand number `slot`, the other operands fixed, as a matrix of flat arrays."""
    operands = [values[i] for i in step.operands]
    x = operands[slot]
    if step.operation in SLOPES:
        return np.diag(SLOPES[step.operation](x).ravel())
    columns = []
    for i in range(x.size):
        unit = np.zeros(x.shape)
        unit.reshape(-1)[i] = 1.0
        moved = [unit if k == slot else o for k, o in enumerate(operands)]
        if step.operation in ("add", "sub"):  # linear in both together: the other does not matter
            moved = [unit if k == slot else np.zeros(o.shape) for k, o in enumerate(operands)]
        columns.append(np.ravel(NUMPY[step.operation](*moved)))
    return np.stack(columns, axis=1)


def path_sums(
    program: Program, values: list[np.ndarray], v: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For every value the sum over its paths to the result, and the sum of the absolute terms."""
    first = len(program.inputs)
    sums = [np.zeros(x.size) for x in values]
    sizes = [np.zeros(x.size) for x in values]

    def follow(k: int, term: np.ndarray, size: np.ndarray) -> None:
        sums[k] += term
        sizes[k] += size
        if k >= first:
            step = program.steps[k - first]
            for slot, i in enumerate(step.operands):
                j = local_jacobian(step, slot, values)
                follow(i, term @ j, size @ abs(j))

    follow(len(values) - 1, v.ravel(), abs(v).ravel())
    return (
        [s.reshape(x.shape) for s, x in zip(sums, values, strict=True)],
        [s.reshape(x.shape) for s, x in zip(sizes, values, strict=True)],
    )


class Run:
    """A program with numbers: computed by NumPy, and by the engine."""

    def __init__(self, program: Program, seed: int, layout: Any = np.asarray) -> None:
        rng = np.random.default_rng(seed)
        self.program = program
        self.arrays = [layout(rng.uniform(-1.5, 1.5, s)) for s in program.inputs]
        self.v = np.asarray(rng.uniform(0.5, 1.5, program.shapes[-1]) * rng.choice([-1, 1]))
        self.values = [np.asarray(x) for x in program.run(self.arrays, NUMPY)]
        self.wanted, self.sizes = path_sums(program, self.values, self.v)
        self.leaves = [wrap(x).requires_grad_() for x in self.arrays]
        self.tensors: list[Tensor] = program.run(self.leaves, ENGINE)
        self.result = self.tensors[-1]

    def check(self, k: int, gradient: Tensor | None, times: float = 1.0) -> None:
        """The gradient of value k, to rounding: a share of the sum of the paths' absolute terms."""
        found = np.zeros(self.values[k].shape) if gradient is None else gradient.data
        assert found.shape == self.values[k].shape
        bound = 1e-13 * times * (self.sizes[k] + 1e-300)
        assert (abs(found - times * self.wanted[k]) <= bound).all(), (
            f"v{k}: {found} instead of {times * self.wanted[k]} in\n{self.program}"
        )


@pytest.fixture(autouse=True)
def no_growth() -> Iterator[None]:
    """Examples must not leave graphs behind."""
    yield
    gc.collect()


seeds = st.integers(0, 1000)


@given(arithmetic_programs(min_ops=4), seeds, st.sampled_from(LAYOUTS))
def test_backward_sums_over_all_paths(program: Program, seed: int, layout: Any) -> None:
    run = Run(program, seed, layout)
    for x, wanted in zip(run.tensors, run.values, strict=True):
        np.testing.assert_array_equal(x.data, wanted)
    backward(run.result, wrap(run.v))
    for k, x in enumerate(run.leaves):
        run.check(k, x.grad)


@given(arithmetic_programs(min_ops=4), seeds, st.data())
def test_grad_by_any_value_of_the_graph(program: Program, seed: int, data: Any) -> None:
    """By inputs and intermediate values, several at once, twice over one graph."""
    run = Run(program, seed)
    which = data.draw(st.lists(st.integers(0, len(run.tensors) - 1), min_size=1, max_size=4))
    for _ in range(2):
        found = grad(
            run.result,
            [run.tensors[k] for k in which],
            wrap(run.v),
            retain_graph=True,
            allow_unused=True,
        )
        for k, g in zip(which, found, strict=True):
            run.check(k, g)
    assert all(x.grad is None for x in run.leaves)


@given(arithmetic_programs(min_ops=4), seeds)
def test_the_recorded_pass_gives_the_same(program: Program, seed: int) -> None:
    run = Run(program, seed)
    found = grad(run.result, run.leaves, wrap(run.v), create_graph=True, allow_unused=True)
    for k, g in enumerate(found):
        run.check(k, g)


@given(arithmetic_programs(min_ops=4), seeds, st.integers(2, 3))
def test_gradients_accumulate(program: Program, seed: int, times: int) -> None:
    run = Run(program, seed)
    for i in range(times):
        backward(run.result, wrap(run.v), retain_graph=i < times - 1)
    for k, x in enumerate(run.leaves):
        run.check(k, x.grad, times)
    if not run.result.is_leaf:
        with pytest.raises(RuntimeError, match="already freed"):
            backward(run.result, wrap(run.v))


@given(arithmetic_programs(min_ops=4), seeds)
def test_hooks_see_complete_gradients_once(program: Program, seed: int) -> None:
    run = Run(program, seed)
    seen: dict[int, list[Any]] = {k: [] for k in range(len(run.tensors))}
    for k, x in enumerate(run.tensors):
        x.register_hook(lambda g, k=k: seen[k].append(g.data.copy()))
    backward(run.result, wrap(run.v))
    for k, found in seen.items():
        used = run.sizes[k].any()
        assert len(found) <= 1
        if found:
            run.check(k, wrap(found[0]))
        else:
            assert not used, f"v{k} was not visited in\n{program}"


@given(arithmetic_programs(min_ops=4), seeds, st.data())
def test_a_value_computed_without_recording_is_a_constant(
    program: Program, seed: int, data: Any
) -> None:
    """Cutting one value off the graph removes exactly the paths through it."""
    run = Run(program, seed)
    cut = data.draw(st.integers(len(program.inputs), len(run.tensors) - 1))
    values = list(run.leaves)
    for k, step in enumerate(program.steps, len(program.inputs)):
        y = ENGINE[step.operation](*(values[i] for i in step.operands))
        values.append(y.detach() if k == cut else y)
    if not values[-1].requires_grad:
        return
    by_hand = _with_cut(run, cut)
    found = grad(values[-1], run.leaves, wrap(run.v), allow_unused=True)
    for k, g in enumerate(found):
        got = np.zeros(run.values[k].shape) if g is None else g.data
        np.testing.assert_allclose(
            got, by_hand[k], rtol=0, atol=1e-13 * run.sizes[k].max() + 1e-300
        )


def _with_cut(run: Run, cut: int) -> list[np.ndarray]:
    first = len(run.program.inputs)
    sums = [np.zeros(x.size) for x in run.values]

    def follow(k: int, term: np.ndarray) -> None:
        if k == cut:
            return
        sums[k] += term
        if k >= first:
            step = run.program.steps[k - first]
            for slot, i in enumerate(step.operands):
                follow(i, term @ local_jacobian(step, slot, run.values))

    follow(len(run.values) - 1, run.v.ravel())
    return [s.reshape(x.shape) for s, x in zip(sums, run.values, strict=True)]


@given(arithmetic_programs(min_ops=4), seeds)
def test_graphs_are_freed_without_the_collector(program: Program, seed: int) -> None:
    gc.disable()
    try:
        run = Run(program, seed)
        backward(run.result, wrap(run.v), create_graph=False)
        nodes = [weakref.ref(x.node) for x in run.tensors[len(program.inputs) :]]
        del run
        assert all(ref() is None for ref in nodes)
    finally:
        gc.enable()


@given(arithmetic_programs(min_ops=4), seeds)
def test_nothing_is_recorded_under_no_grad(program: Program, seed: int) -> None:
    run = Run(program, seed)
    with no_grad():
        values = program.run(run.leaves, ENGINE)[len(program.inputs) :]
    assert not any(x.requires_grad for x in values)


@settings(max_examples=15)  # second derivatives of a whole program: the other tests are first order
@given(arithmetic_programs(max_ops=5, max_inputs=2), seeds)
def test_second_order_of_random_programs(program: Program, seed: int) -> None:
    run = Run(program, seed)
    verdict = gradcheck(
        lambda *xs: program.run(xs, ENGINE)[-1], run.arrays, order=2, kind="analytic"
    )
    assert verdict.ok, f"{verdict}\n{program}"


def test_the_naive_engine_is_right_where_the_answer_is_known() -> None:
    """x * x + x at 3: three paths, of slopes 3, 3 and 1."""
    program = Program(((),), (Step("mul", (0, 0)), Step("add", (1, 0))), ((), (), ()))
    sums, sizes = path_sums(program, [np.array(3.0), np.array(9.0), np.array(12.0)], np.array(1.0))
    assert sums[0] == 7.0
    assert sizes[0] == 7.0
