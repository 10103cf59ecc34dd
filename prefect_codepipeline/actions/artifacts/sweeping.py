"""Remove from a store what nothing needs: trees, the reports of removed executions, and old uploads of workers.

What a round does not find needed it marks; a later round removes it, a day later at the earliest. See `marks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from prefect_codepipeline.actions.artifacts.marks import (
    MARKED_SECONDS,
    REMOVAL_SECONDS,
    mark,
    marks_below,
    unmark,
)
from prefect_codepipeline.actions.artifacts.objects import (
    list_objects,
    read_object,
    remove_objects,
    write_object,
)
from prefect_codepipeline.actions.artifacts.upload_parts import remove_abandoned
from prefect_codepipeline.actions.artifacts.uploads import artifact_of, is_upload
from prefect_codepipeline.blocks.artifact_store import ArtifactStore

# A worker has a day for a job; what it has uploaded is read when its action ends.
UPLOAD_SECONDS = 7 * 24 * 3600.0
USERS = "servers"
# An object store removes so many objects by one request.
_AT_ONCE = 500


@dataclass(frozen=True)
class Needed:
    """What executions need: the hashes of trees, and the ids of the executions whose reports are kept."""

    digests: frozenset[str]
    executions: frozenset[str]


@dataclass(frozen=True)
class Swept:
    """What a round did in a store; `marked` is removed by a later one. `left` are the bytes that the store has then."""

    marked: int = 0
    removed: int = 0
    bytes: int = 0
    left: int = field(default=0, compare=False)

    def __add__(self, other: Swept) -> Swept:
        return Swept(
            self.marked + other.marked,
            self.removed + other.removed,
            self.bytes + other.bytes,
            self.left + other.left,
        )


@dataclass(frozen=True)
class Round:
    """A round: when it began to read what is needed, whether it changes anything, and what is called before each request."""

    began: float
    dry_run: bool = False
    before_request: Callable[[], object] = lambda: None


def other_users(store: ArtifactStore, server: str) -> list[str]:
    """The ids of other Prefect servers that use the store.

    What they need is not known here. So nothing may be removed from a store that has several users.
    """
    return sorted(list_objects(store, USERS).keys() - {server})


def note_user(store: ArtifactStore, server: str) -> None:
    """Note that a Prefect server uses the store."""
    if read_object(store, f"{USERS}/{server}") is None:
        write_object(store, f"{USERS}/{server}", b"")


def sweep(store: ArtifactStore, needed: Needed, this: Round) -> Swept:
    """Mark what is not needed, and remove what was marked a day ago. Raises `ActionFailed`: the store failed."""
    if not this.dry_run:
        this.before_request()
        remove_abandoned(store)
    uploads = {name: {name: size} for name, size in list_objects(store, "uploads").items() if is_upload(name)}
    uploaded = frozenset(_uploaded(store, uploads, this))
    trees = {name: {name: size} for name, size in list_objects(store, "trees").items()}
    digests = needed.digests | uploaded
    return (
        _sweep(store, "uploads", uploads, lambda _: False, UPLOAD_SECONDS, this)
        + _sweep(store, "trees", trees, lambda name: _digest(name) in digests, MARKED_SECONDS, this)
        + _sweep(
            store,
            "reports",
            _reports(store),
            lambda name: name.rpartition("/")[2] in needed.executions,
            MARKED_SECONDS,
            this,
        )
    )


def _digest(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _uploaded(store: ArtifactStore, names: Mapping[str, object], this: Round) -> Iterator[str]:
    """The hashes of the trees that workers have uploaded."""
    for name in names:
        this.before_request()
        if artifact := artifact_of(store, name):
            yield artifact.sha256


def _reports(store: ArtifactStore) -> dict[str, dict[str, int]]:
    """The files of reports, by the folder of their execution, which is `<pipeline>/<execution>`."""
    found: dict[str, dict[str, int]] = {}
    for name, size in list_objects(store, "reports").items():
        execution = "/".join(name.split("/")[:2])
        found.setdefault(execution, {})[name] = size
    return found


def _sweep(
    store: ArtifactStore,
    folder: str,
    found: Mapping[str, Mapping[str, int]],
    is_needed: Callable[[str], bool],
    seconds: float,
    this: Round,
) -> Swept:
    """Mark and remove in one folder of the store. `found` has the files of each thing that is kept or removed as a whole."""
    marks = marks_below(store, folder)
    unneeded = {name for name in found if not is_needed(name)}
    fresh = unneeded - marks.keys()
    due = sorted(name for name in unneeded & marks.keys() if min(marks[name]) <= this.began - seconds)
    there = _bytes(found, found)
    if this.dry_run:
        going = _bytes(found, due)
        return Swept(len(fresh), len(due), going, there - going)
    for name in marks.keys() - unneeded:
        this.before_request()
        unmark(store, f"{folder}/{name}", marks[name])
    for name in sorted(fresh):
        this.before_request()
        mark(store, f"{folder}/{name}", this.began)
    done = [_remove(store, folder, some, found, this) for some in _batches(due)]
    all_done = sum(done, Swept(len(fresh)))
    return replace(all_done, left=there - all_done.bytes)


def _bytes(found: Mapping[str, Mapping[str, int]], names: Iterable[str]) -> int:
    return sum(sum(found[name].values()) for name in names)


def _batches(names: list[str]) -> Iterator[list[str]]:
    """The names below the same folder together, up to so many that one request removes them."""
    below: dict[str, list[str]] = {}
    for name in names:
        below.setdefault(name.rpartition("/")[0], []).append(name)
    for some in below.values():
        yield from (some[start : start + _AT_ONCE] for start in range(0, len(some), _AT_ONCE))


def _remove(
    store: ArtifactStore,
    folder: str,
    names: list[str],
    found: Mapping[str, Mapping[str, int]],
    this: Round,
) -> Swept:
    """Remove those of these things that are still marked: an upload removes the mark of what it needs."""
    this.before_request()
    parent = names[0].rpartition("/")[0]
    before = time.monotonic()
    marks = marks_below(store, "/".join(filter(None, (folder, parent))))
    still = {name: marks.get(name.rpartition("/")[2], ()) for name in names}
    going = [name for name in names if still[name]]
    if (
        time.monotonic() - before > REMOVAL_SECONDS / 2
    ):  # what was read is too old; the next round removes these
        return Swept()
    remove_objects(store, [f"{folder}/{file}" for name in going for file in found[name]])
    for name in going:
        this.before_request()
        unmark(store, f"{folder}/{name}", still[name])
    return Swept(0, len(going), _bytes(found, going))
