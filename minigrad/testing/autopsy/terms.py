"""Known faults that concern single terms, other points, or a few entries. See `faults`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..checker.probes import dense
from .axes import axes_named, describe, index, subsets
from .evidence import Case

# Narrower than the first step: truncations of thousands of outputs add up, more than roundings do.
SEARCH_STEP = 3e-5
PLAIN = 6  # so many entries one number must explain: fewer may agree by chance

# Terms


def missing_coupling(c: Case) -> str:
    """J = R - term, for terms through a mean, a variance or a norm that was held constant.

    With r = R^T v, the right gradient is often r - a sum(d r) along some axes: with a = d = 1 for a
    mean, a = d = x - mean or the output for a variance or norm, a = output and d = 1 for softmax, a
    = softmax for its logarithm. The coefficient is fitted, one for each group along the axes.
    """
    rules = c.rules.reshape(-1, *c.x.shape)
    for axes in subsets(c.x.shape):
        over = tuple(a + 1 for a in axes)
        for what, terms in _couplings(c, axes):
            columns = [a * (d * rules).sum(over, keepdims=True) for a, d in terms]
            if _fitted(c, columns, over):
                return (
                    f"a term is missing: {what} over {axes_named(axes, c.x.ndim)} is held constant"
                )
    return ""


Terms = list[tuple[np.ndarray, np.ndarray]]


def _couplings(c: Case, axes: tuple[int, ...]) -> Iterator[tuple[str, Terms]]:
    one = np.ones(c.x.shape)
    centred = c.x - c.x.mean(axes, keepdims=True)
    yield "the mean", [(one, one)]
    yield "the norm", [(c.x, c.x)]
    yield "the variance", [(centred, centred)]
    if c.y is not None and c.y.shape == c.x.shape:
        yield "the normaliser", [(c.y, one)]
        yield "the variance or norm", [(c.y, c.y)]
        with np.errstate(all="ignore"):
            power = np.exp(c.y)
        if np.isfinite(power).all():
            yield "the normaliser of the logarithm", [(power, one)]
    yield "the mean and the variance", [(one, one), (centred, centred)]


def _fitted(c: Case, columns: list[np.ndarray], over: tuple[int, ...]) -> bool:
    """Is R - J a combination of these terms, with coefficients that are constant along the axes?"""
    gap = c.said - c.seen
    if not c.full:
        return _fitted_flat(c, [c.on_directions(t.reshape(len(t), -1)) for t in columns], gap)
    left = gap.reshape(columns[0].shape)
    over = (0, *over)
    groups = left.size // max(1, int(np.prod([left.shape[a] for a in over])))
    if left.size < 3 * groups * len(columns):
        return False
    # Normal equations, one small system for each group; the terms are scaled to unit size.
    gram = np.stack(
        [np.stack([(s * t).sum(over) for t in columns], -1) for s in columns], -2
    ).reshape(groups, len(columns), len(columns))
    right = np.stack([(t * left).sum(over) for t in columns], -1).reshape(groups, len(columns), 1)
    found = (np.linalg.pinv(gram, rcond=1e-12) @ right)[..., 0]
    shape = [1 if a in over else n for a, n in enumerate(left.shape)]
    explained = sum(
        (t * found[:, i].reshape(shape) for i, t in enumerate(columns)), np.zeros(left.shape)
    )
    return c.fits(explained.reshape(gap.shape), gap)


def _fitted_flat(c: Case, columns: list[np.ndarray], gap: np.ndarray) -> bool:
    matrix = np.stack([t.ravel() for t in columns], axis=1)
    found = np.linalg.lstsq(matrix, gap.ravel(), rcond=None)[0]
    return c.fits((matrix @ found).reshape(gap.shape), gap)


def missing_factor_derivative(c: Case) -> str:
    """R = y / x or R = J - y / x, entry by entry: of y = x u(x), either u or x u' is not there."""
    if not _elementwise(c) or (c.x == 0).any():
        return ""
    assert c.y is not None
    said, seen, other = np.diag(c.said), np.diag(c.seen), c.y.ravel() / c.x.ravel()
    if c.fits(said, other):
        return (
            "a term is missing: the rule gives output / input, as if the other factor were constant"
        )
    if c.fits(said, seen - other):
        return "a term is missing: output / input, as if the factor input were constant"
    return ""


