"""Source/AWS/S3/1: one version of an object in S3, unpacked if it is a ZIP archive.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-S3.html
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from prefect_codepipeline.actions.artifacts.archive_member import UnfitTreeError, check_name
from prefect_codepipeline.actions.artifacts.zip_trees import unzip_tree
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.s3_objects import S3Object, download, find_object, object_url
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    OutputTree,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.record.artifacts import SourceRevision

SUMMARY_KEY = "codepipeline-artifact-revision-summary"
SUMMARY_LENGTH = 2048
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_OVERRIDE = re.compile(
    r"(?:S3_OBJECT_VERSION_ID=(?P<version>[^,]+))?,?(?:S3_OBJECT_KEY=(?P<key>.+))?", re.DOTALL
)


class S3SourceConfiguration(ActionConfiguration):
    """The configuration of an action. Only triggers use `PollForSourceChanges`."""

    bucket: str = Field(alias="S3Bucket")
    object_key: str = Field(alias="S3ObjectKey")
    allow_override: Literal["true", "false"] = Field("false", alias="AllowOverrideForS3ObjectKey")
    poll_for_source_changes: Literal["true", "false"] = "true"


def _named(configuration: S3SourceConfiguration, context: ActionContext) -> Iterator[Lookup]:
    bucket, key = configuration.bucket, configuration.object_key
    yield Lookup(f"bucket {bucket!r}", "s3", "head_bucket", {"Bucket": bucket})
    yield Lookup(f"object s3://{bucket}/{key}", "s3", "head_object", {"Bucket": bucket, "Key": key})


@action_provider(
    category="Source", provider="S3", inputs=(0, 0), outputs=(1, 1), restartable=True, online=_named
)
def read_from_s3(configuration: S3SourceConfiguration, context: ActionContext) -> ActionResult:
    """Pin the newest version of the object, or the overriding one, and return its files."""
    s3 = client_of(context, "s3")
    key, version = _wanted(configuration, context.source_revision_override)
    found = _find(s3, configuration.bucket, key, version)
    context.report_progress(f"Fetching s3://{found.bucket}/{found.key}")
    tree = _tree(s3, found, context)
    summary = found.metadata.get(SUMMARY_KEY) or _summary(found)
    context.logger.info("s3://%s/%s at %s", found.bucket, found.key, found.revision)
    url = object_url(s3, found.bucket, found.key, found.version_id)
    return ActionResult(
        summary=summary[:SUMMARY_LENGTH],
        output_artifacts={context.action.output_artifacts[0].name: tree},
        output_variables={
            "BucketName": found.bucket,
            "ETag": found.etag,
            "ObjectKey": found.key,
            # What S3 itself calls the version of an object in a bucket without versions.
            "VersionId": found.version_id or "null",
        },
        external_execution_id=found.revision,
        external_execution_url=url,
        source_revision=SourceRevision(
            revision_id=found.revision,
            revision_summary=summary[:SUMMARY_LENGTH],
            revision_url=url,
            revision_change_identifier=found.etag,
            created=found.modified,
        ),
    )


def _wanted(configuration: S3SourceConfiguration, override: str | None) -> tuple[str, str | None]:
    """The key and the version; the override is a version, or `S3_OBJECT_VERSION_ID=V,S3_OBJECT_KEY=K` or one of both."""
    if not override:
        return configuration.object_key, None
    named = _OVERRIDE.fullmatch(override)
    if named is None:
        return configuration.object_key, override
    if named["key"] and configuration.allow_override != "true":
        raise ActionFailed(
            f"the source revision names the object key {named['key']!r}, which the action does not allow; set "
            "AllowOverrideForS3ObjectKey to true",
            code="ConfigurationError",
        )
    return named["key"] or configuration.object_key, named["version"]


def _find(s3: Any, bucket: str, key: str, version: str | None) -> S3Object:
    """The object in that version; in a bucket without versions, the object if its ETag is `version`."""
    if version is None:
        return find_object(s3, bucket, key)
    try:
        return find_object(s3, bucket, key, version)
    except ActionFailed as error:
        if error.code != "RevisionUnavailable":
            raise
        newest = _newest(s3, bucket, key)
        if newest is None or newest.revision != version:
            raise
        return newest


def _newest(s3: Any, bucket: str, key: str) -> S3Object | None:
    try:
        return find_object(s3, bucket, key)
    except ActionFailed:
        return None


def _summary(found: S3Object) -> str:
    kind = "version id" if found.revision == found.version_id else "ETag"
    return f"Amazon S3 {kind}: {found.revision}"


def _tree(s3: Any, found: S3Object, context: ActionContext) -> OutputTree:
    """The unpacked archive, or the object as the only file."""
    what = f"s3://{found.bucket}/{found.key}"
    directory, copy = context.scratch / "source", context.scratch / "object"
    directory.mkdir()
    download(s3, found, copy, context)
    try:
        if _is_zip(copy):
            unzip_tree(copy, directory, context.store)
            copy.unlink()
        else:
            name = found.key.rpartition("/")[2]
            check_name(name)
            copy.rename(directory / name)
            context.logger.info("%s is not a ZIP archive: the artifact is this one file", what)
    except UnfitTreeError as error:
        raise ActionFailed(f"{what} cannot be an artifact: {error}") from error
    return OutputTree(directory)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _ZIP_STARTS or zipfile.is_zipfile(path)
