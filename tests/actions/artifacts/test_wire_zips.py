"""Artifacts become ZIP archives for workers and artifacts again; in a folder and in S3."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import pytest

from prefect_codepipeline.actions.artifacts.places import work_folder
from prefect_codepipeline.actions.artifacts.storing import store_tree
from prefect_codepipeline.actions.artifacts.wire_zips import artifact_zip, store_zip
from prefect_codepipeline.actions.artifacts.zip_trees import unzip_tree
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "bin" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "bin" / "run").write_text("#!/bin/sh\n")
    (root / "bin" / "run").chmod(0o755)
    (root / "bin" / "deep" / "link").symlink_to("../run")
    (root / "Grüße ☃.txt").write_text("Grüße")
    (root / "large").write_bytes(os.urandom(3_000_001))
    (root / "nothing").touch()
    return root


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", str(tmp_path / "cache"))


def test_the_archive_of_an_artifact_is_that_artifact(store, tree, tmp_path):
    stored = store_tree(store, "App", OutputTree(tree))
    archive = artifact_zip(store, stored)
    assert archive
    before = archive.read_bytes()

    assert store_zip(store, "App", archive) == stored
    (tmp_path / "out").mkdir()
    unzip_tree(archive, tmp_path / "out")
    assert store_tree(store, "App", OutputTree(tmp_path / "out")) == stored
    archive.unlink()
    again = artifact_zip(store, stored)
    assert again
    assert again.read_bytes() == before


def test_an_archive_of_another_tool_becomes_an_artifact(store, tree, tmp_path):
    with zipfile.ZipFile(tmp_path / "out.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("z/b.txt", "b")  # neither sorted nor with its folders
        packed.writestr("a.txt", "a" * 5000)
    stored = store_zip(store, "App", tmp_path / "out.zip")
    (tmp_path / "out").mkdir()
    unzip_tree(tmp_path / "out.zip", tmp_path / "out")
    assert stored == store_tree(store, "App", OutputTree(tmp_path / "out"))


def test_an_artifact_that_is_gone_has_no_archive(store, tree):
    stored = store_tree(store, "App", OutputTree(tree))
    assert artifact_zip(store, stored.model_copy(update={"sha256": "0" * 64})) is None


def test_a_damaged_artifact_has_no_archive(tree, tmp_path):
    store = ArtifactStore(url=str(tmp_path / "store"))
    stored = store_tree(store, "App", OutputTree(tree))
    (archive,) = (tmp_path / "store" / "trees").rglob("*.tar")
    content = bytearray(archive.read_bytes())
    content[-5000] ^= 1
    archive.chmod(0o600)
    archive.write_bytes(content)
    with pytest.raises(ActionFailed, match=r"fetching artifact 'App' failed: .*changed since it was stored"):
        artifact_zip(store, stored)
    assert [path for path in work_folder(store).rglob("*") if path.is_file()] == []


def test_archives_that_are_not_used_are_removed(store, tree, tmp_path):
    first = artifact_zip(store, store_tree(store, "App", OutputTree(tree)))
    (tree / "nothing").write_text("something")
    second = store_tree(store, "App", OutputTree(tree))
    assert first
    os.utime(first, (time.time() - 3590,) * 2)
    assert artifact_zip(store, second)
    assert first.exists()

    os.utime(first, (time.time() - 3610,) * 2)
    (tree / "nothing").write_text("something else")
    assert artifact_zip(store, store_tree(store, "App", OutputTree(tree)))
    assert not first.exists()
