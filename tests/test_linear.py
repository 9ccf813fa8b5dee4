"""Linear layers with a ReLU in one operation, and the gradients of a layer in one kernel."""

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
import minigrad_kernels as kernels
from minigrad import nn
from minigrad.nn import functional as F


def layer(rows, inputs, outputs, dtype="f4", seed=3):
    rng = np.random.default_rng(seed)
    shapes = (*rows, inputs), (outputs, inputs), (outputs,)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def leaves(*arrays):
    return [mg.tensor(a, requires_grad=True) for a in arrays]


SIZES = [((1,), 784, 128), ((3,), 5, 300), ((13,), 300, 33), ((70,), 40, 7), ((2, 9), 6, 3)]


# Forward


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [*SIZES, ((), 5, 3), ((0,), 5, 3)])
def test_the_same_bits_as_one_after_the_other(rows, inputs, outputs, dtype):
    x, w, b = layer(rows, inputs, outputs, dtype)
    for bias in (b, None):
        found = F.linear_relu(x, w, bias)
        assert found.data.tobytes() == F.relu(F.linear(x, w, bias)).data.tobytes()
        assert found.dtype == dtype


@pytest.mark.parametrize("rows", [1, 6, 40])
def test_zeros_and_what_is_not_finite(rows):
    x = np.zeros((rows, 8), "f4")
    w, b = np.full((9, 8), -1.0, "f4"), np.full(9, -0.0, "f4")
    w[2, 0], w[3, 0], w[4, 0] = np.nan, np.inf, -np.inf
    b[5], b[6], b[7] = np.nan, np.inf, -np.inf
    y = F.linear_relu(x, w, b).data
    assert not np.signbit(y[~np.isnan(y)]).any()
    wanted = [0, 0, np.nan, np.nan, np.nan, np.nan, np.inf, 0, 0]
    np.testing.assert_array_equal(y, [wanted] * rows)


def test_types_and_single_outputs():
    x, w, b = layer((4,), 3, 2)
    assert F.linear_relu(x, w.astype("f8"), b).dtype == mg.float64
    assert F.linear_relu(x, w, b.astype("f8")).dtype == mg.float64
    half = [a.astype("f2") for a in (x, w, b)]
    np.testing.assert_array_equal(F.linear_relu(*half).data, F.relu(F.linear(*half)).data)
    np.testing.assert_array_equal(
        F.linear_relu(x, w[0], 0.5).data, F.relu(F.linear(x, w[0], 0.5)).data
    )
    assert F.linear_relu(mg.tensor([[1, -2]]), mg.tensor([[3, 4]])).tolist() == [[0]]


# Backward


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_gradients_as_one_after_the_other(rows, inputs, outputs, dtype):
    arrays = layer(rows, inputs, outputs, dtype)
    cotangent = np.random.default_rng(5).normal(size=(*rows, outputs)).astype(dtype)
    found, wanted = leaves(*arrays), leaves(*arrays)
    F.linear_relu(*found).backward(cotangent)
    z = F.relu(wanted[0] @ wanted[1].T + wanted[2])
    z.backward(cotangent)
    for x, y in zip(found, wanted, strict=True):
        size = max(1.0, float(np.abs(y.grad.data).max()))
        limit = 50 * float(np.finfo(dtype).eps) * size  # sums of up to 784 terms in another order
        np.testing.assert_allclose(x.grad.data, y.grad.data, rtol=0, atol=limit)


def test_the_derivative_at_zero_is_zero_and_nan_passes():
    x = mg.tensor([[1.0, 1.0]], requires_grad=True)
    w = mg.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [np.nan, 0.0]], requires_grad=True)
    b = mg.zeros(4, requires_grad=True)
    y = F.linear_relu(x, w, b)
    np.testing.assert_array_equal(y.data, [[0.0, 2.0, 0.0, np.nan]])
    y.backward(
        mg.tensor([[np.inf, 3.0, np.nan, 5.0]])
    )  # where y is 0, it does not matter what g is
    assert b.grad.tolist() == [0.0, 3.0, 0.0, 5.0]
    assert w.grad.tolist() == [[0.0, 0.0], [3.0, 3.0], [0.0, 0.0], [5.0, 5.0]]


@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_of_gradients(with_bias):
    arrays = layer((4,), 3, 5, "f8")[: 2 + with_bias]
    results = []
    for function in (F.linear_relu, lambda *args: F.relu(F.linear(*args))):
        xs = leaves(*arrays)
        first = mg.grad((function(*xs) ** 2).sum(), xs, create_graph=True)
        second = mg.grad(sum((g * g).sum() for g in first), xs)
        results.append([g.data for g in (*first, *second)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_only_what_is_needed_is_kept():
    x, w, b = (mg.tensor(a) for a in layer((4,), 3, 5))
    for needs, kept in (((w,), (x,)), ((x,), (w,)), ((b,), ()), ((x, w, b), (x, w))):
        for t in (x, w, b):
            t.requires_grad_(any(t is n for n in needs))
        for _, values in F.linear(x, w, b).node.kept():
            assert len(values) == len(kept)
            assert all(a is b for a, b in zip(values, kept, strict=True))
        y = F.linear_relu(x, w, b)
        for _, values in y.node.kept():
            assert values[-1] is y.data and len(values) == len(kept) + 1
        y.sum().backward()
        for t in needs:
            assert t.grad.shape == t.shape
            t.grad = None


def test_the_result_is_freed_with_its_graph():
    x, w, b = leaves(*layer((4,), 3, 5))
    gc.disable()
    try:
        y = F.linear_relu(x, w, b)
        total, array = y.sum(), weakref.ref(y.data)
        del y
        assert array() is not None
        total.backward()
        assert array() is None
    finally:
        gc.enable()


def test_a_change_of_the_result_is_noticed():
    x, w, b = leaves(*layer((4,), 3, 5))
    y = F.linear_relu(x, w, b)
    with mg.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="linear_relu .* keeps its output .* changed in place"):
        y.sum().backward()


# The kernel


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.ones((3, 7), "f4")},
        {"x": None},
        {"w": np.ones((6, 7), "f4")},
        {"w": np.ones(5, "f4")},
        {"w": None},
        {"y": np.ones((3, 5), "f4")},
        {"x": np.ones((4, 8), "f4")},
    ],
)
def test_arrays_that_do_not_fit_are_refused(change):
    arrays = {"g": (4, 5), "x": (4, 7), "w": (5, 7), "y": (4, 5)}
    given = {name: np.ones(shape, "f4") for name, shape in arrays.items()} | change
    out = tuple(np.full(shape, 77, "f4") for shape in ((4, 7), (5, 7), (5,)))
    for run in (kernels.linear_gradients, kernels.linear_gradients.reference):
        with pytest.raises(ValueError, match=r"linear_gradients: g \(4, 5\), x .* do not fit"):
            run(*given.values(), out=out)
    assert all((a == 77).all() for a in out)


