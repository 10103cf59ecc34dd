"""Small questions to this machine: does a server answer, is a port free."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable


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


def request_json(url: str, body: object = None) -> object:
    """The decoded answer of a server on this machine, None without one. No proxy is used."""
    text = request_text(url, None if body is None else json.dumps(body).encode())
    try:
        answer: object = json.loads(text or "")
        return answer
    except ValueError:
        return None


def request_text(url: str, data: bytes | None = None) -> str | None:
    """The answer of a server on this machine, None without one. No proxy is used."""
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            text: str = response.read().decode()
            return text
    except (OSError, ValueError, urllib.error.URLError):
        return None


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of 127.0.0.1."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
