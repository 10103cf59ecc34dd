"""A server with CodeBuild's and CloudWatch Logs' JSON protocol, whose answers are defined by the test.

The answers follow AWS's API reference; the server checks that each of their keys is in AWS's own service model.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session

SERVICES = {"CodeBuild_20161006": "codebuild", "Logs_20140328": "logs"}


class RefusalError(Exception):
    """An error response of AWS."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class CodeBuildServer:
    """`answers` maps operations to functions of the request; `requests` has the received requests in order."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        session = botocore.session.get_session()
        self._models = {target: session.get_service_model(name) for target, name in SERVICES.items()}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.requests if name == operation]

    def answer(self, target: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        service, _, operation = target.partition(".")
        self.requests.append((operation, request))
        try:
            if operation not in self.answers:
                raise RefusalError("AccessDeniedException", f"User is not authorized to perform: {operation}")
            answer = self.answers[operation](request)
        except RefusalError as refusal:
            return refusal.status, {"__type": refusal.code, "message": str(refusal)}
        _check(answer, self._models[service].operation_model(operation).output_shape, operation)
        return 200, answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = server.answer(self.headers["X-Amz-Target"], request)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler


def _check(value: Any, shape: Any, path: str) -> None:
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for key, each in value.items():
            assert key in shape.members, f"{path}.{key} is not a key of AWS's answers"
            _check(each, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list":
        for each in value:
            _check(each, shape.member, f"{path}[]")
    elif getattr(shape, "enum", None):
        assert value in shape.enum, f"{path} is never {value!r}"
