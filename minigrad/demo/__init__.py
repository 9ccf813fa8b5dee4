"""The demonstration: gradients are checked, a network is trained, kernels are timed, a report."""

from .outcome import Outcome as Outcome
from .steps import WANTED as WANTED, Missing as Missing, run as run
