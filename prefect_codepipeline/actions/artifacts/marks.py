"""Marks of what is going to be removed from a store, so that an upload that comes meanwhile is not lost.

Equal trees are stored once, so an action may "upload" a tree that is there already while retention removes it. Object
stores have no locks. Therefore retention first marks what nothing needs, and removes it a day later if the mark is still
there. An upload removes the mark.

    removing/<key of what is removed>/<when it was marked, in milliseconds, as 12 hex digits>
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from prefect_codepipeline.actions.artifacts.objects import list_objects, remove_objects, write_object
from prefect_codepipeline.actions.artifacts.places import place_archive, tree_key
from prefect_codepipeline.blocks.artifact_store import ArtifactStore

FOLDER = "removing"
# How long what is marked stays: longer than any action needs between an upload and the fact that names it.
MARKED_SECONDS = 24 * 3600.0
# Retention looks at the marks of a few objects, and removes these within that time.
REMOVAL_SECONDS = 60.0
# The clocks of machines differ by less.
_CLOCKS_DIFFER = 3600.0


def keep(store: ArtifactStore, archive: Path, digest: str) -> None:
    """Move an archive to its place in the store, unless the store has it already. Retention then leaves it there."""
    while True:
        place_archive(store, archive, digest)
        marked = marks_below(store, tree_key(digest)).get("", ())
        if not marked:
            return
        unmark(store, tree_key(digest), marked)
        if time.time() - min(marked) < MARKED_SECONDS - _CLOCKS_DIFFER:
            return
        # Retention may have seen the mark just now. What it removes then is uploaded again.
        time.sleep(REMOVAL_SECONDS)


def marks_below(store: ArtifactStore, key: str) -> dict[str, tuple[float, ...]]:
    """When each object or folder below `key` was marked, by its name relative to `key`; that of `key` itself is empty."""
    found: dict[str, tuple[float, ...]] = {}
    for name in list_objects(store, f"{FOLDER}/{key}"):
        marked, _, moment = name.rpartition("/")
        found[marked] = (*found.get(marked, ()), int(moment, 16) / 1000)
    return found


def mark(store: ArtifactStore, key: str, now: float) -> None:
    """Mark an object or a folder."""
    write_object(store, _place(key, now), b"")


def unmark(store: ArtifactStore, key: str, moments: Iterable[float]) -> None:
    """Remove the marks that an object or a folder got at these times."""
    remove_objects(store, [_place(key, moment) for moment in moments])


def _place(key: str, moment: float) -> str:
    return f"{FOLDER}/{key}/{round(moment * 1000):012x}"
