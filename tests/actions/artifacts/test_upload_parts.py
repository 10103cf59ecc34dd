"""Multipart uploads: any gateway finds the parts of the others, and nothing stays for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_codepipeline.actions.artifacts import upload_parts
from prefect_codepipeline.actions.artifacts.objects import list_objects
from prefect_codepipeline.actions.artifacts.places import work_file
from prefect_codepipeline.actions.artifacts.upload_parts import ABANDONED_SECONDS, Part, PartStore
from prefect_codepipeline.blocks.artifact_store import ArtifactStore

ADDRESS = ("releases", "shop/App/x7Kq2Lp")


def add(store: ArtifactStore, upload: str, number: int, content: bytes) -> Part:
    part = Part(number, f"{number:064x}", len(content), "crc32", "00000000")
    with work_file(store) as source:
        source.write_bytes(content)
        PartStore(store, *ADDRESS).add(upload, part, source)
    return part


def test_parts_are_joined_by_another_process(store, tmp_path: Path):
    upload = PartStore(store, *ADDRESS).begin({"algorithm": "crc32"})
    second, first = add(store, upload, 2, b"two"), add(store, upload, 1, b"one")
    other = PartStore(store, *ADDRESS)

    assert other.about(upload) == {"algorithm": "crc32"}
    assert sorted(other.parts(upload), key=lambda part: part.number) == [first, second]
    other.join(upload, [first, second], tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == b"onetwo"

    other.finish(upload, {"etag": "x"})
    assert other.about(upload) is None
    assert PartStore(store, *ADDRESS).result(upload) == {"etag": "x"}
    assert [name.rpartition("/")[2] for name in list_objects(store, "uploads/parts")] == ["result.json"]


@pytest.mark.parametrize("upload", ["", "..", "000000000000-" + "g" * 32, "../uploads", "0" * 45])
def test_an_id_that_is_not_one_is_not_looked_for(store, upload):
    assert PartStore(store, *ADDRESS).about(upload) is PartStore(store, *ADDRESS).result(upload) is None


def test_abandoned_uploads_are_removed_and_few_may_be_open(store, monkeypatch):
    parts = PartStore(store, *ADDRESS)
    began = [parts.begin({"n": "x"}) for _ in range(upload_parts.MOST_OF_ADDRESS + 1)]
    assert sum(parts.about(upload) is not None for upload in began) == upload_parts.MOST_OF_ADDRESS
    assert parts.about(began[-1])

    now = upload_parts.time.time() + ABANDONED_SECONDS + 10
    monkeypatch.setattr(upload_parts.time, "time", lambda: now)
    monkeypatch.setattr(upload_parts, "_swept", {})
    newest = PartStore(store, "other", "a/b/c").begin({"n": "y"})
    assert [parts.about(upload) for upload in began] == [None] * len(began)
    assert PartStore(store, "other", "a/b/c").about(newest) == {"n": "y"}
    assert len(list_objects(store, "uploads/parts")) == 1
