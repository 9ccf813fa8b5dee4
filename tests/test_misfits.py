"""Kernels given arrays from elsewhere, or whose shapes do not fit.

Compiled code checks no index, so somebody must: for Numba, and for CUDA, on the emulator.
"""

import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS, use
from minigrad_kernels.layout import plain
from minigrad_kernels.registry import KERNELS, Implementation, Kernel

COMPILED = [
    pytest.param(k, i, id=f"{k.name}-{i.label}")
    for k in KERNELS.values()
    for i in k.implementations
    if i.backend in ("numba", "cuda-on-cpu") and BACKENDS[i.backend].available
]

CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "fewer": lambda a: a[:-1],
    "narrower": lambda a: a[..., :-1],
    "twice": lambda a: np.concatenate([a, a]),
    "one more dimension": lambda a: a[None],
    "one dimension less": lambda a: a[0],
    "empty": lambda a: a[:0],
    "one column": lambda a: a[..., :1],
    "transposed": lambda a: a.T,
}


def misfits(k: Kernel) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Calls with one array changed, of some samples."""
    for sample in islice(k.samples(np.random.default_rng(0)), 4):
        for i, a in enumerate(sample.args):
            if isinstance(a, np.ndarray) and a.ndim and len(a):
                for change in CHANGES.values():
                    yield [*sample.args[:i], change(a), *sample.args[i + 1 :]], sample.options


def outcome(run: Callable[..., Any], args: list[Any], options: dict[str, Any]) -> Any:
    """The results, or the error."""
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    with np.errstate(all="ignore"):
        try:
            results = run(*args, **options)
        except (ValueError, IndexError, TypeError) as error:
            return error
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize(("k", "i"), COMPILED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of nothing
def test_what_does_not_fit_is_refused_or_computed_as_defined(k: Kernel, i: Implementation) -> None:
    """But for rounding errors of the largest number, also of what rounds its inputs coarsely."""
    for args, options in misfits(k):
        if i.accepts is not None and not i.accepts(*args, **options):
            continue
        defined, found = outcome(k.reference, args, options), outcome(i.run, args, options)
        shapes = [getattr(a, "shape", a) for a in args], options
        if isinstance(found, Exception):
            continue
        assert not isinstance(defined, Exception), (shapes, defined)
        for a, b in zip(defined, found, strict=True):
            if a is not None:
                assert np.shape(a) == np.shape(b), shapes
                bound = max(1e-4, 8 * i.eps) * max(1.0, float(np.abs(a).max(initial=0)))
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=bound, err_msg=str(shapes))


@pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)
def test_single_numbers_of_numpy_are_arrays_without_axes() -> None:
    """What an index or a sum gives is no array for NumPy; kernels take it for one."""
    x, target = np.ones((1, 3)), np.zeros(1, "i8")
    one = np.ones(1)
    for k, args, options in (
        ("cross_entropy_gradient", (one[0], x, target, one, one, one), {}),
        ("binary_cross_entropy_with_logits", (x, x, one[0]), {}),
        ("softplus", (one[0],), {"beta": 1.0, "threshold": 20.0}),
        ("scale", (one[0],), {"factor": 2.0}),
    ):
        wanted = outcome(KERNELS[k].reference, list(args), options)
        with use("cuda-on-cpu"):
            np.testing.assert_allclose(outcome(KERNELS[k], list(args), options), wanted)


def test_spans_that_are_no_pairs() -> None:
    x = np.ones(7, "f4")
    for i in KERNELS["norms"].implementations:
        if i.backend != "cuda" and BACKENDS[i.backend].available:
            for spans in (np.array([[0], [7]]), np.array([[0, 3, 7]])):
                with pytest.raises(ValueError):
                    i.run(x, spans)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_arrays_from_pickles_are_computed_as_any_others(dtype):
    """Their types are equal to NumPy's own, but other objects."""
    x = np.ones((2, 3), dtype)
    y = pickle.loads(pickle.dumps(x))
    assert y.dtype is not x.dtype
    assert plain(y) and plain(x, y) and plain(y, x)
    assert not plain(y, x.astype("f2")) and not plain(y, x.astype(x.dtype.newbyteorder()))
