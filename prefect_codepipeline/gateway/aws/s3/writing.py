"""PutObject, and the end of every upload: a ZIP archive is checked, and becomes an artifact."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import Response

from prefect_codepipeline.actions.artifacts.archive_member import UnfitTreeError
from prefect_codepipeline.actions.artifacts.places import work_file
from prefect_codepipeline.actions.artifacts.uploads import Uploads
from prefect_codepipeline.actions.artifacts.wire_zips import largest_zip, store_zip
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.gateway.aws.s3.asked import Asked, encryption, quoted
from prefect_codepipeline.gateway.aws.s3.bodies import Received, declared, receive
from prefect_codepipeline.gateway.aws.s3.checksums import HEADER_PREFIX, encoded
from prefect_codepipeline.gateway.aws.s3.errors import S3Error
from prefect_codepipeline.gateway.threads import ARTIFACTS, AWS, in_thread

# Of one request; S3's own limit.
LARGEST_BODY = 5 << 30
_NOT_HERE = ("x-amz-copy-source", "if-match", "if-none-match", "x-amz-write-offset-bytes")
_logger = logging.getLogger("codepipeline.gateway")


async def put_object(asked: Asked) -> Response:
    """Answer PutObject. Raises `S3Error`."""
    asked.output_name()
    store = await in_thread(asked.request, AWS, asked.store)
    with work_file(store) as path:
        received = await receive_body(asked, path, min(LARGEST_BODY, largest_zip(store)))
        await in_thread(asked.request, ARTIFACTS, store_upload, asked, store, path)
    headers = {"etag": quoted(received.sha256), **encryption(asked.headers)}
    return Response(None, 200, {**headers, **checksum_headers(received.checksums)})


async def receive_body(asked: Asked, path: Path, largest: int, *, of_object: bool = False) -> Received:
    """Write the body of a request to a file. Raises `S3Error`.

    Args:
        asked: the request.
        path: the file.
        largest: the most bytes that the body may have.
        of_object: whether checksums in headers are those of an object that the body only names.
    """
    for name in _NOT_HERE:
        if name in asked.headers:
            raise S3Error("NotImplemented", f"The header {name} is not supported here.")
    headers, caller = asked.headers, asked.caller
    if of_object:
        headers = {name: value for name, value in headers.items() if not name.startswith(HEADER_PREFIX)}
    expected = declared(headers, caller.content_sha256, caller.chunks, largest)
    return await receive(asked.request, expected, path)


def store_upload(asked: Asked, store: ArtifactStore, archive: Path) -> None:
    """Make an uploaded archive the output artifact of its address. Raises `S3Error`: it is not a fit archive."""
    try:
        artifact = store_zip(store, asked.output_name(), archive)
    except ActionFailed as error:
        if not isinstance(error.__cause__, UnfitTreeError):
            raise
        _logger.warning("job %s: %s", asked.caller.grant.job_id, error)
        raise S3Error("InvalidRequest", str(error)) from None
    Uploads(store).put(asked.bucket, asked.key, artifact)


def checksum_headers(checksums: Mapping[str, bytes]) -> dict[str, str]:
    """The checksums of a body that were checked, for its answer."""
    return {
        HEADER_PREFIX + algorithm: encoded(value)
        for algorithm, value in checksums.items()
        if algorithm != "md5"
    }
