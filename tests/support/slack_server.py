"""A server on loopback with the part of Slack's Web API that the project uses; it checks the requests.

A test can make it limit the rate, refuse requests, answer slowly or not at all. As a program (`python tests/support/slack_server.py`)
it prints its URL; `GET /state` returns the messages in the channel and the problems of the requests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

TOKEN = "xoxb-1-planted-secret"
APP_TOKEN = "xapp-1-planted-secret"
SIGNING_SECRET = "signing-planted-secret"
CHANNEL_ID = "C0REAL"
Answer = tuple[int, dict[str, str], Any]


class Refusal(NamedTuple):
    """One answer in place of Slack's own; the `method` "" means every method."""

    method: str
    answer: Answer


class SlackServer:
    """`messages` has the channel's messages by ts; `problems` the requests that Slack would refuse or must not get.

    `delay` is in seconds; while `away` is true, connections are closed without an answer.
    """

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[str, dict[str, Any]]] = []
        self.problems: list[str] = []
        self.refusals: list[Refusal] = []
        self.delay = 0.0
        self.away = False
        self.attempts = 0
        # Names and e-mail addresses of users, members of groups, and the last dialog of each user.
        self.users: dict[str, tuple[str, str]] = {}
        self.groups: dict[str, list[str]] = {}
        self.dialogs: dict[str, dict[str, Any]] = {}
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self._posted = 0
        self._socket: _SocketMode | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._http = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"slack": self}))
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/api/"

    def stop(self) -> None:
        self._stopped.set()
        if self._socket:
            self._socket.stop()
        self._http.shutdown()
        self._http.server_close()

    def refuse(
        self,
        times: int,
        code: int = 200,
        error: str = "fatal_error",
        method: str = "",
        page: str = "",
        **headers: str,
    ) -> None:
        """Answer the next calls with an error: `refuse(2, 429, "ratelimited", **{"Retry-After": "1"})`; `page` is sent as HTML."""
        answer: Answer = (code, headers, page or {"ok": False, "error": error})
        with self._lock:
            self.refusals += [Refusal(method, answer)] * times

    def check(self, text: str, blocks: list[dict[str, Any]]) -> list[str]:
        """The problems that a message would have."""
        body = {"text": text, "blocks": blocks}
        return check_text(body) + check_shape(body)

    def delete(self, ts: str) -> None:
        """Delete a message, as a user does in Slack."""
        with self._lock:
            del self.messages[ts]

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "messages": self.messages,
                "history": self.history,
                "problems": self.problems,
                "attempts": self.attempts,
            }

    def handle(self, method: str, token: str, body: dict[str, Any]) -> Answer:
        with self._lock:
            self.attempts += 1
        self._stopped.wait(self.delay)
        with self._lock:
            for refusal in self.refusals:
                if refusal.method in ("", method):
                    self.refusals.remove(refusal)
                    return refusal.answer
            if token != f"Bearer {APP_TOKEN if method == 'apps.connections.open' else TOKEN}":
                return _error("invalid_auth")
            if method in self._OTHERS:
                return self._OTHERS[method](self, body)
            self.problems += check_text(body)
            if malformed := check_shape(body):
                self.problems += malformed
                return _error("invalid_blocks")
            return self._call(method, body)

    def _call(self, method: str, body: dict[str, Any]) -> Answer:
        if method == "chat.postMessage":
            if body.get("thread_ts", "") not in ("", *self.messages):
                return _error("thread_not_found")
            self._posted += 1
            ts = f"{1_700_000_000 + self._posted}.000100"
        elif method == "chat.update":
            if body["channel"] != CHANNEL_ID:
                return _error("channel_not_found")
            ts = body["ts"]
            if ts not in self.messages:
                return _error("message_not_found")
        else:
            return _error("unknown_method")
        self.messages[ts] = {**self.messages.get(ts, {}), **body}
        self.history.append((method, body))
        return 200, {}, {"ok": True, "channel": CHANNEL_ID, "ts": ts}

    def _views_open(self, body: dict[str, Any]) -> Answer:
        """Open a dialog; the trigger is `<user>.<anything>`."""
        view = body["view"] if isinstance(body["view"], dict) else json.loads(body["view"])
        if problems := check_view(view):
            self.problems += problems
            return _error("invalid_arguments")
        self.dialogs[body["trigger_id"].partition(".")[0]] = view
        return 200, {}, {"ok": True, "view": {"id": "V1"}}

    def _users_info(self, body: dict[str, Any]) -> Answer:
        if body["user"] not in self.users:
            return _error("user_not_found")
        name, email = self.users[body["user"]]
        user = {"id": body["user"], "real_name": name, "profile": {"email": email} if email else {}}
        return 200, {}, {"ok": True, "user": user}

    def _group_users(self, body: dict[str, Any]) -> Answer:
        return 200, {}, {"ok": True, "users": self.groups.get(body["usergroup"], [])}

    def _connections_open(self, _: dict[str, Any]) -> Answer:
        self._socket = self._socket or _SocketMode(self)
        return 200, {}, {"ok": True, "url": self._socket.url}

    _OTHERS: ClassVar[dict[str, Any]] = {
        "views.open": _views_open,
        "users.info": _users_info,
        "usergroups.users.list": _group_users,
        "apps.connections.open": _connections_open,
    }

    def buttons(self, ts: str) -> dict[str, dict[str, Any]]:
        """The buttons of a message, by their texts."""
        found = (each for block in self.messages[ts]["blocks"] for each in _elements(block, "actions"))
        return {button["text"]["text"]: button for button in found}

    def press(self, user: str, button: dict[str, Any]) -> dict[str, Any]:
        """The interaction that Slack sends to the app when a user presses a button."""
        return {
            "type": "block_actions",
            "user": {"id": user, "username": user.lower()},
            "channel": {"id": CHANNEL_ID},
            "trigger_id": f"{user}.{time.time_ns()}",
            "actions": [{"type": "button", **button}],
        }

    def submit(self, user: str, comment: str = "") -> dict[str, Any]:
        """The interaction that Slack sends to the app when a user sends the dialog."""
        view = self.dialogs[user]
        values = {"comment": {"comment": {"type": "plain_text_input", "value": comment or None}}}
        return {
            "type": "view_submission",
            "user": {"id": user, "username": user.lower()},
            "view": {**view, "state": {"values": values}},
        }

    def send_over_socket(self, payload: dict[str, Any], seconds: float = 20) -> dict[str, Any]:
        """Deliver an interaction by Socket Mode; return its acknowledgement."""
        envelope_id = str(time.time_ns())
        until = time.monotonic() + seconds
        while not (self._socket and self._socket.connections):
            assert time.monotonic() < until, "the gateway opened no connection"
            time.sleep(0.02)
        envelope = {"type": "interactive", "envelope_id": envelope_id, "payload": payload}
        self._socket.connections[-1].send(json.dumps({**envelope, "accepts_response_payload": True}))
        while envelope_id not in self.acknowledged:
            assert time.monotonic() < until, "the gateway did not acknowledge"
            time.sleep(0.02)
        return self.acknowledged[envelope_id]


