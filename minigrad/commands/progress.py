"""How far a command is: a bar of tqdm; plain lines where tqdm is missing, or nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(work: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The same things as they come; shows on the error stream how many of `total` have come."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if tqdm is None or not sys.stderr.isatty():
        yield from _lines(work, total, what)
        return
    yield from tqdm(work, desc=what, total=total, unit="", leave=False, dynamic_ncols=True)


def _lines(work: Iterable[T], total: int, what: str) -> Iterator[T]:
    """One line for each tenth."""
    for count, item in enumerate(work, 1):
        if count == total or count * 10 // total > (count - 1) * 10 // total:
            print(f"{what}: {count} of {total}", file=sys.stderr, flush=True)
        yield item
