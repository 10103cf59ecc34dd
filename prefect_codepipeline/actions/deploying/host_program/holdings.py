"""Which revisions and deployments this host has, and which of them are removed: those that five newer ones followed."""

import os
from typing import Any, Dict, List

from prefect_codepipeline.actions.deploying.host_program import processes
from prefect_codepipeline.actions.deploying.host_program.places import (
    Place,
    append_line,
    read_json,
    read_lines,
    remove,
)

_KEPT = 5
_LONGEST_HISTORY = 1000
# The name of a revision that is being received, before the id of the process.
INCOMING = ".incoming-"
CHUNK = 256 * 1024


def has_revision(place: Place, revision: str) -> bool:
    """Whether the revision is here, and whole: what was not on the disk yet is lost when a machine loses its power."""
    path = place.revision(revision)
    if not os.path.exists(path):
        return False
    noted = [
        each for each in read_lines(place.history) if each.get("revision") == revision and "boot_id" in each
    ]
    if noted and noted[-1]["boot_id"] == processes.boot_id():
        return True
    whole = _digest(path) == revision
    if whole:
        with place.mutex():
            note_use(place, revision=revision, boot_id=processes.boot_id())
    return whole


def _digest(path: str) -> str:
    import hashlib  # which few calls need

    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        for data in iter(lambda: file.read(CHUNK), b""):
            hashed.update(data)
    return hashed.hexdigest()


def note_use(place: Place, **used: Any) -> None:
    """Remember that a revision or a deployment was used now. If a crash of the machine loses it, a revision is sent again."""
    append_line(place.history, used, sync=False)


def prune(place: Place) -> None:
    """Remove deployments and revisions but the last five of each and those in use.

    By the order of their use, not by time: the clock of a host may be wrong.
    """
    used = read_lines(place.history)
    if len(used) > _LONGEST_HISTORY:
        _shorten(place, used[-_LONGEST_HISTORY // 2 :])
    kept = set(_last(used, "deployment"))
    revisions = set(_last(used, "revision"))
    for in_use in (read_json(place.lock), read_json(place.last_successful)):
        if in_use is not None:
            kept.add(in_use["deployment"])
            revisions.add(in_use["revision"])
    for name in os.listdir(place.folder):
        if os.path.exists(os.path.join(place.folder, name, "orders.jsonl")) and name not in kept:
            remove(os.path.join(place.folder, name))
    for name in os.listdir(place.revisions):
        if not name.startswith(INCOMING) and name not in {each + ".tar" for each in revisions}:
            remove(os.path.join(place.revisions, name))


def _shorten(place: Place, used: List[Dict[str, Any]]) -> None:
    beside = "%s.new" % place.history
    remove(beside)
    for each in used:
        append_line(beside, each, sync=False)
    os.rename(beside, place.history)


def _last(used: List[Dict[str, Any]], kind: str) -> List[str]:
    names = [each[kind] for each in reversed(used) if kind in each]
    return sorted(set(names), key=names.index)[:_KEPT]
