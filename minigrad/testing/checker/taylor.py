"""The Taylor-remainder test: a right derivative leaves a remainder that shrinks as h squared.

With phi(t) = v^T f(x + t u) and a rule that says phi'(0) = s, the remainder |phi(h) - phi(0) - h s|
is O(h^2) if s is right and O(h) if it is not, whatever the size of the second derivative: no step
and no tolerance has to be chosen. It is how adjoint models are tested: P. Farrell, D. Ham, S. Funke
and M. Rognes, "Automated derivation of the adjoint of high-level transient finite element
programs", SIAM J. Sci. Comput. 35 (2013). Below the noise of phi the remainder says nothing; the
noise is measured: J. More and S. Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33
(2011).
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from .oracles import Line

POINTS = 16  # of the range of steps, half a decade apart
FURTHER = 40  # that many more where the input is small
WIDEST = 0.1  # of the size of the input; the higher terms of the series show beyond it
NOISE_STEP = 1e-12  # so small that the function does not change but for rounding
CLEAR = 30.0  # how many times the noise a remainder must be to count


class Study:
    """One entry of a derivative along one line: steps against remainders and errors.

    Args:
        line: t -> f(x + t u).
        weights: the cotangent v, flat.
        here: f(x), flat.
        said: v^T J u by the rule.
        seen: v^T J u by the oracle.
        eps: of the type that the function computes in.
        shaken: by how much each output changes when the inputs change in their last digits. What
            cancels within the function leaves rounding that near steps along the line hide.
    """

    def __init__(
        self,
        line: Line,
        weights: np.ndarray,
        here: np.ndarray,
        said: float,
        seen: float,
        eps: float,
        shaken: np.ndarray,
    ) -> None:
        self.line, self.weights, self.here = line, weights, here
        self.said, self.seen, self.eps, self.shaken = said, seen, eps, shaken
        # Near 0 a function may change on the scale of the input: go on to steps well below it.
        smaller = math.log10(line.reach) - math.log10(line.size) if line.size else 0.0
        points = POINTS + min(FURTHER, int(2 * smaller))
        self.steps = line.reach * WIDEST * 10.0 ** (-0.5 * np.arange(points))

    def phi(self, t: float) -> float:
        """v^T f(x + t u)."""
        return self._weighed(self.line.at(t))

    def _weighed(self, outputs: np.ndarray) -> float:
        # Outputs that take no part may be infinite.
        used = self.weights != 0
        return float(self.weights[used] @ np.asarray(outputs[used]).real)

    @cached_property
    def noise(self) -> float:
        """The standard deviation of phi's rounding, by a table of differences.

        Differences of order k of a smooth function over tiny steps vanish; those of noise of
        variance s^2 have the variance s^2 (2k)! / (k!)^2.
        """
        step = NOISE_STEP * (min(self.line.size, self.line.reach) or self.line.reach)
        values = [self.phi(i * step) for i in range(-4, 5)]
        table = np.asarray(values)
        found = []
        for k in range(1, 7):
            table = np.diff(table)
            if k >= 3:
                gamma = math.factorial(k) ** 2 / math.factorial(2 * k)
                found.append(math.sqrt(gamma * float(np.mean(table * table))))
        used = self.weights != 0
        each = np.maximum(self.eps * abs(self.here[used]), self.shaken[used])
        rounding = float(abs(self.weights[used]) @ each)
        return max(float(np.median(found)), rounding) if np.isfinite(found).all() else rounding

    @cached_property
    def remainders(self) -> np.ndarray:
        """|phi(h) - phi(0) - h s| for each step."""
        start = self._weighed(self.here)
        return np.asarray([abs(self.phi(h) - start - h * self.said) for h in self.steps])

    @cached_property
    def counting(self) -> np.ndarray:
        """The steps whose remainder stands above the noise, from the widest on downwards."""
        # A step moves the input by its rounding too, which the slope carries to the output.
        input_noise = self.eps * self.line.size * max(abs(self.said), abs(self.seen))
        above = np.isfinite(self.remainders)
        above &= self.remainders > CLEAR * (self.noise + input_noise)
        return above & (np.cumsum(~above) == 0)

    @cached_property
    def slope(self) -> float:
        """The exponent of h: fitted where the remainder stands above the noise, NaN if nowhere.

        Fitted to the narrowest steps that count, at most six: the leading term rules there.
        """
        rows = np.flatnonzero(self.counting)[-6:]
        if rows.size < 3:
            return float("nan")
        h, r = np.log(self.steps[rows]), np.log(self.remainders[rows])
        return float(np.polyfit(h, r, 1)[0])

    @property
    def says_right(self) -> bool:
        """The remainder shrinks as h^2 down to where an error of 1e-4 would show.

        An error e of the rule adds e h: so e is at most the remainder over the step.
        """
        # Where it shrinks so with every step there is nothing else, however small it is.
        return self.most <= 1e-4 * abs(self.said) or bool(self.slope > 1.8 and self.counting.all())

    @property
    def most(self) -> float:
        """The largest error that the rule may have, if the remainder shrinks as h^2; else infinity.

        It is the remainder over the step, at the narrowest step that counts.
        """
        rows = np.flatnonzero(self.counting)
        if rows.size < 3 or not self.slope > 1.8:
            return math.inf
        return float(self.remainders[rows[-1]] / self.steps[rows[-1]])

    @property
    def says_wrong(self) -> bool:
        """The remainder over the step tends to a number that is not zero: the rule's error."""
        rows = np.flatnonzero(self.counting)[-4:]
        if rows.size < 4 or not abs(self.slope - 1) < 0.1:
            return False
        errors = self.remainders[rows] / self.steps[rows]
        return bool(np.ptp(errors) < 0.05 * errors.max())

    def differences(self, steps: np.ndarray) -> np.ndarray:
        """The central difference quotients with these steps."""
        with np.errstate(all="ignore"):
            return np.asarray([(self.phi(h) - self.phi(-h)) / (2 * h) for h in steps])
