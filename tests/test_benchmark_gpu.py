"""`make gpu` and the suites of GPUs, as far as they can be tried without one."""

from __future__ import annotations

import dataclasses
import json
import math
import types

import numpy as np
import pytest

import minigrad as mg
from benchmarks import crossover, gpu, gpu_goals, page, run
from benchmarks.crossover import Curve, in_bytes
from benchmarks.device import Emulator, Gpu, copy_rate
from benchmarks.harness import Budget, Row
from benchmarks.suites import cpu_gpu, gpu as gpu_suite, gpu_training
from minigrad_kernels import BACKENDS, KERNELS

emulated = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"no emulator: {BACKENDS['cuda-on-cpu'].reason}"
)


# Where one begins to win


def curve(*times, spread=0.0):
    sizes = [1024 * 4**i for i in range(len(times))]
    return Curve(sizes, times, [spread] * len(times))


def test_the_crossing_is_where_the_lines_meet():
    found = crossover.crossover(curve(1, 1, 1, 1), curve(4, 2, 0.5, 0.25))
    assert found.at == found.low == found.high == pytest.approx(1024 * 4**1.5)
    assert str(found) == "from 8 KB (8 KB to 8 KB)"


def test_a_spread_makes_an_interval():
    found = crossover.crossover(curve(1, 1, 1, 1, spread=0.2), curve(4, 2, 0.5, 0.25))
    assert found.low < found.at < found.high
    # Times that are 1.1 times longer: 2 / 1.1 and 0.5 / 1.1 surround the crossing.
    above, below = math.log(2 / 1.1), math.log(0.5 / 1.1)
    assert found.low == pytest.approx(4096 * 4 ** (above / (above - below)))


def test_the_last_crossing_counts():
    found = crossover.crossover(curve(1, 1, 1, 1), curve(0.5, 2, 0.5, 0.5))
    assert 4096 < found.at < 16384


def test_always_never_and_nothing_in_common():
    assert str(crossover.crossover(curve(2, 2), curve(1, 1))) == "at every size"
    assert str(crossover.crossover(curve(1, 1), curve(2, 1))) == "at no size"
    wide = crossover.crossover(curve(1, 1, spread=3.0), curve(0.9, 0.9, spread=3.0))
    assert (wide.low, wide.at, wide.high) == (0, 0, math.inf)
    with pytest.raises(ValueError, match="no size was measured for both"):
        crossover.crossover(curve(1), Curve([3.0], [1.0], [0.0]))


@pytest.mark.parametrize(
    ("size", "words"), [(100, "100 B"), (4096, "4 KB"), (3 << 20, "3 MB"), (math.inf, "beyond")]
)
def test_sizes_in_words(size, words):
    assert in_bytes(size) == words


# CPU against GPU


def test_every_kernel_has_every_size():
    """The bytes that a call moves are those of its size, or nearly; the smallest is a call, too."""
    from minigrad_kernels.workloads import Random

    for sweep in cpu_gpu.SWEEPS:
        for size in (1 << 10, 1 << 16, 1 << 22):
            call = sweep.make(size, Random())
            moved = KERNELS[sweep.kernel].cost(*call.args, **call.options).bytes
            assert 0.4 * size < moved < 2.1 * size or sweep.kernel == "conv2d"


def test_without_a_gpu_the_others_are_compared(capsys, tmp_path):
    file = tmp_path / "results.json"
    assert run.run(["cpu-gpu"], [], quick=True, only="softmax", file=file) == 0
    shown = capsys.readouterr().out
    results = json.loads(file.read_text())["rows"]
    labels = {row["contender"] for row in results}
    assert {"reference", "numba"} <= labels and not any("6-online" in name for name in labels)
    assert {row["case"] for row in results} == {f"softmax, {n} KB" for n in (1, 4, 16, 64)}
    for row in results:
        assert row["ours"] > 0 and row["figures"]["cold"] > 0
        assert row["figures"]["error"] < 1e-5
    assert "softmax: Numba over the definition" in shown
    for backend in BACKENDS.values():
        if backend.reason is not None:
            assert f"{backend.name} takes no part: {backend.reason}" in shown


