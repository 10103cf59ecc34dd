"""Where the artifacts of pipelines lie: a local folder, or any place that fsspec reaches."""

from pathlib import Path
from typing import Any, ClassVar

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field, HttpUrl, field_validator

GIB = 1024**3


class ArtifactStore(Block):
    """Keeps the artifacts of pipelines, each tree once, named by its content."""

    _block_type_name: ClassVar[str] = "Artifact Store"
    _block_type_slug: ClassVar[str] = "artifact-store"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/welcome-introducing-artifacts.html"
    )
    _description: ClassVar[str] = (
        "Where the artifacts of CodePipeline pipelines lie: a folder, S3, GCS, Azure."
    )

    url: str = Field(
        description="A folder, or an fsspec URL such as s3://bucket/prefix. Every worker must reach it."
    )
    storage_options: SecretDict | None = Field(
        None, description="Passed to fsspec: for S3 `key`, `secret`, `endpoint_url` and the like."
    )
    max_tree_bytes: int = Field(
        10 * GIB, gt=0, description="A tree that unpacks to more bytes is refused: it would fill the disk."
    )
    max_tree_files: int = Field(500_000, gt=0, description="A tree of more files and folders is refused.")

    @field_validator("url")
    @classmethod
    def _is_not_empty(cls, url: str) -> str:
        if not url.strip():
            raise ValueError("a folder or a URL is needed")
        return url

    @property
    def folder(self) -> Path | None:
        """The local folder, None when the store is somewhere else."""
        if self.url.startswith("file://"):
            return Path(self.url.removeprefix("file://"))
        return Path(self.url).expanduser() if "://" not in self.url else None

    def options(self) -> dict[str, Any]:
        """The storage options with their secrets, for the client only."""
        return dict(self.storage_options.get_secret_value()) if self.storage_options else {}
