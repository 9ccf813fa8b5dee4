"""Products of matrices and einsum, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minigrad as mg
import minigrad_kernels as kernels


def draw(seed, shape, dtype="f8"):
    x = np.asarray(np.random.default_rng(seed).normal(size=shape))
    return np.asarray(x * 10).astype(dtype)


def check_gradients(f, reference, xs):
    """Gradients by a bilinear identity: <f(.., d, ..), g> = <d, gradient> for random d and g."""
    leaves = [mg.tensor(x, requires_grad=True) for x in xs]
    y = f(*leaves)
    g = draw(99, y.shape)
    y.backward(mg.from_numpy(g))
    for i, (x, leaf) in enumerate(zip(xs, leaves, strict=True)):
        d = draw(i + 7, x.shape)
        moved = reference(*[d if k == i else other for k, other in enumerate(xs)])
        np.testing.assert_allclose((moved * g).sum(), (d * leaf.grad.data).sum(), atol=1e-8)


@given(mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=4))
def test_matmul_of_batches(shapes):
    xs = [draw(i, shape) for i, shape in enumerate(shapes.input_shapes)]
    expected = np.matmul(*xs)
    y = mg.matmul(*xs)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)
    check_gradients(mg.matmul, np.matmul, xs)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8"])
def test_matmul_of_other_layouts_and_types(dtype):
    a, b = draw(0, (6, 8), dtype)[::2, ::-2], draw(1, (5, 4), dtype).T
    for x, y in [(a, b), (a[0], b), (a, b[:, 0]), (a[None], b), (a, b[None])]:
        z = mg.from_numpy(x) @ mg.from_numpy(y)
        assert z.dtype == np.dtype(dtype)
        np.testing.assert_allclose(z.data, x @ y, rtol=1e-5)


def test_matmul_takes_arrays_and_promotes():
    a, b = np.ones((2, 2)), mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert (a @ b).dtype == mg.float64 and isinstance(a @ b, mg.Tensor)
    assert (b @ np.ones((2, 2), "i8")).dtype == mg.float32


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize(
    "shapes", [((2, 3, 0), (0, 4)), ((0, 3, 5), (5, 4)), ((3, 0), (0, 0)), ((2, 0, 3), (2, 3, 1))]
)
def test_products_of_nothing(shapes, backend):
    a, b = (np.ones(shape, "f4") for shape in shapes)
    with kernels.use(backend):
        product = kernels.matmul(a, b)
    np.testing.assert_array_equal(product, a @ b)


@pytest.mark.parametrize("shapes", [((3, 4), ()), ((), (3, 4)), ((), ()), ((200, 200), ())])
def test_the_kernel_refuses_numbers(shapes):
    with pytest.raises(ValueError, match="dimensions"):
        kernels.matmul(*(np.ones(shape, "f4") for shape in shapes))


@pytest.mark.parametrize("weights", [(4,), (2, 5, 4), (5, 3)])
def test_the_affine_map_refuses_weights_that_do_not_fit(weights):
    with pytest.raises(ValueError, match="do not fit"):
        kernels.linear(np.ones((3, 4), "f4"), np.ones(weights, "f4"), None)


def test_special_products():
    a, b = draw(0, 3), draw(1, 3)
    m, n = draw(2, (3, 3)), draw(3, (3, 3))
    np.testing.assert_allclose(mg.dot(a, b).data, a @ b)
    np.testing.assert_allclose(mg.outer(a, b[:2]).data, np.outer(a, b[:2]))
    np.testing.assert_allclose(mg.mv(m, a).data, m @ a)
    np.testing.assert_allclose(mg.mm(m, n).data, m @ n)
    np.testing.assert_allclose(mg.bmm(m[None], n[None]).data, (m @ n)[None])
    np.testing.assert_allclose(mg.trace(m).data, np.trace(m))


def test_the_product_kernel_writes_into_out():
    from minigrad_kernels import matmul

    a, b = draw(0, (2, 3, 4)), draw(1, (4, 5))
    out = np.empty((2, 3, 5))
    assert matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, a @ b)
    with pytest.raises(ValueError):
        matmul(a, b, out=np.empty((3, 5)))


# einsum


@st.composite
def equations(draw_):
    """An equation of one to four operands over labels of lengths 1 to 3, diagonals included."""
    lengths = {c: draw_(st.integers(0 if c == "z" else 1, 3)) for c in "abcdez"}
    many = draw_(st.integers(1, 4))
    terms = ["".join(draw_(st.lists(st.sampled_from("abcdez"), max_size=4))) for _ in range(many)]
    used = sorted(set("".join(terms)))
    output = "".join(draw_(st.permutations(used)))[: draw_(st.integers(0, len(used)))]
    shapes = []
    for t in terms:
        # A label that occurs once in an operand may have length 1 there, and broadcasts.
        short = draw_(st.booleans()) and len(set(t)) == len(t)
        cut = draw_(st.integers(0, 3))
        shapes.append([1 if short and i == cut else lengths[c] for i, c in enumerate(t)])
    return ",".join(terms) + "->" + output, shapes


def by_loops(equation, *xs):
    """The definition: for every value of every label, add the product to the output."""
    left, output = equation.split("->")
    terms = left.split(",")
    lengths = {}
    for t, x in zip(terms, xs, strict=True):
        for c, n in zip(t, x.shape, strict=True):
            lengths[c] = n if lengths.get(c, 1) == 1 else lengths[c]
    total = np.zeros([lengths[c] for c in output])
    for values in np.ndindex(*lengths.values()):
        at = dict(zip(lengths, values, strict=True))
        product = 1.0
        for t, x in zip(terms, xs, strict=True):
            product *= x[tuple(at[c] % n for c, n in zip(t, x.shape, strict=True))]
        total[tuple(at[c] for c in output)] += product
    return total


@given(equations())
def test_einsum_and_its_gradients_against_loops(case):
    equation, shapes = case
    xs = [draw(i, shape) / 5 for i, shape in enumerate(shapes)]
    expected = by_loops(equation, *xs)
    y = mg.einsum(equation, *xs)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.data, expected, rtol=1e-9, atol=1e-9)
    check_gradients(lambda *t: mg.einsum(equation, *t), lambda *t: mg.einsum(equation, *t).data, xs)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba", [(2, 3)]),
        ("ii", [(3, 3)]),
        ("...ij->...ji", [(2, 4, 3)]),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
        ("i...,i...->...", [(3, 2, 4), (3, 4)]),
        ("a...,b...", [(2, 3), (4, 3)]),
        ("bhid, bhjd -> bhij", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 5), (5, 2)]),
        ("Ab,bA->A", [(2, 3), (3, 2)]),
        (",,->", [(), (), ()]),
    ],
)
def test_einsum_against_numpy(equation, shapes):
    xs = [draw(i, shape) for i, shape in enumerate(shapes)]
    np.testing.assert_allclose(mg.einsum(equation, *xs).data, np.einsum(equation, *xs), rtol=1e-9)
    if len(xs) > 1:
        np.testing.assert_allclose(mg.einsum(equation, xs).data, np.einsum(equation, *xs))


def test_einsum_keeps_types():
    assert mg.einsum("ij->i", np.ones((2, 3), "i4")).dtype == mg.int32
    assert mg.einsum("i,i->", np.ones(2, "f4"), np.ones(2, "i8")).dtype == mg.float32


def test_einsum_takes_one_list_of_tensors():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert mg.einsum("ii", [x]).item() == 5.0
    assert mg.einsum("i...->...", [x]).tolist() == [4.0, 6.0]
    assert mg.einsum("ij,jk->ik", (x, x)).tolist() == (x @ x).tolist()


def test_einsum_sums_float16_in_float32():
    x = np.ones((4096, 2), np.float16)  # float16 counts to 2048, then 2048 + 1 = 2048
    y = mg.einsum("ij->j", x)
    assert y.dtype == mg.float16 and y.tolist() == [4096.0, 4096.0]
