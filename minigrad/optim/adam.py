"""Adam and AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import minigrad_kernels as kernels

from .elementwise import Elementwise
from .optimizer import Parameters

if TYPE_CHECKING:
    from minigrad_kernels.cuda.optimizer_replay import Replayable


class Adam(Elementwise):
    """Gradient descent that scales each step by running means of the gradient and of its square.

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g**2;
    p = p - lr m' / (sqrt(v') + eps), where m' = m / (1 - beta1**t) and v' = v / (1 - beta2**t) in
    step t. (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.)

    Args:
        params: tensors, or dicts of tensors and options.
        lr: the learning rate.
        betas: (beta1, beta2), how much of each mean is kept in a step.
        eps: added to the denominator.
        weight_decay: the L2 penalty: weight_decay p is added to the gradient.
        amsgrad: use the largest v so far (Reddi, Kale and Kumar, "On the convergence of Adam and
            beyond", ICLR 2018).
        maximize: climb instead.

    Raises:
        TypeError, ValueError: as `Optimizer`.
    """

    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def check(self, options: dict[str, Any]) -> None:
        """Refuse options that make no sense."""
        super().check(options)
        self.check_number(options, "eps")
        betas = options["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{type(self).__name__}: betas must be two numbers, got {betas!r}")
        for i, beta in enumerate(betas, 1):
            self.check_value(f"beta{i}", beta, below=1.0)

    def remembers(self, options: dict[str, Any]) -> tuple[str, ...]:
        """The running means, and with AMSGrad the largest so far of the squares'."""
        return _LARGEST if options["amsgrad"] else _MEANS

    def settings(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options as `minigrad_kernels.adam_step` wants them."""
        beta1, beta2 = options["betas"]
        return {
            "lr": float(options["lr"]),
            "beta1": float(beta1),
            "beta2": float(beta2),
            "eps": float(options["eps"]),
            "weight_decay": float(options["weight_decay"]),
            "decoupled": self.decoupled,
            "maximize": bool(options["maximize"]),
        }

    def phase(self, state: dict[str, Any]) -> int:
        """The number of the step that comes."""
        return int(state.get("step", 0)) + 1

    def compute(self, arrays: tuple[Any, ...], phase: int, settings: dict[str, Any]) -> None:
        """One step, of any number of parameters."""
        kernels.adam_step(*arrays, **settings, step=phase, out=(arrays[0], *arrays[2:]))

    def replayable(self, arrays: tuple[Any, ...]) -> Replayable:
        """The step, for a CUDA graph."""
        from minigrad_kernels.cuda.optimizer_replay import replayable_adam

        return replayable_adam(*arrays)

    def numbers(self, phase: int, settings: dict[str, Any]) -> tuple[Any, ...]:
        """Its numbers, in which the number of the step is."""
        from minigrad_kernels.cuda.optimizer import adam_numbers

        return adam_numbers(**settings, step=phase)

    def advance(self, states: list[dict[str, Any]], phase: int) -> None:
        """Count the step."""
        for state in states:
            state["step"] = phase


_MEANS = "exp_avg", "exp_avg_sq"
_LARGEST = *_MEANS, "max_exp_avg_sq"


class AdamW(Adam):
    """Adam whose weight decay is apart from the gradient: p = p - lr weight_decay p, then as Adam.

    (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.) Arguments as
    `Adam`'s.
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
