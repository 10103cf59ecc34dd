"""A server on loopback that receives events as described by Standard Webhooks, and checks their signatures with its own code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Taken(NamedTuple):
    """A received request: path, headers by lower-case names, body, time of arrival, and whether the answer was 2xx."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    is_good: bool

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class EventReceiver:
    """Answers with `answers` (status and headers) first, then with 204, after `delay` seconds.

    `problems` lists wrong signatures and headers.
    """

    def __init__(self) -> None:
        self.requests: list[Taken] = []
        self.problems: list[str] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.delay = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The accepted events, in the order of arrival."""
        return [request.event for request in self.requests if request.is_good]

    def serve_tls(self, context: ssl.SSLContext) -> None:
        """Use https from the next connection on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        time.sleep(self.delay)
        status, more = self.answers.pop(0) if self.answers else (204, {})
        self.problems += _problems(headers, body)
        self.requests.append(Taken(path, headers, body, time.monotonic(), 200 <= status < 300))
        return status, more


def _problems(headers: dict[str, str], body: bytes) -> list[str]:
    content = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    found = []
    if headers.get("webhook-signature") != f"v1,{expected}":
        found.append(f"signature {headers.get('webhook-signature')!r}")
    if abs(time.time() - int(headers.get("webhook-timestamp", "0"))) > 60:
        found.append(f"timestamp {headers.get('webhook-timestamp')!r}")
    if headers.get("webhook-id") != json.loads(body)["id"]:
        found.append("the id is not the event's")
    if headers.get("content-type") != "application/json":
        found.append(f"content type {headers.get('content-type')!r}")
    return found


class _Handler(BaseHTTPRequestHandler):
    receiver: EventReceiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, more = self.receiver.take(self.path, headers, body)
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
