"""A pytest plugin that breaks one rule, or the engine, for the whole run: `-p` of a child process.

The environment variable MINIGRAD_MUTANT says which: a JSON list, [rule, mutation, variant] or
[name of an engine mutant]. MINIGRAD_MUTANT_TESTS, if set, is a word: tests that have it in their
name, parameters or code are run first, and with MINIGRAD_MUTANT_ONLY no others.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from .engine import damaged
from .judge import mutated
from .suite import MUTANT, ONLY, WORD, mentions


def fault() -> AbstractContextManager[None] | None:
    """What the environment asks for; None if it asks for nothing."""
    given = json.loads(os.environ.get(MUTANT, "[]"))
    if not given:
        return None
    return damaged(*given) if len(given) == 1 else mutated(*given)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Each test runs with the fault, and only the test: what is imported later is found, too."""
    broken = fault()
    if broken is None:
        return (yield)
    with broken:
        return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests that mention the operation come first, or are the only ones."""
    word = os.environ.get(WORD)
    if not word:
        return
    others = [item for item in items if not _names(item, word)]
    items[:] = [item for item in items if item not in set(others)]
    if os.environ.get(ONLY):
        config.hook.pytest_deselected(items=others)
    else:
        items += others


def _names(item: pytest.Item, word: str) -> bool:
    """Whether a test has the word in its name or parameters, or in its code."""
    if mentions(item.nodeid.partition("::")[2], word):
        return True
    function = getattr(item, "function", None)
    try:
        return function is not None and mentions(inspect.getsource(function), word)
    except (OSError, TypeError):  # made without a file
        return False
