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
from prefect_codepipeline.actions.aws.client import transferring
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed

_CHUNK = 1 << 20


@dataclass(frozen=True)
class S3Object:
    """An uploaded object; `url` is its path-style URL."""

    bucket: str
    key: str
    url: str


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


def _upload(context: ActionContext, file: Path, name: str, region: str | None) -> S3Object:
    location = context.settings.aws.location_in(region)
    if location is None:
        raise ActionFailed(
            f"action {context.action.name!r} needs a place in S3 that AWS can read; set 'location' of 'aws' in the "
            "pipeline's settings to 's3://bucket/prefix'",
            code="ConfigurationError",
        )
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    key = "/".join(filter(None, [prefix.strip("/"), context.pipeline_name, name]))
    s3: Any = client_of(context, "s3", region)
    with transferring(f"uploading {name!r} to s3://{bucket}/{key}"):
        s3.upload_file(str(file), bucket, key)
    return S3Object(bucket, key, f"{s3.meta.endpoint_url}/{bucket}/{key}")


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
