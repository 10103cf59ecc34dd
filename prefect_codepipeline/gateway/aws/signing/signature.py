"""The signature of a request, AWS4-HMAC-SHA256: read strictly, and computed again by botocore.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any
from urllib.parse import quote

from starlette.types import Scope

from prefect_codepipeline.gateway.aws.protocol.json import ApiError

ALGORITHM = "AWS4-HMAC-SHA256"
MOST_DIFFERENCE = timedelta(minutes=15)
_FIELDS = re.compile(
    rf"{ALGORITHM} +Credential=(?P<credential>[\x21-\x2b\x2d-\x7e]+), *SignedHeaders=(?P<headers>[a-z0-9;_.-]+), *"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_SCOPE = re.compile(
    r"(?P<key>[A-Z0-9]{16,128})/(?P<day>[0-9]{8})/(?P<region>[a-z0-9-]{1,40})/(?P<service>[a-z0-9-]{1,40})/aws4_request"
)
_MOMENT = "%Y%m%dT%H%M%SZ"
_IS_MOMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_DOES_NOT_MATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True)
class SignedRequest:
    """What of a request is signed.

    Attributes:
        method: the HTTP method.
        raw_path: the path as it was sent.
        raw_query: the query as it was sent, without the question mark.
        headers: all of them, as they were sent.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, scope: Scope) -> SignedRequest:
        """The request in a scope of ASGI."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        return cls(scope["method"], scope["raw_path"], scope["query_string"], headers)

    def header(self, name: str) -> str | None:
        """The value of a header; the first, if there are several."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True)
class Signature:
    """What the `Authorization` header of a request says."""

    access_key_id: str
    moment: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    value: str

    @property
    def scope(self) -> str:
        return f"{self.moment[:8]}/{self.region}/{self.service}/aws4_request"


def read_signature(request: SignedRequest) -> Signature:
    """What the header says, and all that must be signed is. Raises `ApiError`."""
    # What botocore would not sign as it is.
    if not request.method.isupper() or not request.raw_path.startswith(b"/") or b"#" in request.raw_query:
        raise _incomplete(
            "The method must be in capitals, the path begin with '/', and the query have no '#'."
        )
    if b"X-Amz-Signature=" in request.raw_query or b"X-Amz-Algorithm=" in request.raw_query:
        raise _incomplete("Presigned URLs are not accepted: sign the headers of the request.")
    given = [value for key, value in request.headers if key.lower() == "authorization"]
    if not given:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
    fields = _FIELDS.fullmatch(given[0]) if len(given) == 1 else None
    scope = _SCOPE.fullmatch(fields["credential"]) if fields else None
    if not fields or not scope:
        raise _incomplete(
            f"Authorization header requires once each: '{ALGORITHM}', a 'Credential' with access key, date, region, "
            "service and 'aws4_request', 'SignedHeaders' and 'Signature'."
        )
    moment = request.header("x-amz-date") or ""
    if not _IS_MOMENT.fullmatch(moment):
        raise _incomplete("Authorization header requires existence of an 'X-Amz-Date' header.")
    if scope["day"] != moment[:8]:
        raise ApiError(
            "InvalidSignatureException",
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{scope['day']}' != '{moment[:8]}'.",
        )
    signed = tuple(fields["headers"].split(";"))
    _check_signed_headers(request, signed)
    return Signature(scope["key"], moment, scope["region"], scope["service"], signed, fields["signature"])


def _check_signed_headers(request: SignedRequest, signed: tuple[str, ...]) -> None:
    """`host` and all headers of AWS are signed, and each signed one was sent once, so that it has one meaning."""
    sent = Counter(key.lower() for key, _ in request.headers)
    if list(signed) != sorted(set(signed)):
        raise _incomplete("'SignedHeaders' must be sorted, each header once.")
    needed = {"host", *(key for key in sent if key.startswith("x-amz-"))}
    if missing := sorted(needed - set(signed)):
        raise _incomplete(f"These headers must be signed: {', '.join(map(_short, missing))}.")
    wrong = [key for key in signed if sent[key] != 1]
    if wrong:
        raise _incomplete(f"Each signed header must be sent once: {', '.join(map(_short, wrong))}.")


def check_time(signature: Signature, now: datetime) -> None:
    """Raises `ApiError`: the request was signed more than 15 minutes before or after."""
    try:
        signed = datetime.strptime(signature.moment, _MOMENT).replace(tzinfo=timezone.utc)
    except ValueError:
        raise _incomplete("'X-Amz-Date' is not a time.") from None
    here = now.strftime(_MOMENT)
    if signed < now - MOST_DIFFERENCE:
        raise ApiError(
            "InvalidSignatureException",
            f"Signature expired: {signature.moment} is now earlier than "
            f"{(now - MOST_DIFFERENCE).strftime(_MOMENT)} ({here} - 15 min.)",
        )
    if signed > now + MOST_DIFFERENCE:
        raise ApiError(
            "InvalidSignatureException",
            f"Signature not yet current: {signature.moment} is still later than "
            f"{(now + MOST_DIFFERENCE).strftime(_MOMENT)} ({here} + 15 min.)",
        )


def is_made_with(secret: str, signature: Signature, request: SignedRequest, body_hash: str) -> bool:
    """Whether the signature is the one that this secret makes; compared in constant time."""
    auth = _auth(signature, secret)
    signed = _aws_request(signature, request, body_hash)
    text = auth.string_to_sign(signed, auth.canonical_request(signed))
    return hmac.compare_digest(str(auth.signature(text, signed)), signature.value)


def does_not_match() -> ApiError:
    """The error for a wrong signature."""
    return ApiError("InvalidSignatureException", _DOES_NOT_MATCH)


def _incomplete(message: str) -> ApiError:
    return ApiError("IncompleteSignatureException", message)


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:60]}…"


def _aws_request(signature: Signature, request: SignedRequest, body_hash: str) -> Any:
    from botocore.awsrequest import AWSRequest

    # As it was sent, but encoded where AWS would: some clients send what they need not encode as it is.
    path = quote(request.raw_path, safe="/%")
    query = request.raw_query.decode("latin-1")
    found = AWSRequest(request.method, f"http://gateway{path}{'?' if query else ''}{query}")
    for name in signature.signed_headers:
        found.headers[name] = request.header(name)
    found.context["timestamp"] = signature.moment
    found.context["body_hash"] = body_hash
    return found


def _auth(signature: Signature, secret: str) -> Any:
    from botocore.credentials import Credentials

    credentials = Credentials(signature.access_key_id, secret)
    return _signers()[signature.service == "s3"](credentials, signature.service, signature.region)


@cache
def _signers() -> Mapping[bool, Any]:
    """botocore's signers, for all services and for S3, over exactly the headers that the client has signed."""
    from botocore.auth import S3SigV4Auth, SigV4Auth

    class OverGiven(SigV4Auth):  # type: ignore[misc]  # botocore has no types
        def headers_to_sign(self, request: Any) -> Any:
            return request.headers

        def payload(self, request: Any) -> str:
            return str(request.context["body_hash"])

    class S3OverGiven(OverGiven, S3SigV4Auth):  # type: ignore[misc]
        pass

    return {False: OverGiven, True: S3OverGiven}
