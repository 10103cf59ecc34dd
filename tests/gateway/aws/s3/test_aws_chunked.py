"""Bodies in `aws-chunked`: what is in them, cut anywhere, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.gateway.aws.s3.aws_chunked import AwsChunked
from prefect_codepipeline.gateway.aws.s3.errors import S3Error


class Expected:
    """Takes signatures that name what they cover."""

    def is_chunk(self, signature: str, sha256: str) -> bool:
        return signature == f"chunk-{sha256[:8]}"

    def is_trailer(self, signature: str, trailer: bytes) -> bool:
        return signature == f"trailer-{trailer.decode()}".strip()


def encode(pieces: Sequence[bytes], trailers: str = "", signed: bool = False) -> bytes:
    body = b""
    for piece in [*pieces, b""]:
        extension = f";chunk-signature=chunk-{hashlib.sha256(piece).hexdigest()[:8]}" if signed else ""
        body += f"{len(piece):x}{extension}\r\n".encode() + piece + (b"\r\n" if piece else b"")
    return body + trailers.encode() + b"\r\n"


def decode(body: bytes, cuts: Sequence[int] = (), signed: bool = False) -> tuple[bytes, dict[str, str]]:
    decoder, found = AwsChunked(Expected() if signed else None), b""
    for cut in [*cuts, len(body)]:
        part, body = body[:cut], body[cut:]
        found += b"".join(bytes(piece) for piece in decoder.feed(part))
    decoder.finish()
    return found, decoder.trailers


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.lists(st.integers(0, 60)), st.booleans())
def test_what_was_encoded_is_decoded_wherever_it_was_cut(pieces, cuts, signed):
    assert decode(encode(pieces, signed=signed), cuts, signed) == (b"".join(pieces), {})


@pytest.mark.parametrize("end", ["\r\n", "\n\r\n"])
def test_trailers_and_their_signature(end):
    trailers = f"x-amz-checksum-crc32:AAAA{end}x-amz-trailer-signature:trailer-x-amz-checksum-crc32:AAAA\r\n"
    body = encode([b"one", b"two"], trailers, signed=True)
    assert decode(body, signed=True) == (b"onetwo", {"x-amz-checksum-crc32": "AAAA"})
    with pytest.raises(S3Error, match="signature"):
        decode(body.replace(b"AAAA\r\n\r\n", b"AAAB\r\n\r\n"), signed=True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "IncompleteBody"),
        (b"3\r\nabc\r\n", "IncompleteBody"),
        (b"0\r\n", "IncompleteBody"),
        (b"0\r\n\r\nmore", "IncompleteBody"),
        (b"0\r\n\r\nmore\r\n", "InvalidRequest"),
        (b"2\r\nabc\r\n0\r\n\r\n", "InvalidRequest"),
        (b"-1\r\n", "InvalidRequest"),
        (b"+1\r\na\r\n0\r\n\r\n", "InvalidRequest"),
        (b"0x1\r\na\r\n0\r\n\r\n", "InvalidRequest"),
        (b"1_0\r\n", "InvalidRequest"),
        (b"\xff\r\n", "InvalidRequest"),
        (b"f" * 5000, "InvalidRequest"),
        (b"0\r\nname\r\n\r\n", "InvalidRequest"),
        (b"0\r\na:1\r\na:2\r\n\r\n", "InvalidRequest"),
        (b"0\r\n" + b"".join(b"a%d:1\r\n" % at for at in range(20)) + b"\r\n", "InvalidRequest"),
    ],
)
def test_everything_else_is_refused(body, code):
    for cuts in ([], [1] * len(body)):
        with pytest.raises(S3Error) as caught:
            decode(body, cuts)
        assert caught.value.code == code


def test_a_changed_chunk_is_refused():
    body = encode([b"one", b"two"], signed=True)
    with pytest.raises(S3Error, match="signature"):
        decode(body.replace(b"two", b"twu"), signed=True)
    with pytest.raises(S3Error, match="signature"):
        decode(encode([b"one"]), signed=True)
