"""The engine: what `backward` and `grad` do, on graphs small enough to follow by hand."""

import gc
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import minigrad as mg


def leaf(*numbers):
    return mg.tensor(list(numbers), dtype=mg.float64, requires_grad=True)


def test_a_value_used_twice_receives_both_contributions():
    x = leaf(3.0)
    y = x * x + x
    y.backward()
    assert x.grad.tolist() == [7.0]


def test_an_output_named_twice_receives_both_cotangents():
    """Also a number, of which NumPy makes a scalar when it adds."""
    for shape in ((), (2,)):
        x = mg.ones(shape, requires_grad=True)
        for y in (x, x * 2):
            (g,) = mg.grad([y, y], [y], [mg.ones(shape), 2 * mg.ones(shape)])
            assert isinstance(g.data, np.ndarray) and g.device == "cpu"
            np.testing.assert_array_equal(g.data, np.full(shape, 3.0))


def test_a_diamond_passes_on_only_complete_gradients():
    # Depth-first recursion would send a's first contribution down to x before the second arrives.
    x = leaf(2.0)
    a = x * x
    b = a * 3
    c = a * b
    (c + a).backward()  # 3 x^4 + x^2
    assert x.grad.tolist() == [12 * 8.0 + 4.0]


def test_gradients_accumulate_over_passes_until_cleared():
    x = leaf(1.0, 2.0)
    for times in (1, 2, 3):
        (x * x).sum().backward()
        np.testing.assert_array_equal(x.grad.data, times * 2 * x.data)
    x.grad = None
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, 2 * x.data)


def test_backward_with_a_cotangent():
    x = leaf(1.0, 2.0, 3.0)
    (x * x).backward(mg.tensor([1.0, 0.0, -2.0]))
    assert x.grad.tolist() == [2.0, 0.0, -12.0]
    assert x.grad.dtype == mg.float64


def test_broadcasting_is_undone():
    a = mg.tensor(np.ones((2, 3)), requires_grad=True)
    b = mg.tensor(np.ones((3,)), requires_grad=True)
    c = mg.tensor(np.ones((2, 1)), requires_grad=True)
    (a + b * c).sum().backward()
    assert a.grad.shape == (2, 3)
    assert b.grad.tolist() == [2.0, 2.0, 2.0]
    assert c.grad.tolist() == [[3.0], [3.0]]


def test_broadcasting_is_undone_in_float32_for_float16():
    row = mg.tensor(np.ones(3, np.float16), requires_grad=True)
    (mg.tensor(np.zeros((4096, 3), np.float16)) + row).backward(np.ones((4096, 3), np.float16))
    assert row.grad.dtype == mg.float16
    assert row.grad.tolist() == [4096.0] * 3  # in float16 2048 + 1 is 2048


def test_grad_leaves_grad_alone_and_reaches_inner_tensors():
    x = leaf(2.0)
    a = x * x
    y = a * a * x
    ga, gx = mg.grad(y, [a, x])
    assert ga.tolist() == [2 * 4.0 * 2.0]
    assert gx.tolist() == [5 * 2.0**4]
    assert x.grad is None


def test_grad_of_an_output_by_itself_is_its_cotangent():
    y = leaf(2.0) * 3
    (g,) = mg.grad(y, y)
    assert g.tolist() == [1.0]


def test_grad_skips_what_leads_to_nothing_wanted():
    def forbidden(x):
        def rule(g):
            raise AssertionError("this rule was not needed")

        return mg.record(forbidden, x.data * 2, (x, rule, None))

    x, z = leaf(1.0), leaf(1.0)
    (g,) = mg.grad(x * 3 + forbidden(z), x)
    assert g.tolist() == [3.0]


def test_gradients_of_gradients():
    x = leaf(2.0)
    y = x**4
    for expected in (32.0, 48.0, 48.0, 24.0, 24.0 * 0):
        (y,) = mg.grad(y, x, create_graph=True, allow_unused=True)
        if expected == 0:
            assert y is None or y.tolist() == [0.0]
        else:
            assert y.tolist() == [expected]


def test_create_graph_puts_differentiable_gradients_into_grad():
    x = leaf(3.0)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    assert x.grad.tolist() == [18.0]


def test_two_inputs_that_are_the_same_tensor_get_arrays_of_their_own():
    x = leaf(1.0)
    a, b = mg.grad(x * 2, [x, x])
    assert a.tolist() == b.tolist() == [2.0]
    assert not np.shares_memory(a.data, b.data)


def test_gradients_never_share_memory_with_cotangents_or_each_other():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    g = mg.tensor([1.0, 1.0], dtype=mg.float64)
    (a + b).backward(g)
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, g.data)
    c = leaf(1.0, 2.0)
    c.backward(g)
    assert not np.shares_memory(c.grad.data, g.data)


def test_freed_graph_says_so():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"already freed .* retain_graph=True"):
        y.backward()
    assert x.grad.tolist() == [2.0]


