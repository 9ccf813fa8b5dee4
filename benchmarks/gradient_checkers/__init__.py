"""Twenty planted faults, and which gradient checkers find them.

`python -m benchmarks.gradient_checkers` asks minigrad, and PyTorch and HIPS autograd where they are
installed, and writes the table in `docs/gradient-testing.md`.
"""

from . import windows as windows  # files its faults
from .checkers import CHECKERS as CHECKERS, Answer as Answer, installed as installed
from .faults import FAULTS as FAULTS, Fault as Fault, Problem as Problem, Twice as Twice
