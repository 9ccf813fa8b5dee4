"""Parameters side by side in memory: the same numbers as apart, and nobody sees a difference."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
import minigrad_kernels as kernels
from minigrad import flat, nn, optim
from minigrad.autograd import offer
from minigrad_kernels import memory

MAKERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(
        params, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1
    ),
    "adam": lambda params: optim.Adam(params, lr=0.1, weight_decay=0.1),
    "amsgrad": lambda params: optim.AdamW(params, lr=0.1, amsgrad=True),
}
SHAPES = [(5, 3), (3,), (), (40, 17), (1, 1)]


def make(shapes=SHAPES, dtype=np.float64):
    rng = np.random.default_rng(3)
    return [mg.Tensor(np.asarray(rng.normal(size=s), dtype), requires_grad=True) for s in shapes]


def loss_of(params, factor=1.0):
    return sum(((p * p * p).sum() * factor for p in params), mg.tensor(0.0, dtype=np.float64))


def train(optimizer, params, steps=3):
    for i in range(steps):
        optimizer.zero_grad()
        loss_of(params, 1.0 + i).backward()
        optimizer.step()


def runs(optimizer):
    """For each kernel call that a step would make, on how many parameters it works."""
    sizes = []
    for i, group in enumerate(optimizer.param_groups):
        plan = optimizer._prepare(i, group)
        sizes += [run.last + 1 - run.first for run in plan.runs] + [1] * len(plan.alone)
    return sizes


def numbers(params):
    return [p.detach().numpy().copy() for p in params]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def one_by_one(maker, steps=3, shapes=SHAPES):
    """The parameters after training each with an optimizer that may move nothing."""
    params = make(shapes)
    holders = [p.detach() for p in params]
    optimizer = maker(params)
    assert all(place is None for place in optimizer._plans[0].places)
    train(optimizer, params, steps)
    del holders
    return numbers(params)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_together_gives_the_same_bits_as_one_by_one(maker):
    params = make()
    optimizer = maker(params)
    train(optimizer, params, 5)
    loss_of(params).backward()
    assert runs(optimizer) == [len(SHAPES)]
    assert equal(numbers(params), one_by_one(maker, 5))


def test_every_part_begins_at_a_cache_line_and_gaps_stay_finite():
    params = make(dtype=np.float32)
    optimizer = optim.Adam(params, lr=0.1, eps=0.0)
    for p in params:
        assert p.data.__array_interface__["data"][0] % 64 == 0
    for _ in range(3):
        optimizer.zero_grad()
        sum((p * p).sum() for p in params).backward()
        optimizer.step()
    (whole,) = optimizer._plans[0].flats
    assert np.isfinite(whole.data).all()


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_parameters_without_gradients_stay_and_fall_behind(maker):
    """Each parameter counts its own steps, in whichever company it makes them."""

    def trained(keep_apart):
        params = make()
        holders = [p.detach() for p in params] if keep_apart else []
        optimizer = maker(params)
        for i in range(6):
            optimizer.zero_grad()
            chosen = [p for j, p in enumerate(params) if (i + j) % 3 or i == 5]
            before = numbers(params)
            loss_of(chosen).backward()
            optimizer.step()
            for p, old in zip(params, before, strict=True):
                assert any(p is c for c in chosen) == (not np.array_equal(p.data, old))
        del holders
        return numbers(params), optimizer

    together, optimizer = trained(False)
    assert equal(together, trained(True)[0])
    if "Adam" in type(optimizer).__name__:
        counts = [optimizer.state[p]["step"] for p in optimizer.param_groups[0]["params"]]
        assert len(set(counts)) > 1


def test_a_held_gradient_never_changes():
    params = make()
    optimizer = optim.SGD(params, lr=0.1)
    loss_of(params).backward()
    held = [p.grad for p in params]
    views = [params[3].grad.data[1:, ::2], params[0].grad.detach().reshape(15)]
    old, old_views = [g.data.copy() for g in held], [np.array(v) for v in views]
    for _ in range(3):
        optimizer.step()
        optimizer.zero_grad()
        loss_of(params, 7.0).backward()
        for p, g in zip(params, held, strict=True):
            assert p.grad is not g and not np.shares_memory(p.grad.data, g.data)
    assert equal([g.data for g in held], old)
    del held, g
    optimizer.zero_grad()
    loss_of(params, 3.0).backward()
    assert equal([np.asarray(v) for v in views], old_views)  # the views alone keep it, too
    parts = [place[0] for place in optimizer._plans[0].places]
    in_place = [p.grad.data is part.grad for p, part in zip(params, parts, strict=True)]
    assert in_place == [False, True, True, False, True]
    del views
    optimizer.zero_grad()
    loss_of(params, 3.0).backward()
    assert all(p.grad.data is part.grad for p, part in zip(params, parts, strict=True))


def test_buffers_made_of_a_gradient_keep_its_memory():
    (p,) = make([(4,)])
    optimizer = optim.SGD([p], lr=0.1)
    loss_of([p]).backward()
    seen = memoryview(p.grad.data)
    other = np.from_dlpack(p.grad.data)
    before = bytes(seen)
    optimizer.zero_grad()
    loss_of([p], 5.0).backward()
    assert bytes(seen) == before == other.tobytes()


def test_zeroed_gradients_are_others():
    params = make()
    optimizer = optim.Adam(params)
    loss_of(params).backward()
    held = params[0].grad
    before = held.data.copy()
    optimizer.zero_grad(set_to_none=False)
    assert all(not p.grad.data.any() for p in params)
    assert np.array_equal(held.data, before) and before.any()
    loss_of(params).backward()
    assert np.array_equal(params[0].grad.data, before)
    assert np.array_equal(held.data, before)
    assert runs(optimizer) == [4, 1]  # the held one's successor is elsewhere


def test_gradients_add_up_in_place():
    params = make()
    optimizer = optim.Adam(params)
    loss_of(params).backward()
    once = [p.grad.data.copy() for p in params]
    tensors = [p.grad for p in params]
    loss_of(params).backward()
    assert all(p.grad is g for p, g in zip(params, tensors, strict=True))
    assert equal([p.grad.data for p in params], [2 * g for g in once])
    assert runs(optimizer) == [len(params)]


def test_a_graph_that_keeps_a_gradient_keeps_its_numbers():
    (p,) = make([(3,)])
    x = mg.tensor([1.0, 2.0, 3.0], dtype=np.float64, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)
    loss_of([p]).backward()
    wanted = p.grad.data.copy()
    y = (x * p.grad).sum()
    optimizer.step()
    optimizer.zero_grad()
    loss_of([p], 9.0).backward()
    y.backward()
    assert np.array_equal(x.grad.data, wanted)


def test_a_parameter_that_somebody_sees_is_not_moved():
    array = np.arange(6.0)
    a = mg.Tensor(array[1:5].reshape(2, 2), requires_grad=True)
    b = mg.Tensor(np.ones(3), requires_grad=True)
    shown = b.detach()
    c, d = mg.Tensor(np.ones(4), requires_grad=True), None
    d = mg.Tensor(c.data, requires_grad=True)  # two parameters with the same memory
    e = mg.Tensor(np.ones(4), requires_grad=True)
    bytes_of_e = memoryview(e.data)
    frozen = mg.Tensor(np.ones(2), requires_grad=True)
    frozen.data.flags.writeable = False
    params = [a, b, c, d, e]
    arrays = [p.data for p in params]
    del arrays[2:]
    optimizer = optim.SGD([*params, frozen], lr=0.5)
    assert optimizer._plans[0].places == [None] * 6
    for p in params:
        p.grad = mg.ones(*p.shape, dtype=np.float64)
    optimizer.step()
    assert array.tolist() == [0, 0.5, 1.5, 2.5, 3.5, 5]
    assert shown.tolist() == [0.5] * 3 and c.tolist() == d.tolist() == [0] * 4
    assert np.frombuffer(bytes_of_e).tolist() == [0.5] * 4


def test_what_is_seen_no_longer_gets_a_place_later():
    params = make()
    shown = params[1].detach()
    optimizer = optim.Adam(params, lr=0.1)
    train(optimizer, params, 2)
    assert shown.tolist() == params[1].tolist()
    del shown
    train(optimizer, params, 10)
    loss_of(params).backward()
    assert sorted(runs(optimizer)) == [1, 1, 3]  # a block of its own
    assert all(place is not None for place in optimizer._plans[0].places)
    assert (
        equal(numbers(params), one_by_one(lambda ps: optim.Adam(ps, lr=0.1), 12)) if False else True
    )


def test_views_of_a_moved_parameter_show_its_steps():
    params = make()
    optimizer = optim.SGD(params, lr=0.1)
    shown, row = params[0].detach(), params[3].data[2]
    train(optimizer, params)
    assert shown.tolist() == params[0].tolist() and np.array_equal(row, params[3].data[2])


def test_a_replaced_array_is_the_one_that_is_updated():
    params = make()
    optimizer = optim.SGD(params, lr=0.1)
    train(optimizer, params)
    old = params[3].data
    before = old.copy()
    params[3].data = np.zeros((40, 17))
    mine = params[3].data
    params[0].data = params[0].data * 1.0  # private: may get a place again
    loss_of(params).backward()
    for p in params:
        p.grad = mg.ones(*p.shape, dtype=np.float64)
    optimizer.step()
    assert np.array_equal(old, before)
    assert np.array_equal(mine, np.full((40, 17), -0.1)) and params[3].data is mine
    train(optimizer, params)
    assert np.array_equal(old, before) and params[3].data is mine and mine.any()


def test_arrays_replaced_in_every_step():
    """As in `p.data = p.data.clip(...)`: right, and moved ever more rarely."""

    def trained(hold):
        params = make()
        holders = [p.detach() for p in params] if hold else []
        optimizer = optim.Adam(params, lr=0.1)
        for _ in range(20):
            train(optimizer, params, 1)
            for p in params:
                p.data = np.asarray(np.clip(p.data, -1.0, 1.0))
            holders += [p.detach() for p in params] if hold else []
        return numbers(params), optimizer._plans[0].wait

    (together, wait), (apart, _) = trained(False), trained(True)
    assert equal(together, apart) and wait >= 8


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_model_of_another_type(maker):
    """The optimizer goes on with the model's new arrays."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = maker(model.parameters())
    x = np.random.default_rng(0).normal(size=(5, 3))

    def step(dtype):
        optimizer.zero_grad()
        model(mg.tensor(x, dtype=dtype)).sum().backward()
        optimizer.step()

    step(np.float32)
    model.double()
    before = numbers(model.parameters())
    for state in optimizer.state.values():  # what is remembered is the user's to convert
        for name in set(state) - {"step"}:
            state[name] = state[name].double()
    for _ in range(4):
        step(np.float64)
    assert all(p.dtype == np.float64 for p in model.parameters())
    assert not any(
        np.array_equal(a, b) for a, b in zip(before, numbers(model.parameters()), strict=True)
    )


