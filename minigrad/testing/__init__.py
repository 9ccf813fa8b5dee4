"""Testing gradients: of this library's operations and of your own.

`gradcheck` and `assert_gradients` need NumPy only. `minigrad.testing.strategies`, which draws
tensors, shapes, layouts and whole programs, needs the package hypothesis, and is imported apart.

`checker` compares rules with derivatives that need none, and `autopsy` names the fault that
explains a mismatch. `calls` draws calls of operations, `backends` and `everything` check them on
every backend, `modules` makes a function of a module's parameters. `strategies` and `programs` draw
inputs and graphs, `shapes` reads those that are typed; `replay` writes a failing check as a script,
`plugin` serves pytest, and `mutation` asks whether tests would notice a fault.
"""

from .autopsy import FAMILIES as FAMILIES
from .checker.gradcheck import assert_gradients as assert_gradients, gradcheck as gradcheck
from .checker.verdict import Finding as Finding, Verdict as Verdict
