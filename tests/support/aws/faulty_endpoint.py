"""A server in front of moto's: it passes requests on, and plays the faults that a test asks for."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

# An answer: status, headers, body.
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Fault:
    """What happens to the next `times` requests that match.

    `drop`: the connection ends without an answer. `cut`: it ends within the body. A function makes the answer.
    """

    method: str
    path: str
    what: Literal["drop", "cut"] | Callable[[], Answer]
    times: int = 1
    after: int = 0


@dataclass(frozen=True)
class Request:
    """A request that came, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """The operation of a JSON protocol; empty for others."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


def refusal(status: int, code: str, message: str = "slow down") -> Callable[[], Answer]:
    """An error as S3 answers it."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return lambda: (status, {"Content-Type": "application/xml"}, text.encode())


def in_another_region() -> Answer:
    """What S3 answers for a bucket in another region."""
    text = b"<Error><Code>PermanentRedirect</Code><Message>use the endpoint</Message></Error>"
    return 301, {"Content-Type": "application/xml", "x-amz-bucket-region": "eu-west-1"}, text


def json_refusal(status: int, code: str, message: str = "slow down") -> Callable[[], Answer]:
    """An error as the services with a JSON protocol answer it."""
    text = f'{{"__type": "{code}", "message": "{message}"}}'
    return lambda: (status, {"Content-Type": "application/x-amz-json-1.0"}, text.encode())


def html() -> Answer:
    """The answer of something that is no service of AWS."""
    return 200, {"Content-Type": "text/html"}, b"<html><body>Welcome</body></html>"


class FaultyEndpoint:
    """`faults` are played in order; `requests` has what came. A path is matched by a regular expression.

    The path of a JSON protocol is followed by a space and the operation: `/ StartExecution`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self, method: str, path: str = "") -> list[Request]:
        """The requests of that method whose path contains that."""
        return [each for each in self.requests if each.method == method and path in each.path]

    def operations(self) -> list[str]:
        """The operations of a JSON protocol that were asked for."""
        return [each.operation for each in self.requests if each.operation]

    def fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                place = f"{request.path} {request.operation}".strip()
                if fault.times and fault.method == request.method and re.search(fault.path, place):
                    if fault.after:
                        fault.after -= 1
                        return None
                    fault.times -= 1
                    return fault
        return None

    def ask_upstream(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self.upstream.hostname or "", self.upstream.port, timeout=60)
        connection.request(request.method, request.path, request.body, request.headers)
        answer = connection.getresponse()
        body = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_A_HOP}
        if request.method == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length", "0")
        connection.close()
        return answer.status, headers, body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = (
                True  # headers and body are two packets, and the second would wait 40 ms
            )

            def _any(self) -> None:
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                body = self._body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                headers = {name: value for name, value in headers.items() if name not in _OF_A_HOP}
                request = Request(self.command, self.path, headers, body)
                fault = endpoint.fault_for(request)
                if fault and fault.what == "drop":
                    self.close_connection = True
                    return
                whole = fault is None or fault.what == "cut"
                status, answered, content = (
                    endpoint.ask_upstream(request) if whole else fault.what()  # type: ignore[union-attr,operator]
                )
                self._answer(status, answered, content, cut=bool(fault and fault.what == "cut"))

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    parts = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _answer(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self.close_connection = True

            def log_message(self, *_: object) -> None: ...

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815

        return Handler


_OF_A_HOP = {"connection", "transfer-encoding", "expect", "keep-alive", "content-length"}
