"""Credentials for the worker of one job: they read the job's inputs and write its outputs, and nothing else.

Nothing is stored. The session token holds what is granted, signed by the gateway's key, and the other two values are
derived from the token and that key, so any gateway can check them.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_AWSSessionCredentials.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from itsdangerous import BadSignature, Signer

from prefect_codepipeline.gateway.aws.signing.known_keys import KEYS
from prefect_codepipeline.model.stored.gateway import StoredGateway

_SALT = "codepipeline/job-credentials"
# Access keys of sessions begin with ASIA, those of users with AKIA.
_SESSION_PREFIX = "ASIA"
# A longer token is refused before its signature is checked. Servers limit headers to 64 kB together.
LONGEST_TOKEN = 32_768
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class JobGrant:
    """What the credentials of a job allow.

    Attributes:
        job_id: the job.
        reads: by path (`/bucket/pipeline/artifact/key`), the stored artifact as JSON.
        writes: by path, the name of the output artifact.
        expires: until when.
        pipeline_name: the job's pipeline.
        settings_id: the settings of the execution, which name the artifact store; None for those of the pipeline.
    """

    job_id: str
    reads: Mapping[str, Mapping[str, Any]]
    writes: Mapping[str, str]
    expires: datetime
    pipeline_name: str
    settings_id: str | None


def issue(grant: JobGrant) -> dict[str, str]:
    """Credentials as the API has them.

    Raises:
        PrefectUnavailable: the gateway's key cannot be read.
        ValueError: the grant has too many artifacts for a header.
    """
    gateway = KEYS.get().gateway
    token = _signer(gateway).sign(_packed(grant)).decode()
    if len(token) > LONGEST_TOKEN:
        raise ValueError(
            f"the credentials of job {grant.job_id} would be longer than {LONGEST_TOKEN} characters"
        )
    key = gateway.link_key.get_secret_value()
    return {
        "accessKeyId": _access_key_id(key, token),
        "secretAccessKey": _secret(key, token),
        "sessionToken": token,
    }


def has_expired(grant: JobGrant, now: datetime) -> bool:
    """Whether the credentials have expired."""
    return grant.expires <= now


def session_of(gateway: StoredGateway, session_token: str, access_key_id: str) -> tuple[JobGrant, str] | None:
    """What credentials allow, or allowed before they expired, and the secret access key.

    None for those that no gateway of this server has issued.
    """
    if len(session_token) > LONGEST_TOKEN or not session_token.isascii() or not access_key_id.isascii():
        return None
    try:
        grant = _unpacked(_signer(gateway).unsign(session_token))
    except BadSignature:
        return None
    for key in filter(None, (gateway.link_key, gateway.former_link_key)):
        value = key.get_secret_value()
        if hmac.compare_digest(_access_key_id(value, session_token), access_key_id):
            return grant, _secret(value, session_token)
    return None


def _signer(gateway: StoredGateway) -> Signer:
    return Signer(gateway.signing_keys, salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256)


def _packed(grant: JobGrant) -> bytes:
    fields = {
        "job": grant.job_id,
        "reads": {path: dict(artifact) for path, artifact in grant.reads.items()},
        "writes": dict(grant.writes),
        "expires": grant.expires.timestamp(),
        "pipeline": grant.pipeline_name,
        "settings": grant.settings_id,
    }
    text = json.dumps(fields, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.compress(text, 9)).rstrip(b"=")


def _unpacked(packed: bytes) -> JobGrant:
    """The grant in a text whose signature was checked, so that nothing in it is a stranger's."""
    data = base64.urlsafe_b64decode(packed + b"=" * (-len(packed) % 4))
    fields = json.loads(zlib.decompressobj().decompress(data, _MOST_BYTES))
    return JobGrant(
        fields["job"],
        fields["reads"],
        fields["writes"],
        datetime.fromtimestamp(fields["expires"], timezone.utc),
        fields["pipeline"],
        fields["settings"],
    )


def _access_key_id(key: str, token: str) -> str:
    return _SESSION_PREFIX + base64.b32encode(_derived(key, "access-key-id", token))[:16].decode()


def _secret(key: str, token: str) -> str:
    return base64.b64encode(_derived(key, "secret-access-key", token))[:40].decode()


def _derived(key: str, purpose: str, token: str) -> bytes:
    return hmac.digest(key.encode(), f"{_SALT}/{purpose}/{token}".encode(), "sha256")
