"""The operations of networks as functions, under the names of torch.nn.functional."""

from ..ops import (
    dropout as dropout,
    elu as elu,
    gelu as gelu,
    leaky_relu as leaky_relu,
    linear as linear,
    log_softmax as log_softmax,
    pad as pad,
    relu as relu,
    sigmoid as sigmoid,
    silu as silu,
    softmax as softmax,
    softplus as softplus,
    tanh as tanh,
)
