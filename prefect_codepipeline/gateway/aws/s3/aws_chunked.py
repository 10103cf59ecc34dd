"""`aws-chunked`, the encoding of bodies whose checksum or signature is only known when they have been sent.

    <size in hex>[;chunk-signature=<hex>]\\r\\n<data>\\r\\n … 0[;chunk-signature=<hex>]\\r\\n<name>:<value>\\r\\n … \\r\\n

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

from prefect_codepipeline.gateway.aws.s3.errors import S3Error

# Sizes and signatures are short. A client that sends more before the end of a line is not one of S3's.
_LONGEST_LINE = 4096
_MOST_TRAILERS = 10
_SIGNATURE = "chunk-signature="
TRAILER_SIGNATURE = "x-amz-trailer-signature"


class Signatures(Protocol):
    """Checks the signatures of a body in their order: `ChunkSigner` of the room `signing`."""

    def is_chunk(self, signature: str, sha256: str) -> bool: ...

    def is_trailer(self, signature: str, trailer: bytes) -> bool: ...


class AwsChunked:
    """A decoder that is fed with what arrives, and keeps nothing but incomplete lines.

    Args:
        signatures: checks the chunks of a body that is signed.
    """

    def __init__(self, signatures: Signatures | None = None) -> None:
        self.trailers: dict[str, str] = {}
        self._signatures = signatures
        self._line = bytearray()
        self._left = 0  # of the data of this chunk
        self._next = self._size_line
        self._signature = ""
        self._hash = hashlib.sha256()
        self._signed_trailers = bytearray()
        self._is_complete = False

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The decoded bytes in this part of the body, in pieces.

        Raises:
            S3Error: this is not the encoding, or a chunk has another signature.
        """
        view = memoryview(data)
        while view:
            if self._left:
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                if self._signatures:
                    self._hash.update(piece)
                yield piece
                continue
            end = data.find(b"\n", len(data) - len(view))
            at = len(view) if end < 0 else end + 1 - (len(data) - len(view))
            self._line += view[:at]
            view = view[at:]
            if len(self._line) > _LONGEST_LINE:
                raise _broken("a line is too long")
            if end >= 0:
                line = bytes(self._line)
                self._line.clear()
                self._next(line)

    def finish(self) -> None:
        """The body has ended. Raises `S3Error`: it is not complete."""
        if not self._is_complete or self._line:
            raise S3Error("IncompleteBody", "The body ended before its last chunk.")

    def _size_line(self, line: bytes) -> None:
        if self._is_complete:
            raise _broken("there is data after the last chunk")
        size, _, rest = _text(line).partition(";")
        if not size or len(size) > 16 or not set(size) <= set("0123456789abcdefABCDEF"):
            raise _broken(f"{size[:20]!r} is not the size of a chunk")
        self._left = int(size, 16)
        self._signature = rest.strip().removeprefix(_SIGNATURE)
        self._hash = hashlib.sha256()
        if self._left:
            self._next = self._end_of_data
        else:
            self._check_chunk()
            self._next = self._trailer_line

    def _end_of_data(self, line: bytes) -> None:
        if line != b"\r\n":
            raise _broken("a chunk is longer than its size")
        self._check_chunk()
        self._next = self._size_line

    def _trailer_line(self, line: bytes) -> None:
        text = _text(line)
        if not text:
            # AWS's examples have an empty line before the signature of the trailers, too.
            if not self._is_signature_missing:
                self._end()
            return
        name, colon, value = text.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or name in self.trailers or len(self.trailers) >= _MOST_TRAILERS:
            raise _broken("a trailer is not valid, or is there twice")
        if name != TRAILER_SIGNATURE:
            self._signed_trailers += f"{name}:{value}\n".encode()
        self.trailers[name] = value

    @property
    def _is_signature_missing(self) -> bool:
        is_signed = self._signatures and self._signed_trailers
        return bool(is_signed) and TRAILER_SIGNATURE not in self.trailers

    def _end(self) -> None:
        self._is_complete, self._next = True, self._size_line
        signature = self.trailers.pop(TRAILER_SIGNATURE, "")
        if self._signatures and self._signed_trailers:
            _require(self._signatures.is_trailer(signature, bytes(self._signed_trailers)))

    def _check_chunk(self) -> None:
        if self._signatures:
            _require(self._signatures.is_chunk(self._signature, self._hash.hexdigest()))


def _require(is_right: bool) -> None:
    if not is_right:
        raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match the one calculated.")


def _text(line: bytes) -> str:
    try:
        return line.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        raise _broken("a line is not ASCII") from None


def _broken(why: str) -> S3Error:
    return S3Error("InvalidRequest", f"The body is not valid aws-chunked: {why}.")