def missing_plain(c: Case) -> str:
    """J = R + f d, entry by entry, where d is 1, the input or the output, and f a number.

    Of y = x + u(x), a connection that skips u, the rule of u alone is there.
    """
    f, what = _plain(c)
    return f"a term is missing: {f:.6g} times the cotangent{what}" if f > 0 else ""


def extra_plain(c: Case) -> str:
    """R = J + f d, entry by entry, where d is 1, the input or the output, and f a number."""
    f, what = _plain(c)
    return f"a term too many: {-f:.6g} times the cotangent{what}" if f < 0 else ""


def _plain(c: Case) -> tuple[float, str]:
    if not _elementwise(c) or c.x.size < PLAIN:
        return 0.0, ""
    assert c.y is not None
    gap = np.diag(c.seen - c.said)
    for name, term in (
        (", as where an input is added to an output", np.ones(c.x.size)),
        (f" times {c.label}", c.x.ravel()),
        (" times the output", np.asarray(c.y, np.float64).ravel()),
    ):
        size = float(term @ term)
        f = float(gap @ term) / size if size else 0.0
        if f and c.fits(np.diag(gap), np.diag(f * term)):
            return f, name
    return 0.0, ""


def extra_entries(c: Case) -> str:
    """R is J and something more where J is zero."""
    small = 1e-9 * abs(c.seen).max(initial=0.0)
    if not c.full or not c.fits(np.where(abs(c.seen) <= small, 0.0, c.said), c.seen):
        return ""
    extra = int(((abs(c.seen) <= small) & c.wrong).sum())
    return f"a term too many: {extra} entries of the Jacobian should be zero"


def low_rank(c: Case) -> tuple[str, str]:
    """R - J is of low rank, while J is not: a term that couples entries through a few sums."""
    if not c.full or min(c.said.shape) < 4:
        return "", ""
    gap = np.linalg.svd(c.said - c.seen, compute_uv=False)
    rank = int((gap > 1e-5 * gap[0]).sum())
    whole = np.linalg.matrix_rank(c.seen, tol=1e-5 * np.linalg.norm(c.seen, 2))
    if not 0 < rank <= min(c.said.shape) // 2 or not rank <= whole // 2:
        return "", ""
    small = 1e-9 * abs(c.seen).max()
    more = int((abs(c.said) > small).sum()) > int((abs(c.seen) > small).sum())
    family, what = ("extra term", "too many") if more else ("missing term", "missing or wrong")
    return family, (
        f"a term of rank {rank} is {what}: one that couples the entries through {rank} "
        f"sum{'s' if rank > 1 else ''}, such as means"
    )


def lost_second_order(c: Case) -> str:
    """From order 2 on: what is left out of a gradient's own derivative."""
    n = len(c.comparison.function.labels)
    of = getattr(c.comparison.function, "of", None)
    if of is None or not c.k < len(of.point) <= n:
        return ""
    share = c.gap / max(float(np.linalg.norm(c.seen)), 1e-300)
    return (
        f"the second-order term is incomplete, {share:.3g} of its size is off: as if a value that "
        "the rule uses, and that depends on the input, were a constant"
    )


# Other points


def stale(c: Case) -> str:
    """R is the Jacobian at another point: with another array in the place of the input."""
    others = {
        c.comparison.function.labels[k]: x
        for k, x in enumerate(c.comparison.place.point)
        if k != c.k and x.shape == c.x.shape
    }
    if c.y is not None and c.y.shape == c.x.shape:
        others["the output"] = np.asarray(c.y, dtype=np.float64)
    others["zero"], others["one"] = np.zeros(c.x.shape), np.ones(c.x.shape)
    for name, z in others.items():
        point = list(c.comparison.place.point)
        point[c.k] = z
        try:
            there = c.on_cotangents(c.numeric_at(point))
        except Exception:  # the function may refuse such inputs
            continue
        if np.isfinite(there).all() and c.fits(c.said, there):
            return (
                f"a stale value: the rule is right for {name} in the place of {c.label}, as if the "
                "saved input had been replaced"
            )
    return ""


