"""A whole run: operation by operation, on several processes, within a time for each mutant."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ...ops.registry import OPERATIONS
from .engine import ENGINE
from .judge import Judge, Mutant, Result, mutants
from .report import Report
from .suite import Suite, TooSlow
from .survey import Survey
from .targets import ENGINE as ENGINE_TASK, Targets

Item = Mutant | Result | tuple[str, list[str]]
STARTING = 120.0  # seconds to import, and to look for the rules of an operation


@dataclass(frozen=True)
class Plan:
    """What to do; told to every process.

    Attributes:
        targets: what is to be broken.
        tests: the folder of tests that judge what gradcheck lets pass, and the engine; or None.
        limit: seconds for one mutant.
        processes: how many; 0 for none beside this one, and no limit for what runs in it.
        ask_gradcheck: whether gradcheck judges before the tests do.
    """

    targets: Targets
    tests: Path | None = None
    limit: float = 300.0
    processes: int = 0
    ask_gradcheck: bool = True


def run(plan: Plan, progress: Callable[[str], None] | None = None) -> Report:
    """Judge every mutant.

    Args:
        plan: what to do.
        progress: is told of each operation that is done.

    Raises:
        ValueError: for targets that there are not; if an operation fails its checks unbroken.
    """
    start = time.perf_counter()
    operations = plan.targets.operations()
    tasks = list(operations)
    engine = plan.targets.engine
    if engine and plan.tests is None:
        if plan.targets.names:
            raise ValueError("mutate: the engine is judged by tests: name a folder that has them")
        engine = False
    if engine:  # first, since these take longest
        tasks = [*(f"{ENGINE_TASK}:{name}" for name in ENGINE), *tasks]
    collected: dict[str, list[Any]] = {task: [] for task in tasks}
    if plan.processes:
        _in_processes(plan, collected, progress)
    else:
        for task, found in collected.items():
            found += [item for item in perform(plan, task, ()) if not isinstance(item, Mutant)]
            if progress is not None:
                progress(task)
    report = Report(seconds=time.perf_counter() - start)
    if plan.targets.engine and not engine:
        report.notes.append("the engine was left alone: there are no tests to judge it by")
    for found in collected.values():
        for item in found:
            if isinstance(item, Result):
                report.results.append(item)
            else:
                report.composed[item[0]] = item[1]
    return report


def perform(plan: Plan, task: str, finished: tuple[Mutant, ...]) -> Iterator[Item]:
    """One task: yields each mutant before it is judged, then its result.

    An operation without rules of its own gives a pair: its name, what it is composed of.
    """
    suite = None if plan.tests is None else Suite(plan.tests, 0.9 * plan.limit)
    if task.startswith(ENGINE_TASK + ":"):
        assert suite is not None
        mutant = Mutant("engine", "engine", task.partition(":")[2])
        if mutant not in finished:
            yield mutant
            yield _engine_result(mutant, suite)
        return
    operations = plan.targets.operations()
    known = {**OPERATIONS, **operations}
    survey = Survey(operations[task], known.__contains__)
    judge = Judge(survey, None if suite is None else suite.on_rule, plan.ask_gradcheck)
    if not survey.rules and not finished:
        yield task, survey.others
    for found in mutants(survey):
        mutant = found.mutant if isinstance(found, Result) else found
        if mutant in finished:
            continue
        yield found
        if isinstance(found, Result):
            continue
        start = time.perf_counter()
        try:
            yield judge(mutant)
        except TooSlow as slow:
            yield Result(mutant, "timeout", str(slow), time.perf_counter() - start)


def _engine_result(mutant: Mutant, suite: Suite) -> Result:
    start = time.perf_counter()
    try:
        failed = suite.on_engine(mutant.mutation)
    except TooSlow as slow:
        return Result(mutant, "timeout", str(slow), time.perf_counter() - start)
    status, how = ("killed", failed) if failed else ("survived", "no test of the engine notices")
    return Result(mutant, status, how, time.perf_counter() - start)


# Several processes


def _in_processes(
    plan: Plan, collected: dict[str, list[Any]], progress: Callable[[str], None] | None
) -> None:
    """Fill the lists of results, a thread here driving each process."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for task in collected:
        waiting.put(task)
    errors: list[BaseException] = []

    def drive() -> None:
        worker = _Worker(plan)
        try:
            while not errors:
                try:
                    task = waiting.get_nowait()
                except queue.Empty:
                    break
                worker.perform(task, collected[task])
                if progress is not None:
                    progress(task)
        except Exception as error:  # told to the caller's thread
            errors.append(error)
        finally:
            worker.stop()

    threads = [threading.Thread(target=drive) for _ in range(plan.processes)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:  # an interrupt: the threads begin nothing new
        errors.append(error)
        raise
    if errors:
        raise errors[0]


class _Worker:
    """A process that performs tasks, and is replaced when one mutant takes it too long."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, self.plan), daemon=True)
        self.process.start()
        other.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()

    def perform(self, task: str, found: list[Any]) -> None:
        """One task; its results go to `found`.

        Raises:
            ValueError: as `run`; RuntimeError: if the process ends by itself.
        """
        while self._ran_through(task, found):
            self.stop()
            self.start()

    def _ran_through(self, task: str, found: list[Any]) -> bool:
        """Whether there is more to do, since the process had to be given up."""
        finished = tuple(r.mutant for r in found if isinstance(r, Result))
        self.pipe.send((task, finished))
        current: Mutant | None = None
        while self.pipe.poll(STARTING if current is None else self.plan.limit):
            try:
                message = self.pipe.recv()
            except EOFError:
                raise RuntimeError(f"mutate: the process ended while judging {current}") from None
            if message is None:
                return False
            if isinstance(message, Exception):
                raise message
            if isinstance(message, Mutant):
                current = message
                continue
            found.append(message)
            current = None
        if current is None:
            raise RuntimeError(f"mutate: the rules of {task} were not found in {STARTING:g} s")
        limit = self.plan.limit
        found.append(Result(current, "timeout", f"took more than {limit:g} s", limit))
        return True


def _serve(pipe: Connection, plan: Plan) -> None:
    """The life of a process: tasks come through the pipe, items go back, None at the end."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the children that run tests
    while True:
        try:
            task, finished = pipe.recv()
        except EOFError:
            return
        try:
            for item in perform(plan, task, finished):
                pipe.send(item)
            pipe.send(None)
        except Exception as error:
            pipe.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """An error that survives the way through a pipe, whatever its class is."""
    if type(error) in (ValueError, RuntimeError):
        return type(error)(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")


def make_importable(folder: str) -> None:
    """Let modules in this folder be imported, as `python -m` would."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
