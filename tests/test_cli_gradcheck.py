"""`minigrad gradcheck`: functions of the user's own, and all operations on all backends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg
from minigrad import cli
from minigrad.commands import gradcheck as command, progress
from minigrad.ops import registry
from minigrad.ops.registry import OPERATIONS, Operation, real, sample
from minigrad.testing import everything
from minigrad_kernels import BACKENDS

MINE = """
import numpy as np
import minigrad as mg

def layer(x, w):
    return mg.tanh(x @ w)

def half(x):
    return mg.record(half, x.data * x.data, (x, lambda g, x: g * x, x))

def fails(x):
    raise KeyError("planted")

class Family:
    @staticmethod
    def member(x):
        return x * 2.0

def forward(x):
    return np.sin(x)

def backward(v, x):
    return v * np.cos(x)

pair = (forward, backward)

def scores(x, classes, mask, *, factor, name):
    assert classes.dtype == mg.int64 and mask.dtype == mg.bool and name == "log"
    return mg.nn.functional.cross_entropy(x * factor, classes) + getattr(mg, name)(x).sum(0)[mask]

class Net(mg.nn.Module):
    def __init__(self, out=2):
        super().__init__()
        self.inner = mg.nn.Linear(3, out)
    def forward(self, x):
        return half(self.inner(x))

net = Net()

def scaled(x, *, factor=1.0):
    return np.sin(factor * x)

def scaled_backward(v, x, *, factor=1.0):
    return v * factor * np.cos(factor * x)

scaled_pair = (scaled, scaled_backward)

def lookup(table, rows):
    return mg.nn.functional.embedding(rows, table)
three = (forward, backward, forward)
number = 3

def leaves(x):
    raise SystemExit(0)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file with functions, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(MINE)
    yield "mine.py"
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def run(*arguments: str) -> int:
    return cli.main(["gradcheck", *arguments])


@pytest.mark.parametrize("place", ["mine.py", "mine"])
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("layer", "2x3,3x4"),
        ("Family.member", "()"),
        ("Family.member", "scalar"),
        ("pair", "5"),
        ("layer", "0x3,3x2"),
    ],
)
def test_right_gradients(place: str, name: str, shapes: str, mine: str, capsys: Any) -> None:
    assert run(f"{place}:{name}", "--shapes", shapes) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("gradcheck of ") and ": right" in shown.splitlines()[0]
    assert not Path(".minigrad").exists()


def test_options_reach_the_check(mine: str, capsys: Any) -> None:
    options = ["--order", "2", "--kind", "smooth", "--dtype", "float32", "--seed", "4"]
    assert run("mine:layer", "--shapes", "2x3,3x1", *options, "--replay", "r/again.py") == 0
    shown = capsys.readouterr().out
    assert "order 2, input 1 of shape (3, 1)" in shown and "central differences" in shown
    assert shown.endswith(f"replay: {Path('r/again.py')}\n")
    text = Path("r/again.py").read_text()
    assert "gradcheck(layer, inputs, order=2, kind='smooth', seed=4)" in text
    assert text.count("dtype='float32'") == 2


def test_integers_truth_values_and_keyword_arguments(mine: str, capsys: Any) -> None:
    given = ["--shapes", "3x4, 3:0..3, 4:bool", "--low", "0.5"]
    assert run("mine:scores", *given, "--option", "factor=2.5", "--option", "name=log") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "input" in line]
    assert "input 0 of shape (3, 4): equal" in line
    assert run("mine:scaled_pair", "--shapes", "3", "--option", "factor=3") == 0
    assert capsys.readouterr().out.startswith("gradcheck of scaled: right")


@pytest.mark.parametrize(
    ("name", "options"), [("mine:Net", ["--option", "out=4"]), ("mine:net", [])]
)
def test_parameters_of_modules_are_checked(
    name: str, options: list[str], mine: str, capsys: Any
) -> None:
    assert run(name, "--shapes", "2x3", *options) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("gradcheck of Net: WRONG")
    for label in ("input 0 of shape (2, 3)", f"weight of shape ({4 if options else 2}, 3)"):
        assert f"{label}: DIFFERENT" in shown
    assert "order 1, parameter inner.bias of shape" in shown


def test_inputs_lie_between_low_and_high(mine: str) -> None:
    assert (
        run("mine:layer", "--shapes", "9x9,9", "--low", "3", "--high", "3.5", "--replay", "a.py")
        == 0
    )
    import numpy as np

    parser = cli.parser()
    options = parser.parse_args(
        ["gradcheck", "f:f", "--shapes", "9x9", "--low", "3", "--high", "4"]
    )
    (x,) = command.inputs_of(options)
    assert x.shape == (9, 9) and 3 <= x.min() < 3.2 and 3.8 < x.max() < 4
    np.testing.assert_array_equal(command.inputs_of(options)[0], x)


