"""`/health` and `/metrics` of a process, on an address of their own; off unless the port is set."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prefect_codepipeline import __version__
from prefect_codepipeline.errors import CodePipelineError

PORT_VARIABLE = "PREFECT_CODEPIPELINE_METRICS_PORT"
HOST_VARIABLE = "PREFECT_CODEPIPELINE_METRICS_HOST"
_LOCAL = "127.0.0.1"
_SLOWEST_SECONDS = 10.0
_PLAIN = "text/plain; charset=utf-8"
_logger = logging.getLogger("codepipeline.metrics")

# Whether the process is well, and a sentence about it.
Health = tuple[bool, str]


@contextmanager
def serving_pages(health: Callable[[], Health]) -> Iterator[str | None]:
    """Serve the pages while the block runs; their address, or None if no port is set.

    Raises:
        CodePipelineError: the port or the address cannot be used.
    """
    port = os.environ.get(PORT_VARIABLE)
    if not port:
        yield None
        return
    host = os.environ.get(HOST_VARIABLE) or _LOCAL
    server = _server(host, port, health)
    from prometheus_client import disable_created_metrics

    disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each counter, which says nothing
    from prefect_codepipeline.deployments.observing.routes import count_requests

    count_requests()
    thread = threading.Thread(target=server.serve_forever, name="codepipeline-pages", daemon=True)
    thread.start()
    address = f"http://{host}:{server.server_port}"
    _logger.info("/health and /metrics at %s", address)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def _server(host: str, port: str, health: Callable[[], Health]) -> ThreadingHTTPServer:
    class Pages(_Pages):
        ask_health = staticmethod(health)

    try:
        return ThreadingHTTPServer((host, int(port)), Pages)
    except (OSError, ValueError, OverflowError) as error:
        raise CodePipelineError(
            f"/health and /metrics cannot be served at {host}:{port} ({error}); correct {PORT_VARIABLE} or {HOST_VARIABLE}"
        ) from error


class _Pages(BaseHTTPRequestHandler):
    timeout = _SLOWEST_SECONDS
    server_version, sys_version = f"prefect-codepipeline/{__version__}", ""
    ask_health: Callable[[], Health]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            is_well, sentence = self.ask_health()
            status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, f"{'ok' if is_well else 'not ok'}: {sentence}\n".encode(), _PLAIN)
        elif path == "/metrics":
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

            self._answer(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_LATEST)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are /health and /metrics\n", _PLAIN)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: it is asked every few seconds."""

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
