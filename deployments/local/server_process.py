"""`python -m prefect_codepipeline.deployments.local.server_process PORT`: `prefect server start`, answering more evenly.

What a Prefect server has imported and built when it is up stays as it is; without this, the garbage collector looks
through all of it every few seconds under load, and nobody is answered for a third of a second.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import urllib.error
import urllib.request

_START_SECONDS = 120.0


def main() -> None:
    """Run the server on that port of this machine, until SIGTERM or SIGINT."""
    port = sys.argv[1]
    threading.Thread(target=_leave_alone_what_is_there, args=(port,), daemon=True).start()
    from prefect.cli import app
    from prefect.settings import get_current_settings

    database = get_current_settings().server.database.connection_url
    if database is None or "sqlite" in database.get_secret_value():
        from prefect_codepipeline.deployments.local.one_writer import take_turns

        take_turns()

    sys.argv[1:] = ["server", "start", "--host", "127.0.0.1", "--port", port]
    app()


def _leave_alone_what_is_there(port: str) -> None:
    """Once the server answers, take everything that exists out of the garbage collector's sight."""
    until = time.monotonic() + _START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        try:
            opener.open(f"http://127.0.0.1:{port}/api/health", timeout=5).close()
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
            continue
        gc.collect()
        gc.freeze()
        return


if __name__ == "__main__":
    main()
