"""Artifacts as the ZIP archives that own workers download and upload."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from prefect_codepipeline.actions.artifacts.archive_member import (
    END,
    Member,
    TreeRules,
    UnfitTreeError,
    encode,
    padding,
    read_member,
)
from prefect_codepipeline.actions.artifacts.marks import keep
from prefect_codepipeline.actions.artifacts.places import (
    local_archive,
    shared_bits,
    where,
    work_file,
    work_folder,
)
from prefect_codepipeline.actions.artifacts.storing import as_action_failure
from prefect_codepipeline.actions.artifacts.zip_trees import checked_members
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.private_files import make_private

_CHUNK = 1 << 20
# Credentials of a job are valid for an hour.
_UNUSED_SECONDS = 3600
# A ZIP file repeats each name twice, and has some bytes for each member.
_MOST_OVERHEAD = 256 << 20
_TIME = (1980, 1, 1, 0, 0, 0)
_ON_UNIX = 3
# Clients ask for many ranges of an archive at once; one request makes it, and the others wait.
_locks = [threading.Lock() for _ in range(16)]


def largest_zip(store: ArtifactStore) -> int:
    """The size in bytes of the largest ZIP archive of a tree that the store takes."""
    return store.max_tree_bytes + _MOST_OVERHEAD


def artifact_zip(store: ArtifactStore, artifact: StoredArtifact) -> Path | None:
    """The ZIP archive of an artifact, or None if the store does not have it; kept for an hour after its last use.

    It depends on nothing but the content of the artifact: no times, and no compression, which differs between versions
    of zlib, and would take longer than the transfer.

    Raises:
        ActionFailed: the artifact is damaged, the store failed, or the disk is full.
    """
    place = work_folder(store) / "zips" / f"{artifact.sha256}.zip"
    with (
        _locks[int(artifact.sha256, 16) % len(_locks)],
        as_action_failure(f"fetching artifact {artifact.name!r}", store),
    ):
        return place if _is_kept(place) or _make(store, artifact, place) else None


def store_zip(store: ArtifactStore, name: str, archive: Path) -> StoredArtifact:
    """Store the tree in a ZIP archive as the artifact `name`.

    Raises:
        ActionFailed: the archive is not one, leads out of its tree, is too large or contains what an artifact cannot;
            the disk is full, or the store failed.
    """
    with as_action_failure(f"storing artifact {name!r}", store), work_file(store) as packed:
        with packed.open("wb") as file:
            written = _Hashing(file)
            files = _repack(archive, written, store)
        keep(store, packed, written.hash.hexdigest())
    return StoredArtifact(name=name, sha256=written.hash.hexdigest(), size=written.size, files=files)


def _is_kept(place: Path) -> bool:
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    except PermissionError:  # the gateway of another user made it
        return True
    return True


def _make(store: ArtifactStore, artifact: StoredArtifact, place: Path) -> bool:
    with work_file(store) as packed:
        make_private(place.parent, store.folder)
        _drop_unused(place.parent)
        with local_archive(store, artifact.sha256, artifact.size) as archive:
            if archive is None:
                return False
            _zip(archive, packed, artifact, store)
        packed.chmod(0o644 & (shared_bits(store.folder) if store.folder else 0o600))
        os.replace(packed, place)
    return True


class _Hashing:
    """A file that is written or read from its start to its end, and the hash of what went by."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        self.size += len(data)
        return data


def _repack(archive: Path, written: _Hashing, store: ArtifactStore) -> int:
    """Write the tree in a ZIP archive in the format of artifacts, and return the number of its files and links."""
    count = 0
    with checked_members(archive, store) as (packed, members):
        for member, info in members:
            written.write(encode(member))
            count += member.kind != "folder"
            if member.kind != "file" or info is None:
                continue
            left = member.size
            with packed.open(info) as source:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    written.write(chunk)
            if left:
                raise UnfitTreeError(f"{member.name!r} is shorter than the archive says")
            written.write(b"\0" * padding(member.size))
        written.write(END)
    return count


def _zip(archive: Path, packed: Path, artifact: StoredArtifact, store: ArtifactStore) -> None:
    rules = TreeRules(store)
    pad = 0
    with archive.open("rb") as file, zipfile.ZipFile(packed, "w") as written:
        source = _Hashing(file)
        while (member := read_member(source, pad)) is not None:  # type: ignore[arg-type]  # it only reads
            rules.admit(member)
            info = _entry(member)
            if member.kind == "file":
                with written.open(info, "w") as target:
                    left = member.size
                    while left and (chunk := source.read(min(left, _CHUNK))):
                        left -= len(chunk)
                        target.write(chunk)
            else:
                written.writestr(info, member.target)
            pad = padding(member.size)
    if source.hash.hexdigest() != artifact.sha256:
        raise ActionFailed(
            f"{where(store, artifact.sha256)} is damaged: its content has changed since it was stored"
        )


def _entry(member: Member) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(member.name + ("/" if member.kind == "folder" else ""), _TIME)
    info.create_system = _ON_UNIX
    info.file_size = member.size
    kind = {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "link": stat.S_IFLNK}[member.kind]
    mode = (
        0o777 if member.kind == "link" else 0o755 if member.executable or member.kind == "folder" else 0o644
    )
    info.external_attr = (kind | mode) << 16
    if member.kind == "folder":
        info.external_attr |= 0x10  # MS-DOS's mark of a folder
    return info


def _drop_unused(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(FileNotFoundError, PermissionError):
            if time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                path.unlink()
