"""Every operation on tensors, one file per family; forward and backward stand together."""

from .elementwise import add as add, mul as mul, sub as sub
from .registry import OPERATIONS as OPERATIONS, differentiable as differentiable
from .dropout import dropout as dropout, seeded_dropout as seeded_dropout
