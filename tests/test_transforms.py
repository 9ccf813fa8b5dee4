"""Functions of functions, against derivatives worked out by hand."""

import threading

import numpy as np
import pytest

import minigrad as mg


def t(*numbers):
    return mg.tensor(list(numbers), dtype=mg.float64)


def cubes(x):
    return x * x * x


def test_value_and_grad():
    f = mg.value_and_grad(lambda a, b, scale=1.0: (a * a * b).sum() * scale, argnums=(0, 1))
    value, (ga, gb) = f(t(1.0, 2.0), t(3.0, 4.0), scale=2.0)
    assert value.item() == 2 * (3 + 16)
    assert ga.tolist() == [12.0, 32.0]
    assert gb.tolist() == [2.0, 8.0]
    assert not value.requires_grad and not ga.requires_grad


def test_value_and_grad_with_aux_and_unused_arguments():
    f = mg.value_and_grad(lambda a, b: ((a * a).sum(), "seen"), argnums=(0, 1), has_aux=True)
    (value, aux), (ga, gb) = f(t(3.0), t(1.0))
    assert (value.item(), aux, ga.tolist(), gb.tolist()) == (9.0, "seen", [6.0], [0.0])


def test_value_and_grad_works_under_no_grad_and_leaves_arguments_alone():
    x = mg.tensor([2.0], requires_grad=True)
    with mg.no_grad():
        _, g = mg.value_and_grad(lambda x: (x * x).sum())(x)
    assert g.tolist() == [4.0] and x.grad is None


def test_vjp_and_jvp():
    x, v = t(1.0, 2.0), t(10.0, 100.0)
    y, product = mg.vjp(cubes, x, v)
    assert y.tolist() == [1.0, 8.0] and product.tolist() == [30.0, 1200.0]
    y, product = mg.jvp(cubes, x, v)
    assert y.tolist() == [1.0, 8.0] and product.tolist() == [30.0, 1200.0]


def test_vjp_and_jvp_are_transposes_of_each_other():
    rng = np.random.default_rng(0)
    a = mg.tensor(rng.normal(size=(4, 3)))

    def f(x, w):
        return (mg.matmul(a, x) * w).tanh(), x * w[0]

    x, w = mg.tensor(rng.normal(size=3)), mg.tensor(rng.normal(size=4))
    us = (mg.tensor(rng.normal(size=4)), mg.tensor(rng.normal(size=3)))
    vs = (mg.tensor(rng.normal(size=3)), mg.tensor(rng.normal(size=4)))
    _, pulled = mg.vjp(f, (x, w), us)
    _, pushed = mg.jvp(f, (x, w), vs)
    left = sum((u * p).sum().item() for u, p in zip(us, pushed, strict=True))
    right = sum((v * p).sum().item() for v, p in zip(vs, pulled, strict=True))
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_jvp_of_a_linear_function_and_of_a_constant_one():
    assert mg.jvp(lambda x: x * 3, t(1.0), t(2.0))[1].tolist() == [6.0]
    assert mg.jvp(lambda x: t(5.0), t(1.0), t(2.0))[1].tolist() == [0.0]


def test_hvp_jacobian_hessian():
    x, v = t(1.0, 2.0), t(1.0, -1.0)

    def f(x):
        return x[0] ** 2 * x[1] ** 3

    hessian = [[2 * 8.0, 2 * 3 * 4.0], [2 * 3 * 4.0, 6 * 2.0]]
    np.testing.assert_allclose(mg.hessian(f, x).data, hessian)
    value, product = mg.hvp(f, x, v)
    assert value.item() == 8.0
    np.testing.assert_allclose(product.data, np.array(hessian) @ v.data)
    assert mg.jacobian(cubes, x).tolist() == [[3.0, 0.0], [0.0, 12.0]]


def test_jacobian_of_several_inputs_and_outputs():
    blocks = mg.jacobian(lambda a, b: (a * b, a.sum()), (t(1.0, 2.0), t(3.0)))
    assert blocks[0][0].tolist() == [[3.0, 0.0], [0.0, 3.0]]
    assert blocks[0][1].tolist() == [[1.0], [2.0]]
    assert blocks[1][0].tolist() == [1.0, 1.0]
    assert blocks[1][1].tolist() == [0.0]
    ((ha, hab), (hba, hb)) = mg.hessian(lambda a, b: (a * a * b).sum(), (t(1.0), t(3.0)))
    assert (ha.tolist(), hab.tolist(), hba.tolist(), hb.tolist()) == (
        [[6.0]],
        [[2.0]],
        [[2.0]],
        [[0.0]],
    )


