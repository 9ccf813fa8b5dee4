"""Where kernels can run: whether each backend is usable on this machine, and if not, why not.

Asking imports nothing heavy until it must: `available` is found out on first use and remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from .arrays import is_array
from .lazy import lazy


def array_kind(x: Any) -> str:
    """`"numpy"` or `"cupy"`: whose array this is.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return "numpy"
    if is_array(x):
        return "cupy"
    raise TypeError(f"kernels take NumPy or CuPy arrays, not {type(x).__name__}")


@dataclass(frozen=True)
class Backend:
    """A way to run kernels.

    Attributes:
        name: its name.
        arrays: the kinds of array it takes.
        probe: returns why it cannot be used here, or None if it can.
        automatic: whether it is considered without being asked for.
        description: what it is, in a few words.
    """

    name: str
    arrays: tuple[str, ...]
    probe: Callable[[], str | None]
    automatic: bool
    description: str

    @lazy
    def reason(self) -> str | None:
        """Why it cannot be used here; None if it can."""
        return self.probe()

    @property
    def available(self) -> bool:
        """Whether it can be used here."""
        return self.reason is None


def _probe_numba() -> str | None:
    return None if find_spec("numba") else "the package numba is not installed"


def _probe_cuda() -> str | None:
    """Compile and run one kernel: driver, device, compiler and headers must all be there."""
    from .cuda import probe

    return probe.reason()


def _probe_host_compiler() -> str | None:
    """Look for a C++ compiler. What it lacks, if anything, it says when it compiles a kernel."""
    from .cuda.emulator import build

    return build.reason()


BACKENDS: dict[str, Backend] = {
    b.name: b
    for b in (
        Backend(
            "reference",
            ("numpy", "cupy"),
            lambda: None,
            automatic=True,
            description="the definition, in NumPy's words, on the CPU or through CuPy on the GPU",
        ),
        Backend(
            "numba",
            ("numpy",),
            _probe_numba,
            automatic=True,
            description="compiled by Numba for the CPU",
        ),
        Backend(
            "cuda",
            ("cupy",),
            _probe_cuda,
            automatic=True,
            description="CUDA C++ on the GPU",
        ),
        Backend(
            "cuda-on-cpu",
            ("numpy",),
            _probe_host_compiler,
            automatic=False,
            description="the CUDA C++ sources run on the CPU, for study and tests",
        ),
    )
}
