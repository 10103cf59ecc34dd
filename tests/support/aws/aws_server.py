"""A server that speaks the protocols of AWS's services by botocore's own models; the test defines the answers.

A service of one of the protocols `query`, `json` and `rest-json` is recognized by its requests' signature. Every key of
an answer, and every value that AWS lists, is checked against the model.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import botocore.session
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.datastructures import MultiDict

Answer = Callable[[dict[str, Any]], dict[str, Any]]
Reply = tuple[int, dict[str, str], bytes]
# By the name in the signature, where it is not that of the model.
_MODELS = {"elasticloadbalancing": "elbv2", "states": "stepfunctions"}
_SIGNED = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")


class DroppedError(Exception):
    """The connection ends without an answer."""


class RefusalError(Exception):
    """An error response of AWS. `more` are further keys of it, where the protocol is JSON."""

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.code, self.status, self.more = code, status, more


class AwsServer:
    """`answers` maps operations to functions of the request; `requests` has what was asked, in order.

    An operation without an answer is refused as AWS refuses what nobody has allowed. `keys` has the access key of each
    request, `regions` its region.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []
        self.regions: list[str] = []
        self.page: tuple[int, bytes] | None = None  # what a proxy or a wrong server answers in place of AWS
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail_once(self, operation: str, error: Exception, *, is_done: bool) -> None:
        """The first request of the operation ends with this error: after it was done, or in place of that."""
        answer, left = self.answers[operation], [error]

        def sometimes(request: dict[str, Any]) -> dict[str, Any]:
            if left and is_done:
                answer(request)
            if left:
                raise left.pop()
            return dict(answer(request))

        self.answers[operation] = sometimes

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.requests if name == operation]

    def handle(self, method: str, path: str, headers: Any, body: bytes) -> Reply:
        signed = _SIGNED.search(headers.get("Authorization", ""))
        assert signed, "a request without a signature"
        key, region, service = signed.groups()
        self.keys.append(key)
        self.regions.append(region)
        service = _MODELS.get(service, service)
        model = get_service_model(service)
        name, request = _parsed(model, method, path, headers, body)
        self.requests.append((name, request))
        operation = model.operation_model(name)
        try:
            if name not in self.answers:
                code = "AccessDenied" if model.protocol == "query" else "AccessDeniedException"
                raise RefusalError(code, f"User is not authorized to perform: {service}:{name}", 403)
            answer = self.answers[name](request)
        except RefusalError as refusal:
            return refusal.status, {}, _refused(model.protocol, refusal)
        if operation.output_shape:
            _check(answer, _real(service, name), name)
        serializer = get_serializer_class(service, model.protocol)(operation_model=operation)
        sent = serializer.serialize(answer)
        text = sent["body"]
        return 200, sent["headers"], text.encode() if isinstance(text, str) else text

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = (
                True  # headers and body are two packets, and the second would wait 40 ms
            )

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    if server.page:
                        status, headers, answer = server.page[0], {}, server.page[1]
                    else:
                        status, headers, answer = server.handle(self.command, self.path, self.headers, body)
                except DroppedError:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Type": "text/xml", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_DELETE = do_PUT = do_PATCH = do_POST  # noqa: N815

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler


def in_turn(answers: Iterable[Any]) -> Answer:
    """Give these answers one after the other, then the last one again; an exception is raised."""
    left = list(answers)

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        given = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(given, Exception):
            raise given
        return dict(given)

    return answer


def _real(service: str, operation: str) -> Any:
    return _model(service).operation_model(operation).output_shape


@cache  # reading it takes long
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def _parsed(model: Any, method: str, url: str, headers: Any, body: bytes) -> tuple[str, dict[str, Any]]:
    asked = {"method": method, "headers": headers, "body": body, "url_path": "/", "url_params": {}}
    if model.protocol == "rest-json":
        path, _, query = url.partition("?")
        name, found = _routed(model, method, path)
        values = {key: each[0] for key, each in parse_qs(query).items()}
        asked |= {"values": MultiDict(values), "url_path": path, "url_params": found}
    else:
        fields = {key: each[0] for key, each in parse_qs(body.decode(), keep_blank_values=True).items()}
        target = headers.get("X-Amz-Target")
        name = target.partition(".")[2] if target else fields.get("Action", "")
        asked["values"] = MultiDict(fields)
    parser = PROTOCOL_PARSERS[model.protocol](model.operation_model(name))
    return name, dict(parser.parse(asked))


def _routed(model: Any, method: str, path: str) -> tuple[str, dict[str, str]]:
    """The operation of a REST protocol, and what its path contains."""
    for name in model.operation_names:
        http = model.operation_model(name).http
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"].partition("?")[0]))
        if http["method"] == method and (found := re.fullmatch(pattern, path)):
            return name, {key: unquote(value) for key, value in found.groupdict().items()}
    raise AssertionError(f"{method} {path} is no request of {model.service_name}")


def _refused(protocol: str, refusal: RefusalError) -> bytes:
    if protocol != "query":
        answer = {"__type": refusal.code, "message": str(refusal), **refusal.more}
        return json.dumps(answer).encode()
    error = f"<Type>Sender</Type><Code>{refusal.code}</Code><Message>{escape(str(refusal))}</Message>"
    return f"<ErrorResponse><Error>{error}</Error><RequestId>r1</RequestId></ErrorResponse>".encode()


def _check(value: Any, shape: Any, path: str) -> None:
    if getattr(shape, "is_document_type", False):
        return  # any JSON
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for key, each in value.items():
            assert key in shape.members, f"{path}.{key} is not a key of AWS's answers"
            _check(each, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list":
        for each in value:
            _check(each, shape.member, f"{path}[]")
    elif getattr(shape, "enum", None):
        assert value in shape.enum, f"{path} is never {value!r}"
