"""A server on loopback that speaks the part of Slack's Web API we use, and checks what it is sent.

It can be told to limit, to refuse, to be slow or to be away. Runs as a program too: `python tests/slack_server.py`.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

TOKEN = "xoxb-1-planted-secret"


class SlackServer:
    """`messages` holds what stands in the channel by ts; `problems` what Slack would not have taken, or should not."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[str, dict[str, Any]]] = []
        self.problems: list[str] = []
        self.answers: list[tuple[int, dict[str, str], dict[str, Any]]] = []
        self.delay = 0.0
        self.attempts = 0
        handler = type("Handler", (_Handler,), {"slack": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/api/"

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def refuse(self, times: int, code: int = 200, error: str = "fatal_error", **headers: str) -> None:
        """Answer the next calls so: `refuse(2, 429, "ratelimited", **{"Retry-After": "1"})`."""
        self.answers += [(code, headers, {"ok": False, "error": error})] * times

    def handle(
        self, method: str, token: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        self.attempts += 1
        time.sleep(self.delay)
        if self.answers:
            return self.answers.pop(0)
        if token != f"Bearer {TOKEN}":
            return 200, {}, {"ok": False, "error": "invalid_auth"}
        self._check(body)
        if method == "chat.postMessage":
            ts = f"{1_700_000_000 + len(self.messages)}.000100"
            parent = body.get("thread_ts")
            if parent and parent not in self.messages:
                return 200, {}, {"ok": False, "error": "thread_not_found"}
        elif method == "chat.update":
            ts = body["ts"]
            if ts not in self.messages:
                return 200, {}, {"ok": False, "error": "message_not_found"}
        else:
            return 200, {}, {"ok": False, "error": "unknown_method"}
        self.messages[ts] = {**self.messages.get(ts, {}), **body}
        self.history.append((method, body))
        return 200, {}, {"ok": True, "channel": "C0REAL", "ts": ts}

    def _check(self, body: dict[str, Any]) -> None:
        text = json.dumps(body, ensure_ascii=False)
        self._expect("planted-secret" not in text, "a token stands in the text")
        self._expect(bool(body.get("text")), "no fallback text")
        blocks = body.get("blocks") or []
        self._expect(0 < len(blocks) <= 50, f"{len(blocks)} blocks")
        for block in blocks:
            self._check_block(block)
        for mention in ("<!", "<@", "@channel", "@here", "@everyone"):
            self._expect(mention not in text, f"a mention: {mention}")

    def _check_block(self, block: dict[str, Any]) -> None:
        kind = block.get("type")
        self._expect(kind in ("header", "section", "context", "actions"), f"block of type {kind}")
        if kind == "header":
            self._expect(block["text"]["type"] == "plain_text", "a header is plain text")
            self._expect(0 < len(block["text"]["text"]) <= 150, "header too long")
        if kind == "section":
            self._expect(0 < len(block["text"]["text"]) <= 3000, "section too long")
        if kind == "context":
            self._expect(0 < len(block["elements"]) <= 10, "context of many elements")
        for button in block.get("elements", []) if kind == "actions" else []:
            self._expect(button["type"] == "button" and len(button["text"]["text"]) <= 75, "button")
            self._expect(len(button["url"]) <= 3000 and button["url"].startswith("http"), "button url")

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


class _Handler(BaseHTTPRequestHandler):
    slack: SlackServer

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"])).decode()
        if "json" in self.headers.get("content-type", ""):
            body = json.loads(raw)
        else:
            body = {key: values[0] for key, values in parse_qs(raw).items()}
            body = {key: json.loads(value) if key == "blocks" else value for key, value in body.items()}
        method = self.path.rsplit("/", 1)[-1]
        code, headers, answer = self.slack.handle(method, self.headers.get("Authorization", ""), body)
        data = json.dumps(answer).encode()
        self.send_response(code)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


if __name__ == "__main__":
    server = SlackServer()
    print(server.url, flush=True)
    threading.Event().wait()
