"""Parse the webhook requests of git hosts into events: GitHub, GitLab, Bitbucket Cloud, Gitea and Forgejo, and the
plain JSON format of this package.

Nothing here authenticates the sender: see `engine/triggers/webhook_signatures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prefect_codepipeline.model.payloads import bitbucket, gitea, github, gitlab, plain
from prefect_codepipeline.model.payloads.reading import Delivery, PayloadError, body_of, lower_names
from prefect_codepipeline.model.triggers.git_event import GitHost

__all__ = ["MAX_BYTES", "Delivery", "PayloadError", "host_of", "read_payload"]

# The maximum that GitHub sends; a gateway may allow less.
MAX_BYTES = 25 * 1024 * 1024
_Reader = Callable[[Mapping[str, str], bytes], Delivery]
_READERS: dict[GitHost, _Reader] = {
    "github": github.read,
    "gitlab": gitlab.read,
    "bitbucket": bitbucket.read,
    "gitea": gitea.read,
    "plain": plain.read,
}
# Gitea also sends the headers of GitHub and Gogs, so it must come first.
_HEADERS: dict[str, GitHost] = {
    "x-gitea-event": "gitea",
    "x-forgejo-event": "gitea",
    "x-github-event": "github",
    "x-gitlab-event": "gitlab",
    "x-event-key": "bitbucket",
}


def host_of(headers: Mapping[str, str]) -> GitHost:
    """The format of a request, from its headers; `plain` if no header names a host."""
    names = lower_names(headers)
    return next((host for header, host in _HEADERS.items() if header in names), "plain")


def read_payload(
    headers: Mapping[str, str], body: bytes, host: GitHost | None = None, most_bytes: int = MAX_BYTES
) -> Delivery:
    """The events of a request, or the reason why it has none.

    Args:
        headers: the headers of the request; upper and lower case do not matter.
        body: the body as received.
        host: the format of the request; None: detected from the headers.
        most_bytes: the maximum size of the body.

    Raises:
        PayloadError: the body is too large, not JSON, or not in the host's format; no other error is raised.
    """
    if len(body) > most_bytes:
        raise PayloadError(f"the body has {len(body)} bytes, at most {most_bytes} are allowed")
    names = lower_names(headers)
    reader = _READERS.get(host or host_of(names))
    if reader is None:
        raise PayloadError(f"webhooks of {host!r} are not supported")
    return reader(names, body_of(names, body))
