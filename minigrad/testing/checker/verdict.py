"""What the checker found out: one `Finding` per input and order, gathered in a `Verdict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .taylor import Study

GOOD = ("equal", "kink")

_MEANING = {
    "equal": "equal",
    "different": "DIFFERENT",
    "kink": "at a kink, inside the subdifferential",
    "outside": "AT A KINK, OUTSIDE THE SUBDIFFERENTIAL",
    "unclear": "TOO NOISY TO TELL",
}


@dataclass(frozen=True)
class Finding:
    """The derivative by one input, compared.

    Attributes:
        order: 1 for the gradient, 2 for the gradient's gradient, and so on.
        label: which input (or, from order 2 on, which cotangent).
        shape: its shape.
        status: `equal`, `different`, `kink` (one-sided slopes differ and the gradient lies between
            them), `outside` (it does not), `unclear` (numerically nothing can be said).
        oracle: what it was compared with.
        where: the worst entry, in words.
        analytic: what the rule says there.
        numeric: what the oracle says there.
        tolerance: what they may differ by there.
        wrong: how many of the compared entries differ by more than they may.
        compared: how many were compared.
        note: anything else worth saying: on a mismatch, the fault in words.
        fault: "" or the family of the fault that explains a mismatch best, a key of
            `minigrad.testing.FAMILIES`.
        vacuous: whether the comparison would pass a rule that returns zeros.
        study: the worst entry along one line, for `slope` and `Verdict.plot`; None where nothing
            was compared. It holds the function, and is left behind when a finding is pickled.
    """

    order: int
    label: str
    shape: tuple[int, ...]
    status: str
    oracle: str
    where: str
    analytic: float
    numeric: float
    tolerance: float
    wrong: int
    compared: int
    note: str = ""
    fault: str = ""
    vacuous: bool = False
    study: Study | None = field(default=None, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the rule."""
        return self.status in GOOD

    @property
    def share(self) -> float:
        """The worst entry's error as a share of its tolerance."""
        error = abs(self.analytic - self.numeric)
        return error / self.tolerance if self.tolerance else float(error > 0)

    @property
    def slope(self) -> float:
        """The order at which the Taylor remainder of the worst entry shrinks with the step.

        2 or more for a right rule, 1 for a wrong one; NaN where the remainder does not rise above
        the rounding, as for a linear function with a right rule. Calls the function when it is
        first asked for.
        """
        return float("nan") if self.study is None else self.study.slope

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "study": None}

    def __str__(self) -> str:
        head = f"order {self.order}, {self.label} of shape {self.shape}: {_MEANING[self.status]}"
        how = f"({self.oracle}, {self.compared} compared)"
        lines = [f"{head} {how}"]
        if self.wrong and not self.ok:
            lines.append(f"    {self.wrong} of {self.compared} are wrong; the worst: {self.where}")
            lines.append(f"    the rule says {self.analytic:.9g}, numerically {self.numeric:.9g}")
            error = abs(self.analytic - self.numeric)
            allowed = f"{self.tolerance:.1e}, {self.share:.3g} times that"
            lines.append(f"    error {error:.2e}, allowed {allowed}")
            if self.slope == self.slope:
                lines.append(f"    the Taylor remainder shrinks as h^{self.slope:.2f}, wanted h^2")
        elif self.status == "equal" and self.compared:
            lines[0] += f", error at most {self.share:.1%} of the tolerance"
        if self.note:
            lines.append(f"    {self.note}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Verdict:
    """Whether the gradients of a function are right: true or false, and readable as text.

    Attributes:
        name: the function's name.
        findings: one per order and input.
        problems: broken promises other than a wrong number: inputs that were modified, gradients
            that alias the cotangent, and so on.
        unusable: whether the function itself is such that no gradient of it can be checked; the
            problems say why.
        precision: in what precision what was checked, if anything but double precision was asked
            for or used; else "".
    """

    name: str
    findings: tuple[Finding, ...]
    problems: tuple[str, ...] = ()
    unusable: bool = False
    precision: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything that was checked is right."""
        return not self.problems and all(f.ok for f in self.findings)

    @property
    def vacuous(self) -> bool:
        """Whether a rule that returns zeros would have passed too: nothing was really tested."""
        return all(f.vacuous for f in self.findings if f.order == 1)

    def plot(self, path: Any = None) -> Any:
        """The error of central differences against their step, one panel for each finding.

        Shows where the rule's number lies, the slope that a right one has, and the noise floor.

        Args:
            path: where to save it, if anywhere: a file name that matplotlib knows the ending of.

        Returns:
            a `matplotlib.figure.Figure`.

        Raises:
            ImportError: without matplotlib.
            ValueError: if nothing was compared, or the verdict was pickled.
        """
        from .plot import draw

        return draw(self, path)

    def _outcome(self) -> str:
        unclear = not self.problems and all(f.ok or f.status == "unclear" for f in self.findings)
        if self.ok:
            return "right"
        return "CANNOT BE CHECKED" if self.unusable or unclear else "WRONG"

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        lines = [f"gradcheck of {self.name}: {self._outcome()}"]
        if self.ok and self.vacuous:
            lines.append("  VACUOUS: a rule that returns zeros would pass too, see below")
        lines += [f"  {problem}" for problem in self.problems]
        if self.precision:
            lines.append(f"  {self.precision}")
        lines += ["  " + str(f).replace("\n", "\n  ") for f in self.findings]
        return "\n".join(lines)
