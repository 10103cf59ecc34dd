"""Revisions of sources, and stored artifacts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from prefect_codepipeline.model.records import Record

ArtifactFormat = Literal["CODE_ZIP", "CODEBUILD_CLONE_REF"]


class SourceRevision(Record):
    """The revision that a source action pinned; `revision_id` is a commit, `created` is its author date."""

    revision_id: str
    revision_summary: str = ""
    revision_url: str | None = None
    revision_change_identifier: str | None = None
    author: str | None = None
    author_email: str | None = None
    created: datetime | None = None


class StoredArtifact(Record):
    """An output artifact in the artifact store; `sha256` is the hash of the content, `size` is in bytes."""

    name: str
    sha256: str
    size: int
    files: int
    format: ArtifactFormat = "CODE_ZIP"
    revision_id: str | None = None


class Inherited(Record):
    """The data that an execution takes over from another one: a rollback uses the artifacts of its target."""

    artifacts: list[StoredArtifact] = Field(default_factory=list)
    namespaces: dict[str, dict[str, str]] = Field(default_factory=dict)
    source_revisions: dict[str, SourceRevision] = Field(default_factory=dict)
