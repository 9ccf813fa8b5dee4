"""Optimizers against the textbook's formulas, one number after the other; state; bad input."""

import copy
import itertools
import math

import numpy as np
import pytest

import minigrad as mg
import minigrad_kernels as kernels
from minigrad import optim

STEPS = 12


def sgd_by_hand(p, gradients, lr, momentum, dampening, weight_decay, nesterov, maximize):
    buffer = None
    for g in gradients:
        d = (-g if maximize else g) + weight_decay * p
        if momentum:
            buffer = d if buffer is None else momentum * buffer + (1 - dampening) * d
            d = d + momentum * buffer if nesterov else buffer
        p = p - lr * d
    return p


def adam_by_hand(p, gradients, lr, betas, eps, weight_decay, amsgrad, maximize, decoupled):
    m = v = largest = 0.0
    for t, g in enumerate(gradients, 1):
        d = -g if maximize else g
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            d = d + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * d
        v = betas[1] * v + (1 - betas[1]) * d * d
        largest = max(largest, v)
        root = math.sqrt((largest if amsgrad else v) / (1 - betas[1] ** t))
        p = p - lr * (m / (1 - betas[0] ** t)) / (root + eps)
    return p


def run(make, start, gradients):
    """The parameters after as many steps as there are gradients, of three shapes at once."""
    params = [mg.tensor(s, requires_grad=True) for s in start]
    optimizer = make(params)
    for step in gradients:
        for p, g in zip(params, step, strict=True):
            p.grad = mg.tensor(g)
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.fixture
def problem():
    """Parameters of three shapes, and gradients of sizes from 0.01 to 100 for each step."""
    rng = np.random.default_rng(61)
    shapes = [(2, 3), (), (4,)]
    start = [rng.normal(size=s) for s in shapes]
    gradients = [[rng.normal(size=s) * 10.0 ** rng.integers(-2, 3) for s in shapes]]
    gradients += [[rng.normal(size=s) for s in shapes] for _ in range(STEPS - 1)]
    return start, gradients


def compare(make, by_hand, problem):
    start, gradients = problem
    for i, result in enumerate(run(make, start, gradients)):
        for index in np.ndindex(result.shape):
            wanted = by_hand(float(start[i][index]), [float(g[i][index]) for g in gradients])
            assert math.isclose(result[index], wanted, rel_tol=1e-12, abs_tol=1e-13)


SGD_OPTIONS = [
    dict(lr=0.1, momentum=m, dampening=d, weight_decay=w, nesterov=n, maximize=x)
    for m, d, w, n, x in itertools.product(
        (0, 0.9), (0, 0.3), (0, 0.1), (False, True), (False, True)
    )
    if not n or (m and not d)
]


@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd(problem, options):
    compare(
        lambda params: optim.SGD(params, **options),
        lambda p, gradients: sgd_by_hand(p, gradients, **options),
        problem,
    )


ADAM_OPTIONS = [
    dict(lr=0.1, betas=b, eps=1e-6, weight_decay=w, amsgrad=a, maximize=x)
    for b, w, a, x in itertools.product(
        ((0.9, 0.999), (0.0, 0.5)), (0, 0.1), (False, True), (False, True)
    )
]


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_adam(problem, options, decoupled):
    kind = optim.AdamW if decoupled else optim.Adam
    compare(
        lambda params: kind(params, **options),
        lambda p, gradients: adam_by_hand(p, gradients, **options, decoupled=decoupled),
        problem,
    )


def test_defaults(problem):
    sgd = dict(lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False)
    compare(optim.SGD, lambda p, gs: sgd_by_hand(p, gs, **sgd), problem)
    adam = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, amsgrad=False, maximize=False)
    for kind, decay in ((optim.Adam, 0), (optim.AdamW, 1e-2)):
        options = {**adam, "weight_decay": decay, "decoupled": kind is optim.AdamW}
        compare(kind, lambda p, gs, o=options: adam_by_hand(p, gs, **o), problem)


@pytest.mark.parametrize("size", [kernels.optimizer.PIECE - 1, 2 * kernels.optimizer.PIECE + 3])
def test_arrays_larger_than_a_piece_are_updated_to_their_end(size):
    p = mg.ones(size, requires_grad=True)
    p.grad = mg.ones(size)
    optim.SGD([p], lr=0.25, momentum=0.9).step()
    assert (p.detach().numpy() == 0.75).all()
    optim.Adam([p], lr=0.25, eps=0).step()
    np.testing.assert_allclose(p.detach().numpy(), 0.5, rtol=1e-6)


