"""What git hosts send to a webhook, read into events: GitHub, GitLab, Bitbucket Cloud, Gitea and Forgejo, and our own
plain JSON.

Nothing here checks who sent it: see `engine/triggers/webhook_signatures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prefect_codepipeline.model.payloads import bitbucket, gitea, github, gitlab, plain
from prefect_codepipeline.model.payloads.reading import Delivery, PayloadError, body_of, lower_names
from prefect_codepipeline.model.triggers.git_event import GitHost

__all__ = ["MAX_BYTES", "Delivery", "PayloadError", "host_of", "read_payload"]

# GitHub sends no more than this; a gateway may allow less.
MAX_BYTES = 25 * 1024 * 1024
_Reader = Callable[[Mapping[str, str], bytes], Delivery]
_READERS: dict[GitHost, _Reader] = {
    "github": github.read,
    "gitlab": gitlab.read,
    "bitbucket": bitbucket.read,
    "gitea": gitea.read,
    "plain": plain.read,
}
# Gitea names itself GitHub and Gogs as well, so it comes first.
_HEADERS: dict[str, GitHost] = {
    "x-gitea-event": "gitea",
    "x-forgejo-event": "gitea",
    "x-github-event": "github",
    "x-gitlab-event": "gitlab",
    "x-event-key": "bitbucket",
}


def host_of(headers: Mapping[str, str]) -> GitHost:
    """Whose language a request is in, by its headers; `plain` when no host names itself."""
    names = lower_names(headers)
    return next((host for header, host in _HEADERS.items() if header in names), "plain")


def read_payload(
    headers: Mapping[str, str], body: bytes, host: GitHost | None = None, most_bytes: int = MAX_BYTES
) -> Delivery:
    """The events that a request tells of, or why it tells of none.

    Args:
        headers: of the request, in any case.
        body: as it came.
        host: whose language it is in; told by the headers when None.
        most_bytes: that a body may have.

    Raises:
        PayloadError: it is too large, no JSON, or not what that host sends; nothing else is ever raised.
    """
    if len(body) > most_bytes:
        raise PayloadError(f"the body has {len(body)} bytes, {most_bytes} are allowed")
    names = lower_names(headers)
    reader = _READERS.get(host or host_of(names))
    if reader is None:
        raise PayloadError(f"{host!r} sends no webhooks")
    return reader(names, body_of(names, body))
