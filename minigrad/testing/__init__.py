"""Testing gradients: of this library's operations and of your own.

`gradcheck` and `assert_gradients` need NumPy only. `minigrad.testing.strategies`, which draws
tensors, shapes, layouts and whole programs, needs the package hypothesis, and is imported apart.
"""

from .autopsy import FAMILIES as FAMILIES
from .gradcheck import assert_gradients as assert_gradients, gradcheck as gradcheck
from .verdict import Finding as Finding, Verdict as Verdict