def test_updates_are_in_place_and_keep_the_type():
    p = mg.ones(3, dtype=np.float32, requires_grad=True)
    array = p.data
    p.grad = mg.ones(3, dtype=np.float32)
    optimizer = optim.Adam([p], lr=np.float64(0.1))
    optimizer.step()
    assert p.data is array and array.dtype == np.float32 and p.is_leaf and p.requires_grad
    assert all(optimizer.state[p][k].dtype == np.float32 for k in ("exp_avg", "exp_avg_sq"))


def test_a_view_of_a_larger_array_can_be_a_parameter():
    """Parameters may be pieces of one flat buffer, or transposed."""
    flat = np.arange(6.0)
    p = mg.Tensor(flat[1:5].reshape(2, 2).T, requires_grad=True)
    p.grad = mg.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=np.float64)
    optim.SGD([p], lr=1.0, momentum=0.5).step()
    assert flat.tolist() == [0, 0, -1, 1, 0, 5]


def test_parameters_without_gradients_stay():
    p, q = mg.ones(2, requires_grad=True), mg.ones(2, requires_grad=True)
    p.grad = mg.ones(2)
    optimizer = optim.Adam([p, q], lr=0.1, weight_decay=0.1)
    optimizer.step()
    assert q.tolist() == [1, 1] and q not in optimizer.state and p.tolist() != [1, 1]


def test_zero_grad():
    p, q = mg.ones(2, requires_grad=True), mg.ones(2, requires_grad=True)
    p.grad = mg.tensor([1.0, math.nan])
    optimizer = optim.SGD([p, q])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0] and q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_groups_have_their_own_options():
    p, q, r = (mg.ones(1, requires_grad=True) for _ in range(3))
    optimizer = optim.SGD([{"params": p, "lr": 0.5}, {"params": [q]}], lr=0.25)
    optimizer.add_param_group({"params": [r], "lr": 0.125})
    for x in (p, q, r):
        x.grad = mg.ones(1)
    optimizer.step()
    assert [x.item() for x in (p, q, r)] == [0.5, 0.75, 0.875]
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert [x.item() for x in (p, q, r)] == [0.5, 0.5, 0.75]
    assert "group 2: 1 parameters, lr=0.125" in repr(optimizer)


def test_closure_is_called_with_recording_on():
    x = mg.tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    with mg.no_grad():
        assert optimizer.step(closure).item() == 9
    assert x.tolist() == [0]


def test_a_step_between_forward_and_backward_is_noticed():
    x = mg.ones(2, requires_grad=True)
    y = x * x
    x.grad = mg.ones(2)
    optim.Adam([x]).step()
    with pytest.raises(RuntimeError, match=r"changed in place by Adam.step"):
        y.backward(mg.ones(2))


KINDS = [
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    lambda params: optim.Adam(params, lr=0.1, amsgrad=True),
    lambda params: optim.AdamW(params, lr=0.1),
]


@pytest.mark.parametrize("make", KINDS)
def test_training_goes_on_where_a_saved_state_ended(make, problem):
    start, gradients = problem
    wanted = run(make, start, gradients)
    params = [mg.tensor(s, requires_grad=True) for s in start]
    optimizer = make(params)
    for t, step in enumerate(gradients):
        for p, g in zip(params, step, strict=True):
            p.grad = mg.tensor(g)
        if t == STEPS // 2:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = make(params)
            optimizer.param_groups[0]["lr"] = 7.0
            optimizer.load_state_dict(saved)
        optimizer.step()
    for p, w in zip(params, wanted, strict=True):
        assert (p.detach().numpy() == w).all()


def test_a_loaded_state_is_a_copy():
    p = mg.ones(2, requires_grad=True)
    p.grad = mg.ones(2)
    first, second = optim.Adam([p]), optim.Adam([p])
    first.step()
    second.load_state_dict(first.state_dict())
    before = first.state[p]["exp_avg"].tolist()
    second.step()
    assert first.state[p]["exp_avg"].tolist() == before and first.state[p]["step"] == 1


def leaf(*shape):
    return mg.ones(*shape, requires_grad=True)


NAN = math.nan


