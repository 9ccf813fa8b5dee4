"""The trainer: it learns, it records what happened, it stops before damage is done."""

import gc
import io
import json
import math
import sys
import weakref
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim
from minigrad.data import DataLoader, TensorDataset
from minigrad.training import Epoch, History, Trainer, accuracy


def line(n=64):
    """Points on y = 2 x - 1 + noise."""
    x = np.linspace(-1, 1, n, dtype=np.float32)[:, None]
    noise = np.random.default_rng(0).normal(size=x.shape) * 0.01
    return TensorDataset(x, (2 * x - 1 + noise).astype(np.float32))


def regression(lr=0.1, **options):
    mg.manual_seed(0)
    model = nn.Linear(1, 1)
    return Trainer(model, optim.SGD(model.parameters(), lr=lr), nn.MSELoss(), **options)


def test_a_perceptron_learns_exclusive_or():
    mg.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    inputs = mg.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    target = mg.tensor([0, 1, 1, 0])
    loader = DataLoader(TensorDataset(inputs, target), batch_size=4)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.05))
    history = trainer.fit(loader, epochs=150, progress=False)
    assert history.epochs[-1].train["accuracy"] == 1.0
    assert trainer.predict(inputs).argmax(1).tolist() == [0, 1, 1, 0]
    assert history.losses[-1] < 0.1 < 0.5 < history.losses[0]


def test_a_convolutional_network_learns_digits():
    mg.manual_seed(2)
    digits = data.load("digits")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(8 * 4 * 4, 10),
    )
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=1e-2))
    train = DataLoader(digits.train, batch_size=64, shuffle=True, seed=3)
    test = DataLoader(digits.test, batch_size=128)
    history = trainer.fit(train, epochs=4, validation=test, progress=False)
    assert history.column("accuracy", validation=True)[-1] > 0.93
    assert trainer.evaluate(test) == history.epochs[-1].validation


