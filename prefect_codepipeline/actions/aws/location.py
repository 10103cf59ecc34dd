"""The place in S3 through which artifacts go where a service of AWS reads them from there.

What is uploaded is named after its content and stays: a service may read it again, as CloudFormation does for a rollback.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.artifacts.zip_trees import zip_tree
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, transferring, translated
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed

_CHUNK = 1 << 20
# The most that S3 takes in one request.
MOST_BYTES_AT_ONCE = 5 << 30


@dataclass(frozen=True)
class S3Object:
    """An uploaded object; `url` is its path-style URL."""

    bucket: str
    key: str
    url: str


@dataclass(frozen=True)
class S3Revision:
    """An uploaded object that is known by its ETag, and by its version in a bucket that has versions."""

    bucket: str
    key: str
    e_tag: str
    version: str | None


def upload_tree(context: ActionContext, tree: InputTree, region: str | None) -> S3Object:
    """Upload an input artifact as a ZIP file to the location for a region.

    Raises:
        ActionFailed: there is no location, or S3 refused or did not answer.
    """
    archive = context.scratch / f"{tree.name}.zip"
    try:
        zip_tree(tree.directory, archive)
        return _upload(context, archive, f"{tree.name}/{_digest(tree.directory)}.zip", region)
    finally:
        archive.unlink(missing_ok=True)


def upload_bytes(context: ActionContext, content: bytes, name: str, region: str | None) -> S3Object:
    """Upload a text or file to the location for a region; `name` ends its key. Raises as `upload_tree` does."""
    file = context.scratch / "upload"
    try:
        file.write_bytes(content)
        return _upload(context, file, f"{hashlib.sha256(content).hexdigest()}/{name}", region)
    finally:
        file.unlink(missing_ok=True)


def upload_revision(context: ActionContext, tree: InputTree, region: str | None) -> S3Revision:
    """Upload an input artifact as a ZIP file for a service that reads it by its ETag; what is there already stays.

    Two archives of the same tree differ in the dates of their files: a second upload at the same time would
    take the first one's ETag away.

    Raises:
        ActionFailed: as `upload_tree`, or the archive is too large.
    """
    archive = context.scratch / f"{tree.name}.zip"
    try:
        zip_tree(tree.directory, archive)
        if (size := archive.stat().st_size) > MOST_BYTES_AT_ONCE:
            raise ActionFailed(
                f"input artifact {tree.name!r} has {size:,} bytes as a ZIP archive; S3 takes at most "
                f"{MOST_BYTES_AT_ONCE:,} in one request",
                code="ConfigurationError",
            )
        return _put(context, archive, f"{tree.name}/{_digest(tree.directory)}/revision.zip", region)
    finally:
        archive.unlink(missing_ok=True)


def _put(context: ActionContext, file: Path, name: str, region: str | None) -> S3Revision:
    """Upload a file in one request, unless its key is there already."""
    from botocore.exceptions import ClientError

    bucket, key = _place(context, name, region)
    s3: Any = client_of(context, "s3", region)
    with translated(f"uploading {name!r} to s3://{bucket}/{key}"), file.open("rb") as content:
        try:
            answer = s3.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if (
                error_code(error) == "ConditionalRequestConflict"
            ):  # another upload has not ended: later it has
                raise ActionFailed(
                    f"uploading {name!r} to s3://{bucket}/{key}: {error}", code="SystemUnavailable"
                ) from error
            if error_code(error) != "PreconditionFailed":
                raise
            answer = s3.head_object(Bucket=bucket, Key=key)
    version = answer.get("VersionId")
    return S3Revision(bucket, key, answer["ETag"].strip('"'), None if version == "null" else version)


def _upload(context: ActionContext, file: Path, name: str, region: str | None) -> S3Object:
    bucket, key = _place(context, name, region)
    s3: Any = client_of(context, "s3", region)
    with transferring(f"uploading {name!r} to s3://{bucket}/{key}"):
        s3.upload_file(str(file), bucket, key)
    return S3Object(bucket, key, f"{s3.meta.endpoint_url}/{bucket}/{key}")


def _place(context: ActionContext, name: str, region: str | None) -> tuple[str, str]:
    """The bucket and the key of an upload."""
    location = context.settings.aws.location_in(region)
    if location is None:
        raise ActionFailed(
            f"action {context.action.name!r} needs a place in S3 that AWS can read; set 'location' of 'aws' in the "
            "pipeline's settings to 's3://bucket/prefix'",
            code="ConfigurationError",
        )
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    return bucket, "/".join(filter(None, [prefix.strip("/"), context.pipeline_name, name]))


def _digest(directory: Path) -> str:
    """A digest of the names, modes and contents below a directory; the dates of the files do not count."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        mode = "link" if path.is_symlink() else oct(path.stat().st_mode)
        digest.update(f"{name}\0{mode}\0".encode())
        for chunk in _content(path):
            digest.update(chunk)
    return digest.hexdigest()


def _content(path: Path) -> Iterator[bytes]:
    if path.is_symlink():
        yield str(path.readlink()).encode()
    elif path.is_file():
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
