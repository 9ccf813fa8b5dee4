"""The most memory that training takes, each library in a process of its own.

What counts is the growth of resident memory, as Linux counts it (VmHWM), from before the model is
made to the peak of the steps that follow: weights, gradients, the optimizer's state, activations.
A step of another model comes first and is thrown away with all memory it took, so that code which
a library loads or compiles on first use does not count here. The whole process, code and imports
included, is the figure beside it.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from .. import peers as adapters
from ..harness import OURS, Case, Contender, in_fresh_process
from ..networks import IMAGES, PERCEPTRON, Layer, batch, weights

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
STEPS = 3
NETWORKS: dict[str, tuple[Layer, ...]] = {"image network": IMAGES, "perceptron": PERCEPTRON}


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """The image network, or for a quick look the perceptron; none where the system does not tell
    peaks."""
    if not RESET.exists():
        return
    names = [OURS, *(_name(p) for p in peers if hasattr(p, "training_steps"))]
    network, size = ("perceptron", 32) if quick else ("image network", 64)
    whole: dict[str, float] = {}
    contenders = [
        _contender(library, variant, network, size, whole)
        for library in names
        for variant in (0, 1)
        if variant == 0 or library == "torch"
    ]
    yield Case(
        f"peak memory of training, {network}, batch {size}",
        contenders,
        figures=lambda ours: {f"MB of {name}'s process": b / 1e6 for name, b in whole.items()},
        rounds=3,
        unit="B",
    )


def _name(peer: ModuleType) -> str:
    return peer.__name__.rpartition(".")[2]


def _contender(
    library: str, variant: int, network: str, size: int, whole: dict[str, float]
) -> Contender:
    name = library + (" (tuned)" if variant else "")

    def run() -> float:
        grown, whole[name] = in_fresh_process(__name__, "peak", library, variant, network, size)
        return float(grown)

    return Contender(name, run, lambda grown: [], measures_itself=True)


def peak(library: str, variant: int, network: str, size: int) -> tuple[int, int]:
    """(growth of this process by a model and its training, its whole size then), in bytes.

    Wants a fresh process. `variant` says which of the library's ways to train.
    """
    adapter = adapters.load(library)
    layers = NETWORKS[network]
    state, (x, target) = weights(layers), batch(layers, size)

    def model() -> Contender:
        made: Contender = adapter.training_steps(layers, state, x, target)[variant]
        made.reset()
        return made

    first = model()
    first.run()
    del first
    _give_back(adapter)
    before = resident()
    second = model()
    gc.collect()
    RESET.write_text("5")  # the peak is now the present size
    for _ in range(STEPS):
        second.run()
    most = resident("VmHWM")
    return most - before, most


def resident(what: str = "VmRSS") -> int:
    """Bytes of memory that this process has now (VmRSS), or had at most (VmHWM)."""
    found = re.search(rf"^{what}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} does not tell {what}")
    return int(found[1]) * 1024


def _give_back(adapter: ModuleType) -> None:
    """Return what is free to the system: the library's, then the C library's."""
    gc.collect()
    getattr(adapter, "release", lambda: None)()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
