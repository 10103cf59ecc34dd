"""Who asks: whose access key, or which job's credentials, signed a request."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from starlette.types import Scope

from prefect_codepipeline.gateway.aws.protocol.call import Caller
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.signing.anonymous import anonymous, may_be_anonymous
from prefect_codepipeline.gateway.aws.signing.chunks import BODY_KINDS, SHA256, SIGNED_CHUNKS, ChunkSigner
from prefect_codepipeline.gateway.aws.signing.job_credentials import JobGrant, has_expired, session_of
from prefect_codepipeline.gateway.aws.signing.known_keys import KEYS
from prefect_codepipeline.gateway.aws.signing.signature import (
    ALGORITHM,
    Signature,
    SignedRequest,
    check_time,
    does_not_match,
    is_made_with,
    read_signature,
)
from prefect_codepipeline.gateway.guard import IDENTIFIED

# A request whose key is not known is checked with this secret: that takes as long as with a key's own.
_NOBODYS_SECRET = secrets.token_urlsafe(30)
_KEY = re.compile(rf"{ALGORITHM} +Credential=([A-Z0-9]{{20}})/")


@dataclass(frozen=True)
class JobCaller:
    """The worker of a job, who asks for its artifacts.

    Attributes:
        grant: what its credentials allow.
        content_sha256: the hash that the body must have, or one of `BODY_KINDS`.
        chunks: checks the chunks of the body; None if they are not signed.
    """

    grant: JobGrant
    content_sha256: str
    chunks: ChunkSigner | None


def identify(scope: Scope, service: str, body_hash: str, now: datetime | None = None) -> Caller:
    """Whose key signed a request to a service that speaks JSON or XML. Asks Prefect if need be: call it in a thread.

    Args:
        scope: the request, as ASGI has it.
        service: the service that it came to.
        body_hash: the SHA-256 of its body, as hexadecimal digits.
        now: the time, which is taken from the clock if it is not given.

    Raises:
        ApiError: no key did, in AWS's words.
        PrefectUnavailable: the keys cannot be read.
    """
    known = KEYS.get()
    if not known.has_keys:
        known = KEYS.get_newer()  # the first one may have been added a moment ago
    if not known.has_keys:
        caller = anonymous(scope, known)
    else:
        request = SignedRequest.of(scope)
        signature = _read(request, service, now)
        if request.raw_path != b"/":  # botocore signs `//` as `/`
            raise does_not_match()
        if request.header("x-amz-content-sha256") not in (None, body_hash):
            raise does_not_match()
        caller = _caller(request, signature, body_hash)
    scope[IDENTIFIED] = True
    return caller


def identify_for_s3(scope: Scope, now: datetime | None = None) -> Caller | JobCaller:
    """As `identify`, for a request to S3, whose body is read later: what it must be is in the answer."""
    request = SignedRequest.of(scope)
    signature = _read(request, "s3", now)
    body = request.header("x-amz-content-sha256") or ""
    if body not in BODY_KINDS and not SHA256.fullmatch(body):
        raise ApiError("IncompleteSignatureException", "An 'x-amz-content-sha256' header is required.")
    token = request.header("x-amz-security-token")
    if token is None:
        found: Caller | JobCaller = _caller(request, signature, body)
    else:
        found = _job(request, signature, body, token, now)
    scope[IDENTIFIED] = True
    return found


def is_elsewhere(caller: Caller) -> bool:
    """Whether the request is for another region than that of the pipelines."""
    return caller.account.region != KEYS.get().account.region


def claimed_signer(scope: Scope) -> str | None:
    """The key that a request claims to be signed with, if it is known here; None for a stranger. Does not ask Prefect."""
    known = KEYS.latest()
    given = dict(scope["headers"])
    found = _KEY.match(given.get(b"authorization", b"").decode("latin-1"))
    if known is None:
        return None
    if found and (found[1] in known.keys or _is_jobs(given, found[1])):
        return found[1]
    is_for_aws = found or b"x-amz-target" in given
    return "anonymous" if is_for_aws and may_be_anonymous(scope, known) else None


def _is_jobs(headers: dict[bytes, bytes], access_key_id: str) -> bool:
    known, token = KEYS.latest(), headers.get(b"x-amz-security-token")
    return bool(known and token and session_of(known.gateway, token.decode("latin-1"), access_key_id))


def _read(request: SignedRequest, service: str, now: datetime | None) -> Signature:
    signature = read_signature(request)
    if signature.service != service:
        raise ApiError(
            "InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'."
        )
    check_time(signature, now or datetime.now(timezone.utc))
    return signature


def _caller(request: SignedRequest, signature: Signature, body_hash: str) -> Caller:
    """Whose key it is. An unknown key and a wrong secret take the same steps."""
    is_session = request.header("x-amz-security-token") is not None
    for read in (KEYS.get, KEYS.get_newer):  # again, for a key that was added a moment ago
        known = read()
        caller, secret = known.keys.get(signature.access_key_id, (None, _NOBODYS_SECRET))
        if is_made_with(secret, signature, request, body_hash) and caller and not is_session:
            return replace(caller, account=replace(known.account, region=signature.region))
    raise _not_valid() if caller is None or is_session else does_not_match()


def _job(
    request: SignedRequest, signature: Signature, body: str, token: str, now: datetime | None
) -> JobCaller:
    found = session_of(KEYS.get().gateway, token, signature.access_key_id)
    secret = found[1] if found else _NOBODYS_SECRET
    is_right = is_made_with(secret, signature, request, body)
    if found is None:
        raise _not_valid()
    if not is_right:
        raise does_not_match()
    if has_expired(found[0], now or datetime.now(timezone.utc)):
        raise ApiError("ExpiredTokenException", "The security token included in the request is expired")
    return JobCaller(found[0], body, ChunkSigner(secret, signature) if body in SIGNED_CHUNKS else None)


def _not_valid() -> ApiError:
    return ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