def test_errors_are_of_a_part_and_found_there():
    from minigrad_kernels.workloads import Random

    for sweep in cpu_gpu.SWEEPS:
        call = sweep.make(1 << 14, Random())
        k = KERNELS[sweep.kernel]
        right = k.implementations[-1]
        subject = cpu_gpu.Subject(right, "reference", call, call, None)
        assert cpu_gpu.error(sweep, subject) < 1e-5
        wrong = dataclasses.replace(right, build=lambda k=k: _one_percent_off(k.reference))
        subject = cpu_gpu.Subject(wrong, "wrong", call, call, None)
        assert cpu_gpu.error(sweep, subject) == pytest.approx(0.01, rel=0.01)


def _one_percent_off(function):
    def wrong(*args, **options):
        made = function(*args, **options)
        if isinstance(made, tuple):
            return tuple(y * np.float32(1.01) for y in made)
        return made * np.float32(1.01)

    return wrong


def sweep_row(contender, size, ours, **figures):
    return vars(
        Row("cpu-gpu", f"relu, {in_bytes(size)}", ours, None, None, None, 0.1,
            figures={"bytes": size, "cold": 1.0, "error": 0.0, "GB/s": 1.0, "GFLOP/s": 1.0,
                     "MB": 1.0, "GFLOP": 1.0, **figures}, contender=contender)
    )  # fmt: skip


def test_crossovers_of_gpu_and_cpu():
    rows = []
    for i, size in enumerate((1024, 4096, 16384)):
        rows += [
            sweep_row("reference", size, 4.0**i),
            sweep_row("numba", size, 2.0 * 2**i),
            sweep_row("cuda", size, 3.0, launch=0.1, **{"with transfer": 100.0}),
        ]
    found = {words: where for _, words, where in cpu_gpu.crossovers(rows)}
    assert found["Numba over the definition"].startswith("from 4 KB")
    assert found["GPU over CPU"].startswith("from 3 KB")
    assert found["GPU over CPU, with transfers"] == "at no size"


# The suite of CUDA kernels


@emulated
def test_the_suite_runs_on_the_emulator(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_suite, "chosen", Emulator())
    file = tmp_path / "results.json"
    assert run.run(["gpu"], [], quick=True, only="matmul", file=file) == 0
    rows = json.loads(file.read_text())["rows"]
    words = [row["case"].partition(",")[0].removeprefix("matmul ") for row in rows]
    assert [w for w in words if "warpgroups" not in w] == ["float32", "TF32", "float16", "bfloat16"]
    assert [f"{w} by warpgroups" for w in ("TF32", "float16", "bfloat16")] == words[2::2]
    for row in rows:
        assert row["ours"] > 0 and row["figures"]["of copying"] > 0


@emulated
def test_every_case_can_be_made(monkeypatch):
    """Names say what is measured; whatever moves more than it computes is there."""
    monkeypatch.setattr(gpu_suite, "chosen", Emulator())
    names = [case.name for case in gpu_suite.cases([], True)]
    assert len(names) == len(set(names))
    kernels = {name.partition(",")[0] for name in names}
    assert {
        *("relu", "gelu_gradient", "dropout", "softmax", "log_softmax_gradient", "layer_norm"),
        *("batch_norm_gradients", "max_pool2d_positions", "avg_pool2d_gradient", "cross_entropy"),
        *("adam_step", "sgd_step", "training step", "launch of relu", "matmul TF32"),
        *(f"matmul {words} by warpgroups" for words in ("TF32", "float16", "bfloat16")),
    } <= kernels


def test_without_a_gpu_there_are_no_cases(monkeypatch, capsys):
    monkeypatch.setitem(BACKENDS["cuda"].__dict__, "reason", "the driver is missing")
    assert list(gpu_suite.cases([], False)) == []
    assert capsys.readouterr().out == "no GPU: the driver is missing\n"


