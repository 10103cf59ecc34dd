"""The store of pipeline artifacts: a local folder, or an object store supported by fsspec."""

from pathlib import Path
from typing import Any, ClassVar

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import ConfigDict, Field, HttpUrl, field_validator

GIB = 1024**3
# Stores with atomic writes. Elsewhere, a reader could take a half-written object for a complete one.
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")


class ArtifactStore(Block):
    """Stores pipeline artifacts. Each tree is stored once, named by its content. Name it in the pipeline's settings.

    Example:
        ```python
        from prefect_codepipeline.blocks.artifact_store import ArtifactStore

        options = {"endpoint_url": "http://minio:9000", "key": "releases", "secret": "..."}
        ArtifactStore(url="s3://releases/artifacts", storage_options=options).save("default")
        store = ArtifactStore.load("BLOCK_NAME")
        ```
    """

    # A refused value may contain a secret.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Artifact Store"
    _block_type_slug: ClassVar[str] = "artifact-store"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts.html#concepts-artifacts"
    )
    _description: ClassVar[str] = (
        "Stores the artifacts of CodePipeline pipelines: in a folder, S3, GCS or Azure."
    )

    url: str = Field(
        description="Absolute path of a folder, or s3://bucket/prefix, gs://…, az://…. Every worker must be able to access it."
    )
    storage_options: SecretDict | None = Field(
        None,
        description="Options for fsspec; for S3 `key`, `secret`, `endpoint_url`. If empty, the usual AWS variables.",
    )
    max_tree_bytes: int = Field(
        10 * GIB, gt=0, description="Maximum unpacked size of a tree in bytes; protects the disk."
    )
    max_tree_files: int = Field(500_000, gt=0, description="Maximum number of files and folders in a tree.")

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        protocol, separator, place = url.strip().rpartition("://")
        if separator and protocol not in ("file", *OBJECT_STORES):
            raise ValueError(
                f"{protocol}:// is not supported for artifacts; use a folder, or {', '.join(OBJECT_STORES)}://"
            )
        if not place.strip("/"):
            raise ValueError("a folder or a bucket name is required")
        if protocol in ("", "file") and not Path(place).expanduser().is_absolute():
            raise ValueError(
                f"{place!r} is a relative path, which differs between processes; use an absolute path"
            )
        return url.strip().rstrip("/")

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for an object store."""
        protocol, _, place = self.url.rpartition("://")
        return Path(place).expanduser() if protocol in ("", "file") else None

    def options(self) -> dict[str, Any]:
        """The storage options including secrets; only for the fsspec client."""
        return dict(self.storage_options.get_secret_value()) if self.storage_options else {}
