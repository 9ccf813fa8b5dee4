"""CUDA kernels on a GPU, beside PyTorch's: device time by the GPU's own events.

Memory-bound kernels work on arrays of 256 MB, which no cache holds, and are held to the rate at
which the GPU copies. Products and convolutions are compared like with like: TF32 with TF32. What
is compared has the same inputs, in the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np

import minigrad_kernels as kernels
from minigrad_kernels import KERNELS, Cost
from minigrad_kernels.workloads import WINOGRAD_SIZES, Convolution

from .. import device as devices
from ..device import Emulator, as_list
from ..harness import Budget, Case, Contender

BUDGET = Budget(seconds=0.0, rounds=9, pause=0.0)
BATCH = 0.01
"""Seconds of work between two events."""

TORCH = "torch"

chosen: Emulator | None = None
"""Where to run instead of on the GPU: for a trial without one."""


def cases(peers: Sequence[ModuleType], quick: bool) -> Iterator[Case]:
    """All cases; `quick` makes everything small. None where there is no GPU.

    PyTorch takes part if it is among the peers and can use the GPU.
    """
    device = chosen or devices.found()
    if device is None:
        print(f"no GPU: {kernels.BACKENDS['cuda'].reason}")
        return
    suite = Suite(device, small=quick or not device.is_gpu, with_torch=bool(peers))
    from .gpu_products import products

    yield from suite.memory_bound()
    yield from products(suite)
    yield from suite.convolutions()
    yield from suite.launches()
    from .gpu_training import training_steps

    yield from training_steps(device, suite.with_torch, suite.small)


class Suite:
    """The cases of single kernels on one device.

    Args:
        device: where.
        small: small arrays.
        with_torch: whether PyTorch is to be timed, if it works there.
    """

    def __init__(self, device: Emulator, small: bool, with_torch: bool) -> None:
        self.device, self.small = device, small
        self.with_torch = with_torch and device.torch_works()
        self.images = (2, 8, 8, 8) if small else (256, 64, 64, 64)
        self.rows = (16, 64) if small else (65536, 1024)
        self.count = 4096 if small else 1 << 26
        self.rate = devices.copy_rate(device, 1 << 14 if small else 1 << 28)

    # A case of one kernel

    def case(
        self,
        name: str,
        call: Callable[[], Any],
        theirs: Callable[[], Any] | None,
        cost: Cost,
        tolerance: float = 1e-3,
        random: bool = False,
    ) -> Case:
        """Ours beside PyTorch's; random results are not compared."""
        contenders = [self.contender("minigrad", self._forced(call), random)]
        if theirs is not None and self.with_torch:
            contenders.append(self.contender(TORCH, theirs, random))
        return Case(name, contenders, tolerance, figures=lambda t: self.figures(cost, t))

    def _forced(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """On the emulator kernels run only when they are asked for."""
        if self.device.is_gpu:
            return call

        def run() -> Any:
            with kernels.use("cuda-on-cpu"):
                return call()

        return run

    def contender(self, name: str, work: Callable[[], Any], random: bool = False) -> Contender:
        """Times itself by the device's clock; of its results a part is compared."""
        repeats: list[int] = []

        def run() -> float:
            if not repeats:
                repeats.append(devices.repeats_for(self.device, work, BATCH))
            return self.device.seconds(work, repeats[0])

        def outputs(_: Any) -> list[np.ndarray]:
            made = [] if random else as_list(work())
            return [self.device.sampled(y) for y in made]

        return Contender(name, run, outputs, measures_itself=True)

    def figures(self, cost: Cost, seconds: float) -> dict[str, float]:
        """Where a kernel stands between the two ceilings."""
        return {
            "MB": cost.bytes / 1e6,
            "GFLOP": cost.flops / 1e9,
            "GFLOP/s": cost.flops / seconds / 1e9,
            "GB/s": cost.bytes / seconds / 1e9,
            "of copying": cost.bytes / seconds / self.rate,
        }

    def _of_kernel(
        self, name: str, args: Sequence[Any], options: dict[str, Any], theirs: Any, **more: Any
    ) -> Case:
        k = KERNELS[name]
        size = "x".join(map(str, args[0].shape))
        cost = k.cost(*args, **options)
        return self.case(f"{name}, {size}", lambda: k(*args, **options), theirs, cost, **more)

    # What moves more than it computes

    def memory_bound(self) -> Iterator[Case]:
        """Activations, pooling, rows, norms, losses, optimizers, dropout: 256 MB each."""
        yield from self._elementwise()
        yield from self._of_rows()
        yield from self._of_images()
        yield from self._optimizers()

    def tensors(self, *arrays: Any) -> list[Any]:
        """The arrays as PyTorch's tensors; nothing where it takes no part."""
        return [self.device.to_torch(x) for x in arrays] if self.with_torch else list(arrays)

    def _pair(
        self,
        name: str,
        options: dict[str, Any],
        x: Any,
        g: Any,
        function: Callable[..., Any],
        gradient_input: Callable[[Any, Any], Any] = lambda x, y: x,
    ) -> Iterator[Case]:
        """A function of one array and its gradient; `gradient_input` of x and y is what that
        takes beside g."""
        (t,) = self.tensors(x)
        yield self._of_kernel(name, (x,), options, lambda: function(t))
        y = KERNELS[name](x, **options)
        back = self._backward(function, [x], g)
        yield self._of_kernel(f"{name}_gradient", (g, gradient_input(x, y)), options, back)

    def _backward(self, function: Callable[..., Any], inputs: Sequence[Any], g: Any) -> Any:
        """PyTorch's backward pass alone; None where it takes no part."""
        if not self.with_torch:
            return None
        import torch

        leaves = [t.detach().requires_grad_() for t in self.tensors(*inputs)]
        y = function(*leaves)
        (cotangent,) = (None,) if g is None else self.tensors(g)
        return lambda: torch.autograd.grad(y, leaves, cotangent, retain_graph=True)

    def _elementwise(self) -> Iterator[Case]:
        x, g = self.device.normal(self.count), self.device.normal(self.count)
        yield from self._pair("relu", {}, x, g, lambda t: F().relu(t))
        yield from self._pair("gelu", {"approximate": "none"}, x, g, lambda t: F().gelu(t))
        (t,) = self.tensors(x)
        options = {"p": 0.5, "seed": 1, "offset": 0}
        yield self._of_kernel("dropout", (x,), options, lambda: F().dropout(t, 0.5), random=True)

    def _of_rows(self) -> Iterator[Case]:
        x, g = self.device.normal(*self.rows), self.device.normal(*self.rows)
        for name in ("softmax", "log_softmax"):
            yield from self._pair(
                name,
                {"axis": -1},
                x,
                g,
                lambda t, name=name: getattr(F(), name)(t, dim=-1),
                lambda x, y: y,
            )
        rows, width = self.rows
        weight, bias = self.device.uniform(width) + np.float32(0.5), self.device.normal(width)
        t, w, b = self.tensors(x, weight, bias)
        eps = {"eps": 1e-5}
        norm = lambda t, w, b: F().layer_norm(t, (width,), w, b)  # noqa: E731
        k = kernels.layer_norm
        ours = lambda: k(x, weight, bias, **eps)[0]  # noqa: E731
        cost = k.cost(x, weight, bias, **eps)
        yield self.case(f"layer_norm, {rows}x{width}", ours, lambda: norm(t, w, b), cost)
        _, mean, variance = kernels.layer_norm(x, weight, bias, **eps)
        call = (g, x, weight, mean, variance)
        back = self._backward(norm, (x, weight, bias), g)
        yield self._of_kernel("layer_norm_gradients", call, eps, back)
        yield from self._cross_entropy(x)

    def _cross_entropy(self, x: Any) -> Iterator[Case]:
        rows, width = self.rows
        target = self.device.integers(width, rows)
        scale = self.device.array(np.full(rows, 1 / rows, np.float32))
        t, classes = self.tensors(x, target)
        loss = lambda t: F().cross_entropy(t, classes, reduction="none") / rows  # noqa: E731
        k = kernels.cross_entropy
        _, top, total = k(x, target, scale)
        name = f"cross_entropy, {rows}x{width}"
        cost = k.cost(x, target, scale)
        yield self.case(name, lambda: k(x, target, scale)[0], lambda: loss(t), cost)
        one = self.device.array(np.ones((), np.float32))
        call = (one, x, target, scale, top, total)
        back = self._backward(lambda t: loss(t).sum(), [x], None)
        gradient = kernels.cross_entropy_gradient
        name = f"cross_entropy_gradient, {rows}x{width}"
        yield self.case(name, lambda: gradient(*call), back, gradient.cost(*call))

    def _images(self, *shape: int) -> Any:
        """Images (N, C, H, W) with their channels last in memory."""
        n, c, h, w = shape or self.images
        return self.device.normal(n, h, w, c).transpose(0, 3, 1, 2)

    def _of_images(self) -> Iterator[Case]:
        x, g = self._images(), self._images()
        n, c, h, w = self.images
        window: dict[str, Any] = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
        half = self._images(n, c, h // 2, w // 2)
        (t,) = self.tensors(x)
        most = {**window, "dilation": (1, 1)}
        pool = lambda t: F().max_pool2d(t, 2)  # noqa: E731
        k = kernels.max_pool2d_positions
        name, options = f"max_pool2d_positions, {n}x{c}x{h}x{w}", {**most, "ceil_mode": False}
        cost = k.cost(x, **options)
        yield self.case(name, lambda: k(x, **options)[0], lambda: pool(t), cost)
        call = (half, k(x, **options)[1])
        more = {**most, "input_size": (h, w)}
        back = self._backward(pool, [x], half)
        yield self._of_kernel("max_pool2d_positions_gradient", call, more, back)
        mean = {"ceil_mode": False, "count_include_pad": True, "divisor_override": None, **window}
        pool = lambda t: F().avg_pool2d(t, 2)  # noqa: E731
        yield self._of_kernel("avg_pool2d", (x,), mean, lambda: pool(t))
        back = self._backward(pool, [x], half)
        yield self._of_kernel("avg_pool2d_gradient", (half,), {**mean, "input_size": (h, w)}, back)
        weight, bias = self.device.uniform(c) + np.float32(0.5), self.device.normal(c)
        u, b = self.tensors(weight, bias)
        norm = lambda t, u, b: F().batch_norm(t, None, None, u, b, True)  # noqa: E731
        eps = {"eps": 1e-5}
        k = kernels.batch_norm
        cost = k.cost(x, weight, bias, **eps)
        ours = lambda: k(x, weight, bias, **eps)[0]  # noqa: E731
        yield self.case(f"batch_norm, {n}x{c}x{h}x{w}", ours, lambda: norm(t, u, b), cost)
        _, mean_of, variance = k(x, weight, bias, **eps)
        call = (g, x, weight, mean_of, variance)
        back = self._backward(norm, (x, weight, bias), g)
        yield self._of_kernel("batch_norm_gradients", call, eps, back)

    def _optimizers(self) -> Iterator[Case]:
        """In place: what is compared is not the same after each run, so only times are."""
        p, g, m = (self.device.normal(self.count) for _ in "pgm")
        v = self.device.uniform(self.count)
        t = self.tensors(*(x.copy() for x in (p, g, m, v)))
        rates: dict[str, Any] = {"lr": 1e-5, "weight_decay": 0.0, "maximize": False}
        means: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "step": 10}
        options = {**rates, **means, "decoupled": False, "out": (p, m, v)}
        back = self._fused_adam(*t) if self.with_torch else None
        yield self._of_kernel("adam_step", (p, g, m, v), options, back, random=True)
        momentum = {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "out": (p, m)}
        yield self._of_kernel("sgd_step", (p, g, m), {**rates, **momentum}, None, random=True)

    def _fused_adam(self, p: Any, g: Any, m: Any, v: Any) -> Callable[[], Any]:
        import torch

        parameter = torch.nn.Parameter(p)
        parameter.grad = g
        optimizer = torch.optim.Adam([parameter], lr=1e-5, fused=True)
        optimizer.step()
        return optimizer.step

    # What computes more than it moves

    def asking(self, label: str, call: Callable[[], Any]) -> Callable[[], Any]:
        """The call with an implementation that only runs when it is asked for."""
        wishes = ([f"{self.device.backend}:{label}"] if label else []) + [self.device.backend]

        def run() -> Any:
            with kernels.use(*wishes) if label else nullcontext():
                return call()

        return run

    def convolutions(self) -> Iterator[Case]:
        """3x3 convolutions, forward and both gradients, in float32 and TF32."""
        for size in WINOGRAD_SIZES[: 1 if self.small else None]:
            images = 2 if self.small else 128
            scale = 8 if self.small else 1
            c = Convolution(images, size.channels // scale, size.pixels, size.filters // scale)
            x, g = self._images(*c.x_shape), self._images(*c.y_shape)
            w = self.device.normal(*c.w_shape)
            yield from self._convolution(c, x, w, g)

    def _convolution(self, c: Convolution, x: Any, w: Any, g: Any) -> Iterator[Case]:
        options: dict[str, Any] = {
            "stride": (1, 1),
            "padding": ((1, 1), (1, 1)),
            "dilation": (1, 1),
            "groups": 1,
        }
        size = {"input_size": c.x_shape[2:]}
        cost = kernels.conv2d.cost(x, w, **options)
        three = Cost(3 * cost.flops, 3 * cost.bytes)

        def ours() -> list[Any]:
            return [
                kernels.conv2d(x, w, **options),
                kernels.conv2d_input_gradient(g, w, **size, **options),
                kernels.conv2d_weight_gradient(x, g, kernel_size=(3, 3), **options),
            ]

        for words, label, tolerance in (("float32", "", 1e-3), ("TF32", "tf32", 1e-2)):
            theirs = self._torch_convolution(x, w, g, words == "TF32")
            name = f"convolution {words}, {c}"
            yield self.case(name, self.asking(label, ours), theirs, three, tolerance)

    def _torch_convolution(self, x: Any, w: Any, g: Any, in_tf32: bool) -> Any:
        if not self.with_torch:
            return None
        import torch

        last = {"memory_format": torch.channels_last}
        xs, ws, gs = (t.contiguous(**last) for t in self.tensors(x, w, g))
        leaves = [xs.requires_grad_(), ws.requires_grad_()]

        def run() -> list[Any]:
            with tf32(torch, in_tf32):
                y = F().conv2d(*leaves, padding=1)
                return [y.detach(), *torch.autograd.grad(y, leaves, gs)]

        return run

    # What Python and the driver take

    def launches(self) -> Iterator[Case]:
        """A kernel on so few numbers that its launch is all the time it takes."""
        x = self.device.normal(1000)
        out = x.copy()
        (t,) = self.tensors(x)
        count = 20 if self.small else 2000
        launch = self._forced(lambda: kernels.relu(x, out=out))

        def timed(name: str, work: Callable[[], Any]) -> Contender:
            return Contender(
                name,
                lambda: self.device.launch_seconds(work, count),
                lambda _: [self.device.sampled(work())],
                measures_itself=True,
            )

        contenders = [timed("minigrad", launch)]
        if self.with_torch:
            contenders.append(timed(TORCH, lambda: F().relu(t)))
        yield Case("launch of relu, 1000", contenders)


def F() -> Any:
    """torch.nn.functional; imported only where PyTorch takes part."""
    import torch.nn.functional

    return torch.nn.functional


@contextmanager
def tf32(torch: Any, allowed: bool) -> Iterator[None]:
    """Lets PyTorch round to TF32, or not; cuDNN tries its algorithms out and takes the fastest."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    convolutions.benchmark = True
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
