"""The faults of operations with windows: convolution, pooling, padding."""

from __future__ import annotations

import numpy as np

from .faults import Array, Problem, fault, real, separated


def _taps(size: tuple[int, int], out: tuple[int, int], stride: int, dilation: int) -> list[Array]:
    """For each entry (i, j) of a kernel of this size, the pixels that it meets, as slices."""

    def along(i: int, n: int) -> slice:
        return slice(i * dilation, i * dilation + stride * (n - 1) + 1, stride)

    return [
        (..., along(i, out[0]), along(j, out[1])) for i in range(size[0]) for j in range(size[1])
    ]


class Convolution:
    """Cross-correlation of images (N, C, H, W) with weights (O, C, K, L), entry by entry."""

    def __init__(self, stride: int, dilation: int) -> None:
        self.stride, self.dilation = stride, dilation

    def taps(self, x: Array, w: Array) -> list[Array]:
        out = [
            (n - (k - 1) * self.dilation - 1) // self.stride + 1
            for n, k in zip(x.shape[2:], w.shape[2:], strict=True)
        ]
        return _taps(w.shape[2:], (out[0], out[1]), self.stride, self.dilation)

    def forward(self, x: Array, w: Array) -> Array:
        weights = w.reshape(*w.shape[:2], -1)
        taps = self.taps(x, w)
        return sum(np.einsum("nchw,oc->nohw", x[t], weights[..., k]) for k, t in enumerate(taps))

    def vjp(self, g: Array, x: Array, w: Array) -> tuple[Array, Array]:
        """Each entry of the kernel gives back along the way on which it took."""
        weights = w.reshape(*w.shape[:2], -1)
        dx, dw = np.zeros_like(x), np.zeros_like(weights)
        for k, t in enumerate(self.taps(x, w)):
            dx[t] += np.einsum("nohw,oc->nchw", g, weights[..., k])
            dw[..., k] = np.einsum("nohw,nchw->oc", g, x[t])
        return dx, dw.reshape(w.shape)

    def faulty(self, g: Array, x: Array, w: Array) -> tuple[Array, Array]:
        """With stride = dilation only every so manieth pixel counts: a plain convolution of these.

        That is right, and fast. But their gradient is put beside them.
        """
        step = self.stride
        if step == 1 or step != self.dilation:
            return self.vjp(g, x, w)
        d, dw = Convolution(1, 1).vjp(g, x[..., ::step, ::step], w)
        dx = np.zeros_like(x)
        dx[..., 1::step, 1::step] = d
        return dx, dw


@fault(
    "stride 2, dilation 2",
    "shifted",
    "convolution: a short cut for stride = dilation puts the gradient one pixel beside the pixels "
    "that were used",
)
def strided_and_dilated(rng: np.random.Generator) -> Problem:
    conv = Convolution(2, 2)
    return Problem(
        conv.forward, conv.vjp, conv.faulty, [real(rng, 1, 2, 8, 8), real(rng, 2, 2, 3, 3)]
    )


@fault(
    "flipped",
    "flipped",
    "convolution of signals, whose kernel runs backwards: the kernel's gradient is not flipped",
)
def convolve(rng: np.random.Generator) -> Problem:
    def gradients(g: Array, x: Array, w: Array) -> tuple[Array, Array]:
        return np.correlate(g, w, "full"), np.correlate(x, g, "valid")

    def right(g: Array, x: Array, w: Array) -> tuple[Array, Array]:
        dx, dw = gradients(g, x, w)
        return dx, dw[::-1].copy()

    return Problem(
        lambda x, w: np.convolve(x, w, "valid"), right, gradients, [real(rng, 12), real(rng, 4)]
    )


def _windows(x: Array) -> Array:
    """Images (N, C, H, W) as windows of 2 × 2: (N, C, windows, 4)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, -1, 4)


def _image(windows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `_windows`."""
    n, c, h, w = shape
    return windows.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(shape)


@fault(
    "wrong window",
    "shifted",
    "max-pooling: windows are counted from one, and gradients land in the next window",
)
def max_pool(rng: np.random.Generator) -> Problem:
    def forward(x: Array) -> Array:
        return _windows(x).max(-1).reshape(*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2)

    def rule(first: int) -> Array:
        def vjp(g: Array, x: Array) -> tuple[Array, ...]:
            windows = _windows(x)
            d = np.zeros_like(windows)
            best = windows.argmax(-1)
            image, channel, window = np.indices(best.shape)
            d[image, channel, (window + first) % best.shape[-1], best] = g.reshape(best.shape)
            return (_image(d, x.shape),)

        return vjp

    return Problem(forward, rule(0), rule(1), [separated(rng, 1, 2, 6, 6)])


@fault("padding", "shifted", "padding by two: the gradient is cut out one row and column early")
def pad(rng: np.random.Generator) -> Problem:
    def cut(first: int) -> Array:
        def vjp(g: Array, x: Array) -> tuple[Array, ...]:
            h, w = x.shape[2:]
            return (g[:, :, first : first + h, first : first + w].copy(),)

        return vjp

    def forward(x: Array) -> Array:
        return np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))

    return Problem(forward, cut(2), cut(1), [real(rng, 1, 2, 4, 4)])
