"""The Hypothesis strategies draw what they promise; operations are right on what they draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings, strategies as st

from minigrad import Tensor, as_tensor, grad, ops, record
from minigrad.ops.registry import OPERATIONS
from minigrad.tensor import wrap
from minigrad.testing import gradcheck, strategies as draws
from minigrad.testing.programs import arithmetic_programs, fit, programs

few = settings(max_examples=15)  # each example is a Jacobian; the geometries are small

SHAPES = draws.shapes(max_dims=3, max_side=4, min_side=0)


@given(draws.broadcastable(3))
def test_broadcastable_shapes_broadcast(shapes: Any) -> None:
    assert len(shapes) == 3
    np.broadcast_shapes(*shapes)


@given(SHAPES, st.data())
def test_layouts_keep_the_numbers(shape: Any, data: Any) -> None:
    x = data.draw(draws.arrays(shape))
    for layout in draws.LAYOUTS:
        y = layout(x)
        np.testing.assert_array_equal(x, y)
        assert y.shape == x.shape
        assert not np.shares_memory(x, y)


def test_layouts_are_what_they_say() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert draws.column_major(x).flags.f_contiguous
    assert draws.reversed_strides(x).strides == (-24, -8)
    assert draws.gaps(x).strides == (48, 16)
    assert draws.repeated(x).strides[-1] == 0
    np.testing.assert_array_equal(draws.repeated(x), [[0, 0, 0], [3, 3, 3]])


@given(draws.shapes(max_dims=2, max_side=6), st.data())
def test_values_are_separated_tied_or_not_small(shape: Any, data: Any) -> None:
    x = np.sort(data.draw(draws.separated(shape)), axis=None)
    assert (np.diff(x) > 0.05).all() and (abs(x) > 0.01).all()
    tied = data.draw(draws.tied(shape, values=2))
    assert set(np.unique(tied)) <= {0.0, 1.0}
    v = data.draw(draws.cotangents(shape, dtype=np.float32))
    assert v.dtype == np.float32
    assert (abs(v) >= 0.5).all() and (abs(v) <= 1.5).all()


@given(
    draws.shapes(max_dims=2, max_side=5, min_side=0),
    st.sampled_from([1e-3, 0.05, 0.15]),
    st.sampled_from([np.float64, np.float32, np.float16]),
    st.data(),
)
def test_separated_numbers_keep_the_gap(shape: Any, gap: float, dtype: Any, data: Any) -> None:
    """After rounding to the type too: between each other, and half of it to the kinks."""
    avoid = (0.0, 1.0, -1.9, 3.0)
    x = data.draw(draws.separated(shape, gap, -3.0, 3.0, dtype, avoid))
    assert x.shape == shape and x.dtype == dtype
    exact = x.astype(np.float64)
    assert (np.diff(np.sort(exact, axis=None)) >= gap).all()
    assert all((abs(exact - p) >= gap / 2).all() for p in avoid)
    assert (abs(exact) <= 3.0).all()


@given(draws.shapes(min_dims=1, min_side=2), st.integers(1, 9), st.data())
def test_tied_numbers_are_tied(shape: Any, values: int, data: Any) -> None:
    x = data.draw(draws.tied(shape, values))
    assert len(np.unique(x)) < x.size
    assert set(np.unique(x)) <= set(range(values))


@given(st.sampled_from([np.float16, np.float32, np.float64]), st.data())
def test_subnormal_numbers_only_where_they_are_numbers(dtype: Any, data: Any) -> None:
    def subnormal(x: np.ndarray) -> bool:
        return bool(((x != 0) & (abs(x) < np.finfo(dtype).tiny)).any())

    flushed = dtype == np.float32  # a GPU's single precision
    assert draws.flushes_subnormals("cuda:0", dtype) == flushed
    assert not draws.flushes_subnormals("cpu", dtype)
    assert not draws.flushes_subnormals("cuda-on-cpu", dtype)
    on_gpu = data.draw(draws.extremes((40,), dtype, device="cuda"))
    if flushed:
        assert not subnormal(on_gpu)
    assert not subnormal(data.draw(draws.extremes((40,), dtype, subnormals=False)))
    assert on_gpu.dtype == dtype
    tiny = float(np.finfo(dtype).tiny)
    small = data.draw(draws.arrays((40,), -tiny, tiny, dtype, device="cuda"))
    assert subnormal(small) != flushed


def test_extreme_numbers_are_drawn() -> None:
    for number in (0.0, np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal):
        find(
            draws.extremes((8,), np.float32),
            lambda x, number=number: bool((abs(x) == number).any()),
        )


@given(st.integers(1, 40), st.data())
def test_block_edges(block: int, data: Any) -> None:
    size = data.draw(draws.block_edges(block))
    edges = {0, 1, block - 1, block, block + 1, 2 * block + 1}
    assert size in edges or (size > block + 1 and all(size % d for d in range(2, size)))


@given(draws.tensors())
def test_tensors_require_gradients(x: Any) -> None:
    assert isinstance(x, Tensor)
    assert x.requires_grad and x.dtype == np.float64


@given(draws.tensors((2, 3), np.float32, draws.separated, draws.gaps))
def test_tensors_as_asked_for(x: Any) -> None:
    assert x.shape == (2, 3) and x.dtype == np.float32
    assert len(np.unique(x.data)) == 6 and not x.is_contiguous()


@given(draws.tensors((3, 4), layout=draws.layouts(zero_stride=True), requires_grad=False))
def test_tensors_may_repeat_their_numbers(x: Any) -> None:
    assert x.shape == (3, 4) and not x.requires_grad
    distinct = len(np.unique(x.data))
    assert distinct == (3 if x.data.strides[-1] == 0 else 12)


@given(draws.conv2d_problems())
def test_convolution_problems_have_an_output(p: Any) -> None:
    for i in range(2):
        span = (p.kernel[i] - 1) * p.dilation[i] + 1
        assert p.x[2 + i] + 2 * p.padding[i] >= span
    assert p.x[1] % p.groups == 0 and p.weight[0] % p.groups == 0


@given(draws.pool2d_problems())
def test_pooling_problems_have_an_output_and_little_padding(p: Any) -> None:
    for i in range(2):
        assert p.x[2 + i] + 2 * p.padding[i] >= (p.kernel[i] - 1) * p.dilation[i] + 1
        assert 2 * p.padding[i] <= p.kernel[i]


# Operations on drawn problems, to second order


def check(function: Any, arrays: list[np.ndarray], kind: str) -> None:
    verdict = gradcheck(function, arrays, order=2, kind=kind)
    assert verdict.ok, str(verdict)


@few
@given(draws.matmul_problems(max_side=3), st.data())
def test_matmul_of_any_shapes(p: Any, data: Any) -> None:
    a, b = data.draw(draws.arrays(p.a)), data.draw(draws.arrays(p.b))
    np.testing.assert_allclose(ops.matmul(a, b).data, np.matmul(a, b), rtol=1e-13, atol=1e-13)
    check(ops.matmul, [a, b], "bilinear")


@few
@given(draws.conv2d_problems(max_kernel=2, max_extra=2), st.data())
def test_conv2d_of_any_geometry(p: Any, data: Any) -> None:
    x, w = data.draw(draws.arrays(p.x)), data.draw(draws.arrays(p.weight))
    check(
        lambda x, w: ops.conv2d(x, w, None, p.stride, p.padding, p.dilation, p.groups),
        [x, w],
        "bilinear",
    )


@few
@given(draws.pool2d_problems(max_extra=2), st.booleans(), st.data())
def test_pooling_of_any_geometry(p: Any, ceil_mode: bool, data: Any) -> None:
    x = data.draw(draws.separated(p.x))
    check(
        lambda x: ops.max_pool2d(x, p.kernel, p.stride, p.padding, p.dilation, ceil_mode),
        [x],
        "piecewise",
    )
    check(lambda x: ops.avg_pool2d(x, p.kernel, p.stride, p.padding, ceil_mode), [x], "linear")


@few
@given(draws.broadcastable(2), st.sampled_from(["add", "sub", "mul", "div"]), st.data())
def test_arithmetic_broadcasts(shapes: Any, name: str, data: Any) -> None:
    a = data.draw(draws.arrays(shapes[0]))
    b = data.draw(draws.arrays(shapes[1], low=0.5))
    kinds = {"add": "linear", "sub": "linear", "mul": "bilinear", "div": "analytic"}
    check(getattr(ops, name), [a, b], kinds[name])


def test_drawn_geometries_tell_dilation_from_none() -> None:
    """A convolution that ignores its dilation is found out by some drawn problem."""

    @settings(max_examples=300)  # no Jacobians here
    @given(draws.conv2d_problems(max_kernel=2, max_extra=2), st.integers(0, 100))
    def spoilt(p: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=p.x), rng.normal(size=p.weight)
        right = ops.conv2d(x, w, None, p.stride, p.padding, p.dilation, p.groups)
        wrong = ops.conv2d(x, w, None, p.stride, p.padding, 1, p.groups)
        assert right.shape == wrong.shape and np.allclose(right.data, wrong.data)

    with pytest.raises(AssertionError):
        spoilt()


# Programs


@given(draws.shapes().flatmap(draws.arrays), draws.shapes(min_dims=1), st.data())
def test_fit_fills_a_shape_between_bounds(x: Any, shape: Any, data: Any) -> None:
    y = fit(x, shape, 0.3, 2.0).data
    assert y.shape == shape and (y > 0.3).all() and (y < 2.0).all()
    n = y.size
    wanted = np.resize(x, n)
    np.testing.assert_array_equal(fit(x, shape).data.ravel(), wanted)
    np.testing.assert_allclose(y.ravel(), 1.15 + 1.7 / np.pi * np.arctan(wanted), rtol=1e-12)


def test_fit_needs_an_element() -> None:
    with pytest.raises(ValueError, match="nothing to fill"):
        fit(np.zeros((2, 0)), (3,))


@given(programs(max_ops=6))
def test_a_program_is_the_code_that_it_prints(program: Any) -> None:
    names: dict[str, Any] = {"ops": ops, "np": np, "fit": fit}
    exec(str(program), names)
    inputs = program.arrays(seed=1)
    y = program(*inputs)
    np.testing.assert_array_equal(names["program"](*inputs).data, y.data)
    assert y.shape == program.shapes[-1] and np.isfinite(y.data).all()
    assert [v.shape for v in program.run(program.arrays())] == list(program.shapes)


@settings(max_examples=30)  # each example is a Jacobian of a whole program
@given(programs(max_ops=4), st.integers(0, 100))
def test_programs_of_all_operations_have_right_gradients(program: Any, seed: int) -> None:
    verdict = gradcheck(program, program.arrays(seed), kind=program.kind)
    assert verdict.ok, f"{verdict}\n{program}"


def test_every_differentiable_operation_can_be_part_of_a_program() -> None:
    cannot = set()
    for name, operation in OPERATIONS.items():
        try:
            programs(operations=[name])
        except ValueError:
            if operation.kind != "constant":
                cannot.add(name)
    assert cannot == {"std"}


def test_a_failing_program_shrinks_to_the_operation_at_fault() -> None:
    """A cosh whose gradient is doubled: one step is left of a random graph."""

    def spoilt_cosh(x: Any) -> Any:
        x = as_tensor(x)
        return record(spoilt_cosh, np.cosh(x.data), (x, lambda g, x: 2 * g * ops.sinh(x), x))

    def fails(program: Any) -> bool:
        leaves = [wrap(x).requires_grad_() for x in program.arrays()]
        spoilt = program.run(leaves, {"cosh": spoilt_cosh})[-1]
        right = program.run(leaves)[-1]
        if not right.requires_grad:
            return False
        found = [grad(y, leaves, np.ones(y.shape), allow_unused=True) for y in (spoilt, right)]
        return any(
            a is not None and b is not None and not np.allclose(a.data, b.data)
            for a, b in zip(*found, strict=True)
        )

    names = ["add", "cosh", "matmul", "sin", "sum", "tanh"]
    smallest = find(
        programs(max_ops=8, operations=names), fails, settings=settings(max_examples=2000)
    )
    assert [step.operation for step in smallest.steps] == ["cosh"]
    assert len(smallest.inputs) == 1


def test_arithmetic_programs_run_in_any_framework() -> None:
    functions = {
        **{name: getattr(np, name) for name in ("sin", "tanh", "matmul")},
        "neg": np.negative,
        "sum": np.sum,
        "sum_last": lambda x: np.sum(x, axis=-1) if np.ndim(x) else x,
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
    }
    program = find(arithmetic_programs(min_ops=3), lambda p: True)
    values = program.run(program.arrays(), functions)
    assert [np.shape(v) for v in values] == list(program.shapes)
    with pytest.raises(ValueError, match="wants 1 inputs, got 0"):
        program.run([], functions)


# Calls of operations


@given(draws.operation_calls())
def test_calls_stay_in_the_domain(call: Any) -> None:
    result = call(*map(wrap, call.arrays))
    for y in result if isinstance(result, (tuple, list)) else [result]:
        if isinstance(y, Tensor) and y.is_floating_point():
            assert np.isfinite(y.data).all() or call.kind == "constant", str(call)


def test_calls_go_to_the_kinks() -> None:
    for way, reached in {
        "landmarks": lambda x: (x == 0).any(),
        "beside": lambda x: ((x != 0) & (abs(x) < 1e-6)).any(),
        "ties": lambda x: 0 < len(np.unique(x)) < x.size,
        "random": lambda x: len(np.unique(x)) == x.size > 1,
    }.items():
        strategy = draws.operation_calls("relu", ways=(way,))
        call = find(strategy, lambda c, reached=reached: bool(reached(c.arrays[0])))
        assert call.ways == (way,)


@pytest.mark.parametrize("layout", ["column-major", "reversed", "gaps", "zero stride"])
def test_calls_lay_their_tensors_out(layout: str) -> None:
    """The operation meets tensors whose memory is not row-major."""
    met = []

    def watch(x: Any) -> Any:
        met.append(x.data)
        return x

    call = find(
        draws.operation_calls("amax"), lambda c: c.layouts[0] == layout and c.arrays[0].ndim == 3
    )
    watched = replace(call, call=replace(call.call, function=lambda x, *a, **o: watch(x)))
    y = watched(*map(wrap, call.arrays))
    assert not y.data.flags.c_contiguous
    if layout != "zero stride":
        np.testing.assert_array_equal(y.data, call.arrays[0])


# Wrong arguments


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (ValueError, "max_dims must be at least 2", lambda: draws.shapes(max_dims=1, min_dims=2)),
        (TypeError, "max_side must be an integer", lambda: draws.shapes(max_side=2.5)),
        (ValueError, "n must be at least 1", lambda: draws.broadcastable(0)),
        (ValueError, "block must be at least 1", lambda: draws.block_edges(0)),
        (TypeError, "block must be an integer, got bool", lambda: draws.block_edges(True)),
        (TypeError, "shape must be a tuple", lambda: draws.arrays("3x4")),
        (ValueError, "every side", lambda: draws.arrays((2, -1))),
        (ValueError, "finite low < high", lambda: draws.arrays((2,), 1.0, 1.0)),
        (ValueError, "finite low < high", lambda: draws.arrays((2,), 0.0, np.inf)),
        (TypeError, "floating-point type, got int64", lambda: draws.arrays((2,), dtype=int)),
        (ValueError, "none of cpu, cuda", lambda: draws.arrays((2,), device="tpu")),
        (ValueError, "none of cpu, cuda", lambda: draws.extremes((2,), device="cudacpu")),
        (ValueError, "a positive number, got 0", lambda: draws.separated((3,), 0.0)),
        (ValueError, "9 numbers that are 1.0 apart", lambda: draws.separated((3, 3), 1.0)),
        (ValueError, "values must be at least 1", lambda: draws.tied((3,), 0)),
        (TypeError, "floating-point type", lambda: draws.cotangents((3,), dtype=bool)),
        (TypeError, "elements must be a function", lambda: draws.tensors((3,), elements=3)),
        (TypeError, "layout must be a function", lambda: draws.tensors((3,), layout="gaps")),
        (ValueError, "max_side must be at least 1", lambda: draws.matmul_problems(0)),
        (ValueError, "max_kernel must be at least 1", lambda: draws.conv2d_problems(0)),
        (ValueError, "max_extra must be at least 0", lambda: draws.pool2d_problems(1, -1)),
        (KeyError, "no operation 'relux'", lambda: draws.operation_calls("relux")),
        (ValueError, "way 'kinks' is none", lambda: draws.operation_calls(ways=("kinks",))),
        (ValueError, "at least one way", lambda: draws.operation_calls(ways=())),
        (ValueError, "max_ops must be at least 3", lambda: programs(2, min_ops=3)),
        (ValueError, "max_inputs must be at least 1", lambda: programs(max_inputs=0)),
        (KeyError, "no operation relux", lambda: programs(operations=["relux"])),
        (ValueError, "no sample of argmax", lambda: programs(operations=["argmax"])),
        (ValueError, "at least one operation", lambda: programs(operations=[])),
        (ValueError, "min_ops must be at least 1", lambda: arithmetic_programs(min_ops=0)),
    ],
)
def test_wrong_arguments_are_refused_at_once(error: Any, match: str, call: Any) -> None:
    with pytest.raises(error, match=match):
        call()
