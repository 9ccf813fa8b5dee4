"""Changing tensors in place: what is allowed, what backward notices, and what the messages say."""

import operator
import sys

import numpy as np
import pytest

import minigrad as mg


def leaf(*numbers):
    return mg.tensor(list(numbers), dtype=mg.float64, requires_grad=True)


def here(offset=-1):
    return sys._getframe(1).f_lineno + offset


def test_a_changed_input_is_an_error_that_names_both_lines():
    x = leaf(1.0, 2.0)
    a = x * 1.0
    y = a * a
    used = here()
    a.add_(1.0)
    changed = here()
    with pytest.raises(RuntimeError) as caught:
        y.sum().backward()
    message = str(caught.value)
    assert f"mul (called at {__file__}:{used})" in message
    assert f"add_ at {__file__}:{changed}" in message
    assert x.grad is None


def test_a_changed_output_is_an_error():
    y = mg.exp(leaf(1.0))
    z = y * 1.0
    y.mul_(2.0)
    with pytest.raises(RuntimeError, match="exp .* keeps its output .* changed in place by mul_"):
        z.backward()


def test_a_change_through_a_view_or_a_detached_tensor_is_noticed():
    for alias in (
        lambda t: t.detach(),
        lambda t: t.detach()[1:],
        lambda t: t.detach().reshape(2, 1),
    ):
        x = leaf(1.0, 2.0)
        y = x * x
        with mg.no_grad():
            alias(x).mul_(3.0)
        with pytest.raises(RuntimeError, match="keeps an input"):
            y.sum().backward()


def test_a_change_elsewhere_in_the_same_memory_is_no_error():
    data = np.arange(4.0)
    a = mg.from_numpy(data[:2]).requires_grad_()
    b = mg.from_numpy(data[2:])
    y = a * a
    b.mul_(5.0)
    y.sum().backward()
    assert a.grad.tolist() == [0.0, 2.0]


def test_a_change_that_backward_does_not_need_is_no_error():
    x = leaf(1.0, 2.0)
    a = x * 2
    y = a + 1  # addition keeps nothing
    a.mul_(100.0)
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_step_of_an_optimizer_between_passes_is_fine():
    x = leaf(1.0)
    for _ in range(3):
        x.grad = None
        (x * x).sum().backward()
        with mg.no_grad():
            x.sub_(x.grad * 0.1)
    assert x.requires_grad and x.is_leaf
    np.testing.assert_allclose(x.data, 0.8**3)


def test_differentiable_changes():
    x = leaf(1.0, 2.0, 3.0)
    a = x * 1.0
    a.mul_(x)
    a += 1.0
    a[1] = x[0] * 10.0
    a[2:] = a[2:] * 2.0
    a.sum().backward()
    # a = [x0² + 1, 10 x0, 2 (x2² + 1)]
    assert x.grad.tolist() == [2.0 + 10.0, 0.0, 12.0]


def test_assignment_into_a_constant_puts_it_into_the_graph():
    x = leaf(2.0)
    buffer = mg.zeros(3, dtype=mg.float64)
    buffer[1] = x[0] * 3
    (buffer * buffer).sum().backward()
    assert x.grad.tolist() == [2 * 6.0 * 3]


def test_a_leaf_is_not_changed_while_recording():
    x = leaf(1.0)
    for change in (lambda: x.add_(1.0), lambda: x.__setitem__(0, 5.0), lambda: x.zero_()):
        with pytest.raises(RuntimeError, match="leaf tensor that requires a gradient"):
            change()
    assert x.tolist() == [1.0]


def test_a_view_whose_base_is_in_use_is_not_changed_while_recording():
    x = leaf(1.0, 2.0)
    a = x * 1.0
    view = a[0:1]
    with pytest.raises(RuntimeError, match="is a view"):
        view.mul_(2.0)
    with pytest.raises(RuntimeError, match=r"mul_: .* x\[i\] = x\[i\]"):
        a[0:1] *= 2.0
    assert a.tolist() == [1.0, 2.0]


def test_a_constant_whose_views_are_in_use_does_not_become_part_of_the_graph():
    x, a = leaf(1.0, 2.0), mg.zeros(2, dtype=mg.float64)
    view = a[:1]  # constant, and of numbers that would depend on x
    with pytest.raises(RuntimeError, match="a view of it that was taken before would not know"):
        a.add_(x)
    assert a.tolist() == [0.0, 0.0] and not a.requires_grad
    del view
    array, constant = a.numpy(), a.detach()  # are constants whatever happens, as their names say
    a.add_(x)
    later = a[:1]
    (later * x[:1]).sum().backward()
    assert x.grad.tolist() == [2.0, 0.0]
    assert array.tolist() == constant.tolist() == [1.0, 2.0]


