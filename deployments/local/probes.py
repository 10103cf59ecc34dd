"""Small questions to the servers of this machine."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Literal

from prefect_codepipeline.deployments.local.access import authorization, proof


def answers_within(seconds: float, ask: Callable[[], bool], is_alive: Callable[[], bool]) -> bool:
    """Whether a process answers in time. A dead process is not asked: another may have its port by then."""
    deadline = time.monotonic() + seconds
    while is_alive():
        if ask():
            return True
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return False


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers at that URL."""
    return request_json(f"{api_url}/health") is True


def is_ours(url: str, kind: Literal["server", "gateway"], auth: str) -> bool:
    """Whether the process that answers at that URL knows the set-up's secret; another program may have its port."""
    nonce = secrets.token_urlsafe(16)
    return request_text(f"{url}?nonce={nonce}") == proof(auth, kind, nonce)


def request_json(url: str, body: object = None, auth: str | None = None) -> object:
    """The decoded answer of a server on this machine, None without one. No proxy is used."""
    text = request_text(url, None if body is None else json.dumps(body).encode(), auth)
    try:
        answer: object = json.loads(text or "")
        return answer
    except ValueError:
        return None


def request_text(url: str, data: bytes | None = None, auth: str | None = None) -> str | None:
    """The answer of a server on this machine, None without one. No proxy is used."""
    headers = {"content-type": "application/json", **({"authorization": authorization(auth)} if auth else {})}
    request = urllib.request.Request(url, data, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            text: str = response.read().decode()
            return text
    except (OSError, ValueError, urllib.error.URLError):
        return None
