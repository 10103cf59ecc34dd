"""Requests signed by botocore, as ASGI hands them to the gateway."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.auth
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


@dataclass(frozen=True)
class Sent:
    """A request as it is on the wire."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    repeated: list[tuple[str, str]] = field(default_factory=list)

    @property
    def scope(self) -> dict[str, Any]:
        pairs = [*self.headers.items(), *self.repeated]
        return {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in pairs],
            "server": ("127.0.0.1", 4290),
            "client": ("127.0.0.1", 50000),
        }

    @property
    def body_hash(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def with_header(self, name: str, value: str) -> Sent:
        return replace(self, headers={**self.headers, name: value})

    def without_header(self, name: str) -> Sent:
        return replace(self, headers={key: value for key, value in self.headers.items() if key != name})


def signed(
    key: Credentials,
    *,
    service: str = "codepipeline",
    region: str = "us-east-1",
    method: str = "POST",
    url: str = "http://127.0.0.1:4290/",
    body: bytes = b"{}",
    at: datetime | None = None,
    **headers: str,
) -> Sent:
    """Sign a request as boto3 does. `headers` have underscores in place of hyphens."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, url, headers=names, data=body)
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(key, service, region)
    with patch.object(botocore.auth, "get_current_datetime", lambda: at or datetime.now(timezone.utc)):
        signer.add_auth(request)
    parts = urlsplit(url)
    return Sent(
        method, parts.path, parts.query, {"host": parts.netloc, **dict(request.headers.items())}, body
    )
