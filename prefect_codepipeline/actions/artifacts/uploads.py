"""What workers of one's own have uploaded: which stored artifact is at which address of the S3 endpoint."""

from __future__ import annotations

import hashlib

from prefect_codepipeline.actions.artifacts.objects import read_object, write_object
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.model.record.artifacts import StoredArtifact

_FOLDER = "uploads"


class Uploads:
    """The uploads in an artifact store. Each is a small file that names the stored tree; a later upload replaces it.

    Example:
        ```python
        uploads = Uploads(store)
        uploads.put("releases", "shop/App/x7Kq2Lp", artifact)
        uploads.find("releases", "shop/App/x7Kq2Lp")
        ```
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def put(self, bucket: str, key: str, artifact: StoredArtifact) -> None:
        """Make the artifact the upload at that address.

        Raises:
            ActionFailed: the store failed.
            OSError: the disk is full.
        """
        write_object(self._store, f"{_FOLDER}/{_name(bucket, key)}", artifact.model_dump_json().encode())

    def find(self, bucket: str, key: str) -> StoredArtifact | None:
        """The artifact that was uploaded to that address last, if any. Raises `ActionFailed`: the store failed."""
        return artifact_of(self._store, _name(bucket, key))


def is_upload(name: str) -> bool:
    """Whether a name below the folder of uploads is that of an upload; parts of unfinished ones are there too."""
    return "/" not in name and name.endswith(".json")


def artifact_of(store: ArtifactStore, name: str) -> StoredArtifact | None:
    """The artifact of an upload, by its name below the folder of uploads. Raises `ActionFailed`: the store failed."""
    content = read_object(store, f"{_FOLDER}/{name}")
    return StoredArtifact.model_validate_json(content) if content else None


def address_of(bucket: str, key: str) -> str:
    """A name for an address that is a valid file name, whatever the bucket and the key contain."""
    return hashlib.sha256(f"{bucket}/{key}".encode()).hexdigest()


def _name(bucket: str, key: str) -> str:
    return f"{address_of(bucket, key)}.json"