def test_a_wrong_gradient_leaves_a_replay(mine: str, capsys: Any) -> None:
    assert run("mine.py:half", "--shapes", "3", "--backends", "reference") == 1
    shown = capsys.readouterr().out
    assert shown.startswith("on reference: gradcheck of half: WRONG")
    path = Path(shown.splitlines()[-1].removeprefix("replay: "))
    assert path.parent == Path(".minigrad/replay")
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("gradcheck of half: WRONG")


def test_numbers_outside_a_domain(mine: str, capsys: Any) -> None:
    Path("other.py").write_text("import minigrad as mg\ndef nan(x): return mg.log(x)\n")
    assert run("other.py:nan", "--shapes", "9") == 1
    shown = capsys.readouterr().out
    assert "NaN or infinity" in shown and "drawn from [-2, 2): see --low, --high" in shown
    assert run("other.py:nan", "--shapes", "9", "--low", "1") == 0
    assert "drawn" not in capsys.readouterr().out


def test_functions_of_other_libraries(mine: str, capsys: Any) -> None:
    """A module of that name does here: PyTorch's functions refuse minigrad's tensors so."""
    Path("torch.py").write_text("def atan2(x, y): raise TypeError('must be Tensor, not Tensor')\n")
    Path("theirs.py").write_text("import torch\ndef f(x, y): return torch.atan2(x, y)\n")
    code = (
        "import sys; from minigrad.cli import main; sys.path.insert(0, '.');"
        "sys.exit(main(['gradcheck', 'theirs:f', '--shapes', '3,3']))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *(p for p in sys.path if p)])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "not Tensor (" in done.stderr, done.stderr
    assert done.stderr.endswith(
        "; a function of torch's tensors is checked as a pair (forward, vjp)\n"
    )


def test_a_terminal_is_not_wide(mine: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("mine:layer", "--shapes", "2x3,3x4") == 0
    plain = capsys.readouterr().out
    assert max(map(len, plain.splitlines())) > 79
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("mine:layer", "--shapes", "2x3,3x4") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 79 and shown.split() == plain.split()


def test_nobody_reads_and_nobody_waits(mine: str, capsys: Any, monkeypatch: Any) -> None:
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "minigrad", "gradcheck", "mine:layer", "--shapes", "2x3,3x4"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        words, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (2, "")

    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load", interrupted)
    assert run("mine:layer", "--shapes", "3") == 130
    assert capsys.readouterr().err == "minigrad gradcheck: interrupted\n"


def test_a_plot(mine: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    assert run("mine:half", "--shapes", "3", "--plot", "error.png") == 1
    assert Path("error.png").read_bytes().startswith(b"\x89PNG")
    assert "plot: error.png" in capsys.readouterr().out


def test_a_plot_without_matplotlib(mine: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("mine:half", "--shapes", "3", "--plot", "error.png") == 2
    assert "matplotlib" in capsys.readouterr().err


NOT_HERE = [name for name, b in BACKENDS.items() if not b.available]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one function, such as package.module:function; or use --all"),
        (["mine:half", "mine:layer"], "name one function"),
        (["mine:half"], "--shapes is missing: those of (x), such as"),
        (["mine:layer"], "--shapes is missing: those of (x, w), such as"),
        (["mine:pair"], "--shapes is missing: those of (x), such as"),
        (["mine", "--shapes", "3"], "module:function or file.py:function, got 'mine'"),
        (["mine.half", "--shapes", "3"], "got 'mine.half'; is it mine:half?"),
        (["miine:half", "--shapes", "3"], "there is no module 'miine'; is it mine?"),
        ([":half", "--shapes", "3"], "got ':half'"),
        (["mine:", "--shapes", "3"], "got 'mine:'"),
        (["other.py:half", "--shapes", "3"], "there is no file 'other.py'"),
        (["other:half", "--shapes", "3"], "there is no module 'other'"),
        (["mine.other:half", "--shapes", "3"], "there is no module 'mine.other'"),
        (["mine:hafl", "--shapes", "3"], "mine has no 'hafl'; is it half?"),
        (["mine:Family.friend", "--shapes", "3"], "has no 'Family.friend'; it has member"),
        (["mine:number", "--shapes", "3"], "mine:number is a int, wants a function or a pair"),
        (["mine:three", "--shapes", "3"], "mine:three is a tuple, but not a pair of functions"),
        (["mine:half", "--shapes", "3y4"], "shapes: each is written 3x4, or scalar for a single"),
        (["mine:half", "--shapes", "3:1..0"], "there is no number from 1 to 0, in '3:1..0'"),
        (["mine:half", "--shapes", "3:0..9"], "none of the inputs is of floating-point type"),
        (["mine:half", "--shapes", "3", "--option", "a=1"], "unexpected keyword argument 'a'"),
        (["mine:Family", "--shapes", "3"], "mine:Family is a class, wants a function, or a module"),
        (["mine:Net", "--shapes", "3", "--option", "out=x"], "raises TypeError: Linear: out_"),
        (["mine:half", "--shapes", ""], "got ''"),
        (["mine:half", "--shapes", "-3"], "got '-3'"),
        (["mine:half", "--shapes", "\u0663x4"], "got '\u0663x4'"),
        (["mine:half", "--shapes", "9" * 5000], "got '999999999999...9999999999999'"),
        (["mine:half", "--shapes", "99999x99999x99999x99999"], "no array can have the shape 9999"),
        (["mine:half", "--shapes", "x".join("1" * 65)], "no array can have the shape 1x1"),
        (["mine:half", "--shapes", "3,3:0..9223372036854775808"], "do not fit into int64"),
        (["mine:half", "--shapes", "3", "--low=-1e308", "--high=1e308"], "too far apart: -1e+308"),
        (["mine:half", "--shapes", "3", "--low", "2"], "low must be less than high"),
        (["mine:half", "--shapes", "3", "--high", "inf"], "both finite, got -2.0 and inf"),
        (["mine:half", "--shapes", "3", "--kind", "round"], "kind 'round' is none of"),
        (["mine:half", "--shapes", "3", "--backends", "fast"], "no backend 'fast'; there are"),
        (["mine:half", "--shapes", "3", "--jobs", "2"], "--jobs is for --all"),
        (["mine:pair", "--shapes", "3", "--order", "2"], "pair"),
        (["mine:layer", "--shapes", "3"], "mine:layer raises TypeError: layer() missing 1"),
        (["mine:layer", "--shapes", "3"], "argument: 'w' (called with shapes (3,))"),
        (["mine:layer", "--shapes", "2x3,2x3"], "mine:layer raises ValueError: matmul"),
        (["mine:fails", "--shapes", "3"], "mine:fails raises KeyError: 'planted' ("),
        (["mine:fails", "--shapes", "3,()"], "were given (called with shapes (3,), ())"),
        (["mine:fails", "--shapes", "3"], "mine.py:12, called with shapes (3,))"),
        (["mine:lookup", "--shapes", "5x3,2"], "for integers from 0 to 9 write 8:0..9 among the"),
        (["mine:leaves", "--shapes", "3"], "mine:leaves raises SystemExit: 0"),
        (["mine:half", "--shapes", "9999999x9999999"], "Unable to allocate"),
        (["mine:half", "--shapes", "3", "--backends", ""], "no backend ''; there are"),
        (["--all", "softmaxx"], "no operation is called softmaxx"),
        (["--all", "relu", "--shapes", "3"], "--shapes is for one function, not for --all"),
        (["--all", "relu", "--backends", "fast"], "no backend 'fast'"),
        *((["--all", "--backends", b], f"{b} cannot be used here: ") for b in NOT_HERE),
    ],
)  # fmt: skip
def test_what_cannot_be_checked(arguments: list[str], words: str, mine: str, capsys: Any) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("minigrad gradcheck: ") and len(error.splitlines()) == 1
    assert words in error


@pytest.mark.parametrize(
    ("code", "words"),
    [("1 / 0", "raises ZeroDivisionError: division by zero"),
     ("import no_such_thing", "raises ModuleNotFoundError: No module named 'no_such_thing'"),
     ("raise SystemExit(0)", "raises SystemExit: 0"),
     ("def f(:", "raises SyntaxError")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["broken.py:f", "broken:f"])
def test_what_cannot_be_imported(name: str, code: str, words: str, mine: str, capsys: Any) -> None:
    Path("broken.py").write_text(code)
    assert run(name, "--shapes", "3") == 2
    assert f"importing {name.partition(':')[0]} {words}" in capsys.readouterr().err


def test_a_file_named_as_a_module_that_exists(mine: str, capsys: Any) -> None:
    Path("random.py").write_text(MINE)
    assert run("random.py:layer", "--shapes", "2x3,3x4") == 0
    assert "right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--order", "0"], "at least 1, got '0'"), (["--seed", "-1"], "at least 0, got '-1'"),
     (["--dtype", "int8"], "invalid choice: 'int8'"), (["--low", "x"], "invalid float value")],
)  # fmt: skip
def test_options_that_make_no_sense(options: list[str], words: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        run("mine:half", "--shapes", "3", *options)
    assert end.value.code == 2 and words in capsys.readouterr().err


# All operations

FEW = ["softmax", "exp", "eq", "matmul"]


def rows(shown: str) -> dict[str, str]:
    return {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines() if line}


def test_some_operations_on_the_backends_of_a_cpu(mine: str, capsys: Any) -> None:
    assert run("--all", *FEW, "--backends", "reference,numba", "--jobs", "1") == 0
    shown = rows(capsys.readouterr().out)
    counts = {name: sum(1 for _ in everything.calls(name)) for name in FEW}
    assert shown["softmax"] == f"right {counts['softmax']} right {counts['softmax']}"
    assert shown["exp"] == f"right {counts['exp']} no kernel"
    assert shown["eq"].startswith("constant") and shown["matmul"].count("right") == 2
    every = counts["softmax"] + counts["matmul"]
    assert shown["numba"].startswith(f"2 right, {every} samples, on Numba ")
    assert shown["reference"].startswith(f"3 right, {every + counts['exp']} samples, on NumPy ")
    for name in NOT_HERE:
        assert shown[name] == f"not here: {BACKENDS[name].reason}"
    assert not Path(".minigrad").exists()


def test_processes_side_by_side_find_the_same(mine: str) -> None:
    found = [
        sorted((o.operation, o.backend, o.status, o.samples) for o in
               everything.check_all(["tanh", "sum"], ["reference", "numba"], jobs))
        for jobs in (1, 2)
    ]  # fmt: skip
    assert found[0] == found[1] and len(found[0]) == 4


def _planted(x: Any) -> mg.Tensor:
    x = mg.as_tensor(x)
    return mg.record(_planted, x.data * x.data, (x, lambda g, x: g * x, x))


def test_a_wrong_operation_is_shown(mine: str, capsys: Any, monkeypatch: Any) -> None:
    def broken(x: Any) -> Any:
        raise ZeroDivisionError("planted")

    for function in (_planted, broken):
        op = Operation(function, (sample(real(2, 3)), sample(real())), (), "smooth")
        monkeypatch.setitem(OPERATIONS, function.__name__, op)
    assert registry.OPERATIONS is OPERATIONS
    assert run("--all", "_planted", "broken", "tanh", "--backends", "reference", "--jobs", "1") == 1
    shown = capsys.readouterr().out
    table = rows(shown)
    assert (table["_planted"], table["broken"]) == ("WRONG 2", "WRONG 2")
    assert "1 right, 2 WRONG, " in table["reference"]
    assert "_planted(2x3) on reference\ngradcheck of _planted: WRONG" in shown
    assert "broken(scalar) on reference\nraises ZeroDivisionError: planted" in shown
    assert len(list(Path(".minigrad/replay").glob("_planted-*.py"))) == 2


REGISTERED = """
import minigrad as mg
from minigrad.ops.registry import differentiable, real, sample

@differentiable([sample(real(3)), sample(real())], kind="analytic")
def cube_of_mine(x):
    x = mg.as_tensor(x)
    return mg.record(cube_of_mine, x.data**3, (x, lambda g, x: g * 3 * x * x, x))

@differentiable([sample(real(2, 3))], kind="analytic")
def square_of_mine(x):
    x = mg.as_tensor(x)
    return mg.record(square_of_mine, x.data**2, (x, lambda g, x: g * x, x))
"""


@pytest.mark.parametrize(("module", "jobs"), [("registered.py", "1"), ("registered", "2")])
def test_operations_that_a_module_registers(module: str, jobs: str, mine: str, capsys: Any) -> None:
    Path("registered.py").write_text(REGISTERED)
    known = set(OPERATIONS)
    options = ["--module", module, "--backends", "reference,numba", "--jobs", jobs]
    try:
        assert run(*options) == 1
        shown = rows(capsys.readouterr().out)
        assert shown["cube_of_mine"] == "right 2 no kernel"
        assert shown["square_of_mine"] == "WRONG 1 no kernel"
        assert "softmax" not in shown
        assert run("cube_of_mine", *options) == 0
        assert run("softmax", *options) == 2
        assert "no operation is called softmax" in capsys.readouterr().err
    finally:
        for name in set(OPERATIONS) - known:
            del OPERATIONS[name]


def test_modules_that_register_nothing(mine: str, capsys: Any) -> None:
    assert run("--module", "mine") == 2
    assert "minigrad gradcheck: mine registers no operations" in capsys.readouterr().err
    assert run("--module", "miine.py") == 2
    assert "there is no file 'miine.py'" in capsys.readouterr().err


def test_progress(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar where somebody watches and tqdm is there; else a line for each tenth."""
    for tqdm, watched in ((True, True), (True, False), (False, True)):
        with monkeypatch.context() as m:
            m.setattr(sys.stderr, "isatty", lambda watched=watched: watched, raising=False)
            if not tqdm:
                m.setitem(sys.modules, "tqdm", None)
            assert list(progress.progress(range(25), 25, "checking")) == list(range(25))
        shown = capsys.readouterr().err
        if tqdm and watched:
            assert "checking:" in shown and "/25" in shown
        else:
            lines = shown.splitlines()
            assert len(lines) == 10 and lines[-1] == "checking: 25 of 25"
