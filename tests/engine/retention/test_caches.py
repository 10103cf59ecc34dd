"""The caches of a machine: what was used least recently goes first, and nothing that is in use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefect_codepipeline.actions.git.mirror import unused_mirror
from prefect_codepipeline.engine.retention.caches import GIB_VARIABLE, most_bytes, prune_caches
from prefect_codepipeline.errors import CodePipelineError

KIB = 1024
GIB = 1024**3


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", str(tmp_path))
    return tmp_path


def allow(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv(GIB_VARIABLE, repr(size / GIB))


def add(path: Path, used: int, size: int = KIB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (used, used))
    return path


def add_mirror(root: Path, name: str, used: int) -> Path:
    mirror = root / "git" / name
    add(mirror / "repository.git" / "objects" / "pack", used)
    add(mirror / "home" / ".gitconfig", used, 0)
    add(mirror / "lock", used, 0)
    return mirror


def test_what_was_used_least_recently_is_removed_until_the_rest_is_small_enough(root, monkeypatch):
    old, new = add_mirror(root, "old", 10), add_mirror(root, "new", 40)
    build = add(root / "builds" / "site" / "a.tar", 20)
    key = add(root / "builds" / "site" / "a.key", 20, 1)
    archive = add(root / "artifacts" / "zips" / "b.zip", 30)
    add(root / "aws" / "looks-1.json", 1)
    allow(monkeypatch, 2 * KIB)

    assert prune_caches(dry_run=True).removed == ("git/old", "builds/site/a.tar")
    assert build.exists()
    freed = prune_caches()

    assert (freed.removed, freed.bytes, freed.left) == (("git/old", "builds/site/a.tar"), 2 * KIB, 2 * KIB)
    assert [path.name for path in old.iterdir()] == ["lock"]
    assert not build.exists()
    assert not key.exists()
    assert archive.exists()
    assert (new / "repository.git").exists()
    assert prune_caches().removed == ()
    assert (root / "aws" / "looks-1.json").exists()


def test_what_is_locked_is_not_touched(root, monkeypatch):
    used, other = add_mirror(root, "used", 10), add_mirror(root, "other", 20)
    allow(monkeypatch, 0)

    with unused_mirror(used) as is_mine:
        assert is_mine
        with unused_mirror(used) as is_mine_too:
            assert not is_mine_too
        freed = prune_caches()

    assert (freed.removed, freed.left) == (("git/other",), KIB)
    assert (used / "repository.git" / "objects" / "pack").exists()
    assert not (other / "repository.git").exists()
    assert prune_caches().left == 0


def test_without_caches_there_is_nothing_to_do(root):
    assert prune_caches().removed == ()


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_a_size_that_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv(GIB_VARIABLE, text)
    with pytest.raises(CodePipelineError, match=f"{GIB_VARIABLE} is '{text}'; set it to a number of GiB"):
        most_bytes()


def test_twenty_gib_are_the_default(monkeypatch):
    monkeypatch.delenv(GIB_VARIABLE, raising=False)
    assert most_bytes() == 20 * GIB
