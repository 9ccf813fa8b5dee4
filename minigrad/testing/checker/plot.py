"""`Verdict.plot`: how the error of a central difference depends on its step. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .taylor import Study

if TYPE_CHECKING:
    from .verdict import Finding, Verdict

STEPS = 41  # of each curve, over twelve decades


def draw(verdict: Verdict, path: Any = None) -> Any:
    """One panel for each finding: see `Verdict.plot`.

    The V is what finite differences always show (truncation h^2 to the right, rounding eps / h to
    the left). The differences' distance from the rule's number follows it down to its bottom if the
    rule is right, and stays at the rule's error, a level line, if it is wrong.
    """
    shown = [f for f in verdict.findings if f.study is not None]
    if not shown:
        raise ValueError("plot: nothing was compared, or the verdict was pickled")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Verdict.plot needs the package matplotlib: pip install matplotlib"
        ) from error
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.8 * columns, 3.8 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    for panel, finding in zip(panels, shown, strict=False):
        _panel(panel, finding)
    figure.suptitle(f"{verdict.name}: {'right' if verdict.ok else 'WRONG'}")
    if path is not None:
        figure.savefig(path)
    return figure


def curves(study: Study) -> dict[str, np.ndarray]:
    """The numbers of a panel: `step`, and for each `oracle`, `rule`, `noise` and `guide`."""
    steps = study.line.reach * np.logspace(-12, 0, STEPS)
    differences = study.differences(steps)
    from_oracle = abs(differences - study.seen)
    noise = study.noise / steps
    # The guide runs through the widest step whose error is truncation, not rounding.
    clear = np.isfinite(from_oracle) & (from_oracle > 10 * noise)
    at = np.flatnonzero(clear)
    guide = np.full(steps.shape, np.nan)
    if at.size:
        middle = at[at.size // 2]
        guide = from_oracle[middle] * (steps / steps[middle]) ** 2
    return {
        "step": steps,
        "oracle": from_oracle,
        "rule": abs(differences - study.said),
        "noise": noise,
        "guide": guide,
    }


def _panel(panel: Any, finding: Finding) -> None:
    assert finding.study is not None
    found = curves(finding.study)
    steps = found["step"]
    error = abs(finding.analytic - finding.numeric)
    panel.loglog(steps, _positive(found["oracle"]), ".-", label="difference against oracle")
    panel.loglog(steps, _positive(found["rule"]), ".-", label="difference against rule")
    panel.loglog(steps, _positive(found["noise"]), ":", color="gray", label="noise floor")
    panel.loglog(steps, _positive(found["guide"]), "--", color="gray", label="slope 2")
    if error > 0:
        panel.axhline(error, color="C3", linewidth=1, label=f"rule against oracle: {error:.1e}")
    both = _positive(np.concatenate([found["oracle"], found["rule"]]))
    panel.set_ylim(np.nanmin(both) / 10, np.nanmax(both) * 10)
    panel.set_title(f"order {finding.order}, {finding.where}: {finding.status}", fontsize=9)
    panel.set_xlabel("step h")
    panel.set_ylabel("error of the central difference")
    panel.legend(fontsize=7)


def _positive(values: np.ndarray) -> np.ndarray:
    """Without zeros, which a logarithmic axis has no place for."""
    finite = values[np.isfinite(values) & (values > 0)]
    floor = finite.min() if finite.size else 1e-20
    return np.where(
        np.isfinite(values), np.maximum(values, floor), np.nan if finite.size else floor
    )
