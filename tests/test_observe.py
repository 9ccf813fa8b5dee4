"""What an observer is told while a graph is recorded and walked."""

import sys

import numpy as np

import minigrad as mg


def numbers(gradient):
    return (gradient.detach() if isinstance(gradient, mg.Tensor) else gradient).tolist()


class Diary(mg.Observer):
    def __init__(self):
        self.events = []
        self.recorded_nodes = []

    def recorded(self, node):
        self.recorded_nodes.append(node)
        self.events.append(("recorded", node.name, node.shape))

    def taken(self, node, gradient):
        self.events.append(("taken", node.name, numbers(gradient)))

    def called(self, node, parent, rule, contribution):
        self.events.append(("called", node.name, parent.name, numbers(contribution)))

    def added(self, parent, contribution, total):
        self.events.append(("added", parent.name, numbers(total)))

    def freed(self, node):
        self.events.append(("freed", node.name))


def test_every_event_in_order():
    x = mg.tensor(3.0, requires_grad=True)
    with mg.observe(Diary()) as diary:
        y = x * x
        z = y + x
        z.backward()
    assert diary.events == [
        ("recorded", "mul", ()),
        ("recorded", "add", ()),
        ("taken", "add", 1.0),
        ("called", "add", "mul", 1.0),
        ("called", "add", "tensor", 1.0),
        ("freed", "add"),
        ("taken", "mul", 1.0),
        ("called", "mul", "tensor", 3.0),
        ("added", "tensor", 4.0),
        ("called", "mul", "tensor", 3.0),
        ("added", "tensor", 7.0),
        ("freed", "mul"),
        ("taken", "tensor", 7.0),
    ]


def test_a_node_tells_its_inputs_what_it_keeps_and_its_line():
    x = mg.tensor(np.ones((2, 3)), requires_grad=True)
    w = mg.tensor(np.ones((3,)))
    with mg.observe(Diary()) as diary:
        y = x * w
        line = sys._getframe().f_lineno - 1
        z = y + 1.0
        z.exp()
    mul, add, exp = diary.recorded_nodes
    ((parent, (kept,)),) = mul.kept()
    assert parent is x.node and kept is w and kept.nbytes == 24
    assert mul.where() == f"{__file__}:{line}"
    assert add.where() == f"{__file__}:{line + 2}"
    assert add.kept() == [(mul, ())]
    ((parent, (kept,)),) = exp.kept()
    assert parent is add and kept.nbytes == 48


def test_nobody_is_told_outside_or_under_no_grad_or_in_the_pass_itself():
    x = mg.tensor(3.0, requires_grad=True)
    with mg.observe(Diary()) as diary:
        with mg.no_grad():
            x * x
        y = x * x
    x * x
    y.backward()
    assert [e[0] for e in diary.events] == ["recorded"]


def test_two_observers_and_retained_graphs():
    x = mg.tensor(3.0, requires_grad=True)
    with mg.observe(Diary()) as outer:
        y = x * x
        with mg.observe(Diary()) as inner:
            y.backward(retain_graph=True)
    assert [e[0] for e in inner.events] == ["taken", "called", "called", "added", "taken"]
    assert outer.events[1:] == inner.events


def test_the_higher_order_pass_is_recorded_too():
    x = mg.tensor(3.0, requires_grad=True)
    y = x * x
    with mg.observe(Diary()) as diary:
        mg.grad(y, x, create_graph=True)
    assert ("recorded", "mul", ()) in diary.events and ("recorded", "add", ()) in diary.events
