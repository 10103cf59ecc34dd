"""Gitea's and Forgejo's webhook payloads, which differ from GitHub's only in some names.

https://docs.gitea.com/usage/webhooks
https://forgejo.org/docs/latest/user/webhooks/
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect_codepipeline.model.payloads.github import read_as
from prefect_codepipeline.model.payloads.reading import Delivery


def read(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Parse a request of Gitea or Forgejo; header names are in lower case. Raises `PayloadError`."""

    def header(name: str) -> str:
        return headers.get(f"x-gitea-{name}") or headers.get(f"x-forgejo-{name}", "")

    return read_as("gitea", header("event"), header("delivery"), body)
