"""The signatures of the chunks of a body that is sent as `aws-chunked`, each over the one before it.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
"""

from __future__ import annotations

import hashlib
import hmac
import re

from prefect_codepipeline.gateway.aws.signing.signature import ALGORITHM, Signature

# What `x-amz-content-sha256` may be in place of a hash: bodies in signed chunks, and those that are not signed.
SIGNED_CHUNKS = {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
UNSIGNED = {"UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
BODY_KINDS = SIGNED_CHUNKS | UNSIGNED
# Any other value of it is the hash of the body.
SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY = hashlib.sha256(b"").hexdigest()


class ChunkSigner:
    """Checks the chunks of one body, in their order, and then its trailer. Compares in constant time.

    Args:
        secret: the secret access key that signed the request.
        seed: the signature of the request.
    """

    def __init__(self, secret: str, seed: Signature) -> None:
        self._seed = seed
        self._before = seed.value
        key = f"AWS4{secret}".encode()
        for part in seed.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key

    def is_chunk(self, signature: str, sha256: str) -> bool:
        """Whether it is the signature of the next chunk, whose data has that hash; the last chunk has no data."""
        return self._is_next(signature, "PAYLOAD", _EMPTY, sha256)

    def is_trailer(self, signature: str, trailer: bytes) -> bool:
        r"""Whether it is the signature of the trailer: of each header in it, `name:value\n`."""
        return self._is_next(signature, "TRAILER", hashlib.sha256(trailer).hexdigest())

    def _is_next(self, signature: str, kind: str, *hashes: str) -> bool:
        lines = (f"{ALGORITHM}-{kind}", self._seed.moment, self._seed.scope, self._before, *hashes)
        expected = hmac.digest(self._key, "\n".join(lines).encode(), "sha256").hex()
        self._before = expected
        return signature.isascii() and hmac.compare_digest(expected, signature)
