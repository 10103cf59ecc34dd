"""Multipart uploads: their parts are kept in the artifact store, so each may come to another gateway.

    uploads/parts/<address>/<begun>-<random>/about.json, 00001.<hash of the part>[.<algorithm>.<checksum>]

A part's name says all that the end of the upload needs. An abandoned upload is removed after a day.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.artifacts.objects import (
    append_object,
    list_objects,
    move_object,
    read_object,
    remove_objects,
    write_object,
)
from prefect_codepipeline.actions.artifacts.uploads import address_of
from prefect_codepipeline.blocks.artifact_store import ArtifactStore

MOST_PARTS = 10_000
# A client that starts again does not end what it has begun before.
MOST_OF_ADDRESS = 4
ABANDONED_SECONDS = 24 * 3600
_SWEEP_SECONDS = 600.0
_FOLDER = "uploads/parts"
_ABOUT, _RESULT = "about.json", "result.json"
_ID = re.compile(r"[0-9a-f]{12}-[0-9a-f]{32}")
_sweeping = threading.Lock()
_swept: dict[str, float] = {}


@dataclass(frozen=True)
class Part:
    """A part: its number, its hash, its size in bytes, and the checksum that its client sent, if any, as hex digits."""

    number: int
    sha256: str
    size: int
    algorithm: str = ""
    checksum: str = ""

    @property
    def name(self) -> str:
        sent = f".{self.algorithm}.{self.checksum}" if self.algorithm else ""
        return f"{self.number:05}.{self.sha256}{sent}"

    @classmethod
    def of(cls, name: str, size: int) -> Part:
        number, sha256, *sent = name.split(".")
        return cls(int(number), sha256, size, *sent)


class PartStore:
    """The multipart uploads to one address.

    All methods raise `ActionFailed` if the store fails, and `OSError` if the disk is full.
    """

    def __init__(self, store: ArtifactStore, bucket: str, key: str) -> None:
        self._store = store
        self._place = f"{_FOLDER}/{address_of(bucket, key)}"

    def begin(self, about: Mapping[str, str]) -> str:
        """Begin an upload; its id. `about` is what its client said of it."""
        _sweep(self._store)
        known = sorted(_uploads_in(list_objects(self._store, self._place)))
        for upload in known[: max(0, len(known) + 1 - MOST_OF_ADDRESS)]:
            self.remove(upload)
        upload = f"{_moment(time.time())}-{secrets.token_hex(16)}"
        self._write(upload, _ABOUT, about)
        return upload

    def about(self, upload: str) -> dict[str, str] | None:
        """What the client said when it began the upload; None if there is no such upload, or it has ended."""
        return self._read(upload, _ABOUT)

    def add(self, upload: str, part: Part, source: Path) -> None:
        """Move a work file to its place as a part."""
        move_object(self._store, f"{self._place}/{upload}/{part.name}", source)

    def parts(self, upload: str) -> list[Part]:
        """The parts so far; of one number there may be several."""
        found = list_objects(self._store, f"{self._place}/{upload}")
        return [Part.of(name, size) for name, size in found.items() if name not in (_ABOUT, _RESULT)]

    def join(self, upload: str, parts: Sequence[Part], target: Path) -> None:
        """Write the parts to a file, one after the other. Raises `FileNotFoundError`: one was removed meanwhile."""
        with target.open("wb", buffering=0) as file:
            for part in parts:
                append_object(self._store, f"{self._place}/{upload}/{part.name}", file)

    def finish(self, upload: str, result: Mapping[str, str]) -> None:
        """Remove the parts of an upload, and keep its result for a client that asks again."""
        self._write(upload, _RESULT, result)
        self.remove(upload, but=_RESULT)

    def result(self, upload: str) -> dict[str, str] | None:
        """The result of an upload that has ended less than a day ago, or None."""
        return self._read(upload, _RESULT)

    def remove(self, upload: str, but: str = "") -> None:
        """Remove an upload and its parts, but for one of its names."""
        place = f"{self._place}/{upload}"
        names = [name for name in list_objects(self._store, place) if name != but]
        remove_objects(self._store, [f"{place}/{name}" for name in names])

    def _write(self, upload: str, name: str, content: Mapping[str, str]) -> None:
        write_object(self._store, f"{self._place}/{upload}/{name}", json.dumps(dict(content)).encode())

    def _read(self, upload: str, name: str) -> dict[str, str] | None:
        if not _ID.fullmatch(upload):
            return None
        content = read_object(self._store, f"{self._place}/{upload}/{name}")
        return dict(json.loads(content)) if content else None


def _moment(seconds: float) -> str:
    return f"{int(seconds * 1000):012x}"


def _uploads_in(names: Iterable[str]) -> set[str]:
    return {part for name in names for part in name.split("/") if _ID.fullmatch(part)}


def _sweep(store: ArtifactStore) -> None:
    """Remove abandoned uploads to all addresses, unless this process has looked for them a moment ago."""
    with _sweeping:
        if time.monotonic() - _swept.get(store.url, -_SWEEP_SECONDS) < _SWEEP_SECONDS:
            return
        _swept[store.url] = time.monotonic()
    remove_abandoned(store)


def remove_abandoned(store: ArtifactStore) -> None:
    """Remove the parts and results of uploads to all addresses that began more than a day ago."""
    oldest = _moment(time.time() - ABANDONED_SECONDS)
    names = list_objects(store, _FOLDER)
    # <address>/<begun>-<random>/<name>
    remove_objects(store, [f"{_FOLDER}/{name}" for name in names if name.split("/")[1] < oldest])