def input_for_output(c: Case) -> str:
    """f' = F(y), but the rule says F(x): it got the input where it wants the output.

    F is fitted, entry by entry, to the numeric derivatives: a combination of y^-2 ... y^2.
    """
    if not _elementwise(c) or (c.x == 0).any():
        return ""
    assert c.y is not None
    x, y, slope = c.x.ravel(), np.asarray(c.y, dtype=np.float64).ravel(), np.diag(c.seen)
    if x.size < 8 or (y == 0).any():
        return ""
    powers = np.arange(-2, 3)
    found = np.linalg.lstsq(y[:, None] ** powers, slope, rcond=None)[0]
    if np.linalg.norm(y[:, None] ** powers @ found - slope) > 1e-6 * np.linalg.norm(slope):
        return ""
    if not c.fits(np.diag(x[:, None] ** powers @ found), c.said):
        return ""
    return "a stale value: the rule uses the input where its formula wants the output"


def _elementwise(c: Case) -> bool:
    """Does each output depend on the input in its own place only?"""
    if not c.full or c.y is None or c.y.shape != c.x.shape or c.x.size < 2:
        return False
    both = np.stack([c.said, c.seen])
    return not (both * (1 - np.eye(c.x.size))).any()


# A few entries


def ties(c: Case) -> str:
    """Right at a point nearby, wrong at this one, where the slope jumps."""
    point = [_untied(x, c.comparison.rng) for x in c.comparison.place.point]
    function = c.comparison.function
    try:
        there = function.record(point)
        rows = []
        for v in np.eye(c.comparison.place.here.size) if c.cotangents is None else c.cotangents.T:
            pulled = there.pull(c.comparison.cut(v))
            rows.append(np.asarray(pulled[c.k], dtype=np.float64).ravel())
        seen = c.on_cotangents(c.numeric_at(point, step=1e-6))
    except Exception:  # the function may refuse such inputs
        return ""
    said = c.on_directions(np.stack(rows))
    left, size = float(np.linalg.norm(said - seen)), float(np.linalg.norm(seen))
    if not left <= max(1e-3 * c.gap, 1e-6 * size):
        return ""
    return f"it is right at a point nearby, and wrong here, {_jump(c)}"