def test_retain_graph_allows_another_pass():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: (x * 2).backward(), ValueError, r"shape \(2,\) needs a gradient to start from"),
        (lambda x: (x * 2).backward(mg.ones(3)), ValueError, r"shape \(3,\), the output \(2,\)"),
        (lambda x: x.detach().sum().backward(), ValueError, "does not depend on any tensor"),
        (lambda x: mg.grad(x.sum(), mg.ones(2)), ValueError, "input 0 .* does not require"),
        (lambda x: mg.grad(x.sum(), leaf(1.0)), ValueError, "do not depend on input 0"),
        (lambda x: mg.grad(x.sum(), []), ValueError, "no inputs"),
        (lambda x: mg.grad(x.sum(), [3.0]), TypeError, "input 0 is float"),
        (lambda x: mg.grad(x.sum(), 3.0), TypeError, "grad: inputs must be .* got float"),
        (lambda x: mg.backward(3.0), TypeError, "backward: outputs must be a list .* got float"),
        (lambda x: mg.backward([x.sum()], x), TypeError, "gradients must be a list .* got Tensor"),
        (lambda x: x.sum().backward(1j), TypeError, "gradient is complex128, the output float64"),
        (lambda x: x * 1j, TypeError, "to: .*requires a gradient.* complex128"),
        (lambda x: mg.no_grad(3), TypeError, "no_grad: wants a function, got int"),
        (lambda x: mg.backward([x.sum(), x.sum()], [None]), ValueError, "2 outputs but 1"),
        (lambda x: mg.backward([3.0]), TypeError, "outputs must be tensors, got float"),
        (lambda x: mg.tensor([1, 2], requires_grad=True), TypeError, "this one is int64"),
        (lambda x: setattr(x * 2, "requires_grad", False), ValueError, "were not computed"),
        (lambda x: x.detach().register_hook(print), ValueError, "does not require"),
        (lambda x: x.detach().retain_grad(), ValueError, "does not require"),
        (lambda x: x.numpy(), ValueError, r"detach\(\)"),
        (lambda x: np.asarray(x), ValueError, r"detach\(\)"),
        (lambda x: bool(x), ValueError, "ambiguous"),
        (lambda x: x.item(), ValueError, "exactly one element"),
    ],
)
def test_refusals(call, error, words):
    x = leaf(1.0, 2.0)
    with pytest.raises(error, match=words):
        call(x)
    assert x.grad is None


def test_a_rule_with_a_wrong_shape_is_named():
    def wrong(x):
        return mg.record(wrong, x.data * 1, (x, lambda g: np.ones(5), None))

    with pytest.raises(ValueError, match=r"rule of wrong .* shape \(5,\) .* shape \(2,\)"):
        wrong(leaf(1.0, 2.0)).sum().backward()


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "a rule of wrong .* returned NoneType, wanted an array"),
        ("text", "a rule of wrong .* returned str, wanted an array"),
        (np.ones(2) * 1j, "a gradient of complex128 for a leaf of float64"),
    ],
)
def test_a_rule_that_returns_no_real_numbers_is_refused(returned, words):
    def wrong(x):
        return mg.record(wrong, x.data * 1, (x, lambda g: returned, None))

    x = leaf(1.0, 2.0)
    with pytest.raises(TypeError, match=words):
        wrong(x).sum().backward()
    assert x.grad is None
    assert mg.is_grad_enabled()


@pytest.mark.parametrize(
    ("grad", "error", "words"),
    [
        (np.zeros(2), TypeError, "`grad` of a leaf must be a tensor, got ndarray"),
        (mg.zeros(2, 2), ValueError, r"`grad` of a leaf has shape \(2, 2\), its gradient \(2,\)"),
        (mg.zeros(2, dtype=mg.int64), TypeError, "`grad` of a leaf holds int64"),
    ],
)
def test_what_was_put_into_grad_must_fit(grad, error, words):
    x, z = leaf(1.0, 2.0), leaf(3.0, 4.0)
    x.grad = grad
    with pytest.raises(error, match=words):
        (x * z).sum().backward()
    assert x.grad is grad
    assert z.grad is None


def test_set_grad_enabled_switches_at_once_or_until_the_end_of_a_context():
    mg.set_grad_enabled(False)
    assert not mg.is_grad_enabled()
    mg.set_grad_enabled(True)
    with mg.set_grad_enabled(False):
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled()
    assert not mg.set_grad_enabled(False)(mg.is_grad_enabled)()
    assert mg.is_grad_enabled()


def test_no_grad_and_enable_grad_nest_and_decorate():
    x = leaf(1.0)
    with mg.no_grad():
        assert not (x * 2).requires_grad
        with mg.enable_grad():
            assert (x * 2).requires_grad
        assert not mg.is_grad_enabled()

    @mg.no_grad()
    def f():
        return (x * 2).requires_grad

    @mg.no_grad
    def g():
        return (x * 2).requires_grad

    assert not f() and not g() and mg.is_grad_enabled()
    with mg.set_grad_enabled(False):
        assert not mg.is_grad_enabled()


