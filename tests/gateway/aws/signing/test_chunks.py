"""The signatures of chunks, by the examples of AWS's pages."""

from __future__ import annotations

import hashlib

from prefect_codepipeline.gateway.aws.signing.chunks import ChunkSigner
from prefect_codepipeline.gateway.aws.signing.signature import Signature

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BODIES = (b"a" * 65536, b"a" * 1024, b"")
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CHUNKS = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
SEED_WITH_TRAILER = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
CHUNKS_BEFORE_TRAILER = (
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)
TRAILER = b"x-amz-checksum-crc32c:sOO8/Q==\n"
OF_TRAILER = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"


def signer(seed: str) -> ChunkSigner:
    given = Signature("AKIAIOSFODNN7EXAMPLE", "20130524T000000Z", "us-east-1", "s3", ("host",), seed)
    return ChunkSigner(SECRET, given)


def is_chunk(checks: ChunkSigner, signature: str, body: bytes) -> bool:
    return checks.is_chunk(signature, hashlib.sha256(body).hexdigest())


def test_chunks_are_signed_as_in_awss_example() -> None:
    checks = signer(SEED)

    assert [is_chunk(checks, *chunk) for chunk in zip(CHUNKS, BODIES, strict=True)] == [True] * 3


def test_the_trailer_is_signed_as_in_awss_example() -> None:
    checks = signer(SEED_WITH_TRAILER)
    chunks = [is_chunk(checks, *chunk) for chunk in zip(CHUNKS_BEFORE_TRAILER, BODIES, strict=True)]

    assert [*chunks, checks.is_trailer(OF_TRAILER, TRAILER)] == [True] * 4


def test_a_chunk_that_was_changed_moved_or_left_out_is_not_signed() -> None:
    assert not is_chunk(signer(SEED), CHUNKS[0], b"b" + BODIES[0][1:])
    assert not is_chunk(signer(SEED), CHUNKS[1], BODIES[1])
    assert not is_chunk(signer(SEED), "", BODIES[0])
    assert not is_chunk(signer(SEED), "\N{DIGIT ONE}é", BODIES[0])
    assert not signer(SEED_WITH_TRAILER).is_trailer(OF_TRAILER, TRAILER)
