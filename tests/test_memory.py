"""Memory that is kept: blocks come back when, and only when, no array shows them any more."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import processes
import pytest

from minigrad_kernels import memory
from minigrad_kernels.memory import SMALLEST, empty, kept_bytes, release

SIZE = SMALLEST + 12345
"""An odd number of bytes, of a block that is kept."""


def address(x: np.ndarray) -> int:
    return x.__array_interface__["data"][0]


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    gc.collect()
    release()
    yield
    gc.collect()
    release()
    assert kept_bytes() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.complex128, "S3"])
@pytest.mark.parametrize("shape", [(), 5, (0, 7), (3, 5), (SIZE,), (7, SIZE), SIZE])
def test_what_empty_returns(shape: int | tuple[int, ...], dtype: object) -> None:
    x = empty(shape, dtype)
    wanted = np.empty(shape, dtype)
    assert type(x) is np.ndarray
    assert (x.shape, x.dtype, x.strides) == (wanted.shape, wanted.dtype, wanted.strides)
    assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned
    if x.nbytes >= SMALLEST:
        assert address(x) % 64 == 0
    x[...] = wanted[...] = 1
    assert (x == wanted).all()


def test_a_block_is_used_again() -> None:
    x = empty(SIZE, np.uint8)
    place = address(x)
    del x
    assert kept_bytes() >= SIZE
    x = empty((5, SIZE // 20), np.float32)  # another shape and type that fit
    assert address(x) == place
    assert kept_bytes() == 0
    assert address(empty(SIZE, np.uint8)) != place, "it is in use"


def test_small_arrays_are_not_kept() -> None:
    x = empty(SMALLEST - 1, np.uint8)
    assert x.base is None
    del x
    assert kept_bytes() == 0


VIEWS = {
    "slice": lambda x: x[100:200],
    "element": lambda x: x[7:8].reshape(()),
    "chain": lambda x: x[::2].reshape(2, -1).T[3:, ::-1][..., None].squeeze(),
    "type": lambda x: x.view(np.int32)[5:].view(np.uint8),
    "broadcast": lambda x: np.broadcast_to(x[:1], (3, 4)),
    "strides": lambda x: np.lib.stride_tricks.as_strided(x, (2, 2), (1, 1)),
    "subclass": lambda x: x.view(np.matrix),
    "base": lambda x: x.base,
    "slice of the base": lambda x: x.base[5:].view(np.ndarray),
    "view of the base": lambda x: x.base.view(),
    "frombuffer": lambda x: np.frombuffer(x, np.uint8)[3:],
    "memoryview": lambda x: np.asarray(memoryview(x)[10:]),
    "buffer": lambda x: np.ndarray(5, np.uint8, buffer=x, offset=9),
    "ctypes": lambda x: np.ctypeslib.as_array((ctypes.c_uint8 * 9).from_buffer(x)),
    "DLPack": lambda x: np.from_dlpack(x[4:]),
    "read-only": lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
}


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_keeps_the_block(name: str) -> None:
    length = SIZE // 16 * 16
    x = empty(length, np.uint8)
    x[...] = 42
    view = VIEWS[name](x)
    assert np.shares_memory(view, x) or name == "base"
    del x
    gc.collect()
    assert kept_bytes() == 0, "the block was given back while a view shows it"
    others = [empty(length, np.uint8) for _ in range(3)]
    for other in others:
        other[...] = 7
    assert (np.asarray(view).reshape(-1)[:5] == 42).all()
    others.clear()
    before = kept_bytes()
    del view, other
    gc.collect()
    assert kept_bytes() > before, "the block was not given back"


def test_a_block_in_a_cycle_comes_back() -> None:
    class Node:
        pass

    node = Node()
    node.itself, node.array = node, empty(SIZE, np.uint8)
    gone = weakref.ref(node)
    del node
    assert kept_bytes() == 0
    gc.collect()
    assert gone() is None
    assert kept_bytes() >= SIZE


def test_no_more_is_held_than_was_in_use_at_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_most", memory._used)
    start = memory._used
    several = [empty(SIZE, np.uint8) for _ in range(4)]
    most = memory._used - start
    several.clear()
    assert kept_bytes() == most
    for size in range(SIZE, 4 * SIZE, SIZE // 3):  # sizes that never fit what is kept
        x = empty(size, np.uint8)
        assert kept_bytes() + memory._used - start <= memory.SPARE * most
        del x


def test_release_returns_everything() -> None:
    kept = [empty(SIZE * n, np.uint8) for n in (1, 2, 3)]
    used = empty(SIZE, np.uint8)
    used[...] = 3
    kept.clear()
    assert kept_bytes() >= 6 * SIZE
    release()
    assert kept_bytes() == 0
    assert (used == 3).all()


# What users do with arrays


def test_copies_and_pickles() -> None:
    x = empty((SIZE // 5, 5), np.float32)
    x[...] = np.arange(x.size).reshape(x.shape)
    for y in (x.copy(), copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(y) is np.ndarray
        np.testing.assert_array_equal(x, y)
        assert not np.shares_memory(x, y)
    base = pickle.loads(pickle.dumps(x.base))
    del base  # has no mapping to give back
    assert kept_bytes() == 0


def test_resizing() -> None:
    """In place it is refused, as for every array that shows memory of another; else it copies."""
    x = empty(SIZE, np.uint8)
    x[...] = 5
    with pytest.raises(ValueError, match="does not own its data"):
        x.resize(2 * SIZE)
    assert x.shape == (SIZE,)
    assert (np.resize(x, 2 * SIZE) == 5).all()


@pytest.mark.parametrize("shape", [(2**40, 2**20), (2**62,), 2**62, (2**31, 2**31)])
def test_too_much_is_a_memory_error(shape: int | tuple[int, ...]) -> None:
    used, kept = memory._used, kept_bytes()
    with pytest.raises((MemoryError, ValueError)):
        empty(shape, np.float64)
    assert (memory._used, kept_bytes()) == (used, kept)
    assert empty(SIZE, np.uint8).size == SIZE


def test_negative_dimensions() -> None:
    used = memory._used
    for shape in (-1, (-1, 5), (-600, -600)):
        with pytest.raises(ValueError, match="negative dimensions"):
            empty(shape, np.uint8)
    gc.collect()
    assert memory._used == used


# Threads, processes


def test_several_threads() -> None:
    """No two arrays that are alive at once share memory, and the count of bytes stays right."""
    gc.collect()
    used = memory._used
    wrong: list[int] = []

    def loop(mark: int) -> None:
        rng = np.random.default_rng(mark)
        alive: list[np.ndarray] = []
        for _ in range(300):
            x = empty(SMALLEST * int(rng.integers(1, 4)), np.uint8)
            x[:10] = x[-10:] = mark
            alive.append(x)
            if len(alive) > 5:
                alive.pop(int(rng.integers(5)))
            wrong.extend(mark for y in alive if y[0] != mark or y[-1] != mark)

    threads = [threading.Thread(target=loop, args=(mark,)) for mark in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    gc.collect()
    assert not wrong
    assert memory._used == used


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_processes() -> None:
    """Each has memory of its own, also where the lock was held by another thread."""
    code = """
