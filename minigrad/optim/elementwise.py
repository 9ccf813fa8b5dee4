"""Optimizers that do the same to every number, and so to all parameters in one pass over memory.

The parameters of a group are laid side by side in one block of memory, and so are their gradients,
and what is remembered of each number (see `minigrad.flat`). A step is then one call of a kernel for
each run of neighbours for which everything is in its place. A parameter for which something is
elsewhere - its array or its gradient was assigned, somebody holds the memory - is updated alone,
with the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import TYPE_CHECKING, Any

from minigrad_kernels.arrays import array_module

from .. import memory
from ..device import capture
from ..flat import Flat, Part, flatten
from ..tensor import Tensor, wrap
from .optimizer import Optimizer, check_gradient
from .replay import ReplayedStep

if TYPE_CHECKING:
    from minigrad_kernels.cuda.optimizer_replay import Replayable


class Elementwise(Optimizer):
    """An optimizer whose step changes every number by its gradient and what is remembered of it.

    A subclass says, in `remembers`, `phase`, `compute` and `advance`, how; see there.
    """

    _plans: list[_Plan | None]

    # What a subclass says

    def remembers(self, options: dict[str, Any]) -> tuple[str, ...]:
        """The names of the arrays, of the parameter's shape, zero at first, in its state."""
        raise NotImplementedError

    def settings(self, options: dict[str, Any]) -> dict[str, Any]:
        """What `compute` gets of the options. Called only when one has changed."""
        raise NotImplementedError

    def phase(self, state: dict[str, Any]) -> Any:
        """What `compute` must know of a parameter's state besides the arrays; {} before the first
        step. Parameters of different phases are not updated together."""
        raise NotImplementedError

    def replayable(self, arrays: tuple[Any, ...]) -> Replayable:
        """The step of `compute`, for a CUDA graph, with numbers that can be changed."""
        raise NotImplementedError

    def numbers(self, phase: Any, settings: dict[str, Any]) -> tuple[Any, ...]:
        """These numbers."""
        raise NotImplementedError

    def compute(self, arrays: tuple[Any, ...], phase: Any, settings: dict[str, Any]) -> None:
        """Change in place parameters and state: `arrays` are p, its gradient, what it remembers."""
        raise NotImplementedError

    def advance(self, states: list[dict[str, Any]], phase: Any) -> None:
        """Note in the states of parameters, all of one phase, that a step was made."""

    # One parameter

    def update(self, p: Tensor, state: dict[str, Any], options: dict[str, Any]) -> None:
        """One step for one parameter."""
        self._update(p, state, self.remembers(options), self.settings(options), None)

    def _update(
        self,
        p: Tensor,
        state: dict[str, Any],
        names: tuple[str, ...],
        settings: dict[str, Any],
        part: Part | None,
    ) -> None:
        assert p.grad is not None
        phase = self.phase(state)
        _complete(state, names, part)
        for name in names:
            if name not in state:
                state[name] = wrap(array_module(p.data).zeros_like(p.data))
        arrays = p.data, p.grad.data, *(state[name].data for name in names)
        self.compute(arrays, phase, settings)
        self.advance([state], phase)

    # All of them

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take more parameters: a dict with "params" and options. Raises as the constructor."""
        super().add_param_group(param_group)
        number = len(self.param_groups) - 1
        self._plan(number, self.param_groups[number])

    def _plan(self, number: int, group: dict[str, Any]) -> _Plan:
        """What is known of a group; found out anew if it has other parameters now."""
        plans = self.__dict__.setdefault("_plans", [])
        plans += [None] * (number + 1 - len(plans))
        plan: _Plan | None = plans[number]
        if plan is None or not plan.fits(group):
            plan = plans[number] = None  # its places are free again
            plan = plans[number] = _Plan(group["params"])
            if type(self).update is Elementwise.update:
                plan.settle(plan.params)
        return plan

    def _prepare(self, number: int, group: dict[str, Any]) -> Any:
        plan = self._plan(number, group)
        if plan.has_new_options(group):
            self.read_options(plan, group)
        for flat in plan.flats:
            for name in plan.names:
                if name not in flat.kept:
                    flat.keep(name, self.state)
        plan.runs, plan.alone = [], []
        states, names, run = self.state, plan.names, _NOTHING
        for p, place in zip(plan.params, plan.places, strict=True):
            g = p.grad
            if g is None:
                continue
            if place is not None:
                part, flat = place
                if (
                    g.data is part.grad
                    and p.data is part.data
                    and (flat.on_gpu or part.data.flags.writeable)
                ):
                    state = states.get(p, _EMPTY)
                    missing = _missing(part, state, names)
                    if missing is not None:
                        phase = self.phase(state)
                        if flat is not run.flat or part.index != run.last + 1 or phase != run.phase:
                            run = _Run(part, flat, phase)
                            plan.runs.append(run)
                        run.last = part.index
                        run.states.append(state)
                        run.is_new |= missing or state is _EMPTY
                        continue
            check_gradient(type(self).__name__, p)
            plan.alone.append((p, place))
        return plan

    def read_options(self, plan: _Plan, group: dict[str, Any]) -> None:
        """Check a group's options, and note them in the form for use."""
        self.check(group)
        plan.names, plan.settings = self.remembers(group), self.settings(group)
        plan.remember_options(group)

    def _apply(self, group: dict[str, Any], prepared: Any) -> None:
        plan: _Plan = prepared
        operation = f"{type(self).__name__}.step"
        for run in plan.runs:
            if run.is_new:
                run.states = [
                    _complete(self.state.setdefault(part.tensor, {}), plan.names, part)
                    for part in run.flat.parts[run.first : run.last + 1]
                ]
            arrays = run.flat.run(run.first, run.last, plan.names)
            self.compute(arrays, run.phase, plan.settings)
            self.advance(run.states, run.phase)
            memory.changed(arrays[0], operation)
        for p, place in plan.alone:
            state = self.state.setdefault(p, {})
            if place is not None and place[0].holds():
                self._update(p, state, plan.names, plan.settings, place[0])
            else:
                self.update(p, state, group)
            memory.changed(p.data, operation)
        if plan.alone:
            plan.tidy()
        plan.runs, plan.alone = [], []

    # In a CUDA graph

    def _recording(self) -> Callable[[dict[str, Any], Any], None]:
        own_update = type(self).update is not Elementwise.update
        if own_update or self._defining("compute") is not self._defining("replayable"):
            return super()._recording()  # a subclass's: it may compute anything
        return self._record

    def _defining(self, method: str) -> type:
        """The class whose method of that name this optimizer has."""
        return next(cls for cls in type(self).__mro__ if method in vars(cls))

    def _record(self, group: dict[str, Any], prepared: Any) -> None:
        """Capture the step of a group."""
        plan: _Plan = prepared
        for run in plan.runs:
            parts = run.flat.parts[run.first : run.last + 1]
            arrays = run.flat.run(run.first, run.last, plan.names)
            params = [part.tensor for part in parts]
            capture.replayed.append(ReplayedStep(self, group, plan, params, arrays))
        for p, _ in plan.alone:
            capture.replayed.append(ReplayedStep(self, group, plan, [p], None))
        plan.runs, plan.alone = [], []

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; arrays are copied. Raises as `Optimizer`'s."""
        super().load_state_dict(state_dict)
        for plan in self.__dict__.get("_plans", ()):
            for flat in () if plan is None else plan.flats:
                flat.forget()  # whoever holds the old state keeps its numbers

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_plans"}


