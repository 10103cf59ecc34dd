"""Retention in a store: what nothing needs is marked, and a day later removed; an upload meanwhile wins."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prefect_codepipeline.actions.artifacts import marks
from prefect_codepipeline.actions.artifacts.objects import list_objects, write_object
from prefect_codepipeline.actions.artifacts.storing import fetch_tree, store_tree
from prefect_codepipeline.actions.artifacts.sweeping import (
    UPLOAD_SECONDS,
    Needed,
    Round,
    Swept,
    note_user,
    other_users,
    sweep,
)
from prefect_codepipeline.actions.artifacts.uploads import Uploads
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.model.record.artifacts import StoredArtifact

NOW = time.time()
DAY = marks.MARKED_SECONDS
NOTHING = Needed(frozenset(), frozenset())


@pytest.fixture
def add(store: ArtifactStore, tmp_path: Path):
    def tree(content: str) -> StoredArtifact:
        folder = tmp_path / content
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text(content)
        return store_tree(store, "Tree", OutputTree(folder))

    return tree


def trees(store: ArtifactStore) -> set[str]:
    return {name.rpartition("/")[2].partition(".")[0] for name in list_objects(store, "trees")}


def test_what_no_execution_needs_is_marked_and_a_day_later_removed(store, add):
    kept, gone = add("kept"), add("gone")
    needed = Needed(frozenset({kept.sha256}), frozenset())

    assert sweep(store, needed, Round(NOW, dry_run=True)) == Swept(marked=1)
    assert not list_objects(store, marks.FOLDER)
    assert sweep(store, needed, Round(NOW)) == Swept(marked=1)
    before = sweep(store, needed, Round(NOW + DAY - 1))
    assert (before, before.left) == (Swept(), kept.size + gone.size)
    assert trees(store) == {kept.sha256, gone.sha256}

    due = Swept(removed=1, bytes=gone.size)
    assert sweep(store, needed, Round(NOW + DAY + 1, dry_run=True)) == due
    assert trees(store) == {kept.sha256, gone.sha256}
    done = sweep(store, needed, Round(NOW + DAY + 1))
    assert (done, done.left) == (due, kept.size)
    assert trees(store) == {kept.sha256}
    assert not list_objects(store, marks.FOLDER)
    after = sweep(store, needed, Round(NOW + 2 * DAY))
    assert (after, after.left) == (Swept(), kept.size)


def test_what_is_needed_again_is_no_longer_marked(store, add):
    tree = add("tree")
    sweep(store, NOTHING, Round(NOW))

    assert sweep(store, Needed(frozenset({tree.sha256}), frozenset()), Round(NOW + DAY / 2)) == Swept()
    assert not list_objects(store, marks.FOLDER)
    assert sweep(store, NOTHING, Round(NOW + DAY + 1)) == Swept(marked=1)


def test_an_upload_of_a_marked_tree_wins(store, add):
    tree = add("tree")
    sweep(store, NOTHING, Round(NOW))

    assert add("tree") == tree
    assert not list_objects(store, marks.FOLDER)
    assert sweep(store, NOTHING, Round(NOW + DAY + 1)) == Swept(marked=1)
    assert trees(store) == {tree.sha256}


def test_an_upload_while_the_tree_is_being_removed_wins(store, add, tmp_path, monkeypatch):
    """The round has looked at the mark, and removes the tree after the upload has found it there."""
    tree = add("tree")
    sweep(store, NOTHING, Round(NOW - DAY - 10))
    waited = []

    def removed_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        name = next(iter(list_objects(store, "trees")))
        marks.remove_objects(store, [f"trees/{name}"])

    monkeypatch.setattr(marks.time, "sleep", removed_meanwhile)
    assert add("tree") == tree

    assert waited == [marks.REMOVAL_SECONDS]
    fetch_tree(store, tree, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "file").read_text() == "tree"


def test_an_upload_between_two_requests_of_the_removal_wins(store, add):
    tree = add("tree")
    sweep(store, NOTHING, Round(NOW - 1))
    calls = []

    def upload_once() -> None:
        calls.append(1)
        if len(calls) == 2:  # the first is that of abandoned uploads
            add("tree")

    assert sweep(store, NOTHING, Round(NOW + DAY, before_request=upload_once)) == Swept()
    assert trees(store) == {tree.sha256}


def test_a_round_that_is_killed_between_any_two_requests_is_finished_by_the_next(store, add):
    kept = add("kept")
    needed = Needed(frozenset({kept.sha256}), frozenset({"run"}))
    for number in range(3):
        add(str(number))
        write_object(store, f"reports/site/old-{number}/Build/a.xml", b"x")
    write_object(store, "reports/site/run/Build/a.xml", b"x")

    killed = 0
    for moment in (NOW, NOW + DAY + 1):
        for number in range(1, 40):
            left = [number]

            def kill(left: list[int] = left) -> None:
                left[0] -= 1
                if not left[0]:
                    raise KeyboardInterrupt

            try:
                sweep(store, needed, Round(moment, before_request=kill))
                break
            except KeyboardInterrupt:
                killed += 1

    assert killed > 8
    assert trees(store) == {kept.sha256}
    assert list(list_objects(store, "reports")) == ["site/run/Build/a.xml"]
    assert not list_objects(store, marks.FOLDER)


def test_uploads_of_workers_keep_their_trees_until_they_are_old(store, add):
    tree = add("tree")
    Uploads(store).put("releases", "shop/App/x", tree)
    write_object(store, f"uploads/parts/{'a' * 64}/000000000001-{'0' * 32}/about.json", b"{}")

    assert sweep(store, NOTHING, Round(NOW)) == Swept(marked=1)
    assert list_objects(store, "uploads/parts") == {}
    assert sweep(store, NOTHING, Round(NOW + UPLOAD_SECONDS - 1)) == Swept()
    assert Uploads(store).find("releases", "shop/App/x") == tree
    # In that round it still names its tree.
    assert sweep(store, NOTHING, Round(NOW + UPLOAD_SECONDS + 1)).removed == 1
    assert Uploads(store).find("releases", "shop/App/x") is None
    assert trees(store) == {tree.sha256}
    sweep(store, NOTHING, Round(NOW + UPLOAD_SECONDS + 2))
    sweep(store, NOTHING, Round(NOW + UPLOAD_SECONDS + DAY + 3))
    assert trees(store) == set()


def test_a_store_knows_its_servers(store):
    assert other_users(store, "one") == []
    note_user(store, "one")
    assert other_users(store, "one") == []
    assert other_users(store, "two") == ["one"]
    note_user(store, "two")
    assert other_users(store, "one") == ["two"]
