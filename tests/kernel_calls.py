"""The calls that kernels are tried on, and how their results are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad_kernels import Arguments, Kernel


def drawn(k: Kernel) -> list[Arguments]:
    """The samples of a kernel. Where NumPy made scalars of 0-dimensional arrays, arrays again."""
    return [
        Arguments(
            tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in c.args), c.options
        )
        for c in k.samples(np.random.default_rng(7))
    ]


def results(value: Any) -> tuple[np.ndarray, ...]:
    """One result or several, as a tuple of arrays."""
    many = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(np.asarray(v) for v in many)


def arrays_of(call: Arguments) -> list[np.ndarray]:
    """The arrays among the arguments, also those inside lists."""
    found = []
    for a in (*call.args, *call.options.values()):
        found += [x for x in (a if isinstance(a, (list, tuple)) else [a]) if is_array(x)]
    return found


def is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray)


def changed_arrays(call: Arguments, change: Any) -> Arguments:
    """The same call with `change` done to every array."""

    def one(a: Any) -> Any:
        if is_array(a):
            return change(a)
        return type(a)(map(one, a)) if type(a) in (list, tuple) else a

    return Arguments(tuple(map(one, call.args)), {k: one(v) for k, v in call.options.items()})


def strided(x: np.ndarray) -> np.ndarray:
    """The same numbers with gaps between them, the first axis running backwards."""
    if not x.ndim:
        return x
    room = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    view = room[..., ::2][::-1]
    view[...] = x
    return view


def low_precision(call: Arguments) -> float:
    """The unit roundoff of the least precise real array in the call."""
    return max([np.finfo(a.dtype).eps for a in arrays_of(call) if a.dtype.kind == "f"], default=0.0)


def check_equal(
    k: Kernel,
    call: Arguments,
    got: Any,
    wanted: Any,
    *,
    least: float = 0.0,
    non_finite: bool = False,
    eps: float = 0.0,
) -> None:
    """As equal as rounding allows: `tolerance` units in the last place of the largest entry, times
    the root of the longest sum (errors of sums grow with their terms, not with their result).
    `least` stands for the largest entry where that is smaller: where terms cancel. `non_finite`:
    what is not finite is so in both, but need not be the same, as infinity times a small number is
    infinite, and NaN where the number was rounded to 0. `eps` is that of an implementation that
    computes in a coarser type."""
    got, wanted = results(got), results(wanted)
    assert len(got) == len(wanted)
    longest = max([max(a.shape, default=1) for a in arrays_of(call)], default=1)
    for y, z in zip(got, wanted, strict=True):
        assert y.shape == z.shape
        assert y.dtype == z.dtype
        if y.dtype.kind not in "fc":
            np.testing.assert_array_equal(y, z)
            continue
        size = np.abs(np.nan_to_num(z, posinf=0, neginf=0)).max(initial=least)
        coarsest = max(float(np.finfo(z.dtype).eps), low_precision(call), eps)
        bound = k.tolerance * coarsest * float(np.sqrt(longest)) * float(size)
        if non_finite:
            np.testing.assert_array_equal(np.isfinite(y), np.isfinite(z))
            y, z = y[np.isfinite(z)], z[np.isfinite(z)]
        np.testing.assert_allclose(y, z, rtol=0, atol=bound, equal_nan=True)
