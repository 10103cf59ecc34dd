"""Bodies that clients upload: received to a file, decoded and checked on the way, never held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request

from prefect_codepipeline.gateway.aws.s3.aws_chunked import AwsChunked, Signatures
from prefect_codepipeline.gateway.aws.s3.checksums import (
    ALGORITHMS,
    HEADER_PREFIX,
    algorithm_of,
    check,
    checksum_value,
    sent_checksums,
)
from prefect_codepipeline.gateway.aws.s3.errors import S3Error
from prefect_codepipeline.gateway.aws.signing.chunks import SHA256
from prefect_codepipeline.gateway.threads import TRANSFERS, in_thread
from prefect_codepipeline.gateway.transfers import allow_transfer

_CHUNK = 1 << 20
_NUMBER = re.compile(r"[0-9]{1,18}")
_UNSIGNED = "UNSIGNED-PAYLOAD"
_STREAMING, _TRAILER = "STREAMING-", "-TRAILER"
# Chunks may be small, and each has a line of some bytes.
_MOST_ENCODING = 2


@dataclass(frozen=True)
class Declared:
    """What the headers say of a body.

    Attributes:
        length: in bytes, without encoding.
        sha256: that was signed, if any.
        checksums: that were sent in headers, by algorithm.
        trailer: the algorithm whose checksum follows the body, if any.
        is_chunked: whether it is `aws-chunked`.
        signatures: checks the chunks, if they are signed.
    """

    length: int
    sha256: str | None
    checksums: Mapping[str, bytes]
    trailer: str | None
    is_chunked: bool
    signatures: Signatures | None


@dataclass(frozen=True)
class Received:
    """A body that was received and checked: its hash as hex digits, its size, and the checksums that were sent with it."""

    sha256: str
    size: int
    checksums: Mapping[str, bytes]


def declared(
    headers: Mapping[str, str], content_sha256: str, signatures: Signatures | None, largest: int
) -> Declared:
    """What the headers of a request say of its body.

    Args:
        headers: of the request, with names in lower case.
        content_sha256: the signed `x-amz-content-sha256`.
        signatures: checks the chunks, if they are signed.
        largest: the most bytes that the body may have.

    Raises:
        S3Error: the length is missing or too large, or a checksum cannot be checked.
    """
    is_chunked = content_sha256.startswith(_STREAMING)
    header = "x-amz-decoded-content-length" if is_chunked else "content-length"
    if not _NUMBER.fullmatch(headers.get(header, "")):
        raise S3Error("MissingContentLength", f"You must provide the {header} HTTP header.")
    length = int(headers[header])
    if length > largest:
        raise S3Error(
            "EntityTooLarge", f"Your proposed upload has {length} bytes; the limit is {largest} bytes."
        )
    if not is_chunked and content_sha256 != _UNSIGNED and not SHA256.fullmatch(content_sha256):
        raise S3Error("InvalidRequest", "The x-amz-content-sha256 is not valid.")
    checksums, trailer = sent_checksums(headers), _trailer(headers, content_sha256)
    asked = headers.get("x-amz-sdk-checksum-algorithm")
    if asked and algorithm_of(asked) not in {*checksums, trailer}:
        raise S3Error(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
        )
    sha256 = content_sha256 if SHA256.fullmatch(content_sha256) else None
    return Declared(length, sha256, checksums, trailer, is_chunked, signatures)


def _trailer(headers: Mapping[str, str], content_sha256: str) -> str | None:
    name = headers.get("x-amz-trailer", "").strip().lower()
    if bool(name) != content_sha256.endswith(_TRAILER):
        raise S3Error("InvalidRequest", "x-amz-trailer does not fit to x-amz-content-sha256.")
    if name and not name.startswith(HEADER_PREFIX):
        raise S3Error("InvalidRequest", f"The trailer {name[:60]!r} is not supported.")
    return algorithm_of(name.removeprefix(HEADER_PREFIX)) if name else None


async def receive(request: Request, expected: Declared, path: Path) -> Received:
    """Write the body of a request whose sender is known to a file.

    Raises:
        S3Error: the body is not what its headers say.
        OSError: the disk is full.
    """
    room = _MOST_ENCODING * expected.length if expected.is_chunked else expected.length
    allow_transfer(request.scope, room + _CHUNK)
    with path.open("wb", buffering=0) as file:
        body = Body(expected, file)
        held, writing, failure = bytearray(), None, None
        try:
            # While a thread writes one piece, the next one arrives.
            async for data in request.stream():
                held += data
                if len(held) >= _CHUNK:
                    if writing:
                        await writing
                    writing = asyncio.create_task(in_thread(request, TRANSFERS, body.write, bytes(held)))
                    held = bytearray()
        finally:
            if writing:
                await asyncio.wait([writing])
                failure = writing.exception()  # retrieved also if the client has hung up
        if failure:
            raise failure
        return await in_thread(request, TRANSFERS, body.finish, bytes(held))


class Body:
    """A body on its way to a file.

    Args:
        expected: what its headers say.
        file: opened without a buffer.
    """

    def __init__(self, expected: Declared, file: BinaryIO) -> None:
        self._expected = expected
        self._file = file
        self._decoder = AwsChunked(expected.signatures) if expected.is_chunked else None
        self._sha256 = hashlib.sha256()
        names = {*expected.checksums, *filter(None, [expected.trailer])} - {"sha256"}
        self._digests = {name: ALGORITHMS[name]() for name in names}
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add what has arrived. Raises `S3Error`."""
        for piece in self._decoded(data):
            self._size += len(piece)
            if self._size > self._expected.length:
                raise S3Error("InvalidRequest", "The body is longer than its headers say.")
            self._sha256.update(piece)
            for digest in self._digests.values():
                digest.update(piece)
            while piece:
                piece = piece[self._file.write(piece) :]

    def finish(self, data: bytes) -> Received:
        """Add the last part and check the whole. Raises `S3Error`."""
        self.write(data)
        expected = self._expected
        if self._decoder:
            self._decoder.finish()
        if self._size != expected.length:
            raise S3Error(
                "IncompleteBody", f"The body has {self._size} bytes; its headers say {expected.length}."
            )
        if expected.sha256 and expected.sha256 != self._sha256.hexdigest():
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
        sent = self._sent_checksums()
        for name, value in sent.items():
            found = self._sha256 if name == "sha256" else self._digests[name]
            check(name, value, found.digest())
        return Received(self._sha256.hexdigest(), self._size, sent)

    def _decoded(self, data: bytes) -> Iterator[memoryview]:
        return self._decoder.feed(data) if self._decoder else iter([memoryview(data)])

    def _sent_checksums(self) -> dict[str, bytes]:
        sent, trailer = dict(self._expected.checksums), self._expected.trailer
        if self._decoder and trailer:
            value = self._decoder.trailers.get(HEADER_PREFIX + trailer)
            if value is None:
                raise S3Error(
                    "InvalidRequest", f"The trailer {HEADER_PREFIX}{trailer} did not follow the body."
                )
            sent[trailer] = checksum_value(trailer, value)
        return sent