@pytest.mark.parametrize(
    ("error", "words", "make"),
    [
        (
            ValueError,
            "SGD: lr must be finite and not negative, got -1",
            lambda: optim.SGD([leaf(1)], -1),
        ),
        (ValueError, "SGD: lr .* got nan", lambda: optim.SGD([leaf(1)], NAN)),
        (ValueError, "SGD: lr .* got inf", lambda: optim.SGD([leaf(1)], math.inf)),
        (TypeError, "lr must be a number, got str", lambda: optim.SGD([leaf(1)], "fast")),
        (ValueError, "momentum .* got -0.1", lambda: optim.SGD([leaf(1)], momentum=-0.1)),
        (ValueError, "momentum .* got nan", lambda: optim.SGD([leaf(1)], momentum=NAN)),
        (ValueError, "dampening .* got nan", lambda: optim.SGD([leaf(1)], dampening=NAN)),
        (ValueError, "weight_decay .* got -1", lambda: optim.SGD([leaf(1)], weight_decay=-1)),
        (ValueError, "nesterov wants", lambda: optim.SGD([leaf(1)], nesterov=True)),
        (
            ValueError,
            "nesterov wants",
            lambda: optim.SGD([leaf(1)], momentum=0.9, dampening=0.1, nesterov=True),
        ),
        (
            ValueError,
            r"beta1 must be in \[0, 1\), got 1",
            lambda: optim.Adam([leaf(1)], betas=(1.0, 0)),
        ),
        (ValueError, "beta2 .* got nan", lambda: optim.Adam([leaf(1)], betas=(0.9, NAN))),
        (ValueError, "betas must be two numbers", lambda: optim.Adam([leaf(1)], betas=0.9)),
        (ValueError, "eps .* got -1", lambda: optim.Adam([leaf(1)], eps=-1e-8)),
        (ValueError, "AdamW: weight_decay", lambda: optim.AdamW([leaf(1)], weight_decay=NAN)),
        (ValueError, "list of parameters is empty", lambda: optim.SGD([])),
        (TypeError, "params must be a list", lambda: optim.SGD(leaf(2))),
        (TypeError, "SGD: params must be a list .* got NoneType", lambda: optim.SGD(None)),
        (TypeError, "parameter 1 is a list", lambda: optim.SGD([leaf(2), [1.0]])),
        (ValueError, "parameter 0 .* computed by", lambda: optim.SGD([leaf(2) * 2])),
        (TypeError, "parameter 0 is int64", lambda: optim.SGD([mg.tensor([1])])),
        (ValueError, "given twice", lambda: optim.SGD([leaf(1)] * 2)),
        (ValueError, "no option 'rate'", lambda: optim.SGD([{"params": [leaf(1)], "rate": 1}])),
        (ValueError, "lr .* got -1", lambda: optim.SGD([{"params": [leaf(1)], "lr": -1}])),
        (TypeError, "key 'params'", lambda: optim.SGD([{"lr": 1.0}])),
    ],
)
def test_bad_options_and_parameters_are_refused(error, words, make):
    with pytest.raises(error, match=words):
        make()


def test_a_refused_group_leaves_the_optimizer_as_it_was():
    p = leaf(1)
    optimizer = optim.SGD([p])
    for group in ({"params": [leaf(1), p]}, {"params": [leaf(1)], "lr": NAN}):
        with pytest.raises(ValueError, match="given twice|lr"):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1 and optimizer.param_groups[0]["params"] == [p]


def read_only():
    p = leaf(2)
    p.data.flags.writeable = False
    return p


@pytest.mark.parametrize(
    ("error", "words", "second", "gradient"),
    [
        (ValueError, r"a gradient of shape \(3,\)", lambda: leaf(2), mg.ones(3)),
        (TypeError, "a gradient of float64", lambda: leaf(2), mg.ones(2, dtype=np.float64)),
        (ValueError, "read-only", read_only, mg.ones(2)),
    ],
)
def test_a_step_changes_all_parameters_or_none(error, words, second, gradient):
    p, q = leaf(2), second()
    p.grad, q.grad = mg.ones(2), gradient
    optimizer = optim.Adam([p, q])
    with pytest.raises(error, match=words):
        optimizer.step()
    assert p.tolist() == [1, 1] and not optimizer.state


def test_options_are_checked_again_at_each_step():
    p = leaf(2)
    p.grad = mg.ones(2)
    optimizer = optim.Adam([p])
    optimizer.param_groups[0]["lr"] = NAN
    with pytest.raises(ValueError, match="Adam: lr .* got nan"):
        optimizer.step()
    assert p.tolist() == [1, 1]


def without(group, key):
    return {k: v for k, v in group.items() if k != key}


