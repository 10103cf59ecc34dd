"""Objects in S3: which version there is, its download, and errors that name bucket, key and region.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.work import TimedWork
from prefect_codepipeline.errors import ActionFailed

MAX_KEY_BYTES = 1024
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}|arn:[^\s?#]+")
_CHUNK = 1 << 20
# In a row, without a byte in between.
_BROKEN_DOWNLOADS = 6
_FIRST_PAUSE = 0.25


@dataclass(frozen=True)
class S3Object:
    """One version of an object. `version_id` is None in a bucket that has never had versions."""

    bucket: str
    key: str
    etag: str
    size: int
    modified: datetime
    version_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """What identifies the content: the version or, in a bucket without versions, the ETag."""
        return self.version_id if self.version_id not in (None, "null") else self.etag


def check_bucket(name: str) -> None:
    """Raise `ActionFailed` for a name that no bucket has; boto3 would report a regular expression."""
    if not _BUCKET.fullmatch(name):
        raise ActionFailed(
            f"{name!r} is not the name of a bucket; give the name without 's3://' and without a folder",
            code="ConfigurationError",
        )


def check_key(key: str) -> None:
    """Raise `ActionFailed` for a key that S3 refuses, or that does not name one object."""
    size = len(key.encode(errors="replace"))
    if not 0 < size <= MAX_KEY_BYTES:
        raise ActionFailed(
            f"the object key {key[:80]!r}{'…' if len(key) > 80 else ''} has {size} bytes; S3 allows 1 to {MAX_KEY_BYTES}",
            code="ConfigurationError",
        )
    if key.endswith("/"):
        raise ActionFailed(
            f"the object key {key!r} ends with '/', which is a folder; give the key of an object",
            code="ConfigurationError",
        )
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise ActionFailed(
            f"the object key {key!r} has '.' or '..' as the name of a folder; give the plain key",
            code="ConfigurationError",
        )


def find_object(s3: Any, bucket: str, key: str, version_id: str | None = None) -> S3Object:
    """The newest version of an object, or that version.

    Raises:
        ActionFailed: with code `RevisionUnavailable`, the object or the version does not exist; `PermissionError`,
            `ConfigurationError` or `SystemUnavailable`.
    """
    check_bucket(bucket)
    check_key(key)
    version = {"VersionId": version_id} if version_id else {}
    with _named(s3, bucket, key, version_id):
        answer = s3.head_object(Bucket=bucket, Key=key, **version)
    return S3Object(
        bucket=bucket,
        key=key,
        etag=str(answer["ETag"]).strip('"'),
        size=int(answer["ContentLength"]),
        modified=answer["LastModified"],
        version_id=answer.get("VersionId"),
        metadata=answer.get("Metadata", {}),
    )


def download(s3: Any, found: S3Object, path: Path, work: TimedWork) -> None:
    """Write exactly that version into a file; a connection that breaks continues where it was.

    Raises:
        ActionFailed: with code `RevisionUnavailable`, the version does not exist any more.
        ActionAbandoned: the execution was cancelled.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    broken = 0
    with path.open("wb") as file, _named(s3, found.bucket, found.key, found.version_id):
        while True:
            before = file.tell()
            try:
                for chunk in _chunks(s3, found, file):
                    work.check()
                    file.write(chunk)
            except (HTTPClientError, IncompleteReadError) as error:
                broken = 1 if file.tell() > before else broken + 1
                if broken == _BROKEN_DOWNLOADS:
                    raise
                _wait_for_another_try(found, file.tell(), broken, error, work)
            else:
                break
        if file.tell() != found.size:
            raise ActionFailed(
                f"s3://{found.bucket}/{found.key} has {file.tell()} bytes instead of {found.size}; try again",
                code="RevisionUnavailable",
            )


