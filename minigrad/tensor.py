"""Tensor: an array that remembers how it was computed. And the ways to make one."""

from __future__ import annotations

import reprlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Union

import numpy as np

from minigrad_kernels.arrays import is_array
from minigrad_kernels.gpus import resident
from minigrad_kernels.layout import copied

from . import dtypes
from .arguments import axis_of
from .device import gpu_name, look
from .graph import Clock, Leaf, Node
from .methods import TensorMethods

ndarray = np.ndarray


class Tensor(TensorMethods):
    """An n-dimensional array with a gradient and a place in the graph.

    Args:
        data: an array (whose memory is shared), a tensor, a number, or nested lists of numbers.
        dtype: converted to this type; None keeps an array's, and gives Python floats the default.
        requires_grad: whether `backward` shall leave a gradient in `grad`.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`; None leaves an array where it is.

    Attributes:
        data: the NumPy or CuPy array. Writing to it directly is invisible to the engine.
        grad: the gradient that `backward` accumulated, a tensor of the same shape, or None.
        node: where it stands in the graph; None for a constant.
    """

    __slots__ = ("__weakref__", "data", "grad", "node")
    __array_priority__ = 1000  # ndarray + Tensor becomes Tensor.__radd__

    data: Any
    grad: Tensor | None
    node: Node | None

    def __init__(
        self, data: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None
    ) -> None:
        self.data = to_array(data, dtype)
        if device is not None:
            self.data = ops.to(wrap(self.data), device=device).data
        self.grad = None
        self.node = None
        if requires_grad:
            self.requires_grad = True

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of its dimensions."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of its dimensions."""
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """`"cpu"`, or `"cuda:0"` and so on for CuPy arrays."""
        if isinstance(self.data, ndarray):
            return "cpu"
        return f"cuda:{self.data.device.id}"

    @property
    def is_cuda(self) -> bool:
        """Whether it is on a GPU."""
        return not isinstance(self.data, ndarray)

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take."""
        return self.data.nbytes

    @property
    def is_leaf(self) -> bool:
        """Whether it was given rather than computed by a recorded operation."""
        return self.node is None or isinstance(self.node, Leaf)

    @property
    def requires_grad(self) -> bool:
        """Whether it is part of the graph. Can be set for tensors that were not computed."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if bool(wanted) == (self.node is not None):
            return
        if not self.is_leaf:
            raise ValueError(
                "requires_grad: only tensors that were not computed by an operation can stop "
                "requiring a gradient; use detach() for a constant with the same numbers"
            )
        self.node = _leaf(self) if wanted else None

    @property
    def grad_fn(self) -> Node | None:
        """The node of the operation that computed it; None for constants and leaves."""
        return None if self.is_leaf else self.node

    @property
    def T(self) -> Tensor:
        """The transpose: all dimensions reversed."""
        return self.permute(*reversed(range(self.data.ndim)))

    @property
    def mT(self) -> Tensor:
        """The transpose of the last two dimensions."""
        return self.transpose(-2, -1)

    def size(self, dim: int | None = None) -> Any:
        """Its shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[axis_of(dim, self.ndim, "size")]

    def dim(self) -> int:
        """The number of its dimensions."""
        return self.data.ndim

    def numel(self) -> int:
        """The number of its elements."""
        return int(self.data.size)

    def is_contiguous(self) -> bool:
        """Whether its elements lie in row-major order without gaps."""
        return bool(self.data.flags.c_contiguous)

    def is_floating_point(self) -> bool:
        """Whether its numbers are real floating-point numbers."""
        return dtypes.is_floating(self.data.dtype)

    # In and out

    def numpy(self) -> Any:
        """Its array, sharing memory.

        Raises:
            ValueError: if it requires a gradient, which the array would lose; call detach() first.
            TypeError: if it is on a GPU.
        """
        if self.node is not None:
            raise ValueError("numpy: the tensor requires a gradient; call detach().numpy()")
        if not isinstance(self.data, ndarray):
            raise TypeError(f"numpy: the tensor is on {self.device}; call cpu() first")
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if copy:
            return np.array(array, dtype=dtype)
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"__array__: {array.dtype} to {dtype} needs a copy")
            return array.astype(dtype)
        return array

    def __dlpack__(self, **options: Any) -> Any:
        if self.node is not None:
            raise ValueError("__dlpack__: the tensor requires a gradient; call detach() first")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def cpu(self) -> Tensor:
        """Itself, or a copy in main memory if it is on a GPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Tensor:
        """Itself, or a copy on a GPU: the first one, or that of a number or a name (`"cuda:1"`).

        Raises:
            ValueError: if the name is not that of a GPU.
            RuntimeError: if there is no such GPU, or it cannot be used; the message says why.
        """
        return self.to(gpu_name(device))

    def item(self) -> Any:
        """Its only element as a Python number.

        Raises:
            ValueError: if it has not exactly one element.
        """
        if self.data.size != 1:
            raise ValueError(f"item: wants exactly one element, got shape {self.shape}")
        if self.data.__class__ is not ndarray:
            look()
        return self.data.item()

    def tolist(self) -> Any:
        """Its elements as nested lists of Python numbers."""
        if self.data.__class__ is not ndarray:
            look()
        return self.data.tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(
                f"bool: the truth of a tensor of shape {self.shape} is ambiguous; use any(), all()"
            )
        return bool(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iub" or self.data.size != 1:
            raise TypeError(
                f"index: wants an integer tensor of one element, got {self.dtype} of {self.shape}"
            )
        return int(self.item())

    def __len__(self) -> int:
        if not self.data.ndim:
            raise TypeError("len: a 0-dimensional tensor has no length")
        return int(self.data.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return value is not None and bool((self == value).any())

    # A tensor is not None, as everywhere in Python, whatever it holds.

    def __eq__(self, other: Any) -> Any:
        return NotImplemented if other is None else super().__eq__(other)

    def __ne__(self, other: Any) -> Any:
        return NotImplemented if other is None else super().__ne__(other)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        array = self.data if isinstance(self.data, ndarray) else self.data.get()
        text = np.array2string(array, precision=4, separator=", ", threshold=1000, prefix="tensor(")
        extras = []
        if self.device != "cpu":
            extras.append(f"device='{self.device}'")
        natural = (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_)
        if self.dtype not in natural or not self.data.size:
            extras.append(f"dtype={self.dtype}")
        if not self.is_leaf:
            assert self.node is not None
            extras.append(f"grad_fn=<{self.node.name}>")
        elif self.requires_grad:
            extras.append("requires_grad=True")
        return "tensor(" + ", ".join([text, *extras]) + ")"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __reduce__(self) -> Any:
        return _rebuild, (self.__class__, self.detach().data, self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise ValueError(
                "deepcopy: only tensors that were not computed can be copied with their place in "
                "the graph; use detach().clone() or clone()"
            )
        copy = _rebuild(self.__class__, copied(self.data), self.requires_grad)
        if self.grad is not None:
            copy.grad = wrap(copied(self.grad.data))
        memo[id(self)] = copy
        return copy

    # In the graph

    def detach(self) -> Tensor:
        """A constant with the same numbers, sharing memory."""
        return wrap(self.data)

    def detach_(self) -> Tensor:
        """Cut itself off the graph in which it was computed: it becomes a constant."""
        self.node = None
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad`, and return itself."""
        self.requires_grad = requires_grad
        return self

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Add to `grad` of every leaf the derivative of this tensor, weighted by `gradient`.

        See `minigrad.backward`.
        """
        from .autograd import backward

        backward([self], [gradient], retain_graph=retain_graph, create_graph=create_graph)

    def retain_grad(self) -> None:
        """Let `backward` leave its gradient in `grad` although it was computed.

        Raises:
            ValueError: if it does not require a gradient.
        """
        if self.node is None:
            raise ValueError("retain_grad: the tensor does not require a gradient")
        if self.is_leaf:
            return
        me = weakref.ref(self)

        def keep(g: Tensor) -> None:
            tensor = me()
            if tensor is not None:
                tensor.grad = wrap(copied(g.data), g.node)

        self.register_hook(keep)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call `hook` with its gradient in every backward pass; what it returns replaces it.

        Returns:
            a function that removes the hook. (As in PyTorch it also has a method `remove`.)

        Raises:
            ValueError: if it does not require a gradient.
        """
        if self.node is None:
            raise ValueError("register_hook: the tensor does not require a gradient")
        if self.node.hooks is None:
            self.node.hooks = []
        return RemovableHandle(self.node.hooks, hook)


class RemovableHandle:
    """Takes a hook out of the list that it was put in: call it, or its method `remove`."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook
        hooks.append(hook)

    def remove(self) -> None:
        """Take the hook out. Doing so twice is harmless."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)

    __call__ = remove


TensorLike = Union[Tensor, ndarray, float, int, bool, Sequence[Any]]
"""What operations accept where they want a tensor."""

_new_tensor = Tensor.__new__


def _rebuild(cls: type[Tensor], array: Any, requires_grad: bool) -> Tensor:
    result = _new_tensor(cls)
    result.data = array if array.__class__ is ndarray else resident(array)
    result.grad = result.node = None
    result.node = _leaf(result) if requires_grad else None
    return result


def _leaf(x: Tensor) -> Leaf:
    if not dtypes.is_floating(x.dtype):
        raise TypeError(
            f"requires_grad: gradients exist for floating-point tensors only, this one is {x.dtype}"
        )
    node = Leaf()
    node.operation, node.edges, node.shape, node.output = None, (), x.shape, None
    node.turn, node.hooks, node.line, node.tensor = Clock.tick(), None, None, weakref.ref(x)
    node.place = None
    return node


# Making tensors


def to_array(data: Any, dtype: Any = None) -> Any:
    """The array of anything tensor-like; memory is shared where no conversion is needed.

    Raises:
        TypeError: if it does not hold numbers or booleans.
        ValueError: if nested lists are ragged.
    """
    if isinstance(data, Tensor):
        array = data.data
    elif is_array(data):
        # Matrices and other subclasses have operators of their own.
        array = np.asarray(data) if isinstance(data, ndarray) else resident(data)
    elif isinstance(data, np.generic):
        array = np.asarray(data)
    elif hasattr(data, "__array__") or not hasattr(data, "__dlpack__"):
        try:
            array = np.asarray(_without_tensors(data))
        except ValueError as error:
            raise ValueError(f"tensor: the nested lists do not form an array: {error}") from None
        if dtype is None and array.dtype in _DOUBLE and not _holds_double(data):
            dtype = dtypes.of_python(array.dtype)
    else:
        array = np.from_dlpack(data)
    if dtype is not None:
        array = array.astype(np.dtype(dtype), copy=False)
    try:
        dtypes.category(array.dtype)
    except TypeError as error:
        raise TypeError(f"{error}; got {type(data).__name__} {reprlib.repr(data)}") from None
    return array


_DOUBLE = (dtypes.float64, dtypes.complex128)
_OF_PYTHON = (float, int, complex, bool)


def _holds_double(data: Any) -> bool:
    """Whether something in nested lists has one of these types by itself. Python's numbers have
    none, although NumPy reads them as such."""
    if isinstance(data, (list, tuple)):
        # Long lists are of Python's numbers: those do not cost a call.
        return any(_holds_double(x) for x in data if x.__class__ not in _OF_PYTHON)
    if isinstance(data, (Tensor, np.generic)) or is_array(data):
        return data.dtype in _DOUBLE
    return hasattr(data, "__array__")


def _without_tensors(data: Any) -> Any:
    """Nested lists with the tensors in them replaced by their numbers."""
    if isinstance(data, Tensor):
        return data.detach().cpu().data
    if isinstance(data, (list, tuple)):
        return [_without_tensors(item) for item in data]
    return data


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """`data` itself if it is a tensor (of that type), else a constant that shares its memory."""
    if isinstance(data, Tensor) and (dtype is None or data.dtype == dtype):
        return data
    if isinstance(data, Tensor):
        return data.to(dtype)
    return wrap(to_array(data, dtype))


def is_placed(x: Any) -> bool:
    """Whether it is somewhere, on the CPU or a GPU: a tensor or an array."""
    return isinstance(x, Tensor) or is_array(x)


def together(name: str, *given: Any) -> list[Tensor]:
    """Tensors on one device. Numbers and lists of Python, which are nowhere, go where the others
    are, and are as precise as they.

    Raises:
        TypeError: if tensors or arrays are on different devices; it begins with `name`.
    """
    found = [as_tensor(x) for x in given] if all(map(is_placed, given)) else _as_precise(given)
    kind = found[0].data.__class__
    for x in found:
        if x.data.__class__ is not kind or (kind is not ndarray and x.device != found[0].device):
            break
    else:
        return found
    devices = sorted({x.device for x, g in zip(found, given, strict=True) if is_placed(g)})
    if len(devices) > 1:
        raise TypeError(f"{name}: the operands are on {' and '.join(devices)}")
    return [x.to(devices[0]) for x in found]


def _as_precise(given: tuple[Any, ...]) -> list[Tensor]:
    """What was given as numbers or lists, in the floating type of the first tensor of one: 0.1
    beside a float64 tensor is the float64 0.1, not the float32 one."""
    types = (as_tensor(x).dtype for x in given if is_placed(x))
    near = next((t for t in types if t.kind in "fc"), None)
    if near is None:
        return [as_tensor(x) for x in given]
    wanted = dtypes.real_and_complex(near)
    return [as_tensor(x, None if is_placed(x) else wanted.get(_kind(x))) for x in given]


def _kind(data: Any) -> str:
    """The kind of the numbers of `to_array(data)`."""
    with np.errstate(over="ignore"):  # of 1e300, which is no float32
        return to_array(data).dtype.kind


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A new tensor with a copy of `data` (an array, a number, nested lists), on a device.

    The copy of an array keeps the order of its axes in memory: channels that lie last stay there.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    array = to_array(data, dtype)
    is_fresh = isinstance(data, (bool, int, float, complex, list, tuple))
    if not is_fresh:
        moved = array if device is None else ops.to(wrap(array), device=device).data
        array = copied(array) if moved is array else moved
    return Tensor(array, None, requires_grad, device)


def from_numpy(array: Any) -> Tensor:
    """A tensor that shares the array's memory.

    Raises:
        TypeError: if it is not a NumPy array of numbers or booleans.
    """
    if not isinstance(array, ndarray):
        raise TypeError(f"from_numpy: wants a NumPy array, got {type(array).__name__}")
    return wrap(to_array(array))


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares memory with any object that speaks DLPack (PyTorch, JAX, CuPy, ...)."""
    if isinstance(source, Tensor):
        return source.detach()
    if not hasattr(source, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: {type(source).__name__} does not speak DLPack")
    if source.__dlpack_device__()[0] in (2, 13):  # CUDA, CUDA managed memory
        import cupy

        return wrap(resident(cupy.from_dlpack(source)))
    return wrap(np.from_dlpack(source))


def wrap(array: Any, node: Node | None = None) -> Tensor:
    """A tensor around an array, sharing memory, with a place in the graph or none."""
    result = _new_tensor(Tensor)
    result.data = array
    result.grad = None
    result.node = node
    return result


# Operations make tensors and tensors offer operations: the one knot in the imports is tied here.
from . import inplace, methods, ops  # noqa: E402

methods.ops, methods.inplace = ops, inplace.inplace  # type: ignore[attr-defined]

# These operators are the functions themselves: a method around each would cost a tenth of a tiny
# operation's time.
Tensor.__add__ = Tensor.__radd__ = ops.add  # type: ignore[method-assign,has-type]
Tensor.__mul__ = Tensor.__rmul__ = ops.mul  # type: ignore[method-assign,has-type]
Tensor.__sub__ = ops.sub  # type: ignore[method-assign,has-type]