@pytest.mark.parametrize(
    ("error", "words", "spoil"),
    [
        (TypeError, "wants a dict with the keys", lambda s: {}),
        (TypeError, "'param_groups' must be a list", lambda s: {**s, "param_groups": [{}]}),
        (TypeError, "'param_groups' must be a list", lambda s: {**s, "param_groups": 3}),
        (TypeError, "'state' must be a dict of dicts", lambda s: {**s, "state": {0: 3}}),
        (
            ValueError,
            r"groups of \[2, 1\] parameters came, \[2\] were wanted",
            lambda s: {**s, "param_groups": [*s["param_groups"], {"params": [2]}]},
        ),
        (
            ValueError,
            r"groups of \[1\]",
            lambda s: {**s, "param_groups": [{**s["param_groups"][0], "params": [0]}]},
        ),
        (
            ValueError,
            "lacks the option eps",
            lambda s: {**s, "param_groups": [without(s["param_groups"][0], "eps")]},
        ),
        (
            ValueError,
            "lr .* got nan",
            lambda s: {**s, "param_groups": [{**s["param_groups"][0], "lr": NAN}]},
        ),
        (
            ValueError,
            r"exp_avg of parameter 1 has shape \(3,\), the parameter \(2,\)",
            lambda s: {**s, "state": {0: s["state"][0], 1: {"step": 1, "exp_avg": mg.ones(3)}}},
        ),
        (ValueError, r"state of parameters \[5\]", lambda s: {**s, "state": {5: {}}}),
    ],
)
def test_a_state_that_does_not_fit_is_refused(error, words, spoil):
    p, q = leaf(2), leaf(2)
    p.grad = q.grad = mg.ones(2)
    optimizer = optim.Adam([p, q], lr=0.1)
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(spoil(optimizer.state_dict()))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, kept in before["state"].items():
        assert after["state"][number]["step"] == kept["step"]
        assert after["state"][number]["exp_avg"].tolist() == kept["exp_avg"].tolist()


def test_an_optimizer_must_say_how_it_updates():
    p = leaf(1)
    p.grad = mg.ones(1)
    with pytest.raises(NotImplementedError, match="Optimizer has no method `update`"):
        optim.Optimizer([p], {"lr": 0.1, "weight_decay": 0.0}).step()


@pytest.mark.parametrize("size", [300, 100003])
@pytest.mark.parametrize(
    "options", [dict(weight_decay=w, maximize=x) for w in (0.0, 0.1) for x in (0, 1)]
)
def test_compiled_steps_give_the_references_bits(size, options):
    """So that it does not matter which of them updates a parameter of which size."""
    rng = np.random.default_rng(5)
    p, g, m, v, largest = (rng.normal(size=size).astype("f4") for _ in range(5))
    v, largest = v * v, largest * largest
    adam = dict(lr=0.01, beta1=0.9, beta2=0.99, eps=1e-8, step=3, **options)
    sgd = dict(lr=0.01, momentum=0.9, dampening=0.2, **options)
    calls = [
        (kernels.adam_step, [p, g, m, v], dict(decoupled=False, **adam)),
        (kernels.adam_step, [p, g, m, v, largest], dict(decoupled=True, **adam)),
        (kernels.sgd_step, [p, g], dict(nesterov=False, **sgd)),
        (kernels.sgd_step, [p, g, m], dict(nesterov=False, **sgd)),
        (kernels.sgd_step, [p, g, m], dict(nesterov=True, **sgd)),
    ]
    for kernel, arrays, chosen in calls:
        results = []
        for backend in ("reference", "numba"):
            new = [x.copy() for x in arrays]
            with kernels.use(backend):
                kernel(*new, **chosen, out=(new[0], *new[2:]) if len(new) > 2 else new[0])
            results.append(new)
        assert all((a == b).all() for a, b in zip(*results, strict=True))


# Clipping


def with_gradients(*gradients, place=True):
    """Parameters whose gradients lie side by side, or anywhere."""
    params = [mg.tensor(np.zeros_like(g), requires_grad=True) for g in gradients]
    owner = optim.SGD(params) if place else None
    sum(p.sum() for p in params).backward()
    for p, g in zip(params, gradients, strict=True):
        p.grad.data[...] = g
    return params, owner