def object_url(s3: Any, bucket: str, key: str, version_id: str | None = None) -> str | None:
    """The page of an object in the console, or None if the endpoint is not AWS's."""
    host = urlsplit(s3.meta.endpoint_url).hostname or ""
    if not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return None
    version = f"&versionId={quote(version_id, safe='')}" if version_id else ""
    path = f"s3/object/{quote(bucket)}?region={{region}}&prefix={quote(key, safe='')}{version}"
    return console_url(f"arn:{s3.meta.partition}:s3:{s3.meta.region_name}::{bucket}", path)


def _wait_for_another_try(
    found: S3Object, written: int, broken: int, error: Exception, work: TimedWork
) -> None:
    work.logger.warning(
        "The download of s3://%s/%s broke after %s bytes and continues: %s",
        found.bucket,
        found.key,
        written,
        error,
    )
    work.cancellation.wait(min(_FIRST_PAUSE * 2.0**broken, max(work.remaining_seconds, 0.0)))
    work.check()


def _chunks(s3: Any, found: S3Object, file: BinaryIO) -> Iterator[bytes]:
    """The content from where the file ends."""
    version = {"VersionId": found.version_id} if found.version_id else {}
    rest = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    # The version of a bucket without versions, `null`, can be overwritten.
    answer = s3.get_object(Bucket=found.bucket, Key=found.key, IfMatch=f'"{found.etag}"', **version, **rest)
    if rest and "ContentRange" not in answer:  # an endpoint that knows no ranges
        file.seek(0)
        file.truncate()
    yield from answer["Body"].iter_chunks(_CHUNK)


def in_another_region(error: Any, bucket: str) -> ActionFailed | None:
    """The failure of a request for a bucket in another region that botocore could not redirect, or None."""
    response = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    if code not in (
        "301",
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    ):
        return None
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region")
    where = f"in region {region!r}" if region else "in another region"
    return ActionFailed(
        f"bucket {bucket!r} is {where}; set 'region' on the action, or in the settings",
        code="ConfigurationError",
    )


@contextmanager
def _named(s3: Any, bucket: str, key: str, version_id: str | None) -> Iterator[None]:
    """Say what a code of S3 means: the answers to HEAD have no text."""
    from botocore.exceptions import ClientError

    version = f" in version {version_id!r}" if version_id else ""
    what = f"s3://{bucket}/{key}{version}"
    region = s3.meta.region_name
    with translated(f"reading {what} in region {region}"):
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code == "NoSuchBucket" or (code == "404" and not _has_bucket(s3, bucket)):
                raise ActionFailed(
                    f"there is no bucket {bucket!r} in region {region}; correct its name or the region",
                    code="ConfigurationError",
                ) from error
            if elsewhere := in_another_region(error, bucket):
                raise elsewhere from error
            if code in ("404", "NoSuchKey", "NoSuchVersion", "405", "MethodNotAllowed"):
                raise ActionFailed(
                    f"{what} does not exist; upload it, or correct the key{' or the version' if version else ''}",
                    code="RevisionUnavailable",
                ) from error
            if code in ("412", "PreconditionFailed"):
                raise ActionFailed(
                    f"{what} was replaced meanwhile, and the bucket keeps no versions; switch versioning on, or release again",
                    code="RevisionUnavailable",
                ) from error
            if code in ("403", "AccessDenied"):
                raise ActionFailed(
                    f"AWS refuses to show {what} in region {region}; allow s3:GetObject, s3:GetObjectVersion and, to tell "
                    f"missing objects from forbidden ones, s3:ListBucket, or correct the credentials",
                    code="PermissionError",
                ) from error
            if code == "400" and version_id:
                raise ActionFailed(
                    f"{what} does not exist: S3 knows no such version id; correct the version",
                    code="RevisionUnavailable",
                ) from error
            raise


def _has_bucket(s3: Any, bucket: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        return str(error.response.get("Error", {}).get("Code")) != "404"
    except BotoCoreError:
        return True
    return True
