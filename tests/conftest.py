"""Settings of every test: Hypothesis profiles, and a guard against tests that leave traces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from minigrad import dtypes
from minigrad.graph import mode
from minigrad_kernels import BACKENDS, registry, threads

pytest_plugins = ["pytest_minigrad"]

# Two threads at least, also on one core: that their number changes no result is tested everywhere.
# Numba reads this when it is first imported, which is later.
_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, _cores)))

# Compiling a kernel on first use can take seconds: no deadline, and slow draws are no failure.
_patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=50, **_patient)
settings.register_profile(
    "ci", max_examples=100, derandomize=True, database=None, print_blob=True, **_patient
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def _state() -> dict[str, object]:
    return {
        "recording": mode.recording,
        "observers": mode.observers,
        "check_finite": mode.check_finite,
        "level": mode.level,
        "default dtype": dtypes.get_default_dtype(),
        "forced kernels": registry._selection.forced,
        "NumPy's error handling": np.geterr(),
        "threads": threads._wanted or int(os.environ["NUMBA_NUM_THREADS"]),
    }


@pytest.fixture(autouse=True)
def leaves_no_traces() -> Iterator[None]:
    """Fail a test that leaves recording off, an observer behind, another default dtype, ..."""
    before = _state()
    yield
    after = _state()
    changed = {k: (before[k], after[k]) for k in before if before[k] != after[k]}
    if changed:
        mode.set(recording=True, observers=(), check_finite=False)
        dtypes.set_default_dtype(np.float32)
        registry._selection.forced = None
        threads._wanted = before["threads"]
        np.seterr(**before["NumPy's error handling"])
        pytest.fail(f"the test left changed settings behind (before, after): {changed}")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240607)


@pytest.fixture(scope="module")
def cupy() -> Iterator[Any]:
    """CuPy where there is a GPU, else the stand-in; definitions run, and no kernels of ours."""
    with registry.use("reference"):
        if BACKENDS["cuda"].available:
            import cupy  # type: ignore[import-not-found,unused-ignore]

            yield cupy
        else:
            from cupy_standin import installed

            with installed() as module:
                yield module


@pytest.fixture(scope="module")
def cuda() -> Iterator[Any]:
    """CuPy where there is a GPU, else the stand-in, for which the emulator runs CUDA kernels."""
    if BACKENDS["cuda"].available:
        import cupy

        yield cupy
    elif not BACKENDS["cuda-on-cpu"].available:
        pytest.skip(f"no GPU, and no emulator: {BACKENDS['cuda-on-cpu'].reason}")
    else:
        from cupy_standin import installed
        from cupy_standin.kernels import cuda_kernels

        with installed() as module, cuda_kernels():
            yield module


@pytest.fixture
def standin() -> Iterator[Any]:
    """The stand-in, also where there is a GPU: for what a GPU does not let a test do."""
    from cupy_standin import installed

    with installed() as module, registry.use("reference"):
        yield module


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For thousands of calls on a few numbers: waking a second thread takes longer than each.

    Results do not depend on the number of threads, which has tests of its own.
    """
    before = threads.get_num_threads()
    threads.set_num_threads(1)
    yield
    threads.set_num_threads(before)