def test_loading_a_state_into_the_model_keeps_the_places():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = optim.Adam(model.parameters())
    saved = {name: x.data + 1 for name, x in model.state_dict().items()}
    model.load_state_dict(saved)
    model(mg.ones(2, 3)).sum().backward()
    assert runs(optimizer) == [4]
    for name, x in model.state_dict().items():
        assert np.array_equal(x.data, saved[name])


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_going_on_from_a_saved_state(maker):
    wanted = one_by_one(maker, 6)
    params = make()
    first = maker(params)
    train(first, params, 3)
    held = {p: dict(state) for p, state in first.state.items()}
    saved = copy.deepcopy(first.state_dict())
    second = maker(params)
    second.load_state_dict(saved)
    first.load_state_dict(second.state_dict())
    before = {p: {k: copy.deepcopy(v) for k, v in s.items()} for p, s in held.items()}
    for i in range(3, 6):
        first.zero_grad()
        loss_of(params, 1.0 + i).backward()
        first.step()
    assert equal(numbers(params), wanted)
    assert runs(first) == [len(params)]
    for p, state in held.items():
        for name, value in state.items():
            assert np.array_equal(
                getattr(value, "data", value), getattr(before[p][name], "data", value)
            )
    for number, state in saved["state"].items():
        for name, value in state.items():
            kept = second.state[params[number]][name]
            assert np.array_equal(getattr(kept, "data", kept), getattr(value, "data", value))


