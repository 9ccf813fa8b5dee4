"""Who imports whom, read from the sources: each layer only those before it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad
import minigrad_kernels

ROOT = Path(minigrad.__file__).parent
KERNELS = Path(minigrad_kernels.__file__).parent

LAYERS = [  # what stands on one line may import each other and everything above
    {"graph", "dtypes", "arguments", "device"},
    {
        "tensor",
        "methods",
        "memory",
        "recording",
        "flat",
        "inplace",
        "ops",
        "autograd",
        "modes",
        "random",
        "create",
    },
    {"transforms", "cuda"},
    {"nn", "optim"},
    {"data", "io"},
    {"training", "testing", "explain", "distributed"},
    {"cli", "commands", "demo", "report", "machine", "__main__"},
]
LEVEL = {name: i for i, names in enumerate(LAYERS) for name in names}


def imports(path: Path, package: str) -> list[tuple[str, bool]]:
    """Absolute names of the modules that a file imports, and whether only for type checkers."""
    parts = [package, *path.relative_to(ROOT if package == "minigrad" else KERNELS).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hints = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in hints) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` imports the module x where there is one
            found += [(f"{module}.{alias.name}", id(node) in hints) for alias in node.names]
    return found


def level_of(name: str) -> int | None:
    """The layer of an absolute name inside minigrad; None for names of the package itself."""
    parts = name.split(".")
    return LEVEL.get(parts[1]) if len(parts) > 1 else None


FILES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_layers_before_it(path: Path) -> None:
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert first in LEVEL, f"{first} has no place among the layers"
    above = [
        name
        for name, hint in imports(path, "minigrad")
        if name.startswith("minigrad.") and not hint and (level_of(name) or 0) > LEVEL[first]
    ]
    assert not above, f"{first} imports what stands above it: {above}"


def test_the_graph_knows_no_arrays() -> None:
    names = [name.partition(".")[0] for name, _ in imports(ROOT / "graph.py", "minigrad")]
    assert not {"numpy", "cupy", "minigrad_kernels", "minigrad"} & set(names), names


@pytest.mark.parametrize("path", sorted(KERNELS.rglob("*.py")), ids=lambda p: p.name)
def test_kernels_never_import_minigrad(path: Path) -> None:
    used = [n for n, _ in imports(path, "minigrad_kernels") if n.partition(".")[0] == "minigrad"]
    assert not used


def test_constants_of_compiled_code_stand_beside_it() -> None:
    """Compiled code is kept until a file in `cpu` changes: it must depend on no other file."""
    outside = {
        name
        for path in (KERNELS / "cpu").glob("*.py")
        for name, _ in imports(path, "minigrad_kernels")
        if name.startswith("minigrad_kernels.")
        and not name.startswith("minigrad_kernels.cpu.")
        and name.rpartition(".")[2].lstrip("_").isupper()
    }
    only_python_uses = {"minigrad_kernels.layout.REALS", "minigrad_kernels.random.MANTISSA"}
    assert outside <= only_python_uses, "constants that compiled code may contain"


def test_the_gradient_checker_is_read_from_the_bottom_up() -> None:
    """Each module of it imports only those that its docstring names before."""
    folder = ROOT / "testing" / "checker"
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    names = re.findall(r"`(\w+)`", text or "")
    assert sorted(names) == sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
    for i, name in enumerate(names):
        for imported, hint in imports(folder / f"{name}.py", "minigrad"):
            of_checker = imported.startswith("minigrad.testing.checker.")
            assert hint or not of_checker or imported.split(".")[3] in names[:i], (name, imported)


def test_the_reader_of_imports_sees_relative_ones(tmp_path: Path) -> None:
    names = [name for name, _ in imports(ROOT / "ops" / "elementwise.py", "minigrad")]
    assert "minigrad.recording.record" in names
    assert "minigrad.ops.registry.differentiable" in names


def test_importing_needs_no_optional_package() -> None:
    """With every extra missing, every package still imports; strategies say what they want."""
    code = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import importlib, pkgutil, minigrad, minigrad_kernels
for package in (minigrad, minigrad_kernels):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
try:
    import minigrad.testing.strategies
except ImportError as error:
    assert "hypothesis" in str(error) and "pip install" in str(error), error
else:
    raise SystemExit("strategies imported without hypothesis")
slow = {{"numba", "scipy"}} & set(sys.modules)
assert not slow, f"imported although not asked for: {{slow}}"
"""
    blocked = [
        "hypothesis",
        "torch",
        "jax",
        "cupy",
        "matplotlib",
        "sklearn",
        "pooch",
        "tqdm",
        "PIL",
    ]
    path = os.pathsep.join([str(ROOT.parent), str(KERNELS.parent)])
    run = subprocess.run(
        [sys.executable, "-c", code.format(blocked=blocked)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
