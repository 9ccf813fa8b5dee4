"""Tensors as containers: making them, numbers in and out, types, copies, looks."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minigrad as mg


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, mg.int64),
        (1.5, mg.float32),
        (True, mg.bool),
        ([1, 2], mg.int64),
        ([1, 2.5], mg.float32),
        ([[True], [False]], mg.bool),
        ([], mg.float32),
        (np.float64(2.0), mg.float64),
        (np.arange(3, dtype=np.int16), mg.int16),
        (np.ones(2), mg.float64),
        (1j, mg.complex64),
        ([np.float64(0.1), 0.2], mg.float64),
        ([np.full(2, 0.1), [0.1, 0.1]], mg.float64),
        ([np.float32(0.5), 0.5], mg.float32),
        ([[np.complex128(1j)], [2]], mg.complex128),
    ],
)
def test_types_of_new_tensors(data, dtype):
    x = mg.tensor(data)
    assert x.dtype == dtype
    np.testing.assert_array_equal(x.data, np.asarray(data))


def test_default_dtype_can_be_changed():
    mg.set_default_dtype(mg.float64)
    try:
        assert mg.tensor(1.5).dtype == mg.float64
        assert mg.tensor(1.5j).dtype == mg.complex128
        assert (mg.tensor([1, 2]) / 2).dtype == mg.float64
    finally:
        mg.set_default_dtype(mg.float32)
    with pytest.raises(TypeError, match="floating-point type, got int64"):
        mg.set_default_dtype(mg.int64)


@pytest.mark.parametrize("bad", ["text", [[1, 2], [3]], [None], np.array(["a"]), {"a": 1}])
def test_what_is_no_tensor(bad):
    with pytest.raises((TypeError, ValueError), match="tensor"):
        mg.tensor(bad)


def test_what_came_instead_of_a_tensor_is_told():
    with pytest.raises(TypeError, match="tensors hold numbers and booleans, .*got NoneType None"):
        mg.relu(None)
    with pytest.raises(TypeError, match="from_dlpack: int does not speak DLPack"):
        mg.from_dlpack(5)
    with pytest.raises(IndexError, match="size: dim is 2"):
        mg.zeros(2, 3).size(2)


def test_array_subclasses_lose_their_own_operators():
    class Strange(np.ndarray):
        def __mul__(self, other):
            return self @ other

    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    for x in (mg.Tensor(array.view(Strange)), mg.from_numpy(array.view(Strange))):
        assert np.shares_memory(x.data, array)
        assert (x * x).tolist() == [[1.0, 4.0], [9.0, 16.0]]


def test_memory_is_shared_or_copied_as_promised():
    array = np.arange(3.0)
    assert mg.from_numpy(array).data is array
    assert mg.as_tensor(array).data is array
    assert mg.Tensor(array).data is array
    assert mg.from_numpy(array).numpy() is array
    assert np.asarray(mg.from_numpy(array)) is array
    assert not np.shares_memory(mg.tensor(array).data, array)
    x = mg.from_numpy(array)
    assert not np.shares_memory(mg.tensor(x).data, array)
    assert mg.as_tensor(x) is x
    assert x.detach().data is array
    assert not np.shares_memory(x.clone().data, array)
    with pytest.raises(TypeError, match="wants a NumPy array, got list"):
        mg.from_numpy([1.0])


def test_array_protocol():
    x = mg.tensor([1.0, 2.0])
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array(x) is not x.data
    assert (np.ones(2, np.float32) + x).__class__ is mg.Tensor
    assert (np.float32(2.0) * x).tolist() == [2.0, 4.0]
    assert mg.tensor([x, x * 2]).tolist() == [[1.0, 2.0], [2.0, 4.0]]


def test_dlpack_both_ways():
    array = np.arange(4.0)
    x = mg.from_dlpack(array)
    assert np.shares_memory(x.data, array)
    back = np.from_dlpack(mg.from_numpy(array))
    assert np.shares_memory(back, array)
    with pytest.raises(ValueError, match="requires a gradient"):
        np.from_dlpack(mg.tensor([1.0], requires_grad=True))


def test_numbers_out():
    x = mg.tensor(2.5)
    assert (x.item(), float(x), int(x), bool(x), f"{x:.2f}") == (2.5, 2.5, 2, True, "2.50")
    assert mg.tensor([[1, 2]]).tolist() == [[1, 2]]
    assert [10, 20, 30][mg.tensor(1)] == 20
    with pytest.raises(TypeError, match="integer tensor"):
        [1, 2][mg.tensor(1.0)]
    assert len(mg.tensor([1, 2])) == 2
    with pytest.raises(TypeError, match="no length"):
        len(mg.tensor(1))
    assert [row.tolist() for row in mg.tensor([[1], [2]])] == [[1], [2]]
    assert (mg.tensor([1.0]) == None) is False  # noqa: E711
    assert 2 in mg.tensor([1, 2]) and 3 not in mg.tensor([1, 2])


def test_attributes():
    x = mg.tensor(np.zeros((2, 3, 4), np.float32))
    assert (x.shape, x.ndim, x.dim(), x.numel(), x.nbytes) == ((2, 3, 4), 3, 3, 24, 96)
    assert (x.size(), x.size(-1), x.device) == ((2, 3, 4), 4, "cpu")
    assert x.is_contiguous() and not x.T.is_contiguous()
    assert x.T.shape == (4, 3, 2) and x.mT.shape == (2, 4, 3)
    assert x.is_floating_point() and not mg.tensor(1).is_floating_point()
    assert x.is_leaf and x.grad_fn is None
    y = x.requires_grad_() * 2
    assert not y.is_leaf and y.grad_fn.name == "mul"
    assert y.detach_().is_leaf and not y.requires_grad


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (mg.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (mg.tensor([1, 2]), "tensor([1, 2])"),
        (mg.tensor([[1.0], [2.0]]), "tensor([[1.],\n        [2.]])"),
        (mg.tensor(1.0, requires_grad=True), "tensor(1., requires_grad=True)"),
        (mg.tensor(1.0, requires_grad=True) * 2, "tensor(2., grad_fn=<mul>)"),
        (mg.tensor(np.ones(1)), "tensor([1.], dtype=float64)"),
        (mg.tensor([]), "tensor([], dtype=float32)"),
    ],
)
def test_repr(x, text):
    assert repr(x) == text


def test_copies_and_pickles():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert y.requires_grad and y.is_leaf and y.tolist() == x.tolist()
    assert y.grad.tolist() == x.grad.tolist() and y.grad is not x.grad
    assert not np.shares_memory(x.data, y.data)
    z = pickle.loads(pickle.dumps(x))
    assert z.requires_grad and z.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="deepcopy"):
        copy.deepcopy(x * 2)


PROMOTIONS = [
    (mg.float32, mg.float64, mg.float64),
    (mg.float32, mg.int64, mg.float32),
    (mg.int32, mg.int64, mg.int64),
    (mg.bool, mg.uint8, mg.uint8),
    (mg.uint8, mg.int8, mg.int16),
    (mg.float16, mg.float32, mg.float32),
    (mg.float64, mg.complex64, mg.complex128),
]


@pytest.mark.parametrize(("a", "b", "common"), PROMOTIONS)
def test_mixed_types(a, b, common):
    x, y = mg.tensor(np.ones(2, a)), mg.tensor(np.ones(2, b))
    assert (x + y).dtype == (y + x).dtype == common


@pytest.mark.parametrize("dtype", [mg.float16, mg.float32, mg.float64])
@given(number=st.sampled_from([2, 2.5, True, np.float64(2.5)]))
def test_python_numbers_do_not_widen(dtype, number):
    x = mg.tensor(np.ones(2, dtype))
    for y in (x + number, number + x, x * number, number - x, x / number, x**number):
        assert y.dtype == dtype


@pytest.mark.parametrize("dtype", [mg.float16, mg.float32, mg.float64])
def test_lists_of_python_are_as_precise_as_what_they_stand_beside(dtype):
    x, rows = mg.zeros(2, 2, dtype=dtype), [[0.1, 0.1], [0.1, 0.1]]
    mask = mg.tensor([[True, True], [True, True]])
    written = mg.zeros(2, 2, dtype=dtype)
    written[0], written[1] = 0.1, rows[1]
    for y in (
        x + rows,
        rows + x,
        mg.maximum(x, rows),
        mg.where(mask, x + 0.1, rows),
        mg.where(mask, rows, x),
        x.masked_fill(mask, 0.1),
        written,
        mg.matmul(mg.eye(2, dtype=dtype), rows),
        mg.cat([rows, x + 0.1]),
    ):
        assert y.dtype == dtype
        assert (y.numpy() == dtype.type(0.1)).all()


@pytest.mark.parametrize(
    ("near", "wanted"),
    [
        (mg.float32, mg.complex64),
        (mg.float64, mg.complex128),
        (mg.complex64, mg.complex64),
        (mg.complex128, mg.complex128),
        (mg.int64, mg.complex64),
    ],
)
def test_complex_numbers_of_python_are_as_precise_as_what_they_stand_beside(near, wanted):
    x, exact = mg.zeros(2, dtype=near), wanted.type(0.1 + 0.1j)
    for y in (x + (0.1 + 0.1j), x + [0.1 + 0.1j] * 2, (0.1 + 0.1j) - x):
        assert y.dtype == wanted
        assert (y.numpy() == exact).all()


def test_real_numbers_beside_complex128_are_not_rounded_to_float32():
    x = mg.zeros(3, dtype=mg.complex128)
    x[0] = 0.1
    x = x.masked_fill(mg.tensor([False, True, False]), 0.1)
    assert (x + [0.0, 0.0, 0.1]).tolist() == [0.1 + 0j] * 3


def test_large_numbers_of_lists_are_not_rounded_on_the_way():
    """They were float32 first, with a warning of an overflow."""
    x = mg.zeros(2, dtype=mg.float64)
    assert (x + [1e300, -1e300]).tolist() == [1e300, -1e300]
    assert mg.maximum([1e300, 1e-320], x).tolist() == [1e300, 1e-320]


def test_powers_beyond_all_numbers_are_refused():
    with pytest.raises(ValueError, match="pow: the exponent does not fit into a floating-point"):
        mg.ones(2) ** 10**400
    assert (mg.ones(2) ** 10**30).tolist() == [1.0, 1.0]


def test_what_a_tensor_contains():
    x = mg.tensor([1.0, 2.0], dtype=mg.float64)
    assert 2 in x and 3 not in x and None not in x
    assert mg.tensor([2.0]) in x and mg.tensor(5) not in x
    with pytest.raises(TypeError, match="numbers and booleans"):
        _ = "a" in x


def test_lists_with_tensors_of_float64_are_float64():
    x = mg.tensor(np.float64(0.1))
    assert mg.tensor([x, x]).tolist() == [0.1, 0.1]
    assert mg.tensor([[x, 1.0]]).dtype == mg.float64


def test_lists_beside_integers_keep_their_own_type():
    assert (mg.arange(2) + [0.5, 0.5]).dtype == mg.float32
    assert (mg.ones(2) + [1, 2]).dtype == mg.float32
    assert (mg.arange(2) * [1, 2]).dtype == mg.int64


def test_a_tensor_without_dimensions_does_not_widen_one_with_dimensions():
    x = mg.tensor([1.0, 2.0])
    assert (x * mg.tensor(2.0, dtype=mg.float64)).dtype == mg.float32
    assert (mg.tensor([1, 2]) * mg.tensor(2.0)).dtype == mg.float32
    assert (mg.tensor([1, 2]) + 0.5).dtype == mg.float32
    assert (mg.tensor([1, 2]) + 1).dtype == mg.int64
    assert (mg.tensor([True]) + 1).dtype == mg.int64


def test_gradients_of_mixed_types_have_their_inputs_types():
    a = mg.tensor(np.ones(2, np.float32), requires_grad=True)
    b = mg.tensor(np.ones(2, np.float64), requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.dtype == mg.float32 and b.grad.dtype == mg.float64


def test_copies_keep_the_order_of_axes():
    """Channels that lie last stay last, in small copies and in large ones."""
    for size in (4, 200):
        last = np.ones((2, size, size, 8), "f4").transpose(0, 3, 1, 2)
        x = mg.tensor(last, requires_grad=True)
        for y in (x, x.clone(), copy.deepcopy(x)):
            assert y.data.strides == last.strides
            assert not np.shares_memory(y.data, last)
        assert mg.tensor(last[:, ::2]).data.transpose(0, 2, 3, 1).flags.c_contiguous
        assert x.contiguous().data.flags.c_contiguous