class _Plan:
    """What is known of a group: where its parameters are, and its options in the form for use."""

    def __init__(self, params: list[Tensor]) -> None:
        self.params = list(params)
        self.places: list[tuple[Part, Flat] | None] = [None] * len(params)
        self.flats: list[Flat] = []
        self.options: list[Any] | None = None
        self.settings: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()
        self.runs: list[_Run] = []
        self.alone: list[tuple[Tensor, tuple[Part, Flat] | None]] = []
        self.wait = self.patience = 1

    def fits(self, group: dict[str, Any]) -> bool:
        params = group["params"]
        return len(params) == len(self.params) and all(map(is_, params, self.params))

    def has_new_options(self, group: dict[str, Any]) -> bool:
        options = self.options
        return (
            options is None
            or len(options) != len(group)
            or not all(map(is_, options, group.values()))
        )

    def remember_options(self, group: dict[str, Any]) -> None:
        """They were found good. What is in a list can change unseen, so it is checked each time."""
        lists = any(isinstance(v, list) for key, v in group.items() if key != "params")
        self.options = None if lists else list(group.values())

    def settle(self, params: list[Tensor]) -> None:
        """Lay these parameters side by side, as far as they can be moved."""
        new = {part.tensor: (part, flat) for flat in flatten(params) for part in flat.parts}
        self.places = [new.get(p, place) for p, place in zip(self.params, self.places, strict=True)]
        used = {id(place[1]): place[1] for place in self.places if place is not None}
        self.flats = list(used.values())

    def tidy(self) -> None:
        """Find places for what is not where it should be.

        Parameters that are given new arrays in every step would be moved in every step, so each
        time it waits for twice as many steps.
        """
        homeless = []
        for p, place in self.alone:
            if place is None or not place[0].holds():
                homeless.append(p)
            else:
                place[0].serve()
        if homeless:
            self.patience -= 1
            if self.patience <= 0:
                self.wait = self.patience = 2 * self.wait
                self.settle(homeless)


class _Run:
    """Neighbours in memory that are updated together, the states of all, whether one is new."""

    __slots__ = ("first", "flat", "is_new", "last", "phase", "states")

    def __init__(self, part: Part, flat: Flat, phase: Any) -> None:
        self.flat, self.phase = flat, phase
        self.first = self.last = part.index
        self.states: list[dict[str, Any]] = []
        self.is_new = False


class _Nothing:
    """The run before the first."""

    flat = phase = None
    last = -1


_NOTHING: Any = _Nothing()
_EMPTY: dict[str, Any] = {}


def _complete(state: dict[str, Any], names: tuple[str, ...], part: Part | None) -> dict[str, Any]:
    """Begin to remember, in a parameter's place, what is not in its state yet."""
    for name in names:
        if name not in state and part is not None and part.is_free(name):
            part.kept[name].fill(0)
            state[name] = wrap(part.kept[name])
    return state


def _missing(part: Part, state: dict[str, Any], names: tuple[str, ...]) -> bool | None:
    """Whether something is not remembered yet, but has a free place; None if it has not, or is
    remembered elsewhere."""
    missing = False
    for name in names:
        kept = state.get(name)
        if kept is None:
            if not part.is_free(name):
                return None
            missing = True
        elif kept.data is not part.kept[name]:
            return None
    return missing
