"""Replay scripts: the same check with the same numbers, or a reason why there is none."""

from __future__ import annotations

import enum
import functools
import math
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings, strategies as st

import minigrad as mg
from minigrad.ops.registry import OPERATIONS
from minigrad.recording import record
from minigrad.testing import gradcheck, replay
from minigrad.testing.calls import draw
from minigrad.testing.programs import programs
from minigrad.testing.replay.literals import MOST, Numbers
from minigrad.testing.strategies import LAYOUTS, repeated
from minigrad.testing.strategies.calls import operation_calls

FACTOR = 2.0


def wrong(x: mg.Tensor) -> mg.Tensor:
    """x^2 with the derivative x: half of what it should be."""
    x = mg.as_tensor(x)
    return record(wrong, x.data * x.data, (x, lambda g, x: g * x, x))


def right(x: mg.Tensor, scale: float = 1.0) -> mg.Tensor:
    return mg.tanh(x) * scale


class Color(enum.IntEnum):
    RED = 1


class Model:
    """Has methods, and an object of it a state."""

    @staticmethod
    def double(x: mg.Tensor) -> mg.Tensor:
        return x * 2.0

    @classmethod
    def triple(cls, x: mg.Tensor) -> mg.Tensor:
        return x * 3.0

    def method(self, x: mg.Tensor) -> mg.Tensor:
        return x * 4.0

    def __call__(self, x: mg.Tensor) -> mg.Tensor:
        return x * 5.0


