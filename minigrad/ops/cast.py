"""Changing the type of the numbers, or the device that they are on."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad_kernels.arrays import is_array

from .. import dtypes
from ..device import device_name, moved
from ..graph import mode
from ..recording import record
from ..tensor import Tensor, TensorLike, as_tensor
from .registry import differentiable, fails, real, sample


def floating(x: TensorLike) -> Tensor:
    """`x` as a tensor of real or complex numbers: integers and booleans take the default type."""
    if x.__class__ is not Tensor:
        x = as_tensor(x)
    if x.data.dtype.kind in "biu":
        return to(x, dtype=dtypes.get_default_dtype())
    return x


@differentiable(
    [
        sample(real(2, 3), np.float64),
        sample(real(2, 3), dtype=np.float64, copy=True),
        sample(real(), "cpu", np.float64, copy=True),
    ],
    kind="linear",
    errors=[
        fails(ValueError, "to: unknown device 'gpu'", real(3), "gpu"),
        fails(ValueError, "to: unknown device 'cuda:x'", real(3), device="cuda:x"),
        fails(TypeError, "to: .* names two types", real(3), np.float32, np.float64),
        fails(TypeError, "to: .* names two devices", real(3), "cpu", device="cpu"),
        fails(TypeError, "to: wants a number type, a device or a tensor, got 7", real(3), 7),
        fails(TypeError, "to: tensors hold numbers", real(3), np.dtype("M8[s]")),
    ],
)
def to(
    x: TensorLike, *target: Any, dtype: Any = None, device: Any = None, copy: bool = False
) -> Tensor:
    """The same numbers as another type, or on another device; itself where nothing changes.

    Args:
        x: any tensor.
        target: in any order a type, a device (`"cpu"`, `"cuda"`, `"cuda:0"`), or a tensor that has
            both.
        dtype: the type, by name.
        device: the device, by name.
        copy: make a copy even where nothing changes.

    Gradients pass back as the type, and to the device, of `x`; integers and booleans have none.

    Raises:
        TypeError: if a target is none of these, or is given twice; or if it is complex, and `x`
            requires a gradient.
        ValueError: for an unknown device.
        RuntimeError: if there is no such GPU, or CuPy is missing; the message says why.
        MemoryError: if the GPU has no room for it.

    >>> to([1.7, -1.7], "cpu", np.int64)
    tensor([ 1, -1])
    """
    if x.__class__ is not Tensor:
        x = as_tensor(x)
    dtype, device = _targets(target, dtype, device)
    array: Any = x.data
    source, home = array.dtype, x.device
    dtype = source if dtype is None else dtype
    device = home if device is None else device
    if device != home:
        array = moved(array, device)
    elif dtype == source and not copy:
        return x
    if dtype.kind == "c" and x.requires_grad and mode.recording:
        raise TypeError(
            f"to: the tensor of {source} requires a gradient, which complex numbers such as "
            f"{dtype} do not have here; detach() it first"
        )
    if dtype.kind != "c" and source.kind == "c":
        array = array.real
    copied = copy and array is x.data
    array = array.astype(dtype, copy=copied)
    if dtype.kind not in "fc":
        return record(to, array)
    return record(to, array, (x, lambda g: to(g, device=home, dtype=source), None))


def _targets(target: tuple[Any, ...], dtype: Any, device: Any) -> tuple[Any, Any]:
    """The type and the device that the arguments of `to` name; None where they name none."""
    types, devices = [dtype], [device]
    for item in target:
        if isinstance(item, Tensor) or is_array(item):
            item = as_tensor(item)
            types.append(item.dtype)
            devices.append(item.device)
        elif isinstance(item, str):
            devices.append(item)
        elif isinstance(item, (type, np.dtype)):
            types.append(item)
        elif item is not None:
            raise TypeError(f"to: wants a number type, a device or a tensor, got {item!r}")
    types = [t for t in types if t is not None]
    devices = [d for d in devices if d is not None]
    if len(types) > 1:
        raise TypeError(f"to: the call names two types: {types[0]} and {types[1]}")
    if len(devices) > 1:
        raise TypeError(f"to: the call names two devices: {devices[0]} and {devices[1]}")
    found = np.dtype(types[0]) if types else None
    if found is not None:
        _check_numbers(found)
    return found, device_name(devices[0]) if devices else None


def _check_numbers(dtype: np.dtype[Any]) -> None:
    try:
        dtypes.category(dtype)
    except TypeError as error:
        raise TypeError(f"to: {error}") from None
