"""Mutation testing of gradient rules: break each one on purpose, and see whether a test notices.

A test suite is as good as the faults that it finds. `minigrad mutate` breaks every rule of every
registered operation in each of the ways `MUTATIONS`, and the engine in the ways `ENGINE`, and says
of each mutant whether it was killed, survived, is proven to be equivalent, or does not apply:

    minigrad mutate                        everything, and the engine
    minigrad mutate softmax conv2d         these operations
    minigrad mutate --module mypackage.ops          operations that you register yourself
    minigrad mutate mypackage.layers:swish --shapes 3x4      a function or a module of yours
    minigrad mutate ... --tests tests --no-gradcheck         do these tests notice, by themselves?

No file is changed: rules are replaced while they are recorded. So for your own operations, what
matters is that they pass their rules to `minigrad.record` or one of its kin.

R. A. DeMillo, R. J. Lipton and F. G. Sayward (1978), Hints on test data selection: help for the
practicing programmer, Computer 11(4).

>>> from minigrad.testing.mutation import mutate
>>> report = mutate(["exp"])
>>> report.ok, report.score
(True, 1.0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .campaign import Plan, make_importable as make_importable, run
from .engine import ENGINE as ENGINE, EngineMutant as EngineMutant, damaged as damaged
from .judge import Mutant as Mutant, Result as Result, mutated as mutated
from .mutations import MUTATIONS as MUTATIONS, Mutation as Mutation
from .report import Report as Report
from .suite import own_tests as own_tests
from .survey import Survey
from .targets import Targets, targets


def mutate(
    what: Sequence[str] = (),
    *,
    modules: Sequence[str] = (),
    shapes: str | None = None,
    options: Mapping[str, Any] | None = None,
    tests: Path | None = None,
    gradcheck: bool = True,
    limit: float = 300.0,
    processes: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Break the rules of operations, and report who notices.

    Args:
        what: names of registered operations; or one function, or module of a network, as
            `package.module:function`. With nothing, all operations; and the engine, if there are
            `tests`.
        modules: to be imported: only the operations that they register count.
        shapes: of the inputs of the function, such as "3x4,4x5", as `minigrad.testing.shapes.drawn`
            reads them.
        options: keyword arguments of the function, or of a class of modules.
        tests: a folder of pytest files, or one file, for what `gradcheck` on the samples lets pass.
        gradcheck: whether it is asked at all; without, the report says what `tests` notice alone.
        limit: seconds for one mutant; what takes longer is counted as not noticed.
        processes: how many to run beside this one. 0 runs everything in this one, where only the
            time of `tests` is limited. Others import the main module anew, so a script must guard
            its call by `if __name__ == "__main__":`.
        progress: is told of each operation that is done.

    Returns:
        the report: `ok`, `score`, `results`, readable as text.

    Raises:
        ValueError: for what there is not, if neither gradcheck nor tests are to judge, or for an
            operation that fails its checks unbroken.
    """
    if processes < 0:
        raise ValueError(f"mutate: processes must be 0 or more, got {processes}")
    if not limit > 0:
        raise ValueError(f"mutate: limit must be a positive number of seconds, got {limit}")
    if tests is None and not gradcheck:
        raise ValueError("mutate: without gradcheck, tests must judge: name the folder they are in")
    chosen = targets(what, modules, shapes, options)
    return run(Plan(chosen, tests, limit, processes, gradcheck), progress)


def rules(operation: str) -> list[str]:
    """The titles of an operation's rules, as `mutated` takes them.

    Raises:
        ValueError: if it is not registered.
    """
    found = Targets((operation,)).operations()[operation]
    return list(Survey(found, lambda name: name != operation).rules)