import os, threading
import numpy as np
from minigrad_kernels import memory

x = memory.empty(10**6, np.uint8)
x[...] = 1
kept = memory.empty(10**6, np.uint8)
del kept
held, done = threading.Event(), threading.Event()

def hold():
    with memory._lock:
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    y = memory.empty(10**6, np.uint8)
    y[...] = 2
    x[...] = 3
    del x, y
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
assert status == 0
assert (x == 1).all(), "the child wrote into its parent's memory"
"""
    processes.run(code)


def test_arrays_alive_when_python_ends() -> None:
    """Globals, cycles, arrays that a thread holds: all go in silence."""
    code = """
import threading
import numpy as np
from minigrad_kernels import memory

x = memory.empty(10**6, np.uint8)
class Node: pass
node = Node()
node.itself, node.x = node, memory.empty(10**6, np.uint8)
view = memory.empty(10**6, np.uint8)[::2]
np.kept_here = memory.empty(10**6, np.uint8)
threading.kept_there = memory.empty(10**6, np.uint8)
"""
    out, err = processes.run(code)
    assert out + err == ""


@pytest.mark.skipif(os.name != "posix", reason="limits of processes are POSIX's")
def test_huge_arrays_that_do_not_fit() -> None:
    """More than 2**31 elements, which lie in memory once: an error, and nothing else happens."""
    code = """
import resource
import numpy as np
import minigrad_kernels as kernels

x = np.linspace(-1, 1, 100_003, dtype=np.float32)
wanted = kernels.relu(x).copy()
pages = int(open("/proc/self/statm").read().split()[0]) if LINUX else 2**20
limit = pages * resource.getpagesize() + 2**31
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
huge = np.broadcast_to(np.float32(1), 2**31 + 5)
out = np.full(3, 77, np.float32)
for given in (None, out):
    try:
        kernels.relu(huge, out=given)
    except MemoryError:
        pass
    except ValueError:
        assert given is out
    else:
        raise AssertionError("8 GiB fit into 2")
assert (out == 77).all()
assert (kernels.relu(x) == wanted).all()
"""
    linux = os.path.exists("/proc/self/statm")
    processes.run(code.replace("LINUX", str(linux)))