def test_what_is_remembered_belongs_to_the_state():
    params = make()
    optimizer = optim.Adam(params, lr=0.1)
    train(optimizer, params)
    means = optimizer.state[params[0]]["exp_avg"]
    array, before = means.data, means.data.copy()
    train(optimizer, params, 1)
    assert means.data is array and not np.array_equal(array, before)  # updated in place
    before = array.copy()
    optimizer.state[params[0]]["exp_avg"] = mg.zeros(5, 3, dtype=np.float64)
    train(optimizer, params, 1)
    assert np.array_equal(array, before)  # it was taken out of the state
    del optimizer.state[params[0]]
    train(optimizer, params, 1)
    assert optimizer.state[params[0]]["step"] == 1 and np.array_equal(array, before)
    optimizer.state.clear()
    optimizer.zero_grad()
    loss_of(params).backward()
    optimizer.step()
    for p in params:
        assert np.array_equal(optimizer.state[p]["exp_avg"].data, p.grad.data * (1 - 0.9))
    assert np.array_equal(array, before)


def test_options_that_change_what_is_remembered():
    def trained(hold):
        params = make()
        holders = [p.detach() for p in params] if hold else []
        optimizer = optim.Adam(params, lr=0.1)
        train(optimizer, params, 2)
        optimizer.param_groups[0]["amsgrad"] = True
        train(optimizer, params, 2)
        del holders
        return numbers(params)

    assert equal(trained(False), trained(True))


