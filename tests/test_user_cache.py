"""Files that are kept for other processes: where, whole or not at all, and for how long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minigrad_kernels import user_cache


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize(
    "names", [(), ("MINIGRAD_CACHE_DIR",), ("XDG_CACHE_HOME",), ("LOCALAPPDATA",)]
)
def test_it_is_where_compiled_kernels_are(
    names: tuple[str, ...], platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minigrad_kernels.cpu.cache import cache_directory

    for name in ("MINIGRAD_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name in names:
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("sys.platform", platform)
    found = user_cache.directory("a name")
    assert found.name == "a name"
    assert found.parent == cache_directory().parent


def test_a_file_arrives_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with user_cache.arriving(path) as partial:
        partial.write_text("af")
        assert path.read_text() == "before"
        partial.write_text("after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def interrupted() -> None:
        with user_cache.arriving(path) as partial:
            partial.write_text("af")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_nothing_has_used_for_long_is_deleted(tmp_path: Path) -> None:
    old, new, gone = (tmp_path / name for name in ("old", "new", "gone"))
    for path in (old, new):
        path.touch()
    os.utime(old, (0, new.stat().st_mtime - user_cache.UNUSED - 60))
    user_cache.delete_unused([gone, old, new])
    assert list(tmp_path.iterdir()) == [new]
