"""The gradient checker, from the bottom up; each module imports only those before it.

`functions`: what can be checked, evaluated and pulled back. `probes`: along which directions a
Jacobian is looked at. `oracles`: derivatives without rules. `rounding`: what is left of digits.
`place`: a function at its point, and what asking it has cost. `kinks`, `taylor`: how far a right
gradient may be from its oracle, and two ways to look closer; `plot` draws the second. `measure`
finds out which oracle a function can have. `verdict`: what was found. `doubts`: what an oracle may
not see. `block`: rule against oracle for one input, `compare` for all inputs in one order.
`promises`: what a gradient must keep beside its numbers. `gradcheck` puts them together.
"""