def test_all_forms_of_the_gradients_agree_with_the_definition():
    """Few rows, few outputs, tiles, transposed copies; on one thread, and on several."""
    rng = np.random.default_rng(6)
    for rows, outputs, inputs in (
        *((1, 128, 784), (4, 700, 900), (900, 2, 700), (5, 6, 7), (64, 64, 128)),
        *((33, 100, 300), (300, 60, 50), (257, 129, 600), (1100, 130, 9)),
    ):
        shapes = (rows, outputs), (rows, inputs), (outputs, inputs), (rows, outputs)
        g, x, w, y = (rng.normal(size=s).astype("f4") for s in shapes)
        call = g, x, w, np.maximum(y, 0)
        wanted = kernels.linear_gradients.reference(*(a.astype("f8") for a in call))
        for found, exact in zip(kernels.linear_gradients(*call), wanted, strict=True):
            assert found.shape == exact.shape
            assert (
                np.abs(found - exact).max() <= 1e-6 * np.sqrt(rows + outputs) * np.abs(exact).max()
            )


# In networks


def sequence(*modules):
    mg.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), *modules)


def names(y):
    """The operations from the result back to the first, along first inputs."""
    found = []
    node = y.node
    while node.operation is not None:
        found.append(node.name)
        node = max((parent for parent, *_ in node.edges), key=lambda n: n.operation is not None)
    return found


X = np.random.default_rng(9).normal(size=(5, 6)).astype("f4")


def test_a_linear_layer_and_a_relu_are_one_operation_in_a_sequence():
    model = sequence(nn.ReLU(), nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 3))
    y = model(mg.tensor(X))
    assert names(y) == ["linear", "linear_relu", "linear_relu"]
    modules = list(model)
    z = mg.tensor(X)
    for module in modules:
        z = module(z)
    assert names(z) == ["linear", "relu", "linear", "relu", "linear"]
    assert y.data.tobytes() == z.data.tobytes()
    gradients = []
    for result in (y, z):
        model.zero_grad()
        (result * result).sum().backward()
        gradients.append([p.grad.data.copy() for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class Twice(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class Shifted(nn.ReLU):
    def forward(self, input):
        return super().forward(input) + 1


def watched(kind, module):
    getattr(module, f"register_forward_{kind}")(lambda *_: None)
    return module


def patched(module):
    module.forward = module.forward
    return module


@pytest.mark.parametrize(
    "model",
    [
        lambda: sequence(watched("hook", nn.ReLU())),
        lambda: sequence(watched("pre_hook", nn.ReLU())),
        lambda: nn.Sequential(watched("hook", nn.Linear(6, 8)), nn.ReLU()),
        lambda: nn.Sequential(watched("pre_hook", nn.Linear(6, 8)), nn.ReLU()),
        lambda: nn.Sequential(patched(nn.Linear(6, 8)), nn.ReLU()),
        lambda: sequence(patched(nn.ReLU())),
        lambda: sequence(nn.ReLU(inplace=True)),
        lambda: sequence(Shifted()),
        lambda: nn.Sequential(Twice(6, 8), nn.ReLU()),
        lambda: sequence(nn.Identity(), nn.ReLU()),
    ],
)
def test_layers_that_somebody_watches_or_has_changed_stay_apart(model):
    mg.manual_seed(2)
    model = model()
    y = model(mg.tensor(X))
    assert "linear_relu" not in names(y) and "linear" in names(y)
    z = mg.tensor(X)
    for module in model:
        z = module(z)
    np.testing.assert_array_equal(y.data, z.data)


def test_hooks_that_come_and_go():
    model, seen = sequence(nn.ReLU()), []
    handle = model[0].register_forward_hook(lambda module, args, y: seen.append(y.data.min()))
    assert names(model(mg.tensor(X))) == ["relu", "linear"]
    assert len(seen) == 1 and seen[0] < 0
    handle.remove()
    assert names(model(mg.tensor(X))) == ["linear_relu"]


def test_layers_of_a_sequence_may_be_replaced_while_it_is_used():
    model = sequence(nn.ReLU(), nn.ReLU())
    assert names(model(mg.tensor(X))) == ["relu", "linear_relu"]
    model[1] = nn.Tanh()
    assert names(model(mg.tensor(X))) == ["relu", "tanh", "linear"]
    assert model(X).shape == (5, 8) and nn.Sequential()(X) is X
