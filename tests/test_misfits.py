"""Kernels given arrays from elsewhere, or whose shapes do not fit.

Compiled code checks no index, so somebody must.
"""

import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import use
from minigrad_kernels.layout import plain
from minigrad_kernels.registry import KERNELS, Kernel

COMPILED = [k for k in KERNELS.values() if any(i.backend == "numba" for i in k.implementations)]

CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "fewer": lambda a: a[:-1],
    "narrower": lambda a: a[..., :-1],
    "twice": lambda a: np.concatenate([a, a]),
    "one more dimension": lambda a: a[None],
    "one dimension less": lambda a: a[0],
    "empty": lambda a: a[:0],
}


def misfits(k: Kernel) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Calls with one array changed, of some samples."""
    for sample in islice(k.samples(np.random.default_rng(0)), 4):
        for i, a in enumerate(sample.args):
            if isinstance(a, np.ndarray) and a.ndim and len(a):
                for change in CHANGES.values():
                    yield [*sample.args[:i], change(a), *sample.args[i + 1 :]], sample.options


def outcome(k: Kernel, args: list[Any], options: dict[str, Any], backend: str) -> Any:
    """The results, or the error."""
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    with use(backend), np.errstate(all="ignore"):
        try:
            results = k(*args, **options)
        except (ValueError, IndexError, TypeError) as error:
            return error
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize("k", COMPILED, ids=lambda k: k.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of nothing
def test_what_does_not_fit_is_refused_or_computed_as_defined(k):
    for args, options in misfits(k):
        defined, found = (outcome(k, args, options, b) for b in ("reference", "numba"))
        shapes = [getattr(a, "shape", a) for a in args], options
        if isinstance(found, Exception):
            continue
        assert not isinstance(defined, Exception), (shapes, defined)
        for a, b in zip(defined, found, strict=True):
            if a is not None:
                assert np.shape(a) == np.shape(b), shapes
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=str(shapes))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_arrays_from_pickles_are_computed_as_any_others(dtype):
    """Their types are equal to NumPy's own, but other objects."""
    x = np.ones((2, 3), dtype)
    y = pickle.loads(pickle.dumps(x))
    assert y.dtype is not x.dtype
    assert plain(y) and plain(x, y) and plain(y, x)
    assert not plain(y, x.astype("f2")) and not plain(y, x.astype(x.dtype.newbyteorder()))
