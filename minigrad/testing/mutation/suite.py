"""The second judge: the project's own tests, run by pytest in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import minigrad

from .engine import ENGINE, TESTS
from .judge import Mutant

MUTANT, WORD, ONLY = "MINIGRAD_MUTANT", "MINIGRAD_MUTANT_TESTS", "MINIGRAD_MUTANT_ONLY"
"""Environment variables that tell `pytest_plugin` what to break, which tests to run first, and
whether no others."""

MACHINES = re.compile("cuda|cupy|emulator|benchmark|gpu|kernel|mutation|docs|examples|wheel")
"""Files among the library's own tests that ask for no gradients: of kernels, of machines, ..."""

EVERY_OPERATION = "test_every_operation.py"
FAILED, INTERRUPTED, NOTHING_COLLECTED = 1, 2, 5


class TooSlow(Exception):
    """Tests did not end within their time."""


class Suite:
    """Tests in a folder, or in one file.

    A user's own are all asked, those that name the operation first. Of the library's, which take
    long, only those that name it are.

    Args:
        place: the folder, or the file.
        limit: seconds that one run may take.

    Raises:
        ValueError: if there are none.
    """

    def __init__(self, place: Path, limit: float) -> None:
        self.place, self.limit = place.resolve(), limit
        self.folder = self.place.parent if self.place.is_file() else self.place
        here = Path.cwd()
        self.root = here if self.folder.is_relative_to(here) else self.folder.parent
        self.sound: set[str] = set()
        if self.place.is_file():
            self.files = [self.place]
        else:
            self.files = sorted({f for p in ("test_*.py", "*_test.py") for f in place.rglob(p)})
        if not self.files:
            raise ValueError(f"mutate: there are no files test_*.py in {place}")

    def on_rule(self, mutant: Mutant) -> str:
        """The first test that fails; "" if none does."""
        name = mutant.rule.partition("[")[0]
        if self.folder != own_tests():
            return self._failing([self.place], [mutant.rule, mutant.mutation, mutant.variant], name)
        files = [f for f in self.files if self._is_about(f, name)]
        files.sort(key=lambda f: f.name != EVERY_OPERATION)
        if not files:
            return ""
        return self._failing(files, [mutant.rule, mutant.mutation, mutant.variant], name)

    def _is_about(self, file: Path, name: str) -> bool:
        if file.name == EVERY_OPERATION:
            return True
        if MACHINES.search(file.stem):
            return False
        return mentions(file.read_text(encoding="utf-8"), name)

    def on_engine(self, name: str) -> str:
        """The first of the engine's tests that fails with this fault; "" if none does.

        Raises:
            ValueError: if the folder has none of these tests.
        """
        files = [self.folder / test for test in TESTS if (self.folder / test).is_file()]
        if not files:
            raise ValueError(f"mutate: {self.folder} holds no tests of the engine: {TESTS}")
        files.sort(key=lambda file: file.name != ENGINE[name].first)
        return self._failing(files, [name], "")

    def _failing(self, files: Sequence[Path], mutant: Sequence[str], word: str) -> str:
        """The first test that fails with the mutant, and does not without it.

        Raises:
            ValueError: if it fails without.
        """
        failed = self._run([str(f) for f in files], mutant, word)
        if failed and failed not in self.sound:
            if self._run([failed], (), ""):
                raise ValueError(f"mutate: {failed} fails without any mutation")
            self.sound.add(failed)
        return failed and f"pytest {failed}"

    def _run(self, what: Sequence[str], mutant: Sequence[str], word: str) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OPENBLAS_NUM_THREADS": "1",
            MUTANT: json.dumps(list(mutant)),
            WORD: word,
            ONLY: "yes" if self.folder == own_tests() else "",
        }
        plugin = f"{__package__}.pytest_plugin"
        options = ["-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-p", plugin]
        # A project may ask for processes of its own, but here there is one beside each core.
        options += ["-n0"] if find_spec("xdist") else []
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, "--rootdir", ".", *what],
                cwd=self.root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=self.limit,
            )
        except subprocess.TimeoutExpired:
            raise TooSlow(f"the tests took more than {self.limit:g} s") from None
        if done.returncode in (0, NOTHING_COLLECTED):
            return ""
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
        if done.returncode not in (FAILED, INTERRUPTED) or not failed:
            last = (done.stdout + done.stderr).strip().splitlines()[-5:]
            raise RuntimeError("mutate: pytest could not run the tests: " + " / ".join(last))
        return str(failed[0])


def mentions(text: str, word: str) -> bool:
    """Whether a text has a word, perhaps as a part of a name: `exp` in `test_exp`, not `expand`."""
    return re.search(rf"(?<![a-zA-Z0-9]){re.escape(word)}(?![a-zA-Z0-9])", text) is not None


def own_tests() -> Path | None:
    """The tests beside the library's sources, where there are any."""
    folder = Path(minigrad.__file__).resolve().parents[1] / "tests"
    return folder if (folder / TESTS[0]).is_file() else None
