"""The roofline, the goals, the page and the README's tables say what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import (
    __main__ as command,
    goals,
    operations,
    page,
    peers,
    readme,
    report,
    roofline,
    run,
    suites,
)
from benchmarks.goals import Goal
from benchmarks.harness import Row, in_fresh_process
from benchmarks.roofline import Ceilings
from benchmarks.suites import convolution, kernels, memory, memory_bound
from minigrad_kernels import Cost, Implementation, arguments
from minigrad_kernels.workloads import OTHER_SIZES, WINOGRAD_SIZES, Workload

MACHINE = {
    "processor": "Some CPU (R) 3.0", "cores": 2, "python": "CPython 3.12", "system": "Linux",
    "versions": {"numpy": "2.0", "torch": "2.13"}, "date": "2026-11-21T00:00:00", "commit": "abc",
    "load_before": 0.1,
}  # fmt: skip
CEILINGS = Ceilings(flops=1e11, product="NumPy", bytes=1e10, cache=1000)


def row(suite, case, ours, peer=None, theirs=None, **more):
    ratio = None if theirs is None else theirs / ours
    return vars(Row(suite, case, ours, peer, theirs, ratio, 0.01, **more)).copy()


def results(*rows, **more):
    return {"machine": MACHINE, "ceilings": {}, "not_timed": [], "rows": list(rows), **more}


# The roofline


def test_the_lower_ceiling_counts():
    assert CEILINGS.seconds(Cost(flops=1e11, bytes=1e9)) == 1.0
    assert CEILINGS.seconds(Cost(flops=1e9, bytes=2e10)) == 2.0
    assert CEILINGS.bound_by_memory(Cost(1e9, 2e10))
    assert not CEILINGS.bound_by_memory(Cost(1e11, 1e9))


def test_what_is_above_the_arithmetic_ceiling_is_an_error():
    cost = Cost(flops=1e11, bytes=10)
    assert CEILINGS.error(cost, 1.0) == ""
    assert CEILINGS.error(cost, 0.5) == "above the arithmetic ceiling"
    assert CEILINGS.error(cost, 0.5, fewer=4) == ""
    assert CEILINGS.error(cost, 0.2, fewer=4) == "above the arithmetic ceiling"


def test_what_is_above_the_memory_ceiling_is_an_error():
    cost = Cost(flops=0, bytes=1e10)
    assert CEILINGS.error(cost, 0.8) == ""  # work that only reads can do that
    assert CEILINGS.error(cost, 0.6) == "above the memory ceiling"
    in_cache = Cost(flops=0, bytes=1000)
    assert CEILINGS.fits(in_cache) and not CEILINGS.fits(cost)
    assert CEILINGS.error(in_cache, 1e-9) == ""


def test_the_ceilings_are_measured(monkeypatch):
    monkeypatch.setattr(roofline, "_best", lambda work, repeats: work() or 0.5)
    assert roofline._triad_rate(1 << 20) == 3 * 4 * (1 << 24) / 0.5
    assert roofline._product_rate(lambda a, b: None, 10) == 2 * 10**3 / 0.5
    assert "NumPy" in roofline._products()


@pytest.fixture
def known_ceilings(monkeypatch):
    monkeypatch.setattr(roofline, "ceilings", lambda: CEILINGS)
    monkeypatch.setattr(roofline, "measured", lambda: CEILINGS)


def test_rows_of_kernels(known_ceilings):
    case = kernels.KernelCase("conv2d, small", [])
    case.cost = Cost(flops=4e10, bytes=8e8)
    case.contenders = [
        kernels.Contender(name, lambda: None, lambda _: [])
        for name in ("reference", "numba:winograd", "numba")
    ]
    slow, winograd, wrong = kernels.rows("kernels", case, [[0.8], [0.2], [0.2]])
    assert slow.contender == "reference" and slow.error == "" and "arithmetic" in slow.note
    assert slow.figures == pytest.approx(
        {"GFLOP": 40, "MB": 800, "GFLOP/s": 50, "GB/s": 1, "of the roofline": 0.5}
    )
    assert winograd.error == "" and "4 times fewer operations" in winograd.note
    assert winograd.figures["of the roofline"] == pytest.approx(0.5)
    assert wrong.error == "above the arithmetic ceiling"
    assert "ERROR: above the arithmetic ceiling" in kernels.table([slow, wrong])


@pytest.fixture
def in_place():
    """A small step of gradient descent that changes its inputs."""
    p, g, m = np.random.default_rng(0).normal(size=(3, 5000)).astype(np.float32)
    options = {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0}
    options |= {"nesterov": False, "maximize": False}
    return Workload("sgd_step", "5000", arguments(p, g, m, **options, out=(p, m)))


def test_every_implementation_has_a_row(known_ceilings, in_place, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(kernels, "workloads", lambda draw: [in_place])
    file = tmp_path / "kernels.json"
    run.run(["kernels"], [], quick=True, file=file)
    found = json.loads(file.read_text())
    assert found["not_timed"] == []
    assert found["ceilings"]["kernels"]["flops"] == 1e11
    assert [r["contender"] for r in found["rows"]] == ["reference", "numba"]
    assert [r["case"] for r in found["rows"]] == ["sgd_step, 5000"] * 2
    assert ["runs by default" in r["note"] for r in found["rows"]] == [False, True]
    assert "ceilings: 100.0 GFLOP/s (matrix product of NumPy), 10.0 GB/s (triad)" in (
        capsys.readouterr().out
    )


def test_an_implementation_that_is_wrong_is_not_timed(
    known_ceilings, in_place, monkeypatch, capsys
):
    k = kernels.KERNELS["sgd_step"]
    wrong = Implementation("numba", "wrong", lambda: lambda p, *a, out, **_: out)
    monkeypatch.setattr(k, "implementations", [wrong, k.implementations[-1]])
    monkeypatch.setattr(kernels, "workloads", lambda draw: [in_place])
    assert run.run(["kernels"], [], quick=True) == 1
    assert "not timed: sgd_step, 5000: result 0 of numba:wrong differs" in capsys.readouterr().out


def test_work_in_place_on_one_array(monkeypatch):
    g = np.ones(5000, np.float32)
    work = Workload("scale", "5000", arguments(g, factor=0.5, out=g))
    monkeypatch.setattr(kernels, "workloads", lambda draw: [work])
    (case,) = kernels.cases([], True)
    for contender in case.contenders:
        assert (contender.run() == 0.5).all()
    assert (g == 1).all()


def test_words_that_no_case_contains(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(kernels, "workloads", lambda draw: [])
    assert run.run(["kernels"], [], only="rleu", file=tmp_path / "none.json") == 1
    assert "no case's name contains 'rleu'" in capsys.readouterr().out
    assert not (tmp_path / "none.json").exists()


def test_work_in_place_starts_from_the_same_numbers_again(in_place):
    before = in_place.call.args[0].copy()
    contender = kernels._contender(in_place, kernels.KERNELS["sgd_step"].implementations[-1])
    contender.reset()
    (first, *_) = contender.outputs(contender.run())
    contender.run()
    contender.reset()
    (again, *_) = contender.outputs(contender.run())
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(in_place.call.args[0], before)
    assert not np.array_equal(first, before)


# The suites


@pytest.mark.parametrize("name", ["convolution", "memory-bound", "adam"])
def test_suites_without_peers(name, capsys):
    assert run.run([name], [], quick=True) == 0
    shown = capsys.readouterr().out
    names = [case.name for case in suites.load(name).cases([], True)]
    assert names and all(name in shown for name in names)


def test_every_suite_has_cases():
    assert set(suites.NAMES) == {
        "overhead", "kernels", "convolution", "memory-bound", "adam", "training", "memory",
        "gpu", "cpu-gpu",
    }  # fmt: skip
    assert all(callable(suites.load(name).cases) for name in suites.NAMES)


def test_both_layouts_give_the_same():
    adapter = peers.load("minigrad")
    work = convolution.operation(convolution.SMALL[0])
    default, last = adapter.operation(work)
    assert (default.name, last.name) == ("minigrad", "minigrad (channels-last)")
    for a, b in zip(default.outputs(default.run()), last.outputs(last.run()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    (_, plain, _), (_, turned, g) = work.layouts()
    assert turned[0].transpose(0, 2, 3, 1).flags.c_contiguous and plain[0].flags.c_contiguous
    assert g.transpose(0, 2, 3, 1).flags.c_contiguous


def test_rows_have_no_layouts():
    work = operations.Operation("r", lambda F, x: x, (np.zeros((2, 3), np.float32),))
    assert len(work.layouts()) == 1


def test_shares_of_the_triad(known_ceilings):
    assert memory_bound.figures(0.5, 2.5e9) == {"MB": 2500, "GB/s": 5, "of the triad": 0.5}


@pytest.mark.skipif(not memory.RESET.exists(), reason="only Linux tells the peak of a process")
def test_peak_memory_sees_what_a_step_takes():
    grown, whole = in_fresh_process(memory.__name__, "peak", "minigrad", 0, "perceptron", 1)
    assert grown > 3 * 4 * 109_386  # gradients and two means, at least
    assert grown < whole


# Goals


def test_the_best_setting_of_each_library_counts():
    rows = [
        row("adam", "c", 2.0, "minigrad (channels-last)", 1.5),
        row("adam", "c", 2.0, "torch", 6.0),
        row("adam", "c", 2.0, "torch (fused)", 3.0),
        row("other", "c", 0.1, "torch", 0.1),
    ]
    took = goals.best(rows, "adam", "c")
    assert took == {"minigrad": 1.5, "torch": 3.0}
    assert goals.ratio(took, "torch", "jax") == 2.0
    assert goals.ratio(took, "jax") is None


def all_rows():
    found = []
    for i, c in enumerate(WINOGRAD_SIZES):
        found.append(row("convolution", str(c), 1.0, "torch", 2.0 if i else 0.5))
    found += [row("convolution", str(c), 1.0, "torch", 1.1) for c in OTHER_SIZES]
    for case in goals.MEMORY_BOUND:
        more = {"figures": {"of the triad": 0.4}}
        found.append(row("memory-bound", case, 2.0, "minigrad (channels-last)", 1.0, **more))
        found.append(row("memory-bound", case, 2.0, "torch", 1.2, **more))
    found.append(row("adam", goals.ADAM, 1.0, "torch", 1.3, figures={"of the triad": 0.65}))
    for case in ("image network, batch 64", "perceptron, batch 1", "perceptron, batch 32"):
        found.append(row("training", case, 1.0, "torch", 3.0))
    found.append(row("memory", "peak memory of training, image network, batch 64",
                     2e8, "torch", 3e8, unit="B"))  # fmt: skip
    found.append(row("overhead", "import", 0.1, "torch", 1.55))
    return found


def test_goals():
    found = {(g.work, g.figure): g for g in goals.goals(all_rows())}

    def reached(work, figure):
        return found[work, figure].reached

    convolutions = "3x3 convolutions, forward and backward"
    assert reached(convolutions, "geometric mean over PyTorch") == pytest.approx(8 ** (1 / 5))
    assert reached(convolutions, "least over PyTorch") == 0.5
    assert found[convolutions, "least over PyTorch"].verdict == "short by 50%"
    relu = "ReLU, 32x64x56x56"
    assert reached(relu, "over the best peer") == pytest.approx(1.2)
    assert reached(relu, "share of the triad's bandwidth") == pytest.approx(0.8)
    assert found[relu, "share of the triad's bandwidth"].verdict == "reached"
    assert found["training step, perceptron, batch 1", "over PyTorch"].verdict == "reached"
    assert found["training step, perceptron, batch 1", "over JAX"].verdict == "not measured"
    memory_goal = found["peak memory of training, image network, batch 64", "PyTorch's over ours"]
    assert memory_goal.reached == 1.5
    assert all(g.reached is None for g in goals.goals([]))


def test_the_goals_name_cases_that_exist():
    names = {case.name for case in memory_bound.operations()}
    assert set(goals.MEMORY_BOUND) == names
    (case,) = suites.load("adam").cases([], False)
    assert case.name == goals.ADAM
    trained = {f"{name}, batch {size}" for name, _, size in suites.load("training").CASES}
    assert {case for case, *_ in goals.TRAINING} == trained


def test_a_goal_in_words():
    text = goals.table([Goal("w", "f", 2.0, 1.5, "why"), Goal("v", "f", 2.0, None)])
    assert "short by 25%  why" in text and "not measured" in text


# The report


def test_a_report_from_files(tmp_path, capsys):
    rows = all_rows()
    files = []
    for suite in {r["suite"] for r in rows}:
        files.append(tmp_path / f"{suite}.json")
        files[-1].write_text(json.dumps(results(*(r for r in rows if r["suite"] == suite))))
    page_of = tmp_path / "README.md"
    page_of.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    argv = ["report", "--from", *map(str, files), "--output", str(tmp_path / "out")]
    assert command.main([*argv, "--readme", str(page_of)]) == 0
    assert "short by 50%" in capsys.readouterr().out
    merged = json.loads((tmp_path / "out" / "some-cpu-r-3-0-2-cores.json").read_text())
    assert sorted(map(str, merged["rows"])) == sorted(map(str, rows))
    written = page_of.read_text()
    assert written.startswith("before\n") and written.endswith(f"{readme.END}\nafter\n")
    assert "old" not in written
    assert "| image network, batch 64 | 1 s | 3 |" in written
    assert "| import | 100 ms | 16 |" in written
    assert "| peak memory of training, image network, batch 64 | 200 MB | 1.5 |" in written
    assert "2026-11-21, Some CPU (R) 3.0, 2 cores, CPython 3.12, numpy 2.0, PyTorch 2.13" in written


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ([{"rows": []}], "does not hold results"),
        ([results(row("adam", "c", 1.0)), results(row("adam", "d", 1.0))], "a suite is in two"),
        (
            [results(), {**results(), "machine": {**MACHINE, "cores": 4}}],
            "results of one machine are wanted, got some-cpu-r-3-0-2-cores, some-cpu-r-3-0-4-cores",
        ),
    ],
)
def test_files_that_do_not_fit(tmp_path, capsys, contents, words):
    files = [tmp_path / f"{i}.json" for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(json.dumps(content))
    argv = ["report", "--from", *map(str, files), "--output", str(tmp_path / "out")]
    assert command.main(argv) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_readme_is_not_written_from_a_part(tmp_path, capsys):
    file, page_of = tmp_path / "a.json", tmp_path / "README.md"
    file.write_text(json.dumps(results(row("adam", "c", 1.0))))
    page_of.write_text(f"{readme.BEGIN}old{readme.END}")
    argv = ["report", "--from", str(file), "--output", str(tmp_path), "--readme", str(page_of)]
    assert command.main(argv) == 1
    assert "left as it is: there are no results of convolution, memory" in capsys.readouterr().err
    assert "old" in page_of.read_text()
    page_of.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines <!-- performance"):
        readme.rewrite(page_of, results(*all_rows()))


def test_what_is_wrong_gives_status_1(tmp_path, capsys):
    file = tmp_path / "a.json"
    argv = ["report", "--from", str(file), "--output", str(tmp_path / "out"), "--no-readme"]
    for content, status in (
        (results(row("adam", "c", 1.0)), 0),
        (results(row("adam", "c", 1.0, error="above a ceiling")), 1),
        (results(not_timed=["c: differs"]), 1),
    ):
        file.write_text(json.dumps(content))
        assert command.main(argv) == status


def test_the_page(tmp_path):
    figures = {"GFLOP": 1, "MB": 100, "GFLOP/s": 50, "GB/s": 5, "of the roofline": 0.5}
    rows = [
        row("kernels", "relu, large", 1e-3, contender="reference", figures=figures),
        row("kernels", "relu, large", 1e-4, contender="numba", figures=figures, error="too fast"),
        row("adam", "c <1>", 1.0, "torch", 2.0),
    ]
    ceilings = {"kernels": vars(CEILINGS)}
    text = page.page(results(*rows, ceilings=ceilings, not_timed=["conv: differs by 1"]))
    assert text.count("<svg") == 2
    for words in ("Some CPU", "too fast", "c &lt;1&gt;", "conv: differs by 1", "100 GFLOP/s"):
        assert words in text
    assert page.page(results()).count("<svg") == 0


def test_suites_run_in_processes_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "BUILD", tmp_path)
    monkeypatch.setattr(report, "find_spec", lambda name: None)  # no peers
    (file,) = report.measured(["adam"], quick=True)
    (found,) = json.loads(file.read_text())["rows"]
    assert found["suite"] == "adam" and found["peer"] is None


def test_a_suite_without_results_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "BUILD", tmp_path)
    monkeypatch.setattr(report.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="the suite adam ended without results"):
        report.measured(["adam"], quick=True)
