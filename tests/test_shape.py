"""Reshaping, reordering, joining, splitting, padding and repeating, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

import minigrad as mg

SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def numbered(shape, strided=False):
    """Elements that all differ; optionally every other one of a larger array, backwards."""
    if strided and shape:
        wide = (*shape[:-1], 2 * shape[-1])
        return np.arange(np.prod(wide), dtype="f8").reshape(wide)[..., ::-2]
    return np.arange(np.prod(shape, dtype=int), dtype="f8").reshape(shape)


@given(SHAPES, st.randoms(), st.booleans())
def test_permute_transpose_flip_and_roll(shape, random, strided):
    x = numbered(shape, strided)
    axes = list(range(x.ndim))
    random.shuffle(axes)
    t = mg.from_numpy(x)
    np.testing.assert_array_equal(t.permute(axes).data, x.transpose(axes))
    np.testing.assert_array_equal(t.permute(*axes).data, x.transpose(axes))
    np.testing.assert_array_equal(t.T.data, x.T)
    np.testing.assert_array_equal(t.flip(axes[:2]).data, np.flip(x, axes[:2]))
    np.testing.assert_array_equal(t.roll(3).data, np.roll(x, 3))
    if axes:
        i, j = axes[0], axes[-1] - x.ndim
        np.testing.assert_array_equal(t.transpose(i, j).data, np.swapaxes(x, i, j))
        np.testing.assert_array_equal(t.movedim(i, j).data, np.moveaxis(x, i, j))
        np.testing.assert_array_equal(t.roll((2, -1), (i, j)).data, np.roll(x, (2, -1), (i, j)))


@given(SHAPES, st.integers(0, 3), st.booleans())
def test_reshape_keeps_row_major_order(shape, cut, strided):
    x = numbered(shape, strided)
    t = mg.from_numpy(x)
    cut = min(cut, x.ndim)
    wanted = (int(np.prod(shape[:cut])), int(np.prod(shape[cut:])))
    np.testing.assert_array_equal(t.reshape(*wanted).data, x.reshape(wanted))
    np.testing.assert_array_equal(t.reshape(wanted).data, x.reshape(wanted))
    np.testing.assert_array_equal(t.reshape(-1).data, x.reshape(-1))
    np.testing.assert_array_equal(t.flatten().data, x.reshape(-1))
    np.testing.assert_array_equal(t.squeeze().data, np.squeeze(x))
    np.testing.assert_array_equal(t.unsqueeze(-1).data, x[..., None])


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
def test_broadcast_to_and_expand(shapes):
    x = numbered(shapes.input_shapes[0])
    wanted = shapes.result_shape
    expected = np.broadcast_to(x, wanted)
    np.testing.assert_array_equal(mg.broadcast_to(x, wanted).data, expected)
    new = len(wanted) - x.ndim
    sizes = [-1 if i >= new and x.shape[i - new] == n else n for i, n in enumerate(wanted)]
    np.testing.assert_array_equal(mg.from_numpy(x).expand(*sizes).data, expected)


def test_squeeze_takes_only_what_is_asked_for_and_has_length_1():
    x = mg.from_numpy(numbered((1, 3, 1)))
    assert x.squeeze(0).shape == (3, 1)
    assert x.squeeze(1).shape == (1, 3, 1)
    assert x.squeeze((0, -1)).shape == (3,)


def test_flatten_of_some_dimensions_and_of_a_scalar():
    assert mg.from_numpy(numbered((2, 3, 4, 5))).flatten(1, -2).shape == (2, 12, 5)
    assert mg.tensor(1.0).flatten().shape == (1,)


def test_views_share_memory():
    x = mg.from_numpy(numbered((2, 3, 4)))
    views = [x.reshape(6, 4), x.view(-1), x.permute(2, 0, 1), x.transpose(0, 1), x.flatten(1)]
    views += [x.unsqueeze(0), x.squeeze(), x.expand(5, 2, 3, 4), x[1], x[:, ::-1], x[0, 1, 2]]
    views += [*x.split(1), *x.unbind(1), x.diagonal(), x.movedim(0, 2)]
    for view in views:
        assert np.shares_memory(view.data, x.data)
    for copy in (x.flip(0), x.roll(1, 0), x[[0]], x.tile(2)):
        assert not np.shares_memory(copy.data, x.data)


def test_view_refuses_what_needs_a_copy():
    x = mg.from_numpy(numbered((2, 3))).transpose(0, 1)
    with pytest.raises(ValueError, match=r"view: .*\(3, 2\).*without a copy"):
        x.view(6)
    assert x.view(3, 2, 1).shape == (3, 2, 1)
    assert x.reshape(6).tolist() == [0, 3, 1, 4, 2, 5]


def test_an_expanded_tensor_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        mg.from_numpy(numbered((1, 3))).expand(2, 3).add_(1.0)


def test_the_gradient_of_an_expanded_tensor_is_summed():
    x = mg.tensor([[1.0], [2.0]], requires_grad=True)
    w = np.arange(12.0, dtype="f4").reshape(2, 2, 3)
    x.expand(2, 2, 3).backward(mg.from_numpy(w))
    np.testing.assert_array_equal(x.grad.data, w.sum((0, 2), keepdims=True)[0])


# Joining and splitting


@given(array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4), st.data(), st.integers(1, 4))
def test_cat_split_and_chunk(shape, data, parts):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    xs = []
    for i in range(parts):
        lengths = list(shape)
        lengths[axis] = data.draw(st.integers(0, 4))
        xs.append(numbered(tuple(lengths)) + 100 * i)
    whole = mg.cat(xs, axis)
    np.testing.assert_array_equal(whole.data, np.concatenate(xs, axis))
    for part, x in zip(whole.split([x.shape[axis] for x in xs], axis), xs, strict=True):
        np.testing.assert_array_equal(part.data, x)
    for part, x in zip(mg.stack(xs[:1] * 2, axis).unbind(axis), xs[:1] * 2, strict=True):
        np.testing.assert_array_equal(part.data, x)
    size = data.draw(st.integers(1, 5))
    sizes = [p.shape[axis] for p in whole.split(size, axis)]
    n = whole.shape[axis]
    assert sum(sizes) == n and all(s == size for s in sizes[:-1]) and sizes[-1] <= size
    chunks = whole.chunk(size, axis)
    np.testing.assert_array_equal(mg.cat(chunks, axis).data, whole.data)
    assert len(chunks) <= size


def test_chunk_gives_parts_of_equal_length_and_maybe_fewer():
    assert [len(c) for c in mg.from_numpy(np.arange(10.0)).chunk(4)] == [3, 3, 3, 1]
    assert [len(c) for c in mg.from_numpy(np.arange(6.0)).chunk(4)] == [2, 2, 2]


def test_cat_and_stack_promote_types():
    a, b = np.ones(2, "f4"), np.ones(2, "i8")
    assert mg.cat([a, b]).dtype == mg.float32
    assert mg.stack([a, a.astype("f8")]).dtype == mg.float64
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    mg.cat([x, np.ones(1)]).backward(mg.tensor([1.0, 2.0, 3.0], dtype=mg.float64))
    assert x.grad.dtype == mg.float32 and x.grad.tolist() == [1, 2]


# Padding and repeating

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@given(array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.data())
def test_pad(shape, data):
    x = numbered(shape)
    many = data.draw(st.integers(0, len(shape)))
    pairs = [(0, 0)] * len(shape)
    for i in range(len(shape) - many, len(shape)):
        pairs[i] = (data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4)))
    flat = [w for pair in reversed(pairs[len(shape) - many :]) for w in pair]
    padded = mg.pad(x, flat, value=7)
    np.testing.assert_array_equal(padded.data, np.pad(x, pairs, constant_values=7))
    # Negative numbers undo it.
    np.testing.assert_array_equal(mg.pad(padded, [-w for w in flat]).data, x)
    for mode, theirs in MODES.items():
        longest = [n - (mode == "reflect") for n in shape]
        if mode == "replicate" or all(max(p) <= n for p, n in zip(pairs, longest, strict=True)):
            np.testing.assert_array_equal(mg.pad(x, flat, mode).data, np.pad(x, pairs, theirs))


def test_a_vector_of_nothing_can_be_joined_to_anything():
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    empty = mg.tensor([], requires_grad=True)
    y = mg.cat([empty, x, empty, x], 1)
    assert y.tolist() == [[1.0, 2.0, 1.0, 2.0]]
    y.backward(mg.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert x.grad.tolist() == [[4.0, 6.0]] and empty.grad.shape == (0,)
    assert mg.cat([empty, mg.tensor([1])]).dtype == mg.float32
    assert mg.cat([empty, empty]).shape == (0,)


def test_padding_of_booleans_is_false():
    assert mg.pad([True], (1, 1)).tolist() == [False, True, False]
    assert mg.pad([False], (0, 1), value=True).tolist() == [False, True]


@given(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), st.lists(st.integers(0, 3)))
def test_tile_and_repeat(shape, times):
    times = times[:4]
    x = numbered(shape)
    np.testing.assert_array_equal(mg.tile(x, *times).data, np.tile(x, times))
    if len(times) >= x.ndim:
        np.testing.assert_array_equal(mg.from_numpy(x).repeat(times).data, np.tile(x, times))