def _untied(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A point nearby without ties: every entry moves, each by another distance, none very small."""
    grid = (np.arange(x.size) + 0.381966) / max(x.size, 1) * 2 - 1  # misses zero
    return x + 1e-2 * max(1.0, abs(x).max(initial=0.0)) * rng.permutation(grid).reshape(x.shape)


def _jump(c: Case) -> str:
    """What is special about the input where it is wrong."""
    x = c.x.ravel()
    wrong = np.flatnonzero(c.wrong.any(axis=0)) if c.directions is None else np.arange(x.size)
    values, counts = np.unique(x, return_counts=True)
    tied = np.isin(x[wrong], values[counts > 1])
    if tied.any():
        return f"where entries are equal: {describe(wrong[tied], c.x.shape)} hold ties"
    if wrong.size == 0:
        return "where the slope jumps"
    return f"where the slope jumps: at {describe(wrong, c.x.shape)}, {x[wrong[0]]:.6g}"


def few_entries(c: Case, most: float, alike: bool = False) -> str:
    """Only some entries of the gradient are wrong: at most this share of them.

    With `alike` they must have something in common that the others have not.
    """
    wrong = np.flatnonzero(c.wrong.any(axis=0)) if c.directions is None else searched(c)
    if not 0 < wrong.size <= most * c.x.size:
        return ""
    common = _common(c, wrong)
    if alike and not common:
        return ""
    said = f"{wrong.size} of {c.x.size} entries of the gradient are wrong"
    return f"only {said}: {describe(wrong, c.x.shape)}{common}{_ratio(c)}"


def _ratio(c: Case) -> str:
    """By which factor the wrong entries are off, if it is one and the same."""
    a, b = c.said[c.wrong], c.seen[c.wrong]
    if not a.any():
        whole = c.directions is not None or not c.said[:, c.wrong.any(axis=0)].any()
        return "; it is zero there" if whole else ""
    if not b.all() or np.ptp(a / b) > 1e-4 * abs(a / b).max():
        return ""
    return f"; it is {float((a / b).mean()):.6g} times what it should be there"


def few_outputs(c: Case, most: float) -> str:
    """Only the rows of some outputs are wrong."""
    if c.cotangents is not None or c.y is None:
        return ""
    wrong = np.flatnonzero(c.wrong.any(axis=1))
    if not 0 < wrong.size <= most * c.y.size:
        return ""
    said = f"only the gradients of {wrong.size} of {c.y.size} outputs are wrong"
    return f"{said}: {describe(wrong, c.y.shape)}"


def _common(c: Case, wrong: np.ndarray) -> str:
    """What the input has in common there, and nowhere else."""
    x = c.x.ravel()
    others = np.delete(x, wrong)
    for name, holds in (
        ("zero", x == 0),
        ("negative", x < 0),
        ("positive", x > 0),
        ("at least 1 in size", abs(x) >= 1),
    ):
        if holds[wrong].all() and int(holds.sum()) == wrong.size:
            return f", the {name} ones"
    if wrong.size < x.size and x[wrong].min() > others.max():
        return f", the largest, from {x[wrong].min():.6g} on"
    if wrong.size < x.size and x[wrong].max() < others.min():
        return f", the smallest, up to {x[wrong].max():.6g}"
    return ""


def searched(c: Case, most: int = 12) -> np.ndarray:
    """The wrong entries of a large gradient, found by halving: group testing. None if too many.

    For one cotangent v, the rule's gradient less the right one is a vector e of which <e, u> can be
    measured for any u. A random u on half of the entries is zero only if no wrong one is there.
    """
    if c.examples is not None:
        return c.examples if c.examples.size < most else np.zeros(0, int)
    here = c.comparison.place
    v = dense(here.rng, here.here.shape)
    g = c.pull(v)
    found: list[int] = []
    pending = [np.arange(c.x.size)]
    while pending and len(found) < most:
        part = pending.pop()
        u = np.zeros(c.x.size)
        u[part] = dense(here.rng, part.shape)
        line = here.line(c.k, u)
        slope = line.extrapolated(SEARCH_STEP, here.scale, here.eps)
        size = float(abs(v) @ abs(slope.value))
        right = abs(g @ u - v @ slope.value) <= abs(v) @ slope.tolerance + 1e-9 * size
        if right:
            continue
        if part.size == 1:
            found.append(int(part[0]))
        else:
            pending += [part[: part.size // 2], part[part.size // 2 :]]
    c.examples = np.array(sorted(found), int)
    return c.examples if len(found) < most else np.zeros(0, int)


def in_common(c: Case) -> str:
    """Where the wrong entries are, if nothing better can be said."""
    total = int(c.wrong.sum())
    if not total:
        return "no known fault explains it"
    text = f"no known fault explains it; {total} of {c.wrong.size} entries are wrong"
    if c.examples is not None and c.examples.size:
        such = ", ".join(index(int(i), c.x.shape) for i in c.examples[:6])
        text += f"; of {c.label} among others {such}"
    if c.full:
        columns, rows = c.wrong.any(axis=0), c.wrong.any(axis=1)
        text += f", in {int(columns.sum())} of {c.x.size} entries of {c.label}"
        text += f" and {int(rows.sum())} of {len(rows)} of the outputs"
        row, column = np.argwhere(c.wrong)[0]
        shape = c.y.shape if c.y is not None else (len(rows),)
        text += f", the first at output {index(int(row), shape)}, input "
        text += index(int(column), c.x.shape)
    return text
