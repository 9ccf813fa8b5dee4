"""Making tensors of a given shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minigrad as mg

FILLED = {"zeros": 0, "ones": 1}


@pytest.mark.parametrize("name", FILLED)
def test_constants(name):
    function = getattr(mg, name)
    for shape, x in (((2, 3), function(2, 3)), ((2, 3), function((2, 3))), ((), function(()))):
        assert x.shape == shape
        assert x.dtype == np.float32
        assert (x == FILLED[name]).all()
    assert function(2, dtype=mg.int64).dtype == np.int64
    assert function([0, 3]).shape == (0, 3)


@pytest.mark.parametrize("name", FILLED)
def test_constants_like_another_tensor(name):
    x = mg.tensor(np.array([[5.0, 6.0]]))
    y = getattr(mg, name + "_like")(x)
    assert y.tolist() == [[FILLED[name]] * 2]
    assert y.dtype == np.float64
    assert x.tolist() == [[5.0, 6.0]]
    assert getattr(mg, name + "_like")(x, dtype=mg.int32).dtype == np.int32


def test_types_have_pytorchs_short_names():
    names = ("half", "float", "double", "short", "int", "long", "bool")
    wanted = ("float16", "float32", "float64", "int16", "int32", "int64", "bool")
    assert [mg.zeros(1, dtype=getattr(mg, name)).dtype.name for name in names] == list(wanted)


def test_full_takes_the_kind_of_its_number():
    assert mg.full((2,), 7).dtype == np.int64
    assert mg.full((2,), 7.0).dtype == np.float32
    assert mg.full((2,), True).dtype == np.bool_
    assert mg.full(2, mg.tensor(3.5)).tolist() == [3.5, 3.5]
    assert mg.full_like(mg.tensor([1, 2]), 3).tolist() == [3, 3]


def test_a_number_becomes_one_of_the_wanted_type_at_once():
    x = mg.zeros(2, dtype=mg.float64)
    for y in (
        mg.full((2,), 0.1, dtype=mg.float64),
        mg.full_like(x, 0.1),
        mg.full_like([1, 2], 0.1, dtype=mg.float64),
        mg.full((2,), 0.1, dtype=mg.complex128),
        x.clone().fill_(0.1),
        x.clone().copy_([0.1, 0.1]),
    ):
        assert y.tolist() == [0.1, 0.1]
    assert mg.full((1,), 1e300, dtype=mg.float64).item() == 1e300
    assert mg.full((1,), 1e-300, dtype=mg.bool).item() is True
    assert mg.zeros(1, dtype=mg.int64).fill_(16777217.0).item() == 16777217  # 2**24 + 1
    assert mg.full((2,), 1j).dtype == np.complex64


def test_empty_has_shape_and_type():
    assert mg.empty(2, 3).shape == (2, 3)
    assert mg.empty_like(mg.zeros(4, dtype=mg.int8)).dtype == np.int8


def test_new_tensors_can_require_gradients():
    for x in (
        mg.zeros(2, requires_grad=True),
        mg.ones_like([1.0], requires_grad=True),
        mg.full((1,), 2.0, requires_grad=True),
        mg.linspace(0, 1, 3, requires_grad=True),
        mg.eye(2, requires_grad=True),
        mg.arange(3.0, requires_grad=True),
        mg.empty(3, requires_grad=True),
    ):
        assert x.requires_grad and x.is_leaf


def test_the_default_type_is_used():
    mg.set_default_dtype(mg.float64)
    try:
        assert mg.zeros(1).dtype == mg.eye(1).dtype == mg.arange(2.0).dtype == np.float64
    finally:
        mg.set_default_dtype(mg.float32)


# Ranges


@given(
    start=st.integers(-20, 20), end=st.integers(-20, 20), step=st.sampled_from([1, 2, 3, -1, -4])
)
def test_arange_of_integers_is_pythons_range(start, end, step):
    if (end - start) * step < 0:
        with pytest.raises(ValueError, match=f"arange: steps of {step} do not lead"):
            mg.arange(start, end, step)
        return
    x = mg.arange(start, end, step)
    assert x.tolist() == list(range(start, end, step))
    assert x.dtype == np.int64


def test_arange_of_floats():
    assert mg.arange(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert mg.arange(2.5).tolist() == [0.0, 1.0, 2.0]
    assert mg.arange(3.0).dtype == np.float32
    assert mg.arange(3, dtype=mg.float64).dtype == np.float64
    assert mg.arange(2**53, 2**53 + 3).tolist() == [2**53, 2**53 + 1, 2**53 + 2]


def test_linspace_includes_both_ends():
    x = mg.linspace(-1, 1, 5)
    assert x.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert x.dtype == np.float32
    assert mg.linspace(3, 7, 1).tolist() == [3.0]
    assert mg.linspace(3, 7, 0).shape == (0,)


# Matrices and codes


def test_eye():
    assert mg.eye(2).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert mg.eye(2, 3, dtype=mg.int64).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_one_hot():
    x = mg.one_hot([[0, 2], [1, 1]], 4)
    assert x.shape == (2, 2, 4)
    assert x.dtype == np.int64
    assert mg.argmax(x, -1).tolist() == [[0, 2], [1, 1]]
    assert mg.sum(x, -1).tolist() == [[1, 1], [1, 1]]
    assert mg.one_hot(2).tolist() == [0, 0, 1]
    assert mg.one_hot(np.zeros(0, np.int64), 3).shape == (0, 3)


@pytest.mark.parametrize("indexing", ["ij", "xy"])
def test_meshgrid_is_numpys(indexing):
    vectors = [np.arange(2.0), np.arange(3.0), np.arange(4.0)]
    for n in (0, 1, 2, 3):
        ours = mg.meshgrid(*vectors[:n], indexing=indexing)
        theirs = np.meshgrid(*vectors[:n], indexing=indexing)
        assert len(ours) == len(theirs)
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(x.numpy(), y)


def test_meshgrid_is_differentiable():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    mg.meshgrid(x, [0.0, 0.0, 0.0])[0].sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


# Bad input

NAN = math.nan
BAD = [
    (ValueError, r"zeros: size must be at least 0, got \(2, -1\)", lambda: mg.zeros(2, -1)),
    (TypeError, "ones: size must be an integer, got 2.5", lambda: mg.ones(2.5)),
    (TypeError, "zeros: only floating-point", lambda: mg.zeros(1, dtype=int, requires_grad=True)),
    (TypeError, "full: only floating-point", lambda: mg.full((1,), 1, requires_grad=True)),
    (TypeError, "zeros_like: only float", lambda: mg.zeros_like([1], requires_grad=True)),
    (ValueError, "unknown device 'gpu'", lambda: mg.zeros(1, device="gpu")),
    (ValueError, "unknown device 'cuda:\u0661'", lambda: mg.zeros(1, device="cuda:\u0661")),
    (ValueError, "unknown device 'cuda:9999", lambda: mg.zeros(1, device="cuda:" + "9" * 5000)),
    (ValueError, "full: fill_value must be one number", lambda: mg.full((2,), [1.0, 2.0])),
    (ValueError, "full_like: fill_value must be one number", lambda: mg.full_like([1.0], [1.0])),
    (ValueError, "arange: end must be finite, got nan", lambda: mg.arange(NAN)),
    (ValueError, "arange: steps of 0 do not lead from 0 to 3", lambda: mg.arange(0, 3, 0)),
    (ValueError, "linspace: start must be finite", lambda: mg.linspace(math.inf, 1, 2)),
    (ValueError, "linspace: steps must be at least 0", lambda: mg.linspace(0, 1, -2)),
    (TypeError, "linspace: steps must be an integer, got 2.5", lambda: mg.linspace(0, 1, 2.5)),
    (ValueError, "eye: size must be at least 0", lambda: mg.eye(-1)),
    (TypeError, "one_hot: wants integers, got float32", lambda: mg.one_hot([1.0])),
    (ValueError, "one_hot: class 3 is not one of 3 classes", lambda: mg.one_hot([0, 3], 3)),
    (ValueError, "one_hot: class -1 is not one of 3 classes", lambda: mg.one_hot([0, -1], 3)),
    (ValueError, "one_hot: class -1", lambda: mg.one_hot([0, -1])),
    (ValueError, "one_hot: num_classes must be", lambda: mg.one_hot(np.zeros(0, np.int64))),
    (ValueError, "one_hot: num_classes must be", lambda: mg.one_hot([0], -2)),
    (ValueError, r"meshgrid: .* tensor 1 has shape \(1, 1\)", lambda: mg.meshgrid([1], [[1]])),
    (ValueError, "meshgrid: indexing must be", lambda: mg.meshgrid([1], indexing="ji")),
]


@pytest.mark.parametrize(("error", "words", "call"), BAD)
def test_bad_input_is_refused(error, words, call):
    with pytest.raises(error, match=words):
        call()
