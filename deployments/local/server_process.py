"""`python -m prefect_codepipeline.deployments.local.server_process PORT`: `prefect server start` with shorter pauses.

It binds a port that other processes of the set-up may hold (`ports.py`), which `prefect server start` takes for a port in use.

It imports Prefect, then waits for a line on its standard input: until then the database is started. Without the line,
because the starter has failed or died, it ends.

The objects that a Prefect server has created at its start are permanent. Under load, the garbage collector would scan
all of them every few seconds, and the server would not answer for a third of a second.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import uvicorn

from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.deployments.local.ports import listener_at

_START_SECONDS = 120.0


def main() -> None:
    """Run the server on that port of this machine, until SIGTERM or SIGINT."""
    hide_environment()
    gc.disable()  # until the server answers: nearly all that is created until then stays
    port = sys.argv[1]
    try:
        listener = listener_at(int(port))
    except OSError as error:
        sys.exit(f"port {port} cannot be used: {error}")
    threading.Thread(target=_freeze_objects_after_start, args=(port,), daemon=True).start()
    sys.dont_write_bytecode = False  # compiling all of Prefect at each start takes seconds
    import prefect.server.api.server  # noqa: F401  # takes the longest
    from prefect.settings import get_current_settings

    database = get_current_settings().server.database.connection_url
    if database is None or "sqlite" in database.get_secret_value():
        from prefect_codepipeline.deployments.local.one_writer import take_turns

        take_turns()
    _guard(port)
    if not sys.stdin.readline():
        sys.exit("the database was not started")
    _serve(listener)


def _serve(listener: socket.socket) -> None:
    """Serve as `prefect server start` does."""
    from prefect.server.api import server
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    config = uvicorn.Config(
        server.create_app(final=True),
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listener])


def _guard(port: str) -> None:
    """Have Prefect create its app with the guard before it."""
    from prefect.server.api import server
    from prefect.settings import get_current_settings

    from prefect_codepipeline.deployments.local.server_guard import ServerGuard

    auth = get_current_settings().server.api.auth_string
    if auth is None:
        sys.exit("the server has no password; start it by `codepipeline up`")
    create = server.create_app

    def create_guarded(*arguments: Any, **options: Any) -> Any:
        app = create(*arguments, **options)
        # Prefect's services ask for the app again, and get the same one.
        if ServerGuard not in [getattr(each, "cls", None) for each in app.user_middleware]:
            app.add_middleware(ServerGuard, port=port, auth=auth.get_secret_value())
        return app

    server.create_app = create_guarded


def _freeze_objects_after_start(port: str) -> None:
    """Once the server answers, exclude all existing objects from garbage collection."""
    try:
        _wait_for_answer(port)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _wait_for_answer(port: str) -> None:
    until = time.monotonic() + _START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        try:
            opener.open(f"http://127.0.0.1:{port}/api/health", timeout=5).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)


if __name__ == "__main__":
    main()