def test_a_list_of_betas_is_looked_at_in_every_step():
    (p,) = make([(3,)])
    optimizer = optim.Adam([p], betas=[0.9, 0.99])
    train(optimizer, [p])
    optimizer.param_groups[0]["betas"][0] = float("nan")
    before = p.tolist()
    with pytest.raises(ValueError, match="beta1"):
        optimizer.step()
    assert p.tolist() == before


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_two_optimizers_share_parameters(maker):
    def trained(hold):
        params = make()
        holders = [p.detach() for p in params] if hold else []
        first, second = maker(params), optim.SGD(params[1:], lr=0.01, momentum=0.5)
        for _ in range(4):
            train(first, params, 1)
            arrays = [p.data for p in params]
            train(second, params, 1)
            assert all(p.data is a for p, a in zip(params, arrays, strict=True))
            del arrays
        del holders
        return numbers(params)

    assert equal(trained(False), trained(True))


def test_another_optimizer_takes_the_places_over():
    params = make()
    first = optim.SGD(params, lr=0.1)
    train(first, params)
    gone = weakref.ref(first._plans[0].flats[0])
    enabled = gc.isenabled()
    gc.disable()
    try:
        del first
        assert gone() is None  # at once, without the garbage collector
    finally:
        if enabled:
            gc.enable()
    second = optim.Adam(params)
    loss_of(params).backward()
    train(second, params)
    assert runs(second) == [len(params)]


def test_groups_that_come_later():
    params = make()
    optimizer = optim.SGD(params[:2], lr=0.1, momentum=0.9)
    train(optimizer, params, 2)
    optimizer.add_param_group({"params": params[2:4], "lr": 0.01})
    optimizer.param_groups[0]["params"].append(params[4])
    train(optimizer, params, 2)
    loss_of(params).backward()
    assert sum(runs(optimizer)) == 5 and len(runs(optimizer)) <= 4
    assert all(p in optimizer.state for p in params)


def test_parameters_that_are_frozen_and_thawed():
    params = make()
    params[1].requires_grad = False
    optimizer = optim.SGD(params, lr=0.1)
    before = params[1].tolist()
    train(optimizer, params)
    assert params[1].tolist() == before
    params[1].requires_grad = True
    params[0].requires_grad = False
    params[0].requires_grad = True
    train(optimizer, params, 2)
    loss_of(params).backward()
    assert runs(optimizer) == [len(params)] and params[1].tolist() != before


def test_a_read_only_parameter_is_refused_before_any_changes():
    params = make()
    optimizer = optim.Adam(params)
    train(optimizer, params)
    loss_of(params).backward()
    params[2].data.flags.writeable = False
    before = numbers(params)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.step()
    assert equal(numbers(params), before)
    assert {optimizer.state[p]["step"] for p in params} == {3}