def signed(payload: dict[str, Any], secret: str = SIGNING_SECRET, at: float | None = None) -> dict[str, Any]:
    """The signed body and headers of an interaction from Slack, for `httpx.post`.

    https://docs.slack.dev/authentication/verifying-requests-from-slack
    """
    body = urlencode({"payload": json.dumps(payload)})
    moment = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), f"v0:{moment}:{body}".encode(), hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": moment,
        "x-slack-signature": f"v0={digest}",
    }
    return {"content": body, "headers": headers}


class _SocketMode:
    """The WebSocket whose address `apps.connections.open` returns."""

    def __init__(self, slack: SlackServer) -> None:
        self._slack = slack
        self.connections: list[ServerConnection] = []
        self._server = serve(self._talk, "127.0.0.1", 0)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/link?ticket=planted-secret"

    def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        self._server.shutdown()

    def _talk(self, connection: ServerConnection) -> None:
        connection.send(json.dumps({"type": "hello", "num_connections": 1}))
        self.connections.append(connection)
        with suppress(ConnectionClosed):
            for message in connection:
                answer = json.loads(message)
                self._slack.acknowledged[answer["envelope_id"]] = answer
        self.connections.remove(connection)


def check_view(view: dict[str, Any]) -> list[str]:
    """The reasons why Slack would not display this view as a modal.

    https://docs.slack.dev/reference/views/modal-views
    """
    problems = [] if view.get("type") == "modal" else ["no modal"]
    for name in ("title", "submit", "close"):
        if name in view:
            problems += _text(view[name], 24)
    if len(view.get("private_metadata", "")) > 3000:
        problems.append("private_metadata too long")
    for block in view["blocks"]:
        if block["type"] == "input":
            problems += _text(block["label"], 2000)
            if "submit" not in view:
                problems.append("an input and no submit")
        else:
            problems += _BLOCKS[block["type"]](block)
    return problems


def _error(code: str) -> Answer:
    return 200, {}, {"ok": False, "error": code}


def check_shape(body: dict[str, Any]) -> list[str]:
    """The reasons why Slack would answer `invalid_blocks`, `no_text` or a similar error.

    https://docs.slack.dev/reference/block-kit/blocks
    """
    blocks = body.get("blocks", [])
    problems = [] if 0 < len(body.get("text", "")) <= 4000 else ["text missing or too long"]
    if len(blocks) > 50:
        problems.append(f"{len(blocks)} blocks")
    for block in blocks:
        check = _BLOCKS.get(block.get("type"))
        problems += check(block) if check else [f"block of type {block.get('type')}"]
    actions = [element["action_id"] for block in blocks for element in _elements(block, "actions")]
    return problems if len(set(actions)) == len(actions) else [*problems, "an action_id twice"]


def _header(block: dict[str, Any]) -> list[str]:
    problems = _text(block["text"], 150)
    return problems if block["text"]["type"] == "plain_text" else [*problems, "a header is plain text"]


