"""Indexing, picking and sorting, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import (
    array_shapes,
    arrays,
    basic_indices,
    integer_array_indices,
)

import minigrad as mg
from minigrad.ops.index_entries import check_bounds

SHAPES = array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def numbered(shape):
    return np.arange(np.prod(shape, dtype=int), dtype="f8").reshape(shape)


@st.composite
def indices(draw):
    """A shape and an index into it: basic, of integer arrays, of a mask, or mixed."""
    shape = draw(SHAPES)
    kind = draw(st.sampled_from(["basic", "integers", "mask", "mixed"]))
    if kind == "basic":
        return shape, draw(basic_indices(shape, allow_newaxis=True))
    if kind == "integers":
        return shape, draw(integer_array_indices(shape, result_shape=array_shapes(max_side=3)))
    if kind == "mask":
        ndim = draw(st.integers(1, len(shape)))
        return shape, draw(arrays(bool, shape[:ndim]))
    entries, length = [], draw(st.integers(1, 3))
    for n in shape:
        one = st.integers(-n, n - 1)
        entry = draw(
            st.one_of(
                one,
                st.slices(n),
                st.lists(one, min_size=length, max_size=length),
                arrays("i4", length, elements=one),
            )
        )
        entries += [None, entry] if draw(st.integers(0, 4)) == 0 else [entry]
    return shape, tuple(entries)


def pick(x, index):
    """x[index] with the integers beside arrays taken first, where NumPy takes them for arrays."""
    if isinstance(index, tuple) and any(isinstance(i, (list, np.ndarray)) for i in index):
        first = [i if isinstance(i, int) else slice(None) for i in index if i is not None]
        x, index = x[tuple(first)], tuple(i for i in index if not isinstance(i, int))
    return np.asarray(x[index])


def tensors_in(index):
    """The same index with tensors for its arrays."""
    if isinstance(index, tuple):
        return tuple(map(tensors_in, index))
    return mg.from_numpy(index) if isinstance(index, np.ndarray) else index


@given(indices())
def test_getitem_and_its_gradient(case):
    shape, index = case
    x = numbered(shape)
    t = mg.tensor(x, requires_grad=True)
    y = t[tensors_in(index)]
    expected = pick(x, index)
    np.testing.assert_array_equal(y.data, expected)
    assert y.shape == expected.shape
    g = np.random.default_rng(0).normal(size=y.shape)
    y.backward(mg.from_numpy(g))
    total = np.zeros(shape)
    np.add.at(total.reshape(-1), expected.astype(int), g)  # an element is its own number
    np.testing.assert_allclose(t.grad.data, total, rtol=0, atol=1e-14)


@given(indices(), st.booleans())
def test_setitem_and_its_gradients(case, one_value):
    shape, index = case
    x = numbered(shape)
    places = pick(x, index).astype(int)  # an element is its own number
    value = -np.arange(1.0, places.size + 1).reshape(places.shape)
    if one_value:
        value = np.array(-1.0)
    leaf, v = mg.tensor(x, requires_grad=True), mg.tensor(value, requires_grad=True)
    t = leaf * 1.0
    t[tensors_in(index)] = v
    expected = x.copy()
    expected.reshape(-1)[places] = value
    np.testing.assert_array_equal(t.data, expected)
    g = np.random.default_rng(0).normal(size=shape)
    t.backward(mg.from_numpy(g))
    np.testing.assert_array_equal(leaf.grad.data, np.where(expected < 0, 0, g))
    # Which value each element got, and so which value each gradient belongs to.
    wanted = np.array([g[expected == one].sum() for one in value.ravel()]).reshape(value.shape)
    np.testing.assert_allclose(v.grad.data, wanted, rtol=0, atol=1e-14)


def test_the_last_of_several_writes_stays_and_gets_the_gradient():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    v = mg.tensor([3.0, 4.0, 5.0], requires_grad=True)
    y = mg.ops.setitem(x, [0, 0, 0], v)
    assert y.tolist() == [5, 2]
    y.backward(mg.tensor([10.0, 20.0]))
    assert x.grad.tolist() == [0, 20] and v.grad.tolist() == [0, 0, 10]


def test_integers_beside_arrays_are_taken_first():
    x = mg.from_numpy(numbered((2, 3, 4)))
    for zero in (0, np.int64(0), mg.tensor(0), np.array(0)):
        assert x[zero, :, [1, 2]].shape == (3, 2)
        assert x[[1, 0, 1], :, zero].shape == (3, 3)
        assert np.shares_memory(x[zero].data, x.data)
    x[1, :, [0, 3]] = np.array([[-1.0], [-2.0], [-3.0]])
    np.testing.assert_array_equal(x.data[1, :, [0, 3]], [[-1, -2, -3]] * 2)


def test_setitem_changes_nothing_when_it_refuses():
    x = mg.tensor([1.0, 2.0, 3.0])
    for index, value, error in [
        (3, 0.0, IndexError),
        ([0, -4], 0.0, IndexError),
        (slice(0, 2), [1.0, 2.0, 3.0], ValueError),
        ([0.5], 0.0, TypeError),
        (0, 1j, TypeError),
    ]:
        with pytest.raises(error, match="setitem: "):
            x[index] = value
    assert x.tolist() == [1, 2, 3]


def test_setitem_keeps_the_type():
    x = mg.tensor([1, 2, 3])
    x[0] = 7.9
    assert x.dtype == mg.int64 and x.tolist() == [7, 2, 3]


def test_single_elements_are_views_without_dimensions():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x[1, 0].shape == () and x[1, 0].item() == 3
    assert mg.tensor(5.0)[()].item() == 5


def test_an_index_that_was_changed_is_noticed():
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    i = mg.tensor([0, 1])
    y = x[i]
    i[0] = 2
    with pytest.raises(RuntimeError, match=r"getitem .*changed in place"):
        y.sum().backward()


def test_numbers_on_devices_that_do_not_check_are_checked():
    check_bounds((3, 4, 5), (np.array([2, -3]), None, Ellipsis, np.array([4])), "getitem")
    with pytest.raises(IndexError, match=r"getitem: index 5 .* dimension 2 with size 5"):
        check_bounds((3, 4, 5), (0, Ellipsis, np.array([5, -9])), "getitem")
    with pytest.raises(IndexError, match=r"getitem: index -4 .* dimension 0 with size 3"):
        check_bounds((3, 4), (np.array([-4]),), "getitem")
    with pytest.raises(IndexError, match="dimension 2 with size 5"):
        check_bounds((3, 4, 5), (np.ones((3, 4), bool), np.array([5])), "getitem")


# Along a dimension


@given(SHAPES, st.data())
def test_gather_and_scatter_add_against_loops(shape, data):
    dim = data.draw(st.integers(0, len(shape) - 1))
    sizes = tuple(data.draw(st.integers(0, 3 if i == dim else n)) for i, n in enumerate(shape))
    index = data.draw(arrays("i8", sizes, elements=st.integers(0, shape[dim] - 1)))
    x, src = numbered(shape), numbered(tuple(n + 1 for n in sizes)) + 0.5
    picked, added = np.zeros(sizes), x.copy()
    for place in np.ndindex(sizes):
        at = place[:dim] + (index[place],) + place[dim + 1 :]
        picked[place] = x[at]
        added[at] += src[place]
    np.testing.assert_array_equal(mg.gather(x, dim, index).data, picked)
    np.testing.assert_array_equal(mg.scatter_add(x, dim - len(shape), index, src).data, added)
    whole_numbers = mg.scatter_add(x.astype("i8"), dim, index, src.astype("i8"))
    assert whole_numbers.dtype == mg.int64


@given(SHAPES, st.data())
def test_index_select_and_take_along_dim(shape, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = numbered(shape)
    choose = st.integers(0, shape[dim] - 1)
    index = data.draw(arrays("i8", st.integers(0, 4), elements=choose))
    np.testing.assert_array_equal(mg.index_select(x, dim, index).data, np.take(x, index, dim))
    order = x[..., ::-1].argsort(dim)
    np.testing.assert_array_equal(
        mg.take_along_dim(x, order, dim).data, np.take_along_axis(x, order, dim)
    )
    one = np.argmax(x, dim, keepdims=True)
    np.testing.assert_array_equal(
        mg.take_along_dim(x, one, dim).data, np.max(x, dim, keepdims=True)
    )
    np.testing.assert_array_equal(mg.take_along_dim(x, index).data, x.ravel()[index])


def test_indices_are_whole_numbers_and_in_range_everywhere():
    x = mg.tensor([1.0, 2.0])
    for f in (x.gather, x.index_select):
        with pytest.raises(IndexError, match="index -1 is out of bounds for dimension 0"):
            f(0, [-1])
        with pytest.raises(TypeError, match="integers, not bool"):
            f(0, [True])
    with pytest.raises(IndexError, match="scatter_add: index 2 "):
        x.scatter_add_(0, [2], [1.0])
    assert x.tolist() == [1, 2]


# Masks and diagonals


@given(SHAPES, st.data())
def test_masks(shape, data):
    x, mask = numbered(shape), data.draw(arrays(bool, shape[data.draw(st.integers(0, 3)) :]))
    expected = np.where(mask, -1.0, x)
    np.testing.assert_array_equal(mg.masked_fill(x, mask, -1).data, expected)
    np.testing.assert_array_equal(mg.masked_select(x, mask).data, x[np.broadcast_to(mask, shape)])


def test_masked_fill_lets_no_bad_number_through_in_backward():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    v = mg.tensor(3.0, requires_grad=True)
    mg.masked_fill(x, [True, False], v).backward(mg.tensor([np.nan, 1.0]))
    assert x.grad.tolist() == [0, 1]
    x.grad = None
    v.grad = None
    mg.masked_fill(x, [True, False], v).backward(mg.tensor([1.0, np.nan]))
    assert v.grad.item() == 1


@given(array_shapes(min_dims=2, max_dims=4, max_side=4), st.integers(-5, 5), st.data())
def test_triangles_and_diagonals(shape, k, data):
    x = numbered(shape)
    np.testing.assert_array_equal(mg.tril(x, k).data, np.tril(x, k))
    np.testing.assert_array_equal(mg.triu(x, k).data, np.triu(x, k))
    i, j = data.draw(st.permutations(range(len(shape))))[:2]
    t = mg.tensor(x, requires_grad=True)
    y = t.diagonal(k, i, j - len(shape))
    np.testing.assert_array_equal(y.data, np.diagonal(x, k, i, j))
    y.backward(mg.from_numpy(np.ones(y.shape)))
    on_it = np.isin(x, np.diagonal(x, k, i, j))
    np.testing.assert_array_equal(t.grad.data, on_it)


# Order


@given(arrays("f8", array_shapes(max_dims=3, max_side=5), elements=st.integers(-3, 3)), st.data())
def test_sort_argsort_and_topk(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    values, order = mg.sort(x, axis)
    np.testing.assert_array_equal(values.data, np.sort(x, axis))
    np.testing.assert_array_equal(order.data, np.argsort(x, axis, kind="stable"))
    values, order = mg.sort(x, axis, descending=True)
    np.testing.assert_array_equal(order.data, np.argsort(-x, axis, kind="stable"))
    np.testing.assert_array_equal(order.data, mg.argsort(x, axis, descending=True).data)
    k = data.draw(st.integers(0, x.shape[axis]))
    first = (slice(None),) * (axis % x.ndim) + (slice(k),)
    for largest in (True, False):
        top = mg.topk(x, k, axis, largest)
        expected = np.sort(-x if largest else x, axis)[first]
        np.testing.assert_array_equal(top.values.data, -expected if largest else expected)
        np.testing.assert_array_equal(
            np.take_along_axis(x, top.indices.data, axis), top.values.data
        )
        steps = np.diff(np.sort(top.indices.data, axis), axis=axis)
        assert (steps > 0).all()  # none is taken twice


def test_nan_counts_as_largest():
    x = mg.tensor([2.0, np.nan, 1.0])
    assert mg.argsort(x).tolist() == [2, 0, 1]
    assert mg.argsort(x, descending=True).tolist() == [1, 0, 2]
    assert mg.topk(x, 1).indices.tolist() == [1]


def test_an_order_has_no_gradient_but_its_values_have():
    x = mg.tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, order = x.sort()
    assert not order.requires_grad
    values.backward(mg.tensor([10.0, 20.0, 30.0]))
    assert x.grad.tolist() == [30, 10, 20]


def test_small_integers_index_large_tensors() -> None:
    """Their products with the strides are larger than the integers can be."""
    x = mg.zeros(4, 300, requires_grad=True)
    index = mg.tensor(np.full((1, 300), 3, np.uint8))
    mg.gather(x, 0, index).sum().backward()
    assert x.grad is not None and x.grad[3].tolist() == [1.0] * 300 and not x.grad[:3].any().item()
