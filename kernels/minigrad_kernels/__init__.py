"""Array functions: NumPy or CuPy arrays in, arrays out. Knows nothing of tensors or gradients."""

from .arrays import array_module as array_module, is_array as is_array
from .backends import BACKENDS as BACKENDS, Backend as Backend
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
from .dropout import dropout as dropout
from .random import (
    random_bits as random_bits,
    random_normal as random_normal,
    random_uniform as random_uniform,
)
from .matmul import matmul as matmul
