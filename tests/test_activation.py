"""Activation functions: values against SciPy and the math module, the ends of the range, types."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import special

import minigrad as mg
from minigrad import ops
from minigrad_kernels import KERNELS


def softplus(x, beta=1.0, threshold=20.0):
    z = beta * x
    return x if z > threshold else math.log1p(math.exp(z)) / beta


FORMULAS = [
    (ops.relu, {}, lambda x: max(x, 0.0)),
    (ops.leaky_relu, {}, lambda x: x if x > 0 else 0.01 * x),
    (ops.leaky_relu, {"negative_slope": 0.3}, lambda x: x if x > 0 else 0.3 * x),
    (ops.elu, {}, lambda x: x if x > 0 else math.expm1(x)),
    (ops.elu, {"alpha": 0.4}, lambda x: x if x > 0 else 0.4 * math.expm1(x)),
    (ops.sigmoid, {}, lambda x: 1 / (1 + math.exp(-x))),
    (ops.tanh, {}, math.tanh),
    (ops.silu, {}, lambda x: x / (1 + math.exp(-x))),
    (ops.softplus, {}, softplus),
    (ops.softplus, {"beta": 3.0, "threshold": 2.0}, lambda x: softplus(x, 3.0, 2.0)),
    (ops.gelu, {}, lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2))),
    (
        ops.gelu,
        {"approximate": "tanh"},
        lambda x: x / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
]
NAMES = [f"{f.__name__}{o or ''}" for f, o, _ in FORMULAS]


@pytest.mark.parametrize(("function", "options", "formula"), FORMULAS, ids=NAMES)
def test_values_are_those_of_the_formula_computed_one_by_one(function, options, formula, rng):
    x = np.concatenate([rng.normal(size=40) * 5, [0.0, -0.0, 20.0, -20.0]]).reshape(4, 11)
    wanted = np.array([formula(v) for v in x.ravel()]).reshape(x.shape)
    # An exponential of an argument up to 600 magnifies its rounding as much.
    np.testing.assert_allclose(function(x, **options).data, wanted, rtol=600 * 2.3e-16)


@pytest.mark.parametrize(("function", "options", "formula"), FORMULAS, ids=NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_type_stays_forward_and_backward(function, options, formula, dtype, rng):
    x = mg.tensor(rng.normal(size=(3, 4)).astype(dtype), requires_grad=True)
    y = function(x, **options)
    assert y.dtype == dtype
    (g,) = mg.grad(y, x, rng.normal(size=(3, 4)).astype(dtype))
    assert g.dtype == dtype


# Far above 0 all of these are x itself; far below, they are x times this slope.
SLOPE_BELOW = {"relu": 0, "leaky_relu": 0.01, "silu": 0, "softplus": 0, "gelu": 0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("name", SLOPE_BELOW)
def test_far_from_zero_values_and_slopes_are_the_limits(name, size, dtype):
    x = mg.tensor(np.array([-size, size], dtype), requires_grad=True)
    slopes = np.array([SLOPE_BELOW[name], 1])
    y = getattr(ops, name)(x)
    np.testing.assert_allclose(y.data, slopes * x.data, rtol=1e-6)  # float32 rounds to 6e-8
    (slope,) = mg.grad(y, x, np.ones(2, dtype), create_graph=True)
    np.testing.assert_allclose(slope.data, slopes, rtol=1e-6)
    (curvature,) = mg.grad(slope, x, np.ones(2, dtype))
    np.testing.assert_array_equal(curvature.data, [0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_by_tanh_has_the_same_limits(dtype):
    x = mg.tensor(np.array([-1e30, -1e4, 1e4, 1e30], dtype), requires_grad=True)
    y = ops.gelu(x, "tanh")
    np.testing.assert_allclose(y.data, [0, 0, 1e4, 1e30], rtol=1e-6)
    (slope,) = mg.grad(y, x, np.ones(4, dtype), create_graph=True)
    np.testing.assert_array_equal(slope.data, [0, 0, 1, 1])
    (curvature,) = mg.grad(slope, x, np.ones(4, dtype))
    np.testing.assert_array_equal(curvature.data, [0, 0, 0, 0])


def test_bounded_functions_reach_their_bounds_without_warnings():
    x = mg.tensor([-1e4, 1e4], requires_grad=True)
    for function, bounds in ((ops.sigmoid, [0, 1]), (ops.tanh, [-1, 1]), (ops.elu, [-1, 1e4])):
        y = function(x)
        np.testing.assert_array_equal(y.data, np.array(bounds, "f4"))
        (slope,) = mg.grad(y, x, np.ones(2))
        np.testing.assert_array_equal(slope.data, [0, 1 if function is ops.elu else 0])


def test_sigmoid_and_gelu_keep_their_relative_precision_in_the_tail():
    x = np.linspace(-30, 0, 200)
    np.testing.assert_allclose(ops.sigmoid(x).data, special.expit(x), rtol=1e-14)
    np.testing.assert_allclose(ops.gelu(x).data, x * special.ndtr(x), rtol=1e-14)
    np.testing.assert_allclose(
        ops.sigmoid(x.astype("f4")).data, special.expit(x.astype("f4")), rtol=5e-7
    )


def test_relu_has_derivative_zero_at_zero_and_lets_nothing_through_below():
    x = mg.tensor([-1.0, 0.0, -0.0, 2.0], requires_grad=True)
    (g,) = mg.grad(ops.relu(x), x, np.array([np.inf, np.nan, 1, 3], "f4"))
    np.testing.assert_array_equal(g.data, [0, 0, 0, 3])


def test_relu_and_leaky_relu_keep_nan():
    x = mg.tensor([np.nan, 1.0])
    np.testing.assert_array_equal(ops.relu(x).data, [np.nan, 1])
    np.testing.assert_array_equal(ops.leaky_relu(x).data, [np.nan, 1])


def test_the_curvature_of_relu_is_zero_not_missing():
    x = mg.tensor([-1.0, 2.0], requires_grad=True)
    (slope,) = mg.grad(ops.relu(x).sum(), x, create_graph=True)
    (curvature,) = mg.grad(slope.sum(), x)
    np.testing.assert_array_equal(curvature.data, [0, 0])


def test_left_derivatives_at_the_kinks():
    for function, slope in ((ops.leaky_relu, 0.01), (lambda x: ops.elu(x, 0.3), 0.3)):
        x = mg.tensor(0.0, dtype=np.float64, requires_grad=True)
        assert mg.grad(function(x), x)[0].item() == slope


def test_softplus_is_the_identity_beyond_its_threshold():
    x = mg.tensor([1.9, 2.1], dtype=np.float64, requires_grad=True)
    y = ops.softplus(x, beta=1.0, threshold=2.0)
    assert y.tolist() == [math.log1p(math.exp(1.9)), 2.1]
    assert mg.grad(y, x, np.ones(2))[0].tolist()[1] == 1


def test_integers_become_floats_except_in_relu():
    assert ops.tanh([0, 1]).dtype == ops.gelu([0, 1]).dtype == np.float32
    assert ops.relu([-1, 1]).tolist() == [0, 1]
    assert ops.relu([-1, 1]).dtype == np.int64


def test_methods_and_names_of_the_package():
    x = mg.tensor([-1.0, 2.0])
    for name in ("relu", "sigmoid", "tanh"):
        wanted = getattr(ops, name)(x).tolist()
        assert getattr(x, name)().tolist() == getattr(mg, name)(x).tolist() == wanted


def test_in_place_forms_change_the_tensor_and_its_gradient():
    x = mg.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 2
    y.relu_()
    assert y.tolist() == [0, 4]
    y.sum().backward()
    assert x.grad.tolist() == [0, 2]


def test_gradient_kernels_are_operations_with_rules_of_their_own():
    names = {
        name
        for name, kernel in KERNELS.items()
        if kernel.reference.__module__ == "minigrad_kernels.activation"
    }
    assert len(names) == 16
    assert names <= set(ops.OPERATIONS)


def test_nothing_heavy_is_imported_before_it_is_needed():
    program = (
        "import sys, minigrad as mg; assert 'scipy' not in sys.modules; "
        "mg.ops.gelu([1.0]); assert 'scipy' in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
