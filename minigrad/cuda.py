"""GPUs: whether there are any, waiting for them, and steps that are captured once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minigrad_kernels import BACKENDS, array_module
from minigrad_kernels.cuda.graphs import keeping
from minigrad_kernels.gpus import device_of
from minigrad_kernels.layout import copied

from . import device as devices
from .graph import Leaf, Node, Observer
from .modes import observe
from .tensor import Tensor, wrap

# What there is


def is_available() -> bool:
    """Whether kernels can run on a GPU here: one has been compiled and run to find out."""
    return BACKENDS["cuda"].available


def reason() -> str | None:
    """Why no GPU can be used here, in words; None if one can."""
    return BACKENDS["cuda"].reason


def device_count() -> int:
    """How many GPUs can be used."""
    return int(_cupy().cuda.runtime.getDeviceCount()) if is_available() else 0


def get_device_name(device: Any = None) -> str:
    """The model of a GPU: the first one, or that of a number or a name such as `"cuda:1"`.

    Raises:
        ValueError: if it is no GPU; RuntimeError: if there is no GPU here.
    """
    number = int(devices.gpu_name(device).partition(":")[2])
    _need_gpu("get_device_name")
    return str(_cupy().cuda.runtime.getDeviceProperties(number)["name"].decode())


def synchronize(device: Any = None) -> None:
    """Wait until a GPU has done all that it was given.

    Raises:
        ValueError: if it is no GPU; RuntimeError: if there is no GPU here.
        IndexError: if a class or an index in what the current thread gave it was out of range;
            ValueError: if a probability was.
    """
    number = int(devices.gpu_name(device).partition(":")[2])
    _need_gpu("synchronize")
    _cupy().cuda.Device(number).synchronize()
    devices.look()


def _need_gpu(name: str) -> None:
    if not is_available():
        raise RuntimeError(f"{name}: there is no GPU: {reason()}")


def _cupy() -> Any:
    import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return cupy


# Graphs


def capture(step: Callable[..., Any], *examples: Tensor, warm_up: int = 2) -> Captured:
    """Capture what a function does on the GPU, to be replayed without Python: a CUDA graph.

    A training step is many small kernels, which a GPU often finishes sooner than Python can launch
    the next. A graph launches them all at once. (NVIDIA, "CUDA Graphs", CUDA C++ Programming
    Guide.) ::

        def step(x, target):
            optimizer.zero_grad()
            loss = cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        replay = mg.cuda.capture(step, x, target)
        for x, target in batches:
            loss = replay(x, target)

    What is replayed is the work on the GPU, with the same memory; the step's Python does not run.
    So shapes and numbers of Python stay as they were; the step must not read numbers from the GPU
    (`item`, `if loss > 1`) or draw random ones (dropout). All kernels must be ours: CuPy cannot
    capture cuBLAS. Gradients do not add up from one replay to the next, so the step drops those of
    the one before. Indices and classes are not checked for being in range: of a class that there is
    not the loss is NaN.

    An optimizer's step (SGD, Adam, AdamW) may be captured. Each replay counts it, and takes the
    options of the time: assign to `optimizer.param_groups[0]["lr"]` as ever. The numbers of its
    formula are computed in Python, written to the GPU by a launch before the graph's, and read
    there, so that they have the bits of a step that is not captured. Its state must be there when
    it is captured, which the warm-up sees to; the parameters are those that have gradients then.

    Args:
        step: called with tensors like the examples; returns a tensor, several in a tuple, or None.
        examples: tensors on one GPU.
        warm_up: how often the step is done for real before, on the examples, so that kernels are
            compiled, and optimizers have their state.

    Returns:
        a function of tensors like the examples.

    Raises:
        TypeError: if an example is no tensor on a GPU, or the step returns something else.
        RuntimeError: if the step does what cannot be captured; the message says what.
    """
    _check_examples(examples)
    with device_of(array_module(examples[0].data)):
        return _warmed_up_and_captured(_cupy(), step, examples, warm_up)


def _warmed_up_and_captured(
    cupy: Any, step: Callable[..., Any], examples: Sequence[Tensor], warm_up: int
) -> Captured:
    """`capture` on the current GPU."""
    current = cupy.cuda.get_current_stream()
    inputs = [wrap(copied(x.data)) for x in examples]
    current.synchronize()
    # Its own memory, which stays with the graph: replays write where intermediate results have been
    pool = cupy.cuda.MemoryPool()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, cupy.cuda.using_allocator(pool.malloc):
        for _ in range(warm_up):
            step(*inputs)
        stream.synchronize()
        devices.look()
        work = _captured(stream, step, inputs)
    return Captured(work, pool, inputs)


@dataclass(frozen=True)
class _Work:
    """What a step did while it was captured.

    Attributes:
        graph: CuPy's.
        result: what the step returned.
        gradients: the leaves that got gradients, and these.
        replayed: what Python does in each replay.
        kept: what the graph uses that does not lie in its pool of memory.
    """

    graph: Any
    result: Any
    gradients: list[tuple[Tensor, Tensor]]
    replayed: list[devices.Replayed]
    kept: list[Any]


class Captured:
    """A step that was captured: `capture` makes it.

    Called with tensors of the shapes and types of the examples, on their GPU, it copies them to
    where the graph reads them, launches it on the current stream, and returns what the step
    returned: the same tensors each time, with new numbers. The gradients that the step left in
    `grad` are there again afterwards.

    Raises:
        TypeError: for another number of tensors, or one of another type or device.
        ValueError: for a tensor of another shape, or an option of an optimizer's out of range.
        RuntimeError: if an optimizer has other parameters, or another state, than when its step was
            captured. In all cases nothing is launched, and no step counted.
    """

    def __init__(self, work: _Work, pool: Any, inputs: list[Tensor]) -> None:
        self._work, self._pool, self._inputs = work, pool, inputs

    def __call__(self, *inputs: Tensor) -> Any:  # noqa: D102
        if len(inputs) != len(self._inputs):
            raise TypeError(f"replay: wants {len(self._inputs)} tensors, got {len(inputs)}")
        for i, (x, place) in enumerate(zip(inputs, self._inputs, strict=True)):
            _check_like(i, x, place)
        work = self._work
        for each in work.replayed:
            each.check()
        with device_of(array_module(self._inputs[0].data)):
            for each in work.replayed:
                each.advance()
            for x, place in zip(inputs, self._inputs, strict=True):
                place.data[...] = x.data
            work.graph.launch()
        for leaf, gradient in work.gradients:
            leaf.grad = gradient
        return work.result


def _check_examples(examples: Sequence[Tensor]) -> None:
    if not examples:
        raise TypeError("capture: wants an example of each tensor that the step takes")
    for i, x in enumerate(examples):
        if not isinstance(x, Tensor) or not x.is_cuda:
            where = f"on {x.device}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            none = "" if is_available() else f", and there is none here: {reason()}"
            raise TypeError(f"capture: example {i} is {where}; wants a tensor on a GPU{none}")
    found = sorted({x.device for x in examples})
    if len(found) > 1:
        raise TypeError(f"capture: the examples are on {' and '.join(found)}")


def _check_like(i: int, x: Tensor, place: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"replay: input {i} is a {type(x).__name__}, wants a tensor")
    if x.device != place.device or x.dtype != place.dtype:
        raise TypeError(
            f"replay: input {i} is {x.dtype} on {x.device}, the example was {place.dtype} on "
            f"{place.device}"
        )
    if x.shape != place.shape:
        raise ValueError(f"replay: input {i} has shape {x.shape}, the example {place.shape}")


class _Leaves(Observer):
    """Notes the leaves that backward passes reach."""

    def __init__(self) -> None:
        self.found: dict[int, Tensor] = {}

    def taken(self, node: Node, gradient: Any) -> None:
        if isinstance(node, Leaf):
            tensor = node.tensor()
            if tensor is not None:
                self.found[id(tensor)] = tensor


def _captured(stream: Any, step: Callable[..., Any], inputs: list[Tensor]) -> _Work:
    """Call the step while the stream is captured."""
    leaves = _Leaves()
    stream.begin_capture()
    replayed = devices.capture.begin()
    try:
        with observe(leaves), keeping() as kept:
            result = _constants(step(*inputs))
    except BaseException as error:
        devices.capture.end()
        _abandon(stream)
        words = _why(error)
        if words is None:
            raise
        raise RuntimeError(f"capture: {words}") from error
    finally:
        devices.capture.end()
    found = [(leaf, leaf.grad) for leaf in leaves.found.values() if leaf.grad is not None]
    kept.append(step)  # and with it the model: buffers and constants are read in each replay
    return _Work(stream.end_capture(), result, found, replayed, kept)


def _abandon(stream: Any) -> None:
    """End a capture that failed, so that the stream can be used again."""
    try:
        stream.end_capture()
    except RuntimeError:  # it says that the capture failed
        return


def _why(error: BaseException) -> str | None:
    """What cannot be captured, in words; None for an error of the step's own."""
    if isinstance(error, NotImplementedError):
        return f"the step calls a library that CuPy cannot capture ({error})"
    if "StreamCapture" in str(error):
        return (
            "the step reads a number from the GPU, copies from main memory, or waits, none of "
            f"which can be captured ({error})"
        )
    return None


def _constants(result: Any) -> Any:
    """What the step returned, without its place in a graph that has been walked.

    Raises:
        TypeError: if it is neither None nor tensors.
    """
    if result is None or isinstance(result, Tensor):
        return None if result is None else result.detach()
    if isinstance(result, tuple):
        return tuple(map(_constants, result))
    raise TypeError(
        f"capture: the step returned a {type(result).__name__}; wants a tensor, a tuple or None"
    )
