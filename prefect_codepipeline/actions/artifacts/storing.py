"""Store and fetch artifact trees. Each is named by the hash of its content, so equal trees are stored once."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from prefect_codepipeline.actions.artifacts.archive_member import UnfitTreeError
from prefect_codepipeline.actions.artifacts.archive_packing import pack, unpack
from prefect_codepipeline.actions.artifacts.marks import keep
from prefect_codepipeline.actions.artifacts.places import (
    FULL_DISK,
    local_archive,
    where,
    work_file,
    work_folder,
)
from prefect_codepipeline.actions.work import OutputTree, required
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.prefect_api.block_documents import find_block, missing_block

FOLDER_VARIABLE = "PREFECT_CODEPIPELINE_ARTIFACTS"
_CHUNK = 1 << 20


def load_artifact_store(name: str | None) -> ArtifactStore:
    """The store of that name; without a name the block `default`, else a folder in the user's data directory.

    Raises:
        MissingBlock: the named block does not exist.
        ActionFailed: with code `ConfigurationError`, the block's values are invalid.
    """
    found = required(lambda: find_block(ArtifactStore, name or "default"))
    if found:
        return found
    if name:
        raise missing_block(
            ArtifactStore,
            name,
            command="`prefect block create artifact-store`, which prints the page of Prefect's UI, or in Python "
            f"ArtifactStore(url='s3://bucket/prefix').save({name!r})",
        )
    folder = os.environ.get(FOLDER_VARIABLE) or (
        platformdirs.user_data_path("prefect-codepipeline") / "artifacts"
    )
    return ArtifactStore(url=os.path.abspath(folder))


def store_tree(
    store: ArtifactStore, name: str, tree: OutputTree, revision_id: str | None = None
) -> StoredArtifact:
    """Store a tree as the artifact `name`; a tree that the store has already is not written again.

    Raises:
        ActionFailed: the tree contains a socket, a link that leads out of it or an unreadable file, the disk is full,
            or the store does not answer; the message names the file or the store.
    """
    with as_action_failure(f"storing artifact {name!r}", store), work_file(store) as archive:
        files = pack(tree, archive, store)
        digest, size = _hash(archive), archive.stat().st_size
        keep(store, archive, digest)
    return StoredArtifact(
        name=name, sha256=digest, size=size, files=files, format=tree.format, revision_id=revision_id
    )


def fetch_tree(store: ArtifactStore, artifact: StoredArtifact, destination: Path) -> None:
    """Unpack an artifact into a directory that is empty or does not exist; on failure the directory is removed.

    Raises:
        ActionFailed: the artifact is missing, damaged, or leads out of the directory, or the disk is full.
        ValueError: the directory is not empty.
    """
    if destination.exists() and any(destination.iterdir()):
        raise ValueError(f"{destination} is not empty; fetch the artifact into an empty directory")
    try:
        _fetch(store, artifact, destination)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise


def _fetch(store: ArtifactStore, artifact: StoredArtifact, destination: Path) -> None:
    place = where(store, artifact.sha256)
    with (
        as_action_failure(f"fetching artifact {artifact.name!r}", store),
        local_archive(store, artifact.sha256, artifact.size) as archive,
    ):
        if archive is None:
            of_another = (
                f"; if another machine than {socket.gethostname()!r} has stored it, use a store that both share, such as "
                "s3://bucket/prefix"
            )
            raise ActionFailed(
                f"{place} no longer exists; run the action that produces the artifact again"
                f"{of_another if store.folder else ''}"
            )
        if _hash(archive) != artifact.sha256:
            raise ActionFailed(
                f"{place} is damaged: its content has changed since it was stored; remove it and run the action "
                "that produces the artifact again"
            )
        destination.mkdir(parents=True, exist_ok=True)
        unpack(archive, destination, store)


def _hash(archive: Path) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with archive.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
    return digest.hexdigest()


@contextmanager
def as_action_failure(what: str, store: ArtifactStore) -> Iterator[None]:
    """Turn errors into failures of the action that say what to do."""
    try:
        yield
    except ActionFailed as error:
        raise ActionFailed(f"{what} failed: {error}", code=error.code) from error.__cause__
    except UnfitTreeError as error:
        raise ActionFailed(f"{what} failed: {error}") from error
    except OSError as error:
        why = (
            "the disk is full; free some space" if error.errno in FULL_DISK else error.strerror or str(error)
        )
        place = error.filename or work_folder(store)
        raise ActionFailed(f"{what} failed at {place}: {why}") from error
