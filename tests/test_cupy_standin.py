"""The stand-in for CuPy must refuse what CuPy refuses: else it would find no mistakes."""

from __future__ import annotations

from typing import Any

import cupy_standin
import numpy as np
import pytest

MISTAKES = {
    "implicit conversion": (TypeError, "Implicit conversion", lambda xp, x: np.asarray(x)),
    "mixed, right": (TypeError, "Unsupported type", lambda xp, x: x + np.ones(3)),
    "mixed, left": (TypeError, "Unsupported type", lambda xp, x: np.ones(3) * x),
    "mixed in place": (TypeError, "Unsupported type", lambda xp, x: np.add(1, x, out=np.ones(3))),
    "mixed in a function": (
        TypeError,
        "Unsupported type",
        lambda xp, x: np.where(x > 0, x, np.zeros(3)),
    ),
    "mixed in a list": (TypeError, "Unsupported type", lambda xp, x: xp.stack([x, np.ones(3)])),
    "written": (ValueError, "cannot be used for fill", lambda xp, x: x.fill(np.ones(3))),
    "a list": (TypeError, "Unsupported type", lambda xp, x: xp.sum([1, 2])),
    "ufunc.at": (TypeError, "NotImplemented", lambda xp, x: np.add.at(x, 0, 1)),
    "add.at of int64": (TypeError, "only supports", lambda xp, x: xp.add.at(xp.arange(3), 0, 1)),
    "multiply.at": (NotImplementedError, "multiply.at", lambda xp, x: xp.multiply.at(x, 0, 1)),
    "maximum.reduceat": (
        NotImplementedError,
        "maximum.reduceat",
        lambda xp, x: xp.maximum.reduceat(x, xp.arange(2)),
    ),
    "initial": (TypeError, "initial", lambda xp, x: x.max(initial=0)),
    "where": (TypeError, "where", lambda xp, x: xp.sum(x, where=x > 0)),
    "a missing function": (TypeError, "no implementation", lambda xp, x: np.insert(x, 0, 1)),
    "a missing name": (AttributeError, "errstate", lambda xp, x: xp.errstate),
    "an index": (cupy_standin.WouldGoUnnoticed, "wraps", lambda xp, x: x[[0, 3]]),
    "take": (cupy_standin.WouldGoUnnoticed, "wraps", lambda xp, x: x.take(xp.asarray([3]))),
    "repeated": (
        cupy_standin.WouldGoUnnoticed,
        "several times",
        lambda xp, x: x.__setitem__([0, 0], x[:2]),
    ),
    "out of another shape": (ValueError, "mismatched", lambda xp, x: np.exp(x[:1], out=x)),
    "operator.index": (TypeError, "integer", lambda xp, x: range(xp.arange(3)[2])),
    "writeable": (AttributeError, "writeable", lambda xp, x: x.flags.writeable),
    "objects": (TypeError, "Unsupported dtype", lambda xp, x: xp.asarray([None])),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_found(name: str, standin: Any) -> None:
    error, message, mistake = MISTAKES[name]
    with pytest.raises(error, match=message):
        mistake(standin, standin.asarray(np.arange(3.0)))


def test_views_share_memory_and_know_their_base(standin: Any) -> None:
    x = standin.asarray(np.zeros((2, 3)))
    row, element = x[1], x.T[0, 1]
    row += 1
    element[...] = 5
    np.testing.assert_array_equal(x.get(), [[0, 0, 0], [5, 1, 1]])
    assert row.base is element.base is x.reshape(-1).base is x
    assert standin.asarray(x) is x
    assert x.copy().base is None
    assert type(x.sum()) is type(x[0, 0]) is type(x)