def test_the_emulators_clock():
    device = Emulator()
    calls = []
    assert device.seconds(lambda: calls.append(1), 5) > 0 and len(calls) == 5
    assert device.launch_seconds(lambda: calls.append(1), 5) > 0 and len(calls) == 10
    assert copy_rate(device, 1 << 12) > 0
    x = np.arange(float(1 << 20))
    assert len(device.sampled(x)) < 1 << 19
    assert device.host(mg.tensor([1.0])).tolist() == [1.0]


# On the stand-in for CuPy, or on a GPU


def test_the_suite_runs_where_a_gpu_does(cuda, monkeypatch, tmp_path, capsys):
    """Kernels, and the training step, eager and captured: with equal losses."""
    monkeypatch.setattr(gpu_training, "STEPS", 1)
    monkeypatch.setattr(gpu_suite, "BUDGET", Budget(seconds=0.0, rounds=2, pause=0.0))
    monkeypatch.setattr(gpu_suite, "BATCH", 0.0)
    file = tmp_path / "results.json"
    assert run.run(["gpu"], [], quick=True, file=file) == 0
    results = json.loads(file.read_text())
    names = {row["case"].partition(",")[0] for row in results["rows"]}
    assert {"relu", "matmul TF32", "training step", "launch of relu"} <= names
    assert len({row["case"] for row in results["rows"]}) > 25
    (captured,) = [r for r in results["rows"] if r["peer"] == "minigrad (captured)"]
    assert captured["ours"] > 0 and captured["theirs"] > 0
    assert results["machine"]["gpu"]["capability"] == Gpu().about()["capability"]
    assert "not timed" not in capsys.readouterr().out


def test_cpu_against_gpu_where_a_gpu_is(cuda, tmp_path, capsys):
    file = tmp_path / "results.json"
    assert run.run(["cpu-gpu"], [], quick=True, only="softmax, 4 KB", file=file) == 0
    rows = {row["contender"]: row["figures"] for row in json.loads(file.read_text())["rows"]}
    assert {"reference", "reference (CuPy)", "numba", "cuda", "cuda:6-online"} <= set(rows)
    for name, figures in rows.items():
        on_gpu = (name.startswith("cuda") and name != "cuda-on-cpu") or "CuPy" in name
        assert ("launch" in figures) == ("with transfer" in figures) == on_gpu
        assert figures["error"] < 1e-5
    assert "softmax: GPU over CPU, with transfers" in capsys.readouterr().out


# PyTorch beside it


class Switches:
    """Stands for PyTorch's of a library, which knows no others."""

    __slots__ = ("allow_tf32", "benchmark")


def test_pytorch_rounds_to_tf32_only_while_it_may():
    products, convolutions = Switches(), Switches()
    products.allow_tf32, convolutions.allow_tf32 = False, True  # as PyTorch begins
    cuda = types.SimpleNamespace(matmul=products)
    torch = types.SimpleNamespace(backends=types.SimpleNamespace(cuda=cuda, cudnn=convolutions))
    for allowed in (False, True):
        with gpu_suite.tf32(torch, allowed):
            assert (products.allow_tf32, convolutions.allow_tf32) == (allowed, allowed)
        assert (products.allow_tf32, convolutions.allow_tf32) == (False, True)


# Goals


def gpu_row(case, ours, peer=None, theirs=None, **figures):
    ratio = None if theirs is None else theirs / ours
    return vars(Row("gpu", case, ours, peer, theirs, ratio, 0.0, figures=figures))


def test_goals_that_were_not_measured_say_so():
    found = gpu_goals.goals([])
    assert len(found) == 10 and {g.verdict for g in found} == {"not measured"}


