"""The same check on every backend: where it runs, what ran there, and single precision.

`gradcheck` computes in double precision. Many kernels of a GPU know single precision only, and give
way to the reference in a check: `single_precision` holds them to it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np

import minigrad_kernels as kernels
from minigrad_kernels import BACKENDS, Implementation, Kernel

from ..tensor import Tensor
from .checker.functions import Arrays, Primal
from .checker.gradcheck import gradcheck
from .checker.verdict import Verdict
from .modules import opened

ULPS = 2000
"""How far single precision may be from double precision, in units in the last place of the largest
entry: functions such as a variance cancel, and powers magnify."""


def gradcheck_on(backend: str, fn: Any, inputs: Any, **options: Any) -> Verdict:
    """`gradcheck`, computed by the kernels of one backend.

    On the backend `cuda` the function is given tensors on the GPU, and its gradients come from
    there; what they are compared with is found on the CPU.

    Args:
        backend: a name in `minigrad_kernels.BACKENDS`.
        fn: as `gradcheck` takes it.
        inputs: as `gradcheck` takes them.
        options: of `gradcheck`.

    Raises:
        ValueError: as `gradcheck`; for an unknown backend; for a pair of NumPy functions on a GPU.
        RuntimeError: if the backend cannot be used here; the message says why.
    """
    if backend == "cuda":
        fn, inputs = opened(fn, inputs) if isinstance(inputs, (list, tuple)) else (fn, inputs)
        fn = on_device(fn)
    with kernels.use(backend):
        return gradcheck(fn, inputs, **options)


def on_device(fn: Callable[..., Any], device: str = "cuda") -> Callable[..., Any]:
    """The same function of tensors on the CPU, computed on a device.

    Raises:
        ValueError: for a pair of NumPy functions, which computes where NumPy does.
    """
    if isinstance(fn, tuple):
        raise ValueError("gradcheck: a pair of NumPy functions does not run on a GPU")

    @functools.wraps(fn)
    def there(*inputs: Any) -> Any:
        return _moved(fn(*_moved(inputs, device)), "cpu")

    return there


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(_moved(v, device) for v in value) if type(value) in (tuple, list) else value


def unavailable(backend: str) -> str | None:
    """Why a backend cannot be used here; None if it can.

    Raises:
        ValueError: for an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
    return BACKENDS[backend].reason


def place(backend: str) -> str:
    """What a backend that can be used here computes on, in words."""
    if backend == "cuda":
        import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

        runtime = cupy.cuda.runtime
        name: bytes = runtime.getDeviceProperties(runtime.getDevice())["name"]
        return name.decode()
    if backend == "cuda-on-cpu":
        from minigrad_kernels.cuda.emulator import build

        return f"the CPU, compiled by {(build.compiler() or ['?'])[0]}"
    return f"Numba {version('numba')}" if backend == "numba" else f"NumPy {np.__version__}"


@contextmanager
def observed() -> Iterator[dict[str, Implementation]]:
    """What runs meanwhile: implementations by `kernel, label`. Slow: for a few calls."""
    ran: dict[str, Implementation] = {}
    call = Kernel.__call__

    def noting(self: Kernel, *args: Any, **options: Any) -> Any:
        for i, why in self.reasons(*args, **options):
            if why == "runs":
                ran[f"{self.name}, {i.label}"] = i
        return call(self, *args, **options)

    setattr(Kernel, "__call__", noting)  # noqa: B010  # to type checkers it is no variable
    try:
        yield ran
    finally:
        setattr(Kernel, "__call__", call)  # noqa: B010


# Single precision


def single_precision(
    backend: str, fn: Callable[..., Any], inputs: Sequence[Any], seed: int = 0
) -> tuple[list[str], dict[str, Implementation]]:
    """Results and gradients in float32 on a backend, compared with the reference's in float64.

    Both are given the numbers rounded to float32, and the same random cotangents.

    Returns:
        (what differs, a sentence each; what ran, as `observed` says it).
    """
    here, there = Primal(fn, inputs), Primal(on_device(fn) if backend == "cuda" else fn, inputs)
    narrow = [x.astype("f4") for x in here.point]
    with kernels.use(backend), observed() as ran:
        results, found = _gradients(there, narrow, seed)
    with kernels.use("reference"):
        wanted, gradients = _gradients(here, [x.astype("f8") for x in narrow], seed)
    coarsest = max((i.eps for i in ran.values()), default=0.0)
    labels = [f"output {i}" for i in range(len(wanted))]
    labels += [f"the gradient of {label}" for label in here.labels]
    pairs = zip(labels, [*results, *found], [*wanted, *gradients], strict=True)
    problems = (_difference(label, y, z, coarsest) for label, y, z in pairs)
    return [f"float32: {p}" for p in problems if p], ran


def _gradients(function: Primal, point: Arrays, seed: int) -> tuple[Arrays, Arrays]:
    """Results, and gradients for random cotangents."""
    here = function.record(point)
    rng = np.random.default_rng(seed)
    vs = [rng.uniform(0.5, 1.5, y.shape).astype(y.dtype) for y in here.outputs]
    return here.outputs, here.pull(vs)


def _difference(label: str, y: np.ndarray, z: np.ndarray, coarsest: float) -> str:
    """How `y` differs from `z` in double precision by more than rounding; empty if it does not.

    `coarsest` is the unit of an implementation that computes in a coarser type than float32.
    """
    if y.shape != z.shape:
        return f"{label} has shape {y.shape} instead of {z.shape}"
    same = np.isfinite(z)
    if not np.array_equal(np.isfinite(y), same):
        return f"{label} is finite in other places"
    size = max(1.0, float(np.abs(z[same]).max(initial=0.0)))
    # As kernels are compared with their definitions: 8 units, times the root of the longest sum.
    allowed = size * max(
        ULPS * float(np.finfo("f4").eps), 8 * coarsest * max(z.shape, default=1) ** 0.5
    )
    error = float(np.abs(y[same] - z[same]).max(initial=0.0))
    if error <= allowed:
        return ""
    return f"{label} differs by {error:.2e} from double precision, allowed {allowed:.1e}"


def check(
    backend: str, fn: Callable[..., Any], inputs: Sequence[Any], **options: Any
) -> tuple[Verdict, dict[str, Implementation]]:
    """`gradcheck_on` and `single_precision` in one verdict, and what ran in either.

    Args:
        backend: a name in `minigrad_kernels.BACKENDS`.
        fn: a function of tensors.
        inputs: what it is called with.
        options: of `gradcheck`.
    """
    verdict = gradcheck_on(backend, fn, inputs, **options)
    problems, ran = single_precision(backend, fn, inputs)
    return dataclasses.replace(verdict, problems=(*verdict.problems, *problems)), ran
