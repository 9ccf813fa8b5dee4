"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import minigrad_kernels as kernels
from minigrad_kernels.arrays import array_module

from ..tensor import Tensor, wrap
from .optimizer import Optimizer, Parameters


class SGD(Optimizer):
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

    def update(self, p: Tensor, state: dict[str, Any], options: dict[str, Any]) -> None:
        """One step for one parameter."""
        assert p.grad is not None
        momentum, dampening = float(options["momentum"]), float(options["dampening"])
        arrays = [p.data]
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = wrap(array_module(p.data).zeros_like(p.data))
                dampening = 0.0
            arrays.append(buffer.data)
        kernels.sgd_step(
            p.data,
            p.grad.data,
            *arrays[1:],
            lr=float(options["lr"]),
            momentum=momentum,
            dampening=dampening,
            weight_decay=float(options["weight_decay"]),
            nesterov=bool(options["nesterov"]),
            maximize=bool(options["maximize"]),
            out=tuple(arrays) if momentum else p.data,
        )
