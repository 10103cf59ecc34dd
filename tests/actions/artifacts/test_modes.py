"""Who else on the machine can read what is created: nobody, unless the user has opened the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_codepipeline.actions.artifacts.places import keep_file
from prefect_codepipeline.actions.artifacts.storing import store_tree
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.deployments.local.state import home_folder, locked, write_state


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")] if path.is_dir()}


def file_modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}


def stored(folder: Path, tree: Path) -> None:
    tree.mkdir()
    (tree / "file").write_text("source")
    store_tree(ArtifactStore(url=str(folder)), "Source", OutputTree(tree))
    keep_file(ArtifactStore(url=str(folder)), tree / "file", "reports/file")


def test_a_new_store_is_its_owners_alone(tmp_path: Path) -> None:
    stored(tmp_path / "new" / "store", tmp_path / "tree")

    assert modes(tmp_path / "new") == {0o700}
    assert file_modes(tmp_path / "new") == {0o400, 0o600}


def test_a_folder_that_exists_keeps_its_mode_and_can_be_shared(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)

    stored(tmp_path / "shared", tmp_path / "tree")

    assert modes(tmp_path / "shared") == {0o755}
    assert file_modes(tmp_path / "shared") == {0o444, 0o644}


def test_files_are_only_for_those_who_may_enter_the_folder(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team").chmod(0o750)

    stored(tmp_path / "team", tmp_path / "tree")

    assert file_modes(tmp_path / "team") == {0o440, 0o640}


def test_the_embedded_set_up_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_CODEPIPELINE_HOME", str(tmp_path / "data" / "home"))

    home = home_folder(create=True)
    with locked(home):
        write_state(home, {})

    assert modes(tmp_path / "data") == {0o700}
    assert file_modes(home) == {0o600}
