"""minigrad: tensors and automatic differentiation written from scratch."""

__version__ = "0.1.0"

from .autograd import (
    backward as backward,
    detect_anomaly as detect_anomaly,
    enable_grad as enable_grad,
    grad as grad,
    is_grad_enabled as is_grad_enabled,
    no_grad as no_grad,
    observe as observe,
    set_grad_enabled as set_grad_enabled,
)
from .graph import OUTPUT as OUTPUT, Observer as Observer
from .tensor import (
    Tensor as Tensor,
    as_tensor as as_tensor,
    from_dlpack as from_dlpack,
    from_numpy as from_numpy,
    record as record,
    tensor as tensor,
)
from . import random as random
from .random import (
    Generator as Generator,
    bernoulli as bernoulli,
    default_generator as default_generator,
    get_rng_state as get_rng_state,
    initial_seed as initial_seed,
    manual_seed as manual_seed,
    normal as normal,
    rand as rand,
    rand_like as rand_like,
    randint as randint,
    randn as randn,
    randn_like as randn_like,
    randperm as randperm,
    seed as seed,
    set_rng_state as set_rng_state,
)
