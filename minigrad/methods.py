"""The methods of Tensor that are operations: each is the function of that name in `minigrad.ops`.

Written out so that readers, editors and type checkers see them; a test holds them to the functions.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import dtypes

if TYPE_CHECKING:  # at run time `minigrad.tensor`, which needs this module first, sets these two
    from . import ops
    from .inplace import inplace
    from .tensor import Tensor, TensorLike


class TensorMethods:
    """Operators and operations, as methods. `Tensor` inherits from it."""

    __slots__ = ()

    # Arithmetic operators

    def __add__(self: Any, other: TensorLike) -> Tensor:
        return ops.add(self, other)

    def __radd__(self: Any, other: TensorLike) -> Tensor:
        return ops.add(other, self)

    def __sub__(self: Any, other: TensorLike) -> Tensor:
        return ops.sub(self, other)

    def __rsub__(self: Any, other: TensorLike) -> Tensor:
        return ops.sub(other, self)

    def __mul__(self: Any, other: TensorLike) -> Tensor:
        return ops.mul(self, other)

    def __rmul__(self: Any, other: TensorLike) -> Tensor:
        return ops.mul(other, self)

    def __truediv__(self: Any, other: TensorLike) -> Tensor:
        return ops.div(self, other)

    def __rtruediv__(self: Any, other: TensorLike) -> Tensor:
        return ops.div(other, self)

    def __pow__(self: Any, other: TensorLike) -> Tensor:
        return ops.pow(self, other)

    def __rpow__(self: Any, other: TensorLike) -> Tensor:
        return ops.pow(other, self)

    def __matmul__(self: Any, other: TensorLike) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self: Any, other: TensorLike) -> Tensor:
        return ops.matmul(other, self)

    def __floordiv__(self: Any, other: TensorLike) -> Tensor:
        return ops.floor_divide(self, other)

    def __rfloordiv__(self: Any, other: TensorLike) -> Tensor:
        return ops.floor_divide(other, self)

    def __mod__(self: Any, other: TensorLike) -> Tensor:
        return ops.remainder(self, other)

    def __rmod__(self: Any, other: TensorLike) -> Tensor:
        return ops.remainder(other, self)

    def __neg__(self: Any) -> Tensor:
        return ops.neg(self)

    def __pos__(self: Any) -> Tensor:
        return self

    def __abs__(self: Any) -> Tensor:
        return ops.abs(self)

    def __invert__(self: Any) -> Tensor:
        return ops.bitwise_not(self)

    def __and__(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_and(self, other)

    def __rand__(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_and(other, self)

    def __or__(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_or(self, other)

    def __ror__(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_or(other, self)

    def __xor__(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_xor(self, other)

    def __rxor__(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_xor(other, self)

    # Comparison operators: constants, no gradient

    def __eq__(self: Any, other: Any) -> Tensor:  # type: ignore[override]
        return ops.eq(self, other)

    def __ne__(self: Any, other: Any) -> Tensor:  # type: ignore[override]
        return ops.ne(self, other)

    def __lt__(self: Any, other: Any) -> Tensor:
        return ops.lt(self, other)

    def __le__(self: Any, other: Any) -> Tensor:
        return ops.le(self, other)

    def __gt__(self: Any, other: Any) -> Tensor:
        return ops.gt(self, other)

    def __ge__(self: Any, other: Any) -> Tensor:
        return ops.ge(self, other)

    def eq(self: Any, other: TensorLike) -> Tensor:
        return ops.eq(self, other)

    def ne(self: Any, other: TensorLike) -> Tensor:
        return ops.ne(self, other)

    def lt(self: Any, other: TensorLike) -> Tensor:
        return ops.lt(self, other)

    def le(self: Any, other: TensorLike) -> Tensor:
        return ops.le(self, other)

    def gt(self: Any, other: TensorLike) -> Tensor:
        return ops.gt(self, other)

    def ge(self: Any, other: TensorLike) -> Tensor:
        return ops.ge(self, other)

    def isclose(
        self: Any,
        other: TensorLike,
        rtol: builtins.float = 1e-05,
        atol: builtins.float = 1e-08,
        equal_nan: builtins.bool = False,
    ) -> Tensor:
        return ops.isclose(self, other, rtol, atol, equal_nan)

    def allclose(
        self: Any,
        other: TensorLike,
        rtol: builtins.float = 1e-05,
        atol: builtins.float = 1e-08,
        equal_nan: builtins.bool = False,
    ) -> builtins.bool:
        return ops.allclose(self, other, rtol, atol, equal_nan)

    def equal(self: Any, other: TensorLike) -> builtins.bool:
        return ops.equal(self, other)

    # Operators that change the tensor itself

    def __iadd__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.add, other)

    def __isub__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.sub, other)

    def __imul__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.mul, other)

    def __itruediv__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.div, other)

    def __ipow__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.pow, other)

    def __ifloordiv__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.floor_divide, other)

    def __imod__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.remainder, other)

    def __iand__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.bitwise_and, other)

    def __ior__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.bitwise_or, other)

    def __ixor__(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.bitwise_xor, other)

    # Indexing

    def __getitem__(self: Any, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self: Any, index: Any, value: TensorLike) -> None:
        inplace(self, ops.setitem, index, value)

    # Elementwise

    def add(self: Any, other: TensorLike) -> Tensor:
        return ops.add(self, other)

    def sub(self: Any, other: TensorLike) -> Tensor:
        return ops.sub(self, other)

    def mul(self: Any, other: TensorLike) -> Tensor:
        return ops.mul(self, other)

    def div(self: Any, other: TensorLike) -> Tensor:
        return ops.div(self, other)

    def pow(self: Any, other: TensorLike) -> Tensor:
        return ops.pow(self, other)

    def matmul(self: Any, other: TensorLike) -> Tensor:
        return ops.matmul(self, other)

    def floor_divide(self: Any, other: TensorLike) -> Tensor:
        return ops.floor_divide(self, other)

    def remainder(self: Any, other: TensorLike) -> Tensor:
        return ops.remainder(self, other)

    def maximum(self: Any, other: TensorLike) -> Tensor:
        return ops.maximum(self, other)

    def minimum(self: Any, other: TensorLike) -> Tensor:
        return ops.minimum(self, other)

    def bitwise_and(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_and(self, other)

    def bitwise_or(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_or(self, other)

    def bitwise_xor(self: Any, other: TensorLike) -> Tensor:
        return ops.bitwise_xor(self, other)

    def logical_and(self: Any, other: TensorLike) -> Tensor:
        return ops.logical_and(self, other)

    def logical_or(self: Any, other: TensorLike) -> Tensor:
        return ops.logical_or(self, other)

    def logical_xor(self: Any, other: TensorLike) -> Tensor:
        return ops.logical_xor(self, other)

    def mm(self: Any, mat2: TensorLike) -> Tensor:
        return ops.mm(self, mat2)

    def mv(self: Any, vec: TensorLike) -> Tensor:
        return ops.mv(self, vec)

    def bmm(self: Any, mat2: TensorLike) -> Tensor:
        return ops.bmm(self, mat2)

    def dot(self: Any, other: TensorLike) -> Tensor:
        return ops.dot(self, other)

    def outer(self: Any, other: TensorLike) -> Tensor:
        return ops.outer(self, other)

    def atan2(self: Any, other: TensorLike) -> Tensor:
        return ops.atan2(self, other)

    def neg(self: Any) -> Tensor:
        return ops.neg(self)

    def exp(self: Any) -> Tensor:
        return ops.exp(self)

    def expm1(self: Any) -> Tensor:
        return ops.expm1(self)

    def log(self: Any) -> Tensor:
        return ops.log(self)

    def log1p(self: Any) -> Tensor:
        return ops.log1p(self)

    def log2(self: Any) -> Tensor:
        return ops.log2(self)

    def log10(self: Any) -> Tensor:
        return ops.log10(self)

    def sqrt(self: Any) -> Tensor:
        return ops.sqrt(self)

    def rsqrt(self: Any) -> Tensor:
        return ops.rsqrt(self)

    def square(self: Any) -> Tensor:
        return ops.square(self)

    def reciprocal(self: Any) -> Tensor:
        return ops.reciprocal(self)

    def abs(self: Any) -> Tensor:
        return ops.abs(self)

    def sign(self: Any) -> Tensor:
        return ops.sign(self)

    def sin(self: Any) -> Tensor:
        return ops.sin(self)

    def cos(self: Any) -> Tensor:
        return ops.cos(self)

    def tan(self: Any) -> Tensor:
        return ops.tan(self)

    def asin(self: Any) -> Tensor:
        return ops.asin(self)

    def acos(self: Any) -> Tensor:
        return ops.acos(self)

    def atan(self: Any) -> Tensor:
        return ops.atan(self)

    def sinh(self: Any) -> Tensor:
        return ops.sinh(self)

    def cosh(self: Any) -> Tensor:
        return ops.cosh(self)

    def tanh(self: Any) -> Tensor:
        return ops.tanh(self)

    def sigmoid(self: Any) -> Tensor:
        return ops.sigmoid(self)

    def erf(self: Any) -> Tensor:
        return ops.erf(self)

    def floor(self: Any) -> Tensor:
        return ops.floor(self)

    def ceil(self: Any) -> Tensor:
        return ops.ceil(self)

    def round(self: Any) -> Tensor:
        return ops.round(self)

    def trunc(self: Any) -> Tensor:
        return ops.trunc(self)

    def bitwise_not(self: Any) -> Tensor:
        return ops.bitwise_not(self)

    def logical_not(self: Any) -> Tensor:
        return ops.logical_not(self)

    def isnan(self: Any) -> Tensor:
        return ops.isnan(self)

    def isinf(self: Any) -> Tensor:
        return ops.isinf(self)

    def isfinite(self: Any) -> Tensor:
        return ops.isfinite(self)

    def relu(self: Any) -> Tensor:
        return ops.relu(self)

    def clip(self: Any, min: Any = None, max: Any = None) -> Tensor:
        return ops.clip(self, min, max)

    def clamp(self: Any, min: Any = None, max: Any = None) -> Tensor:
        return ops.clip(self, min, max)

    def where(self: Any, condition: TensorLike, other: TensorLike) -> Tensor:
        return ops.where(condition, self, other)

    def masked_fill(self: Any, mask: TensorLike, value: TensorLike) -> Tensor:
        return ops.masked_fill(self, mask, value)

    def lerp(self: Any, end: TensorLike, weight: TensorLike) -> Tensor:
        return ops.lerp(self, end, weight)

    def softmax(self: Any, dim: builtins.int, *, dtype: Any = None) -> Tensor:
        return ops.softmax(self, dim, dtype=dtype)

    def log_softmax(self: Any, dim: builtins.int, *, dtype: Any = None) -> Tensor:
        return ops.log_softmax(self, dim, dtype=dtype)

    def clone(self: Any) -> Tensor:
        return ops.clone(self)

    def contiguous(self: Any) -> Tensor:
        return ops.contiguous(self)

    # Types and devices

    def to(
        self: Any, *target: Any, dtype: Any = None, device: Any = None, copy: builtins.bool = False
    ) -> Tensor:
        return ops.to(self, *target, dtype=dtype, device=device, copy=copy)

    def type_as(self: Any, other: Tensor) -> Tensor:
        return ops.to(self, dtype=other.dtype)

    def float(self: Any) -> Tensor:
        return ops.to(self, dtype=dtypes.float32)

    def double(self: Any) -> Tensor:
        return ops.to(self, dtype=dtypes.float64)

    def half(self: Any) -> Tensor:
        return ops.to(self, dtype=dtypes.float16)

    def long(self: Any) -> Tensor:
        return ops.to(self, dtype=dtypes.int64)

    def int(self: Any) -> Tensor:
        return ops.to(self, dtype=dtypes.int32)

    def bool(self: Any) -> Tensor:
        return ops.to(self, dtype=dtypes.bool_)

    # Reductions

    def sum(
        self: Any, dim: Any = None, keepdim: builtins.bool = False, *, dtype: Any = None
    ) -> Tensor:
        return ops.sum(self, dim, keepdim, dtype=dtype)

    def mean(
        self: Any, dim: Any = None, keepdim: builtins.bool = False, *, dtype: Any = None
    ) -> Tensor:
        return ops.mean(self, dim, keepdim, dtype=dtype)

    def prod(
        self: Any, dim: Any = None, keepdim: builtins.bool = False, *, dtype: Any = None
    ) -> Tensor:
        return ops.prod(self, dim, keepdim, dtype=dtype)

    def all(self: Any, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        return ops.all(self, dim, keepdim)

    def any(self: Any, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        return ops.any(self, dim, keepdim)

    def amax(self: Any, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        return ops.amax(self, dim, keepdim)

    def amin(self: Any, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        return ops.amin(self, dim, keepdim)

    def max(self: Any, dim: Any = None, keepdim: builtins.bool = False) -> Any:
        return ops.max(self, dim, keepdim)

    def min(self: Any, dim: Any = None, keepdim: builtins.bool = False) -> Any:
        return ops.min(self, dim, keepdim)

    def argmax(
        self: Any, dim: builtins.int | None = None, keepdim: builtins.bool = False
    ) -> Tensor:
        return ops.argmax(self, dim, keepdim)

    def argmin(
        self: Any, dim: builtins.int | None = None, keepdim: builtins.bool = False
    ) -> Tensor:
        return ops.argmin(self, dim, keepdim)

    def var(
        self: Any, dim: Any = None, correction: builtins.float = 1, keepdim: builtins.bool = False
    ) -> Tensor:
        return ops.var(self, dim, correction, keepdim)

    def std(
        self: Any, dim: Any = None, correction: builtins.float = 1, keepdim: builtins.bool = False
    ) -> Tensor:
        return ops.std(self, dim, correction, keepdim)

    def norm(
        self: Any, p: builtins.float = 2.0, dim: Any = None, keepdim: builtins.bool = False
    ) -> Tensor:
        return ops.norm(self, p, dim, keepdim)

    def logsumexp(self: Any, dim: Any, keepdim: builtins.bool = False) -> Tensor:
        return ops.logsumexp(self, dim, keepdim)

    def cumsum(self: Any, dim: builtins.int, *, dtype: Any = None) -> Tensor:
        return ops.cumsum(self, dim, dtype=dtype)

    def cumprod(self: Any, dim: builtins.int, *, dtype: Any = None) -> Tensor:
        return ops.cumprod(self, dim, dtype=dtype)

    # Shape

    def reshape(self: Any, *shape: Any) -> Tensor:
        return ops.reshape(self, *shape)

    def view(self: Any, *shape: Any) -> Tensor:
        return ops.view(self, *shape)

    def expand(self: Any, *sizes: Any) -> Tensor:
        return ops.expand(self, *sizes)

    def tile(self: Any, *dims: Any) -> Tensor:
        return ops.tile(self, *dims)

    def repeat(self: Any, *sizes: Any) -> Tensor:
        return ops.repeat(self, *sizes)

    def permute(self: Any, *dims: Any) -> Tensor:
        return ops.permute(self, *dims)

    def broadcast_to(self: Any, shape: Sequence[builtins.int]) -> Tensor:
        return ops.broadcast_to(self, shape)

    def expand_as(self: Any, other: Tensor) -> Tensor:
        return ops.broadcast_to(self, other.shape)

    def view_as(self: Any, other: Tensor) -> Tensor:
        return ops.reshape(self, other.shape)

    def reshape_as(self: Any, other: Tensor) -> Tensor:
        return ops.reshape(self, other.shape)

    def flatten(self: Any, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
        return ops.flatten(self, start_dim, end_dim)

    def squeeze(self: Any, dim: Any = None) -> Tensor:
        return ops.squeeze(self, dim)

    def unsqueeze(self: Any, dim: builtins.int) -> Tensor:
        return ops.unsqueeze(self, dim)

    def transpose(self: Any, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        return ops.transpose(self, dim0, dim1)

    def t(self: Any) -> Tensor:
        return ops.t(self)

    def movedim(self: Any, source: Any, destination: Any) -> Tensor:
        return ops.movedim(self, source, destination)

    def flip(self: Any, *dims: Any) -> Tensor:
        return ops.flip(self, *dims)

    def roll(self: Any, shifts: Any, dims: Any = None) -> Tensor:
        return ops.roll(self, shifts, dims)

    def split(self: Any, split_size: Any, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        return ops.split(self, split_size, dim)

    def chunk(self: Any, chunks: builtins.int, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        return ops.chunk(self, chunks, dim)

    def unbind(self: Any, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        return ops.unbind(self, dim)

    def tril(self: Any, diagonal: builtins.int = 0) -> Tensor:
        return ops.tril(self, diagonal)

    def triu(self: Any, diagonal: builtins.int = 0) -> Tensor:
        return ops.triu(self, diagonal)

    def diagonal(
        self: Any, offset: builtins.int = 0, dim1: builtins.int = 0, dim2: builtins.int = 1
    ) -> Tensor:
        return ops.diagonal(self, offset, dim1, dim2)

    def trace(self: Any) -> Tensor:
        return ops.trace(self)

    # Picking elements

    def masked_select(self: Any, mask: TensorLike) -> Tensor:
        return ops.masked_select(self, mask)

    def gather(self: Any, dim: builtins.int, index: TensorLike) -> Tensor:
        return ops.gather(self, dim, index)

    def scatter_add(self: Any, dim: builtins.int, index: TensorLike, src: TensorLike) -> Tensor:
        return ops.scatter_add(self, dim, index, src)

    def index_select(self: Any, dim: builtins.int, index: TensorLike) -> Tensor:
        return ops.index_select(self, dim, index)

    def take_along_dim(self: Any, indices: TensorLike, dim: builtins.int | None = None) -> Tensor:
        return ops.take_along_dim(self, indices, dim)

    def topk(
        self: Any,
        k: builtins.int,
        dim: builtins.int = -1,
        largest: builtins.bool = True,
        sorted: builtins.bool = True,
    ) -> Any:
        return ops.topk(self, k, dim, largest, sorted)

    def sort(
        self: Any,
        dim: builtins.int = -1,
        descending: builtins.bool = False,
        stable: builtins.bool = False,
    ) -> Any:
        return ops.sort(self, dim, descending, stable)

    def argsort(
        self: Any,
        dim: builtins.int = -1,
        descending: builtins.bool = False,
        stable: builtins.bool = False,
    ) -> Tensor:
        return ops.argsort(self, dim, descending, stable)

    # In place: the tensor itself is changed, and returned

    def add_(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.add, other)

    def sub_(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.sub, other)

    def mul_(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.mul, other)

    def div_(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.div, other)

    def pow_(self: Any, other: TensorLike) -> Tensor:
        return inplace(self, ops.pow, other)

    def neg_(self: Any) -> Tensor:
        return inplace(self, ops.neg)

    def exp_(self: Any) -> Tensor:
        return inplace(self, ops.exp)

    def log_(self: Any) -> Tensor:
        return inplace(self, ops.log)

    def sqrt_(self: Any) -> Tensor:
        return inplace(self, ops.sqrt)

    def abs_(self: Any) -> Tensor:
        return inplace(self, ops.abs)

    def tanh_(self: Any) -> Tensor:
        return inplace(self, ops.tanh)

    def sigmoid_(self: Any) -> Tensor:
        return inplace(self, ops.sigmoid)

    def relu_(self: Any) -> Tensor:
        return inplace(self, ops.relu)

    def clip_(self: Any, min: Any = None, max: Any = None) -> Tensor:
        return inplace(self, ops.clip, min, max)

    def clamp_(self: Any, min: Any = None, max: Any = None) -> Tensor:
        return inplace(self, ops.clip, min, max)

    def masked_fill_(self: Any, mask: TensorLike, value: TensorLike) -> Tensor:
        return inplace(self, ops.masked_fill, mask, value)

    def scatter_add_(self: Any, dim: builtins.int, index: TensorLike, src: TensorLike) -> Tensor:
        return inplace(self, ops.scatter_add, dim, index, src)

    def copy_(self: Any, source: TensorLike) -> Tensor:
        return inplace(self, ops.copy, source)

    def fill_(self: Any, value: builtins.float) -> Tensor:
        return inplace(self, ops.fill, value)

    def zero_(self: Any) -> Tensor:
        return inplace(self, ops.fill, 0)

    def lerp_(self: Any, end: TensorLike, weight: TensorLike) -> Tensor:
        return inplace(self, ops.lerp, end, weight)
