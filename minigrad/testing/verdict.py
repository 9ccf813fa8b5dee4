"""What the checker found out: one `Finding` per input and order, gathered in a `Verdict`."""

from __future__ import annotations

from dataclasses import dataclass

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
        note: anything else worth saying, such as a guess at the fault.
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

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the rule."""
        return self.status in GOOD

    @property
    def share(self) -> float:
        """The worst entry's error as a share of its tolerance."""
        error = abs(self.analytic - self.numeric)
        return error / self.tolerance if self.tolerance else float(error > 0)

    def __str__(self) -> str:
        head = f"order {self.order}, {self.label} of shape {self.shape}: {_MEANING[self.status]}"
        how = f"({self.oracle}, {self.compared} compared)"
        lines = [f"{head} {how}"]
        if not self.ok:
            lines.append(f"    {self.wrong} of {self.compared} are wrong; the worst: {self.where}")
            lines.append(f"    the rule says {self.analytic:.9g}, numerically {self.numeric:.9g}")
            error = abs(self.analytic - self.numeric)
            lines.append(f"    error {error:.2e}, allowed {self.tolerance:.1e}")
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
    """

    name: str
    findings: tuple[Finding, ...]
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything that was checked is right."""
        return not self.problems and all(f.ok for f in self.findings)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        lines = [f"gradcheck of {self.name}: {'right' if self.ok else 'WRONG'}"]
        lines += [f"  {problem}" for problem in self.problems]
        lines += ["  " + str(f).replace("\n", "\n  ") for f in self.findings]
        return "\n".join(lines)
