"""The checker on modules: by their inputs and by their parameters, which they hold again after."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.testing import gradcheck
from minigrad.testing.backends import gradcheck_on
from minigrad.testing.modules import holding, opened

X = np.random.default_rng(0).normal(size=(4, 3))


def halved(x: Any) -> mg.Tensor:
    return mg.record(halved, x.data * x.data, (x, lambda g, x: g * x, x))


class Scale(nn.Module):
    """x k(w^2), with a rule for the square that is wrong; k is held twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(mg.tensor([0.5, -1.5, 2.0]))
        self.inner = self.again = nn.Linear(3, 2)

    def forward(self, x: Any, *, twice: bool = False) -> mg.Tensor:
        y = self.inner(x * halved(self.weight))
        return y + self.again(x) if twice else y


def test_a_wrong_rule_for_a_parameter_alone_is_found() -> None:
    mg.manual_seed(0)
    verdict = gradcheck(Scale(), [X])
    assert verdict.name == "Scale" and not verdict.ok
    status = {f.label: f.status for f in verdict.findings}
    assert status.pop("parameter weight") == "different"
    assert set(status.values()) == {"equal"}
    assert list(status) == ["input 0", "parameter inner.weight", "parameter inner.bias"]


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_modules_on_a_backend_and_twice(backend: str) -> None:
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4))
    verdict = gradcheck_on(backend, model, [X], order=2)
    assert verdict.ok, verdict
    assert {f.label for f in verdict.findings if f.order == 2} == {
        "input 0", "parameter 0.weight", "parameter 0.bias", "parameter 2.weight",
        "parameter 2.bias", "cotangent 0",
    }  # fmt: skip


def test_a_module_of_indices_has_its_parameters_to_differentiate_by() -> None:
    (finding,) = gradcheck(nn.Embedding(5, 2), [np.array([0, 3, 3])]).findings
    assert finding.ok and finding.label == "parameter weight"


def test_frozen_parameters_are_constants() -> None:
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    labels = [f.label for f in gradcheck(model, [X]).findings]
    assert labels == ["input 0", "parameter bias"]
    model.requires_grad_(False)
    assert opened(model, [X])[0] is model
    assert opened(mg.tanh, [X]) == (mg.tanh, [X])


def test_a_module_on_a_gpu(cuda: Any) -> None:
    """It stays on the CPU itself; what it computes with is moved."""
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh()).eval()
    model[0].bias.requires_grad_(False)
    seen: list[str] = []

    def noted(module: nn.Module, inputs: Any, output: mg.Tensor) -> None:
        seen.extend([output.device, module[0].bias.device, module[1].running_mean.device])

    model.register_forward_hook(noted)
    verdict = gradcheck_on("cuda", model, [X])
    assert verdict.ok, verdict
    assert [f.label for f in verdict.findings][1:3] == ["parameter 0.weight", "parameter 1.weight"]
    assert set(seen) == {"cuda:0"}
    assert {p.device for p in model.parameters()} == {"cpu"}


def test_what_is_frozen_has_the_precision_of_what_is_not() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            self.norm = nn.LayerNorm(3)
            self.norm.bias.requires_grad_(False)
            self.register_buffer("shift", mg.tensor([0.1, 0.2, 0.3]))

        def forward(self, x: Any) -> mg.Tensor:
            assert self.shift.dtype == self.norm.bias.dtype
            return self.norm(x) + self.shift

    model = Shifted()
    for x in (X, X.astype("f4")):
        verdict = gradcheck(model, [x], order=2)
        assert verdict.ok, verdict
    assert model.shift.dtype == model.norm.bias.dtype == np.float32


def test_a_gradient_that_cancels_to_zero_is_rounding_beside_the_others() -> None:
    """That of a bias before a batch norm, in single precision."""
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
    verdict = gradcheck(model, [X.astype("f4")])
    assert verdict.ok, verdict
    differ = re.fullmatch(
        ".*in float32 gradients differ by at most (.*) of their size", verdict.precision
    )
    assert differ is not None and float(differ[1]) < 1e-5


def test_keyword_arguments_of_a_module() -> None:
    model = Scale()
    model.weight.requires_grad_(False)
    verdict = gradcheck(functools.partial(model, twice=True), [X])
    assert verdict.ok and verdict.name == "Scale" and len(verdict.findings) == 3


def test_a_module_has_its_own_parameters_again_also_after_an_error() -> None:
    model = Scale()
    own = dict(model.named_parameters())
    given = {name: mg.zeros(*p.shape) for name, p in own.items()}
    with pytest.raises(KeyError), holding(model, given):
        assert model.again.weight is model.inner.weight is given["inner.weight"]
        raise KeyError
    assert all(p is own[name] for name, p in model.named_parameters())
    assert list(own) == [name for name, _ in model.named_parameters()]


def test_a_class_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"Scale is a class of modules, wants one .*: Scale\("):
        gradcheck(Scale, [X])


def test_a_random_module_cannot_be_checked() -> None:
    verdict = gradcheck(nn.Sequential(nn.Linear(3, 8), nn.Dropout()), [X])
    assert verdict.unusable and "is it random?" in str(verdict)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
@pytest.mark.parametrize("affine", [True, False])
def test_running_statistics_stay_what_they_were(dtype: Any, affine: bool) -> None:
    """Although every call changes them: a count of calls, and numbers of the type of the check."""
    norm = nn.BatchNorm1d(3, affine=affine).to(dtype)
    module = nn.Sequential(nn.Linear(3, 3).to(dtype), norm)
    before = {name: x.numpy().copy() for name, x in norm.named_buffers()}
    assert "num_batches_tracked" in before
    assert gradcheck(module, [X])
    for name, x in norm.named_buffers():
        np.testing.assert_array_equal(x.numpy(), before[name])
