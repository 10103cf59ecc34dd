"""A process that has everything imported and forks a child for each flow run: a start costs no imports.

Spoken to over a Unix socket, one connection a run: a line of JSON `{"id", "env", "cwd"}` comes in, `{"pid"}` goes back
at once and `{"exit"}` when the child has ended. It runs no thread and no event loop, or forking would not be safe.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from typing import Any

# What a run imports sooner or later; a name that a later Prefect does not have is left out.
PRELOADED = (
    "prefect",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.task_runners",
    "prefect.task_runs",
    "prefect.flow_runs",
    "prefect.runner",
    "prefect.results",
    "prefect.filesystems",
    "prefect.events.clients",
    "prefect.logging.handlers",
    "prefect.client.orchestration",
    "prefect.client.subscriptions",
    "prefect.concurrency.v1.sync",
    "prefect.deployments.base",
    "prefect.deployments.steps.core",
    "prefect._internal.metrics",
    "websockets.asyncio.client",
    "prefect_codepipeline.flows.pipeline",
    "prefect_codepipeline.flows.reconcile",
    "prefect_codepipeline.tasks.providers",
)
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Import everything, say so on the standard output, then fork until the worker is gone."""
    path = sys.argv[1]
    die_with_parent(signal.SIGTERM)
    _preload()
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    os.chmod(path, 0o600)
    server.listen(128)
    print("ready", flush=True)
    # Ctrl-C reaches the whole group of a terminal; the worker decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _serve(server, os.getppid())


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, where the kernel can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


def _preload() -> None:
    for name in PRELOADED:
        if _exists(name):
            importlib.import_module(name)
    # It is run as a program in each child, which must not find it imported.
    sys.modules.pop("prefect.engine", None)
    gc.collect()
    gc.freeze()


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _serve(server: socket.socket, parent: int) -> None:
    selector = selectors.DefaultSelector()
    selector.register(server, selectors.EVENT_READ, None)
    while os.getppid() == parent:
        for key, _ in selector.select(timeout=5):
            if key.data is None:
                _fork(server, selector)
            else:
                _reap(selector, key.fd, *key.data)


def _fork(server: socket.socket, selector: selectors.BaseSelector) -> None:
    connection, _ = server.accept()
    request = _read_line(connection)
    if request is None:
        connection.close()
        return
    pid = os.fork()
    if pid == 0:
        selector.close()
        server.close()
        connection.close()
        _become_flow_run(json.loads(request))
    connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))


def _read_line(connection: socket.socket) -> bytes | None:
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part:
            return None
        line += part
    return line


def _reap(selector: selectors.BaseSelector, descriptor: int, pid: int, connection: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    selector.unregister(descriptor)
    os.close(descriptor)
    with contextlib.suppress(OSError):  # the worker may be gone, and with it whoever wanted to know
        connection.sendall(json.dumps({"exit": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
    connection.close()


def _become_flow_run(request: dict[str, Any]) -> None:
    """What `python -m prefect.engine` does in a fresh process."""
    os.setsid()
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    if request["cwd"]:
        os.chdir(request["cwd"])
    sys.argv = ["prefect.engine", request["id"]]

    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=False)
    runpy.run_module("prefect.engine", run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    main()