def test_a_step_is_the_textbook_step():
    trainer = regression(lr=0.1)
    w, b = trainer.model.weight.item(), trainer.model.bias.item()
    dataset = line()
    x, y = (t.data.astype(np.float64) for t in dataset.tensors)
    trainer.fit([dataset.tensors], epochs=5, progress=False)
    losses = []
    for _ in range(5):
        error = w * x + b - y
        losses.append((error**2).mean())
        w, b = w - 0.1 * 2 * (error * x).mean(), b - 0.1 * 2 * error.mean()
    np.testing.assert_allclose(trainer.history.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(
        [trainer.model.weight.item(), trainer.model.bias.item()], [w, b], 1e-4
    )


def test_the_same_seeds_give_the_same_training():
    def run():
        trainer = regression()
        loader = DataLoader(line(), 7, shuffle=True, seed=4)
        return trainer.fit(loader, epochs=2, progress=False).losses

    assert run() == run()


def test_history_counts_weighs_and_continues():
    trainer = regression(lr=1e-9, metrics={"bias": lambda y, t: float((y.data - t.data).mean())})
    loader = DataLoader(line(10), batch_size=4)
    trainer.fit(loader, epochs=2, validation=loader, progress=False)
    history = trainer.fit(loader, progress=False)
    assert [e.number for e in history.epochs] == [1, 2, 3] and len(history.losses) == 9
    assert [e.steps for e in history.epochs] == [3, 3, 3]
    assert history.epochs[2].validation is None and all(e.seconds > 0 for e in history.epochs)
    sizes = [4, 4, 2]  # the last batch is smaller, and counts less
    wanted = np.average(history.losses[:3], weights=sizes)
    assert history.epochs[0].train["loss"] == pytest.approx(wanted)
    x, y = (t.data for t in line(10).tensors)
    error = trainer.model(x).data - y
    assert history.epochs[0].validation["loss"] == pytest.approx((error**2).mean(), rel=1e-5)
    assert history.epochs[0].validation["bias"] == pytest.approx(error.mean(), rel=1e-5)
    assert history.column("bias") == [e.train["bias"] for e in history.epochs]
    with pytest.raises(KeyError):
        history.column("loss", validation=True)


def test_history_is_saved_and_loaded(tmp_path):
    history = History([1.0, 0.5], [Epoch(1, 2, {"loss": 0.75}, None, 0.1)])
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history
    assert json.loads((tmp_path / "history.json").read_text())["losses"] == [1.0, 0.5]
    assert str(history.epochs[0]) == "epoch 1: loss 0.75 (0.1 s)"


def test_evaluation_changes_nothing():
    trainer = regression()
    model = trainer.model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model[1].eval()
    before = {name: t.data.copy() for name, t in model.state_dict().items()}
    loader = DataLoader(line(), 16)
    first = trainer.evaluate(loader)
    outputs = trainer.predict(loader)
    assert outputs.shape == (64, 1) and not outputs.requires_grad
    np.testing.assert_allclose(trainer.predict(line().tensors[0]).data, outputs.data, rtol=1e-5)
    assert model.training and not model[1].training and model[2].training
    for name, t in model.state_dict().items():
        np.testing.assert_array_equal(t.data, before[name])
    assert trainer.evaluate(loader) == first and not trainer.history.losses


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_training_stops_before_a_bad_loss_is_applied(bad):
    trainer = regression()
    good = line().tensors
    damaged = (good[0], mg.tensor(np.full((64, 1), bad, np.float32)))
    trainer.step(*good)
    before = {name: t.data.copy() for name, t in trainer.model.state_dict().items()}
    with pytest.raises(FloatingPointError, match=r"step 2: the loss is (nan|inf)"):
        trainer.fit([damaged, good], progress=False)
    for name, t in trainer.model.state_dict().items():
        np.testing.assert_array_equal(t.data, before[name])
    assert len(trainer.history.losses) == 1 and not trainer.history.epochs


def test_bad_arguments_are_refused():
    trainer = regression()
    pair = line().tensors
    empty = (mg.tensor(np.zeros((0, 1), np.float32)),) * 2
    for call, error, words in [
        (lambda: trainer.fit([pair], 0), ValueError, "fit: epochs must be at least 1, got 0"),
        (lambda: trainer.fit([pair], 1.5), TypeError, "fit: epochs must be an integer, got 1"),
        (lambda: trainer.fit([], progress=False), ValueError, "no batches in epoch 1"),
        (lambda: trainer.fit([pair[0]], progress=False), TypeError, "pairs .* got a Tensor"),
        (lambda: trainer.fit([(1, 2, 3)], progress=False), TypeError, "got a tuple of 3"),
        (lambda: trainer.fit([empty], progress=False), ValueError, "a batch has no samples"),
        (lambda: trainer.evaluate([]), ValueError, "evaluate: the data had no batches"),
        (lambda: trainer.predict([]), ValueError, "predict: the data had no batches"),
        (lambda: Trainer(abs, None), TypeError, "Trainer: model must be a Module"),
        (lambda: Trainer(nn.ReLU(), None, "mse"), TypeError, "Trainer: loss must be a function"),
        (lambda: regression(metrics={"loss": accuracy}), ValueError, "no metric can be called"),
    ]:
        with pytest.raises(error, match=words):
            call()
    trainer.loss = nn.MSELoss(reduction="none")
    with pytest.raises(ValueError, match=r"one number, got shape \(64, 1\)"):
        trainer.step(*pair)


def test_accuracy():
    y = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert accuracy(mg.tensor(y), mg.tensor([1, 1, 1])) == pytest.approx(2 / 3)
    assert accuracy(np.zeros((2, 3, 5)), np.zeros((2, 5), int)) == 1.0
    with pytest.raises(ValueError, match=r"accuracy: wants .* got shapes \(3, 2\) and \(2,\)"):
        accuracy(y, [0, 1])


def shown(epochs=2):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        regression().fit(DataLoader(line(), 16), epochs)
    return out.getvalue(), err.getvalue()


def test_progress_is_a_bar_with_a_line_per_epoch():
    out, err = shown()
    assert "epoch 1: loss" in out and "epoch 2: loss" in out
    assert "8/8" in err and "epoch 2" in err


def test_progress_without_tqdm_is_a_line_per_epoch(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    out, err = shown()
    assert [text.split(":")[0] for text in out.splitlines()] == ["epoch 1", "epoch 2"] and not err


def test_training_leaves_nothing_behind_for_the_garbage_collector():
    trainer = regression()
    pair = line().tensors
    trainer.step(*pair)
    gc.collect()
    gc.disable()
    try:
        output, _ = trainer.step(*pair)
        node = weakref.ref(output.node)
        del output
        assert node() is None
    finally:
        gc.enable()
