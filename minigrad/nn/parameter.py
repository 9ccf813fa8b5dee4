"""Parameter: a tensor that is trained."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor that a module trains: an attribute of this type is found by `Module.parameters`.

    Args:
        data: an array (whose memory is shared), a tensor, a number, or nested lists of numbers.
        requires_grad: False freezes it.

    Raises:
        TypeError: if it shall be trained and does not hold real floating-point numbers.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, None, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
