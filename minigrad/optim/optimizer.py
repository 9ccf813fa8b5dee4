"""What all optimizers share: groups of parameters with their options, state, saving and loading."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from minigrad_kernels.arrays import is_array

from .. import dtypes, memory
from ..device import capture
from ..flat import zero_gradient
from ..inplace import is_writable
from ..modes import enable_grad
from ..tensor import Tensor, wrap

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer:
    """Changes parameters by their gradients. A subclass says how, in `update`.

    Args:
        params: tensors, or dicts with a key "params" and options that differ from `defaults`.
        defaults: the options.

    Attributes:
        param_groups: a list of dicts: "params", and the options; assign to an option to change it.
        state: for each parameter that was updated, a dict of what is remembered of it.

    Raises:
        TypeError: if a parameter is not a tensor, or an option is not a number.
        ValueError: if there are no parameters, one comes twice or was computed by an operation, or
            an option is out of range. Nothing is changed then.
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(params, (Tensor, dict)):
            raise TypeError(
                f"{name}: params must be a list of tensors or of dicts, got one "
                f"{type(params).__name__}"
            )
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.check(defaults)
        if not isinstance(params, Iterable):
            raise TypeError(
                f"{name}: params must be a list of tensors or of dicts, got {type(params).__name__}"
            )
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{name}: the list of parameters is empty")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take more parameters: a dict with "params" and options. Raises as the constructor."""
        name = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"{name}: a group must be a dict with a key 'params'")
        unknown = param_group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ValueError(
                f"{name}: no option {', '.join(map(repr, sorted(unknown)))}; there are "
                f"{', '.join(self.defaults)}"
            )
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        seen = {id(p) for p in self._parameters()}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: parameter {i} is a {type(p).__name__}, not a tensor")
            if not p.is_leaf:
                raise ValueError(
                    f"{name}: parameter {i} of shape {p.shape} was computed by an operation; only "
                    "leaf tensors can be optimized"
                )
            if not dtypes.is_floating(p.dtype):
                raise TypeError(f"{name}: parameter {i} is {p.dtype}, not floating-point")
            if id(p) in seen:
                raise ValueError(f"{name}: parameter {i} of shape {p.shape} was given twice")
            seen.add(id(p))
        group = {**self.defaults, **param_group, "params": params}
        self.check(group)
        self.param_groups.append(group)

    def _parameters(self) -> Iterator[Tensor]:
        return chain.from_iterable(group["params"] for group in self.param_groups)

    # What a subclass says

    def check(self, options: dict[str, Any]) -> None:
        """Refuse options that make no sense. A subclass extends it."""
        for key in ("lr", "weight_decay"):
            if key in options:
                self.check_number(options, key)

    def update(self, p: Tensor, state: dict[str, Any], options: dict[str, Any]) -> None:
        """Change the array of one parameter, which has a gradient, and its state, in place."""
        raise NotImplementedError(f"{type(self).__name__} has no method `update`")

    def check_number(self, options: dict[str, Any], key: str, below: float = math.inf) -> None:
        """Refuse an option that is not a number in [0, below)."""
        self.check_value(key, options[key], below)

    def check_value(self, what: str, value: Any, below: float = math.inf) -> None:
        """Refuse a value that is not a number in [0, below)."""
        if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
            raise TypeError(
                f"{type(self).__name__}: {what} must be a number, got {type(value).__name__}"
            )
        if not 0 <= value < below:
            wanted = "finite and not negative" if below == math.inf else f"in [0, {below:g})"
            raise ValueError(f"{type(self).__name__}: {what} must be {wanted}, got {value}")

    # Use

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                else:
                    zero_gradient(p)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss anew, and its gradients; called first.

        Returns:
            what `closure` returned.

        Raises:
            ValueError, TypeError: if an option is out of range, or a gradient does not fit its
                parameter. Nothing is changed then.
            RuntimeError: where work is captured in a graph, and this step cannot be; see
                `minigrad.cuda.capture`.
        """
        apply = self._recording() if capture.active else self._apply
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        # Whatever can be refused is refused before anything is changed.
        prepared = [self._prepare(i, group) for i, group in enumerate(self.param_groups)]
        for group, what in zip(self.param_groups, prepared, strict=True):
            apply(group, what)
        return loss

    def _recording(self) -> Callable[[dict[str, Any], Any], None]:
        """What stands for `_apply` where work is captured in a graph.

        Raises:
            RuntimeError: if there is nothing: numbers of Python would be the same in all replays.
        """
        raise RuntimeError(
            f"{type(self).__name__}.step: cannot be captured in a CUDA graph: its options and "
            "its count of steps would never change; call it after each replay"
        )

    def _prepare(self, number: int, group: dict[str, Any]) -> Any:
        """Check a group, and say what is to be done with it: here, the parameters to update."""
        self.check(group)
        waiting = [p for p in group["params"] if p.grad is not None]
        for p in waiting:
            check_gradient(type(self).__name__, p)
        return waiting

    def _apply(self, group: dict[str, Any], prepared: Any) -> None:
        """Do it."""
        for p in prepared:
            self.update(p, self.state.setdefault(p, {}), group)
            memory.changed(p.data, f"{type(self).__name__}.step")

    # Saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Options and state as plain dicts; parameters become numbers. Shares the tensors."""
        numbers = {id(p): i for i, p in enumerate(self._parameters())}
        groups = [
            {**group, "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {numbers[id(p)]: dict(kept) for p, kept in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; arrays are copied.

        Raises:
            ValueError: if the groups, their sizes, their options or the shapes of the state do not
                fit this optimizer; TypeError: if it is no such dict. Nothing is changed then.
        """
        name = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= state_dict.keys():
            raise TypeError(f"{name}: wants a dict with the keys 'state' and 'param_groups'")
        groups, states = state_dict["param_groups"], state_dict["state"]
        if not isinstance(groups, (list, tuple)) or not all(
            isinstance(g, dict) and isinstance(g.get("params"), (list, tuple)) for g in groups
        ):
            raise TypeError(f"{name}: 'param_groups' must be a list of dicts with a list 'params'")
        if not isinstance(states, dict) or not all(isinstance(s, dict) for s in states.values()):
            raise TypeError(f"{name}: 'state' must be a dict of dicts")
        sizes = [len(g["params"]) for g in groups]
        wanted = [len(g["params"]) for g in self.param_groups]
        if sizes != wanted:
            raise ValueError(f"{name}: groups of {sizes} parameters came, {wanted} were wanted")
        loaded = []
        for group, own in zip(groups, self.param_groups, strict=True):
            missing = own.keys() - group.keys()
            if missing:
                raise ValueError(f"{name}: a group lacks the option {', '.join(sorted(missing))}")
            loaded.append({key: group[key] for key in own if key != "params"})
            self.check(loaded[-1])
        by_number = dict(
            zip(chain.from_iterable(g["params"] for g in groups), self._parameters(), strict=True)
        )
        unknown = states.keys() - by_number.keys()
        if unknown:
            raise ValueError(f"{name}: state of parameters {sorted(unknown)}, which no group has")
        state = {}
        for i, kept in states.items():
            p, what = by_number[i], f"of parameter {i}"
            state[p] = {key: _copied(f"{name}: {key} {what}", kept[key], p) for key in kept}
        for options, own in zip(loaded, self.param_groups, strict=True):
            own.update(options)
        self.state = state

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])


def check_gradient(name: str, p: Tensor) -> None:
    """Refuse what would fail, or go wrong silently, in the middle of a step."""
    g = p.grad
    assert g is not None
    elsewhere = g.data.__class__ is not p.data.__class__ or (p.is_cuda and g.device != p.device)
    if g.data.shape != p.data.shape or elsewhere:
        raise ValueError(
            f"{name}: a gradient of shape {g.shape} on {g.device} for a parameter of shape "
            f"{p.shape} on {p.device}"
        )
    if g.data.dtype != p.data.dtype:
        raise TypeError(f"{name}: a gradient of {g.dtype} for a parameter of {p.dtype}")
    if not is_writable(p):
        raise ValueError(f"{name}: the memory of a parameter of shape {p.shape} is read-only")


def _copied(what: str, value: Any, p: Tensor) -> Any:
    """An entry of a parameter's state: numbers as they are, arrays copied to p's type and place."""
    if not isinstance(value, Tensor) and not is_array(value):
        return value
    if value.shape != p.shape:
        raise ValueError(f"{what} has shape {value.shape}, the parameter {p.shape}")
    copy = wrap(value.data if isinstance(value, Tensor) else value).to(p.dtype).to(p.device)
    return copy.clone()