def test_a_view_taken_before_a_recorded_change_is_stale():
    x = leaf(1.0, 2.0)
    a = x * 1.0
    view = a[0:1]
    a.mul_(3.0)
    with pytest.raises(RuntimeError, match="made a view .* changed in place by mul_"):
        (view * 2).sum().backward()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda x: x.add_(mg.ones(2, 3)),
            ValueError,
            r"add_: .* shape \(2, 3\), the tensor \(3,\)",
        ),
        (lambda x: mg.tensor([1, 2]).add_(0.5), TypeError, "add_: .* float32, .* int64"),
        (lambda x: x.expand(2, 3).add_(1.0), ValueError, "read-only"),
        (lambda x: x.add_(mg.ones(4)), ValueError, r"\(3,\) and \(4,\)"),
        (lambda x: x.__setitem__(7, 1.0), IndexError, "setitem"),
        (lambda x: x.__setitem__(slice(None), mg.ones(4)), ValueError, "setitem"),
    ],
)
def test_refusals_change_nothing(change, error, words):
    x = mg.tensor([1.0, 2.0, 3.0])
    with pytest.raises(error, match=words):
        change(x)
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_read_only_memory_is_refused():
    data = np.ones(3)
    data.flags.writeable = False
    x = mg.from_numpy(data)
    with pytest.raises(ValueError, match="read-only"):
        x.add_(1.0)


def test_results_of_in_place_methods_are_the_tensor_itself():
    x = mg.tensor([4.0, 9.0])
    assert x.sqrt_() is x and x.tolist() == [2.0, 3.0]
    assert x.fill_(5.0) is x and x.tolist() == [5.0, 5.0]
    assert x.zero_() is x and x.tolist() == [0.0, 0.0]
    assert x.copy_([1.0, 2.0]) is x and x.tolist() == [1.0, 2.0]
    assert x.clamp_(max=1.5) is x and x.tolist() == [1.0, 1.5]
    memory = x.data
    x /= 2
    assert x.data is memory and x.tolist() == [0.5, 0.75]


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (operator.ifloordiv, [7.0, -7.0], [3.0, -4.0]),
        (operator.imod, [7.0, -7.0], [1.0, 1.0]),
        (operator.iand, [7, 4], [2, 0]),
        (operator.ior, [5, 4], [7, 6]),
        (operator.ixor, [7, 4], [5, 6]),
    ],
)
def test_operators_of_whole_numbers_and_bits_change_the_tensor_itself(change, before, after):
    x = mg.tensor(before)
    whole, memory = x, x.data
    x = change(x, 2)
    assert x is whole and x.data is memory and x.tolist() == after
    with pytest.raises(ValueError, match="the result has shape"):
        change(x, mg.tensor([[2], [2]]))
    with pytest.raises(TypeError, match="the result is"):
        change(mg.tensor([True, False]), 2)


def test_integers_stay_out_of_the_graph():
    x = leaf(2.0, 3.0)
    counts = mg.zeros(3, dtype=mg.int64)
    counts[1] = x[0]
    counts[:1].copy_(x[1:])
    assert counts.tolist() == [3, 2, 0] and not counts.requires_grad


def test_a_parameter_update_through_data():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    x.data -= 0.1 * x.grad
    np.testing.assert_allclose(x.data, [0.8, 1.6])


def test_adding_to_grad_is_a_change_that_is_noticed():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    y = (x * x.grad).sum()
    (x * 3).sum().backward()
    with pytest.raises(RuntimeError, match="changed in place by backward"):
        y.backward()


@pytest.mark.parametrize(
    "index",
    [
        1,
        slice(None, None, -1),
        (0, slice(1)),
        [1, 0],
        (slice(None), [0, 2]),
        (1, 0),
        (0, [1, 1]),
        (),
    ],
)
def test_assignment_does_the_same_whether_or_not_it_is_recorded(index):
    x, value = np.arange(6.0).reshape(2, 3), 7.0
    plain = mg.tensor(x)
    memory = plain.data
    plain[index] = value
    assert plain.data is memory
    recorded = mg.tensor(x)
    recorded[index] = leaf(value)[0]
    np.testing.assert_array_equal(plain.data, recorded.detach().data)


def test_assignment_from_the_same_memory():
    x = mg.tensor([1.0, 2.0, 3.0])
    x[1:] = x[:-1]
    assert x.tolist() == [1.0, 1.0, 2.0]


def test_after_many_changes_of_parts_the_last_is_taken_for_all_of_them():
    x = mg.zeros(3000, dtype=mg.float64)
    w = leaf(2.0)
    y = w * x[1500]
    for i in range(2999):
        x[i : i + 1].add_(1.0)
    with pytest.raises(RuntimeError, match="changed in place by add_"):
        y.backward()
    z = w * x[1500]
    z.backward()
    assert w.grad.tolist() == [1.0]
