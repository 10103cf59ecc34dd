"""A server on loopback that accepts commit statuses as GitHub, GitLab, Bitbucket Cloud and Gitea do, and checks them.

It follows their API references for paths, authorization, states and limits. A test can make it refuse requests.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "token-planted-secret"
USERNAME = "ada"
_PATHS = {
    "github": r"/github/repos/([\w.-]+/[\w.-]+)/statuses/([0-9a-f]{40})",
    "gitlab": r"/gitlab/projects/([\w.-]+(?:%2F[\w.-]+)+)/statuses/([0-9a-f]{40})",
    "gitea": r"/gitea/repos/([\w.-]+/[\w.-]+)/statuses/([0-9a-f]{40})",
    "bitbucket": r"/bitbucket/repositories/([\w.-]+/[\w.-]+)/commit/([0-9a-f]{40})/statuses/build",
}
_STATES = {
    "github": {"pending", "success", "failure", "error"},
    "gitea": {"pending", "success", "failure", "error", "warning"},
    "gitlab": {"pending", "running", "success", "failed", "canceled"},
    "bitbucket": {"INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"},
}
_BASIC = base64.b64encode(f"{USERNAME}:{TOKEN}".encode()).decode()
_AUTHORIZATIONS = {"gitea": {f"token {TOKEN}"}, "bitbucket": {f"Bearer {TOKEN}", f"Basic {_BASIC}"}}


class GitHostServer:
    """`statuses` has the accepted statuses in order, as (host, repository, commit, body); `problems` the errors in them."""

    def __init__(self) -> None:
        self.statuses: list[tuple[str, str, str, dict[str, Any]]] = []
        self.problems: list[str] = []
        self.attempts = 0
        self.elsewhere: list[str] = []
        self._refusals: list[tuple[int, dict[str, str], str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def refuse(self, times: int, code: int, text: str = "{}", **headers: str) -> None:
        """Answer the next `times` requests with this response; there may be fewer requests."""
        self._refusals = [(code, headers, text)] * times

    def states(self) -> list[tuple[str, str]]:
        """State and description of each accepted status."""
        return [(body["state"], body["description"]) for _, _, _, body in self.statuses]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], str]:
        """Return the code, headers and text of the response."""
        self.attempts += 1
        if self._refusals:
            return self._refusals.pop()
        for kind, pattern in _PATHS.items():
            if found := re.fullmatch(pattern, path):
                return self._take(kind, found[1], found[2], headers, json.loads(body))
        self.elsewhere.append(path)
        return 404, {}, '{"message": "Not Found"}'

    def _take(
        self, kind: str, repository: str, commit: str, headers: Any, body: dict[str, Any]
    ) -> tuple[int, dict[str, str], str]:
        if headers["Authorization"] not in _AUTHORIZATIONS.get(kind, {f"Bearer {TOKEN}"}):
            return 401, {}, '{"message": "Bad credentials"}'
        self.problems += _problems(kind, headers, body)
        last = next((b for k, _, c, b in reversed(self.statuses) if (k, c) == (kind, commit)), None)
        if kind == "gitlab" and last and last["state"] == body["state"] == "running":
            text = '{"message": "Cannot transition status via :run from :running (Reason(s): Status ...)"}'
            return 400, {}, text
        self.statuses.append((kind, repository, commit, body))
        return 201, {}, "{}"

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code, headers, text = server.answer(self.path, self.headers, body)
                self.send_response(code)
                for key, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler


def _problems(kind: str, headers: Any, body: dict[str, Any]) -> list[str]:
    link = body.get("url" if kind == "bitbucket" else "target_url")
    name = {"github": "context", "gitea": "context", "gitlab": "name", "bitbucket": "key"}[kind]
    checks = {
        "no JSON": headers["Content-Type"] == "application/json",
        "state": body["state"] in _STATES[kind],
        "description is too long": len(body["description"]) <= 140,
        "no name": isinstance(body[name], str) and body[name],
        "key is too long": len(body.get("key", "")) <= 40,
        "link": str(link).startswith("http") if kind == "bitbucket" or link is not None else True,
        "keys": set(body) <= {"state", "description", "target_url", "url", "context", "name", "key"},
    }
    return [what for what, holds in checks.items() if not holds]
