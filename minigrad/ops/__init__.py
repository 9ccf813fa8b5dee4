"""Every operation on tensors, one file per family; forward and backward stand together."""

from .activation import (
    elu as elu,
    elu_gradient as elu_gradient,
    gelu as gelu,
    gelu_gradient as gelu_gradient,
    leaky_relu as leaky_relu,
    leaky_relu_gradient as leaky_relu_gradient,
    relu as relu,
    relu_gradient as relu_gradient,
    sigmoid as sigmoid,
    sigmoid_gradient as sigmoid_gradient,
    silu as silu,
    silu_gradient as silu_gradient,
    softplus as softplus,
    softplus_gradient as softplus_gradient,
    tanh as tanh,
    tanh_gradient as tanh_gradient,
)
from .batch_norm import (
    batch_norm as batch_norm,
    batch_norm_input_gradient as batch_norm_input_gradient,
    batch_norm_weight_gradient as batch_norm_weight_gradient,
)
from .bounds import clamp as clamp, clip as clip, lerp as lerp
from .cast import to as to
from .classification import cross_entropy as cross_entropy, nll_loss as nll_loss
from .compare import (
    allclose as allclose,
    bitwise_and as bitwise_and,
    bitwise_not as bitwise_not,
    bitwise_or as bitwise_or,
    bitwise_xor as bitwise_xor,
    eq as eq,
    equal as equal,
    ge as ge,
    gt as gt,
    isclose as isclose,
    isfinite as isfinite,
    isinf as isinf,
    isnan as isnan,
    le as le,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    lt as lt,
    ne as ne,
)
from .contract import einsum as einsum, trace as trace
from .conv import (
    conv1d as conv1d,
    conv2d as conv2d,
    conv2d_input_gradient as conv2d_input_gradient,
    conv2d_weight_gradient as conv2d_weight_gradient,
    conv_transpose2d as conv_transpose2d,
)
from .copying import clone as clone, contiguous as contiguous, copy as copy, fill as fill
from .dropout import dropout as dropout, seeded_dropout as seeded_dropout
from .elementwise import (
    add as add,
    atan2 as atan2,
    div as div,
    floor_divide as floor_divide,
    maximum as maximum,
    minimum as minimum,
    mul as mul,
    remainder as remainder,
    sub as sub,
    where as where,
)
from .embedding import embedding as embedding, embedding_gradient as embedding_gradient
from .extrema import (
    amax as amax,
    amin as amin,
    argmax as argmax,
    argmin as argmin,
    max as max,
    min as min,
)
from .index import (
    getitem as getitem,
    getitem_adjoint as getitem_adjoint,
    setitem as setitem,
)
from .join import (
    cat as cat,
    chunk as chunk,
    pad as pad,
    repeat as repeat,
    split as split,
    stack as stack,
    tile as tile,
    unbind as unbind,
)
from .layer_norm import (
    layer_norm as layer_norm,
    layer_norm_input_gradient as layer_norm_input_gradient,
    layer_norm_weight_gradient as layer_norm_weight_gradient,
)
from .linalg import (
    bmm as bmm,
    dot as dot,
    matmul as matmul,
    mm as mm,
    mv as mv,
    outer as outer,
)
from .linear import linear as linear, linear_relu as linear_relu
from .loss import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    huber_loss as huber_loss,
    kl_div as kl_div,
    l1_loss as l1_loss,
    mse_loss as mse_loss,
    smooth_l1_loss as smooth_l1_loss,
)
from .mean_pool import (
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_avg_pool2d_gradient as adaptive_avg_pool2d_gradient,
    avg_pool2d as avg_pool2d,
    avg_pool2d_gradient as avg_pool2d_gradient,
)
from .pick import (
    diagonal as diagonal,
    diagonal_adjoint as diagonal_adjoint,
    gather as gather,
    index_select as index_select,
    masked_fill as masked_fill,
    masked_select as masked_select,
    scatter_add as scatter_add,
    take_along_dim as take_along_dim,
    tril as tril,
    triu as triu,
)
from .pool import (
    max_pool2d as max_pool2d,
    max_pool2d_gather as max_pool2d_gather,
    max_pool2d_gradient as max_pool2d_gradient,
)
from .power import pow as pow
from .reduce import all as all, any as any, mean as mean, spread as spread, sum as sum
from .registry import OPERATIONS as OPERATIONS, differentiable as differentiable
from .scan import (
    cumprod as cumprod,
    cumsum as cumsum,
    prod as prod,
    recurrence as recurrence,
    shift as shift,
)
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
from .softmax import (
    log_softmax as log_softmax,
    log_softmax_gradient as log_softmax_gradient,
    softmax as softmax,
    softmax_gradient as softmax_gradient,
)
from .sort import argsort as argsort, sort as sort, topk as topk
from .statistics import logsumexp as logsumexp, norm as norm, std as std, var as var
from .unary import (
    abs as abs,
    acos as acos,
    asin as asin,
    atan as atan,
    ceil as ceil,
    cos as cos,
    cosh as cosh,
    erf as erf,
    exp as exp,
    expm1 as expm1,
    floor as floor,
    log as log,
    log1p as log1p,
    log2 as log2,
    log10 as log10,
    neg as neg,
    reciprocal as reciprocal,
    round as round,
    rsqrt as rsqrt,
    sign as sign,
    sin as sin,
    sinh as sinh,
    sqrt as sqrt,
    square as square,
    tan as tan,
    trunc as trunc,
)
