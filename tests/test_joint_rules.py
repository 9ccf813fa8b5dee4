"""Rules that find the gradients of several inputs together: what the engine does with them."""

import gc
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
import minigrad_kernels as kernels
from minigrad import nn, optim
from minigrad.graph import OUTPUT
from minigrad.recording import record_jointly
from minigrad_kernels import memory


def leaf(*numbers):
    return mg.tensor(list(numbers), dtype=mg.float64, requires_grad=True)


class Product:
    """x * y * z elementwise, with one rule for the three; it notes how it was called."""

    __name__ = "product"

    def __init__(self):
        self.calls = []

    def rule(self, g, x, y, z, wanted):
        self.calls.append(wanted)
        others = y * z, x * z, x * y
        return tuple(g * factor for factor, want in zip(others, wanted, strict=True) if want)

    def __call__(self, x, y, z):
        inputs = mg.as_tensor(x), mg.as_tensor(y), mg.as_tensor(z)
        x, y, z = inputs
        return record_jointly(self, x.data * y.data * z.data, inputs, self.rule, inputs)


@pytest.fixture
def product():
    return Product()


# Which gradients are asked for


def test_one_call_finds_all_gradients(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    product(x, y, z).backward()
    assert [t.grad.tolist() for t in (x, y, z)] == [[15.0], [10.0], [6.0]]
    assert product.calls == [(True, True, True)]


def test_constants_are_not_asked_for(product):
    x, z = leaf(2.0), leaf(5.0)
    product(x, 3.0, z).backward()
    assert [t.grad.tolist() for t in (x, z)] == [[15.0], [6.0]]
    assert product.calls == [(True, False, True)]
    assert product(1.0, 2.0, 3.0).node is None
    with mg.no_grad():
        assert product(x, 3.0, z).node is None


def test_partial_gradients(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    a = x * 2
    (g,) = mg.grad(product(a, y, z), y)
    assert g.tolist() == [20.0]
    gz, gx = mg.grad(product(a, y, z), [z, x])
    assert gx.tolist() == [30.0] and gz.tolist() == [12.0]
    assert product.calls == [(False, True, False), (True, False, True)]
    assert x.grad is None


def test_an_input_that_comes_twice(product):
    x, y = leaf(2.0), leaf(5.0)
    product(x, y, x).backward()
    assert x.grad.tolist() == [20.0] and y.grad.tolist() == [4.0]
    a = leaf(3.0) * 1
    (g,) = mg.grad(product(a, a, a), a)
    assert g.tolist() == [27.0]
    assert product.calls == [(True, True, True)] * 2


def test_broadcasting_is_undone(product):
    x, y, z = (mg.ones(*shape, requires_grad=True) for shape in ((2, 3), (3,), (2, 1)))
    product(x, y, z).sum().backward()
    assert [t.grad.shape for t in (x, y, z)] == [(2, 3), (3,), (2, 1)]
    assert y.grad.tolist() == [2.0, 2.0, 2.0] and z.grad.tolist() == [[3.0], [3.0]]


# How a pass goes through them


def test_gradients_of_gradients(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    gx, gy, gz = mg.grad(product(x, y, z), [x, y, z], create_graph=True)
    assert mg.grad(gx, [y, z], retain_graph=True) == (5.0, 3.0)
    assert mg.grad(gy * 1, x, retain_graph=True) == (5.0,)
    (second,) = mg.grad(gz, y, create_graph=True)
    assert second == 2.0 and mg.grad(second, x) == (1.0,)


def test_forward_mode_and_hessian(product):
    inputs = tuple(mg.tensor([n], dtype=mg.float64) for n in (2.0, 3.0, 5.0))
    ones = tuple(mg.ones(1, dtype=mg.float64) for _ in inputs)
    assert mg.jvp(product, inputs, ones)[1].tolist() == [31.0]
    rows = mg.hessian(lambda *args: product(*args).sum(), inputs)
    found = [[entry.item() for entry in row] for row in rows]
    assert found == [[0.0, 5.0, 3.0], [5.0, 0.0, 2.0], [3.0, 2.0, 0.0]]


def test_a_graph_that_is_retained_and_one_that_is_freed(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    result = product(x, y, z)
    result.backward(retain_graph=True)
    result.backward()
    assert [t.grad.tolist() for t in (x, y, z)] == [[30.0], [20.0], [12.0]]
    with pytest.raises(RuntimeError, match="the graph of product .* was already freed"):
        result.backward()


def test_hooks_see_and_replace_each_gradient(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    a = x * 1
    seen = []
    a.register_hook(lambda g: seen.append(g.item()))
    y.register_hook(lambda g: g * 100)
    result = product(a, y, z)
    result.register_hook(lambda g: g * 2)
    result.backward()
    assert seen == [30.0]
    assert [t.grad.tolist() for t in (x, y, z)] == [[30.0], [2000.0], [12.0]]


def test_checkpoints(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    mg.checkpoint(lambda a: product(a * 1, y, z), x).backward()
    assert [t.grad.tolist() for t in (x, y, z)] == [[15.0], [10.0], [6.0]]


class Diary(mg.Observer):
    def __init__(self):
        self.events = []

    def called(self, node, parent, rule, contribution):
        self.events.append(("called", node.name, parent.name, rule, contribution.tolist()))

    def added(self, parent, contribution, total):
        self.events.append(("added", parent.name, total.tolist()))


def test_observers_are_told_of_every_input(product):
    x, y = leaf(2.0), leaf(3.0)
    with mg.observe(Diary()) as diary:
        product(x * 1, y, y).backward()
    rule = product.rule
    assert diary.events == [
        ("called", "product", "mul", rule, [9.0]),
        ("called", "product", "tensor", rule, [6.0]),
        ("called", "product", "tensor", rule, [6.0]),
        ("added", "tensor", [12.0]),
        ("called", "mul", "tensor", diary.events[4][3], [9.0]),
    ]


def test_anomaly_mode_names_the_operation(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    with (
        mg.detect_anomaly(),
        pytest.raises(FloatingPointError, match="product, called at .*joint_rules.py:"),
    ):
        product(x, y, z).backward(mg.tensor([np.inf], dtype=mg.float64))
    assert x.grad is None and y.grad is None


# What rules keep


def half_kept(x, y):
    """x * y, which keeps a factor only where the other's gradient can be asked for."""
    inputs = mg.as_tensor(x), mg.as_tensor(y)
    x, y = inputs

    def rule(g, x, y, wanted):
        factors = y, x
        return [g * f for f, want in zip(factors, wanted, strict=True) if want]

    kept = None if y.node is None else x, None if x.node is None else y
    return record_jointly(half_kept, x.data * y.data, inputs, rule, kept)


def test_what_is_not_needed_is_not_kept():
    x, y = leaf(2.0), mg.tensor([3.0], dtype=mg.float64)
    result = half_kept(x, y)
    assert result.node.kept() == [(x.node, (y,))]
    with mg.no_grad():
        x.mul_(7)  # nobody needs it
    result.backward()
    assert x.grad.tolist() == [3.0]
    (g,) = mg.grad(half_kept(x, y), x, create_graph=True)
    assert g.tolist() == [3.0]


@pytest.mark.parametrize("number", [0, 1])
def test_changes_in_place_are_noticed(product, number):
    x, y, z = leaf(2.0), leaf(3.0), mg.tensor([5.0], dtype=mg.float64)
    result = product(x, y, z)
    with mg.no_grad():
        (x, z)[number].mul_(2)
    with pytest.raises(RuntimeError, match="product .* keeps an input .* changed in place by mul_"):
        result.backward()
    assert x.grad is None and y.grad is None and not product.calls


def test_a_view_among_the_inputs(product):
    x = leaf(2.0, 3.0, 5.0)
    product(x[0], x[1], x[2]).backward()
    assert x.grad.tolist() == [15.0, 10.0, 6.0]


def test_the_operations_own_output():
    def squares(x, y):
        def rule(g, z, wanted):
            return [2 * g * z**0.5] * sum(wanted)

        return record_jointly(squares, (x.data + y.data) ** 2, (x, y), rule, (OUTPUT,))

    x, y = leaf(2.0), leaf(3.0)
    z = squares(x, y)
    ((_, (kept,)), _) = z.node.kept()
    assert kept is z.data
    gx, gy = mg.grad(z, [x, y], create_graph=True)
    assert gx.tolist() == gy.tolist() == [10.0]
    assert mg.grad(gx, y) == (2.0,)


def test_nothing_is_left_of_a_freed_graph(product):
    x, y = leaf(2.0), leaf(3.0)
    z = mg.tensor([5.0], dtype=mg.float64)
    result = product(x, y, z)
    node, kept = weakref.ref(result.node), weakref.ref(z)
    gc.disable()
    try:
        result.backward()
        del z
        assert kept() is None
        del result
        assert node() is None
        result = product(x, y, 1.0)
        node = weakref.ref(result.node)
        del result
        assert node() is None
    finally:
        gc.enable()


# What rules return


@pytest.mark.parametrize(
    ("found", "what"), [((), "0"), ([1.0, 2.0, 3.0], "3"), (1.0, "float"), (None, "NoneType")]
)
def test_a_rule_must_return_as_many_gradients_as_are_wanted(found, what):
    def broken(x, y):
        return record_jointly(broken, x.data + y.data, (x, y), lambda g, wanted: found, ())

    x, y = leaf(1.0), leaf(1.0)
    wanted = f"the rule of broken .* returned {what}, wanted a tuple of 2 gradients"
    with pytest.raises(ValueError, match=wanted):
        broken(x, y).backward()
    assert x.grad is None and y.grad is None


def test_wrong_shapes_are_refused():
    def broken(x, y):
        def rule(g, wanted):
            return g, np.ones(7)

        return record_jointly(broken, x.data + y.data, (x, y), rule, ())

    with pytest.raises(ValueError, match=r"a rule of broken .* shape \(7,\) for .* shape \(2,\)"):
        broken(leaf(1.0, 1.0), leaf(1.0, 1.0)).backward(mg.ones(2))


def test_gradients_never_share_memory():
    def total(x, y):
        return record_jointly(total, x.data + y.data, (x, y), lambda g, wanted: (g, g), ())

    def twice(x, y):
        def rule(g, wanted):
            found = g * 2
            return found, found

        return record_jointly(twice, 2 * (x.data + y.data), (x, y), rule, ())

    for operation in (total, twice):
        x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
        cotangent = mg.ones(2, dtype=mg.float64)
        operation(x, y).backward(cotangent)
        arrays = x.grad.data, y.grad.data, cotangent.data
        for i, a in enumerate(arrays):
            assert not any(np.shares_memory(a, b) for b in arrays[:i])


# Threads


def test_threads_may_share_a_retained_graph(product):
    x, y, z = leaf(2.0), leaf(3.0), leaf(5.0)
    result = product(x * 1, y, z)
    found, start = [], threading.Barrier(4)

    def run(factor):
        start.wait()
        for _ in range(50):
            seed = mg.tensor([factor], dtype=mg.float64)
            gx, gz = mg.grad(result, [x, z], seed, retain_graph=True)
            found.append((factor, gx.item(), gz.item()))

    threads = [threading.Thread(target=run, args=(float(i + 1),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200 and all(gx == 15 * f and gz == 6 * f for f, gx, gz in found)


# Memory set aside for gradients


def doubled_pair(x, y, reverse=False):
    """2 (x + y): its rule asks for memory for both gradients, for y's first if `reverse`."""

    def rule(g, wanted):
        places = [memory.empty(g.shape, g.dtype) for _ in range(2)]
        for place, factor in zip(places, (2, 3), strict=True):
            np.multiply(g, factor, out=place)
        return places[::-1] if reverse else places

    return record_jointly(doubled_pair, 2 * x.data + 3 * y.data, (x, y), rule, ())


def parameters(*shapes):
    """Parameters whose gradients are not copied, what knows their places, and their optimizer."""
    ps = [nn.Parameter(np.ones(shape, np.float32)) for shape in shapes]
    optimizer = optim.SGD(ps, lr=0.1)
    return ps, parts_of(optimizer), optimizer


def parts_of(optimizer):
    return [place[0] for place in optimizer._plans[0].places]


def test_kernels_write_the_gradients_of_all_leaves_to_their_places():
    (p, q), parts, optimizer = parameters((300, 301), (300, 301))
    for _ in range(2):
        optimizer.zero_grad()
        doubled_pair(p, q).backward(mg.ones(300, 301))
        assert p.grad.data is parts[0].grad and q.grad.data is parts[1].grad
        assert (p.grad.data == 2).all() and (q.grad.data == 3).all()
        optimizer.step()


def test_places_that_were_mistaken_for_each_other():
    """The kernel asks for the second input's gradient first: right, if not without copies."""
    (p, q), _, optimizer = parameters((300, 301), (300, 301))
    for _ in range(2):
        optimizer.zero_grad()
        doubled_pair(p, q, reverse=True).backward(mg.ones(300, 301))
        assert (p.grad.data == 3).all() and (q.grad.data == 2).all()
        assert not np.shares_memory(p.grad.data, q.grad.data)
        optimizer.step()


def test_a_linear_layer_writes_both_gradients_to_their_places():
    for rows in (3, 8, 301):  # with 301 rows the input's gradient has the weight's shape
        layer = nn.Linear(300, 301)
        optimizer = optim.SGD(layer.parameters(), lr=0.1)
        weight, bias = parts_of(optimizer)
        x = mg.ones(rows, 300, requires_grad=True)
        layer(x).sum().backward()
        if kernels.BACKENDS["numba"].available:
            assert layer.weight.grad.data is weight.grad and layer.bias.grad.data is bias.grad
        assert (layer.weight.grad.data == rows).all() and (layer.bias.grad.data == rows).all()
        np.testing.assert_allclose(x.grad.data[0], layer.weight.data.sum(0), rtol=1e-4, atol=1e-5)


def test_no_place_is_offered_after_a_rule_or_after_an_error():
    (p, q), parts, _ = parameters((300, 301), (300, 301))

    def broken(x, y):
        def rule(g, wanted):
            raise ArithmeticError("broken")

        return record_jointly(broken, x.data + y.data, (x, y), rule, ())

    with pytest.raises(ArithmeticError):
        broken(p, q).backward(mg.ones(300, 301))
    assert all(memory.empty((300, 301), np.float32) is not part.grad for part in parts)

    def idle(x, y):
        def rule(g, wanted):
            return g + 0, g + 0

        return record_jointly(idle, x.data + y.data, (x, y), rule, ())

    idle(p, q).backward(mg.ones(300, 301))
    assert all(memory.empty((300, 301), np.float32) is not part.grad for part in parts)
    assert (p.grad.data == 1).all() and (q.grad.data == 1).all()


def test_a_gradient_that_is_held_keeps_its_place():
    (p, q), parts, _ = parameters((300, 301), (300, 301))
    doubled_pair(p, q).backward(mg.ones(300, 301))
    held, p.grad, q.grad = p.grad, None, None
    doubled_pair(p, q).backward(mg.full((300, 301), 5.0))
    assert (held.data == 2).all() and held.data is parts[0].grad
    assert (p.grad.data == 10).all() and (q.grad.data == 15).all()


def test_asking_for_gradients_of_parameters_fills_no_places():
    (p, q), parts, _ = parameters((300, 301), (300, 301))
    for g in mg.grad(doubled_pair(p, q), [p, q], mg.ones(300, 301)):
        assert not any(g.data is part.grad for part in parts)
    assert p.grad is None and q.grad is None
