"""The lesson on gradient bugs: every bug is there to be found, and nothing else is."""

import importlib
import io
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture(scope="module")
def lesson():
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("find_the_bug")
    finally:
        sys.path.remove(str(EXAMPLES))


def test_there_are_twelve_bugs_in_twelve_operations(lesson):
    assert sorted(bug.operation for bug in lesson.BUGS) == sorted(lesson.NAMES)
    assert len(lesson.BUGS) == 12
    assert len({bug.symptom for bug in lesson.BUGS}) == 12


@pytest.mark.parametrize("number", range(1, 13))
def test_a_bug_is_found_in_the_network_and_in_its_operation(lesson, number):
    name = lesson.BUGS[number - 1].operation
    ops = lesson.planted(name)
    assert not lesson.verdict_on_network(ops).ok
    assert not lesson.verdict_on(name, ops).ok


def test_without_a_bug_nothing_is_found(lesson):
    ops = lesson.planted()
    assert lesson.verdict_on_network(ops).ok
    for name in lesson.NAMES:
        verdict = lesson.verdict_on(name, ops)
        assert verdict.ok, str(verdict)


def test_only_the_second_derivative_of_tanh_is_wrong(lesson):
    findings = lesson.verdict_on("tanh", lesson.planted("tanh")).findings
    assert {f.order for f in findings if not f.ok} == {2}


def test_the_story_does_not_tell_where_it_is(lesson, capsys):
    lesson.main(["--bug", "7"])
    said = capsys.readouterr().out
    assert lesson.BUGS[6].symptom in said and "different" in said
    assert "--bug 7 --hint" in said
    assert lesson.BUGS[6].why not in said


def test_check_hint_reveal_and_list(lesson, capsys):
    lesson.main(["--bug", "7", "--check", "tanh"])
    assert "right" in capsys.readouterr().out
    lesson.main(["--bug", "7", "--check", "softmax"])
    assert "WRONG" in capsys.readouterr().out
    lesson.main(["--bug", "7", "--hint"])
    assert capsys.readouterr().out.strip() == lesson.BUGS[6].hint
    lesson.main(["--bug", "7", "--reveal"])
    said = capsys.readouterr().out
    assert said.index("def softmax_bug") < said.index("def softmax_rule")
    lesson.main(["--list"])
    assert capsys.readouterr().out.count("\n") == 12


def test_any_bug_is_planted_where_none_is_named(lesson, capsys, monkeypatch):
    monkeypatch.setattr(lesson.random, "randint", lambda low, high: high)
    lesson.main([])
    assert capsys.readouterr().out.startswith("Bug 12.")


def test_a_dialogue_goes_on_until_the_bug_is_found(lesson, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("spftmax\nhint\ntanh\nsoftmax\n\n"))
    lesson.ask(7)
    said = capsys.readouterr().out
    assert "no operation 'spftmax'" in said
    assert said.index("gradcheck of tanh: right") < said.index("gradcheck of softmax: WRONG")
    assert "It is softmax." in said
    for answer in ("reveal\n", "quit\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        lesson.ask(7)
        assert ("It is softmax." in capsys.readouterr().out) == (answer == "reveal\n")


def test_the_end_of_the_input_ends_the_dialogue(lesson, capsys, monkeypatch):
    for answers in ("", "hint\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answers))
        lesson.ask(7)
        assert "It is softmax." not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("softmax\n"))
    lesson.ask(7)
    assert "It is softmax." in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--check", "tanh"], ["--hint"], ["--reveal"]])
def test_an_answer_about_no_bug_in_particular_is_refused(lesson, argv, capsys):
    with pytest.raises(SystemExit):
        lesson.main(argv)
    assert "add --bug N" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["--bug", "0"], ["--bug", "13"], ["--bug", "x"], ["--bug", "1", "--check", "gelu"]]
)
def test_what_there_is_not_is_refused(lesson, argv, capsys):
    with pytest.raises(SystemExit):
        lesson.main(argv)
    assert "invalid" in capsys.readouterr().err
