"""The command `minigrad`: its words, its status, the files it writes."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

import minigrad
from minigrad import cli, machine
from minigrad.demo import steps, timings
from minigrad_kernels import BACKENDS, KERNELS
from minigrad_kernels.cuda import verified


def test_info(capsys):
    assert cli.main(["info"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"minigrad    {minigrad.__version__}\n")
    for word in (*BACKENDS, *KERNELS, "numpy", "scipy", "numba", "cores", "blas"):
        assert word in shown


def test_info_tells_what_each_kernel_runs_and_why(capsys):
    cli.main(["info"])
    lines = capsys.readouterr().out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("kernels ("))
    end = lines.index("", begin)
    told = {line.split()[0]: line for line in lines[begin + 1 : end]}
    assert set(told) == set(KERNELS)
    assert "64x64x32x32" in told["relu"]
    assert " ".join(told["relu"].split()[2:]) == "numba accepts this and is worth it"


def test_info_tells_what_was_verified_on_which_gpu(capsys, monkeypatch, tmp_path):
    def shown():
        cli.main(["info"])
        lines = capsys.readouterr().out.splitlines()
        begin = next(i for i, line in enumerate(lines) if line.startswith("CUDA kernels ("))
        return lines[begin + 1 :]

    file = tmp_path / "verified.json"
    file.write_text('{"runs": []}')
    monkeypatch.setattr(machine.verified.runs, "__defaults__", (file,))
    first, *kernels = shown()
    assert first == "  nothing has run on a GPU yet"
    assert len(kernels) == sum(
        any(i.backend == "cuda" for i in k.implementations) for k in KERNELS.values()
    )
    assert all(": " in line and "on no GPU yet" in line for line in kernels)

    states = {"softmax, cuda": True, "softmax, cuda:6-online": False, "relu, cuda": True}
    versions = {"CUDA": "13.0"}
    run = machine.verified.Run("H100", "9.0", "abc", "2026-12-01", versions, 90, 1, states)
    machine.verified.record(run, file)
    first, *kernels = shown()
    assert (
        first == "  H100: 2 of 3 implementations, 90 tests passed, 1 failed; commit abc, 2026-12-01"
    )
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in kernels}
    assert told["relu"] == "on H100: cuda"
    assert told["softmax"].startswith("cuda on H100; ")
    assert "cuda:6-online fails on H100" in told["softmax"]
    assert told["tanh"] == "on no GPU yet: cuda"


def test_what_was_verified_before_is_replaced(tmp_path):
    file = tmp_path / "verified.json"
    file.write_text('{"runs": []}')
    for gpu, passed in (("A", 1), ("B", 2), ("A", 3)):
        verified.record(verified.Run(gpu, "9.0", "abc", "2026-12-01", {}, passed, 0), file)
    assert [(r.gpu, r.passed) for r in verified.runs(file)] == [("B", 2), ("A", 3)]
    for damaged in ("{", "[]", '{"runs": [{}]}'):
        file.write_text(damaged)
        with pytest.raises(ValueError, match="does not hold runs"):
            verified.runs(file)


def test_the_readme_says_what_was_verified():
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert verified.sentence(verified.runs()) in readme


def test_a_kernel_without_numba_and_one_that_refuses(monkeypatch):
    k = KERNELS["relu"]
    (compiled,) = [i for i in k.implementations if i.backend == "numba"]
    refuses = dataclasses.replace(compiled, accepts=lambda *_, **__: False)
    for implementations, words in (
        ([refuses, k.implementations[-1]], "numba does not accept these arguments"),
        ([k.implementations[-1]], "no numba implementation"),
    ):
        monkeypatch.setattr(k, "implementations", implementations)
        (choice,) = [c for c in machine.choices() if c.kernel == "relu"]
        assert (choice.runs, choice.why) == ("reference", words)


def test_info_for_a_reader_that_stops_early():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "minigrad", "info"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_info_compiles_nothing(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "MINIGRAD_CACHE_DIR": str(tmp_path / "new"),
    }
    code = (
        "import numba.core.event as event\n"
        "from minigrad import cli\n"
        "with event.install_recorder('numba:compile') as seen:\n"
        "    cli.main(['info'])\n"
        "print(len(seen.buffer), 'compiled')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "0 compiled"
    assert f"compiled    {tmp_path / 'new'}" in done.stdout


def test_without_numba_there_is_no_pool(monkeypatch):
    monkeypatch.setitem(BACKENDS["numba"].__dict__, "reason", "gone")
    assert machine.pool() == []


def test_caches_grow_with_their_level():
    sizes = list(machine.caches().values())
    assert sizes == sorted(sizes) and all(size > 0 for size in sizes)


def test_a_backend_that_is_not_here_says_why(capsys):
    missing = [b for b in BACKENDS.values() if not b.available]
    cli.main(["info"])
    shown = capsys.readouterr().out
    for backend in missing:
        assert f"not here: {backend.reason}" in shown
    assert len(machine.backends()) == len(BACKENDS)


def test_the_machine_survives_json():
    about = machine.describe(("pytest", "no-such-package"))
    assert json.loads(json.dumps(about)) == about
    assert about["cores"] >= 1 and about["processor"]
    assert "pytest" in about["versions"] and "no-such-package" not in about["versions"]


def test_as_a_module():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "minigrad", "--version"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert done.stdout == f"minigrad {minigrad.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["info", "--loud"], "unrecognized arguments: --loud"),
        (["demo", "--epochs", "0"], "wants a whole number of at least 1, got '0'"),
        (["demo", "--epochs", "many"], "got 'many'"),
    ],
)
def test_bad_arguments_end_with_2(argv, words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_quick_demo_writes_a_report(tmp_path, capsys):
    assert cli.main(["demo", "--quick", "--output", str(tmp_path / "out")]) == 0
    report = tmp_path / "out" / "report.html"
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("test accuracy ") and last.endswith(f"report {report}")
    assert "largest gradient error" in last
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "").replace(
        "https://matplotlib.org", ""
    )  # nothing is loaded from elsewhere
    assert (tmp_path / "out" / "demo.png").stat().st_size < 200 * 1024


def test_demo_without_report_packages(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    assert cli.main(["demo", "--quick", "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "no report: it needs matplotlib and jinja2 (pip install" in shown
    assert shown.strip().endswith("no report")
    assert not (tmp_path / "out").exists()


def test_demo_into_a_folder_that_cannot_be(tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert cli.main(["demo", "--quick", "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("minigrad demo: ") and "out" in error


def test_demo_without_images(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert cli.main(["demo", "--quick", "--no-report"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("minigrad demo: ") and "scikit-learn" in error
    assert len(error.splitlines()) == 1


def test_the_gradients_of_the_demo_are_right():
    verdict = steps.check_gradients()
    assert verdict.ok, verdict
    assert 0 < steps.largest_error(verdict) < 1e-6


def test_a_kernel_that_disagrees_is_not_timed(monkeypatch):
    monkeypatch.setattr(timings, "calls", lambda rng: iter(list(_calls())))
    good = KERNELS["softmax"].implementations
    wrong = timings.Implementation("reference", "wrong", lambda: lambda x, **_: x)
    monkeypatch.setattr(KERNELS["softmax"], "implementations", [wrong, *good])
    with pytest.raises(ArithmeticError, match="softmax on reference: wrong differs"):
        timings.measure(0.0)


def _calls():
    import numpy as np

    yield "softmax", timings.arguments(np.ones((2, 3), np.float32), axis=-1)


def test_a_folder_that_cannot_be_made_is_heard_of_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(steps, "check_gradients", lambda: pytest.fail("the work had begun"))
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--quick", "--output", str(tmp_path / "file" / "folder")]) == 1
    assert "minigrad demo: " in capsys.readouterr().err
