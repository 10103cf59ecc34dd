"""Record the requests of a process. Python imports this module at its start if its folder is on the `PYTHONPATH`.

Every process of the set-up of `benchmarks/trace.py` has it. With the variable CODEPIPELINE_TRACE, which names a folder, clients
write each request with the thread that sent it, and uvicorn's servers write each request that they receive. A client marks its
requests with a header, so that both lines of a request can be joined. Modules are changed when the process imports them, so that
a process that sends nothing does not import a client.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from typing import Any

FOLDER = "CODEPIPELINE_TRACE"
HEADER = "x-codepipeline-trace"
LONGEST_BODY = 200_000
_numbers = itertools.count()


def write(**line: Any) -> None:
    folder = os.environ.get(FOLDER)  # the fork server gets its variables after its start
    if not folder:
        return
    line |= {"pid": os.getpid(), "who": who()}
    path = os.path.join(folder, f"{os.getpid()}.jsonl")
    with open(path, "ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


def who() -> str:
    """What this process is, by its command line; a process of a flow run by its environment."""
    command = " ".join(sys.argv)
    if "server_process" in command or "uvicorn" in command:
        return "server"
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        return "flow"
    names = {"reconcile": "reconcile", "worker start": "worker", "fork_server": "fork server"}
    known = (name for part, name in names.items() if part in command)
    return next(known, "gateway" if "gateway" in sys.argv else "command line")


class Sent:
    """A request that this process sends, from its first to its last byte."""

    def __init__(self) -> None:
        self.mark = f"{os.getpid()}-{next(_numbers)}"
        self.thread = threading.current_thread().name
        self.start = time.time()

    def ended(self) -> None:
        write(side="client", mark=self.mark, thread=self.thread, start=self.start, end=time.time())


def patch_sync_pool(module: Any) -> None:
    send = module.ConnectionPool.handle_request

    def handle_request(self: Any, request: Any) -> Any:
        sent = Sent()
        request.headers.append((HEADER.encode(), sent.mark.encode()))
        try:
            return send(self, request)
        finally:
            sent.ended()

    module.ConnectionPool.handle_request = handle_request


def patch_async_pool(module: Any) -> None:
    send = module.AsyncConnectionPool.handle_async_request

    async def handle_async_request(self: Any, request: Any) -> Any:
        sent = Sent()
        request.headers.append((HEADER.encode(), sent.mark.encode()))
        try:
            return await send(self, request)
        finally:
            sent.ended()

    module.AsyncConnectionPool.handle_async_request = handle_async_request


def patch_http_client(module: Any) -> None:
    connection = module.HTTPConnection
    put_request, get_response = connection.putrequest, connection.getresponse

    def putrequest(self: Any, *arguments: Any, **options: Any) -> Any:
        self.traced = Sent()
        put_request(self, *arguments, **options)
        self.putheader(HEADER, self.traced.mark)

    def getresponse(self: Any) -> Any:
        try:
            return get_response(self)
        finally:
            self.traced.ended()

    connection.putrequest, connection.getresponse = putrequest, getresponse


def patch_uvicorn(module: Any) -> None:
    load = module.Config.load

    def load_traced(self: Any) -> None:
        load(self)
        self.loaded_app = Received(self.loaded_app)

    module.Config.load = load_traced


class Received:
    """An ASGI application that writes each request, and each message of a web socket, before another application."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._web_socket(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        start, body, status = time.time(), bytearray(), 0

        async def receive_seen() -> Any:
            message = await receive()
            if len(body) < LONGEST_BODY:
                body.extend(message.get("body") or b"")
            return message

        async def send_seen(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._application(scope, receive_seen, send_seen)
        finally:
            mark = dict(scope["headers"]).get(HEADER.encode(), b"").decode()
            details = detail(scope["path"], bytes(body))
            write(side="server", mark=mark, method=scope["method"], path=scope["path"], status=status,
                  detail=details, start=start, end=time.time())  # fmt: skip

    async def _web_socket(self, scope: Any, receive: Any, send: Any) -> None:
        async def receive_seen() -> Any:
            message = await receive()
            now = time.time()
            if message["type"] == "websocket.receive":
                write(side="server", mark="", method="WS", path=scope["path"], status=0, detail="",
                      start=now, end=now)  # fmt: skip
            return message

        await self._application(scope, receive_seen, send)


def detail(path: str, body: bytes) -> str:
    """What a request writes: the key of a fact, a variable or a task run, a state, the number of log lines."""
    try:
        sent = json.loads(body)
    except ValueError:
        return ""
    if path.endswith("/logs/"):
        return f"{len(sent)} lines"
    if not isinstance(sent, dict):
        return ""
    state = sent.get("state")
    if path.endswith("/set_state") and isinstance(state, dict):
        return str(state.get("name") or state.get("type"))
    return str(next((sent[name] for name in ("key", "prefix", "dynamic_key", "name") if sent.get(name)), ""))


PATCHES = {
    "httpcore._sync.connection_pool": patch_sync_pool,
    "httpcore._async.connection_pool": patch_async_pool,
    "http.client": patch_http_client,
    "uvicorn.config": patch_uvicorn,
}


class Finder:
    """Changes the modules of `PATCHES` right after they are imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        patch = PATCHES.pop(name, None)
        if patch is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            run: Any = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                run(module)
                patch(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if FOLDER in os.environ or "fork_server" in " ".join(sys.orig_argv):
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
