"""Known faults that show in which entries of the Jacobian are there, and where. See `faults`."""

from __future__ import annotations

from collections import Counter

import numpy as np

from .axes import describe
from .evidence import Case

ZERO = 1e-9  # of the largest derivative: a smaller one is none
LIKELY = 8  # so many places are tried for where a row's largest entry may have gone
MOST = 0.5  # of the wrong rows, and more, must have gone the same way: of two swapped halves none

# Terms that are not there


def lost_terms(c: Case) -> tuple[np.ndarray, np.ndarray] | None:
    """Which entries of J are there in R, and which are not; None if R has others that are wrong."""
    small = ZERO * abs(c.seen).max(initial=0.0)
    needed = abs(c.seen) > small
    lost = needed & c.wrong & (abs(c.said) <= small)
    if not c.full or not lost.any() or (c.wrong & ~lost).any():
        return None
    return needed & ~lost, lost


def overwritten(c: Case) -> str:
    """An input that is used several times: the gradients of its uses replace each other.

    Then R is J with entries left out, but every input keeps one use, whichever came last. Where
    some outputs lost all of their entries one could as well say that their cotangents are not
    used. That is the simpler story if they are a slice or the diagonal of the output, and each
    input has as many uses as any other. Where the number of uses differs, and those with one use
    are right, they overwrite each other.
    """
    found = lost_terms(c)
    if found is None or _is_diagonal(c):
        return ""
    kept, lost = found
    hit = lost.any(axis=0)
    left = kept.sum(axis=0)[hit]
    unused = np.asarray(lost.any(axis=1) & ~kept.any(axis=1))
    if not left.all() or (unused.any() and (left > 1).any()):
        return ""
    uses = (kept | lost).sum(axis=0)
    varied = np.unique(uses[uses > 0]).size > 1
    if unused.any() and not varied and not _is_irregular(c, unused):
        return ""
    return (
        f"a term is missing: of the uses of {describe(np.flatnonzero(hit), c.x.shape)} of {c.label}"
        f" {_which(kept[:, hit], lost[:, hit])}; do their gradients overwrite each other, where "
        "they should add up?"
    )


def _is_irregular(c: Case, rows: np.ndarray) -> bool:
    """Are these outputs neither a slice nor a diagonal of the output?"""
    if c.y is None:
        return False
    if c.y.ndim < 2:
        return np.unique(np.diff(np.flatnonzero(rows))).size > 1
    return describe(np.flatnonzero(rows), c.y.shape).startswith("[")


def _which(kept: np.ndarray, lost: np.ndarray) -> str:
    """Which uses count, in words; the columns are inputs."""
    if (kept.sum(axis=0) > 1).any():
        return "only some count"
    used = kept | lost
    if (kept.argmax(axis=0) == len(kept) - 1 - used[::-1].argmax(axis=0)).all():
        return "only the last counts"
    if (kept.argmax(axis=0) == used.argmax(axis=0)).all():
        return "only the first counts"
    return "only one counts"


def masked(c: Case) -> str:
    """R is J with some entries left out."""
    found = lost_terms(c)
    if found is None:
        return ""
    kept = ": only the diagonal of the Jacobian is kept" if _is_diagonal(c) else ""
    return f"a term is missing: {int(found[1].sum())} entries of the Jacobian are zero{kept}"


def diagonal(c: Case) -> str:
    """R is the diagonal of J."""
    return masked(c) if _is_diagonal(c) else ""


def _is_diagonal(c: Case) -> bool:
    square = c.full and c.said.shape[0] == c.said.shape[1] > 1
    return square and not (c.said - np.diag(np.diag(c.said))).any()


# Entries in other places


def displaced(c: Case) -> str:
    """Each output's gradient lies as far beside its place as that of most others.

    This finds distances that no shift of the whole gradient explains, since those at the ends of a
    row, or of a window, went another way: around.
    """
    if not c.full or not c.x.ndim:
        return ""
    ways = {int(i): _ways(c, c.said[i], c.seen[i]) for i in np.flatnonzero(c.wrong.any(axis=1))}
    count = Counter(way for found in ways.values() for way in found)
    if len(ways) < 3 or not count:
        return ""
    way, most = count.most_common(1)[0]
    if most <= MOST * len(ways):
        return ""
    explained = c.seen.copy()
    for i, found in ways.items():
        if found:
            explained[i] = _moved(c, c.seen[i], way if way in found else found[0])
    if not c.fits(c.said, explained):
        return ""
    others = "" if most == len(ways) else "; the others went another way, as around an end"
    short = [d - n if 2 * d > n else d for d, n in zip(way, c.x.shape, strict=True)]
    return (
        f"the gradient of {c.label} is shifted: that of {most} of {len(ways)} outputs lies "
        f"{short} beside its place{others}"
    )


def _ways(c: Case, said: np.ndarray, seen: np.ndarray) -> list[tuple[int, ...]]:
    """How far this row of J may have been moved, along each axis, to give that row of R."""
    if not seen.any() or not said.any():
        return []
    largest = int(abs(seen).argmax())
    size = abs(seen[largest])
    places = np.flatnonzero(abs(said - seen[largest]) <= 1e-6 * size)[:LIKELY]
    start = np.unravel_index(largest, c.x.shape)
    found = []
    for place in places:
        end = np.unravel_index(int(place), c.x.shape)
        way = tuple(int(b - a) % n for a, b, n in zip(start, end, c.x.shape, strict=True))
        if any(way) and (abs(_moved(c, seen, way) - said) <= 1e-6 * size).all():
            found.append(way)
    return found


def _moved(c: Case, row: np.ndarray, way: tuple[int, ...]) -> np.ndarray:
    return np.roll(row.reshape(c.x.shape), way, tuple(range(c.x.ndim))).ravel()
