"""Store and fetch artifact trees, each named by the hash of its content, so that equal trees are stored once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import platformdirs
from pydantic import ValidationError

from prefect_codepipeline.actions.artifacts.archive_member import UnfitTreeError
from prefect_codepipeline.actions.artifacts.archive_packing import pack, unpack
from prefect_codepipeline.actions.artifacts.places import (
    FULL_DISK,
    keep,
    local_archive,
    where,
    work_file,
    work_folder,
)
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.prefect_api.client import call

FOLDER_VARIABLE = "PREFECT_CODEPIPELINE_ARTIFACTS"
_CHUNK = 1 << 20


def load_artifact_store(name: str | None) -> ArtifactStore:
    """The store of that name; without one the block `default`, else a folder of this user's.

    Raises:
        MissingBlock: a block is named that does not exist.
        ActionFailed: with code `ConfigurationError`, the block's values cannot be used.
    """
    block = quote(name or "default", safe="")
    path = f"/block_types/slug/artifact-store/block_documents/name/{block}?include_secrets=true"
    status, document = call("GET", path, expected=(404, 422))
    if status == 200:
        return _from_document(name or "default", document["data"])
    if name:
        raise MissingBlock(
            f"there is no ArtifactStore block {name!r}; make it in Prefect's UI (`prefect block create "
            f"artifact-store` shows where), or in Python: ArtifactStore(url='s3://bucket/prefix').save({name!r})"
        )
    folder = os.environ.get(FOLDER_VARIABLE) or (
        platformdirs.user_data_path("prefect-codepipeline") / "artifacts"
    )
    return ArtifactStore(url=os.path.abspath(folder))


def store_tree(
    store: ArtifactStore, name: str, tree: OutputTree, revision_id: str | None = None
) -> StoredArtifact:
    """Keep a tree as the artifact `name`; a tree that is there already is not written again.

    Raises:
        ActionFailed: what cannot be an artifact (a socket, a link that leaves the tree, a file that cannot be read),
            a full disk, or a store that does not answer; names the file or the store.
    """
    with _translated(f"storing artifact {name!r}", store), work_file(store) as archive:
        files = pack(tree, archive, store)
        digest, size = _hash(archive), archive.stat().st_size
        keep(store, archive, digest)
    return StoredArtifact(
        name=name, sha256=digest, size=size, files=files, format=tree.format, revision_id=revision_id
    )


def fetch_tree(store: ArtifactStore, artifact: StoredArtifact, destination: Path) -> None:
    """Unpack an artifact into a directory that is empty or not there; it is not there when this fails.

    Raises:
        ActionFailed: the artifact is gone, damaged, or would leave the directory, or the disk is full.
        ValueError: there is something in the directory.
    """
    if destination.exists() and any(destination.iterdir()):
        raise ValueError(f"{destination} is not empty; an artifact is fetched into a directory of its own")
    try:
        _fetch(store, artifact, destination)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise


def _fetch(store: ArtifactStore, artifact: StoredArtifact, destination: Path) -> None:
    place = where(store, artifact.sha256)
    with (
        _translated(f"fetching artifact {artifact.name!r}", store),
        local_archive(store, artifact.sha256, artifact.size) as archive,
    ):
        if archive is None:
            raise ActionFailed(f"{place} is not there any more; run the action again that makes it")
        if _hash(archive) != artifact.sha256:
            raise ActionFailed(
                f"{place} is damaged: its content is not what was stored; remove it and run the action "
                "again that makes it"
            )
        destination.mkdir(parents=True, exist_ok=True)
        unpack(archive, destination, store)


def _from_document(name: str, data: object) -> ArtifactStore:
    try:
        return ArtifactStore.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        raise ActionFailed(
            f"the ArtifactStore block {name!r} cannot be used: {problems}; edit it in Prefect's UI under Blocks",
            code="ConfigurationError",
        ) from None


def _hash(archive: Path) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with archive.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
    return digest.hexdigest()


@contextmanager
def _translated(what: str, store: ArtifactStore) -> Iterator[None]:
    """What went wrong, as the failure of the action, in words that a person can act on."""
    try:
        yield
    except ActionFailed as error:
        raise ActionFailed(f"{what} failed: {error}", code=error.code) from error.__cause__
    except UnfitTreeError as error:
        raise ActionFailed(f"{what} failed: {error}") from error
    except OSError as error:
        why = "the disk is full; make room" if error.errno in FULL_DISK else error.strerror or str(error)
        place = error.filename or work_folder(store)
        raise ActionFailed(f"{what} failed at {place}: {why}") from error
