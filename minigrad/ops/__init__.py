"""Every operation on tensors, one file per family; forward and backward stand together."""

from .elementwise import add as add, mul as mul, sub as sub
from .registry import OPERATIONS as OPERATIONS, differentiable as differentiable
from .dropout import dropout as dropout, seeded_dropout as seeded_dropout
from .shape import (
    broadcast_to as broadcast_to,
    expand as expand,
    flatten as flatten,
    flip as flip,
    movedim as movedim,
    permute as permute,
    reshape as reshape,
    roll as roll,
    squeeze as squeeze,
    t as t,
    transpose as transpose,
    unsqueeze as unsqueeze,
    view as view,
)
from .index import (
    getitem as getitem,
    getitem_adjoint as getitem_adjoint,
    setitem as setitem,
)
from .linalg import matmul as matmul
