"""Look up an image in a registry other than ECR, by the API that all registries of images have.

https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from prefect_codepipeline.errors import ActionFailed

_SECONDS = 20.0
_MAX_BYTES = 4 << 20
_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Manifest:
    """The manifest of an image: its digest, and the bytes of the image, or None if it has several platforms."""

    digest: str
    size: int | None


def find_manifest(registry: str, repository: str, reference: str, credentials: str | None) -> Manifest:
    """The manifest with that tag or digest.

    Args:
        registry: the URL, such as `https://registry.example.com`.
        repository: the name of the image without the registry.
        reference: a tag or a digest.
        credentials: `user:password`, or None.

    Raises:
        ActionFailed: with code `RevisionUnavailable`, there is no such image; `PermissionError`, `ConfigurationError` or
            `SystemUnavailable`.
    """
    what = f"looking up image {repository}:{reference} in {registry}"
    url = f"{registry.rstrip('/')}/v2/{repository}/manifests/{reference}"
    try:
        with httpx.Client(timeout=_SECONDS, headers={"Accept": ", ".join(_TYPES)}) as client:
            answer = _get(client, url, {}, what)
            if answer.status_code == 401:
                authorization = _authorization(client, registry, answer.headers, credentials, what)
                answer = _get(client, url, {"Authorization": authorization}, what)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ActionFailed(f"{what}: it did not answer: {error}", code="SystemUnavailable") from error
    _refuse(answer, what)
    return _manifest(answer, reference, what)


def _get(
    client: httpx.Client, url: str, headers: Mapping[str, str], what: str, **more: Any
) -> httpx.Response:
    """The answer with its body, unless this is too long."""
    with client.stream("GET", url, headers=headers, **more) as answer:
        body = b""
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ActionFailed(
                    f"{what}: the answer has more than {_MAX_BYTES} bytes", code="ConfigurationError"
                )
    return httpx.Response(answer.status_code, headers=_plain(answer.headers), content=body)


def _plain(headers: httpx.Headers) -> dict[str, str]:
    """The headers of the decoded body."""
    dropped = ("content-encoding", "transfer-encoding", "content-length")
    return {name: value for name, value in headers.items() if name not in dropped}


def _authorization(
    client: httpx.Client, registry: str, headers: httpx.Headers, credentials: str | None, what: str
) -> str:
    """What the registry's challenge asks for: the credentials, or a token from where it says."""
    basic = "Basic " + base64.b64encode((credentials or "").encode()).decode()
    scheme, _, rest = headers.get("www-authenticate", "").partition(" ")
    if scheme.lower() != "bearer":
        if credentials is None:
            raise _denied(what)
        return basic
    parameters = dict(_PARAMETER.findall(rest))
    realm = parameters.pop("realm", "")
    is_safe = realm.startswith("https://") or (realm.startswith("http://") and registry.startswith("http://"))
    if not is_safe:  # the credentials must not leave in plain text if the registry itself is encrypted
        raise ActionFailed(f"{what}: its challenge names no place for tokens", code="ConfigurationError")
    answer = _get(client, realm, {"Authorization": basic} if credentials else {}, what, params=parameters)
    _refuse(answer, f"{what}: asking {realm} for a token")
    found = _json(answer, what)
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str):
        raise ActionFailed(f"{what}: {realm} answered without a token", code="ConfigurationError")
    return f"Bearer {token}"


def _refuse(answer: httpx.Response, what: str) -> None:
    status = answer.status_code
    if status == 404:
        raise ActionFailed(
            f"{what}: there is no such image; push it, or correct RepositoryName and ImageTag",
            code="RevisionUnavailable",
        )
    if status in (401, 403):
        raise _denied(what)
    if status == 429 or status >= 500:
        raise ActionFailed(f"{what}: it answered {status}; try again later", code="SystemUnavailable")
    if status != 200:
        raise ActionFailed(f"{what}: it answered {status}; correct 'registry'", code="ConfigurationError")


def _denied(what: str) -> ActionFailed:
    return ActionFailed(
        f"{what}: it refused the credentials; correct the Secret block that 'registry_secret' names, with the text "
        "user:password",
        code="PermissionError",
    )


def _manifest(answer: httpx.Response, reference: str, what: str) -> Manifest:
    content = _json(answer, what)
    if content.get("schemaVersion") != 2:
        raise ActionFailed(
            f"{what}: the answer is not a manifest; correct 'registry'", code="ConfigurationError"
        )
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    if reference.startswith("sha256:") and reference != digest:
        raise ActionFailed(f"{what}: it answered with another image, {digest}", code="ConfigurationError")
    layers = content.get("layers")
    size = sum(int(each.get("size", 0)) for each in layers) if isinstance(layers, list) else None
    return Manifest(digest, size)


def _json(answer: httpx.Response, what: str) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ActionFailed(
            f"{what}: it does not answer as a registry does; correct 'registry'", code="ConfigurationError"
        )
    return found
