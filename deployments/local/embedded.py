"""Start and stop the embedded set-up: a database, a Prefect server, a worker and the reconcile loop, for one user.

It lives in one folder (`PREFECT_CODEPIPELINE_HOME`, else the user's data folder), listens on 127.0.0.1 only, keeps its
ports, so that links stay valid, and lets in those who have its secret (`access.py`). Its database is a PostgreSQL of its own; SQLite where PostgreSQL cannot run, or on
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
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.deployments.local import postgresql
from prefect_codepipeline.deployments.local.access import (
    SIGN_IN_PATH,
    auth_string,
    profiles_file,
    sign_in_ticket,
)
from prefect_codepipeline.deployments.local.api_url import PROFILES_VARIABLE
from prefect_codepipeline.deployments.local.parts import identity, is_alive, stop
from prefect_codepipeline.deployments.local.ports import free_port, hold, hold_only
from prefect_codepipeline.deployments.local.starting import (
    DATABASE_VARIABLE,
    api_url_at,
    check_server_port,
    gateway_ports,
    installed_programs,
    make_pool,
    release,
    runs,
    spawn_server,
    start_database,
    start_gateway,
    start_reconcile_loop,
    start_server,
    start_worker,
    ui_url_at,
    wait_until_healthy,
)
from prefect_codepipeline.deployments.local.state import (
    HOME_VARIABLE,
    State,
    home_folder,
    locked,
    read_state,
    write_state,
)
from prefect_codepipeline.errors import PrefectUnavailable


@dataclass(frozen=True)
class Embedded:
    """A running embedded set-up."""

    api_url: str
    ui_url: str
    home: Path
    database: str = ""
    gateway_url: str | None = None

    @property
    def profiles(self) -> Path:
        """The file with the server's secret, for `point_at` and `PREFECT_PROFILES_PATH`."""
        return profiles_file(self.home)

    def sign_in_url(self, page: str = "/") -> str:
        """The URL that signs a browser in to Prefect's UI and opens that page of it. It works for ten minutes.

        Everybody who sees it meanwhile can sign in: it must not be an argument of a command, which others can see.
        """
        ticket = sign_in_ticket(auth_string(self.home) or "")
        return f"{self.ui_url}{SIGN_IN_PATH}#{ticket}/{page.lstrip('/')}"


def up(
    limit: int | None = None,
    gateway: bool | None = None,
    sqlite: bool = False,
    port: int | None = None,
    gateway_port: int | None = None,
) -> Embedded:
    """Start what does not run, wait until it answers, and say where; safe to call twice and at once.

    Args:
        limit: how many executions the worker runs at once. None: as before, at first two for each processor and four
            at least.
        gateway: whether the gateway runs too. None: as before, at first not.
        sqlite: keep the data in SQLite instead of PostgreSQL. Counts when the set-up is new.
        port: of the server. None: as before, at first a free one.
        gateway_port: of the gateway. None: as before, at first 4290, or a free one if that is taken.

    Raises:
        PrefectUnavailable: a part did not start; with the end of its log.
    """
    home = home_folder()
    with locked(home):
        state = read_state(home)
        state["database"] = _choose_database(home, state, sqlite)
        state["limit"] = limit or state.get("limit") or max(4, 2 * (os.cpu_count() or 2))
        start_server(home, state, port)
        make_pool(home, state)
        start_worker(home, state)
        try:
            gateway_url = _start_or_stop_gateway(home, state, gateway, gateway_port)
        finally:  # it tries the gateway's port again
            start_reconcile_loop(home, state)
        return _embedded(home, state, gateway_url)


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
        if "server" not in state:
            return []  # another process is at it, or the set-up was stopped
        hold_only([state["port"]["number"], *gateway_ports(state)])
        if state["database"] not in ("postgresql", "sqlite"):
            return []  # the user's database is not known here
        dead = [part for part in ("postgresql", "server") if part in state and not is_alive(state[part])]
        if "server" in dead:
            check_server_port(home, state, state["port"]["number"])
            if auth_string(home) is None:
                raise PrefectUnavailable(
                    "Prefect's server has died, and another program had its port: `codepipeline up` starts the server with "
                    "a new secret"
                )
            start_server(home, state)
        elif "postgresql" in dead:
            start_database(home, state)
        return [f"{part} had died and was started again" for part in dead]


def find() -> Embedded | None:
    """The embedded set-up when its server answers."""
    home = home_folder(create=False)
    state = read_state(home)
    return _embedded(home, state) if runs(home, state) else None


@contextlib.contextmanager
def private() -> Iterator[tuple[str, Path]]:
    """A server for this process alone, gone when the block ends or the process dies: what `point_at` needs."""
    home = Path(tempfile.mkdtemp(prefix="codepipeline-run-"))
    before = {name: os.environ.get(name) for name in ("PREFECT_HOME", PROFILES_VARIABLE)}
    # What is created here is removed on SIGTERM too.
    earlier_handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
    try:
        database = _choose_database(home, {}, sqlite=False)
        port = free_port()
        hold(port)
        server = spawn_server(home, port, database, dies_with_parent=True)
        started.append((server, signal.SIGTERM))
        if database == "postgresql":
            process = postgresql.start_database(home, installed_programs(), temporary=True)
            started.insert(0, (process, postgresql.STOP_SIGNAL))
        release(server)
        wait_until_healthy(home, port, server)
        os.environ["PREFECT_HOME"] = str(home / "prefect")
        yield api_url_at(port), profiles_file(home)
    finally:
        signal.signal(signal.SIGTERM, earlier_handler)
        for process, number in reversed(started):
            stop(identity(process.pid), number)
            process.wait()
        shutil.rmtree(home, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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


def _start_or_stop_gateway(home: Path, state: State, is_wanted: bool | None, port: int | None) -> str | None:
    """Have the gateway run, or not; its address."""
    kept = state.setdefault("gateway-kept", {"runs": False, "port": 0})
    kept["runs"] = kept["runs"] if is_wanted is None else is_wanted
    if not kept["runs"]:
        stop(state.pop("gateway", None))
        write_state(home, state)
        return None
    return start_gateway(home, state, port)


def _embedded(home: Path, state: State, gateway_url: str | None = None) -> Embedded:
    port = state["port"]["number"]
    return Embedded(api_url_at(port), ui_url_at(port), home, state.get("database", "sqlite"), gateway_url)
