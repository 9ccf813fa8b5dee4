"""What is done to the gradients of all parameters at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

import minigrad_kernels as kernels
from minigrad_kernels.arrays import array_module
from minigrad_kernels.layout import flat

from .. import memory
from ..flat import gradient_runs
from ..inplace import is_writable
from ..tensor import Tensor, wrap

Runs = list[tuple[Any, list[tuple[int, int]]]]
"""Arrays of gradients, and where in each a parameter's begins and ends: see `gradient_runs`."""


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by one factor, so that the norm of all their numbers is at most max_norm.

    The factor is max_norm / (norm + 1e-6), and not above 1. (Pascanu et al., "On the difficulty of
    training recurrent neural networks", ICML 2013.) Parameters without gradients are left out. If
    all gradients are on one GPU, the Euclidean norm is not read from there, so that nothing waits,
    and it can be captured in a graph.

    Args:
        parameters: one tensor or several.
        max_norm: the largest norm that is left as it is.
        norm_type: p of the p-norm; infinity is the largest absolute value.
        error_if_nonfinite: refuse a norm that is infinite or NaN.

    Returns:
        the norm before, a single number.

    Raises:
        TypeError: if the parameters are no tensors, or an option is not a number.
        ValueError: if max_norm is negative or NaN, norm_type not above 0, or a gradient is
            read-only. RuntimeError: if the norm is not finite, and that was to be an error. Nothing
            is changed then.
    """
    name = "clip_grad_norm_"
    params = _with_gradients(name, parameters)
    limit, p = _number(name, "max_norm", max_norm), _number(name, "norm_type", norm_type)
    if p <= 0:
        raise ValueError(f"{name}: norm_type must be above 0, got {norm_type}")
    if not params:
        return wrap(np.zeros((), np.float32))
    runs = gradient_runs(params)
    if p == 2 and not error_if_nonfinite and _on_one_gpu(runs):
        return _clipped_on_gpu(runs, limit, name)
    norm = _norm(runs, p)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"{name}: the norm of order {p:g} of the gradients is {norm}")
    factor = limit / (norm + 1e-6)
    if not factor >= 1:  # also if it is NaN
        for array, _ in runs:
            kernels.scale(array, factor=factor, out=array)
            memory.changed(array, name)
    g: Any = params[0].grad
    return wrap(array_module(g.data).asarray(norm, g.dtype))


def _on_one_gpu(runs: Runs) -> bool:
    first = runs[0][0]
    return not isinstance(first, np.ndarray) and all(
        array.__class__ is first.__class__ and array.device.id == first.device.id
        for array, _ in runs
    )


def _clipped_on_gpu(runs: Runs, limit: float, name: str) -> Tensor:
    """Scale the gradients by a factor that is computed, and stays, on the GPU."""
    norms = [kernels.norms(_flat(array), np.asarray(spans)) for array, spans in runs]
    xp = array_module(norms[0])
    if len(norms) > 1:
        dtype = np.result_type(*(n.dtype for n in norms))
        norms = [xp.concatenate([n.astype(dtype, copy=False) for n in norms])]
    total, factor = kernels.clip_factor(norms[0], limit=limit)
    for array, _ in runs:
        kernels.scale_by(array, factor, out=array)
        memory.changed(array, name)
    return wrap(total.astype(runs[0][0].dtype, copy=False))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring all numbers of all gradients into [-clip_value, clip_value].

    Raises:
        TypeError: if the parameters are no tensors, or clip_value is not a number.
        ValueError: if clip_value is negative or NaN, or a gradient is read-only. Nothing is changed
            then.
    """
    name = "clip_grad_value_"
    params = _with_gradients(name, parameters)
    limit = _number(name, "clip_value", clip_value)
    for array, _ in gradient_runs(params):
        array_module(array).clip(array, -limit, limit, out=array)
        memory.changed(array, name)


def _with_gradients(name: str, parameters: Any) -> list[Tensor]:
    """The parameters that have gradients, all of which can be changed."""
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for i, x in enumerate(given):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: parameter {i} is a {type(x).__name__}, not a tensor")
        if x.grad is not None and not is_writable(x.grad):
            raise ValueError(f"{name}: the gradient of parameter {i} is read-only")
    return [x for x in given if x.grad is not None]


def _number(name: str, what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: {what} must be a number, got {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"{name}: {what} must not be negative, got {value}")
    return float(value)


def _flat(array: Any) -> Any:
    """All numbers, in any order that is the same for the same array."""
    numbers = flat(array)
    return array.reshape(-1) if numbers is None else numbers


def _norm(runs: Runs, p: float) -> float:
    """The p-norm of all numbers, the same to the last bit however they are spread over arrays."""
    parts: list[float] = []
    for array, spans in runs:
        numbers = _flat(array)
        if p == 2:
            parts += (n * n for n in kernels.norms(numbers, np.asarray(spans)).tolist())
        elif math.isinf(p):
            parts += [float(abs(numbers[a:b]).max()) for a, b in spans if b > a]
        else:
            parts += [float((abs(numbers[a:b]).astype("f8") ** p).sum()) for a, b in spans]
    if math.isinf(p):
        return float(np.max(parts, initial=0.0))  # NaN stays
    total = 0.0
    for part in parts:
        total += part
    return total ** (1 / p) if p != 2 else math.sqrt(total)