def _section(block: dict[str, Any]) -> list[str]:
    fields = block.get("fields", [])
    problems = [] if fields or "text" in block else ["section without a text"]
    if len(fields) > 10:
        problems.append(f"section of {len(fields)} fields")
    texts = [_text(each, 2000) for each in fields] + ([_text(block["text"], 3000)] if "text" in block else [])
    return sum(texts, problems)


def _context(block: dict[str, Any]) -> list[str]:
    elements = block["elements"]
    problems = [] if 0 < len(elements) <= 10 else [f"context of {len(elements)} elements"]
    return sum((_text(each, 3000) for each in elements), problems)


def _actions(block: dict[str, Any]) -> list[str]:
    problems = [] if 0 < len(block["elements"]) <= 25 else ["actions without a button, or with too many"]
    for button in block["elements"]:
        problems += _text(button["text"], 75)
        if button["type"] != "button" or button["text"]["type"] != "plain_text":
            problems.append("not a button of plain text")
        url = button.get("url")
        if url is None and not 0 < len(button.get("value", "")) <= 2000:
            problems.append("a button that does nothing")
        if url is not None and (not _is_web_link(url) or len(url) > 3000):
            problems.append(f"button url {url[:80]!r}")
        if button.get("style", "primary") not in ("primary", "danger"):
            problems.append(f"style {button['style']}")
        if not 0 < len(button["action_id"]) <= 255:
            problems.append("action_id missing or too long")
    return problems


_BLOCKS = {"header": _header, "section": _section, "context": _context, "actions": _actions}
_KEYS = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}


def _text(text: dict[str, Any], longest: int) -> list[str]:
    if not set(text) <= _KEYS.get(text.get("type", ""), set()):
        return [f"text object {text}"]
    length = len(text["text"])
    return [] if 0 < length <= longest else [f"text of {length} characters, at most {longest} are allowed"]


def _is_web_link(url: str) -> bool:
    return bool(re.fullmatch(r"https?://[!-~]+", url)) and bool(urlsplit(url).hostname)


def check_text(body: dict[str, Any]) -> list[str]:
    """Unwanted parts of a message that Slack accepts: secrets, mentions and unintended links."""
    whole = json.dumps(body, ensure_ascii=False)
    problems = ["the text contains a token"] if re.search(r"planted-secret|\bxox[a-z]-\w", whole) else []
    if body.get("parse", "none") != "none" or body.get("link_names"):
        problems.append("the request lets Slack search for names and links")
    mentions = ("<!", "<@", "<#", "@channel", "@here", "@everyone")
    problems += [f"a mention: {mention}" for mention in mentions if mention in whole.lower()]
    for kind, text, verbatim in _texts(body):
        problems += _check_markup(kind, text, verbatim)
    return problems


def _check_markup(kind: str, text: str, verbatim: bool) -> list[str]:
    problems = []
    bare = text
    if kind == "mrkdwn":  # only intended links may be in angle brackets
        bare = re.sub(r"<(https?://[!-;=?-{}~]+)(\|[^<>|]+)?>", "", text)
        if not verbatim and "://" in bare:
            problems.append(f"an unintended link: {bare[:80]!r}")
    if re.search(r"[<>]|&(?!amp;|lt;|gt;)", bare):
        problems.append(f"not escaped: {bare[:80]!r}")
    if any(not (character.isprintable() or character in "\n\t\u2060") for character in text):
        problems.append(f"a control character: {text[:80]!r}")
    return problems


def _texts(body: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Every text with its kind, and whether it is `verbatim` (Slack then adds no links)."""
    yield "plain_text", body.get("text", ""), True
    for block in body.get("blocks", []):
        objects = [block.get("text"), *block.get("fields", []), *_elements(block, "context")]
        for each in filter(None, [*objects, *(button["text"] for button in _elements(block, "actions"))]):
            yield each["type"], each["text"], each.get("verbatim", False)


def _elements(block: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return list(block["elements"]) if block.get("type") == kind else []


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that closed the connection before the answer."""


class _Handler(BaseHTTPRequestHandler):
    slack: SlackServer

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"] or 0)).decode()
        if self.slack.away:
            self.slack.attempts += 1
            self.close_connection = True
            return
        method = self.path.rsplit("/", 1)[-1]
        token = self.headers.get("Authorization", "")
        self._answer(*self.slack.handle(method, token, _decoded(raw, self.headers.get("content-type", ""))))

    def do_GET(self) -> None:
        self._answer(200, {}, self.slack.state())

    def _answer(self, code: int, headers: dict[str, str], answer: Any) -> None:
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        kind = "text/html" if isinstance(answer, str) else "application/json"
        self.send_response(code)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def _decoded(raw: str, content_type: str) -> dict[str, Any]:
    if "json" in content_type:
        body: dict[str, Any] = json.loads(raw or "{}")
        return body
    fields = {key: values[0] for key, values in parse_qs(raw).items()}
    return {key: json.loads(value) if key == "blocks" else value for key, value in fields.items()}


if __name__ == "__main__":
    server = SlackServer()
    print(server.url, flush=True)
    threading.Event().wait()
