"""The demonstration: gradients are checked, a network is trained, kernels are timed, a report."""

from .steps import WANTED as WANTED, Missing as Missing, Outcome as Outcome, run as run
