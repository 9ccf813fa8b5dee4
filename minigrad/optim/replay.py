"""An optimizer's step as a part of a CUDA graph: what Python does in each replay.

Where parameters, gradients and states lie is captured, and stays. What changes from step to step is
a handful of numbers: the learning rate, the count of steps in Adam's corrections. They are computed
as for any other step, and written to the GPU before the graph is launched, which reads them there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minigrad_kernels.layout import REALS

from .. import memory
from ..tensor import Tensor

if TYPE_CHECKING:
    from .elementwise import Elementwise, _Plan


class ReplayedStep:
    """The step of parameters that are updated together. It is captured when this is made.

    Args:
        optimizer: whose step it is.
        group: of its `param_groups`.
        plan: what it knows of that.
        params: some of the group's.
        arrays: all their numbers as one array, their gradients, what is remembered; None for those
            of a single parameter.

    Raises:
        RuntimeError: if the step cannot be captured; nothing is changed then.
    """

    def __init__(
        self,
        optimizer: Elementwise,
        group: dict[str, Any],
        plan: _Plan,
        params: list[Tensor],
        arrays: tuple[Any, ...] | None,
    ) -> None:
        self.optimizer, self.group, self.plan, self.params = optimizer, group, plan, params
        self.name = f"{type(optimizer).__name__}.step"
        self.names = plan.names
        for p in params:
            self._check_parameter(p)
        self.states = [optimizer.state.setdefault(p, {}) for p in params]
        self.places = [self._arrays(p, state) for p, state in zip(params, self.states, strict=True)]
        if arrays is None:
            ((p, *kept),) = self.places
            g: Any = params[0].grad
            arrays = (p, g.data, *kept)
        self.step = optimizer.replayable(arrays)
        self.step.launch(out=(arrays[0], *arrays[2:]))

    def _check_parameter(self, p: Tensor) -> None:
        """Refuse a parameter whose step cannot be captured."""
        what = f"{self.name}: cannot be captured in a CUDA graph for a parameter of shape {p.shape}"
        if not p.is_cuda:
            raise RuntimeError(f"{what} on {p.device}, which is no GPU")
        if p.dtype not in REALS:
            raise RuntimeError(f"{what} and type {p.dtype}; wants float32 or float64")
        if not self.optimizer.state.get(p, {}).keys() >= set(self.names):
            raise RuntimeError(
                f"{what} that has no state yet; a step must be done before, as in the warm-up"
            )

    def _arrays(self, p: Tensor, state: dict[str, Any]) -> tuple[Any, ...]:
        """A parameter's numbers, and what is remembered of it."""
        return p.data, *[state[name].data for name in self.names]

    def check(self) -> None:
        """Refuse a replay that would not do what a step would do now.

        Raises:
            RuntimeError: if the group has other parameters than when it was captured, one has
                another array or another state, or the options want another state.
            TypeError, ValueError: if an option is out of range.
        """
        optimizer, plan, group = self.optimizer, self.plan, self.group
        if not plan.fits(group) or not any(group is each for each in optimizer.param_groups):
            self._refuse("its groups have other parameters")
        if plan.has_new_options(group):
            optimizer.read_options(plan, group)
        if plan.names != self.names:
            self._refuse("its options want another state")
        phase = optimizer.phase(self.states[0])
        for p, state, places in zip(self.params, self.states, self.places, strict=True):
            if optimizer.state.get(p) is not state or optimizer.phase(state) != phase:
                self._refuse("parameters have another state (as from load_state_dict)")
            for now, then in zip(self._arrays(p, state), places, strict=True):
                if now is not then:
                    self._refuse("a parameter or its state has another array")

    def _refuse(self, why: str) -> None:
        raise RuntimeError(
            f"replay: {self.name} was captured, and now {why}; capture the training step again"
        )

    def advance(self) -> None:
        """Write the numbers of the step that comes, and count it."""
        phase = self.optimizer.phase(self.states[0])
        self.step.set(self.optimizer.numbers(phase, self.plan.settings))
        self.optimizer.advance(self.states, phase)
        memory.changed(self.step.inputs[0], self.name)
