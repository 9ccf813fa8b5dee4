"""Threads: how many there are, what happens around them, and calls from several at once."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import processes
import pytest
from hammering import ROUNDS, THREADS, calls, hammer

import minigrad
import minigrad_kernels as kernels
from minigrad_kernels import threads
from minigrad_kernels.threads import get_num_threads, set_num_threads

LARGE = np.linspace(-1, 1, 300_003, dtype=np.float32)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)
    kernels.relu(LARGE)  # tells Numba


def test_the_number_is_what_was_set() -> None:
    assert minigrad.set_num_threads is set_num_threads
    most = get_num_threads()
    assert most == minigrad.get_num_threads() >= 2, "the tests want two threads"
    for n in (1, np.int64(2), most):
        set_num_threads(n)
        assert get_num_threads() == n
        assert type(get_num_threads()) is int


@pytest.mark.parametrize("wrong", [0, -1, 10**6])
def test_there_are_only_so_many(wrong: int) -> None:
    before = get_num_threads()
    with pytest.raises(ValueError, match=rf"set_num_threads: {wrong} threads; there are 1 to \d+"):
        set_num_threads(wrong)
    assert get_num_threads() == before


@pytest.mark.parametrize("wrong", [True, 1.0, "2", None])
def test_the_number_is_an_integer(wrong: Any) -> None:
    with pytest.raises(TypeError, match="set_num_threads: wants an integer"):
        set_num_threads(wrong)


def test_kernels_run_on_so_many_from_every_python_thread() -> None:
    for n in (1, 2, 1):
        set_num_threads(n)
        kernels.relu(LARGE)
        found = [numba.get_num_threads()]

        def other(found: list[int] = found) -> None:
            kernels.relu(LARGE)
            found.append(numba.get_num_threads())

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert found == [n, n]


def test_whether_the_pool_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "AWAKE", 3600.0)
    monkeypatch.setattr(threads, "_last", -math.inf)
    kernels.relu(LARGE[:4000])  # too small for several threads
    assert not threads.awake()
    kernels.relu(LARGE)
    assert threads.awake()


@pytest.mark.parametrize("awake", [True, False])
def test_a_small_step_of_an_optimizer_wakes_nobody(
    awake: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "AWAKE", 3600.0)
    p, g, m, v = (np.ones(50_000, np.float32) for _ in "pgmv")
    rates: dict[str, Any] = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "step": 1}
    rates |= {"weight_decay": 0.0, "decoupled": False, "maximize": False}
    for size, is_large in ((p.size, False), (1000, False), (10 * p.size, True)):
        arrays = [np.resize(a, size) for a in (p, g, m, v)]
        kernels.adam_step(*arrays, **rates)  # compiled, and the pool started
        before = time.perf_counter() if awake else -math.inf
        monkeypatch.setattr(threads, "_last", before)
        kernels.adam_step(*arrays, **rates)
        used = threads._last != before
        assert used == (is_large or (awake and size == p.size))


BLAS = """
import numpy as np
from threadpoolctl import threadpool_info
import minigrad

def pools():
    return {p["filepath"]: p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

a = np.ones((300, 300), np.float32)
a @ a
before = pools()
assert before, "NumPy's BLAS library is not one that threadpoolctl knows"
minigrad.set_num_threads(1)
x = minigrad.tensor(a, requires_grad=True)
y = minigrad.relu(x @ x).sum()
y.backward()
assert {path: n for path, n in pools().items() if path in before} == before, (before, pools())
"""


def test_numpy_keeps_its_own_threads() -> None:
    processes.run(BLAS, OPENBLAS_NUM_THREADS="2", MKL_NUM_THREADS="2")


def test_calls_from_several_python_threads_at_once() -> None:
    assert hammer() == THREADS * ROUNDS * len(list(calls()))


def test_calls_at_once_where_the_pool_cannot_be_entered_twice() -> None:
    """Numba's own pool, workqueue, ends the process when two threads use it at once."""
    code = """
from minigrad_kernels import threads
from hammering import hammer
print(hammer(), threads.layer())
"""
    out, _ = processes.run(code, NUMBA_THREADING_LAYER="workqueue")
    count, layer = out.split()
    assert layer == "workqueue"
    assert int(count) == THREADS * ROUNDS * len(list(calls()))


def test_setting_the_number_while_kernels_run() -> None:
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for n in (1, 2):
                set_num_threads(n)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert hammer()
    finally:
        stop.set()
        thread.join()


# Forked processes have none of their parent's threads

FORK = """
import os, sys
import numpy as np
import minigrad_kernels as kernels

x = np.linspace(-1, 1, 300_003, dtype=np.float32)
wanted = kernels.relu.reference(x)
mine = kernels.relu(x)
assert kernels.relu.explain(x).startswith("relu: numba")
child = os.fork()
if child == 0:
    status = 1
    try:
        assert (kernels.relu(x) == wanted).all()
        text = kernels.relu.explain(x)
        assert text.startswith("relu: reference"), text
        assert "was forked from one" in text and "spawn" in text, text
        try:
            with kernels.use("numba"):
                pass
        except RuntimeError as error:
            assert "was forked from one" in str(error)
        else:
            raise AssertionError("numba can be asked for")
        mine[...] = 7  # of this process alone
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert (mine == wanted).all(), "the child wrote into its parent's memory"
assert (kernels.relu(x) == wanted).all()
"""

only_where_processes_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@only_where_processes_fork
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_a_forked_process_computes_with_the_references(layer: str) -> None:
    processes.run(FORK, NUMBA_THREADING_LAYER=layer)


@only_where_processes_fork
def test_a_process_forked_before_the_threads_started_has_its_own() -> None:
    code = """
import os
import numpy as np
import minigrad_kernels as kernels

child = os.fork()
x = np.linspace(-1, 1, 300_003, dtype=np.float32)
right = (kernels.relu(x) == kernels.relu.reference(x)).all()
right &= kernels.relu.explain(x).startswith("relu: numba")
if child == 0:
    os._exit(0 if right else 1)
_, status = os.waitpid(child, 0)
assert right and os.waitstatus_to_exitcode(status) == 0
"""
    processes.run(code)


def test_views_that_another_thread_gave_up_are_gone() -> None:
    """Whether a constant has views is found by looking at all objects, those of other threads too:
    that neither keeps them alive, nor is it stopped by what is not made yet."""

    def work() -> int:
        refused = 0
        for _ in range(50):
            x, w = minigrad.ones(3), minigrad.ones(3, requires_grad=True)
            view = x[1:]
            try:
                x += w
            except RuntimeError:
                refused += 1
            del view
            x += w
            assert x.tolist() == [2.0, 2.0, 2.0]
        return refused

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(work) for _ in range(3)]
        assert [f.result() for f in futures] == [50, 50, 50]