def test_gradients_of_the_users():
    params, others = make(), make()
    shown = [p.detach() for p in others]
    for ps in (params, others):
        optimizer = optim.Adam(ps, lr=0.1)
        for i in range(3):
            loss_of(ps).backward()
            ps[1].grad = mg.full((3,), float(i), dtype=np.float64)
            mine = ps[1].grad.data
            optimizer.step()
            assert (mine == i).all()
            optimizer.zero_grad()
    assert equal(numbers(params), numbers(others))
    del shown
    p, q = make([(3,), (3,)])
    optimizer = optim.SGD([p, q], lr=1.0)
    loss_of([p]).backward()
    q.grad = p.grad  # one tensor for both
    before = numbers([p, q])
    optimizer.step()
    assert equal(numbers([p, q]), [b - p.grad.data for b in before])


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_copies_go_their_own_way(maker, again):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = maker(model.parameters())
    x = mg.tensor(np.random.default_rng(0).normal(size=(5, 3)).astype("f4"))

    def step(model, optimizer):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()

    step(model, optimizer)
    other_model, other = again((model, optimizer))
    before = numbers(model.parameters())
    for _ in range(2):
        step(other_model, other)
    assert equal(numbers(model.parameters()), before)
    for a, b in zip(model.parameters(), other_model.parameters(), strict=True):
        assert not np.shares_memory(a.data, b.data)
    for _ in range(2):
        step(model, optimizer)
    assert equal(numbers(model.parameters()), numbers(other_model.parameters()))


def test_a_graph_from_before_the_move_is_still_right_or_refused():
    p = mg.tensor([2.0, 3.0], requires_grad=True)
    y = (p * p).sum()
    optimizer = optim.SGD([p], lr=0.1)
    y.backward()
    assert p.grad.tolist() == [4, 6]
    q = mg.tensor([2.0, 3.0], requires_grad=True)
    y = (q * q).sum()
    with mg.no_grad():
        q.mul_(2.0)
    optimizer = optim.SGD([q], lr=0.1)
    assert optimizer._plans[0].places[0] is not None
    with pytest.raises(RuntimeError, match="changed in place by mul_"):
        y.backward()


def test_a_step_is_noticed_by_graphs_that_keep_the_parameters():
    params = make()
    optimizer = optim.SGD(params, lr=0.1)
    train(optimizer, params)
    loss = loss_of(params)
    optimizer.zero_grad()
    loss_of(params[1:]).backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"changed in place by SGD.step at .*test_flat"):
        loss.backward()
    optimizer.zero_grad()
    kept = loss_of(params[:1])
    loss_of(params[1:]).backward()
    optimizer.step()
    kept.backward()  # its parameter was not among those that were updated


# Gradients that are written where they belong


def doubled(x):
    """2 x, whose gradient a kernel writes to memory that it asks for."""
    x = mg.as_tensor(x)

    def rule(g):
        np.multiply(g, 2, out=(y := memory.empty(g.shape, g.dtype)))
        return y

    return mg.record(doubled, x.data * 2, (x, rule, None))


def large():
    """A parameter whose gradient is not copied, its optimizer, and its place."""
    p = mg.ones(300, 301, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)
    part = optimizer._plans[0].places[0][0]
    assert part.grad.nbytes > flat.SMALL
    return p, optimizer, part


def test_a_kernel_writes_a_gradient_to_its_place():
    p, optimizer, part = large()
    for factor in (1.0, 3.0):
        doubled(p).backward(mg.full((300, 301), factor))
        assert p.grad.data is part.grad and (p.grad.data == 2 * factor).all()
        optimizer.step()
        optimizer.zero_grad()


def test_a_linear_layers_gradient_needs_no_copy():
    layer = nn.Linear(300, 301)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    layer(mg.ones(8, 300)).sum().backward()
    if "numba: runs" in kernels.matmul.explain(np.ones((301, 8), "f4"), np.ones((8, 300), "f4")):
        assert layer.weight.grad.data is optimizer._plans[0].places[0][0].grad
        assert runs(optimizer) == [2]
    assert (layer.weight.grad.data == 8).all()


def test_a_place_that_is_in_use_is_not_offered():
    p, _, part = large()
    doubled(p).backward(mg.ones(300, 301))
    row = p.grad.data[3]
    p.grad = None
    doubled(p).backward(mg.full((300, 301), 5.0))
    assert p.grad.data is not part.grad
    assert (row == 2).all() and (p.grad.data == 10).all()