def test_no_grad_holds_for_its_own_thread_only():
    inside, checked, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        seen.append((leaf(1.0) * 2).requires_grad)
        checked.set()

    thread = threading.Thread(target=other)
    thread.start()
    with mg.no_grad():
        inside.set()
        checked.wait()
    thread.join()
    assert seen == [True]


def test_threads_can_share_a_graph():
    x = leaf(*range(8))
    y = (x * x * 2).sum()
    found = []

    def work():
        found.append(mg.grad(y, x, retain_graph=True)[0].tolist())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [[4.0 * i for i in range(8)]] * 8


def test_threads_can_accumulate_in_one_leaf():
    x = mg.zeros(300, 300, requires_grad=True)  # large enough for NumPy to let go of the GIL

    def work():
        for _ in range(20):
            (x * 2).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (x.grad == 320).all()


def test_hooks_see_and_replace_complete_gradients():
    x = leaf(1.0)
    a = x * 2
    seen = []
    a.register_hook(lambda g: seen.append(g.tolist()))
    handle = a.register_hook(lambda g: g * 10)
    (a + a * 3).backward(retain_graph=True)
    assert seen == [[4.0]]
    assert x.grad.tolist() == [80.0]
    handle.remove()
    handle.remove()
    x.grad = None
    (a + a * 3).backward()
    assert x.grad.tolist() == [8.0]


def test_a_hook_on_a_leaf_sees_the_sum():
    x = leaf(1.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * 2 + x * 5).backward()
    assert seen == [7.0]


@pytest.mark.parametrize("create_graph", [False, True])
def test_what_a_hook_saw_or_gave_is_not_accumulated_into(create_graph):
    x, y = leaf(1.0), leaf(1.0)
    seen = []
    given = mg.tensor([5.0], dtype=mg.float64)
    x.register_hook(seen.append)
    y.register_hook(lambda g: given)
    for _ in range(2):
        (x * 2 + y).backward(create_graph=create_graph)
    assert [g.item() for g in seen] == [2.0, 2.0]
    assert given.item() == 5.0
    assert (x.grad.item(), y.grad.item()) == (4.0, 10.0)


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (mg.ones(3), ValueError, r"hook on mul: .*\(3,\) for a gradient of shape \(1,\)"),
        ("text", TypeError, "hook on mul: returned str, wanted a tensor"),
        ([1j], TypeError, "hook on mul: returned complex128 for a gradient of float64"),
    ],
)
def test_a_hook_that_returns_something_else_is_refused(returned, error, words):
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: returned)
    with pytest.raises(error, match=words):
        y.backward()
    assert x.grad is None


def test_a_hook_may_return_numbers_of_another_type():
    x = leaf(1.0)
    x.register_hook(lambda g: [3])
    (x * 2).backward()
    assert (x.grad.item(), x.grad.dtype) == (3.0, mg.float64)


def test_retain_grad():
    x = leaf(3.0)
    a = x * 2
    a.retain_grad()
    (a * a).backward()
    assert a.grad.tolist() == [12.0]


def test_own_operation_differentiates_twice():
    def cube(x):
        x = mg.as_tensor(x)
        return mg.record(cube, x.data**3, (x, lambda g, x: g * 3 * x * x, x))

    x = leaf(2.0)
    (g,) = mg.grad(cube(x), x, create_graph=True)
    (h,) = mg.grad(g, x)
    assert (g.tolist(), h.tolist()) == ([12.0], [12.0])


def test_anomaly_mode_names_operation_and_line():
    x = leaf(0.0)
    with mg.detect_anomaly():
        y = mg.sqrt(x)  # the line to be named
        line = sys._getframe().f_lineno - 1
        with (
            np.errstate(divide="ignore"),
            pytest.raises(FloatingPointError, match=rf"sqrt, called at .*autograd\.py:{line}\b"),
        ):
            y.sum().backward()
    assert x.grad is None


def test_a_chain_of_a_million_operations():
    x = leaf(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + x
    y.backward()
    assert x.grad.tolist() == [1_000_001.0]


def test_a_dropped_chain_is_freed_without_recursion():
    y = leaf(1.0)
    for _ in range(300_000):
        y = y * 1.0
    node = weakref.ref(y.node)
    del y
    assert node() is None


def test_training_steps_leave_no_garbage():
    w = mg.tensor(np.ones((4, 4)), requires_grad=True)
    x = mg.tensor(np.ones((2, 4)))

    def step():
        w.grad = None
        loss = (mg.matmul(x, w).tanh() ** 2).mean()
        loss.backward()
        with mg.no_grad():
            w.sub_(w.grad * 0.1)

    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(4000):  # until the interpreter's own free lists are full
            step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            step()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()
    assert grown < 2000, f"1,000 steps left {grown} bytes behind"


def test_import_compiles_nothing_and_imports_nothing_heavy():
    code = (
        "import sys, minigrad; heavy = 'numba scipy cupy sklearn matplotlib tqdm'.split();"
        "print([m for m in heavy if m in sys.modules])"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert out.stdout.strip() == "[]"
