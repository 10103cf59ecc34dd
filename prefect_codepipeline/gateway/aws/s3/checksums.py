"""The checksums that clients send with a body: `Content-MD5`, `x-amz-checksum-*`, and the hash that they have signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from prefect_codepipeline.gateway.aws.s3.crc import crc32c, crc64nvme
from prefect_codepipeline.gateway.aws.s3.errors import S3Error

HEADER_PREFIX = "x-amz-checksum-"
# Headers that begin like a checksum and are something else.
OTHER_HEADERS = {"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"}


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


ALGORITHMS: Mapping[str, Callable[[], Digest]] = {
    "crc32": _Crc32,
    "crc32c": crc32c,
    "crc64nvme": crc64nvme,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
}


def algorithm_of(name: str) -> str:
    """The algorithm in a header's value, such as `CRC32`. Raises `S3Error`: it is not supported."""
    if (found := name.strip().lower()) not in ALGORITHMS:
        raise S3Error("InvalidRequest", f"Checksum algorithm {name!r} is not supported; use one of {_NAMES}.")
    return found


def sent_checksums(headers: Mapping[str, str]) -> dict[str, bytes]:
    """The checksums in headers, by algorithm. Raises `S3Error`: one is not valid, or not supported."""
    found = {}
    for name, value in headers.items():
        if name.startswith(HEADER_PREFIX) and name not in OTHER_HEADERS:
            algorithm = algorithm_of(name.removeprefix(HEADER_PREFIX))
            found[algorithm] = checksum_value(algorithm, value)
    if "content-md5" in headers:
        found["md5"] = checksum_value("md5", headers["content-md5"], "Content-MD5")
    return found


def checksum_value(algorithm: str, text: str, header: str = "") -> bytes:
    """A checksum in base 64. Raises `S3Error`: the text is not one."""
    try:
        value = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != len(ALGORITHMS[algorithm]().digest()):
        raise S3Error(
            "InvalidDigest", f"The {header or HEADER_PREFIX + algorithm} that you specified was invalid."
        )
    return value


def check(algorithm: str, sent: bytes, found: bytes) -> None:
    """Raises `S3Error`: the body has another checksum than its sender said."""
    if sent != found:
        raise S3Error(
            "BadDigest",
            f"The {algorithm.upper()} you specified did not match the calculated checksum: "
            f"sent {encoded(sent)}, calculated {encoded(found)}.",
        )


def encoded(checksum: bytes) -> str:
    """A checksum as headers have it."""
    return base64.b64encode(checksum).decode()


_NAMES = ", ".join(name.upper() for name in ALGORITHMS)