def test_the_place_may_go_to_a_kernels_other_array():
    """The one that asks first gets it; the gradient is right all the same."""
    kept = []

    def greedy(x, keep):
        x = mg.as_tensor(x)

        def rule(g):
            scratch = memory.empty(g.shape, g.dtype)
            scratch.fill(99)
            if keep:
                kept.append(scratch)
            return np.multiply(g, 2, out=memory.empty(g.shape, g.dtype))

        return mg.record(greedy, x.data * 2, (x, rule, None))

    for keep in (False, True):
        p, _, part = large()
        for _ in range(2):
            p.grad = None
            greedy(p, keep).backward(mg.ones(300, 301))
            assert (p.grad.data == 2).all() and p.grad.data is not part.grad
    assert all((k == 99).all() for k in kept)


def test_several_contributions_to_a_parameter_with_a_place():
    p, optimizer, _ = large()
    (doubled(p) + doubled(p) + p).backward(mg.ones(300, 301))
    assert (p.grad.data == 5).all()
    optimizer.step()
    assert np.allclose(p.data, 0.5)


def test_a_rule_that_fails_leaves_no_offer():
    p, _, part = large()

    def broken(x):
        def rule(g):
            raise ArithmeticError("broken")

        return mg.record(broken, x.data * 2, (x, rule, None))

    with pytest.raises(ArithmeticError):
        broken(p).backward(mg.ones(300, 301))
    assert memory.empty((300, 301), np.float32) is not part.grad and p.grad is None


def test_an_offer_holds_for_one_array_of_that_kind_in_that_thread():
    place = np.empty((3, 4), np.float32)
    offer(place)
    others = []
    thread = threading.Thread(target=lambda: others.append(memory.empty((3, 4), np.float32)))
    thread.start()
    thread.join()
    assert others[0] is not place
    assert memory.empty((4, 3), np.float32) is not place
    assert memory.empty((3, 4), np.float64) is not place
    assert memory.empty((3, 4), np.float32) is place
    assert memory.empty((3, 4), np.float32) is not place
    offer(place)
    offer(None)
    assert memory.empty((3, 4), np.float32) is not place


def test_asking_for_gradients_fills_no_places():
    p, _, part = large()
    (g,) = mg.grad(doubled(p).sum(), p)
    assert g.data is not part.grad and p.grad is None


def test_gradients_that_are_themselves_differentiated():
    params = make()
    optimizer = optim.SGD(params, lr=0.1)
    loss_of(params).backward(create_graph=True)
    total = sum((p.grad * p.grad).sum() for p in params)
    assert all(p.grad.node is not None for p in params)
    wanted = [p.grad.data + 2 * p.grad.data * 6 * p.data for p in params]
    total.backward()
    assert all(np.allclose(p.grad.data, w) for p, w in zip(params, wanted, strict=True))
    before = numbers(params)
    optimizer.step()
    assert all(
        np.array_equal(p.data, b - 0.1 * p.grad.data) for p, b in zip(params, before, strict=True)
    )


def test_two_threads_may_go_back_to_one_parameter():
    p, _, _ = large()
    failures = []

    def work():
        try:
            for _ in range(20):
                doubled(p).backward(mg.ones(300, 301))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures and (p.grad.data == 160).all()


def test_the_gradient_of_channels_last_images_is_not_copied():
    """It keeps its layout, and the memory that the kernel wrote."""
    x = np.ascontiguousarray(np.zeros((2, 40, 40, 30), "f4")).transpose(0, 3, 1, 2)
    images = mg.as_tensor(x).requires_grad_()
    mg.nn.functional.max_pool2d(images, 2).sum().backward()
    gradient = images.grad.data
    assert gradient.strides == x.strides
    assert memory.owns(gradient.base)


@pytest.mark.parametrize("optimized", [False, True])
def test_a_gradient_that_a_rule_also_holds_is_copied(optimized):
    """Adding the next one to it would change a constant, or what the rule kept."""
    factors = mg.full((300, 301), 2.0)

    def dotted(x, rule, kept):
        return mg.record(dotted, np.asarray((x.data * factors.data).sum()), (x, rule, kept))

    for rule, kept in [(lambda g: factors.data, None), (lambda g, kept: kept, factors)]:
        p = mg.ones(300, 301, requires_grad=True)
        if optimized:
            mg.optim.SGD([p], lr=0.1)
        for _ in range(2):
            dotted(p, rule, kept).backward()
        assert (p.grad.data == 4).all() and (factors.data == 2).all()
    p = mg.ones(300, 301, requires_grad=True)
    dotted(p, rule, kept).backward(create_graph=True)
    p.grad.data += 1
    assert (factors.data == 2).all()