def test_goals_of_a_run():
    rows = [
        gpu_row("relu, 9", 1.0, "torch", 1.2, **{"of copying": 0.95}),
        gpu_row("sgd_step, 9", 1.0, **{"of copying": 0.5}),
        gpu_row("matmul TF32, 4096", 1.0, "torch", 0.6, **{"of copying": 0.1}),
        gpu_row("matmul TF32 by warpgroups, 4096", 1.0, "torch", 0.8, **{"of copying": 0.1}),
        gpu_row("convolution TF32, a", 1.0, "torch", 0.9, **{"of copying": 0.1}),
        gpu_row("launch of relu", 1e-5, "torch", 5e-6),
        gpu_row("training step, image network, batch 64", 2.0, "minigrad (captured)", 0.5),
        gpu_row("training step, image network, batch 64", 2.0, "torch", 3.0),
    ]
    reached = {(g.work, g.figure): g.reached for g in gpu_goals.goals(rows)}
    assert reached["relu, 9", "share of the copy bandwidth"] == 0.95
    assert reached["relu, 9", "PyTorch's time over ours"] == 1.2
    assert reached["sgd_step, 9", "share of the copy bandwidth"] == 0.5
    assert reached["matmul TF32", "cuBLAS's time over ours"] == 0.6
    assert reached["matmul TF32 by warpgroups", "cuBLAS's time over ours"] == 0.8
    assert reached["matmul float32", "cuBLAS's time over ours"] is None
    assert ("matmul float32 by warpgroups", "cuBLAS's time over ours") not in reached
    assert reached["convolution TF32, a", "cuDNN's time over ours"] == 0.9
    assert reached["launch of a small kernel", "8 µs over ours"] == pytest.approx(0.8)
    work = "training step, image network, batch 64"
    assert reached[work, "eager: PyTorch's time over ours"] == 1.5
    assert reached[work, "captured: PyTorch's time over ours"] == 6.0


def test_the_page_of_a_gpu(tmp_path, monkeypatch):
    figures = {"of copying": 0.9, "MB": 1.0, "GFLOP": 1.0, "GFLOP/s": 10.0, "GB/s": 5.0}
    machine = {
        "processor": "Some CPU", "cores": 2, "python": "CPython 3.12", "system": "Linux",
        "versions": {}, "date": "2026-11-21T00:00:00", "commit": "abc", "load_before": 0.1,
        "gpu": {"name": "Some GPU (R)"},
    }  # fmt: skip
    rows = [gpu_row("relu, 9", 1.0, "torch", 1.2, **figures), sweep_row("numba", 1024, 1.0)]
    results = {"machine": machine, "ceilings": {}, "not_timed": [], "rows": rows}
    text = page.page(results)
    assert "Some GPU (R)" in text and text.count("<svg") == 2
    assert "share of the copy bandwidth" in text
    files = gpu.write(results, tmp_path / "new")
    assert [f.name for f in files] == ["some-gpu-r.json", "some-gpu-r.html"]
    assert json.loads(files[0].read_text()) == json.loads(json.dumps(results))
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    assert [f.suffix for f in gpu.write(results, tmp_path)] == [".json"]


# The command


REPORT = """<testsuites><testsuite>
<testcase name="test_layouts[softmax-cuda-cuda]"/>
<testcase name="test_numbers[softmax-cuda-6-online]">
<failure message="off by one&#10;more"/></testcase>
<testcase name="test_kernel_on_the_device[softmax-6-online]"/>
<testcase name="test_kernel_on_the_device[relu-cuda]"/>
<testcase name="test_other[x-y]"/>
<testcase name="test_skipped[tanh-cuda]"><skipped message="no"/></testcase>
<testcase name="test_broken[tanh-cuda]"><error message="stopped"/></testcase>
</testsuite></testsuites>"""


