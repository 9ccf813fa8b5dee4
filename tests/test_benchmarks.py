"""The harness is fair and says the truth; the suites run without peers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from benchmarks import __main__ as command, harness, networks, peers, work
from benchmarks.harness import Budget, Case, Contender, ResultsDiffer

NOW = Budget(seconds=0.0, rounds=3, batch=0.0, limit=0.0, pause=0.0)


def contender(name, value, log=None, **options):
    def run():
        if log is not None:
            log.append(name)
        return value

    return Contender(name, run, lambda v: [np.asarray(v)], **options)


def self_timed(name, seconds):
    times = iter(seconds)
    return Contender(name, lambda: next(times), lambda _: [], measures_itself=True)


# The arithmetic of rows


def test_ratio_is_the_peers_time_over_ours():
    case = Case("c", [contender("ours", 0.0), contender("peer", 0.0, note="why")])
    (row,) = harness.rows("s", case, [[2.0, 1.0, 4.0], [6.0, 3.0, 12.0]])
    assert (row.suite, row.case, row.peer, row.note) == ("s", "c", "peer", "why")
    assert (row.ours, row.theirs, row.ratio) == (2.0, 6.0, 3.0)
    assert row.spread == 0.0  # every round had the ratio 3


def test_spread_is_of_the_ratios_round_by_round():
    case = Case("c", [contender("ours", 0.0), contender("peer", 0.0)])
    (row,) = harness.rows("s", case, [[1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]])
    assert row.spread == pytest.approx((4 - 2) / 3)


def test_a_case_without_peers_has_one_row():
    case = Case("c", [contender("ours", 0.0)], figures=lambda ours: {"doubled": 2 * ours})
    (row,) = harness.rows("s", case, [[1.0, 2.0, 3.0]])
    assert (row.ours, row.peer, row.theirs, row.ratio) == (2.0, None, None, None)
    assert row.spread == pytest.approx(0.5)
    assert row.figures == {"doubled": 4.0}


def test_spread_of_one_value_is_none():
    assert harness.spread([3.0]) == 0.0


# Equal results, or no times


def test_equal_results_are_accepted():
    harness.compare(Case("c", [contender("ours", [1.0, 2.0]), contender("p", [1.0, 2.00001])]))


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ([1.0, 2.1], "differs from that of ours by 5.0e-02"),
        ([1.0, np.nan], "by nan"),
        ([1.0], r"shape \(1,\), of ours \(2,\)"),
        ([-1.0, -2.0], "differs"),
    ],
)
def test_unequal_results_are_refused(theirs, words):
    case = Case("c", [contender("ours", [1.0, 2.0]), contender("p", theirs)])
    with pytest.raises(ResultsDiffer, match=words):
        harness.measure("s", case, NOW)


def test_another_number_of_results_is_refused():
    ours = Contender("ours", lambda: 1.0, lambda v: [v, v])
    with pytest.raises(ResultsDiffer, match="p gives 1 results, ours 2"):
        harness.compare(Case("c", [ours, contender("p", 1.0)]))


def test_every_trial_is_compared():
    drifting = iter([1.0, 1.0, 5.0])
    theirs = Contender("p", lambda: next(drifting), lambda v: [v])
    with pytest.raises(ResultsDiffer, match="result 2"):
        harness.compare(Case("c", [contender("ours", 1.0), theirs], trials=3))


# Rounds


def test_contenders_take_turns_and_the_order_rotates():
    log: list[str] = []
    several = [contender(name, 0.0, log) for name in "abc"]
    times = harness.rounds(several, NOW)
    assert [len(t) for t in times] == [3, 3, 3]
    turns = log[6:]  # two runs of each decide the length of a batch
    assert (
        turns[::2] == turns[1::2] == list("abcbcacab")
    )  # each batch: one run to warm up, one timed


def test_measuring_goes_on_until_there_is_enough():
    times = harness.rounds([self_timed("a", [0.1] * 9)], Budget(0.55, rounds=2, limit=60.0))
    assert times == [[0.1] * 6]


def test_a_limit_ends_it():
    times = harness.rounds([self_timed("a", [0.1] * 9)], Budget(60.0, rounds=4, limit=0.0))
    assert times == [[0.1] * 4]


def test_each_batch_starts_from_the_reset_state():
    state = {"steps": 0, "most": 0}

    def run():
        state["steps"] += 1
        state["most"] = max(state["most"], state["steps"])

    def reset():
        state["steps"] = 0

    harness.rounds([Contender("a", run, lambda _: [], reset=reset)], NOW)
    assert state["most"] == 2


def test_a_fresh_process_is_fresh():
    assert harness.in_fresh_process("benchmarks.fresh", "import_seconds", "minigrad") > 0
    with pytest.raises(RuntimeError, match="sys was imported already"):
        harness.in_fresh_process("benchmarks.fresh", "import_seconds", "sys")


@pytest.mark.parametrize(
    ("seconds", "words"), [(2.0, "2 s"), (1.5e-3, "1.5 ms"), (2.5e-6, "2.5 µs"), (3e-9, "3 ns")]
)
def test_times_in_words(seconds, words):
    assert harness.in_words(seconds) == words


# What is measured


def test_programs_keep_their_values():
    have = work.numbers()
    x, w, v, b, c = (have[k] for k in ("x", "w", "v", "b", "c"))
    y = work.arithmetic(10_000)(None, x, w, v, b, c)
    np.testing.assert_allclose(y, x, rtol=1e-5)
    assert all(array.all() and array.dtype == np.float32 for array in have.values())


@pytest.mark.parametrize("network", [networks.IMAGES, networks.PERCEPTRON])
def test_weights_have_the_shapes_of_our_modules(network):
    adapter = peers.load("minigrad")
    x, target = networks.batch(network, 2)
    (ours,) = adapter.training_steps(network, networks.weights(network), x, target)
    ours.reset()
    first = ours.run().item()
    assert np.isfinite(first) and ours.run().item() < first
    ours.reset()
    assert ours.run().item() == first


def test_unknown_and_missing_peers():
    with pytest.raises(ValueError, match="no peer 'numpy'"):
        peers.load("numpy")


# The command


def test_quick_overhead_without_peers(tmp_path, capsys):
    file = tmp_path / "deep" / "results.json"
    assert command.main(["overhead", "--quick", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    results = json.loads(file.read_text())
    assert set(results) == {"machine", "ceilings", "not_timed", "rows"}
    assert {"processor", "cores", "python", "versions", "date", "commit"} <= set(results["machine"])
    cases = [row["case"] for row in results["rows"]]
    assert [c for c in cases if c.startswith("chain of 200")] == cases[:4]
    assert {"graph of 10,000 nodes", "import"} <= set(cases)
    for row in results["rows"]:
        assert set(row) == {field.name for field in dataclasses.fields(harness.Row)}
        assert row["suite"] == "overhead" and row["ours"] > 0 and row["case"] in shown
    graph = next(row for row in results["rows"] if row["case"].startswith("graph"))
    assert 50 < graph["figures"]["traced bytes/node"] < 1000


def test_only_some_cases(capsys):
    assert command.main(["training", "--quick", "--only", "batch 1"]) == 0
    shown = capsys.readouterr().out
    assert "perceptron, batch 1" in shown and "batch 32" not in shown


def test_unequal_results_end_with_status_1(monkeypatch, capsys):
    from benchmarks import run
    from benchmarks.suites import overhead

    wrong = Case("wrong", [contender("minigrad", 1.0), contender("p", 2.0)])
    monkeypatch.setattr(overhead, "cases", lambda peers, quick: [wrong])
    assert run.run(["overhead"], [], quick=True) == 1
    assert "not timed: wrong: result 0 of p differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["overhead", "--threads", "0"], ["overhead", "--unknown"]]
)
def test_bad_arguments(argv):
    with pytest.raises(SystemExit) as end:
        command.main(argv)
    assert end.value.code == 2


def test_an_unknown_peer_is_named(capsys):
    assert command.main(["overhead", "--peers", "nobody"]) == 1
    assert "no peer 'nobody'; there are torch" in capsys.readouterr().err
