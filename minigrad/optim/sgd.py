"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import minigrad_kernels as kernels

from .elementwise import Elementwise
from .optimizer import Parameters

if TYPE_CHECKING:
    from minigrad_kernels.cuda.optimizer_replay import Replayable


class SGD(Elementwise):
    """Gradient descent, with momentum if wanted, as PyTorch defines it.

    d = g + weight_decay p; buffer = momentum buffer + (1 - dampening) d (at first d itself);
    p = p - lr buffer, or with Nesterov's momentum p = p - lr (d + momentum buffer). (Sutskever et
    al., "On the importance of initialization and momentum in deep learning", ICML 2013.)

    Args:
        params: tensors, or dicts of tensors and options.
        lr: the learning rate.
        momentum: how much of the earlier direction is kept.
        dampening: how much less than all of the new direction is added to it.
        weight_decay: the L2 penalty.
        nesterov: look ahead; wants momentum and no dampening.
        maximize: climb instead.

    Raises:
        TypeError, ValueError: as `Optimizer`.

    >>> import minigrad as mg
    >>> x = mg.tensor([3.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.1)
    >>> (x * x).backward()
    >>> optimizer.step()
    >>> x.tolist()
    [2.4000000953674316]
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, options: dict[str, Any]) -> None:
        """Refuse options that make no sense."""
        super().check(options)
        self.check_number(options, "momentum")
        self.check_number(options, "dampening")
        if options["nesterov"] and (not options["momentum"] or options["dampening"]):
            raise ValueError("SGD: nesterov wants momentum above 0 and no dampening")

    def remembers(self, options: dict[str, Any]) -> tuple[str, ...]:
        """The direction so far, if it is kept."""
        return ("momentum_buffer",) if options["momentum"] else ()

    def settings(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options as `minigrad_kernels.sgd_step` wants them."""
        return {
            "lr": float(options["lr"]),
            "momentum": float(options["momentum"]),
            "dampening": float(options["dampening"]),
            "weight_decay": float(options["weight_decay"]),
            "nesterov": bool(options["nesterov"]),
            "maximize": bool(options["maximize"]),
        }

    def phase(self, state: dict[str, Any]) -> bool:
        """Whether there is a direction so far; without, the new one is taken undamped."""
        return "momentum_buffer" in state

    def compute(self, arrays: tuple[Any, ...], phase: bool, settings: dict[str, Any]) -> None:
        """One step, of any number of parameters."""
        if len(arrays) == 2:
            kernels.sgd_step(*arrays, **settings, out=arrays[0])
            return
        if not phase:
            settings = {**settings, "dampening": 0.0}
        kernels.sgd_step(*arrays, **settings, out=(arrays[0], arrays[2]))

    def replayable(self, arrays: tuple[Any, ...]) -> Replayable:
        """The step, for a CUDA graph."""
        from minigrad_kernels.cuda.optimizer_replay import replayable_sgd

        return replayable_sgd(*arrays)

    def numbers(self, phase: bool, settings: dict[str, Any]) -> tuple[Any, ...]:
        """Its numbers. In a graph there always is a direction so far."""
        from minigrad_kernels.cuda.optimizer import sgd_numbers

        return sgd_numbers(bool(settings["momentum"]), **settings)
