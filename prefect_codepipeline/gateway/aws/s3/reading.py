"""GetObject and HeadObject: an input artifact as a ZIP archive, whole or a range of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from prefect_codepipeline.actions.artifacts.wire_zips import artifact_zip
from prefect_codepipeline.gateway.aws.s3.asked import Asked, encryption, quoted
from prefect_codepipeline.gateway.aws.s3.errors import S3Error
from prefect_codepipeline.gateway.threads import ARTIFACTS, TRANSFERS, in_thread
from prefect_codepipeline.gateway.transfers import allow_transfer

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# An artifact has no time. Clients want one.
_LAST_MODIFIED = "Tue, 01 Jan 1980 00:00:00 GMT"


@dataclass(frozen=True)
class Range:
    """The bytes that are asked for, `end` not among them."""

    start: int
    end: int


async def get_object(asked: Asked) -> Response:
    """Answer GetObject or HeadObject. Raises `S3Error`."""
    artifact = asked.artifact()
    # The archive depends on the artifact alone, so its hash names it, too.
    etag = quoted(artifact.sha256)
    if (refusal := _refusal(asked.headers, etag)) is not None:
        return refusal
    file = await in_thread(asked.request, ARTIFACTS, _open, asked)
    with ExitStack() as opened:
        opened.enter_context(file)
        size = file.seek(0, 2)
        part = _range(asked.headers, size, etag)
        headers = {
            "accept-ranges": "bytes",
            "content-type": "application/zip",
            "etag": etag,
            "last-modified": _LAST_MODIFIED,
            **encryption(asked.headers),
        }
        if part:
            headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{size}"
        wanted = part or Range(0, size)
        headers["content-length"] = str(wanted.end - wanted.start)
        status = 206 if part else 200
        if asked.request.method == "HEAD":
            return Response(None, status, headers)
        allow_transfer(asked.request.scope)
        opened.pop_all()
        return StreamingResponse(_content(asked.request, file, wanted), status, headers)


def _open(asked: Asked) -> BinaryIO:
    place = artifact_zip(asked.store(), asked.artifact())
    if place is None:
        raise S3Error("NoSuchKey", "The artifact is no longer in the artifact store.")
    return place.open("rb", buffering=0)


async def _content(request: Request, file: BinaryIO, part: Range) -> AsyncIterator[bytes]:
    with file:
        at = part.start
        file.seek(at)
        while at < part.end:
            data = await in_thread(request, TRANSFERS, file.read, min(_CHUNK, part.end - at))
            if not data:
                raise OSError("the archive is shorter than it was")
            at += len(data)
            yield data


def _refusal(headers: Mapping[str, str], etag: str) -> Response | None:
    """The answer to a client that has the archive already, or wants another one."""
    if _names(headers.get("if-none-match", ""), etag):
        return Response(None, 304, {"etag": etag})
    if "if-match" in headers and not _names(headers["if-match"], etag):
        raise S3Error("PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
    return None


def _names(condition: str, etag: str) -> bool:
    return not {"*", etag, etag.strip('"')}.isdisjoint(each.strip() for each in condition.split(","))


def _range(headers: Mapping[str, str], size: int, etag: str) -> Range | None:
    """The range that is asked for; None for the whole, which S3 gives for several ranges, too."""
    found = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if not found or not (found[1] or found[2]) or headers.get("if-range", etag) != etag:
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    if found[1] and found[2] and int(found[2]) < start:
        return None
    if start >= size or start >= end:
        raise S3Error("InvalidRange", "The requested range is not satisfiable")
    return Range(start, end)
