"""Elementwise operations: values, types, edges. All gradients: see test_every_operation."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.special
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import ops

UNARY = {
    "neg": np.negative,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: x**-0.5,
    "square": np.square,
    "reciprocal": lambda x: 1 / x,
    "abs": np.abs,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "erf": scipy.special.erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "trunc": np.trunc,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "logical_not": np.logical_not,
}
BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "pow": np.power,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "atan2": np.arctan2,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "isclose": np.isclose,
}
KEEP_INTEGERS = {"neg", "square", "abs", "sign", "floor", "ceil", "round", "trunc"}
TRUTHS = {"isnan", "isinf", "isfinite", "logical_not"}


def leaf(data, dtype=np.float64):
    return mg.tensor(np.asarray(data, dtype), requires_grad=True)


def gradients(function, *data):
    """The gradients of the sum of the results."""
    xs = [leaf(x) for x in data]
    return [g.tolist() for g in mg.grad(function(*xs).sum(), xs)]


def second_gradient(function, x):
    """The derivative of the sum of the derivatives of the sum of the results."""
    x = leaf(x)
    (g,) = mg.grad(function(x).sum(), x, create_graph=True)
    return mg.grad(g.sum(), x)[0].tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_one_operand_is_numpys(name, dtype):
    x = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4)).astype(dtype)[:, ::2]
    y = getattr(mg, name)(x)
    np.testing.assert_allclose(y.numpy(), UNARY[name](x), rtol=4 * np.finfo(dtype).eps)
    assert y.dtype == (np.bool_ if name in TRUTHS else dtype)


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_integers_gives_the_default_type_or_integers(name):
    y = getattr(mg, name)(np.array([1]))
    expected = np.int64 if name in KEEP_INTEGERS else np.bool_ if name in TRUTHS else np.float32
    assert y.dtype == expected
    np.testing.assert_allclose(y.numpy(), UNARY[name](np.array([1.0])), rtol=1e-6)


@given(data=st.data())
@pytest.mark.parametrize("name", BINARY)
def test_a_function_of_two_operands_is_numpys_with_broadcasting(name, data):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_side=3)).input_shapes
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a, b = (rng.integers(1, 9, shape) / 4 for shape in shapes)
    y = getattr(mg, name)(mg.tensor(a), mg.tensor(b))
    wanted = BINARY[name](a, b)
    assert y.shape == wanted.shape
    assert y.dtype == wanted.dtype
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-15)


@pytest.mark.parametrize("name", ["add", "mul", "div", "pow", "maximum", "remainder", "atan2"])
@pytest.mark.parametrize("number", [2, 2.5, np.float64(2.5)])
def test_a_number_takes_the_tensors_type(name, number):
    function = getattr(mg, name)
    x = mg.tensor([1.0, 3.0])
    assert function(x, number).dtype == function(number, x).dtype == np.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x + 300,
        lambda x: -1 * x,
        lambda x: mg.maximum(x, 10**30),
        lambda x: x.to(mg.float32) + 10**400,
    ],
)
def test_a_number_that_the_tensors_type_cannot_hold_is_refused(call):
    with pytest.raises(ValueError, match="(add|mul|maximum): the number -?[0-9]+ does not fit"):
        call(mg.tensor([1], dtype=mg.uint8))


def test_operators_on_bits_are_numpys():
    a, b = np.array([6, -5, 0]), np.array([3, 9, 1])
    x, y = mg.tensor(a), mg.tensor(b)
    pairs = [(x & y, a & b), (x | y, a | b), (x ^ y, a ^ b), (~x, ~a), (6 & x, 6 & a)]
    pairs += [(mg.tensor(a > 0) & mg.tensor(b > 1), (a > 0) & (b > 1)), (~mg.tensor(a > 0), a <= 0)]
    for found, wanted in pairs:
        np.testing.assert_array_equal(found.data, wanted)
        assert found.dtype == wanted.dtype


def test_the_angle_at_the_origin_has_no_gradient():
    assert gradients(mg.atan2, [0.0, 1.0], [0.0, 1.0]) == [[0.0, 0.5], [0.0, -0.5]]


# Division


def test_quotients_of_integers_are_of_the_default_type():
    assert mg.div([1, 2], [2, 4]).dtype == np.float32
    assert (mg.tensor(3) / 2).item() == 1.5


@pytest.mark.parametrize("function", [mg.div, mg.atan2])
def test_integers_need_not_fit_into_each_others_type(function):
    few = mg.tensor(np.array([1, 2, 5], np.uint8))
    wanted = {mg.div: np.divide, mg.atan2: np.arctan2}[function]
    for number in (-4, mg.tensor(-4, dtype=mg.int32), mg.tensor(-4)):
        y = function(number, few)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.numpy(), wanted(np.float32(-4), [1, 2, 5]), rtol=1e-6)
    np.testing.assert_allclose(function(few, -4).numpy(), wanted([1, 2, 5], -4.0), rtol=1e-6)


def test_division_by_zero_gives_infinities():
    with np.errstate(divide="ignore", invalid="ignore"):
        y = mg.div([1.0, -1.0, 0.0], 0.0)
    np.testing.assert_array_equal(y.numpy(), np.array([np.inf, -np.inf, np.nan], np.float32))


def test_the_gradient_of_a_quotient_survives_tiny_divisors():
    x = leaf(1e-200)
    assert mg.grad(1e-300 / x, x)[0].item() == pytest.approx(-1e100)  # b * b would be 0


def test_floor_divide_and_remainder_agree_with_python():
    for a in range(-7, 8):
        for b in (-3, -1, 2, 5):
            assert mg.floor_divide(a, b).item() == a // b
            assert mg.remainder(a, b).item() == a % b


# Powers


def test_powers_of_zero():
    assert gradients(lambda x: x**2, [0.0, -3.0]) == [[0.0, -6.0]]
    assert gradients(lambda x: x**1, [0.0]) == [[1.0]]
    assert gradients(lambda x: x**0, [0.0]) == [[0.0]]
    assert second_gradient(lambda x: x**2, [0.0]) == [2.0]
    assert second_gradient(lambda x: x**3, [0.0, 2.0]) == [0.0, 12.0]


def test_the_power_zero_has_no_slope_whatever_its_base():
    bases = [0.0, 5e-324, -1e-310, np.nan, 3.0]
    by_base, _ = gradients(lambda a, b: mg.pow(a, b.detach()) + b, bases, [0.0] * 5)
    assert by_base == [0.0] * 5


def test_powers_of_zero_with_a_tensor_as_exponent():
    by_base, by_exponent = gradients(mg.pow, [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0])
    assert by_base == [0.0, 1.0, 0.0, 0.0]
    assert by_exponent == [0.0, 0.0, 0.0, 0.0]
    assert gradients(lambda b: 0**b, [0.5, 2.0]) == [[0.0, 0.0]]


def test_a_pole_of_zero_to_a_negative_power_stays_with_its_own_entry():
    with np.errstate(all="ignore"):
        by_exponent = gradients(mg.pow, [0.0, 0.0], [-1.0, 2.0])[1]
    assert not np.isfinite(by_exponent[0])
    assert by_exponent[1] == 0.0


def test_the_exponent_zero_has_a_mixed_derivative():
    a, b = leaf(2.0), leaf(0.0)
    (g,) = mg.grad(a**b, a, create_graph=True)  # b * a**(b-1)
    assert g.item() == 0.0
    assert mg.grad(g, b)[0].item() == pytest.approx(0.5)  # a**-1 + b * ...


def test_negative_bases_with_whole_exponents():
    exponents = mg.tensor(np.array([2.0, 3.0, 0.0]))
    assert gradients(lambda x: x**exponents, [-2.0, -2.0, -2.0]) == [[-4.0, 12.0, 0.0]]
    assert (mg.tensor([-2.0]) ** 3).tolist() == [-8.0]


def test_integer_powers():
    assert (mg.tensor([2, 3]) ** 3).tolist() == [8, 27]
    assert (mg.tensor([2, 3]) ** 3).dtype == np.int64
    assert (mg.tensor([4, 9]) ** 0.5).tolist() == [2.0, 3.0]
    assert (mg.tensor([True, False]) ** 2).dtype == np.int64
    with pytest.raises(ValueError, match="negative power -2"):
        mg.tensor([2, 3]) ** -2


# Choosing


def test_equals_share_the_gradient():
    for function in (mg.maximum, mg.minimum):
        a, b = gradients(function, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
        assert a[1] == b[1] == 0.5
        assert np.add(a, b).tolist() == [1.0, 1.0, 1.0]
    assert gradients(mg.maximum, [1.0, 3.0], [2.0, 2.0]) == [[0.0, 1.0], [1.0, 0.0]]
    assert gradients(mg.minimum, [1.0, 3.0], [2.0, 2.0]) == [[1.0, 0.0], [0.0, 1.0]]


def test_maximum_and_minimum_pass_nan_on():
    for function in (mg.maximum, mg.minimum):
        assert np.isnan(function([math.nan, 1.0], [1.0, math.nan]).numpy()).all()


def test_where_gives_the_gradient_to_the_chosen_element_alone():
    cotangent = mg.tensor(np.array([math.inf, 1.0]))
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    by_a, by_b = mg.grad(mg.where([False, True], a, b), (a, b), cotangent)
    assert by_a.tolist() == [0.0, 1.0]  # a product with the condition would give 0 * inf = NaN
    assert by_b.tolist() == [math.inf, 0.0]


def test_clip_passes_gradients_on_its_bounds():
    assert gradients(lambda x: x.clip(-1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0]) == [[0, 1, 1, 1, 0]]
    assert gradients(lambda x: x.clip(min=0), [-1.0, 0.0, 1.0]) == [[0, 1, 1]]
    assert gradients(lambda x: x.clamp(max=0), [-1.0, 0.0, 1.0]) == [[1, 1, 0]]
    assert gradients(lambda x, a: mg.clip(x, a), [0.0, 1.0, 2.0], [1.0, 1.0, 1.0]) == [
        [0, 1, 1],
        [1, 0, 0],
    ]


def test_clip_with_crossed_bounds_and_nan():
    x = np.array([-2.0, 0.0, 2.0, math.nan])
    np.testing.assert_array_equal(mg.clip(x, 1, -1).numpy(), np.clip(x, 1, -1))
    np.testing.assert_array_equal(mg.clip(x, -1, 1).numpy(), np.clip(x, -1, 1))
    assert mg.clip([1, 5], 2, 4).tolist() == [2, 4]


def test_lerp_is_exact_at_both_ends():
    a, b = np.array([0.1, 1e16]), np.array([0.3, 1.0])
    assert mg.lerp(a, b, 0.0).tolist() == a.tolist()
    assert mg.lerp(a, b, 1.0).tolist() == b.tolist()


# Subgradients and constants


def test_whole_numbers_have_the_derivative_zero_but_stay_in_the_graph():
    for function in (mg.floor, mg.ceil, mg.round, mg.trunc, mg.sign):
        assert gradients(function, [-1.5, 0.2, 2.5]) == [[0.0, 0.0, 0.0]]
        assert gradients(lambda x, f=function: f(x) + x, [0.2]) == [[1.0]]
    assert mg.round([0.5, 1.5, -0.5]).tolist() == [0.0, 2.0, -0.0]


def test_the_absolute_value_has_the_derivative_zero_at_zero():
    assert gradients(mg.abs, [-2.0, 0.0, 2.0]) == [[-1.0, 0.0, 1.0]]


def test_comparisons_are_constants():
    x = leaf([1.0, 2.0])
    for y in (x == 1, x != 1, x < 1, x <= 1, x > 1, x >= 1, ~(x > 1), (x > 1) & (x < 3)):
        assert y.dtype == np.bool_
        assert not y.requires_grad
    assert ((x > 1) ^ (x > 0)).tolist() == [True, False]
    assert ((x > 1) | (x > 0)).tolist() == [True, True]


def test_allclose_and_equal():
    assert mg.allclose([1.0, 2.0], [1.0, 2.0 + 1e-7])
    assert not mg.allclose([1.0, 2.0], [1.0, 2.1])
    assert not mg.allclose([math.nan], [math.nan])
    assert mg.allclose([math.nan], [math.nan], equal_nan=True)
    assert mg.equal([1, 2], [1.0, 2.0])
    assert not mg.equal([1, 2], [1, 3])
    assert not mg.equal([1, 1], [1])


# Types, devices and copies


def test_to_returns_the_tensor_itself_where_nothing_changes():
    x = mg.tensor([1.0])
    for same in (x.to(), x.to(mg.float32), x.to("cpu"), x.to(x), x.to("cpu", mg.float32)):
        assert same is x
    assert x.to(copy=True) is not x
    assert not np.shares_memory(x.to(copy=True).data, x.data)


def test_to_is_differentiable_and_gradients_return_as_they_were():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x.double() * mg.tensor(np.array([3.0, 4.0]))
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [3.0, 4.0]
    assert not x.to(mg.int64).requires_grad


def test_to_takes_a_tensor_as_an_example():
    assert mg.tensor([1.5]).to(mg.tensor(2)).tolist() == [1]
    assert mg.tensor([1, 2]).type_as(mg.tensor(0.5)).dtype == np.float32


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_missing_gpu_is_explained(device, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(RuntimeError, match=f"to: .*{device}.* needs the package cupy"):
        mg.tensor([1.0]).to(device)


def test_copies_have_memory_of_their_own():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert not np.shares_memory(x.clone().data, x.data)
    assert x.contiguous() is x
    turned = x.permute(1, 0)
    assert turned.contiguous().is_contiguous()
    assert turned.contiguous().tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_copying_into_a_tensor_cuts_its_own_gradient_off():
    x, source = leaf([1.0, 2.0]), leaf(5.0)
    y = x * 2
    y.copy_(source)
    assert y.tolist() == [5.0, 5.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]
    assert source.grad.item() == 2.0


def test_filling_with_a_constant_cuts_the_gradient_off():
    for change in (mg.Tensor.zero_, lambda y: y.fill_(3), lambda y: y.copy_([1.0, 2.0])):
        x = leaf([1.0, 2.0])
        y = x * 2
        change(y)
        y.sum().backward()
        assert x.grad.tolist() == [0.0, 0.0]


def test_copying_converts_to_the_tensors_type():
    x = mg.tensor([0, 0])
    assert x.copy_([1.7, -1.7]).tolist() == [1, -1]
    with pytest.raises(TypeError, match="copy: the source is complex128, the tensor holds int64"):
        x.copy_(np.array([1j, 2]))


# Bad input: most is in the operations' error samples


def test_operands_that_do_not_broadcast_are_named():
    x = mg.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\) do not broadcast"):
        x + [1.0, 2.0, 3.0]
    with pytest.raises(TypeError, match="sub: booleans"):
        mg.tensor([True]) - mg.tensor([False])


def test_backward_of_safe_points_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradients(lambda x: mg.norm(x), [0.0, 0.0]) == [[0.0, 0.0]]
        assert gradients(lambda x: ops.pow(x, mg.tensor([0.0])), [0.0]) == [[0.0]]