class Held:
    """Has whatever attributes it is given."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __call__(self, x: mg.Tensor) -> mg.Tensor:
        return self.scale * x  # type: ignore[attr-defined]


class Own(Model):
    """Says itself how it is made anew."""

    def __setstate__(self, state: Any) -> None:
        raise NotImplementedError


class Network(mg.nn.Module):
    """Holds parameters, one of them twice, a buffer, a function, modules by number, an object."""

    def __init__(self) -> None:
        self.first = mg.nn.Linear(3, 3)
        self.second = mg.nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.rest = mg.nn.Sequential(mg.nn.Tanh(), mg.nn.LayerNorm(3))
        self.rest[1].bias.requires_grad_(False)
        self.register_buffer("shift", mg.tensor([0.25, -1.5, 3.0]))
        self.halve, self.options = wrong, {"scale": (0.5, [Held(scale=2.0)])}

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        number, (held,) = self.options["scale"]
        return self.rest(self.second(self.first(x))) * number + held(self.halve(x) + self.shift)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Write a replay, and run its definitions: its names and what they mean."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def names(fn: Any, inputs: Any, **options: Any) -> dict[str, Any]:
        return runpy.run_path(str(replay.write(fn, inputs, tmp_path / "again.py", **options)))

    return names


def status(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    found = names["main"]()
    return found, capsys.readouterr().out


POINT = [np.array([[0.3, -1.7, 1.1]])]
NETWORKS = [Network()] * 2


def test_a_wrong_gradient_is_wrong_again_in_another_process(tmp_path: Path) -> None:
    path = replay.write(wrong, POINT, tmp_path / "deep" / "again.py", kind="smooth", seed=3)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.strip() == str(gradcheck(wrong, POINT, kind="smooth", seed=3))


@pytest.mark.parametrize(
    ("fn", "called"),
    [
        (right, "gradcheck(right, "),
        (mg.ops.tanh, "gradcheck(mg.ops.tanh, "),
        (functools.partial(right, scale=3.0), "gradcheck(functools.partial(right, scale=3.0), "),
        (Model.double, "gradcheck(Model.double, "),
        (Model.triple, "gradcheck(Model.triple, "),
        (lambda x: right(x) + FACTOR, "function = lambda x: right(x) + FACTOR"),
        (mg.nn.functional.relu, "gradcheck(mg.ops.relu, "),
    ],
)
def test_functions(fn: Any, called: str, run: Any, capsys: Any, tmp_path: Path) -> None:
    names = run(fn, POINT)
    assert called in (tmp_path / "again.py").read_text()
    assert status(names, capsys)[0] == 0


def test_a_module_comes_back_with_its_state(run: Any, capsys: Any) -> None:
    network = Network().eval()
    names = run(network, POINT)
    again, x = names["network_1"], mg.tensor(POINT[0]).float()
    assert again.second.weight is again.first.weight and not again.training
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in network.named_parameters()]
    assert [p.requires_grad for p in again.parameters()] == [
        p.requires_grad for p in network.parameters()
    ]
    for key, value in network.state_dict().items():
        same(again.state_dict()[key].data, value.data)
    np.testing.assert_array_equal(again(x).data, network(x).data)
    found, said = status(names, capsys)
    assert found == 1 and said.strip() == str(gradcheck(network, POINT))
    assert "parameter first.weight of shape (3, 3): equal" in said


@pytest.mark.parametrize(
    ("fn", "called"),
    [
        (Held(scale=3.0), "gradcheck(held_1, "),
        (Model().method, "gradcheck(model_1.method, "),
        (Model(), "gradcheck(model_1, "),
        (
            mg.tensor([1.5]).double().mul,
            "gradcheck((mg.from_numpy(np.array([1.5], dtype='float64')",
        ),
        (lambda x: NETWORKS[0](x.float()) + NETWORKS[1].rest[0](x.float()), "gradcheck(function"),
    ],
)
def test_objects_and_their_methods(
    fn: Any, called: str, run: Any, capsys: Any, tmp_path: Path
) -> None:
    names = run(fn, POINT)
    text = (tmp_path / "again.py").read_text()
    assert called in text
    x = mg.tensor(POINT[0])
    again = eval(text.partition("gradcheck(")[2].partition(", inputs")[0], names)
    np.testing.assert_array_equal(again(x).data, fn(x).data)


def nan(x: mg.Tensor) -> mg.Tensor:
    return x * 3.0


def test_a_function_may_be_called_what_the_script_calls_something(
    run: Any, capsys: Any, tmp_path: Path
) -> None:
    assert status(run(nan, [*POINT]), capsys)[0] == 0
    assert " import nan as nan_2\n" in (tmp_path / "again.py").read_text()


def test_names_of_objects_do_not_collide(run: Any) -> None:
    held_1, other = 2.0, Held(scale=3.0)
    names = run(lambda x: x * held_1 + other(x), POINT)
    assert names["held_1"] == 2.0 and names["other"].scale == 3.0


def test_an_importable_function_is_mended_by_mending_it(run: Any, capsys: Any, monkeypatch) -> None:
    names = run(wrong, POINT, kind="smooth")
    assert status(names, capsys)[0] == 1
    monkeypatch.setitem(names["main"].__globals__, "wrong", mg.square)
    assert status(names, capsys)[0] == 0


def test_a_local_function_with_all_that_it_refers_to(run: Any, capsys: Any, tmp_path: Path) -> None:
    weight = np.asfortranarray(np.random.default_rng(0).normal(size=(3, 2)))
    name, bias, limit = "tanh", mg.tensor([0.25, 0.5]), math.inf

    def halved(f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def inside(*xs: mg.Tensor, share: float = float(weight.shape[1]) / 4) -> mg.Tensor:
            return f(*xs) * share

        return inside

    def layer(x: mg.Tensor, *, scale: Any = weight) -> mg.Tensor:
        def power(n: int) -> Any:
            return scale if n == 0 else power(n - 1) * FACTOR

        return getattr(mg, name)(x @ mg.tensor(power(2)) + bias).clip(-limit, limit)

    decorated = halved(layer)
    names = run(decorated, POINT)
    x = mg.tensor(POINT[0])
    text = (tmp_path / "again.py").read_text()
    assert "def f(" in text and "@" not in text.replace("x @ mg", "")
    np.testing.assert_array_equal(names["layer"](x).data, decorated(x).data)
    assert status(names, capsys)[0] == 0


def test_one_of_two_lambdas_in_a_line(run: Any, tmp_path: Path) -> None:
    pair = (lambda x: mg.sin(x), lambda x: mg.cos(x))  # fmt: skip
    for fn in pair:
        if sys.version_info < (3, 11):  # which does not tell the columns of code
            with pytest.raises(ValueError, match=r"cannot be written: <lambda> in line \d+"):
                run(fn, POINT)
        else:
            x = mg.tensor(POINT[0])
            np.testing.assert_array_equal(run(fn, POINT)["function"](x).data, fn(x).data)


def test_a_pair_of_numpy_functions(run: Any, capsys: Any) -> None:
    names = run((np.sin, lambda v, x: v * np.cos(x)), POINT)
    forward, vjp = np.sin, names["function"]
    np.testing.assert_array_equal(vjp(2.0, POINT[0]), 2.0 * np.cos(POINT[0]))
    assert "(np.sin, function)" in Path(names["__file__"]).read_text()
    assert forward is names["np"].sin


@pytest.mark.parametrize("name", ["conv2d", "cat", "getitem", "cross_entropy", "einsum", "where"])
def test_samples_of_operations(name: str, run: Any, tmp_path: Path) -> None:
    op = OPERATIONS[name]
    for sample in op.samples:
        call = draw(op.function, sample, np.random.default_rng(1))
        written = run(call, call.arrays, kind=op.kind)
        text = (tmp_path / "again.py").read_text()
        assert f"mg.ops.{name}(" in text and "import minigrad as mg" in text
        (again,) = (v for k, v in written.items() if k.startswith(name))
        tensors = [mg.from_numpy(a) for a in call.arrays]
        np.testing.assert_array_equal(again(*tensors).data, call(*tensors).data)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_backend(backend: str, run: Any, capsys: Any, tmp_path: Path) -> None:
    names = run(mg.ops.softmax, [*POINT, 1], backend=backend, order=2)
    assert f"gradcheck_on({backend!r}, mg.ops.softmax, inputs, order=2)" in (
        (tmp_path / "again.py").read_text()
    )
    assert status(names, capsys)[0] == 0


# Numbers


def evaluated(value: Any) -> Any:
    numbers = Numbers()
    text = numbers.literal(value)
    names: dict[str, Any] = {}
    exec("\n".join([*numbers.imports, *numbers.helpers(), f"found = {text}"]), names)
    return names["found"]


def same(a: Any, b: Any) -> None:
    assert (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape)
    if a.size and not b.flags.c_contiguous:
        assert a.strides == b.strides
    np.testing.assert_array_equal(a, b)
    if a.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(a), np.signbit(b))


DTYPES = ["f2", "f4", "f8", "c8", "c16", "i1", "u2", "i8", "?"]


@given(
    st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 2**32),
    st.sampled_from([*LAYOUTS, repeated]), st.booleans(),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_arrays_come_back(dtype: str, shape: list[int], seed: int, layout: Any, many: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = [MOST, *shape] if many else shape
    x = rng.normal(size=shape) * 10.0 ** rng.integers(-4, 4, size=shape)
    with np.errstate(invalid="ignore"):  # negative numbers, as unsigned ones
        x = layout(np.asarray(x + 1j * x if dtype[0] == "c" else x).astype(dtype))
    same(evaluated(x), x)


def test_every_float16_comes_back() -> None:
    bits = np.arange(65536, dtype="u2").view("f2")
    for part in (*np.split(bits, 512)[::37], bits):
        same(evaluated(part), part)


@pytest.mark.parametrize(
    "value",
    [0.1, -0.0, math.inf, -math.inf, 3, True, None, "a\n'b'", b"\0", ..., 2 + 1j, (1,), [1, (2.5,)],
     slice(None, 2), {"a": [1]}, {-math.inf: 1, (np.float64(2), True): 3}, np.dtype("f4")],
)  # fmt: skip
def test_values_come_back(value: Any) -> None:
    found = evaluated(value)
    assert (found, type(found)) == (value, type(value))
    assert repr(found) == repr(value)


def test_numbers_that_are_not_finite_come_back() -> None:
    assert math.isnan(evaluated(math.nan))
    for x in (
        np.array([np.nan, -np.inf, -0.0]),
        np.array([complex(0, np.inf), complex(np.nan, 1)]),
    ):
        same(evaluated(x), x)


def test_tensors_come_back() -> None:
    for wanted in (False, True):
        found = evaluated([mg.tensor([[1.5]], requires_grad=wanted)])[0]
        assert isinstance(found, mg.Tensor) and found.requires_grad is wanted
        same(found.data, np.array([[1.5]], "f4"))


def test_few_numbers_are_written_out_and_many_packed() -> None:
    assert "unpacked" not in replay.script(mg.ops.tanh, np.ones(MOST))
    assert "unpacked(" in replay.script(mg.ops.tanh, np.ones(MOST + 1))


# What cannot be written


def _unwritable() -> list[Any]:
    lock: Any = iter(())

    class Local:
        def __call__(self, x: mg.Tensor) -> mg.Tensor:
            return x

    class Asked:
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

        def __call__(self, x: mg.Tensor) -> mg.Tensor:
            return x

    ring, local = Held(), Local()
    ring.held = [ring]
    lists: list[Any] = []
    lists.append(lists)
    names: dict[str, Any] = {}
    names["self"] = names
    other = FunctionType((lambda x: x * FACTOR).__code__, {"FACTOR": 3.0, "mg": np})
    made: dict[str, Any] = {}
    exec("def typed(x): return x", made)
    return [
        pytest.param(Own().method, "of type Own is more than its attributes: its class",
                     id="an object with a way of its own"),
        pytest.param(Held(scale=1.0, held=lock), "type Held, the attribute 'held': a value of type",
                     id="an attribute"),
        pytest.param(ring, "of type Held holds itself", id="a ring"),
        pytest.param(Held(held=lists), "something holds itself", id="a ring of lists"),
        pytest.param(Held(held=names), "something holds itself", id="a ring of dictionaries"),
        pytest.param(Held(held={Color.RED: 1}), "a value of type Color has", id="a key of an Enum"),
        pytest.param(Held(held=10**5000), "ValueError: Exceeds the limit", id="too many digits"),
        pytest.param(Asked(), "KeyError: '__name__'", id="an object that has no name"),
        pytest.param(local, "class .*Local of an object cannot be imported", id="a local class"),
        pytest.param(lambda x: next(lock), "refers to 'lock': .* list_iterator|tuple_iterator",
                     id="a closure over an iterator"),
        pytest.param(made["typed"], "typed has no source", id="typed in"),
        pytest.param(lambda x: nowhere(x), "refers to 'nowhere', which is not defined",  # noqa: F821
                     id="undefined"),
        pytest.param((lambda x: right(x) * FACTOR, other),
                     "refers to 'FACTOR', which means something else too", id="two meanings"),
    ]  # fmt: skip


@pytest.mark.parametrize(("fn", "words"), _unwritable())
def test_what_cannot_be_written_says_why(fn: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "again.py"
    path.write_text("as before")
    with pytest.raises(ValueError, match=f"replay: cannot be written: .*({words})"):
        replay.write(fn, POINT, path)
    assert path.read_text() == "as before"
    assert replay.saved(fn, POINT, path).startswith("replay: cannot be written: ")


def test_inputs_that_cannot_be_written(tmp_path: Path) -> None:
    for value, words in (
        (object(), "a value of type object"),
        (np.array([object()]), "an array of object"),
        (np.array(["a"]), "an array of <U1"),
    ):
        with pytest.raises(ValueError, match=words):
            replay.write(mg.ops.tanh, [*POINT, value], tmp_path / "again.py")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "again.py"
    with pytest.raises(OSError):
        replay.write(mg.ops.tanh, POINT, path)
    assert replay.saved(mg.ops.tanh, POINT, path).startswith("replay: [Errno")


def test_names_of_replays(tmp_path: Path) -> None:
    assert replay.named("a/test_b.py::test_c", tmp_path) == tmp_path.joinpath(
        ".minigrad", "replay", "test_b-test_c.py"
    )
    long = [replay.named("test_" + "x" * 200 + end) for end in "ab"]
    assert long[0] != long[1] and all(len(p.name) < 90 for p in long)


def test_git_ignores_the_usual_folder(tmp_path: Path) -> None:
    path = replay.write(mg.ops.tanh, POINT, replay.named("x", tmp_path))
    assert path.parent.parent.joinpath(".gitignore").read_text() == "*\n"


# What strategies draw


def test_a_program_is_written_as_code(run: Any, capsys: Any, tmp_path: Path) -> None:
    enough = settings(max_examples=200, database=None, derandomize=True)
    with np.errstate(all="ignore"):
        program = find(programs(4), lambda p: len(p.steps) == 4, settings=enough)
        inputs = program.arrays()
        names = run(program, inputs, kind=program.kind)
        again, wanted = names["program"](*map(mg.from_numpy, inputs)), program(*inputs)
    np.testing.assert_array_equal(again.data, wanted.data)
    assert "def program(v0" in (tmp_path / "again.py").read_text()
    assert status(names, capsys)[1].startswith("gradcheck of program: ")


def test_a_drawn_call_of_an_operation(run: Any, capsys: Any, tmp_path: Path) -> None:
    enough = settings(max_examples=200, database=None, derandomize=True)
    call = find(operation_calls("softmax"), lambda c: c.layouts[0] == "gaps", settings=enough)
    assert status(run(call, call.arrays, kind=call.kind), capsys)[0] == 0
    text = (tmp_path / "again.py").read_text()
    assert "operation=OPERATIONS['softmax']" in text and "layouts=('gaps',)" in text
