"""CUDA kernels on CuPy's arrays: on a GPU where there is one, else on the stand-in's.

On a GPU the tests of every implementation reach them too, with all layouts and numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from cuda_wide_calls import one_multiprocessor
from kernel_calls import changed_arrays, check_equal, drawn, results, strided
from on_gpu import Twins, runner

import minigrad as mg
from minigrad import nn
from minigrad_kernels import BACKENDS, KERNELS, Arguments, Implementation, Kernel

pytestmark = pytest.mark.usefixtures("cuda")


def on_emulator(k: Kernel, i: Implementation) -> bool:
    """Whether the emulator can stand for the GPU: its implementation is built by the same code."""
    return any(o.backend == "cuda-on-cpu" and o.build is i.build for o in k.implementations)


def usable(k: Kernel, i: Implementation) -> bool:
    """Whether it runs on the GPU that is there, or on the stand-in for one."""
    return i.reason is None if BACKENDS["cuda"].available else on_emulator(k, i)


IMPLEMENTATIONS = [
    pytest.param(k, i, id=f"{k.name}-{i.name}")
    for k in KERNELS.values()
    for i in k.implementations
    if i.backend == "cuda" and usable(k, i)
]


def accepted(i: Implementation, call: Arguments) -> bool:
    return i.accepts is None or i.accepts(*call.args, **call.options)


@pytest.mark.parametrize(("k", "i"), IMPLEMENTATIONS)
def test_kernel_on_the_device(k: Kernel, i: Implementation) -> None:
    """The same numbers as the definition's, in new arrays and in given ones, of any strides."""
    run = runner(i)
    calls = [call for call in drawn(k) if accepted(i, call)]
    assert calls, "accepts none of the samples"
    odd = [changed_arrays(call, strided) for call in calls[:3]]
    for call in [*calls, *(call for call in odd if accepted(i, call))]:
        wanted = k.reference(*call.args, **call.options)
        check_equal(k, call, run(*call.args, **call.options), wanted, eps=i.eps)
        several = isinstance(wanted, (tuple, list))
        room = [strided(np.full_like(y, 77, order="C")) for y in results(wanted)]
        got = run(*call.args, **call.options, out=tuple(room) if several else room[0])
        assert all(y is o for y, o in zip(got if several else (got,), room, strict=True))
        check_equal(k, call, got, wanted, eps=i.eps)


BY_WARPGROUPS = [
    pytest.param(i, dtype, id=f"{i.name}-{dtype}")
    for i in KERNELS["matmul"].implementations
    if i.label.startswith("cuda:6-") and usable(KERNELS["matmul"], i)
    for dtype in ("f4", "f2")
    if dtype == "f4" or "bfloat16" not in i.name
]


@pytest.mark.parametrize(("i", "dtype"), BY_WARPGROUPS)
def test_large_tiles_of_warpgroups(i: Implementation, dtype: str) -> None:
    """In all layouts, with more terms than stages hold: samples are too small for these."""
    k, rng = KERNELS["matmul"], np.random.default_rng(5)
    for rows, columns, depth in ((136, 264, 344), (133, 261, 343)):
        a, b = (rng.normal(size=s).astype(dtype) for s in ((rows, depth), (depth, columns)))
        for x in (a, np.asfortranarray(a)):
            for y in (b, np.asfortranarray(b)):
                with one_multiprocessor():
                    got = runner(i)(x, y)
                check_equal(k, Arguments((x, y)), got, k.reference(x, y), eps=i.eps)


# Whole networks


def convolutional() -> nn.Module:
    mg.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.LayerNorm(8),
        nn.Dropout(0.3),
        nn.Linear(8, 3),
    )


def trained(device: str) -> tuple[list[float], list[np.ndarray]]:
    """The losses of some steps, and the parameters after them."""
    rng = np.random.default_rng(8)
    x = mg.tensor(rng.normal(size=(5, 1, 6, 6)).astype("f4"), device=device)
    target = mg.tensor(rng.integers(0, 3, 5), device=device)
    model = convolutional().to(device)
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    mg.manual_seed(4)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.detach().cpu().numpy() for p in model.parameters()]


def test_training_by_cuda_kernels_is_the_same() -> None:
    losses, parameters = trained("cuda")
    wanted, others = trained("cpu")
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)
    for p, q in zip(parameters, others, strict=True):
        np.testing.assert_allclose(p, q, rtol=0, atol=1e-4 * np.abs(q).max())


def test_cuda_kernels_are_what_runs() -> None:
    x = mg.zeros(2, 3, device="cuda").data
    assert KERNELS["softmax"].explain(x, axis=1).startswith("softmax: cuda\n")


# The twins are tested too


def test_twins_share_memory_as_their_originals_do() -> None:
    memory = np.arange(12.0)
    x, y, other = memory[2:8].reshape(2, 3), memory[10:4:-2], np.ones(3, np.float32)
    twins = Twins([x, [y, other]])
    there = twins.of([x, y])
    there[0][1, 2] = 100.0  # memory[7]
    there[1][0] = 200.0  # memory[10]
    there[1][2] = 300.0  # memory[6]
    twins.bring_back()
    np.testing.assert_array_equal(memory[[6, 7, 10, 0]], [300, 100, 200, 0])
    assert twins.home(there[0]) is x and twins.of(3) == 3
    assert twins.of(other).data.ptr % 4 == 0


def test_a_kernel_that_misbehaves_on_the_device_is_caught(cuda: Any) -> None:
    k = KERNELS["relu"]
    (right,) = [i for i in k.implementations if i.label == "cuda"]

    def changes_its_input(x: Any, out: Any = None) -> Any:
        x += 1
        return right.run(x, out=out)

    wrong = dataclasses.replace(right, build=lambda: changes_its_input)
    x = np.ones(3)
    runner(wrong)(x)
    np.testing.assert_array_equal(x, 2)
    x.flags.writeable = False
    with pytest.raises(AssertionError, match="a read-only input was changed"):
        runner(wrong)(x)
    with pytest.raises(ValueError, match="out is read-only"):
        runner(right)(np.ones(3), out=x)
    left = dataclasses.replace(right, build=lambda: lambda x, out=None: x.get())
    with pytest.raises(AssertionError, match="left the device"):
        runner(left)(np.ones(3))
