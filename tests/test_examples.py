"""Every example runs to its asserts, in a short mode, and stays short enough to read at once."""

import importlib.util
import os
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
HOUSES = Path(os.environ.get("MINIGRAD_DATA", "")) / "california-housing"
SHORT = {
    "linear_regression": ["--data", "houses" if HOUSES.is_dir() else "generated"],
    "backprop_by_hand": [],
    "cuda_race": [],
    "find_the_bug": ["--bug", "7", "--reveal"],
    "cnn_images": ["--data", "digits", "--epochs", "7", "--quiet"],
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.py")))
def test_example(name, capsys, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)  # as when it is run as a script
    load(name).main(SHORT[name])
    assert capsys.readouterr().out
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 150


def test_the_image_network_has_the_promised_shapes():
    model = load("cnn_images").network(3, 32, 32)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [
        (64, 3, 3, 3),
        (64,),
        (128, 64, 3, 3),
        (128,),
        (1024, 128 * 8 * 8),
        (1024,),
        (10, 1024),
        (10,),
    ]
