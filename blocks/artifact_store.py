"""Where the artifacts of pipelines lie: a local folder, or an object store that fsspec reaches."""

from pathlib import Path
from typing import Any, ClassVar

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import ConfigDict, Field, HttpUrl, field_validator

GIB = 1024**3
# Places that take an object whole or not at all; half of one under its final name would be taken for all of it.
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")


class ArtifactStore(Block):
    """Keeps the artifacts of pipelines, each tree once, named by its content. Name it in the pipeline's settings.

    Example:
        ```python
        from prefect_codepipeline.blocks.artifact_store import ArtifactStore

        options = {"endpoint_url": "http://minio:9000", "key": "releases", "secret": "..."}
        ArtifactStore(url="s3://releases/artifacts", storage_options=options).save("default")
        store = ArtifactStore.load("BLOCK_NAME")
        ```
    """

    # What was refused may hold a secret.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Artifact Store"
    _block_type_slug: ClassVar[str] = "artifact-store"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts.html#concepts-artifacts"
    )
    _description: ClassVar[str] = (
        "Where the artifacts of CodePipeline pipelines lie: a folder, S3, GCS, Azure."
    )

    url: str = Field(
        description="A folder by its whole path, or s3://bucket/prefix, gs://…, az://…. Every worker must reach it."
    )
    storage_options: SecretDict | None = Field(
        None,
        description="Passed to fsspec: for S3 `key`, `secret`, `endpoint_url`; the usual AWS variables when empty.",
    )
    max_tree_bytes: int = Field(
        10 * GIB, gt=0, description="A tree that unpacks to more bytes is refused: it would fill the disk."
    )
    max_tree_files: int = Field(500_000, gt=0, description="A tree of more files and folders is refused.")

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        protocol, separator, place = url.strip().rpartition("://")
        if separator and protocol not in ("file", *OBJECT_STORES):
            raise ValueError(
                f"{protocol}:// is no place for artifacts: give a folder, or {', '.join(OBJECT_STORES)}://"
            )
        if not place.strip("/"):
            raise ValueError("a folder or the name of a bucket is needed")
        if protocol in ("", "file") and not Path(place).expanduser().is_absolute():
            raise ValueError(f"{place!r} is another folder to each process: give the whole path, from /")
        return url.strip().rstrip("/")

    @property
    def folder(self) -> Path | None:
        """The local folder, None when the store is somewhere else."""
        protocol, _, place = self.url.rpartition("://")
        return Path(place).expanduser() if protocol in ("", "file") else None

    def options(self) -> dict[str, Any]:
        """The storage options with their secrets, for the client only."""
        return dict(self.storage_options.get_secret_value()) if self.storage_options else {}
