"""Array functions: NumPy or CuPy arrays in, arrays out. Knows nothing of tensors or gradients."""

from . import conv_implementations as conv_implementations
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
from .arrays import array_module as array_module, is_array as is_array
from .backends import BACKENDS as BACKENDS, Backend as Backend
from .clipping import clip_factor as clip_factor, scale_by as scale_by
from .conv import (
    conv2d as conv2d,
    conv2d_input_gradient as conv2d_input_gradient,
    conv2d_weight_gradient as conv2d_weight_gradient,
)
from .dropout import dropout as dropout
from .embedding import embedding as embedding, embedding_gradient as embedding_gradient
from .indices import class_shares as class_shares, index_bounds as index_bounds
from .layer_norm import (
    layer_norm as layer_norm,
    layer_norm_gradients as layer_norm_gradients,
    layer_norm_input_gradient as layer_norm_input_gradient,
    layer_norm_weight_gradient as layer_norm_weight_gradient,
)
from .linear import linear as linear, linear_gradients as linear_gradients
from .loss import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    cross_entropy as cross_entropy,
    cross_entropy_gradient as cross_entropy_gradient,
    mse_loss as mse_loss,
)
from .matmul import matmul as matmul
from .mean_pool import (
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_avg_pool2d_gradient as adaptive_avg_pool2d_gradient,
    avg_pool2d as avg_pool2d,
    avg_pool2d_gradient as avg_pool2d_gradient,
)
from .norm import (
    batch_norm as batch_norm,
    batch_norm_gradients as batch_norm_gradients,
    batch_norm_input_gradient as batch_norm_input_gradient,
    batch_norm_weight_gradient as batch_norm_weight_gradient,
)
from .optimizer import (
    adam_step as adam_step,
    norms as norms,
    scale as scale,
    sgd_step as sgd_step,
)
from .pool import (
    indices_of as indices_of,
    max_pool2d as max_pool2d,
    max_pool2d_gather as max_pool2d_gather,
    max_pool2d_gradient as max_pool2d_gradient,
    max_pool2d_positions as max_pool2d_positions,
    max_pool2d_positions_gradient as max_pool2d_positions_gradient,
)
from .random import (
    random_bits as random_bits,
    random_normal as random_normal,
    random_uniform as random_uniform,
)
from .reduce import sums as sums
from .registry import (
    KERNELS as KERNELS,
    Arguments as Arguments,
    Cost as Cost,
    Implementation as Implementation,
    Kernel as Kernel,
    arguments as arguments,
    kernel as kernel,
    use as use,
)
from .softmax import (
    log_softmax as log_softmax,
    log_softmax_gradient as log_softmax_gradient,
    softmax as softmax,
    softmax_gradient as softmax_gradient,
)
from .threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads
