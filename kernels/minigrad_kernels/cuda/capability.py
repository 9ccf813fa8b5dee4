"""What only some GPUs have, by their compute capability: 90 is 9.0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Array


@dataclass(frozen=True)
class Capability:
    """Instructions that only some GPUs have; the emulator has them all.

    Attributes:
        words: which GPUs have what.
        least, most: the compute capabilities of the first and the last of them; None for most if
            newer ones will have them, too.
    """

    words: str
    least: int
    most: int | None = None

    def lacking(self, x: Array) -> str | None:
        """That the GPU that an array is on lacks them, in words; None if it has them."""
        if isinstance(x, (np.ndarray, np.generic)):
            return None
        return self._refusal(int(x.device.compute_capability))

    def missing(self) -> str | None:
        """That all GPUs of this machine lack them, in words; None if one has them."""
        import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]

        numbers = range(int(cupy.cuda.runtime.getDeviceCount()))
        return self._refusal(*(int(cupy.cuda.Device(n).compute_capability) for n in numbers))

    def _refusal(self, *capabilities: int) -> str | None:
        if any(self.least <= n <= (self.most or n) for n in capabilities):
            return None
        here = " and ".join(f"{n // 10}.{n % 10}" for n in sorted(set(capabilities)))
        return f"{self.words}; here is {here}"


TENSOR_CORES = Capability(
    "only GPUs of compute capability 8.0 or more copy and round so for tensor cores", 80
)
WARPGROUPS = Capability("only GPUs of compute capability 9.0 multiply by warpgroups", 90, 90)
"""Newer GPUs have other instructions in their place."""
