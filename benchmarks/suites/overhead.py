"""What the engine itself costs: chains of tiny operations, large graphs, the import."""

from __future__ import annotations

import importlib
import mmap
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from .. import peers as adapters
from ..harness import OURS, Case, Contender, in_fresh_process
from ..work import LENGTH, Program, arithmetic, mixed, numbers, scalars

CHAINS: dict[str, tuple[Program, str, str]] = {
    # name: program, inputs that require a gradient, constants
    "arithmetic": (arithmetic(LENGTH), "x", "w v b c"),
    "scalars": (scalars, "x", ""),
    "mixed": (mixed, "x", "gain shift"),
    "parameters": (arithmetic(LENGTH), "x w v b c", ""),
}
"""Forward and backward through 200 operations on 2x2 float32 tensors."""

GRAPHS = (10_000, 100_000, 1_000_000)
IN_LARGE_GRAPHS = ("torch",)
"""Peers that graphs of more than 10,000 nodes are given to: others take minutes, or their stack."""


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """All cases of the suite; `quick` leaves out the large graphs."""
    libraries = [adapters.load(OURS), *peers]
    for name, (program, inputs, constants) in CHAINS.items():
        yield _case(f"chain of {LENGTH}, {name}", program, inputs, constants, libraries)
    for count in GRAPHS[:1] if quick else GRAPHS:
        yield _graph(count, libraries)
    names = [library.__name__.rpartition(".")[2] for library in libraries]
    yield Case("import", [_import(name) for name in (names[0], "numpy", *names[1:])], rounds=5)


def _case(
    name: str, program: Program, inputs: str, constants: str, libraries: Sequence[ModuleType]
) -> Case:
    have = numbers()
    contenders: list[Contender] = []
    for library in libraries:
        contenders += library.derivatives(
            program,
            [have[k] for k in inputs.split()],
            [have[k] for k in constants.split()],
            have["g"],
        )
    return Case(name, contenders)


def _graph(count: int, libraries: Sequence[ModuleType]) -> Case:
    """Forward and backward through a graph of `count` nodes, and the memory that it takes."""
    case = _case(f"graph of {count:,} nodes", arithmetic(count), "x", "w v b c", libraries)
    names = (OURS, *IN_LARGE_GRAPHS) if count > GRAPHS[0] else (OURS, "torch", "autograd", "mygrad")
    case.contenders = [c for c in case.contenders if c.name in names]
    case.rounds = 3 if count > 100_000 else None
    case.figures = lambda ours: _bytes_per_node(count, [c.name for c in case.contenders])
    return case


def _bytes_per_node(count: int, libraries: Sequence[str]) -> dict[str, float]:
    found = {"traced bytes/node": traced_bytes(count) / count}
    for name in (OURS, *IN_LARGE_GRAPHS):
        if name in libraries:
            grown = in_fresh_process(__name__, "resident_bytes", name, count)
            if grown is not None:
                found[f"resident bytes/node, {name}"] = grown / count
    return found


def _graph_of(library: str, count: int) -> object:
    """The result of a graph of `count` nodes, which lives as long as the result."""
    module = importlib.import_module(library)
    have = numbers()
    tensors = [module.tensor(have[k], requires_grad=k == "x") for k in ("x", "w", "v", "b", "c")]
    return arithmetic(count)(module, *tensors)


def traced_bytes(count: int) -> int:
    """Bytes that Python and NumPy allocated for our graph of `count` nodes."""
    _graph_of(OURS, 8)
    tracemalloc.start()
    try:
        graph = _graph_of(OURS, count)
        grown = tracemalloc.get_traced_memory()[0]
        del graph
    finally:
        tracemalloc.stop()
    return grown


def resident_bytes(library: str, count: int) -> int | None:
    """How much this process grows by a graph, as the system counts; None where it does not say.

    Wants a fresh process, which has no free memory of its own to put the graph in.
    """
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return None
    _graph_of(library, 8)
    before = int(pages.read_text().split()[1])
    graph = _graph_of(library, count)
    after = int(pages.read_text().split()[1])
    del graph
    return (after - before) * mmap.PAGESIZE


def _import(name: str) -> Contender:
    """`import name` in a new interpreter."""

    def run() -> float:
        return float(in_fresh_process("benchmarks.fresh", "import_seconds", name))

    note = "a part of ours" if name == "numpy" else ""
    return Contender(name, run, lambda seconds: [], note, measures_itself=True)
