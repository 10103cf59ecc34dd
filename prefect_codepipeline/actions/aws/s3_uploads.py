"""Upload files to S3, several at once: in one request each or, if they are large, in parts.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.artifacts.copying import Upload
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.s3_objects import in_another_region
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

# botocore keeps ten connections.
AT_ONCE = 10
_PARTS_ABOVE = 16 << 20
_PARTS_AT_ONCE = 4
_LOOK_SECONDS = 0.5
# The tables of Python's versions and of the machines differ; these types must not.
_TYPES = {
    ".avif": "image/avif",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "text/xml",
}
_ENCODINGS = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_table = mimetypes.MimeTypes()


@dataclass(frozen=True)
class Destination:
    """A bucket, and what each of its objects gets, by S3's names of the headers."""

    bucket: str
    headers: Mapping[str, str] = field(default_factory=dict)


def content_type(name: str) -> str | None:
    """The media type of a file by its name, or None if it is not known: then S3's default applies."""
    suffix = Path(name).suffix.lower()
    if suffix in _TYPES:
        return _TYPES[suffix]
    kind, encoding = _table.guess_type(name, strict=False)
    return _ENCODINGS.get(encoding) if encoding else kind


def upload_all(s3: Any, destination: Destination, uploads: Sequence[Upload], context: ActionContext) -> None:
    """Upload every file; the first failure ends the uploads.

    Raises:
        ActionFailed: S3 refused or did not answer; the message names the object.
        ActionAbandoned: the execution was cancelled.
    """
    waiting = iter(uploads)
    done, running = 0, set[Future[None]]()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="codepipeline-s3") as pool:
        while True:
            context.check()
            for upload in waiting:
                running.add(pool.submit(_upload, s3, destination, upload, context))
                if len(running) >= 2 * AT_ONCE:
                    break
            if not running:
                return
            ended, running = wait(running, _LOOK_SECONDS, FIRST_COMPLETED)
            for each in ended:
                each.result()
            done += len(ended)
            context.report_progress(f"{done} of {len(uploads)} files", 100 * done // len(uploads))


def _upload(s3: Any, destination: Destination, upload: Upload, context: ActionContext) -> None:
    # Those that wait in the pool when another one has failed, or when the execution is cancelled.
    context.check()
    headers = dict(destination.headers)
    if kind := content_type(upload.key):
        headers["ContentType"] = kind
    with _transferring(s3, destination.bucket, upload.key):
        if upload.path.stat().st_size > _PARTS_ABOVE:
            from boto3.s3.transfer import TransferConfig

            parts = TransferConfig(multipart_threshold=_PARTS_ABOVE, max_concurrency=_PARTS_AT_ONCE)
            s3.upload_file(str(upload.path), destination.bucket, upload.key, ExtraArgs=headers, Config=parts)
            return
        with upload.path.open("rb") as file:
            s3.put_object(Bucket=destination.bucket, Key=upload.key, Body=file, **headers)


@contextmanager
def _transferring(s3: Any, bucket: str, key: str) -> Iterator[None]:
    """Turn errors of S3 into an `ActionFailed` that names the object and the region, and says what to do."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import ClientError

    what = f"uploading s3://{bucket}/{key} in region {s3.meta.region_name}"
    with translated(what):
        try:
            yield
        except S3UploadFailedError as error:  # boto3 wraps AWS's error into a text
            if isinstance(error.__context__, ClientError):
                raise _explained(error.__context__, what, bucket) from error
            raise ActionFailed(f"{what}: {error}", code="ConfigurationError") from error
        except ClientError as error:
            raise _explained(error, what, bucket) from error


def _explained(error: Any, what: str, bucket: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket":
        return ActionFailed(
            f"{what}: there is no bucket {bucket!r}; correct BucketName or the region",
            code="ConfigurationError",
        )
    if code == "AccessControlListNotSupported":
        return ActionFailed(
            f"{what}: the bucket has its ACLs switched off, as new buckets have; remove CannedACL",
            code="ConfigurationError",
        )
    return in_another_region(error, bucket) or error
