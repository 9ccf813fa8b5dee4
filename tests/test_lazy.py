"""Properties that are computed once: with threads, and in processes that are forked."""

from __future__ import annotations

import os
import threading

import processes
import pytest

from minigrad_kernels.lazy import lazy


class Counter:
    """An object whose property counts how often it is computed."""

    computed = 0

    @lazy
    def value(self) -> int:
        """What is counted."""
        self.computed += 1
        return 10 * self.computed


def test_once_for_each_object() -> None:
    first, second = Counter(), Counter()
    assert [first.value, first.value, second.value] == [10, 10, 10]
    assert (first.computed, second.computed) == (1, 1)
    del first.__dict__["value"]
    assert first.value == 20
    assert isinstance(Counter.value, lazy) and Counter.value.__doc__ == "What is counted."


def test_an_error_is_not_kept() -> None:
    class Picky:
        ready = False

        @lazy
        def value(self) -> str:
            if not self.ready:
                raise ValueError("not yet")
            return "made"

    x = Picky()
    with pytest.raises(ValueError, match="not yet"):
        _ = x.value
    x.ready = True
    assert x.value == "made"


def test_threads_do_not_wait_for_the_properties_of_other_objects() -> None:
    begun, finish = threading.Event(), threading.Event()

    class Slow:
        def __init__(self, slow: bool) -> None:
            self.slow = slow

        @lazy
        def value(self) -> bool:
            if self.slow:
                begun.set()
                finish.wait()
            return self.slow

    thread = threading.Thread(target=lambda: Slow(True).value)
    thread.start()
    begun.wait()
    other = threading.Thread(target=lambda: Slow(False).value)
    other.start()
    other.join(timeout=60)
    waits = other.is_alive()
    finish.set()
    thread.join()
    other.join()
    assert not waits


FORKED = """
import os, signal, threading
from pathlib import Path
from minigrad_kernels.cuda import Source, source

begun, finish = threading.Event(), threading.Event()
usual = source._read

def slow(path):
    if threading.current_thread() is not threading.main_thread():
        begun.set()
        finish.wait()
    return usual(path)

source._read = slow
thread = threading.Thread(target=lambda: Source("softmax.cu").digest)
thread.start()
begun.wait()
child = os.fork()
if not child:
    signal.alarm(60)  # ends it, should it hang
    os._exit(len(Source("softmax.cu").kernels) != 4)
status = os.waitpid(child, 0)[1]
finish.set()
thread.join()
print("status", status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_process_that_is_forked_while_a_source_is_read() -> None:
    out, _ = processes.run(FORKED)
    assert out == "status 0\n"
