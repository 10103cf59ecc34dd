"""Authenticate the sender of a webhook's request: signatures and tokens of the hosts, and the three ways of V1 webhooks.

A request that does not prove its sender is refused. Secrets are compared in constant time and never disclosed.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
https://docs.gitlab.com/user/project/integrations/webhooks/
https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
https://docs.gitea.com/usage/webhooks
https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_WebhookAuthConfiguration.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Mapping

from pydantic import SecretStr

from prefect_codepipeline.errors import WebhookRefused
from prefect_codepipeline.model.payloads.reading import lower_names
from prefect_codepipeline.model.triggers.git_event import GitHost
from prefect_codepipeline.model.triggers.webhooks import (
    WebhookDefinition,
    allowed_network,
    check_authentication,
)

PLAIN_SIGNATURE, PLAIN_TOKEN = "X-Codepipeline-Signature-256", "X-Codepipeline-Token"
# Headers with `sha256=` and the digest in hex; Gitea leaves `sha256=` out.
_SIGNATURES: dict[GitHost, tuple[str, ...]] = {
    "github": ("X-Hub-Signature-256",),
    "bitbucket": ("X-Hub-Signature",),
    "gitea": ("X-Gitea-Signature", "X-Forgejo-Signature", "X-Hub-Signature-256"),
    "plain": (PLAIN_SIGNATURE,),
}
_TOKENS: dict[GitHost, str] = {"gitlab": "X-Gitlab-Token", "plain": PLAIN_TOKEN}
# Newer versions of GitLab sign requests too, and scripts may. The token is not checked for a signed request.
_STANDARD = ("Webhook-Id", "Webhook-Timestamp", "Webhook-Signature")
_STANDARD_HOSTS: tuple[GitHost, ...] = ("gitlab", "plain")
TOLERANCE_SECONDS = 300


def check_sender(
    host: GitHost, secret: SecretStr, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> None:
    """Refuse a request that does not prove that its sender knows the secret.

    Args:
        host: the host whose method is required: the configured one, not what the request claims.
        secret: of the webhook; with an empty secret every request is refused.
        headers: of the request, with names in any case.
        body: the unchanged bytes of the body.
        now: the time in seconds since 1970, for signatures with a timestamp; by default the current time.

    Raises:
        WebhookRefused: says which header is missing or wrong.
    """
    if not secret.get_secret_value():
        raise WebhookRefused("the webhook has no secret; set one")
    found = lower_names(headers)
    expected: list[str] = []
    if host in _STANDARD_HOSTS and _STANDARD[-1].lower() in found:
        return _check_standard(found, secret, body, time.time() if now is None else now)
    for name in _SIGNATURES.get(host, ()):
        expected.append(name)
        if name.lower() in found:
            return _check_signature(name, found[name.lower()], secret, body, "sha256")
    if token := _TOKENS.get(host):
        expected.append(token)
        if token.lower() in found:
            return _check_token(token, found[token.lower()], secret)
    raise WebhookRefused(f"the request has no {' or '.join(expected) or 'signature'}")


def check_webhook(
    webhook: WebhookDefinition, source_address: str, headers: Mapping[str, str], body: bytes
) -> None:
    """Refuse a request to a V1 webhook that does not pass its authentication.

    Args:
        webhook: with its secret.
        source_address: of the caller, as seen by the outermost trusted proxy.
        headers: of the request, with names in any case.
        body: the unchanged bytes of the body.

    Raises:
        WebhookRefused: says why.
        InvalidWebhookAuthenticationParametersException: the webhook's own settings are wrong.
    """
    check_authentication(webhook)
    settings = webhook.authentication_configuration
    if settings.secret_token is not None:
        _check_github(SecretStr(settings.secret_token), lower_names(headers), body)
    elif settings.allowed_ip_range is not None:
        _check_address(source_address, settings.allowed_ip_range)


def sign(secret: SecretStr, body: bytes, method: str = "sha256") -> str:
    """The signature of a body, as GitHub writes it: `sha256=` and the HMAC in hex."""
    return f"{method}={hmac.new(_bytes(secret.get_secret_value()), body, method).hexdigest()}"


def _check_github(secret: SecretStr, headers: Mapping[str, str], body: bytes) -> None:
    # GitHub sends both; a request with only the older header is not from a current GitHub.
    for name, method in (("X-Hub-Signature-256", "sha256"), ("X-Hub-Signature", "sha1")):
        if name.lower() in headers:
            return _check_signature(name, headers[name.lower()], secret, body, method)
    raise WebhookRefused("the request has no X-Hub-Signature-256 or X-Hub-Signature")


def _check_signature(name: str, found: str, secret: SecretStr, body: bytes, method: str) -> None:
    if re.fullmatch(r"[0-9a-fA-F]{64}", found):
        found = f"{method}={found}"
    if not hmac.compare_digest(_bytes(found.strip().lower()), _bytes(sign(secret, body, method))):
        raise WebhookRefused(f"the {name} of the request does not match its body and the webhook's secret")


def standard_signature(secret: SecretStr, identity: str, timestamp: str, body: bytes) -> str:
    """The signature of a message by the Standard Webhooks scheme: `v1,` and the HMAC in base64.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    key = secret.get_secret_value()
    try:
        # Secrets of that scheme start with `whsec_`; any other is used unchanged.
        known = base64.b64decode(key[6:], validate=True) if key.startswith("whsec_") else _bytes(key)
    except ValueError:
        known = _bytes(key)
    signed = _bytes(f"{identity}.{timestamp}.") + body
    return f"v1,{base64.b64encode(hmac.digest(known, signed, 'sha256')).decode()}"


def _check_standard(headers: Mapping[str, str], secret: SecretStr, body: bytes, now: float) -> None:
    identity, timestamp, signatures = (headers.get(name.lower(), "") for name in _STANDARD)
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise WebhookRefused(
            "the Webhook-Timestamp of the request is not within five minutes of the current time"
        )
    own = _bytes(standard_signature(secret, identity, timestamp, body))
    if not any(hmac.compare_digest(_bytes(each), own) for each in signatures.split()[:10]):
        raise WebhookRefused(
            "the Webhook-Signature of the request does not match its body and the webhook's secret"
        )


def _check_token(name: str, found: str, secret: SecretStr) -> None:
    # Digests have equal length, so that the time of the comparison does not disclose the secret's length.
    digests = [hashlib.sha256(_bytes(each)).digest() for each in (found, secret.get_secret_value())]
    if not hmac.compare_digest(*digests):
        raise WebhookRefused(f"the {name} of the request is not the webhook's secret")


def _check_address(address: str, allowed: str) -> None:
    network = allowed_network(allowed)
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise WebhookRefused("the source address of the request is not known") from None
    # A dual-stack socket displays an IPv4 caller as a mapped IPv6 address.
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.version != network.version or found not in network:
        raise WebhookRefused(f"the source address {found} is not in {network}, which the webhook allows")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
