"""Archives that are small but claim much are refused before anything is built from their names."""

from __future__ import annotations

import io
import tarfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from prefect_codepipeline.actions.artifacts import tar_trees, zip_trees
from prefect_codepipeline.actions.artifacts.archive_member import MAX_DEPTH, UnfitTreeError
from prefect_codepipeline.actions.artifacts.tar_trees import (
    TooManyMembersError,
    UnfitMemberError,
    extract_member,
    members_of,
)
from prefect_codepipeline.actions.artifacts.zip_trees import unzip_tree, zip_tree

MIB = 1 << 20


def refuse(archive: Path, destination: Path) -> tuple[str, int]:
    """The reason of the refusal, and the memory that it took."""
    destination.mkdir()
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(UnfitTreeError) as refused:
            unzip_tree(archive, destination)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 20
    assert list(destination.iterdir()) == []
    return str(refused.value), peak


@pytest.mark.parametrize(
    ("name", "reason"), [("a/" * 10_000 + "a", "longer than"), ("a/" * MAX_DEPTH + "a", "folders deep")]
)
def test_a_zip_with_one_deep_name_costs_nothing(tmp_path: Path, name: str, reason: str) -> None:
    archive = tmp_path / "deep.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(name, b"")

    said, peak = refuse(archive, tmp_path / "out")

    assert reason in said
    assert len(said) < 300
    assert peak < 8 * MIB


def test_names_that_imply_many_folders_are_counted_before_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_trees, "_MOST_NAME_BYTES", MIB)
    archive = tmp_path / "wide.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(200):
            packed.writestr(f"{number}/" + "abcdefghijklmn/" * (MAX_DEPTH - 2) + "a", b"")

    said, peak = refuse(archive, tmp_path / "out")

    assert "too many" in said
    assert peak < 20 * MIB


@pytest.mark.parametrize("lie", [False, True])
def test_entries_are_counted_before_they_are_read(
    tmp_path: Path, lie: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(3000):
            packed.writestr(str(number), b"")
    if lie:
        content = bytearray(archive.read_bytes())
        content[-14:-10] = b"\1\0\1\0"
        archive.write_bytes(content)

    with pytest.raises(UnfitTreeError, match="3000 entries"):
        zip_trees._check_count(archive, 2999)
    zip_trees._check_count(archive, 3000)


def test_a_tree_within_the_limits_is_unzipped(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "file").write_text("text")

    zip_tree(source, tmp_path / "tree.zip")
    (tmp_path / "out").mkdir()
    unzip_tree(tmp_path / "tree.zip", tmp_path / "out")

    assert (tmp_path / "out" / "a" / "b" / "file").read_text() == "text"


@pytest.mark.parametrize("name", ["a/" * MAX_DEPTH + "a", "a" * 5000, "a/" * 65_000])
def test_a_tar_with_a_deep_or_long_name_creates_no_folder(tmp_path: Path, name: str) -> None:
    with (
        tarfile.open(fileobj=io.BytesIO(), mode="w") as tar,
        pytest.raises(UnfitMemberError, match="folders deep"),
    ):
        extract_member(tar, tarfile.TarInfo(name), name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_sparse_file_does_not_fill_the_disk(tmp_path: Path) -> None:
    member = tarfile.TarInfo("sparse")
    member.type, member.sparse, member.size = tarfile.GNUTYPE_SPARSE, [(0, 0)], 1 << 50
    with (
        tarfile.open(fileobj=io.BytesIO(), mode="w") as tar,
        pytest.raises(UnfitMemberError, match="not a file"),
    ):
        extract_member(tar, member, "sparse", tmp_path)


def test_the_members_of_a_tar_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(2000):
            tar.addfile(tarfile.TarInfo(str(number)))

    def names() -> list[str]:
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            found = []
            for member in members_of(tar):
                found.append(member.name)
                assert tar.members == []  # type: ignore[attr-defined]
            return found

    assert names() == [str(number) for number in range(2000)]
    monkeypatch.setattr(tar_trees, "MOST_MEMBERS", 1999)
    with pytest.raises(TooManyMembersError, match="more than 1,999 files"):
        names()