def test_what_the_tests_said_is_read(tmp_path):
    outcome = gpu.Outcome()
    (tmp_path / "a.xml").write_text(REPORT)
    gpu.read_report(tmp_path / "a.xml", outcome)
    assert (outcome.passed, outcome.failed) == (4, 2)
    assert outcome.kernels == {
        "softmax, cuda": True,
        "softmax, cuda:6-online": False,
        "relu, cuda": True,
        "tanh, cuda": False,
    }
    assert outcome.failures[0] == "test_numbers[softmax-cuda-6-online]: off by one"
    assert "4 passed, 2 failed; 2 of 4 implementations are right" in outcome.words()
    gpu.read_report(tmp_path / "missing.xml", outcome)
    assert outcome.failed == 3
    assert outcome.failures[-1] == "missing: the tests ended without a report"


def test_the_readme_is_rewritten_between_its_marks(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{gpu.BEGIN}\nold\n{gpu.END}\nafter\n")
    gpu.rewrite_readme(file, "new")
    assert file.read_text() == f"before\n{gpu.BEGIN}\n\nnew\n\n{gpu.END}\nafter\n"
    file.write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        gpu.rewrite_readme(file, "new")


def test_the_marks_are_in_the_readme():
    text = (gpu.ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count(gpu.BEGIN) == text.count(gpu.END) == 1


def test_without_a_gpu_it_says_why(monkeypatch, capsys):
    monkeypatch.setitem(BACKENDS["cuda"].__dict__, "reason", "the driver is missing")
    assert gpu.main([]) == 1
    assert capsys.readouterr().err == "make gpu: there is no GPU: the driver is missing\n"


@emulated
def test_a_dry_run(monkeypatch, tmp_path, capsys):
    """All of the program, with the parts that take long replaced: they are tested elsewhere."""

    def child(command, seconds):
        for argument in command:
            if argument.startswith("--junitxml="):
                gpu.Path(argument.partition("=")[2]).write_text(REPORT.replace("failure", "x"))
        if "--json" in command:
            file = gpu.Path(command[command.index("--json") + 1])
            row = gpu_row("relu, 9", 1.0, **{"of copying": 0.5})
            row["suite"] = command[3]
            row["figures"]["bytes"] = 1024
            machine = {**run.machine(), "load_before": 0.0}
            file.write_text(
                json.dumps({"machine": machine, "ceilings": {}, "not_timed": [], "rows": [row]})
            )

    monkeypatch.setattr(gpu, "_run", child)
    monkeypatch.setattr(gpu, "BUILD", tmp_path / "build")
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu.verified, "record", lambda run: pytest.fail("nothing was verified"))
    assert gpu.main(["--dry-run", "--output", str(tmp_path)]) == 1  # a test is in error
    shown = capsys.readouterr().out
    assert "5 passed, 1 failed" in shown and "not measured" in shown
    assert (tmp_path / "emulator-times-say-nothing.json").exists()
    assert gpu.main(["--dry-run", "--bench", "--output", str(tmp_path)]) == 0


def test_what_was_verified_is_written(monkeypatch, tmp_path):
    readme, file = tmp_path / "README.md", tmp_path / "verified.json"
    readme.write_text(f"{gpu.BEGIN}\n{gpu.END}\n")
    file.write_text('{"runs": []}')
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(gpu.verified.runs, "__defaults__", (file,))
    monkeypatch.setattr(gpu.verified.record, "__defaults__", (file,))
    about = {"capability": "9.0", "driver_cuda": "13.0", "runtime_cuda": "13.0", "cupy": "14"}
    device = types.SimpleNamespace(name="Some GPU", about=lambda: about)
    gpu._record(device, gpu.Outcome(passed=5, kernels={"relu, cuda": True}))
    (found,) = gpu.verified.runs(file)
    assert (found.gpu, found.capability, found.passed) == ("Some GPU", "9.0", 5)
    assert found.versions == {"driver_cuda": "13.0", "runtime_cuda": "13.0", "cupy": "14"}
    assert "Some GPU: 1 of 1 implementations, 5 tests passed; commit" in readme.read_text()


def test_the_commit_of_a_copy_is_said_by_a_variable(monkeypatch):
    monkeypatch.setenv("MINIGRAD_COMMIT", "abc")
    nothing = types.SimpleNamespace(stdout="")
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: nothing)
    assert run.commit() == "abc"