def test_third_derivative_through_hessian():
    x = mg.tensor([2.0], dtype=mg.float64, requires_grad=True)
    h = mg.hessian(lambda x: (x**4).sum(), x, create_graph=True)
    (third,) = mg.grad(h.sum(), x)
    np.testing.assert_allclose(third.data, [48.0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mg.hessian(cubes, t(1.0, 2.0)), ValueError, "must return one number"),
        (lambda: mg.hvp(cubes, t(1.0, 2.0), t(1.0, 1.0)), ValueError, "must return one number"),
        (lambda: mg.vjp(cubes, t(1.0, 2.0)), ValueError, "left out only for"),
        (lambda: mg.vjp(cubes, t(1.0), t(1.0, 2.0)), ValueError, r"v has shape \(2,\), wanted"),
        (lambda: mg.vjp(cubes, (t(1.0),), (t(1.0), t(2.0))), ValueError, r"shape \(2, 1\)"),
        (lambda: mg.jvp(cubes, (t(1.0),), (t(1.0), t(2.0))), ValueError, "v has 2 tensors"),
        (lambda: mg.jacobian(cubes, mg.tensor([1, 2])), TypeError, "int64"),
        (lambda: mg.jacobian(lambda x: 3.0, t(1.0)), TypeError, "must return tensors, not float"),
        (lambda: mg.value_and_grad(cubes, argnums=1)(t(1.0)), ValueError, "names 1, there are 1"),
        (lambda: mg.value_and_grad(lambda x: 3.0)(t(1.0)), TypeError, "returned float"),
        (lambda: mg.value_and_grad(cubes, argnums="a"), TypeError, "argnums must be an integer"),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_cotangents_and_tangents_of_single_numbers_can_be_left_out():
    x = mg.tensor(2.0, dtype=mg.float64)
    for function in (mg.vjp, mg.jvp):
        y, product = function(lambda x: x**3, x)
        assert (y.item(), product.item()) == (8.0, 12.0)


def test_threads_can_go_through_one_checkpoint():
    x = t(*range(20)).requires_grad_()
    y = mg.checkpoint(lambda x: (x * x).exp().log() * x, x)
    found = {}

    def work(i):
        v = mg.tensor(np.full(20, float(i)))
        found[i] = [mg.grad(y, x, v, retain_graph=True)[0].data / i for _ in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(1, 5):
        np.testing.assert_allclose(found[i], [3 * np.arange(20.0) ** 2] * 20, rtol=1e-9)


def test_checkpoint_gives_the_same_gradients_and_keeps_only_inputs():
    w = mg.tensor([2.0], dtype=mg.float64, requires_grad=True)
    x = mg.tensor([1.0, 2.0], dtype=mg.float64, requires_grad=True)
    outer = w * 3
    calls = []

    def block(x, power):
        calls.append(1)
        return (x**power * w).tanh() * outer

    plain = (block(x * 2, 2) * x).sum()
    expected = mg.grad(plain, [x, w], retain_graph=True)
    calls.clear()
    y = mg.checkpoint(block, x * 2, 2)
    (kept,) = {k for _, k in [(p, len(v)) for p, v in y.node.kept()]}
    assert kept == 2  # the argument and w
    found = mg.grad((y * x).sum(), [x, w])
    assert len(calls) == 2
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.data, b.data)


def test_checkpoint_fills_grad_of_parameters_once_and_runs_hooks_once():
    w = mg.tensor([2.0], requires_grad=True)
    seen = []
    w.register_hook(lambda g: seen.append(g.item()))
    x = mg.tensor([3.0], requires_grad=True)
    mg.checkpoint(lambda x: x * w, x).backward()
    assert (w.grad.item(), x.grad.item(), seen) == (3.0, 2.0, [3.0])


def test_checkpoint_differentiates_twice():
    x = mg.tensor([1.5], dtype=mg.float64, requires_grad=True)
    w = mg.tensor([0.5], dtype=mg.float64, requires_grad=True)
    y = mg.checkpoint(lambda x: x**3 * w, x)
    (g,) = mg.grad(y, x, create_graph=True)
    gx, gw = mg.grad(g, [x, w])
    np.testing.assert_allclose(gx.data, 6 * 1.5 * 0.5)
    np.testing.assert_allclose(gw.data, 3 * 1.5**2)


def test_checkpoint_draws_the_same_random_numbers_again():
    x = mg.tensor(np.ones(1000), requires_grad=True)
    mg.manual_seed(1)
    y = mg.checkpoint(lambda x: mg.nn.functional.dropout(x, 0.5), x)
    after = mg.rand(1).item()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)
    mg.manual_seed(1)
    mg.nn.functional.dropout(x, 0.5)
    assert mg.rand(1).item() == after


def test_checkpoint_without_gradients_just_calls():
    with mg.no_grad():
        assert mg.checkpoint(cubes, t(2.0)).tolist() == [8.0]
    assert not mg.checkpoint(cubes, t(2.0)).requires_grad


def test_checkpoint_refuses_several_outputs_and_stale_inputs():
    x = mg.tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="must return one tensor, not tuple"):
        mg.checkpoint(lambda x: (x, x), x)
    a = x * 1
    y = mg.checkpoint(cubes, a)
    a.add_(1)
    with pytest.raises(RuntimeError, match="checkpoint .* changed in place by add_"):
        y.backward()