@pytest.mark.parametrize("place", [True, False])
@pytest.mark.parametrize("norm_type", [1, 2.0, 3, math.inf])
def test_clip_grad_norm(norm_type, place):
    rng = np.random.default_rng(2)
    gradients = [rng.normal(size=s) for s in [(3, 5), (), (7,)]]
    numbers = np.concatenate([np.ravel(g) for g in gradients])
    wanted = np.linalg.norm(numbers, norm_type)
    params, owner = with_gradients(*gradients, place=place)
    shapes = [p.grad for p in params]
    norm = mg.nn.utils.clip_grad_norm_(params, 1e9, norm_type)
    assert norm.shape == () and norm.dtype == np.float64 and math.isclose(norm.item(), wanted)
    assert all((p.grad.data == g).all() for p, g in zip(params, gradients, strict=True))
    mg.nn.utils.clip_grad_norm_(iter(params), 0.5, norm_type)
    for p, g, same in zip(params, gradients, shapes, strict=True):
        np.testing.assert_allclose(p.grad.data, g * 0.5 / (wanted + 1e-6), rtol=1e-14)
        assert p.grad is same
    del owner


def test_clipping_gives_the_same_bits_wherever_gradients_lie():
    rng = np.random.default_rng(4)
    gradients = [rng.normal(size=s).astype("f4") for s in [(100, 50), (3,), (300, 217), (1,)]]
    found = []
    for place in (True, False):
        params, owner = with_gradients(*gradients, place=place)
        norm = mg.nn.utils.clip_grad_norm_(params, 1.0).item()
        found.append([norm, *(p.grad.data.tobytes() for p in params)])
        del owner
    assert found[0] == found[1]
    exact = math.sqrt(sum((g.astype("f8") ** 2).sum() for g in gradients))
    assert math.isclose(found[0][0], exact, rel_tol=1e-6)


def test_clip_grad_norm_with_numbers_that_are_not_finite():
    (p, q), _ = with_gradients(np.array([1.0, 2.0]), np.array([math.inf, 4.0]))
    with pytest.raises(RuntimeError, match="the norm of order 2 of the gradients is inf"):
        mg.nn.utils.clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
    assert p.grad.tolist() == [1, 2]
    with np.errstate(invalid="ignore"):
        assert mg.nn.utils.clip_grad_norm_([p, q], 1.0).item() == math.inf
    assert p.grad.tolist() == [0, 0] and math.isnan(q.grad.data[0])


def test_clip_grad_value():
    (p, q), _ = with_gradients(np.array([-3.0, 0.5]), np.array([[2.0], [-0.25]]))
    lonely = leaf(2)
    mg.nn.utils.clip_grad_value_([p, lonely, q], 1)
    assert p.grad.tolist() == [-1, 0.5] and q.grad.tolist() == [[1], [-0.25]]
    assert lonely.grad is None
    mg.nn.utils.clip_grad_value_(p, 0.25)
    assert p.grad.tolist() == [-0.25, 0.25]


def test_clipping_is_noticed_by_graphs_that_keep_the_gradient():
    x = leaf(2)
    (p,), _ = with_gradients(np.array([3.0, 4.0]))
    y = x * p.grad
    mg.nn.utils.clip_grad_norm_(p, 1.0)
    with pytest.raises(RuntimeError, match="changed in place by clip_grad_norm_"):
        y.backward(mg.ones(2))


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (TypeError, "max_norm must be a number, got str", dict(max_norm="1")),
        (ValueError, "max_norm must not be negative, got -1", dict(max_norm=-1)),
        (ValueError, "max_norm must not be negative, got nan", dict(max_norm=NAN)),
        (ValueError, "norm_type must be above 0", dict(max_norm=1, norm_type=0)),
        (TypeError, "parameter 0 is a float", dict(parameters=[1.0], max_norm=1)),
    ],
)
def test_clipping_refuses_bad_options(error, words, options):
    (p,), _ = with_gradients(np.array([3.0, 4.0]))
    with pytest.raises(error, match=words):
        mg.nn.utils.clip_grad_norm_(**{"parameters": [p], **options})
    assert p.grad.tolist() == [3, 4]


def test_clipping_without_gradients_or_with_read_only_ones():
    assert mg.nn.utils.clip_grad_norm_([leaf(2)], 1.0).item() == 0
    (p, q), _ = with_gradients(np.array([3.0]), np.array([4.0]), place=False)
    q.grad.data.flags.writeable = False
    for clip in (mg.nn.utils.clip_grad_norm_, mg.nn.utils.clip_grad_value_):
        with pytest.raises(ValueError, match="gradient of parameter 1 is read-only"):
            clip([p, q], 1.0)
    assert p.grad.tolist() == [3]
