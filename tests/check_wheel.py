"""Build the wheel, install it into a new environment, and use it from another directory.

It is built from a source distribution: a build in the tree would also pack modules that are long
gone but were left in `build/lib` by an earlier build.

Run by `make wheel`, not by pytest: it needs the package index for the dependencies.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = """
import pathlib, sys
import minigrad as mg, minigrad_kernels
for module in (mg, minigrad_kernels):
    assert sys.prefix in module.__file__, f"{module.__file__} is not the installed one"
    assert (pathlib.Path(module.__file__).parent / "py.typed").exists()
mg.manual_seed(0)
model = mg.nn.Sequential(mg.nn.Linear(2, 16), mg.nn.Tanh(), mg.nn.Linear(16, 2))
optimizer = mg.optim.Adam(model.parameters(), lr=0.05)
x = mg.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = mg.tensor([0, 1, 1, 0])
for _ in range(200):
    optimizer.zero_grad()
    loss = mg.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
assert loss.item() < 0.05, loss
print("the wheel of minigrad", mg.__version__, "learned exclusive or")
"""

TESTS = """
import pytest
from hypothesis import settings, strategies as st
import minigrad as mg
from minigrad.testing.strategies import arrays

@pytest.mark.gradients(mg.softmax, st.tuples(arrays((2, 3)), st.just(1)), max_examples=5)
def test_marker(): pass

def test_fixture(gradcheck):
    gradcheck(mg.tanh, [[0.5, -1.0]])
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = {"check": True, "cwd": folder}
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(
            [sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT],
            **run,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = (folder / "dist").glob("*.whl")
        venv.create(folder / "env", with_pip=True)
        scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, wheel], **run, env=environment)
        info = [scripts / "minigrad", "info"]
        subprocess.run(info, **run, env=environment, stdout=subprocess.DEVNULL)
        subprocess.run([scripts / "python", "-c", PROGRAM], **run, env=environment)
        check_plugin(folder, scripts, [*pip, "pytest>=8", "hypothesis>=6.100"], environment)


def check_plugin(
    folder: Path, scripts: Path, install: list[str | Path], environment: dict[str, str]
) -> None:
    """pytest finds the plugin by itself, and both ways to check work."""
    subprocess.run(install, check=True, env=environment)
    tests = folder / "tests" / "test_gradients.py"
    tests.parent.mkdir()
    tests.write_text(TESTS)
    command = [scripts / "python", "-m", "pytest", "--minigrad-backends=reference", "-W", "error"]
    done = subprocess.run(
        command, cwd=tests.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reference  verified on NumPy" in done.stdout, done.stdout
    print("its plugin for pytest:", done.stdout.splitlines()[-2])


if __name__ == "__main__":
    main()
